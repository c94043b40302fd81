"""From typed text to token ids: what is asked, and why some of it cannot be answered.

    "1 2 3"               ->  ids [1, 2, 3], lengths [3]                 digits (digit_lines.py)
    "the cat saw the fox" ->  ids [17, 3, 14, 17, 0], lengths [5]        words: WordReader

A reader has two methods: `read` takes what a person typed and raises ValueError if it cannot be
answered; `read_lines` takes very many lines and notes by line why one cannot be answered.

Shapes: N sequences, M tokens of all sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from rnn_tutorial.data.examples import Vocabulary, parse_tokens


@dataclass(frozen=True)
class Questions:
    """Sequences of tokens to classify.

    Args:
        ids: of the tokens of all sequences, one sequence after the other, (M,).
        lengths: tokens of each sequence, int64, (N,), each at least 1; they sum to M.
        lines: the index of the line that each sequence is on, int64, (N,).
        refusals: for the index of each line that cannot be answered, a sentence that says why.
        typed: the tokens of each sequence as they were typed, N, if words occur that training has
            not seen (their id is 0); None if all tokens are known by their ids.
    """

    ids: np.ndarray
    lengths: np.ndarray
    lines: np.ndarray
    refusals: Mapping[int, str] = field(default_factory=dict)
    typed: Sequence[Sequence[str]] | None = None

    @classmethod
    def from_lists(
        cls,
        sequences: Mapping[int, Sequence[int]],
        refusals: Mapping[int, str],
        typed: Sequence[Sequence[str]] | None = None,
    ) -> Questions:
        """The questions made of the ids of each line, by the index of the line."""
        return cls(
            np.fromiter(chain.from_iterable(sequences.values()), np.int64),
            np.fromiter(map(len, sequences.values()), np.int64),
            np.fromiter(sequences, np.int64),
            refusals,
            typed,
        )

    def __len__(self) -> int:
        return len(self.lengths)


def read_one_by_one(
    lines: Iterable[tuple[int, str]], parse: Callable[[str], list]
) -> tuple[dict[int, list], dict[int, str]]:
    """Read some lines, each given with its index, by a function that reads one.

    Returns:
        The tokens of the lines that can be answered, and for the others a sentence that says why
        not, both by the index of the line.
    """
    sequences, refusals = {}, {}
    for line, text in lines:
        try:
            sequences[line] = parse(text)
        except ValueError as error:
            refusals[line] = str(error)
    return sequences, refusals


class WordReader:
    """Reads words separated by spaces; those that training has not seen have id 0."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def read(self, text: str) -> Questions:
        """Read one sequence; raises ValueError as `parse_tokens` does."""
        return self._number({0: parse_tokens(text)}, {})

    def read_lines(self, text: str) -> Questions:
        """Read many lines, each as `read` reads it."""
        lines = enumerate(text.removesuffix("\n").split("\n"))
        return self._number(*read_one_by_one(lines, parse_tokens))

    def _number(self, typed: Mapping[int, list[str]], refusals: Mapping[int, str]) -> Questions:
        ids = {line: self._vocabulary.encode(words) for line, words in typed.items()}
        return Questions.from_lists(ids, refusals, list(typed.values()))
