"""The boxes hold what float32 computes."""

import numpy as np
import pytest
import torch
from networks import build_automaton, build_random, trained
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.proof.check import _step
from rnn_tutorial.proof.intervals import TANH_ERROR, IntervalNet, rounding_bound


def run_stepwise(model, x):
    """Hidden states of layer after layer, step after step, row after row, (N, T, L, H)."""
    h = torch.zeros(model.rnn.num_layers, len(x), model.rnn.hidden_size)
    steps = []
    for t in range(x.shape[1]):
        rows = [
            model.rnn(model.embedding(x[n, t])[None], h[:, n].contiguous())[1]
            for n in range(len(x))
        ]
        h = torch.stack(rows, dim=1)
        steps.append(h)
    return torch.stack(steps).permute(2, 0, 1, 3)


def run_by_layers(model, x, packed):
    """The same with all rows and steps in one call of each layer's nn.RNN."""
    inputs, layers = model.embedding(x), []
    for w_ih, w_hh, b_ih, b_hh in model.rnn.all_weights:
        layer = nn.RNN(w_ih.shape[1], w_hh.shape[1], batch_first=True)
        layer.load_state_dict(
            {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh, "bias_ih_l0": b_ih, "bias_hh_l0": b_hh}
        )
        if packed:
            lengths = torch.full((len(x),), x.shape[1])
            output, _ = layer(pack_padded_sequence(inputs, lengths, batch_first=True))
            inputs = output.data.reshape(x.shape[1], len(x), -1).transpose(0, 1)
        else:
            inputs, _ = layer(inputs)
        layers.append(inputs)
    return torch.stack(layers, dim=2)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", ["trained", "automaton", "random", "large"])
@torch.no_grad()
def test_the_rounding_bound_dominates_what_float32_really_errs(name, num_layers):
    model = {
        "trained": trained,
        "automaton": lambda: build_automaton(SumModulo(3), num_layers=num_layers),
        "random": lambda: build_random(1, num_layers),
        "large": lambda: build_random(2, num_layers, hidden=300),
    }[name]()
    net = IntervalNet(model)
    x = torch.randint(0, net.num_tokens, (20, 30), generator=torch.Generator().manual_seed(0))
    runs = [run_stepwise(model, x), run_by_layers(model, x, False), run_by_layers(model, x, True)]
    for states in runs:
        before = states[:, :-1].flatten(0, 1).double().numpy()  # of each of 580 steps, (S, L, H)
        after = states[:, 1:].flatten(0, 1).double().numpy()
        digits = x[:, 1:].flatten().numpy()
        for digit, (low, high) in enumerate(net.images(before, before)):
            rows = digits == digit
            assert (low[rows] <= after[rows]).all() and (after[rows] <= high[rows]).all()
            assert (high - low)[:, 0].max() < 3e-3  # so that to be inside means something
    assert not torch.equal(runs[0], runs[1]) or name == "automaton"  # they do round differently


@torch.no_grad()
def test_the_rounding_bound_of_a_sum_dominates():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 300, 500, generator=generator)
    forward, products = torch.zeros(300), (a * b).T
    for product in products:  # the worst order of summation: one term after the other
        forward = forward + product
    exact = (a.double() * b.double()).sum(dim=1)
    mass = (a.double() * b.double()).abs().sum(dim=1).numpy()
    for computed in (forward, (a * b).sum(dim=1), torch.einsum("ij,ij->i", a, b)):
        error = (computed.double() - exact).abs().numpy()
        assert error.max() > 0 and (error <= rounding_bound(500, mass)).all()
    assert (rounding_bound(500, mass) < 4e-5 * mass).all()


def test_every_tanh_errs_less_than_assumed():
    bits = np.arange(0, 0x42000000, 251, dtype=np.uint32)  # every 251st float32 from 0 to 32
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    exact = np.tanh(x.astype(np.float64))
    t = torch.from_numpy(x)
    computed = [torch.tanh(t).numpy(), np.tanh(x), (2 * torch.sigmoid(2 * t) - 1).numpy()]
    errors = [np.abs(values - exact).max() for values in computed]
    assert min(errors) > 0 and max(errors) < TANH_ERROR
    beyond = torch.tensor([32.0, 1e3, 1e30, float("inf")])
    for values in (torch.tanh(beyond), 2 * torch.sigmoid(2 * beyond) - 1):
        assert (values == 1).all()  # as is the true value, to within 2⁻⁶⁰


@pytest.mark.parametrize("num_layers", [1, 3])
def test_prover_and_checker_compute_the_same_boxes_which_hold_what_is_in_them(num_layers):
    model, generator = build_random(3, num_layers), np.random.default_rng(0)
    centre = generator.uniform(-0.9, 0.9, (50, num_layers, 40))
    low, high = centre - generator.uniform(0, 0.1), centre + generator.uniform(0, 0.1)
    exact = [[part.detach().double().numpy() for part in layer] for layer in model.rnn.all_weights]
    inputs = model.embedding.weight.detach().double().numpy()
    for digit, (image_low, image_high) in enumerate(IntervalNet(model).images(low, high)):
        checked_low, checked_high = _step(inputs[digit], exact, low, high)
        assert checked_low == pytest.approx(image_low, abs=1e-3)
        assert checked_high == pytest.approx(image_high, abs=1e-3)
        assert (image_low <= checked_low).all() and (checked_high <= image_high).all()
        for h in (low, high, generator.uniform(low, high)):
            x = np.broadcast_to(inputs[digit], (50, 10))
            for layer, (w_ih, w_hh, b_ih, b_hh) in enumerate(exact):
                x = np.tanh(x @ w_ih.T + h[:, layer] @ w_hh.T + b_ih + b_hh)
                assert (checked_low[:, layer] < x).all() and (x < checked_high[:, layer]).all()
