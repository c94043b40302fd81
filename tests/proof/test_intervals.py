"""The boxes hold what float32 computes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build_automaton, build_random, trained
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof import check
from rnn_tutorial.proof.check import _SIGMOID_ERROR, _TANH_ERROR, _step
from rnn_tutorial.proof.intervals import (
    _BLEND_ERROR,
    SIGMOID_ERROR,
    TANH_ERROR,
    IntervalNet,
    rounding_bound,
)


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
        layer = type(model.rnn)(w_ih.shape[1], w_hh.shape[1], batch_first=True)
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
@pytest.mark.parametrize("name", ["trained", "automaton", "random", "large", "gru", "large gru"])
@torch.no_grad()
def test_the_rounding_bound_dominates_what_float32_really_errs(name, num_layers):
    model = {
        "trained": trained,
        "automaton": lambda: build_automaton(SumModulo(3), num_layers=num_layers),
        "random": lambda: build_random(1, num_layers),
        "large": lambda: build_random(2, num_layers, hidden=300),
        "gru": lambda: build_random(3, num_layers, cell="gru"),
        "large gru": lambda: build_random(4, num_layers, hidden=200, cell="gru"),
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
    assert min(errors) > 0 and max(errors) < TANH_ERROR == _TANH_ERROR
    beyond = torch.tensor([32.0, 1e3, 1e30, float("inf")])
    for values in (torch.tanh(beyond), 2 * torch.sigmoid(2 * beyond) - 1):
        assert (values == 1).all()  # as is the true value, to within 2⁻⁶⁰


def test_every_sigmoid_errs_less_than_assumed_and_stays_in_0_to_1():
    bits = np.arange(0, 0x43000000, 251, dtype=np.uint32)  # every 251st float32 from 0 to 128
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    t = torch.from_numpy(x)
    with np.errstate(over="ignore"):
        plain = 1 / (1 + np.exp(-x))
    for values in (torch.sigmoid(t).numpy(), plain, ((torch.tanh(t / 2) + 1) / 2).numpy()):
        assert values.dtype == np.float32 and values.min() >= 0 and values.max() <= 1
        assert 0 < np.abs(values - exact).max() < SIGMOID_ERROR == _SIGMOID_ERROR
    beyond = torch.tensor([128.0, 1e3, 1e30, float("inf")])
    assert (torch.sigmoid(beyond) == 1).all() and (torch.sigmoid(-beyond) < 1e-38).all()


def blend(z, n, h):
    """h' of a GRU in the orders in which programs compute it."""
    return (h - n) * z + n, (1 - z) * n + z * h, n - z * n + z * h


def test_no_order_of_computing_a_gru_errs_more_than_assumed():
    generator = np.random.default_rng(0)
    z = generator.uniform(0, 1, 10**6).astype(np.float32)
    n, h = generator.uniform(-1, 1, (2, 10**6)).astype(np.float32)
    n[::2], h[::2] = np.sign(n[::2]), -np.sign(n[::2])  # where most is lost
    (exact, _, _) = blend(*(values.astype(np.float64) for values in (z, n, h)))
    for values in blend(z, n, h):
        assert values.dtype == np.float32
        assert 2.0**-24 < np.abs(values - exact).max() < _BLEND_ERROR / 1.5


@st.composite
def steps(draw):
    """A net, boxes of its states, and the state of a generator for points in them."""
    seed, num_layers = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 3))
    cell = draw(st.sampled_from(["rnn", "gru"]))
    model = RnnClsNet(3, draw(st.integers(1, 5)), draw(st.integers(1, 9)), num_layers, 2, cell=cell)
    generator = np.random.default_rng(seed)
    scale = 10 ** draw(st.floats(-2, 1.5))
    weights = {
        name: torch.from_numpy(generator.normal(0, scale, values.shape).astype(np.float32))
        for name, values in model.state_dict().items()
    }
    model.load_state_dict(weights)
    shape = 20, num_layers, model.rnn.hidden_size
    ends = generator.uniform(-1, 1, (2, *shape))
    width = draw(st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0]))
    ends = (ends[0] + width * np.array([ends[1], -ends[1]]).clip(-1, 1)).astype(np.float32)
    return model, ends.min(axis=0).clip(-1), ends.max(axis=0).clip(max=1), generator


def by_hand(model, token, h):
    """A float32 step written out in NumPy, in other orders than PyTorch's, (S, L, H)."""
    layers, x = [], np.tile(model.embedding.weight[token].numpy(), (len(h), 1))
    for index, weights in enumerate(model.rnn.all_weights):
        w_ih, w_hh, b_ih, b_hh = (part.numpy() for part in weights)
        before = h[:, index]
        if isinstance(model.rnn, nn.RNN):
            new = np.tanh(np.hstack([before, x]) @ np.hstack([w_hh, w_ih]).T + (b_ih + b_hh))
        else:
            (ir, iz, i_n), (hr, hz, hn) = (
                np.split(part, 3, axis=1) for part in (b_ih + x @ w_ih.T, before @ w_hh.T + b_hh)
            )
            r, z = ((np.tanh((a + b) / 2) + 1) / 2 for a, b in ((ir, hr), (iz, hz)))
            new = blend(z, np.tanh(hn * r + i_n), before)[1]
        assert new.dtype == np.float32
        layers.append(new)
        x = new
    return np.stack(layers, axis=1)


@settings(max_examples=40)
@given(steps())
@torch.no_grad()
def test_a_step_from_any_point_of_a_box_ends_in_both_images(step):
    model, low, high, generator = step
    layers = [[part.double().numpy() for part in layer] for layer in model.rnn.all_weights]
    corners = generator.integers(0, 2, (3, *low.shape))
    shares = [0, 1, *corners, *generator.uniform(0, 1, (3, *low.shape))]
    points = [(low + (high - low) * share).astype(np.float32).clip(low, high) for share in shares]
    exact_low, exact_high = low.astype(np.float64), high.astype(np.float64)
    for token, image in enumerate(IntervalNet(model).images(exact_low, exact_high)):
        embedded = model.embedding.weight[token]
        checked = _step(embedded.double().numpy(), layers, exact_low, exact_high)
        assert (image[0] <= checked[0]).all() and (checked[1] <= image[1]).all()
        for point in points:
            h = torch.from_numpy(point).transpose(0, 1).contiguous()
            _, after = model.rnn(embedded.expand(len(point), 1, -1), h)
            for end in (after.transpose(0, 1).numpy(), by_hand(model, token, point)):
                assert (checked[0] <= end).all() and (end <= checked[1]).all()


def reference_step(cell, x, h, w_ih, w_hh, b_ih, b_hh):
    """One layer in float64, as its formula is written."""
    if cell == "rnn":
        return np.tanh(x @ w_ih.T + h @ w_hh.T + b_ih + b_hh)
    i, s = np.split(x @ w_ih.T + b_ih, 3, axis=1), np.split(h @ w_hh.T + b_hh, 3, axis=1)
    r, z = 1 / (1 + np.exp(-i[0] - s[0])), 1 / (1 + np.exp(-i[1] - s[1]))
    n = np.tanh(i[2] + r * s[2])
    return (1 - z) * n + z * h


@pytest.mark.parametrize("cell", ["rnn", "gru"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_prover_and_checker_compute_the_same_boxes_which_hold_what_is_in_them(num_layers, cell):
    model, generator = build_random(3, num_layers, cell=cell), np.random.default_rng(0)
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
            for layer, weights in enumerate(exact):
                x = reference_step(cell, x, h[:, layer], *weights)
                assert (checked_low[:, layer] < x).all() and (x < checked_high[:, layer]).all()


@pytest.mark.parametrize(("cell", "counts"), [("rnn", [9]), ("gru", [9, 9, 11])])
def test_the_checker_lets_every_term_of_a_sum_be_rounded(cell, counts, monkeypatch):
    calls, rounding = [], check._rounding
    monkeypatch.setattr(check, "_rounding", lambda *given: calls.append(given) or rounding(*given))
    generator, size = np.random.default_rng(0), 4 * len(counts)
    w_ih, w_hh, b_ih, b_hh = (generator.normal(size=s) for s in ((size, 3), (size, 4), size, size))
    x, low, high = generator.normal(size=3), *(generator.random((2, 1, 1, 4)) * [[[[-1]]], [[[1]]]])
    _step(x, [(w_ih, w_hh, b_ih, b_hh)], low, high)
    assert [terms for terms, _ in calls] == counts
    reach = np.maximum(-low, high)[:, 0]
    mass = abs(w_ih) @ abs(x) + abs(b_ih) + reach @ abs(w_hh).T + abs(b_hh)
    np.testing.assert_allclose(np.hstack([mass for _, mass in calls]), mass)


def test_what_else_the_checker_allows_for():
    u, one, zero = 2.0**-24, np.ones((1, 1)), np.zeros((1, 1))
    weight, right = np.array([[3.0], [1.0]]), np.array([0])
    margin = check._smallest_margin(weight, np.zeros(2), one, one, right)
    assert 8 * u <= 2 - margin < 9 * u  # both scores: 2 terms each, masses 3 and 1
    low, high = check._sigmoid((zero, zero))
    assert min(0.5 - low, high - 0.5) >= 2.0**-21
    nothing = np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(3), np.zeros(3)
    low, high = check._gru_layer(nothing, (zero, zero), (one, one))
    assert min(0.5 - low, high - 0.5) > 2.4 * 2.0**-21
    assert check._rounding(5, np.zeros(1)) >= 5 * 2.0**-126
