"""The smallest machine that gives the same answers, with its states in a fixed order.

Two machines give the same answers exactly if their minimal machines have the same tables.

Shapes: S states, R of them reachable, V tokens.

Source: Hopcroft, An n log n Algorithm for Minimizing States in a Finite Automaton, 1971.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np

from rnn_tutorial.machines.machine import Machine


def minimize(machine: Machine) -> Machine:
    """Drop the states that cannot be reached, merge those that are equivalent, number the rest.

    Two states are equivalent if every continuation has the same answer from both. The states are
    numbered in the order in which a breadth-first walk from the start meets them, token by token.
    """
    successors, outputs = machine.tables()
    successors, outputs = _keep(successors, outputs, reachable_states(successors))
    blocks = _equivalent_states(successors, outputs)
    _, first = np.unique(blocks, return_index=True)  # one state of each block
    successors, outputs = blocks[successors[first]], outputs[first]
    start = blocks[0]
    successors, outputs = _keep(successors, outputs, reachable_states(successors, start))
    return Machine(machine.tokens, machine.classes, successors, outputs)


def live_states(machine: Machine) -> np.ndarray:
    """From which states sequences with different answers still follow, bool, (S,).

    The others are traps: every continuation, the empty one too, has the same answer.
    """
    if machine.is_sum:
        return np.ones(machine.num_states, bool)  # every sum can still become any other
    successors, outputs = machine.tables()
    blocks = _equivalent_states(successors, outputs)
    return (blocks[successors] != blocks[:, None]).any(axis=1)


def reachable_states(successors: np.ndarray, start: int = 0) -> np.ndarray:
    """The states of a table, (S, V), in the order of a breadth-first walk, (R,)."""
    order = [int(start)]
    is_met = [False] * len(successors)
    is_met[start] = True
    for state in order:  # the list grows while it is read
        for following in successors[state].tolist():
            if not is_met[following]:
                is_met[following] = True
                order.append(following)
    return np.array(order)


def _keep(
    successors: np.ndarray, outputs: np.ndarray, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The tables of some states, which are numbered in their order."""
    numbers = np.empty(len(outputs), np.int64)
    numbers[states] = np.arange(len(states))
    return numbers[successors[states]], outputs[states]


def _equivalent_states(successors: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The number of each state's block of equivalent states, from 0 on, (S,).

    Blocks start as the states of one class. In each round, those blocks are split whose states
    lead into different blocks. The largest piece keeps its number, so that a state gets a new
    number log2(S) times at most, and a round looks only at the transitions into such states.
    """
    num_states, num_tokens = successors.shape
    targets = successors.ravel()  # transition i is that of state i // V and token i % V
    by_target = np.argsort(targets, kind="stable")
    starts = np.searchsorted(targets[by_target], np.arange(num_states + 1))
    blocks = np.unique(outputs, return_inverse=True)[1]
    members = [set(np.flatnonzero(blocks == block).tolist()) for block in range(blocks.max() + 1)]
    renumbered = list(range(num_states))
    while renumbered:
        into = [by_target[starts[state] : starts[state + 1]] for state in renumbered]
        pieces = _split(np.sort(np.concatenate(into)), targets, blocks, num_tokens)
        renumbered = []
        for block, split in pieces.items():
            untouched = members[block]
            for piece in split:
                untouched.difference_update(piece)
            members[block] = max(untouched, *split, key=len)
            for piece in (untouched, *split):
                if piece and piece is not members[block]:
                    blocks[list(piece)] = len(members)
                    members.append(piece)
                    renumbered.extend(piece)
    return blocks


def _split(
    transitions: np.ndarray, targets: np.ndarray, blocks: np.ndarray, num_tokens: int
) -> dict[int, list[set[int]]]:
    """By block, its states that have some of these transitions, in one set if they agree on them.

    States agree if they have transitions of the same tokens, each into the same block.
    """
    states = transitions // num_tokens
    into = (transitions % num_tokens) * len(blocks) + blocks[targets[transitions]]
    where = np.flatnonzero(np.diff(states, prepend=-1, append=-1)).tolist()
    keys, width = into.tobytes(), into.itemsize
    sets: dict[tuple[int, bytes], set[int]] = defaultdict(set)
    for begin, end in pairwise(where):
        state = int(states[begin])
        sets[int(blocks[state]), keys[begin * width : end * width]].add(state)
    pieces = defaultdict(list)
    for (block, _), piece in sets.items():
        pieces[block].append(piece)
    return pieces
