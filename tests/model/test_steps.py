"""One step at a time against the recurrence of the model."""

import itertools

import torch

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.steps import add_product, empty_state, extend_by_every_token


def test_extending_by_every_token_is_the_recurrence():
    torch.manual_seed(0)
    model = RnnClsNet(4, 4, 6, 2, 4)
    with torch.no_grad():
        states = extend_by_every_token(model, extend_by_every_token(model, empty_state(model)))
    for i, digits in enumerate(itertools.product(range(4), repeat=2)):
        with torch.no_grad():
            _, h_n = model.rnn(model.embedding(torch.tensor([digits])))
        assert torch.allclose(states[:, i], h_n[:, 0], atol=1e-6)


def test_the_product_is_the_same_without_onednn(monkeypatch):
    addend, x, weight = torch.randn(5, 3), torch.randn(5, 4), torch.randn(3, 4)
    with torch.no_grad():
        fast = add_product(addend, x, weight)
        monkeypatch.setattr(torch.ops, "mkldnn", object())
        assert torch.allclose(add_product(addend, x, weight), fast, atol=1e-6)
    assert torch.allclose(fast, addend + x @ weight.T, atol=1e-6)
