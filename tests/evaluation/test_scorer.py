"""Scoring many sequences against the model itself, sequence by sequence."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_tutorial.evaluation import scorer
from rnn_tutorial.evaluation.exact import SAMPLE_SIZE, evaluate
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet

TINY = {  # so that few sequences make many groups, units and stretches
    "_GROUP_NUMBERS": 96,
    "_UNIT_NUMBERS": 24,
    "_STRETCH_TOKENS": 16,
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
            patch.setattr(scorer, name, value)
        ready = Scorer(model)
        classes, probabilities = ready.classify(*flat(sequences))
        states = ready.final_states(*flat(sequences))  # (L, N, H)
        scores = ready.scores(*flat(sequences))
    assert torch.allclose(scores, model.logits(sequences), atol=1e-5)
    for i, digits in enumerate(sequences):
        expected = model.logits(digits)[0].softmax(dim=0)
        assert probabilities[i] == pytest.approx(float(expected.max()), abs=1e-5)
        assert float(expected[classes[i]]) == pytest.approx(float(expected.max()), abs=1e-6)
        assert torch.allclose(states[:, i], final_state(model, digits), atol=1e-5)


def test_scores_that_hardly_differ_are_told_apart():
    model = make_model()
    sequences = list(itertools.product(range(model.arguments["vocab_size"]), repeat=2))
    with torch.no_grad():
        model.fc.weight *= 1e-9  # their probabilities are equal in float32
        model.fc.bias *= 0
    ids, lengths = flat([list(sequence) for sequence in sequences])
    ready = Scorer(model)
    classes, probabilities = ready.classify(ids, lengths)
    assert len({*probabilities.tolist()}) == 1 < len({*classes.tolist()})
    assert (classes == ready.scores(ids, lengths).argmax(dim=1).numpy()).all()
    targets = np.zeros(len(lengths), np.int64)
    assert (ready.classify_with_losses(ids, lengths, targets)[0] == classes).all()


def test_wide_nets_many_rows_and_an_outlier():
    model = make_model(hidden_dim=64)
    dice = np.random.default_rng(0)
    sequences = [dice.integers(0, 10, n).tolist() for n in (*dice.integers(1, 20, 3000), 3000)]
    classes, probabilities = Scorer(model).classify(*flat(sequences))
    expected, best = model.logits(sequences).softmax(dim=1).max(dim=1)
    assert np.allclose(probabilities, expected.numpy(), atol=1e-5)
    assert np.mean(classes == best.numpy()) > 0.999


def test_a_model_with_more_digits_than_prefixes_are_kept():
    model = make_model(max_number=70_000, hidden_dim=64, num_layers=1)
    sequences = [[70_000], [1, 69_999, 3]]
    classes, _ = Scorer(model).classify(*flat(sequences))
    assert classes.tolist() == [int(model.predict(digits)) for digits in sequences]


def test_the_order_of_calls_changes_nothing():
    """The states of prefixes are computed when they are first needed, by whichever call it is."""
    model, dice = make_model(), np.random.default_rng(0)
    few, many = ([dice.integers(0, 10, n) for n in dice.integers(1, 9, size)] for size in (3, 3000))
    once, again = Scorer(model), Scorer(model)
    few_first = [once.classify(*flat(sequences)) for sequences in (few, many)]
    many_first = [again.classify(*flat(sequences)) for sequences in (many, few)][::-1]
    for one, other in zip(few_first, many_first, strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_several_threads_may_score_at_once():
    model, dice = make_model(), np.random.default_rng(0)
    blocks = [flat([dice.integers(0, 10, 5) for _ in range(200)]) for _ in range(20)]
    expected = [Scorer(model).classify(*block)[1] for block in blocks]
    shared = Scorer(model)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda block: shared.classify(*block)[1], blocks))
    assert all(np.array_equal(a, b) for a, b in zip(answers, expected, strict=True))


@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"cell": "gru"}], ids=str)
def test_a_long_stream_looks_up_longer_prefixes_for_the_same_answers(options, monkeypatch):
    monkeypatch.setattr(scorer, "_GROUP_NUMBERS", 200)  # several groups, and parts of a table
    torch.manual_seed(0)
    model = RnnClsNet(**{"vocab_size": 4, "embed_dim": 4, "hidden_dim": 6, "num_layers": 1,
                         "cls_num": 4} | options).eval()  # fmt: skip
    dice = np.random.default_rng(0)
    sequences = flat([dice.integers(0, 4, n) for n in dice.integers(1, 9, 100)])
    kept, ready = [], Scorer(model)
    for num_before in (0, 200, 1000):
        classes, probabilities = ready.classify(*sequences, num_before=num_before)
        kept.append(ready._prefixes._kept.shape[1])
        expected = Scorer(model).scores(*sequences).softmax(dim=1).max(dim=1)
        assert np.array_equal(classes, expected.indices.numpy())
        assert np.allclose(probabilities, expected.values.numpy(), atol=1e-6)
    assert kept == [1 + 4 + 16 + 64, 1 + 4 + 16 + 64 + 256, 1 + 4 + 16 + 64 + 256 + 1024]


def test_what_is_kept_of_prefixes_is_bounded(monkeypatch):
    monkeypatch.setattr(scorer, "_PREFIX_NUMBERS", 6 * 2 * (1 + 10 + 100))
    model = make_model()  # two layers of 6 units, ten tokens
    ready = Scorer(model)
    ready.classify(*flat([[1, 2, 3, 4]]), num_before=10**9)
    assert ready._prefixes._kept.numel() == scorer._PREFIX_NUMBERS


def test_one_token_and_long_sequences():
    model = make_model(max_number=0)
    sequences = [[0] * length for length in (1, 2, 50)]
    assert torch.allclose(
        Scorer(model).scores(*flat(sequences)), model.logits(sequences), atol=1e-5
    )


def test_an_answer_with_a_score_that_is_nan_is_wrong():
    model = make_model()
    ids, lengths = flat([[1], [2, 3]])
    right, _ = Scorer(model).classify(ids, lengths)
    assert Scorer(model).is_right(ids, lengths, right).all()
    assert not Scorer(model).is_right(ids, lengths, (right + 1) % 10).any()
    with torch.no_grad():
        model.fc.bias[3] = torch.nan
    for answer in range(10):
        assert not Scorer(model).is_right(ids, lengths, np.full(2, answer)).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru"},
        {"cell": "lstm"},
        {"nonlinearity": "relu"},
        {"residual": True},
        {"bidirectional": True},
        {"cell": "transformer"},
    ],
    ids=str,
)
def test_a_model_on_a_gpu_gives_the_scores_of_the_cpu(options):
    torch.manual_seed(0)
    model = RnnClsNet(10, 4, 32, 2, 10, **options).eval()
    dice = np.random.default_rng(0)
    sequences = flat([dice.integers(0, 10, n) for n in dice.integers(1, 30, 500)])
    expected = Scorer(model).scores(*sequences)
    ready = Scorer(model.cuda())
    assert torch.allclose(ready.scores(*sequences), expected, atol=1e-2)  # TF32
    if model.has_state:
        assert ready.final_states(*sequences).device.type == "cuda"
    machine = SumModulo(9)
    assert evaluate(model, machine, 1, 3).num_inputs == 1110
    assert evaluate(model, machine, 1, 3, max_enumerated=0).num_inputs == SAMPLE_SIZE
