"""Sums as pairs: 535+61 -> 596. There are a million of two numbers below 1000."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from rnn_tutorial.gallery.pairs import SPLIT_STREAM, SUMS_STREAM, Pairs

LIMIT = 1000  # the numbers are below it
NUM_SUMS = LIMIT**2
DRAWS = ("digits", "uniform")
_NUM_CHECKED = 5000  # sums that an evaluation in training asks


def make_sums(numbers: Iterable[Sequence[int]], is_reversed: bool = False) -> Pairs:
    """The sums of numbers, two at a time: [535, 61] gives 535+61 -> 596, or 695 if reversed."""
    order = slice(None, None, -1 if is_reversed else 1)
    pairs = [(f"{a}+{b}", str(a + b)[order]) for a, b in numbers]
    return Pairs(*map(list, zip(*pairs, strict=True)))


def is_sum(text: str) -> bool:
    """True if a text is a question of this form: two numbers with a plus between them."""
    return re.fullmatch(r"[0-9]+\+[0-9]+", text) is not None


def solve(question: str, is_reversed: bool = False) -> str:
    """The right answer to a question."""
    return make_sums([[int(number) for number in question.split("+")]], is_reversed).targets[0]


def all_sums(is_reversed: bool = False) -> Iterator[Pairs]:
    """All the million, in parts."""
    for first in range(0, NUM_SUMS, 20 * LIMIT):
        yield _sums_of(np.arange(first, first + 20 * LIMIT), is_reversed)


def draw_long_sums(digits: int, count: int, is_reversed: bool) -> Pairs:
    """Sums of two numbers of so many digits each, always the same ones."""
    low = 10 ** (digits - 1) if digits > 1 else 0
    numbers = np.random.default_rng(digits).integers(low, 10**digits, (count, 2))
    return make_sums(numbers.tolist(), is_reversed)


def draw_sums(seed: int, num_pairs: int, draw: str, is_reversed: bool) -> tuple[Pairs, Pairs]:
    """The sums to train on, and a few of the others (of all, if there are no others)."""
    trained = _draw_trained(seed, num_pairs, draw)
    others = np.setdiff1d(np.arange(NUM_SUMS), trained) if num_pairs < NUM_SUMS else trained
    generator = np.random.default_rng([seed, SPLIT_STREAM])
    checked = generator.choice(others, min(len(others), _NUM_CHECKED), replace=False)
    return _sums_of(trained, is_reversed), _sums_of(checked, is_reversed)


def _sums_of(indices: np.ndarray, is_reversed: bool) -> Pairs:
    """The sums a+b with these indices a·LIMIT + b."""
    return make_sums(np.stack(np.divmod(indices, LIMIT), axis=1).tolist(), is_reversed)


def _draw_trained(seed: int, num_pairs: int, draw: str) -> np.ndarray:
    """The indices of the sums that are trained, none of them twice, int64, (num_pairs,).

    Args:
        seed: of the run.
        num_pairs: at most NUM_SUMS.
        draw: "uniform" draws all sums alike: only one in fifty has a number of one digit. "digits"
            draws first how many digits each number has, 1, 2 or 3 alike, and then the number, as
            the example of Keras does.

    Source: Chollet and others, Sequence to sequence learning for performing number addition,
    keras.io/examples/nlp/addition_rnn; without repetition as in Efraimidis and Spirakis, Weighted
    random sampling with a reservoir, 2006.
    """
    generator = np.random.default_rng([seed, SUMS_STREAM])
    weights = np.ones(NUM_SUMS)
    if draw == "digits":
        numbers = np.arange(LIMIT)
        of_number = 1 / np.array([10, 90, 900])[(numbers >= 10) * 1 + (numbers >= 100)]
        weights = np.outer(of_number, of_number).ravel()
    arrivals = generator.exponential(size=NUM_SUMS) / weights  # the likelier, the earlier
    return np.sort(np.argpartition(arrivals, num_pairs - 1)[:num_pairs])
