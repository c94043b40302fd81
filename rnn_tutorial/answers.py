"""Answers of a network as lines of text or JSON, many at once.

Writing a million answers one by one in Python takes longer than computing them. Here a field of
all lines is a column of bytes; the columns are put side by side, and what a shorter value leaves
empty, NUL bytes, is dropped at the end.

Shapes: N answers, M digits of all of them, W bytes of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answers:
    """Answers of the network beside the true ones.

    Args:
        digits: of all sequences, one after the other, (M,).
        lengths: digits of each sequence, int64, (N,), each at least 1; they sum to M.
        predictions: (N,).
        probabilities: that the network gives to its predictions, (N,).
        targets: (N,).
        trained_length: False if no training sequence was as short or as long, (N,).
    """

    digits: np.ndarray
    lengths: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray
    trained_length: np.ndarray

    def as_text(self) -> str:
        """A line for each answer: `1 2 3 -> 6 with probability 99.9%; right is 6 ✓`."""
        per_mille = self._probability_in(1000)
        answer = _columns(
            *(b" -> ", _decimal(self.predictions), b" with probability "),
            *(_decimal(per_mille // 10), b".", _decimal(per_mille % 10), b"%; right is "),
            *(_decimal(self.targets), b" "),
            np.where(self.predictions == self.targets, "✓".encode(), "✗".encode()),
            np.where(self.trained_length, b"", b"  (never trained on length "),
            np.where(self.trained_length, b"", _decimal(self.lengths)),
            *(np.where(self.trained_length, b"", b")"), b"\n"),
        )
        return self._lines(self._inputs(b" "), answer)

    def as_json(self, line_numbers: np.ndarray | None = None) -> str:
        """A JSON object for each answer, on a line of its own; its number comes first if given.

        Args:
            line_numbers: of the input, each at least 1, (N,).

        Probabilities have six decimals, about as many as float32 arithmetic gets right.
        """
        millionths = self._probability_in(10**6)
        number = () if line_numbers is None else (b'"line": ', _decimal(line_numbers), b", ")
        before = _columns(b"{", *number, np.full(len(self.lengths), b'"input": ['))
        answer = _columns(
            *(b'], "prediction": ', _decimal(self.predictions), b', "probability": '),
            *(_decimal(millionths // 10**6), b".", _decimal(millionths % 10**6, width=6)),
            *(b', "target": ', _decimal(self.targets), b', "trained_length": '),
            *(np.where(self.trained_length, b"true", b"false"), b"}\n"),
        )
        return self._lines(before, self._inputs(b", "), answer)

    def _probability_in(self, parts: int) -> np.ndarray:
        """The probabilities rounded to whole parts, exactly: float64 holds these products."""
        return np.rint(self.probabilities.astype(np.float64) * parts).astype(np.int64)

    def _inputs(self, separator: bytes) -> np.ndarray:
        """A cell for each digit, with a separator unless it ends its sequence, (M, W)."""
        ends_sequence = np.zeros(len(self.digits), bool)
        ends_sequence[np.cumsum(self.lengths) - 1] = True
        return _columns(_decimal(self.digits), np.where(ends_sequence, b"", separator))

    def _lines(self, *parts: np.ndarray) -> str:
        """Line by line the cells of all parts, (N or M, W); a line's digits if there are M."""
        sizes = [
            part.shape[1] * (self.lengths if part.shape[0]
        ]


def _columns(*fields: bytes | np.ndarray) -> np.ndarray:
    """Fields side by side: constants, and columns of bytes, (N,); returns cells, (N, W)."""
    fields = [np.asarray(field) for field in fields]
    cells = np.empty(
        max(field.size for field in fields), [(str(i), f.dtype) for i, f in enumerate(fields)]
    )
    for i, field in enumerate(fields):
        cells[str(i)] = field
    return cells.view(np.uint8).reshape(len(cells), -1)
