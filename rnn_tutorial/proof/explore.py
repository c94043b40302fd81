"""Explore: follow all sequences, shortest first, until none is new.

A sequence whose hidden state is nearly that of an earlier sequence in the same state of the machine
shares its abstract state and is not continued. (With a memory of K: a sequence in the same state of
the machine, whose last K tokens are the same.)

Shapes: S abstract states, M sequences, V tokens, L layers, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.proof.intervals import MAX_NUMBERS, IntervalNet

MAX_ABSTRACT_STATES = 5000  # found by resolution; beyond it the hidden states do not settle


class NotProved(Exception):
    """The proof failed; the message says in which step."""


class TooManyStates(NotProved):
    """The hidden states do not settle, or there are too many for the memory of this program."""


@dataclass(frozen=True)
class AbstractStates:
    """Abstract states with the hidden state of one sequence each: the first that was met.

    Args:
        machine: what the network should compute.
        points: hidden states, (S, L, H).
        machine_states: (S,).
        origins: the abstract state and the token that led to it first, (S, 2).
        successors: the abstract state after one more token, (S, V).
    """

    machine: Machine
    points: np.ndarray
    machine_states: np.ndarray
    origins: np.ndarray
    successors: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The right class of each abstract state, (S,)."""
        return self.machine.output(self.machine_states)

    def sequence(self, state: int) -> str:
        """The first sequence that reached an abstract state."""
        tokens = []
        while state:
            state, token = self.origins[state]
            tokens.append(self.machine.tokens[token])
        return " ".join(tokens[::-1])

    def describe(self, state: int) -> str:
        """What a message says of an abstract state."""
        name = self.machine.classes[self.classes[state]]
        return f"the state after {self.sequence(state)} (right answer {name})"


def explore(
    net: IntervalNet,
    machine: Machine,
    resolution: float = 0,
    memory: int | None = None,
    max_states: int = MAX_ABSTRACT_STATES,
    quiet: bool = False,
) -> AbstractStates:
    """Follow all sequences until none is new.

    Args:
        resolution: two sequences in the same machine state share an abstract state if their hidden
            states differ by at most this in every unit.
        memory: or, if given, if their last `memory` tokens agree.
        max_states: how many abstract states a resolution may give.
        quiet: show no progress bar.

    Raises:
        NotProved: an answer is wrong.
        TooManyStates: there are more than `max_states`, or too many for the memory.
    """
    tokens = np.arange(net.num_tokens)
    points = np.zeros((1, net.num_layers, net.hidden_dim))
    recent = np.full((1, memory or 0), -1)  # the last tokens; -1 is none
    machine_states, origins = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
    successors = np.empty((0, net.num_tokens), np.int64)
    with tqdm(desc="exploring", unit=" states", leave=False, disable=quiet or None) as bar:
        while len(successors) < len(points):
            level = np.arange(len(successors), len(points))  # states to continue
            _check_size(net, len(points), len(level))
            next_points = _step(net, points[level])  # (M, L, H)
            next_states = machine.step(machine_states[level, None], tokens).ravel()  # (M,)
            pairs = np.stack(np.meshgrid(level, tokens, indexing="ij"), axis=-1).reshape(-1, 2)
            next_recent = np.hstack([recent[pairs[:, 0]], pairs[:, 1:]])[:, 1:]
            found = np.empty(len(next_states), np.int64)
            new: list[int] = []
            for state in np.unique(next_states):
                if memory is None and len(points) + len(new) > max_states:
                    break  # what is found is not used: it is refused below
                rows = np.flatnonzero(next_states == state)
                # (Abstract state 0 is the empty sequence, which has no answer: nothing shares it.)
                earlier = np.flatnonzero(machine_states[1:] == state) + 1
                if memory is None:
                    at_most = max_states - len(points) - len(new)
                    near = points[earlier], next_points[rows]
                    place, first = _find_near(*near, resolution, at_most)
                else:
                    place, first = _find_equal(recent[earlier], next_recent[rows])
                ids = np.append(earlier, len(points) + len(new) + np.arange(len(first)))
                found[rows] = ids[place]
                new += rows[first].tolist()
            successors = np.vstack([successors, found.reshape(-1, net.num_tokens)])
            points = np.concatenate([points, next_points[new]])
            recent = np.concatenate([recent, next_recent[new]])
            machine_states = np.append(machine_states, next_states[new])
            origins = np.vstack([origins, pairs[new]])
            bar.update(len(new))
            states = AbstractStates(machine, points, machine_states, origins, successors)
            _check_answers(net, states, len(new))
            if memory is None and len(points) > max_states:
                raise TooManyStates(
                    f"the hidden states do not settle: more than {max_states:,} of them differ by "
                    f"more than {resolution}"
                )
    return states


def _check_size(net: IntervalNet, num_states: int, num_new: int) -> None:
    """Raise TooManyStates if the states, and the images of the new ones, need too much memory."""
    num_vectors = num_states + num_new * net.num_tokens
    if num_vectors * net.num_layers * net.hidden_dim > MAX_NUMBERS:
        raise TooManyStates(
            f"{num_states:,} abstract states with {net.num_tokens} tokens each are too many for "
            "the memory of this program"
        )


def _step(net: IntervalNet, points: np.ndarray) -> np.ndarray:
    """The hidden states after each point with token 0, 1, …, then the next point: (M, L, H)."""
    images = [(low + high) / 2 for low, high in net.images(points, points)]
    return np.stack(images, axis=1).reshape(-1, *points.shape[1:])


def _find_near(
    known: np.ndarray, met: np.ndarray, resolution: float, at_most: int
) -> tuple[np.ndarray, list[int]]:
    """Find a known hidden state, (S, L, H), near each that was met, (M, L, H), or make it known.

    Of the known ones the nearest is looked at: nearest in the Euclidean norm, which a matrix
    product tells, near if no unit differs by more than the resolution.

    Returns:
        The places, (M,), in `known` followed by new rows, and which of `met` those are; if they
        are more than `at_most`, one more, and some places are not found.
    """
    met = met.reshape(len(met), -1)
    known = known.reshape(-1, met.shape[1])
    place = np.full(len(met), -1)
    if len(known):
        nearest = ((known**2).sum(axis=1) - 2 * met @ known.T).argmin(axis=1)
        is_near = (np.abs(met - known[nearest]) <= resolution).all(axis=1)
        place[is_near] = nearest[is_near]
    first: list[int] = []
    left = np.flatnonzero(place < 0)
    while len(left) and len(first) <= at_most:
        is_near = (np.abs(met[left] - met[left[0]]) <= resolution).all(axis=1)
        place[left[is_near]] = len(known) + len(first)
        first.append(left[0])
        left = left[~is_near]
    return place, first


def _find_equal(known: np.ndarray, met: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The same for rows that are equal."""
    rows = np.vstack([known, met])
    _, index, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    place = index[inverse.ravel()][len(known) :]  # of the first row that is equal
    is_new = place >= len(known)
    first = np.unique(place[is_new])
    place[is_new] = len(known) + np.searchsorted(first, place[is_new])
    return place, (first - len(known)).tolist()


def _check_answers(net: IntervalNet, states: AbstractStates, num_new: int) -> None:
    """Raise NotProved if the first sequence of one of the last states is answered wrongly."""
    first = len(states.points) - num_new
    classes = states.classes[first:]
    margins = net.margins(states.points[first:], states.points[first:], classes)
    wrong = np.flatnonzero(margins <= 0)
    if len(wrong):
        raise NotProved(
            f"the sequence {states.sequence(first + wrong[0])} is answered wrongly: the right "
            f"answer is {states.machine.classes[classes[wrong[0]]]}, its score margin "
            f"{margins[wrong[0]]:.3g}"
        )
