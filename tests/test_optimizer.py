"""LeanAdamW against torch.optim.AdamW: the same bits, the same state_dict."""

import copy

import pytest
import torch

from rnn_tutorial.model import RnnClsNet
from rnn_tutorial.optimizer import LeanAdamW


def train(optimizer_class, steps, weight_decay, state=None, **options):
    torch.manual_seed(0)
    model = RnnClsNet(10, 3, 5, 2, 10)
    optimizer = optimizer_class(model.parameters(), lr=0.1, weight_decay=weight_decay, **options)
    if state is not None:
        model.load_state_dict(state[0])
        optimizer.load_state_dict(copy.deepcopy(state[1]))  # PyTorch keeps the tensors given
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.zero_grad()
        model(torch.tensor([[1, 2, 3]]), torch.tensor([3])).square().sum().backward()
        optimizer.step()
    return model.state_dict(), optimizer.state_dict()


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_the_same_bits_as_torch(weight_decay):
    lean = train(LeanAdamW, 20, weight_decay)
    reference = train(torch.optim.AdamW, 20, weight_decay, fused=True)
    assert_same(lean[0], reference[0])
    assert_same(lean[1]["state"], reference[1]["state"])
    assert lean[1]["param_groups"] == reference[1]["param_groups"]


def test_each_resumes_the_other():
    after_five = train(torch.optim.AdamW, 5, 0.1, fused=True)
    lean = train(LeanAdamW, 5, 0.1, state=after_five)
    reference = train(torch.optim.AdamW, 5, 0.1, state=after_five, fused=True)
    assert_same(lean[0], reference[0])
    back = train(torch.optim.AdamW, 3, 0.1, state=lean, fused=True)
    assert_same(back[0], train(LeanAdamW, 3, 0.1, state=reference)[0])
