"""The minimal machine against brute force over all short sequences."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_machines import build, run, sequences_up_to, tables

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.minimize import live_states, minimize, reachable_states


def answers_from(machine, state, length):
    """The answers to all short sequences that start in a state."""
    sequences = sequences_up_to(range(len(machine.tokens)), length)
    return tuple(run(machine, sequence, state) for sequence in sequences)


@given(tables())
def test_the_minimal_machine_gives_the_same_answers(table):
    machine = build(*table)
    smallest = minimize(machine)
    assert (smallest.tokens, smallest.classes) == (machine.tokens, machine.classes)
    assert answers_from(smallest, 0, 5) == answers_from(machine, 0, 5)


@given(tables())
def test_every_two_of_its_states_differ_in_a_short_sequence_and_all_are_reached(table):
    smallest = minimize(build(*table))
    num_states = smallest.num_states
    # two states that differ at all do so within S - 1 tokens
    assert len({answers_from(smallest, s, num_states - 1) for s in range(num_states)}) == num_states
    reached = {0}
    for _ in range(num_states):
        reached |= {int(s) for state in reached for s in smallest.tables()[0][state]}
    assert reached == set(range(num_states))


def refine_plainly(successors, outputs):
    """The number of blocks of equivalent states, all states looked at in every round."""
    blocks = list(outputs)
    while True:
        signatures = [
            (block, *(blocks[s] for s in row))
            for block, row in zip(blocks, successors, strict=True)
        ]
        names = {signature: number for number, signature in enumerate(set(signatures))}
        if len(names) == len(set(blocks)):
            return len(names)
        blocks = [names[signature] for signature in signatures]


@pytest.mark.parametrize("num_copies", [1, 2, 5])
def test_larger_machines_have_as_many_blocks_as_plain_refinement_finds(num_copies):
    """Each of 20 random states is there num_copies times; the copies lead to any copies."""
    for seed in range(40):
        generator = np.random.default_rng(seed)
        rule = generator.integers(0, 20, (20, 2))
        states = np.repeat(np.arange(20), num_copies)
        successors = rule[states] * num_copies
        successors += generator.integers(0, num_copies, successors.shape)
        outputs = (states % 10 == 0).astype(int)
        machine = Machine("ab", "xy", successors, outputs)
        reached = reachable_states(successors)
        numbers = {state: number for number, state in enumerate(reached.tolist())}
        kept = [[numbers[s] for s in successors[state].tolist()] for state in reached]
        assert minimize(machine).num_states == refine_plainly(kept, outputs[reached].tolist())


@given(tables(), st.randoms(use_true_random=False))
def test_the_numbering_is_that_of_the_rule_not_of_the_table(table, random):
    num_tokens, num_classes, successors, outputs = table
    num_states = len(outputs)
    others = list(range(1, num_states))
    random.shuffle(others)
    old = [0, *others]  # of each new state; the start stays
    new = {state: number for number, state in enumerate(old)}
    shuffled = [[new[s] for s in successors[state]] for state in old]
    shuffled_outputs = [outputs[state] for state in old]
    expected = minimize(build(*table)).tables()
    found = minimize(build(num_tokens, num_classes, shuffled, shuffled_outputs)).tables()
    for one, other in zip(expected, found, strict=True):
        assert one.tolist() == other.tolist()


@given(tables())
def test_states_are_numbered_as_a_breadth_first_walk_meets_them(table):
    successors, _ = minimize(build(*table)).tables()
    first_met = list(dict.fromkeys([0, *successors.ravel().tolist()]))
    assert first_met == list(range(len(successors)))


@given(tables())
def test_a_state_is_live_if_some_continuation_has_another_answer(table):
    machine = build(*table)
    expected = [
        len(set(answers_from(machine, state, machine.num_states))) > 1
        for state in range(machine.num_states)
    ]
    assert live_states(machine).tolist() == expected


def test_states_that_are_dropped_and_merged():
    machine = Machine("ab", "xy", [[1, 2], [1, 2], [2, 1], [0, 3]], [0, 0, 1, 1])
    successors, outputs = minimize(machine).tables()
    assert successors.tolist() == [[0, 1], [1, 0]]
    assert outputs.tolist() == [0, 1]


def _chain(num_states, num_tokens):
    """Every token leads one state further; only the last state has the other class."""
    following = np.minimum(np.arange(num_states) + 1, num_states - 1)
    return np.repeat(following[:, None], num_tokens, axis=1), np.arange(
        num_states
    ) == num_states - 1


def _random(num_states, num_tokens):
    generator = np.random.default_rng(0)
    successors = generator.integers(0, num_states, (num_states, num_tokens))
    return successors, np.arange(num_states) == 7


@pytest.mark.parametrize("make", [_chain, _random])
def test_ten_thousand_states_take_a_moment(make):
    successors, outputs = make(10_000, 10)
    tokens = [str(token) for token in range(10)]
    start = time.process_time()
    smallest = minimize(Machine(tokens, "xy", successors, outputs))
    assert smallest.num_states == 10_000
    assert time.process_time() - start < 5  # 0.2 s; refinement of all states in each round: 50 s
