"""The task against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.machines.digit_sum import (
    add_digit,
    count_inputs,
    input_at,
    label,
    num_classes,
    padding_id,
    parse_sequence,
)

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


@given(digit_sequences)
def test_adding_digits_one_by_one_gives_the_label(task):
    max_number, digits = task
    prefix_label = 0
    for digit in digits:
        prefix_label = add_digit(prefix_label, digit, max_number)
    assert prefix_label == label(digits, max_number)


def test_label_works_on_whole_batches():
    batch = np.random.default_rng(0).integers(0, 10, (3, 4, 7))
    assert label(batch, 9).tolist() == [[sum(row) % 10 for row in rows] for rows in batch.tolist()]


@given(digit_sequences, st.sampled_from([" ", ",", ", ", "  ", "\t", " , "]))
def test_what_a_user_types_is_read_back(task, separator):
    max_number, digits = task
    typed = separator.join(map(str, digits))
    assert parse_sequence(f" {typed}\n", max_number) == digits


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("10", "10"), ("-1", "-1"), ("-0", "-0"), ("1 2 99", "99"), ("123", "123"),
        ("9" * 10_000, "9" * 20 + "…"), ("1.5", "'1.5'"), ("one", "'one'"), ("1_0", "'1_0'"),
        ("２", "'２'"), ("0x1", "'0x1'"), ("1 --2", "'--2'"), ("nan", "'nan'"),
        ("", "empty"), ("  , ,", "empty"),
    ],
)  # fmt: skip
def test_refused_input_names_the_token_and_what_is_allowed(text, named):
    with pytest.raises(ValueError, match=r"0 to 9") as refused:
        parse_sequence(text, 9)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 120


@given(st.text(max_size=20))
def test_any_text_is_either_digits_or_refused(text):
    try:
        digits = parse_sequence(text, 9)
    except ValueError:
        return
    assert digits and all(0 <= digit <= 9 for digit in digits)


@pytest.mark.parametrize(("max_number", "length"), [(1, 1), (1, 5), (4, 3), (9, 1), (9, 3)])
def test_places_enumerate_every_input_once_in_order(max_number, length):
    brute_force = list(itertools.product(range(num_classes(max_number)), repeat=length))
    assert count_inputs(length, length, max_number) == len(brute_force)
    assert [tuple(input_at(i, length, max_number)) for i in range(len(brute_force))] == brute_force


def test_number_of_inputs_of_the_tutorial():
    assert count_inputs(2, 5, 9) == 111_100
    assert count_inputs(1, 5, 9) == 111_110
