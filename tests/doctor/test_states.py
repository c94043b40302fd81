"""The gradients of states, against what is written out by hand."""

import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy

from rnn_tutorial.doctor.states import summarize_states
from rnn_tutorial.model.classifier import RnnClsNet

N, T, H = 5, 6, 7


def make(**options):
    torch.manual_seed(0)
    model = RnnClsNet(10, 4, H, options.pop("num_layers", 1), 10, **options).eval()
    return model, torch.randint(10, (N, T)), torch.randint(10, (N,))


def assert_rows(rows, expected):
    torch.testing.assert_close(torch.tensor(rows), expected.float(), rtol=1e-4, atol=1e-7)


def test_gradients_are_those_of_backpropagation_by_hand():
    """Two tanh layers: g_t = W_hh^T (1 - h²) g_{t+1}, and through W_ih of the layer above."""
    model, x, targets = make(num_layers=2)
    model = model.double()
    weights = [
        [w.detach() for w in layer] for layer in model.rnn.all_weights
    ]  # of each layer W_ih, W_hh, b_ih, b_hh
    inputs, states = model.embedding(x).detach(), []
    for w_ih, w_hh, b_ih, b_hh in weights:
        h, visited = torch.zeros(N, H).double(), []
        for t in range(T):
            h = torch.tanh(inputs[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
            visited.append(h)
        inputs = torch.stack(visited, dim=1)
        states.append(visited)
    fc = model.fc.weight.detach(), model.fc.bias.detach()
    wrong = (states[1][-1] @ fc[0].T + fc[1]).softmax(dim=1)
    wrong[torch.arange(N), targets] -= 1

    from_above = [torch.zeros(N, H).double() for _ in range(T - 1)] + [wrong @ fc[0]]
    for layer in (1, 0):
        w_ih, w_hh, _, _ = weights[layer]
        g, to_below = torch.zeros(N, H).double(), []
        for t in reversed(range(T)):
            g = from_above[t] + g  # of h_t: from the layer above, and from the step after
            of_sum = g * (1 - states[layer][t] ** 2)
            to_below.insert(0, of_sum @ w_ih)
            g = of_sum @ w_hh
        from_above = to_below
    expected = torch.stack(from_above).norm(dim=2).mean(dim=1)
    assert_rows(summarize_states(model, x, targets).gradient_norms, expected)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_each_step_of_any_network_gets_its_gradient(cell, pooling):
    """A step's gradient is the slope of the loss along it."""
    for bidirectional, layer_norm, residual in itertools.product([False, True], repeat=3):
        model, x, targets = make(
            cell=cell, pooling=pooling, num_layers=2,
            bidirectional=bidirectional, layer_norm=layer_norm, residual=residual,
        )  # fmt: skip
        x[:, 2], x[:, 3] = 9, torch.randint(9, (N,))  # token 9 occurs at step 2 alone
        x[:, [0, 1, 4, 5]] %= 9
        norms = summarize_states(model, x[:1], targets[:1]).gradient_norms
        loss = cross_entropy(model(x[:1], torch.tensor([T])), targets[:1])
        (slope,) = torch.autograd.grad(loss, model.embedding.weight)
        assert len(norms) == T and norms[2] == pytest.approx(slope[9].norm().item(), rel=1e-4)


def test_saturated_and_idle_units_are_counted():
    model, x, targets = make()
    with torch.no_grad():
        for parameter in model.rnn.parameters():
            parameter.zero_()
        model.rnn.bias_ih_l0[:2] = 9.0  # always at 1
        model.rnn.weight_ih_l0[2] = 0.1  # varies
    seen = summarize_states(model, x, targets)
    assert (seen.saturated, seen.idle) == pytest.approx((2 / H, (H - 1) / H), abs=0.01)


def test_large_states_of_relu_are_not_saturated():
    model, x, targets = make(nonlinearity="relu")
    with torch.no_grad():
        model.rnn.bias_ih_l0.fill_(9.0)
    assert summarize_states(model, x, targets).saturated == 0
