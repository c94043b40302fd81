"""Accuracy at any length: samples of random sequences, and sequences that are hard on purpose.

Shapes: N sequences, R hard sequences, T steps, V tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnn_tutorial.data.streams import EXAMINE_STREAM, WALK_STREAM
from rnn_tutorial.data.walks import Walks
from rnn_tutorial.evaluation.result import wilson_interval
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.machines.machine import Machine, count_sequences
from rnn_tutorial.model.classifier import RnnClsNet

_MAX_INPUTS = 10**9  # up to --max_len
_FEW_INPUTS = 2 * 10**6  # up to the default of --max_len: a second's work
_MAX_TOKENS = 2 * 10**8  # of a sample: some gigabytes
_MAX_REPEATED = 1000
_LONGEST_ENUMERATED = 1000  # of a single token there are few sequences of any length


@dataclass(frozen=True)
class LengthResult:
    """How many sequences of one length are answered correctly.

    Args:
        length: of the sequences.
        num_random, right_random: size of a seeded sample, and how many of it are right. Tokens are
            uniform; but half of the sequences of a machine that is no sum stay out of its traps.
        right_modulo: for each p between 1 and C that divides C, how many of the sample are right
            modulo p, if the answer is a sum: a network may know whether a sum is even, and no more.
        low, high: 95% Wilson interval of the accuracy on random sequences.
        num_hard, right_hard: one token repeated, and the first and the last token in turn.
    """

    length: int
    num_random: int
    right_random: int
    right_modulo: dict[int, int]
    low: float
    high: float
    num_hard: int
    right_hard: int

    def describe(self) -> str:
        """A row for the table whose head is TABLE_HEAD."""
        partly_right = ""
        if self.right_random < self.num_random and self.right_modulo:
            counts = [f"{right:,} modulo {p}" for p, right in self.right_modulo.items()]
            partly_right = f"  (right: {', '.join(counts)})"
        return (
            f"{self.length:>6,}  {self.right_random:>6,}/{self.num_random:,}  "
            f"[{self.low:.4f}, {self.high:.4f}]  "
            f"{self.right_hard:>4}/{self.num_hard}{partly_right}"
        )


TABLE_HEAD = "length   random right  95% interval       hard cases right"


def hard_sequences(length: int, num_tokens: int) -> np.ndarray:
    """Each token (or 1,000 of them) repeated, then the first and the last in turn: ids, (R, T)."""
    last = num_tokens - 1
    repeated = np.linspace(0, last, min(num_tokens, _MAX_REPEATED))
    alternating = np.arange(length) % 2 * last
    sequences = np.empty((len(repeated) + 2, length), np.min_scalar_type(last))
    sequences[:-2] = repeated.round()[:, None]
    sequences[-2:] = alternating, last - alternating
    return sequences


def accuracy_at_length(
    model: RnnClsNet, machine: Machine, length: int, num_sequences: int = 1000
) -> LengthResult:
    """Accuracy on a sample that is the same for every network, and on hard sequences.

    An answer is wrong, modulo every number, if a score is NaN. In the sample, the first of the
    highest scores is the answer; a hard sequence is right only if its class is above all others.
    """
    sample = sample_sequences(machine, length, num_sequences)
    hard = hard_sequences(length, len(machine.tokens))

    scorer = Scorer(model)
    flat = sample.ravel(), np.full(num_sequences, length)
    answers, probabilities = scorer.classify(*flat)
    errors = (answers - machine.answer(*flat))[~np.isnan(probabilities)]
    right = int((errors == 0).sum())
    right_modulo = {p: int((errors % p == 0).sum()) for p in machine.moduli}
    low, high = wilson_interval(right, num_sequences)
    num_hard = len(hard)
    flat = hard.ravel(), np.full(num_hard, length)
    right_hard = int(scorer.is_right(*flat, machine.answer(*flat)).sum())
    return LengthResult(length, num_sequences, right, right_modulo, low, high, num_hard, right_hard)


def sample_sequences(machine: Machine, length: int, num_sequences: int) -> np.ndarray:
    """The same token ids for every network, (N, T).

    They are uniform; but every other row of a machine that is no sum stays out of traps.
    """
    num_tokens = len(machine.tokens)
    generator = np.random.default_rng([0, EXAMINE_STREAM, length])
    token_type = np.min_scalar_type(num_tokens - 1)
    sample = generator.integers(0, num_tokens - 1, (num_sequences, length), token_type, True)
    if not machine.is_sum and num_sequences > 1:
        limits = length, length, 0, WALK_STREAM
        walks = Walks(machine, *limits, trap_weight=0, all_shun=True)
        sample[1::2] = walks.draw(0, num_sequences // 2)[0]
    return sample


def longest_enumerable(num_tokens: int) -> int:
    """The greatest length up to which all inputs together are few enough to score in a moment."""
    num_inputs = num_tokens
    for length in range(1, _LONGEST_ENUMERATED):
        num_inputs += num_tokens ** (length + 1)
        if num_inputs > _FEW_INPUTS:
            return length
    return _LONGEST_ENUMERATED


def check_feasible(
    num_tokens: int, max_len: int, lengths: Sequence[int], num_sequences: int
) -> None:
    """Raise ValueError if --max_len, --lengths or --num_sequences ask for too much."""
    # (To length 30, even two tokens make more than a billion inputs; longer ones need no count.)
    if count_sequences(num_tokens, 1, min(max_len, 30)) > _MAX_INPUTS:
        raise ValueError(f"--max_len {max_len} has more than a billion inputs, too many to score")
    if num_tokens == 1 and max_len > _LONGEST_ENUMERATED:
        raise ValueError(f"--max_len {max_len} with one token: allowed are {_LONGEST_ENUMERATED:,}")
    longest, num_hard = max(lengths), min(num_tokens, _MAX_REPEATED) + 2
    tokens = longest * max(num_sequences, num_hard)
    if tokens > _MAX_TOKENS:
        raise ValueError(
            f"--lengths {longest} with --num_sequences {num_sequences} scores {tokens:,} "
            f"tokens at once; allowed are {_MAX_TOKENS:,}"
        )
