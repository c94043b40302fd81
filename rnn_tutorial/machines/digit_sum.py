"""The rule of the digit sum: read digits 0..max_number, answer their sum modulo (max_number + 1).

1 2 3    ->  6
9 9 9 9  ->  36 mod 10 = 6
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rnn_tutorial.machines.machine import Machine


def num_classes(max_number: int) -> int:
    """Number of digits, hence of possible answers: 0..max_number."""
    return max_number + 1


def padding_id(max_number: int) -> int:
    """Token id that fills the end of short rows: the first id that is no digit."""
    return max_number + 1


def label(digits: ArrayLike, max_number: int) -> np.ndarray | np.int64:
    """The label rule: sum of the digits modulo (max_number + 1), over the last axis.

    Rows may be padded: the padding id is max_number + 1, which counts as 0 modulo (max_number + 1).

    Args:
        digits: digits or padding ids, (..., T).
        max_number: largest digit.

    Returns:
        The labels, int64, (...), each in 0..max_number.
    """
    return np.asarray(digits, dtype=np.int64).sum(axis=-1) % num_classes(max_number)


class SumModulo(Machine):
    """The machine of the digit sum: its state is the remainder of the digits read so far.

    Its tables would have (max_number + 1)² cells; the arithmetic needs none.
    """

    is_sum = True

    def __init__(self, max_number: int) -> None:
        self.num_states = num_classes(max_number)
        self.tokens = self.classes = tuple(map(str, range(self.num_states)))
        self.rule = f"addition modulo {self.num_states}"
        self.moduli = tuple(p for p in range(2, self.num_states) if self.num_states % p == 0)

    def step(self, states: ArrayLike, tokens: ArrayLike) -> np.ndarray:
        return (np.asarray(states, np.int64) + tokens) % self.num_states

    def output(self, states: ArrayLike) -> np.ndarray:
        return np.asarray(states, np.int64)

    def class_shares(self, lengths: range) -> np.ndarray:
        share = 1 / self.num_states  # the last digit makes all sums equally likely
        return np.full(self.num_states, share)

    def final_states(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        starts = np.cumsum(lengths) - lengths
        return np.add.reduceat(tokens, starts, dtype=np.int64) % self.num_states
