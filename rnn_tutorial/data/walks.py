"""Sequences that visit what matters in a machine, where uniform tokens seldom go.

Uniform tokens hardly ever go round a cycle of five places, and nearly all random strings are soon
rejected by a grammar, whatever follows. Two rules, the same for every machine, mend both:

    Each sequence has likely and unlikely tokens of its own: their probabilities are drawn from a
    Dirichlet distribution with parameters below 1. So some sequences are nearly all of one token.

    In half of the sequences, a token that leads into a trap, a state after which the answer is
    settled, is made less likely. The other half goes there freely, and stays.

Shapes: N sequences, T time steps (max_seq_len), V tokens, S states of the machine.
"""

from __future__ import annotations

import numpy as np

from rnn_tutorial.data.batches import Batches, longest_first
from rnn_tutorial.data.streams import RandomSequences
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.minimize import live_states

TRAP_WEIGHT = 0.02  # of a token that leads into a trap, in the sequences that shun it; else 1
_CONCENTRATION = 0.5  # of the Dirichlet distribution


class Walks(RandomSequences):
    """An endless stream of random walks through a machine; lengths are uniform.

    Args:
        machine: its tokens and successors.
        min_seq_len, max_seq_len, seed, stream: as of RandomSequences.
        trap_weight: of a token that leads into a trap, in the sequences that shun traps; with 0
            they stay out while they can.
        all_shun: whether all sequences shun traps, or every other.
    """

    def __init__(
        self,
        machine: Machine,
        min_seq_len: int,
        max_seq_len: int,
        seed: int,
        stream: int,
        trap_weight: float = TRAP_WEIGHT,
        all_shun: bool = False,
    ) -> None:
        num_tokens = len(machine.tokens)
        super().__init__(num_tokens, min_seq_len, max_seq_len, seed, stream)
        self.block_size = min(self.block_size, max(1, 2**20 // num_tokens))
        self._machine = machine
        self._shunning = slice(None, None, 1 if all_shun else 2)  # rows of a block
        self._preferences = None  # of the tokens in each state, (S, V), if they differ
        is_live = live_states(machine)  # (S,)
        if not is_live.all():
            successors, _ = machine.tables()
            self._preferences = np.where(is_live[successors], 1, trap_weight).astype(np.float32)

    def _draw_tokens(self, generator: np.random.Generator, length: int) -> np.ndarray:
        N, V = self.block_size, len(self._machine.tokens)
        own = generator.standard_gamma(_CONCENTRATION, (N, V), np.float32)  # up to a factor
        chances = generator.random((length, N), np.float32)
        x = np.empty((length, N), np.int64)
        if self._preferences is None:
            cumulative = own.cumsum(axis=1)
            for t in range(length):
                x[t] = _pick(cumulative, chances[t])
            return x.T
        states = np.zeros(N, np.int64)
        for t in range(length):
            weights = own.copy()
            weights[self._shunning] *= self._preferences[states[self._shunning]]
            stuck = ~weights.any(axis=1)  # with a trap_weight of 0, no way out of a trap
            weights[stuck] = own[stuck]
            x[t] = _pick(weights.cumsum(axis=1), chances[t])
            states = self._machine.step(states, x[t])
        return x.T


def _pick(cumulative: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """A token for each row, (N,), from its cumulative weights, (N, V), by a number in [0, 1)."""
    is_passed = cumulative <= (chances * cumulative[:, -1])[:, None]
    return np.minimum(is_passed.sum(axis=1), cumulative.shape[1] - 1)


class LabelledStream:
    """The endless stream of training batches of a machine: sequences with its answers.

    Args:
        sequences: Walks, or RandomSequences for uniform tokens.
        machine: the rule.
    """

    def __init__(self, sequences: RandomSequences, machine: Machine) -> None:
        self.block_size = sequences.block_size
        self._sequences, self._machine = sequences, machine

    def draw_batches(self, first: int, count: int, batch_size: int) -> Batches:
        """The batches first .. first + count - 1 of the stream, `batch_size` samples each."""
        x, seq_lengths = self._sequences.draw(first * batch_size, count * batch_size)
        tokens = x[x < len(self._machine.tokens)]  # without the padding, row by row
        return longest_first(x, seq_lengths, self._machine.answer(tokens, seq_lengths), batch_size)
