"""The search for a wrong input, against all inputs and the model one by one."""

import itertools
import math

import pytest
import torch
from hand_built import make_adder, make_parity_net
from torch.nn.utils.rnn import pad_sequence

from rnn_tutorial.evaluation.search import search_wrong_input, why_unsearchable
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet


def margins(model, machine, length):
    """Those of all inputs of one length, by the model's forward: name to value."""
    inputs = list(itertools.product(range(len(machine.tokens)), repeat=length))
    x = pad_sequence([torch.tensor(ids) for ids in inputs], batch_first=True)
    scores = model(x, torch.full((len(inputs),), length)).tolist()
    found = {}
    for ids, row in zip(inputs, scores, strict=True):
        right = row.pop(machine.answer_one(ids))
        found[ids] = right - max(row)
    return found


def test_a_right_network_has_no_wrong_input():
    result = search_wrong_input(make_parity_net(), SumModulo(1), 200)
    assert result.wrong_input == [] and result.max_len == 200 and result.lowest_margin > 0


@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"cell": "lstm"}, {"residual": True}])
def test_a_search_that_keeps_all_finds_the_first_wrong_input(options):
    machine, found_at = SumModulo(2), []
    for seed in range(12):
        torch.manual_seed(seed)
        model = RnnClsNet(3, 4, 6, 2, 3, **options).eval()
        lowest = {length: margins(model, machine, length) for length in range(1, 6)}
        first = next((n for n in lowest if min(lowest[n].values()) <= 0), None)
        result = search_wrong_input(model, machine, 5, width=10_000)
        assert (result.max_len, bool(result.wrong_input)) == (first or 5, first is not None)
        if first:
            assert lowest[first][tuple(result.wrong_input)] <= 0 and result.lowest_margin is None
            found_at.append(first)
        assert result.num_read == sum(3**n for n in range(1, result.max_len + 1))
    assert found_at


def test_the_lowest_margin_is_that_of_all_inputs():
    model, machine = make_adder(), SumModulo(9)
    result = search_wrong_input(model, machine, 3, width=10_000)
    expected = min(min(margins(model, machine, length).values()) for length in (1, 2, 3))
    assert result.lowest_margin == pytest.approx(expected, rel=1e-5)
    assert search_wrong_input(model, machine, 3, width=10).lowest_margin >= result.lowest_margin


def test_a_mistake_that_a_sample_would_not_meet_is_found():
    """A net that computes the parity, where the rule has an exception after thirty ones."""
    num_ones = 30
    states = [(ones, parity) for ones in range(num_ones + 1) for parity in (0, 1)]
    successors = [
        [states.index((0, parity)), states.index((min(ones + 1, num_ones), 1 - parity))]
        for ones, parity in states
    ]
    outputs = [parity ^ (ones == num_ones) for ones, parity in states]
    machine = Machine(("0", "1"), ("even", "odd"), successors, outputs)
    model = make_parity_net()
    ids = search_wrong_input(model, machine, 100).wrong_input
    assert ids[-num_ones:] == [1] * num_ones
    assert model.predict(ids).item() != machine.answer_one(ids)


def test_scores_that_are_nan_are_wrong():
    model = make_parity_net()
    with torch.no_grad():
        model.fc.bias.fill_(math.nan)
    assert len(search_wrong_input(model, SumModulo(1), 5).wrong_input) == 1


@pytest.mark.parametrize(
    ("machine", "options", "named"),
    [
        (SumModulo(2), {}, ""),
        (SumModulo(2), {"bidirectional": True}, "one direction"),
        (SumModulo(2), {"pooling": "mean"}, "its last step"),
        (SumModulo(999), {}, "1,000 states and 1,000 tokens are too many"),
        (SumModulo(4999), {}, "5,000 states and 5,000 tokens are too many"),
    ],
)
def test_what_can_be_searched(machine, options, named):
    size = len(machine.tokens)
    why_not = why_unsearchable(RnnClsNet(size, 4, 6, 1, size, **options), machine)
    assert named in why_not and bool(named) == bool(why_not)
