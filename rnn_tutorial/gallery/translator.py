"""A trained encoder and decoder at work: answers, their probabilities, and how many are wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnn_tutorial.gallery.beam import beam_search, decode_greedily
from rnn_tutorial.gallery.pairs import END, Pairs, Units

_NUM_EXAMPLES = 20


@dataclass(frozen=True)
class Translator:
    """A network with the units of its two sides.

    Args:
        model: with the methods `encode` and `decode` of Seq2Seq, in eval mode.
        source_units: of the sources.
        target_units: of the targets.
        max_units: of an answer; longer ones are cut.
    """

    model: Any
    source_units: Units
    target_units: Units
    max_units: int

    def answer(self, sources: Sequence[str], width: int = 1, alpha: float = 0.0) -> list[str]:
        """The answers to sources: by greedy decoding, or the best of a beam if it is wider than 1.

        Args:
            sources: N texts.
            width: of the beam.
            alpha: of its length penalty.
        """
        if width == 1:
            ids = decode_greedily(*self._decoder(sources), self.max_units)
        else:
            decoder = self._decoder(sources, width)
            ids = beam_search(*decoder, width, self.max_units, alpha).ids[:, 0]
        return [self.target_units.decode(row) for row in ids.tolist()]

    def best_answers(self, source: str, width: int, alpha: float) -> list[tuple[str, float]]:
        """The answers to one source that a beam finds, the best first, with their probabilities."""
        found = beam_search(*self._decoder([source], width), width, self.max_units, alpha)
        log_probabilities = found.log_probabilities[0].double()
        is_found = log_probabilities.isfinite()
        texts = map(self.target_units.decode, found.ids[0, is_found].tolist())
        return list(zip(texts, log_probabilities[is_found].exp().tolist(), strict=True))

    @torch.no_grad()
    def attention(self, source: str, answer: str) -> np.ndarray:
        """The share that each unit of the source gets while each of the answer is written, (T, S).

        Each row sums to 1.
        """
        memory = self._encode([source])
        read = F.pad(self.target_units.encode([answer])[0], (1, -1), value=END)
        return self.model.decode(read, memory.state, memory)[2][0].numpy()

    @torch.no_grad()
    def _decoder(self, sources: Sequence[str], times: int = 1) -> tuple[Any, Any]:
        """A step of the decoder, and its first state, for sources, each so many times in a row."""
        memory = self._encode(sources).repeat(times)

        def step(read: Tensor, state: Any) -> tuple[Tensor, Any]:
            logits, state, _ = self.model.decode(read, state, memory)
            return logits[:, -1].log_softmax(dim=-1), state

        return step, memory.state

    def _encode(self, sources: Sequence[str]) -> Any:
        ids, lengths = self.source_units.encode(sources)
        device = next(self.model.parameters()).device
        return self.model.encode(ids.to(device), lengths)


@dataclass(frozen=True)
class Score:
    """How many answers are wrong.

    Args:
        pairs: how many were asked.
        wrong: how many of the answers were wrong.
        trained: how many of the pairs were trained.
        wrong_trained: how many of these were wrong.
        seconds: how long it took.
        examples: of the wrong ones: source, answer, target.
    """

    pairs: int
    wrong: int
    trained: int
    wrong_trained: int
    seconds: float
    examples: list[list[str]]

    @property
    def right(self) -> float:
        """The share of right answers."""
        return 1 - self.wrong / self.pairs

    def lines(self) -> list[str]:
        """The score in words."""
        found = [
            f"wrong: {self.wrong:,} of {self.pairs:,} ({self.wrong / self.pairs:.4%}), "
            f"in {self.seconds:.1f} s"
        ]
        if self.trained:
            others, wrong = self.pairs - self.trained, self.wrong - self.wrong_trained
            found.append(
                f"  {self.wrong_trained:,} of the {self.trained:,} that were trained, "
                f"{wrong:,} of the {others:,} others"
            )
        found += [
            f"  {source} -> {answer}, not {target}" for source, answer, target in self.examples
        ]
        return found


def score_answers(
    translator: Translator,
    parts: Iterable[Pairs],
    trained: Set[str] = frozenset(),
    width: int = 1,
    alpha: float = 0.0,
) -> Score:
    """Compare answers with the targets of pairs.

    Args:
        translator: who answers.
        parts: the pairs, in as many parts as suit memory.
        trained: the sources that were trained.
        width: of the beam; 1 decodes greedily.
        alpha: of its length penalty.
    """
    started, num_pairs, num_trained = time.perf_counter(), 0, 0
    wrong = []
    for pairs in parts:
        answers = translator.answer(pairs.sources, width, alpha)
        rows = zip(pairs.sources, answers, pairs.targets, strict=True)
        wrong += [[source, answer, target] for source, answer, target in rows if answer != target]
        num_pairs += len(pairs)
        num_trained += sum(source in trained for source in pairs.sources)
    wrong_trained = sum(source in trained for source, _, _ in wrong)
    seconds = time.perf_counter() - started
    return Score(num_pairs, len(wrong), num_trained, wrong_trained, seconds, wrong[:_NUM_EXAMPLES])
