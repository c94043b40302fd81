"""From typed text to token ids: what is asked, and why some of it cannot be answered.

    "1 2 3"               ->  ids [1, 2, 3], lengths [3]                 digits (digit_lines.py)
    "stay right right"    ->  ids [0, 1, 1], lengths [3]                 names: NameReader
    "the cat saw the fox" ->  ids [17, 3, 14, 17, 0], lengths [5]        words: WordReader

Shapes: N sequences, M tokens of all sequences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from rnn_tutorial.data.examples import UNKNOWN, Vocabulary
from rnn_tutorial.runs.terminal import shortened

_SHOWN_NAMES = 20
ALSO_TYPED = {"*": "×", "−": "-"}  # where the others are on no key, or in a text


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


class QuestionReader(ABC):
    """Reads sequences that a person typed, one or very many."""

    @abstractmethod
    def describe(self) -> str:
        """What to type, in words."""

    @abstractmethod
    def _parse(self, text: str) -> list:
        """The tokens of one sequence; see `read`."""

    def read(self, text: str) -> Questions:
        """Read one sequence; ValueError says why it cannot be answered."""
        return self._number({0: self._parse(text)}, {})

    def read_lines(self, text: str) -> Questions:
        """Read many lines, each as `read` reads it; those that it refuses are noted."""
        lines = enumerate(text.removesuffix("\n").split("\n"))
        return self._number(*read_one_by_one(lines, self._parse))

    def _number(self, sequences: Mapping[int, list], refusals: Mapping[int, str]) -> Questions:
        """The questions made of the tokens of each line, by the index of the line."""
        return Questions.from_lists(sequences, refusals)


class NameReader(QuestionReader):
    """Reads the names of a machine's tokens, separated by spaces or commas.

    If all of them are single characters, they may also be typed without a space: abba, 2+3×4.

    Args:
        names: of the tokens by their ids.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._ids = {name: i for i, name in enumerate(names)}
        self._are_characters = all(len(name) == 1 for name in names)
        for typed, meant in ALSO_TYPED.items():
            if meant in self._ids:
                self._ids.setdefault(typed, self._ids[meant])
        more = ", …" if len(names) > _SHOWN_NAMES else ""
        self._allowed = ", ".join(names[:_SHOWN_NAMES]) + more

    def describe(self) -> str:
        """What to type: "the tokens stay, right, left, separated by spaces"."""
        spaces = "with or without spaces" if self._are_characters else "separated by spaces"
        return f"the tokens {self._allowed}, {spaces}"

    def _parse(self, text: str) -> list[int]:
        words = text.replace(",", " ").split()
        if not words:
            raise ValueError(f"the input is empty; give at least one of the tokens {self._allowed}")
        ids = []
        for word in words:
            if word in self._ids:
                ids.append(self._ids[word])
                continue
            tokens = word if self._are_characters else [word]
            if unknown := next((token for token in tokens if token not in self._ids), None):
                raise ValueError(f"{shortened(unknown)!r} is not one of the tokens {self._allowed}")
            ids += map(self._ids.__getitem__, tokens)
        return ids


class WordReader(QuestionReader):
    """Reads words separated by spaces; those that training has not seen have id 0.

    If all tokens are single characters, a sequence may also be typed as a single word.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._are_characters = all(len(token) == 1 for token in vocabulary.tokens[1:])

    def describe(self) -> str:
        return "tokens as in the training examples, separated by spaces"

    def _parse(self, text: str) -> list[str]:
        words = _parse_tokens(text)
        is_word = self._are_characters and len(words) == 1 and words[0] != UNKNOWN
        return list(words[0]) if is_word else words

    def _number(self, sequences: Mapping[int, list], refusals: Mapping[int, str]) -> Questions:
        ids = {line: self._vocabulary.encode(words) for line, words in sequences.items()}
        return Questions.from_lists(ids, refusals, list(sequences.values()))


def _parse_tokens(text: str) -> list[str]:
    """Read tokens that a user typed, separated by spaces.

    Raises:
        ValueError: there are none, a tab is among them, or the input was not UTF-8 (invalid bytes
            arrive as replacement characters or lone surrogates).
    """
    try:
        text.encode()
        is_utf8 = "\ufffd" not in text
    except UnicodeEncodeError:
        is_utf8 = False
    if not is_utf8:
        raise ValueError("the input is not UTF-8")
    if "\t" in text.strip():
        raise ValueError(
            "there is a tab in the input; give the tokens without a label (labelled lines are for "
            "python -m rnn_tutorial.evaluate RUN --eval_file FILE)"
        )
    tokens = text.split()
    if not tokens:
        raise ValueError("the input is empty; give at least one token")
    return tokens
