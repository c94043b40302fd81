"""Exact evaluation against scoring every input one by one."""

import itertools

import pytest
import torch

from rnn_tutorial.evaluation import exact
from rnn_tutorial.evaluation.exact import SAMPLE_SIZE, evaluate, wilson_interval
from rnn_tutorial.model.classifier import RnnClsNet


def make_model(max_number, num_layers=2, seed=0):
    torch.manual_seed(seed)
    return RnnClsNet(max_number + 1, 4, 6, num_layers, max_number + 1)


def test_an_answer_that_is_no_number_is_wrong():
    model = make_model(9)
    with torch.no_grad():
        model.fc.bias.fill_(torch.nan)
    assert evaluate(model, 1, 3, 9).num_wrong == 1110
    assert evaluate(model, 1, 3, 9, max_enumerated=0).num_wrong == SAMPLE_SIZE


@pytest.mark.parametrize(
    ("min_seq_len", "max_seq_len", "max_number"), [(1, 1, 9), (2, 4, 3), (3, 3, 9), (1, 5, 1)]
)
def test_every_input_is_scored_as_brute_force_does(
    min_seq_len, max_seq_len, max_number, monkeypatch
):
    monkeypatch.setattr(exact, "_CHUNK", 20)  # several chunks
    model = make_model(max_number)
    wrong = {}
    for length in range(min_seq_len, max_seq_len + 1):
        inputs = [
            list(digits) for digits in itertools.product(range(max_number + 1), repeat=length)
        ]
        answers = model.predict(inputs).tolist()
        wrong[length] = [
            digits
            for digits, answer in zip(inputs, answers, strict=True)
            if answer != sum(digits) % (max_number + 1)
        ]
    all_wrong = list(itertools.chain(*wrong.values()))
    by_length = {n: 1 - len(w) / (max_number + 1) ** n for n, w in wrong.items()}

    evaluation = evaluate(model, min_seq_len, max_seq_len, max_number)
    assert evaluation.exact
    assert evaluation.num_inputs == sum((max_number + 1) ** n for n in wrong)
    assert evaluation.num_wrong == len(all_wrong)
    assert evaluation.accuracy_by_length == pytest.approx(by_length)
    assert evaluation.accuracy == pytest.approx(sum(by_length.values()) / len(by_length))
    assert evaluation.wrong_examples == all_wrong[:5]
    assert f"{len(all_wrong):,} of all" in evaluation.describe()


def test_too_many_inputs_are_sampled_and_it_says_so():
    model = make_model(9)
    evaluation = evaluate(model, 2, 12, 9)
    assert not evaluation.exact and evaluation.num_inputs == SAMPLE_SIZE
    assert evaluation.low < evaluation.accuracy < evaluation.high
    assert "sample of 10,000" in evaluation.describe()
    for digits in evaluation.wrong_examples:
        assert model.predict(digits).item() != sum(digits) % 10
    again = evaluate(model, 2, 12, 9)
    assert (again.accuracy, again.num_wrong) == (evaluation.accuracy, evaluation.num_wrong)


def test_the_sample_estimates_the_exact_accuracy():
    model = make_model(9, num_layers=1, seed=1)
    exact = evaluate(model, 1, 3, 9)
    sampled = evaluate(model, 1, 3, 9, max_enumerated=0)
    assert sampled.low <= exact.accuracy <= sampled.high


@pytest.mark.parametrize("max_seq_len", [3, 12])
def test_evaluation_leaves_no_trace(max_seq_len):
    model = make_model(9).train()
    before = torch.get_rng_state()
    evaluate(model, 2, max_seq_len, 9)
    assert model.training and torch.equal(torch.get_rng_state(), before)
    evaluate(model.eval(), 2, 3, 9)
    assert not model.training


def test_wilson_interval_of_the_textbook():
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
