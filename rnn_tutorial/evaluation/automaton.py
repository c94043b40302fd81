"""The automaton that a network has learned, seen at the hidden states that it visits.

Shapes: P visited states, S states of the machine, V tokens, C classes, H hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np

from rnn_tutorial.data.streams import EXAMINE_STREAM, WALK_STREAM
from rnn_tutorial.data.walks import Walks
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet

_MAX_LENGTH = 50  # of the sequences that visit the hidden states
_MAX_TRANSITIONS = 10**6  # states of the machine times tokens: cells of the table


@dataclass(frozen=True)
class Automaton:
    """Which answer follows which, and where the hidden states of the machine's states lie.

    Args:
        machine: what the network should compute.
        table: most frequent answer after a token is read in a state of the machine, (S, V); -1 for
            a state that is not visited.
        agreement: smallest share of the hidden states of a machine state that follow the table when
            a token is read. States whose answer is the class of no state do not count.
        is_right: True if the table is the machine's and every hidden state follows it.
        points: hidden states in the three main components of the states' means, (P, 3). (The
            hidden states differ more by their last token than by their machine state.)
        states: the machine state of each, (P,); see `find_automaton`.
        centres: mean point of each machine state, (S, 3), not finite where none is visited.
        period_shares: for the sum: of the variance between the mean hidden states of the
            remainders, the share of each period p > 1 that divides the modulus: period 2 tells odd
            from even. Empty if not all are visited.
    """

    machine: Machine
    table: np.ndarray
    agreement: float
    is_right: bool
    points: np.ndarray
    states: np.ndarray
    centres: np.ndarray
    period_shares: dict[int, float]

    def describe(self) -> str:
        """The transition table, whether it is the machine's, and what the states tell apart."""
        names, tokens = [*self.machine.classes, "–"], self.machine.tokens
        cells = [[names[answer] for answer in row] for row in self.table]
        if self.machine.is_sum:
            state = "remainder"
            lines = ["Remainder after reading a digit (rows: remainder before, columns: digit):"]
        else:
            state = "state"
            lines = ["Machine's next state, and answer, after reading a token (rows: state before;"]
            lines[0] += " 0 is the start):"
            successors, _ = self.machine.tables()
            cells = [
                [f"{after} {answer}" for after, answer in zip(*rows, strict=True)]
                for rows in zip(successors, cells, strict=True)
            ]
        width = max(2, *map(len, chain(tokens, *cells)))
        lines.append("     " + " ".join(f"{name:>{width}}" for name in tokens))
        for number, row in enumerate(cells):
            lines.append(f"{number:>3}: " + " ".join(f"{cell:>{width}}" for cell in row))
        visited = self.table[:, 0] >= 0
        expected = self.machine.output(self.machine.tables()[0])  # (S, V)
        is_same = np.array_equal(self.table[visited], expected[visited])
        verdict = "is" if is_same else "is not"
        share = "all" if self.agreement == 1 else f"at least {self.agreement:.2%} of each {state}"
        num_lost = int((self.states < 0).sum())
        lines.append(
            f"The table {verdict} {self.machine.rule}; of the {len(self.states) - num_lost:,} "
            f"visited hidden states, {share} follow it."
        )
        if num_lost:
            lines.append(f"Hidden states whose answer is the class of no state: {num_lost:,}.")
        if num_missed := int((self.table[:, 0] < 0).sum()):
            lines.append(f"States of the machine that were not visited: {num_missed:,}.")
        if self.period_shares:
            shares = (f"{share:.1%} modulo {p}" for p, share in self.period_shares.items())
            lines.append(f"The remainders' mean states differ by: {', '.join(shares)}.")
        return "\n".join(lines)


def find_automaton(model: RnnClsNet, machine: Machine, num_states: int = 2000) -> Automaton:
    """Visit hidden states by random sequences and see which answer each token leads to.

    Each hidden state is given a state of the machine. If the class names it, as the remainder of a
    sum, it is the state of the class that the network answers: then a network that starts wrong
    and goes on right, always 5 too high, is an automaton that adds. If several states of the
    machine have the same class, it is the state that the sequence really leads to.

    Args:
        model: in evaluation mode.
        num_states: number of sequences, P.

    Raises:
        ValueError: the network has no state, or scores that are NaN, or does not fit the machine,
            or never answers with the class of a state; or the table of the machine is too large.
    """
    num_transitions = machine.num_states * len(machine.tokens)
    if num_transitions > _MAX_TRANSITIONS:
        raise ValueError(
            f"an automaton of {num_transitions:,} transitions is too large to look for; at most "
            f"{_MAX_TRANSITIONS:,} are allowed"
        )
    machine.check_sizes(model.arguments["vocab_size"], model.arguments["cls_num"])
    num_tokens = len(machine.tokens)
    flat, lengths = _draw_sequences(machine, num_states)
    scorer = Scorer(model)
    answers = _answer(scorer, flat, lengths)
    following = np.empty((num_states, num_tokens), np.int64)
    for token in range(num_tokens):
        extended = np.insert(flat, np.cumsum(lengths), token)  # one token more at each end
        following[:, token] = _answer(scorer, extended, lengths + 1)
    states = _machine_states(machine, flat, lengths, answers)
    table, agreement = _most_frequent(states, following, machine)
    visited = np.unique(states[states >= 0])
    if not len(visited):
        raise ValueError("every answer is a class of no state: it has not learned an automaton")
    tokens = np.arange(num_tokens)
    reachable = np.union1d(machine.step(0, tokens), machine.step(visited[:, None], tokens))
    is_complete = bool(np.isin(reachable, visited).all())
    expected = machine.output(machine.step(states[:, None], tokens))
    is_followed = (answers == machine.output(states)) & (following == expected).all(axis=1)

    hidden = scorer.final_states(flat, lengths)[-1].cpu().numpy()  # (P, H)
    means = np.full((machine.num_states, hidden.shape[1]), np.nan)
    for state in visited:
        means[state] = hidden[states == state].mean(axis=0)
    points, centres = _project(hidden, means)
    shares = _period_shares(means) if machine.is_sum and is_complete else {}
    is_right = is_complete and bool(is_followed.all())
    return Automaton(machine, table, agreement, is_right, points, states, centres, shares)


def _draw_sequences(machine: Machine, num_sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """Random sequences, one after the other, and their lengths, (P,); of a sum uniform ones."""
    num_tokens = len(machine.tokens)
    if not machine.is_sum:
        limits = 1, _MAX_LENGTH, 0, WALK_STREAM
        x, lengths = Walks(machine, *limits).draw(0, num_sequences)
        return x[x < num_tokens], lengths
    generator = np.random.default_rng([0, EXAMINE_STREAM, 0])
    lengths = generator.integers(1, _MAX_LENGTH + 1, num_sequences)
    sequences = [generator.integers(0, num_tokens, length) for length in lengths]
    return np.concatenate(sequences), lengths


def _answer(scorer: Scorer, flat: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The network's answers, (P,), to sequences that lie one after the other."""
    answers, probabilities = scorer.classify(flat, lengths)
    if np.isnan(probabilities).any():
        raise ValueError("some scores of the network are NaN: it has not learned an automaton")
    return answers


def _machine_states(
    machine: Machine, flat: np.ndarray, lengths: np.ndarray, answers: np.ndarray
) -> np.ndarray:
    """The machine state of each sequence, (P,); -1 if its answer is the class of no state."""
    outputs = machine.output(np.arange(machine.num_states))
    if len(np.unique(outputs)) < len(outputs):
        return machine.final_states(flat, lengths)
    state_of_class = np.full(len(machine.classes), -1)
    state_of_class[outputs] = np.arange(machine.num_states)
    return state_of_class[answers]


def _most_frequent(
    states: np.ndarray, following: np.ndarray, machine: Machine
) -> tuple[np.ndarray, float]:
    """The most frequent class after each state and token, (S, V), and the smallest agreement.

    They are counted from machine states, (P,), and the answers after each token, (P, V).
    """
    table = np.full((machine.num_states, len(machine.tokens)), -1)
    agreement = 1.0
    for state in np.unique(states[states >= 0]):
        for token, answers in enumerate(following[states == state].T):
            counts = np.bincount(answers)
            table[state, token] = counts.argmax()
            agreement = min(agreement, float(counts.max() / counts.sum()))
    return table, agreement


def _project(hidden: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states, (P, H), and means, (S, H), in the three main components of the means.

    Of fewer than three units, the components that there are not are 0.
    """
    middle = np.nanmean(means, axis=0)
    centred = np.nan_to_num(means - middle)
    is_wide = centred.shape[0] < centred.shape[1]  # if it is not, (H, H) needs no matrix of (S, S)
    _, _, components = np.linalg.svd(centred, full_matrices=is_wide)  # (H, H)
    view = np.zeros((len(components), 3))
    view[:, : len(components[:3])] = components[:3].T
    return (hidden - middle) @ view, (means - middle) @ view


def _period_shares(means: np.ndarray) -> dict[int, float]:
    """Share of the variance of a sequence of vectors, (S, H), by its period in the sequence.

    The discrete Fourier transform is a sum of vectors that turn k times in S steps; each has the
    period S / gcd(k, S), and their squares add up to the variance (Parseval).
    """
    length = len(means)
    power = (np.abs(np.fft.fft(means, axis=0)) ** 2).sum(axis=1)  # (S,)
    periods = np.array([length // math.gcd(k, length) for k in range(length)])
    shares = {p: power[periods == p].sum() / power[1:].sum() for p in np.unique(periods[1:])}
    return {int(period): float(share) for period, share in shares.items()}
