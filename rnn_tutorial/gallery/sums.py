"""What `addition` learns: sums, of which there are a million, or the pairs of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rnn_tutorial.gallery.pairs import (
    SPLIT_STREAM,
    SUMS_STREAM,
    Pairs,
    hold_out,
    read_pairs,
)

LIMIT = 1000  # the numbers are below it
NUM_SUMS = LIMIT**2
_NUM_CHECKED = 5000  # sums that an evaluation in training asks


def choose_pairs(config: Any) -> tuple[Pairs, Pairs]:
    """The pairs that an AdditionConfig trains on, and others to check the training with.

    Raises:
        ValueError: the file of the pairs is refused; see `read_pairs`.
    """
    if config.pairs_file:
        return hold_out(read_pairs(config.pairs_file, config.units), config.seed)
    return draw_sums(config.seed, config.num_pairs, config.short_share)


def make_sums(numbers: Iterable[Sequence[int]]) -> Pairs:
    """The sums of numbers, two at a time: [535, 61] gives 535+61 -> 596."""
    pairs = [(f"{a}+{b}", str(a + b)) for a, b in numbers]
    return Pairs(*map(list, zip(*pairs, strict=True)))


def is_sum(text: str) -> bool:
    """True if a text is a question of this form: two numbers with a plus between them."""
    return re.fullmatch(r"[0-9]+\+[0-9]+", text) is not None


def solve(question: str) -> str:
    """The right answer to a question."""
    return make_sums([[int(number) for number in question.split("+")]]).targets[0]


def all_sums() -> Iterator[Pairs]:
    """All the million, in parts: those that begin with 0, with 1, …"""
    for a in range(LIMIT):
        yield make_sums((a, b) for b in range(LIMIT))


def draw_long_sums(digits: int, count: int) -> Pairs:
    """Different sums of two numbers of so many digits each, always the same ones.

    Args:
        digits: of each number.
        count: of sums; all of them if there are no more.
    """
    low, high = 10 ** (digits - 1) if digits > 1 else 0, 10**digits
    if (high - low) ** 2 <= count:
        return make_sums((a, b) for a in range(low, high) for b in range(low, high))
    generator = np.random.default_rng(digits)
    drawn: dict[tuple[int, ...], None] = {}  # in the order in which they were drawn
    while len(drawn) < count:
        numbers = generator.integers(low, high, (count - len(drawn), 2))
        drawn.update(dict.fromkeys(map(tuple, numbers.tolist())))
    return make_sums(drawn)


def draw_sums(seed: int, num_pairs: int, short_share: float) -> tuple[Pairs, Pairs]:
    """The sums to train on, and a few of the others (of all, if there are no others)."""
    trained = _draw_trained(seed, num_pairs, short_share)
    others = np.delete(np.arange(NUM_SUMS), trained) if num_pairs < NUM_SUMS else trained
    generator = np.random.default_rng([seed, SPLIT_STREAM])
    checked = generator.choice(others, min(len(others), _NUM_CHECKED), replace=False)
    return _sums_of(trained), _sums_of(checked)


def _sums_of(indices: np.ndarray) -> Pairs:
    """The sums a+b with these indices a·LIMIT + b."""
    return make_sums(np.stack(np.divmod(indices, LIMIT), axis=1).tolist())


def _draw_trained(seed: int, num_pairs: int, short_share: float) -> np.ndarray:
    """The indices of the sums that are trained, none of them twice, int64, (num_pairs,).

    Args:
        seed: of the run.
        num_pairs: at most NUM_SUMS.
        short_share: of a uniform draw only one in fifty has a number of one digit. So with this
            probability, each number's digits are drawn first, 1, 2 or 3 alike, and then the
            number, much as the example of Keras does.

    Source: Smerity and others, Sequence to sequence learning for performing number addition,
    keras.io/examples/nlp/addition_rnn; without repetition as in Efraimidis and Spirakis, Weighted
    random sampling with a reservoir, 2006.
    """
    numbers = np.arange(LIMIT)
    by_digits = 1 / (3 * np.array([10, 90, 900])[np.digitize(numbers, (10, 100))])
    chances = short_share * np.outer(by_digits, by_digits).ravel() + (1 - short_share) / NUM_SUMS
    generator = np.random.default_rng([seed, SUMS_STREAM])
    arrivals = generator.exponential(size=NUM_SUMS) / chances  # the likelier, the earlier
    return np.sort(np.argpartition(arrivals, num_pairs - 1)[:num_pairs])
