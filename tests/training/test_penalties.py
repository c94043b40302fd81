"""The penalties on hidden states: the contraction against Jacobians, the center loss by hand."""

from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import jacobian
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_sequence

from rnn_tutorial.data.batches import PackedBatch
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.layers import one_layer
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.training.objective import (
    Objective,
    Penalties,
    center_loss,
    group_steps,
    gru_row_sums,
)

VOCAB, HIDDEN = 6, 5
sequences = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6), min_size=1, max_size=4
).map(lambda rows: sorted(rows, key=len, reverse=True))

machines = st.lists(
    st.lists(st.integers(0, 2), min_size=VOCAB, max_size=VOCAB), min_size=3, max_size=3
).map(lambda successors: Machine("abcdef", "xyz", successors, range(3)))


def make_model(seed, num_layers, scale=3.0):
    """Weights larger than the first ones: gates and candidates that are nearly saturated, too."""
    torch.manual_seed(seed)
    model = RnnClsNet(VOCAB, 3, HIDDEN, num_layers, VOCAB, cell="gru").double()
    for values in model.rnn.parameters():
        values.data *= scale
    return model


def embed(model, rows):
    tokens = pack_sequence([torch.tensor(row) for row in rows])
    return tokens._replace(data=model.embedding(tokens.data))


def steps_one_by_one(layer, inputs):
    """x and h_{t-1} of each step, in the order of packing, from nn.GRUCell."""
    cell = nn.GRUCell(inputs.data.shape[1], HIDDEN).double()
    weights = {name.removesuffix("_l0"): value for name, value in layer.named_parameters()}
    states = torch.zeros(int(inputs.batch_sizes[0]), HIDDEN, dtype=torch.float64)
    for x in inputs.data.split(inputs.batch_sizes.tolist()):
        states = states[: len(x)]
        yield from zip(x, states, strict=True)
        states = torch.func.functional_call(cell, weights, (x, states))


def gru_step(layer, x, direct, h_r, h_z, h_n):
    """The new state, where h_{t-1} is given once for each way in which it acts."""
    r_in, z_in, n_in = (layer.weight_ih_l0 @ x + layer.bias_ih_l0).chunk(3)
    matrices, biases = layer.weight_hh_l0.chunk(3), layer.bias_hh_l0.chunk(3)
    of_r, of_z, of_n = (
        matrix @ h + bias for matrix, h, bias in zip(matrices, (h_r, h_z, h_n), biases, strict=True)
    )
    z = (z_in + of_z).sigmoid()
    return (1 - z) * (n_in + (r_in + of_r).sigmoid() * of_n).tanh() + z * direct


def row_sums(jacobians):
    return jacobians.abs().sum(dim=-1)


@settings(max_examples=20)
@given(rows=sequences, num_layers=st.integers(1, 2), seed=st.integers(0, 99))
def test_no_row_of_a_grus_jacobian_is_larger_and_each_way_counts_in_full(rows, num_layers, seed):
    model = make_model(seed, num_layers)
    inputs, means = embed(model, rows), []
    for index in range(num_layers):
        layer = one_layer(model.rnn, index)
        states, _ = layer(inputs)
        bounds = gru_row_sums(layer, inputs, states)
        steps = list(steps_one_by_one(layer, inputs))
        assert len(bounds) == len(steps)
        for bound, (x, h) in zip(bounds, steps, strict=True):

            def step(h, x=x, layer=layer):
                return layer(x[None, None], h[None, None])[1].flatten()

            def step_by_ways(*h, x=x, layer=layer):
                return gru_step(layer, x, *h)

            assert (row_sums(jacobian(step, h)) <= bound + 1e-12).all()
            directly, *gates = map(row_sums, jacobian(step_by_ways, (h, h, h, h)))
            expected = sum(gates, -torch.log1p(-directly))  # directly: z
            torch.testing.assert_close(bound, expected, rtol=1e-9, atol=1e-12)
        means.append(bounds.mean())
        inputs = states
    scores, penalties = Penalties(model)(embed(model, rows))
    torch.testing.assert_close(penalties["contraction"], sum(means), rtol=1e-12, atol=1e-12)
    expected = model(pack_sequence([torch.tensor(row) for row in rows]))
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=20)
@given(rows=sequences, num_layers=st.integers(1, 2), seed=st.integers(0, 99))
def test_its_gradients_are_those_of_finite_differences(rows, num_layers, seed):
    model = make_model(seed, num_layers, scale=1.0)
    penalties = Penalties(model)

    def penalty():
        return penalties(embed(model, rows))[1]["contraction"]

    gradients = torch.autograd.grad(penalty(), list(model.rnn.parameters()))
    for parameter, gradient in zip(model.rnn.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        values, ends = parameter.data.clone(), []
        for distance in (1e-6, -1e-6):
            parameter.data = values + distance * direction
            ends.append(penalty().item())
        parameter.data = values
        slope = (ends[0] - ends[1]) / 2e-6
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_lowering_the_penalty_makes_every_step_contract_even_of_units_that_keep_their_state():
    model = make_model(0, num_layers=1)
    update_gate = slice(HIDDEN, 2 * HIDDEN)
    model.rnn.bias_ih_l0.data[update_gate] = 20  # z is 1 but for 2e-9
    penalties, optimizer = Penalties(model), torch.optim.Adam(model.rnn.parameters(), lr=0.3)
    inputs = embed(model, [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [2, 2, 0]])
    inputs = inputs._replace(data=inputs.data.detach())
    for _ in range(150):
        optimizer.zero_grad()
        penalties(inputs)[1]["contraction"].backward()
        optimizer.step()
    layer = one_layer(model.rnn, 0)
    assert gru_row_sums(layer, inputs, layer(inputs)[0]).max() < 0.5


@given(rows=sequences, num_layers=st.integers(1, 2), seed=st.integers(0, 99), machine=machines)
def test_the_center_loss_is_the_variance_where_state_and_token_agree(
    rows, num_layers, seed, machine
):
    model = make_model(seed, num_layers)
    tokens = pack_sequence([torch.tensor(row) for row in rows])
    groups = group_steps(tokens, machine)
    _, penalties = Penalties(model)(embed(model, rows), False, groups)
    alike = defaultdict(list)
    for row in rows:
        state, hidden = 0, torch.zeros(num_layers, 1, HIDDEN, dtype=torch.float64)
        for token in row:
            state = int(machine.step(state, token))
            embedded = model.embedding.weight[token].reshape(1, 1, -1)
            hidden = model.rnn(embedded, hidden)[1]
            alike[state, token].append(hidden[:, 0])
    assert len(alike) == len(groups.unique())
    squares = sum(((h - h.mean(0)) ** 2).sum() for h in map(torch.stack, alike.values()))
    mean = squares / (len(groups) * HIDDEN)
    torch.testing.assert_close(penalties, {"center_loss": mean}, rtol=1e-9, atol=1e-12)


@given(rows=sequences, seed=st.integers(0, 99), machine=machines)
def test_the_objective_adds_each_penalty_times_its_factor_and_their_share(rows, seed, machine):
    model = make_model(seed, num_layers=1)
    tokens, embedded = pack_sequence([torch.tensor(row) for row in rows]), embed(model, rows)
    groups, targets = group_steps(tokens, machine), torch.arange(len(rows)) % VOCAB
    scores, found = Penalties(model)(embedded, True, groups)
    contraction, center = found["contraction"], found["center_loss"]
    loss = cross_entropy(scores, targets)
    batch = PackedBatch(tokens, targets, None)
    for factors, share, expected in (
        ({"contraction": 0.5, "center_loss": 2.0}, 0.25, 0.125 * contraction + 0.5 * center),
        ({"center_loss": 2.0}, 0.5, center),
        ({"contraction": 0.5, "center_loss": 2.0}, 0.0, 0.0),
    ):
        objective = Objective(model, TrainConfig(**factors), machine)
        torch.testing.assert_close(objective(batch, share), loss + expected, rtol=1e-9, atol=1e-12)


def test_steps_of_different_groups_do_not_count():
    states = torch.tensor([[1.0, 0.0], [5.0, 2.0], [3.0, 0.0]])
    assert center_loss(torch.tensor([7, 2, 7]), states) == 2 / 6
    assert center_loss(torch.tensor([0, 1, 2]), states) == 0
