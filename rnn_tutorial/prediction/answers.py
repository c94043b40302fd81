"""Answers of a network as lines of text or JSON in UTF-8, many at once.

Writing a million answers of digits one by one in Python takes longer than computing them. So there
a field of all lines is a column of bytes; the columns are put side by side, and what a shorter
value leaves empty, NUL bytes, is dropped at the end.

Shapes: N answers, M digits of all of them, W bytes of a cell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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

    def as_text(self) -> bytes:
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
        return self._lines(_columns(np.full(len(self.lengths), b"")), b" ", answer)

    def as_json(self, line_numbers: np.ndarray | None = None) -> bytes:
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
        return self._lines(before, b", ", answer)

    def _probability_in(self, parts: int) -> np.ndarray:
        """The probabilities rounded to whole parts, exactly: float64 holds these products.

        A network that has diverged gives no number; that counts as 0.
        """
        probabilities = np.nan_to_num(self.probabilities.astype(np.float64))
        return np.rint(probabilities * parts).astype(np.int64)

    def _lines(self, before: np.ndarray, separator: bytes, after: np.ndarray) -> bytes:
        """Line by line a cell, the digits with separators, and another cell; cells are (N,)."""
        ends_sequence = np.zeros(len(self.digits), bool)
        ends_sequence[np.cumsum(self.lengths) - 1] = True
        digits = _columns(_decimal(self.digits), np.where(ends_sequence, b"", separator))
        widths = before.itemsize + self.lengths * digits.itemsize + after.itemsize  # (N,)
        ends = np.cumsum(widths)
        text = np.empty(ends[-1], np.uint8)
        is_digits = np.ones(ends[-1], bool)
        for cells, positions in ((before, ends - widths), (after, ends - after.itemsize)):
            _windows(text, cells.dtype)[positions] = cells
            _windows(is_digits, cells.dtype)[positions] = np.zeros_like(cells)
        text[is_digits] = digits.view(np.uint8)
        return text[text != 0].tobytes()


@dataclass(frozen=True)
class NamedAnswer:
    """An answer to a sequence of tokens, by the name of a class; there is no rule to check it by.

    Args:
        tokens: as they were given, at least one.
        unknown: those of them that training has not seen.
        prediction: name of the class.
        probability: that the network gives to it.
        trained_length: False if no training sequence was as short or as long.
    """

    tokens: Sequence[str]
    unknown: Sequence[str]
    prediction: str
    probability: float
    trained_length: bool

    def as_text(self) -> bytes:
        """A line: `the cat saw the zebra -> cat with probability 99.9%  (unknown: zebra)`."""
        notes = f"  (unknown: {' '.join(self.unknown)})" if self.unknown else ""
        if not self.trained_length:
            notes += f"  (never trained on length {len(self.tokens)})"
        answer = f"{self.prediction} with probability {self._known_probability():.1%}"
        return f"{' '.join(self.tokens)} -> {answer}{notes}\n".encode()

    def as_json(self, line_number: int | None = None) -> bytes:
        """A JSON object on a line; the number of the line in the input comes first if given."""
        number = {} if line_number is None else {"line": line_number}
        fields = {
            "input": list(self.tokens),
            "prediction": self.prediction,
            "probability": round(self._known_probability(), 6),
            "unknown": list(self.unknown),
            "trained_length": self.trained_length,
        }
        return json.dumps(number | fields, ensure_ascii=False).encode() + b"\n"

    def _known_probability(self) -> float:
        """A network that has diverged gives no number; that counts as 0."""
        return float(np.nan_to_num(self.probability))


def _columns(*fields: bytes | np.ndarray) -> np.ndarray:
    """Fields side by side, constants and columns of bytes, (N,), as one column of bytes, (N,)."""
    fields = [np.asarray(field) for field in fields]
    names = [str(i) for i in range(len(fields))]
    rows = max(field.size for field in fields)
    cells = np.empty(rows, [(name, f.dtype) for name, f in zip(names, fields, strict=True)])
    for name, field in zip(names, fields, strict=True):
        cells[name] = field
    return cells.view(f"V{cells.itemsize}")


def _windows(text: np.ndarray, cell: np.dtype) -> np.ndarray:
    """A view of all cells in a text, one beginning at each byte: writing one writes the text."""
    return np.ndarray(len(text) - cell.itemsize + 1, cell, buffer=text, strides=(1,))


def _decimal(numbers: np.ndarray, width: int = 1) -> np.ndarray:
    """Whole numbers from 0 on in decimal, with at least `width` places, a column of bytes, (N,)."""
    places = max(width, len(str(numbers.max())))
    shown = np.zeros((len(numbers), places), np.uint8)
    for place in range(places):
        power = 10**place
        shown[:, -1 - place] = numbers // power % 10 + ord("0")
        if place >= width:
            shown[numbers < power, -1 - place] = 0
    return shown.view(f"S{places}").ravel()
