"""The model against nn.RNNCell step by step: scores and gradients, in any padding and order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.training.objective import Penalties

VOCAB = 10


def make_model(seed, num_layers=2, embed_dim=3, hidden_dim=5):
    torch.manual_seed(seed)
    return RnnClsNet(VOCAB, embed_dim, hidden_dim, num_layers, VOCAB).double()


def step_by_step(model, digits):
    """Scores of one sequence from nn.RNNCell, layer by layer, token by token."""
    rnn = model.rnn
    inputs = [model.embedding.weight[digit] for digit in digits]
    for layer in range(rnn.num_layers):
        cell = nn.RNNCell(inputs[0].shape[0], rnn.hidden_size).double()
        parameters = {
            name: getattr(rnn, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        state = torch.zeros(rnn.hidden_size, dtype=torch.float64)
        outputs = []
        for x in inputs:
            state = torch.func.functional_call(cell, parameters, (x, state))
            outputs.append(state)
        inputs = outputs
    return inputs[-1] @ model.fc.weight.T + model.fc.bias


def padded(sequences, width=0):
    width = max(width, *map(len, sequences))
    x = torch.tensor([digits + [VOCAB] * (width - len(digits)) for digits in sequences])
    return x, torch.tensor([len(digits) for digits in sequences])


batches = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=7), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(
    sequences=batches,
    num_layers=st.integers(1, 3),
    seed=st.integers(0, 99),
    wider=st.integers(0, 9),
)
def test_scores_and_gradients_equal_rnn_cells_in_any_padding(sequences, num_layers, seed, wider):
    model = make_model(seed, num_layers)
    targets = torch.arange(len(sequences)) % VOCAB
    x, seq_lengths = padded(sequences, max(map(len, sequences)) + wider)

    scores = model(x, seq_lengths)
    expected = torch.stack([step_by_step(model, digits) for digits in sequences])
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)

    gradients = torch.autograd.grad(cross_entropy(scores, targets), list(model.parameters()))
    reference = torch.autograd.grad(
        cross_entropy(expected, targets), list(model.parameters()), allow_unused=True
    )
    for gradient, wanted in zip(gradients, reference, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_what_stands_in_the_padding_does_not_matter():
    model = make_model(0)
    x, seq_lengths = padded([[1, 2, 3], [4], [5, 6]])
    scores = model(x, seq_lengths)
    x[1, 1:], x[2, 2:] = 7, 8
    assert torch.equal(model(x, seq_lengths), scores)
    with torch.no_grad():
        model.embedding.weight[VOCAB] = 1e6
    assert torch.equal(model(x, seq_lengths), scores)


@pytest.mark.parametrize("lengths", [[0, 2], [3, 4], [-1, 1]])
def test_impossible_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="allowed are 1 to T = 3"):
        make_model(0)(torch.zeros(2, 3, dtype=torch.int64), torch.tensor(lengths))


@given(sequences=batches, seed=st.integers(0, 99))
def test_predict_takes_lists_and_padded_tensors(sequences, seed):
    model = make_model(seed)
    expected = [int(step_by_step(model, digits).argmax()) for digits in sequences]
    assert model.predict(sequences).tolist() == expected
    assert model.predict(padded(sequences)[0]).tolist() == expected
    assert model.predict(sequences[0]).tolist() == expected[:1]
    assert model.predict(torch.tensor(sequences[0])).tolist() == expected[:1]


@pytest.mark.parametrize(
    "wrong", [[], [[]], [10], [-1], [[1, 2], [3, 10]], [1.5], torch.tensor([[1, 10, 2]])]
)
def test_predict_refuses_what_is_no_sequence_of_tokens(wrong):
    model = make_model(0)
    with pytest.raises(ValueError, match=r"empty|not in 0 to 9"):
        model.predict(wrong)
    assert model.training


def test_predict_leaves_no_gradient():
    model = make_model(0)
    assert not model.logits([1, 2]).requires_grad


@settings(max_examples=20)
@given(sequences=batches, num_layers=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_contraction_is_the_mean_row_sum_of_the_jacobians(sequences, num_layers, seed):
    model = make_model(seed, num_layers)
    sequences = sorted(sequences, key=len, reverse=True)
    x, seq_lengths = padded(sequences)
    ids = nn.utils.rnn.pack_padded_sequence(x, seq_lengths, batch_first=True)
    embedded = ids._replace(data=model.embedding(ids.data))
    scores, penalties = Penalties(model)(embedded)
    torch.testing.assert_close(scores, model(x, seq_lengths), rtol=1e-12, atol=1e-12)

    row_sums = [[] for _ in range(num_layers)]
    for digits in sequences:
        state = torch.zeros(num_layers, 1, 5, dtype=torch.float64)
        for digit in digits:
            embedded = model.embedding.weight[digit].reshape(1, 1, -1)

            def step(previous, embedded=embedded):
                return model.rnn(embedded, previous)[1]

            jacobian = torch.autograd.functional.jacobian(step, state)
            for layer in range(num_layers):
                own = jacobian[layer, 0, :, layer, 0, :]  # (H, H)
                row_sums[layer].append(own.abs().sum(dim=1).mean())
            state = step(state)
    expected = sum(torch.stack(layer).mean() for layer in row_sums)
    torch.testing.assert_close(penalties["contraction"], expected, rtol=1e-9, atol=1e-12)


def test_weights_have_the_published_names():
    names = set(make_model(0, num_layers=1).state_dict())
    assert names == {
        "embedding.weight", "fc.weight", "fc.bias",
        "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0",
    }  # fmt: skip
