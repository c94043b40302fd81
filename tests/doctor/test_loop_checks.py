"""Checks of training steps: each fault is found where it is, and nowhere else."""

import pytest
import torch

from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.experiments.doctor_self_test import LOOP_CASES


def test_a_graph_that_grows_is_found():
    (finding,) = check_step(LOOP_CASES["state carried on, retain_graph"][1](0))
    assert finding.name == "state-not-detached" and "detach" in finding.advice
    assert "grows" in finding.seen


def test_the_error_of_a_second_backward_is_understood():
    """PyTorch takes seconds to raise the real one, which the self-test does."""
    losses = iter([torch.ones(1, requires_grad=True).sum()])

    def step():
        for loss in losses:
            return loss
        raise RuntimeError("Trying to backward through the graph a second time (or …)")

    (finding,) = check_step(step)
    assert finding.seen.startswith("step 2 ")


@pytest.mark.parametrize("case", [name for name in LOOP_CASES if "detached" in name])
def test_nothing_is_found_in_a_good_loop(case):
    expected, make = LOOP_CASES[case]
    assert expected is None and check_step(make(0)) == []


def test_graphs_that_differ_do_not_grow():
    """A loop over steps written by hand has a graph as long as its batch."""
    weight = torch.ones(1, requires_grad=True)
    lengths = iter([2, 9, 4, 12, 3, 30])

    def step():
        h = torch.zeros(1)
        for _ in range(next(lengths)):
            h = torch.tanh(weight * h + 1)
        h.sum().backward()
        return h.sum()

    assert check_step(step) == []


@pytest.mark.parametrize("loss", [1.0, torch.tensor(1.0), None])
def test_what_has_no_graph_is_refused(loss):
    with pytest.raises(ValueError, match="grad_fn"):
        check_step(lambda: loss)


def test_other_errors_are_the_users():
    def step():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        check_step(step)
