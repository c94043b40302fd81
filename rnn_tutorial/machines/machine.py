"""A finite-state machine: the rule that gives every sequence of tokens its right answer.

    state 0 --token--> state --token--> … --token--> state -> class

It is a Moore machine: the class depends on the state alone. The machine of the digit sum is in
digit_sum.py; any other is built from a table:

    Machine(("0", "1"), ("even", "odd"), successors=[[0, 1], [1, 0]], outputs=[0, 1])     parity

Shapes: S states, V tokens, C classes, N sequences, M tokens of all sequences.

Source: Moore, Gedanken-Experiments on Sequential Machines, 1956.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


class Machine:
    """States, what each token makes of them, and the class of each; state 0 is the start.

    Args:
        tokens: names of the tokens, V.
        classes: names of the classes, C.
        successors: the state after a state and a token, (S, V).
        outputs: the class of each state, (S,).

    Attributes:
        rule: what a right network computes, in words.
        is_sum: True for the digit sum.
        moduli: of a sum, the divisors between 1 and the modulus: a network that is wrong may know
            the answer modulo one of them. Other machines have none.

    Raises:
        ValueError: a name occurs twice, or a successor or an output is out of range.
    """

    rule = "the machine's"
    is_sum = False
    moduli: tuple[int, ...] = ()

    def __init__(
        self,
        tokens: Sequence[str],
        classes: Sequence[str],
        successors: ArrayLike,
        outputs: ArrayLike,
    ) -> None:
        self.tokens, self.classes = tuple(tokens), tuple(classes)
        self._successors = np.asarray(successors, np.int64)
        self._outputs = np.asarray(outputs, np.int64)
        self.num_states = len(self._outputs)
        for kind, names in (("token", self.tokens), ("class", self.classes)):
            if len(set(names)) < len(names):
                raise ValueError(f"a {kind} has the same name as another: {', '.join(names)}")
        if self._successors.shape != (self.num_states, len(self.tokens)) or not self.num_states:
            raise ValueError(
                f"successors have the shape {self._successors.shape}; "
                f"{self.num_states} states and {len(self.tokens)} tokens need one of each pair"
            )
        for name, values, limit in (
            ("successor", self._successors, self.num_states),
            ("output", self._outputs, len(self.classes)),
        ):
            if values.size and not 0 <= values.min() <= values.max() < limit:
                raise ValueError(f"a {name} is not in 0 to {limit - 1}")

    def check_sizes(self, num_tokens: int, num_classes: int) -> None:
        """Raise ValueError if a network has other numbers of tokens or classes than the machine."""
        if (num_tokens, num_classes) != (len(self.tokens), len(self.classes)):
            raise ValueError(
                f"the network has {num_tokens} tokens and {num_classes} classes, "
                f"the machine {len(self.tokens)} and {len(self.classes)}"
            )

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """The state after each state and token, int64, (S, V), and the class of each, (S,)."""
        states = np.arange(self.num_states)
        return self.step(states[:, None], np.arange(len(self.tokens))), self.output(states)

    def step(self, states: ArrayLike, tokens: ArrayLike) -> np.ndarray:
        """The states after one more token each; both are broadcast against each other."""
        return self._successors[states, tokens]

    def output(self, states: ArrayLike) -> np.ndarray:
        """The classes of states, int64."""
        return self._outputs[states]

    def final_states(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The state after each of many sequences.

        Args:
            tokens: ids of all sequences, one after the other, (M,).
            lengths: tokens of each sequence, int64, (N,), each at least 1; they sum to M.

        Returns:
            The states, int64, (N,).
        """
        longest_first = np.argsort(-lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[longest_first]
        running = np.searchsorted(-lengths[longest_first], -np.arange(lengths.max(initial=0)))
        states = np.zeros(len(lengths), np.int64)
        for t, n in enumerate(running.tolist()):  # the n sequences longer than t are the first
            states[:n] = self.step(states[:n], tokens[starts[:n] + t])
        states[longest_first] = states.copy()
        return states

    def answer(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The right class of each of many sequences, int64, (N,); see `final_states`."""
        return self.output(self.final_states(tokens, lengths))

    def class_shares(self, lengths: range) -> np.ndarray:
        """Share of the sequences that have each class: the mean over these lengths, (C,)."""
        successors, outputs = self.tables()
        shares = np.zeros(len(self.classes))
        of_states = np.zeros(self.num_states)  # of the sequences of one length, that end there
        of_states[0] = 1
        for length in range(1, lengths[-1] + 1):
            each = np.repeat(of_states / len(self.tokens), len(self.tokens))
            of_states = np.bincount(successors.ravel(), each, self.num_states)
            if length in lengths:
                shares += np.bincount(outputs, of_states, len(shares)) / len(lengths)
        return shares

    def answer_one(self, tokens: Sequence[int]) -> int:
        """The right class of one sequence of token ids, at least one."""
        return int(self.answer(np.asarray(tokens), np.array([len(tokens)]))[0])


def count_sequences(num_tokens: int, min_seq_len: int, max_seq_len: int) -> int:
    """Number of different sequences: 111,100 of ten tokens with lengths 2 to 5."""
    if num_tokens == 1:
        return max_seq_len - min_seq_len + 1
    return (num_tokens ** (max_seq_len + 1) - num_tokens**min_seq_len) // (num_tokens - 1)


def sequences_at(places: np.ndarray, length: int, num_tokens: int) -> np.ndarray:
    """The sequences of this length at N places of the lexicographic order, int64, (N, length).

    Place i of the sequences of length n is the number i written with n digits in base num_tokens:
    place 42 of length 3 is [0, 4, 2] for ten tokens.
    """
    return places[:, None] // num_tokens ** np.arange(length - 1, -1, -1) % num_tokens
