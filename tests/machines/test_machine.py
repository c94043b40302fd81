"""Machines against brute force, and the digit sum against its rule."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_machines import build, tables

from rnn_tutorial.machines.digit_sum import SumModulo, label, padding_id
from rnn_tutorial.machines.machine import Machine, count_sequences, sequences_at

digit_sequences = st.integers(1, 12).flatmap(
    lambda max_number: st.tuples(
        st.just(max_number), st.lists(st.integers(0, max_number), min_size=1, max_size=30)
    )
)


@given(digit_sequences, st.integers(0, 5))
def test_label_is_the_remainder_of_the_sum_padded_or_not(task, padding):
    max_number, digits = task
    padded = digits + [padding_id(max_number)] * padding
    assert label(padded, max_number) == sum(digits) % (max_number + 1)


def test_label_works_on_whole_batches():
    batch = np.random.default_rng(0).integers(0, 10, (3, 4, 7))
    assert label(batch, 9).tolist() == [[sum(row) % 10 for row in rows] for rows in batch.tolist()]


@given(tables(), st.data())
def test_a_machine_answers_as_its_table_read_step_by_step(table, data):
    machine = build(*table)
    *_, successors, outputs = table
    token = st.integers(0, len(machine.tokens) - 1)
    sequences = data.draw(st.lists(st.lists(token, min_size=1, max_size=9), min_size=1, max_size=9))
    expected = []
    for sequence in sequences:
        state = 0
        for t in sequence:
            state = successors[state][t]
        expected.append(outputs[state])
    lengths = np.array([len(sequence) for sequence in sequences])
    assert machine.answer(np.concatenate(sequences), lengths).tolist() == expected
    assert [machine.answer_one(sequence) for sequence in sequences] == expected


@given(digit_sequences)
def test_the_machine_of_the_sum_answers_with_the_label(task):
    max_number, digits = task
    machine = SumModulo(max_number)
    values = np.arange(max_number + 1)
    table = Machine(machine.tokens, machine.classes, machine.step(values[:, None], values), values)
    assert machine.answer_one(digits) == table.answer_one(digits) == label(digits, max_number)
    assert machine.num_states == table.num_states == len(machine.tokens)


def test_the_machine_of_the_largest_sum_needs_no_table():
    machine = SumModulo(65_535)
    assert machine.answer_one([65_535, 2]) == 1


@pytest.mark.parametrize(
    ("tokens", "classes", "successors", "outputs", "named"),
    [
        ("aa", "xy", [[0, 1], [1, 0]], [0, 1], "token"),
        ("ab", "xx", [[0, 1], [1, 0]], [0, 1], "class"),
        ("ab", "xy", [[0], [1]], [0, 1], r"\(2, 1\)"),
        ("ab", "xy", [[0, 2], [1, 0]], [0, 1], "successor"),
        ("ab", "xy", [[0, 1], [-1, 0]], [0, 1], "successor"),
        ("ab", "xy", [[0, 1], [1, 0]], [0, 2], "output"),
        ("ab", "xy", np.empty((0, 2)), [], "states"),
    ],
)
def test_tables_that_are_no_machine_are_refused(tokens, classes, successors, outputs, named):
    with pytest.raises(ValueError, match=named):
        Machine(tokens, classes, successors, outputs)


@pytest.mark.parametrize(("num_tokens", "length"), [(2, 1), (2, 5), (5, 3), (10, 1), (10, 3)])
def test_places_enumerate_every_sequence_once_in_order(num_tokens, length):
    brute_force = list(itertools.product(range(num_tokens), repeat=length))
    assert count_sequences(num_tokens, length, length) == len(brute_force)
    found = sequences_at(np.arange(len(brute_force)), length, num_tokens)
    assert [tuple(tokens) for tokens in found.tolist()] == brute_force


def test_number_of_inputs_of_the_tutorial():
    assert count_sequences(10, 2, 5) == 111_100
    assert count_sequences(10, 1, 5) == 111_110
    assert count_sequences(1, 3, 1_000_000) == 999_998
