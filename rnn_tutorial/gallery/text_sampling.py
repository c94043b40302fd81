"""Draw a text from a character model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from rnn_tutorial.gallery.corpus import Alphabet
from rnn_tutorial.runs.terminal import shown
from rnn_tutorial.settings.fields import check_bounds, setting_field

# Shapes: N rows drawn side by side, T time.


@dataclass(frozen=True)
class SampleSettings:
    """How a text is drawn."""

    prompt: str = setting_field("sampling", "def ", "text to continue", metavar="TEXT")
    temperature: float = setting_field(
        "sampling",
        0.5,
        "below 1 favours likely characters, above 1 evens them out; 0 always takes the likeliest",
        within=(0, 100),
    )
    top_k: int = setting_field(
        "sampling",
        0,
        "draw from the N likeliest only; 0 draws from all",
        within=(0, 10**6),
    )
    num_chars: int = setting_field("sampling", 500, "characters to draw", within=(1, 10**9))
    seed: int = setting_field("sampling", 0, "the same seed draws the same", within=(0, 2**63 - 1))

    def __post_init__(self) -> None:
        for setting in fields(self):
            check_bounds(setting, getattr(self, setting.name))


@torch.inference_mode()
def draw(
    model: nn.Module, prompt: Tensor, num_rows: int, settings: SampleSettings
) -> Iterator[Tensor]:
    """Go on from a prompt, num_rows times side by side.

    Args:
        model: from ids (N, T) and a state to logits (N, T, C) and a state; in evaluation mode.
        prompt: ids, int64, (T,).
        num_rows: N.
        settings: how to draw, and how many characters.

    Yields:
        The next id of each row, never that of unknown characters, int64, (N,).
    """
    random = torch.Generator().manual_seed(settings.seed)
    begin = torch.cat([prompt.new_zeros(1), prompt])
    logits, state = model(begin.expand(num_rows, -1))  # warm-up: the state takes in the prompt
    for _ in range(settings.num_chars):
        scores = logits[:, -1]
        scores[:, 0] = -math.inf
        if settings.top_k:
            least = scores.topk(min(settings.top_k, scores.shape[1])).values[:, -1:]
            scores = scores.masked_fill(scores < least, -math.inf)
        if settings.temperature > 0:
            below_best = (scores - scores.max(dim=1, keepdim=True).values).double()
            chances = (below_best / settings.temperature).softmax(dim=1)
            ids = torch.multinomial(chances, 1, generator=random)
        else:
            ids = scores.argmax(dim=1, keepdim=True)
        yield ids[:, 0]
        logits, state = model(ids, state)


def continue_text(model: nn.Module, alphabet: Alphabet, settings: SampleSettings) -> None:
    """Print the prompt and what the model goes on with, each character as it is drawn."""
    prompt = alphabet.encode(settings.prompt)
    if unknown := {settings.prompt[place] for place in np.flatnonzero(prompt == 0)}:
        print(
            f"The network does not know {shown(''.join(sorted(unknown)))}; it takes each of them "
            "for the same rare character.",
            file=sys.stderr,
        )
    _write(settings.prompt)
    for ids in draw(model, torch.from_numpy(prompt), 1, settings):
        _write(alphabet.decode(ids.tolist()))
    _write("\n")


def _write(text: str) -> None:
    """Print at once, with control characters escaped, except line feed and tab."""
    print("".join(c if c in "\n\t" else shown(c) for c in text), end="", flush=True)
