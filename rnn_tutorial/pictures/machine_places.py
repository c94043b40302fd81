"""Where the states of a machine are drawn, and a view of hidden states that shows them there.

Shapes: S states of a machine, P hidden states, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from rnn_tutorial.machines.machine import Machine

_MOST_ORDERED = 7  # states of which all orders are tried
_RIDGE = 1e-2


def remainder_places(modulus: int, turn: int = 1) -> np.ndarray:
    """Where each remainder is drawn, (modulus, 2).

    Twice an odd number (from 6 on) is drawn as two rings: around them goes the remainder modulo
    the odd number, even remainders above and odd ones below. Others are one ring. Adding 1 goes
    `turn` places on.
    """
    rings = num_rings(modulus)
    remainders = np.arange(modulus)
    angles = np.pi / 2 - 2 * np.pi * turn * remainders / (modulus // rings)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if rings == 2:
        places = places * [1.6, 0.6] + np.outer(1 - 2 * (remainders % 2), [0, 0.85])
    return places


def state_places(machine: Machine, turn: int = 1) -> np.ndarray:
    """Where each state of a machine is drawn, (S, 2): of a sum as above, of others on a circle.

    Around the circle go the states in the order of their classes.
    """
    if machine.is_sum:
        return remainder_places(machine.num_states, turn)
    _, outputs = machine.tables()
    order = np.argsort(np.argsort(outputs, kind="stable"))
    angles = np.pi / 2 - 2 * np.pi * order / machine.num_states
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def num_rings(modulus: int) -> int:
    """Of how many rings the places of the remainders consist."""
    return 2 if modulus % 4 == 2 and modulus > 2 else 1


def arrangements(machine: Machine) -> Iterator[tuple[int, np.ndarray]]:
    """Turns and places: rings of a sum with all turns; of other small machines all orders."""
    size = machine.num_states
    if machine.is_sum:
        ring = size // num_rings(size)
        for turn in range(1, max(2, ring)):
            if np.gcd(turn, ring) == 1:
                yield turn, state_places(machine, turn)
        return
    places = state_places(machine)
    for order in permutations(range(1, size)) if size <= _MOST_ORDERED else (range(1, size),):
        yield 1, places[[0, *order]]  # a view can turn, so that state 0 need not move


def telling_tokens(machine: Machine, turn: int) -> Sequence[int]:
    """Tokens by which any state leads to any other: of a sum those along a ring and across."""
    if not machine.is_sum:
        return range(len(machine.tokens))
    modulus = machine.num_states
    rings = num_rings(modulus)
    size = modulus // rings
    steps = [d for d in range(rings, modulus, rings) if turn * d % size in (1, size - 1)]
    return [*steps[:1], *([size] if rings == 2 else [])]


def find_view(hidden: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A linear map of states, (P, H), that takes each near its goal, (P, 2): ridge regression.

    Returns:
        The map, (H, 2), and what is to be subtracted from a state before, (H,).
    """
    middle = hidden.mean(axis=0)
    centred = hidden - middle
    covariance = centred.T @ centred
    # (A network of dead ReLUs has one state only, and no variance.)
    ridge = (_RIDGE * np.trace(covariance) / len(covariance) or 1.0) * np.eye(len(covariance))
    return np.linalg.solve(covariance + ridge, centred.T @ (goals - goals.mean(axis=0))), middle
