"""Accuracy at great lengths against the model one by one."""

import pytest
import torch
from hand_built import make_adder, make_parity_net

from rnn_tutorial.evaluation.lengths import (
    accuracy_at_length,
    hard_sequences,
    longest_enumerable,
)
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet


@pytest.mark.parametrize("length", [1, 2, 7, 1000])
def test_a_net_that_is_right_is_right_at_every_length(length):
    result = accuracy_at_length(make_parity_net(), SumModulo(1), length, num_sequences=50)
    assert (result.right_random, result.right_hard) == (50, result.num_hard)
    assert result.low == pytest.approx(0.929, abs=1e-3) and result.high == 1


def test_counts_are_those_of_the_model_one_by_one():
    torch.manual_seed(0)
    model = RnnClsNet(10, 3, 5, 2, 10)
    result = accuracy_at_length(model, SumModulo(9), 6, num_sequences=200)
    again = accuracy_at_length(model, SumModulo(9), 6, num_sequences=200)
    assert result == again and 0 < result.right_random < 100
    right = [
        model.predict(digits.tolist()).item() == digits.sum() % 10
        for digits in hard_sequences(6, 10)
    ]
    assert result.right_hard == sum(right) and result.num_hard == 12


@pytest.mark.parametrize("shift", [5, 2])
def test_a_net_that_is_wrong_may_be_right_modulo_a_part(shift):
    """Always off by 5, it knows the sum modulo 5; always off by 2, the sum modulo 2."""
    result = accuracy_at_length(make_adder(shift), SumModulo(9), 6, num_sequences=200)
    expected = {p: 200 * (shift % p == 0) for p in (2, 5)}
    assert (result.right_random, result.right_modulo) == (0, expected)


def test_scores_that_are_nan_are_wrong_modulo_everything():
    net = make_adder()
    with torch.no_grad():
        net.fc.bias.fill_(torch.nan)
    result = accuracy_at_length(net, SumModulo(9), 6, num_sequences=20)
    assert (result.right_random, result.right_modulo) == (0, {2: 0, 5: 0})


def test_hard_sequences():
    assert hard_sequences(3, 3).tolist() == [
        [0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 2, 0], [2, 0, 2],
    ]  # fmt: skip


def test_longest_enumerable_length():
    assert (longest_enumerable(10), longest_enumerable(2), longest_enumerable(5001)) == (6, 19, 1)


def test_a_machine_that_is_no_sum_is_not_right_modulo_a_part():
    ends_odd = Machine("0123456789", SumModulo(9).classes, [[0, 1] * 5] * 2, [0, 1])
    result = accuracy_at_length(make_adder(), ends_odd, 6, num_sequences=200)
    assert result.right_modulo == {} and 10 <= result.right_random <= 80
    assert "modulo" not in result.describe()
