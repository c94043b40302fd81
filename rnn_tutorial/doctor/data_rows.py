"""Labelled rows of a loader or a file, in the order in which they come; see data_reading.py.

Shapes: N rows, T steps with padding, F features of a step, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile

import numpy as np

NUM_ROWS = 4096  # of a loader, which may be endless; compared at each distance in some 50 ms
MIN_ROWS = 20  # below which nothing is said about frequencies
LARGE_MAJORITY = 0.9  # of the rows; accuracy tells little of a network beside such a class
MIN_REPEATED = 50  # rows of repeated inputs below which nothing is said about their labels
_MOST_CLASSES = 20  # that are written as floats; more different ones are amounts
LAST = 256  # steps of a row that are compared with its target
Row = tuple[Hashable, ...]


@dataclass
class Rows:
    """Labelled rows, what was noticed of their form, and the facts that several checks need."""

    name: str  # "training" or "evaluation"
    vocab_size: int | None = None  # number of tokens, or None if nobody knows
    padding_id: int | None = None  # stands behind the end of a row, or None
    is_file: bool = False  # they are the lines of a label file, which training shuffles
    padded: list[Row] = field(default_factory=list)  # a step of features is its bytes
    lengths: list[int] = field(default_factory=list)  # number of steps that count
    targets: list[Hashable] = field(default_factory=list)  # tuples if each step has a label
    batches: list[int] = field(default_factory=list)  # the number of the batch of each row, or 0
    # "int", "bool", "whole" and "real" (floats), "text"; of inputs also "features", "turned"; of
    # labels also "int32", "column" (N, 1), "one-hot", "steps"
    input_kinds: set[str] = field(default_factory=set)
    label_kinds: set[str] = field(default_factory=set)
    not_finite: set[str] = field(default_factory=set)  # what has NaN or infinite values
    sizes: list[float] = field(default_factory=list)  # mean size of the numbers in each row
    # Of real inputs: in how many rows the target equals the number at a step, counted from the end,
    # and of a feature, (LAST, …), by the shape of a step.
    copies: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)
    mismatch: str = ""  # shapes that do not fit each other, in words
    has_lengths: bool = True  # they were given
    inverted: set[int] = field(default_factory=set)  # lengths by masks that are 1 on padding alone
    is_upright: bool = False  # a mask is 1 on different values
    is_batched: bool = False
    gives: str = "either"  # or "rows" (a data set) or "batches" (a loader); lists give either
    is_all: bool = True  # the data were read to the end
    promised: int = 0  # number of rows that len() tells

    def __len__(self) -> int:
        return len(self.padded)

    def gather(self) -> Rows:
        """Set what follows from the rows, once all are read."""
        if not self.is_batched:
            self.batches = [0] * len(self)
        if "whole" in self.label_kinds and len({*self.targets}) > _MOST_CLASSES:
            self.label_kinds = self.label_kinds - {"whole"} | {"real"}
        self.has_tokens = not self.input_kinds & {"real", "features"}
        self.has_classes = not self.label_kinds & {"real", "steps"}
        if self.has_tokens and "whole" in self.input_kinds and "inputs" not in self.not_finite:
            self.padded = [tuple(map(int, row)) for row in self.padded]
        if "steps" in self.label_kinds:  # a row of one step has one label
            self.label_kinds &= {"steps", "real"}  # one of several marks looks like one-hot
            self.targets = [y if isinstance(y, tuple) else (y,) for y in self.targets]
        pairs = [(row, max(0, n)) for row, n in zip(self.padded, self.lengths, strict=True)]
        self.read = [row[:n] for row, n in pairs]  # what the network reads of each row
        self.fillers = {value for row, n in pairs for value in row[n:]}  # behind the ends
        self.inputs = self.read  # without padding that nobody told the network of
        self.padding, self.tails = self._find_padding(self.padded)
        self.padding_in_front, self.heads = self._find_padding([row[::-1] for row in self.padded])
        if self.tails and not self.has_lengths:
            self.fillers = {self.padding}
            pairs = zip(self.read, self.tails, strict=True)
            self.inputs = [row[: len(row) - tail] for row, tail in pairs]
        # Numbers so fine that two that are equal have one source.
        is_fine = len({*chain.from_iterable(self.read)}) > len(self) / 2
        self.is_continuous = not self.has_tokens and is_fine
        pairs = zip(self.padded, self.targets, strict=True)
        is_tagged = self.has_tokens and self.label_kinds == {"steps"}
        self.is_tagged = is_tagged and all(len(row) == len(y) for row, y in pairs)
        self.x = numbered(self.inputs)  # equal inputs have one number, (N,)
        self.firsts = np.unique(self.x, return_index=True)[1]  # the first row of each input
        self.times = Counter(self.inputs)
        self.num_steps = [*map(len, self.inputs)]
        self.num_of_length = Counter(self.num_steps)
        self.tokens = Counter(chain.from_iterable(self.inputs))
        is_whole = self.has_classes and "whole" in self.label_kinds and not self.not_finite
        self.labels = [*map(int, self.targets)] if is_whole else self.targets
        self.counts = Counter(self.labels)  # of each class, in the order in which they come
        self.names, self.y = list(self.counts), numbered(self.labels)  # y: places in names, (N,)
        self.majority = max(self.counts.values()) / len(self)
        return self

    def num_shared(self, other: Rows) -> int:
        """How many of these rows have an input that occurs in the other rows, too."""
        return sum(row in other.times for row in self.inputs)

    def _find_padding(self, rows: Sequence[Row]) -> tuple[Hashable, list[int]]:
        """The value that ends rows of one size, and how often it does; (None, []) if none does.

        Chance ends a row with two equal tokens too; padding does so more often, and its length
        varies.
        """
        sizes = {*zip(self.batches, map(len, rows), strict=True)}
        is_even = len(sizes) == len({*self.batches}) and min(map(len, rows)) > 0
        if not is_even or len({*rows}) < MIN_REPEATED:
            return None, []
        value = self.padding_id
        if value is None:
            value = Counter(row[-1] for row in rows).most_common(1)[0][0]
        tails = [sum(1 for _ in takewhile(value.__eq__, reversed(row))) for row in rows]
        inside = sum(map(len, rows)) - sum(tails)
        usual = (sum(row.count(value) for row in rows) - sum(tails)) / max(1, inside)
        long = sum(tail > 1 for tail in tails) / len(tails)
        whole = sum(tail == len(row) for tail, row in zip(tails, rows, strict=True)) / len(tails)
        is_varied = len({*tails} - {0}) > 1 and whole < 0.5
        is_padding = is_varied and long >= 0.1 and long >= 5 * usual**2
        return (value, tails) if is_padding else (None, [])


def numbered(things: Iterable[Hashable]) -> np.ndarray:
    """Numbers for things, in the order in which they first come, int64, (N,)."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(thing, len(numbers)) for thing in things], np.int64)
