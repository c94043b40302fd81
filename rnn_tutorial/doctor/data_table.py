"""The facts about labelled rows that several checks of data need, gathered once.

Shapes: N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import cached_property
from itertools import chain, takewhile

import numpy as np

from rnn_tutorial.doctor.data_rows import Rows

Row = tuple[Hashable, ...]
MIN_ROWS = 20  # below which nothing is said about frequencies
MIN_REPEATED = 50  # rows of repeated inputs below which nothing is said about their labels


class Table:
    """Rows as they were read, and what follows from them.

    Args:
        rows: at least one.
        vocab_size: number of tokens, or None.
        padding_id: stands behind the end of a row, or None.
    """

    def __init__(self, rows: Rows, vocab_size: int | None, padding_id: int | None) -> None:
        self.rows, self.vocab_size, self.padding_id = rows, vocab_size, padding_id
        self.not_asked: dict[str, str] = {}  # by name of a finding: why it was not looked for
        self.has_tokens = not rows.input_kinds & {"real", "features"}
        self.has_classes = not rows.label_kinds & {"real", "steps"} and not rows.mismatch
        is_whole = self.has_classes and "whole" in rows.label_kinds and not rows.not_finite
        self.labels = [int(label) for label in rows.labels] if is_whole else rows.labels
        self.counts = Counter(self.labels)
        self.names = list(self.counts)
        numbers = {name: i for i, name in enumerate(self.names)}
        self.y = np.array([numbers[label] for label in self.labels], np.int64)  # (N,)
        self.padding, self.tails = find_padding(rows, rows.inputs, padding_id)
        tails = self.tails if self.tails and not rows.has_lengths else [0] * len(self)
        # What the network reads, and what of it is no padding.
        self.read = [row[: max(0, n)] for row, n in zip(rows.inputs, rows.lengths, strict=True)]
        self.inputs = [row[: len(row) - tail] for row, tail in zip(self.read, tails, strict=True)]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def majority(self) -> float:
        """The share of the most frequent class."""
        return max(self.counts.values()) / len(self)

    @cached_property
    def tokens(self) -> Counter[Hashable]:
        """How often each token occurs."""
        return Counter(chain.from_iterable(self.inputs))


def find_padding(
    rows: Rows, inputs: Sequence[Row], given: int | None
) -> tuple[Hashable, list[int]]:
    """The value that ends rows of one size, and how often it stands there; (None, []) if none does.

    Chance ends a row with two equal tokens too; padding does so more often, and its length varies.
    """
    batches = rows.batches if rows.is_batched else [0] * len(inputs)
    sizes = {*zip(batches, map(len, inputs), strict=True)}
    is_even = len(sizes) == len({*batches}) and min(map(len, inputs), default=0) > 0
    if not is_even or len({*inputs}) < MIN_REPEATED:
        return None, []
    value = Counter(row[-1] for row in inputs).most_common(1)[0][0] if given is None else given
    tails = [sum(1 for _ in takewhile(value.__eq__, reversed(row))) for row in inputs]
    inside = sum(map(len, inputs)) - sum(tails)
    usual = (sum(row.count(value) for row in inputs) - sum(tails)) / max(1, inside)
    long = sum(tail > 1 for tail in tails) / len(tails)
    whole = sum(tail == len(row) for tail, row in zip(tails, inputs, strict=True)) / len(tails)
    is_padding = long >= 0.1 and long >= 5 * usual**2 and len({*tails} - {0}) > 1 and whole < 0.5
    return (value, tails) if is_padding else (None, [])
