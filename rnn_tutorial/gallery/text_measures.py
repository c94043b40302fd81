"""What is measured of a character model: perplexity, memory, and whether it writes Python."""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rnn_tutorial.gallery.corpus import Alphabet
from rnn_tutorial.gallery.text_sampling import SampleSettings, draw

EVALUATION_LANES, WARM_UP = 16, 1_000
POSITIONS = 256  # of a piece of text
TEMPERATURES, NUM_SAMPLES = (0.3, 0.5, 0.7, 1.0), 200
MAX_FUNCTION = 1_000  # characters; longer functions are left out

# Shapes: N batch, T time, C characters, n the length of a text.


@torch.inference_mode()
def character_losses(model: nn.Module, ids: Tensor) -> Tensor:
    """The nats that each character of a text costs, given all before it, float32, (n,).

    A long text is read by 16 lanes side by side. Each first reads the 1,000 characters before its
    part, uncounted, and so comes to it with the state that one pass would have.

    Args:
        model: in evaluation mode.
        ids: the text, int64, (n,), n at least 1.
    """
    lanes = EVALUATION_LANES if len(ids) >= EVALUATION_LANES * WARM_UP else 1
    part = -(-len(ids) // lanes)
    before = torch.cat([ids.new_zeros(1), ids])[:-1]  # what is read: the first character is unknown
    starts = part * torch.arange(lanes, device=ids.device)[:, None]
    state, losses = None, []
    for offset in range(-WARM_UP, part, WARM_UP):
        if offset == 0:
            state[:, :, 0] = 0  # nothing is before the first lane's part
        size = min(WARM_UP, part - offset)
        places = starts + torch.arange(offset, offset + size, device=ids.device)
        places = places.clamp(0, len(ids) - 1)  # of the first lane and the last
        logits, state = model(before[places], state)
        if offset >= 0:
            losses.append(cross_entropy(logits.mT, ids[places], reduction="none"))
    return torch.cat(losses, dim=1).flatten()[: len(ids)].cpu()


@torch.inference_mode()
def bits_by_position(model: nn.Module, ids: Tensor) -> dict[str, list[float]]:
    """Bits per character at each place of pieces of a text, the state carried into them or zeros.

    The first character of a piece is read, the next is predicted at place 0.

    Raises:
        ValueError: the text has not a single piece.
    """
    if len(ids) <= POSITIONS:
        raise ValueError(
            f"--by_position needs a held-out text of more than {POSITIONS} characters; this one "
            f"has {len(ids)}"
        )
    carried = character_losses(model, ids)[1:]
    pieces = ids.unfold(0, POSITIONS + 1, POSITIONS).split(64)
    zeros = torch.cat(
        [cross_entropy(model(p[:, :-1])[0].mT, p[:, 1:], reduction="none") for p in pieces]
    )
    carried = carried[: zeros.numel()].view(-1, POSITIONS)
    return {
        "bits_by_position_state_carried": (carried.mean(0) / math.log(2)).tolist(),
        "bits_by_position_state_zero": (zeros.mean(0) / math.log(2)).tolist(),
    }


def summarize(losses: Tensor) -> dict[str, float]:
    """Bits per character, and perplexity, 2 to that power: as if so many were equally likely."""
    mean = losses.double().mean()
    return {"bits": mean.item() / math.log(2), "perplexity": mean.exp().item()}


def parsed_in_samples(model: nn.Module, alphabet: Alphabet) -> dict[str, float]:
    """The shares of drawn functions, and of their lines, that Python's parser accepts."""
    start = "\n\ndef "
    prompt = torch.from_numpy(alphabet.encode(start))
    figures = {}
    for temperature in TEMPERATURES:
        settings = SampleSettings(temperature=temperature, num_chars=2 * MAX_FUNCTION)
        drawn = torch.stack(list(draw(model, prompt, NUM_SAMPLES, settings)))  # (T, N)
        texts = [start + alphabet.decode(ids) for ids in drawn.T.tolist()]
        functions = [f for text in texts for f in functions_in(text)[:1]]
        of_functions, of_lines = parsed_shares(functions)
        figures[f"functions_parsed_at_{temperature}"] = of_functions
        figures[f"lines_parsed_at_{temperature}"] = of_lines
        figures[f"functions_drawn_at_{temperature}"] = len(functions)
    return figures


def parsed_held_out(text: str) -> dict[str, float]:
    """The same shares of the functions in a text that people wrote."""
    of_functions, of_lines = parsed_shares(functions_in(text))
    return {"functions_parsed_held_out": of_functions, "lines_parsed_held_out": of_lines}


def in_words(figures: Mapping[str, Any]) -> list[str]:
    """Figures for people to read, a line each."""
    lines = []
    for name, value in figures.items():
        said = re.sub("bits$", "bits per character", name.replace("_", " "))
        if isinstance(value, list):
            places = [place for place in (0, 1, 2, 4, 8, 16, 32, 64, 128) if place < len(value)]
            shown = "  ".join(f"{place}: {value[place]:.2f}" for place in places)
        else:
            shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
        lines.append(f"{said}: {shown}")
    return lines


def functions_in(text: str) -> list[str]:
    """The functions at the left margin of a text: each "def" up to the next line at the margin.

    One that is not followed by such a line, or is longer than MAX_FUNCTION, is left out.
    """
    found = re.findall(r"^def .*\n(?:[ \t].*\n|\n)*(?=\S)", text, flags=re.MULTILINE)
    return [function for function in found if len(function) <= MAX_FUNCTION]


def parsed_shares(functions: Sequence[str]) -> tuple[float, float]:
    """The shares of functions, and of single lines of them, that Python's parser accepts."""
    lines = [line.strip() for function in functions for line in function.splitlines()]
    lines = [f"{line} pass" if line.endswith(":") else line for line in lines if line]
    return _share(map(is_python, functions)), _share(map(is_python, lines))


def _share(found: Iterable[bool]) -> float:
    found = list(found)
    return sum(found) / len(found) if found else 0.0


def is_python(source: str) -> bool:
    """True if ast.parse accepts a piece of source."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in strings
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
