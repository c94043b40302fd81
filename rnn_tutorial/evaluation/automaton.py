"""The machine that a network has learned, seen at the hidden states that it visits.

Shapes: P visited states, C digits and residues, H hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rnn_tutorial.data.streams import EXAMINE_STREAM
from rnn_tutorial.evaluation.scorer import Inference
from rnn_tutorial.machines.digit_sum import num_classes
from rnn_tutorial.model.classifier import RnnClsNet


@dataclass(frozen=True)
class Automaton:
    """Which residue follows which, and how the states of the residues lie to each other.

    Args:
        table: most frequent residue that follows residue r under digit d, (C, C).
        agreement: smallest share of the visited states of a residue that follow the table.
        is_right: True if the table is (r + d) mod C and every state follows it.
        points: states in the three main components of the residues' mean states, (P, 3). (The
            states themselves differ more by their last digit than by their residue.)
        residues: the network's answer at each, (P,).
        centres: mean point of each residue, (C, 3), not finite where none is visited.
        period_shares: of the variance between the residues' mean states, the share of each period
            p > 1 that divides C: period 2 tells odd from even. Empty if not all are visited.
    """

    table: np.ndarray
    agreement: float
    is_right: bool
    points: np.ndarray
    residues: np.ndarray
    centres: np.ndarray
    period_shares: dict[int, float]

    def describe(self) -> str:
        """The transition table, whether it is addition modulo C, and what the states tell apart."""
        classes = len(self.table)
        lines = ["Residue after reading a digit (rows: residue before, columns: digit):"]
        lines.append("     " + " ".join(f"{digit:>2}" for digit in range(classes)))
        for residue, row in enumerate(self.table):
            lines.append(f"{residue:>3}: " + " ".join(f"{following:>2}" for following in row))
        verdict = "is" if self.is_right else "is not"
        lines.append(
            f"The table {verdict} addition modulo {classes}; of the {len(self.residues):,} visited "
            f"states, at least {self.agreement:.2%} of each residue follow it."
        )
        if self.period_shares:
            shares = (f"{share:.1%} modulo {p}" for p, share in self.period_shares.items())
            lines.append(f"The residues' mean states differ by: {', '.join(shares)}.")
        return "\n".join(lines)


def find_automaton(
    model: RnnClsNet, max_number: int, num_states: int = 2000, max_seq_len: int = 50
) -> Automaton:
    """Visit states by random sequences and see which residue each digit leads to.

    Raises:
        ValueError: the network has no state, or scores that are no numbers.
    """
    classes = num_classes(max_number)
    generator = np.random.default_rng([0, EXAMINE_STREAM, 0])
    lengths = generator.integers(1, max_seq_len + 1, num_states)
    sequences = [generator.integers(0, classes, length) for length in lengths]
    inference = Inference(model)

    def answers(extended: list[np.ndarray]) -> np.ndarray:
        sizes = np.array([len(digits) for digits in extended])
        found, probabilities = inference.classify(np.concatenate(extended), sizes)
        if np.isnan(probabilities).any():
            raise ValueError("some scores of the network are no numbers: it is no automaton")
        return found

    residues = answers(sequences)
    table = np.zeros((classes, classes), np.int64)
    agreement = 1.0
    for digit in range(classes):
        following = answers([np.append(sequence, digit) for sequence in sequences])
        for residue in range(classes):
            counts = np.bincount(following[residues == residue], minlength=classes)
            table[residue, digit] = counts.argmax()
            if counts.sum():
                agreement = min(agreement, counts.max() / counts.sum())
    digits = np.arange(classes)
    expected = (digits[:, None] + digits) % classes
    visited = np.isin(digits, residues).all()

    states = inference.final_states(np.concatenate(sequences), lengths)[-1].numpy()  # (P, H)
    means = np.full((classes, states.shape[1]), np.nan)
    for residue in np.unique(residues):
        means[residue] = states[residues == residue].mean(axis=0)
    middle = np.nanmean(means, axis=0)
    _, _, components = np.linalg.svd(np.nan_to_num(means - middle))  # (H, H)
    points, centres = ((own - middle) @ components[:3].T for own in (states, means))
    is_right = bool(visited and (table == expected).all() and agreement == 1.0)
    shares = _period_shares(means) if visited else {}
    return Automaton(table, float(agreement), is_right, points, residues, centres, shares)


def _period_shares(means: np.ndarray) -> dict[int, float]:
    """Share of the variance of a sequence of vectors, (C, H), by its period in the sequence.

    The discrete Fourier transform is a sum of vectors that turn k times in C steps; each has the
    period C / gcd(k, C), and their squares add up to the variance (Parseval).
    """
    classes = len(means)
    power = (np.abs(np.fft.fft(means, axis=0)) ** 2).sum(axis=1)  # (C,)
    periods = np.array([classes // math.gcd(k, classes) for k in range(classes)])
    return {
        int(period): float(power[periods == period].sum() / power[1:].sum())
        for period in np.unique(periods[1:])
    }
