"""Fast inference against the model itself, sequence by sequence."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_tutorial.evaluation import scorer as inference
from rnn_tutorial.evaluation.scorer import Inference, add_product, extend_by_every_digit
from rnn_tutorial.model.classifier import RnnClsNet

TINY = {  # so that few sequences make many groups, units and stretches
    "_GROUP_NUMBERS": 96,
    "_UNIT_NUMBERS": 24,
    "_STRETCH_DIGITS": 16,
    "_PREFIX_NUMBERS": 600,
    "_FEW_NUMBERS": 30,
}


def make_model(max_number=9, hidden_dim=6, num_layers=2):
    torch.manual_seed(0)
    return RnnClsNet(max_number + 1, 4, hidden_dim, num_layers, max_number + 1)


def flat(sequences):
    """Sequences one after the other, and their lengths."""
    return np.array(list(itertools.chain(*sequences))), np.array([len(s) for s in sequences])


@torch.no_grad()
def final_state(model, digits):
    return model.rnn(model.embedding(torch.tensor([digits])))[1][:, 0]


models_and_sequences = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3)).flatmap(
    lambda sizes: st.tuples(
        st.just(make_model(*sizes)),
        st.lists(
            st.lists(st.integers(0, sizes[0]), min_size=1, max_size=40), min_size=1, max_size=40
        ),
    )
)


@settings(max_examples=60)
@given(models_and_sequences, st.sampled_from([TINY, TINY | {"_FEW_NUMBERS": 0}, {}]))
def test_many_sequences_are_classified_as_the_model_does_one_by_one(drawn, sizes):
    model, sequences = drawn
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sizes.items():
            patch.setattr(inference, name, value)
        ready = Inference(model)
        classes, probabilities = ready.classify(*flat(sequences))
        states = ready.final_states(*flat(sequences))  # (L, N, H)
    for i, digits in enumerate(sequences):
        expected = model.score(digits)[0].softmax(dim=0)
        assert probabilities[i] == pytest.approx(float(expected.max()), abs=1e-5)
        assert float(expected[classes[i]]) == pytest.approx(float(expected.max()), abs=1e-6)
        assert torch.allclose(states[:, i], final_state(model, digits), atol=1e-5)


def test_wide_nets_many_rows_and_an_outlier():
    model = make_model(hidden_dim=64)
    dice = np.random.default_rng(0)
    sequences = [dice.integers(0, 10, n).tolist() for n in (*dice.integers(1, 20, 3000), 3000)]
    classes, probabilities = Inference(model).classify(*flat(sequences))
    expected, best = model.score(sequences).softmax(dim=1).max(dim=1)
    assert np.allclose(probabilities, expected.numpy(), atol=1e-5)
    assert np.mean(classes == best.numpy()) > 0.999


def test_a_model_with_more_digits_than_prefixes_are_kept():
    model = make_model(max_number=70_000, hidden_dim=64, num_layers=1)
    sequences = [[70_000], [1, 69_999, 3]]
    classes, _ = Inference(model).classify(*flat(sequences))
    assert classes.tolist() == [int(model.predict(digits)) for digits in sequences]


def test_extending_by_every_digit_is_the_recurrence():
    model = make_model(max_number=3)
    with torch.no_grad():
        states = extend_by_every_digit(model, torch.zeros(2, 1, 6))
        states = extend_by_every_digit(model, states)
    for i, digits in enumerate(itertools.product(range(4), repeat=2)):
        assert torch.allclose(states[:, i], final_state(model, digits), atol=1e-6)


def test_the_product_is_the_same_without_onednn(monkeypatch):
    addend, x, weight = torch.randn(5, 3), torch.randn(5, 4), torch.randn(3, 4)
    with torch.no_grad():
        fast = add_product(addend, x, weight)
        monkeypatch.setattr(torch.ops, "mkldnn", object())
        assert torch.allclose(add_product(addend, x, weight), fast, atol=1e-6)
    assert torch.allclose(fast, addend + x @ weight.T, atol=1e-6)
