"""Exact evaluation against scoring every input one by one."""

import itertools

import pytest
import torch

from rnn_tutorial.data.streams import EVAL_STREAM, SeqSumModDataset
from rnn_tutorial.evaluation import exact
from rnn_tutorial.evaluation.exact import SAMPLE_SIZE, evaluate
from rnn_tutorial.machines.digit_sum import SumModulo, label
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet


def make_model(max_number, num_layers=2, seed=0):
    torch.manual_seed(seed)
    return RnnClsNet(max_number + 1, 4, 6, num_layers, max_number + 1)


@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}], ids=str)
def test_an_answer_with_a_score_that_is_nan_is_wrong(options):
    model = RnnClsNet(10, 4, 6, 2, 10, **options)
    with torch.no_grad():
        model.fc.bias[4] = torch.nan
    assert evaluate(model, SumModulo(9), 1, 3).num_wrong == 1110
    assert evaluate(model, SumModulo(9), 1, 3, max_enumerated=0).num_wrong == SAMPLE_SIZE


@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}], ids=str)
def test_equal_scores_are_no_right_answer(options):
    model = RnnClsNet(10, 4, 6, 2, 10, **options)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()
    assert evaluate(model, SumModulo(9), 1, 3).num_wrong == 1110
    assert evaluate(model, SumModulo(9), 1, 3, max_enumerated=0).num_wrong == SAMPLE_SIZE


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

    evaluation = evaluate(model, SumModulo(max_number), min_seq_len, max_seq_len)
    assert evaluation.exact
    assert evaluation.num_inputs == sum((max_number + 1) ** n for n in wrong)
    assert evaluation.num_wrong == len(all_wrong)
    assert evaluation.accuracy_by_length == pytest.approx(by_length)
    assert evaluation.accuracy == pytest.approx(sum(by_length.values()) / len(by_length))
    assert evaluation.wrong_examples == all_wrong[:5]
    said = evaluation.describe()
    assert f": {len(all_wrong):,} of all" in said
    assert ("the mean of all lengths" in said) == (len(wrong) > 1)


def test_too_many_inputs_are_sampled_and_it_says_so():
    model = make_model(9)
    evaluation = evaluate(model, SumModulo(9), 2, 12)
    assert not evaluation.exact and evaluation.num_inputs == SAMPLE_SIZE
    assert evaluation.low < evaluation.accuracy < evaluation.high
    assert "sample of 10,000" in evaluation.describe()
    for digits in evaluation.wrong_examples:
        assert model.predict(digits).item() != sum(digits) % 10
    again = evaluate(model, SumModulo(9), 2, 12)
    assert (again.accuracy, again.num_wrong) == (evaluation.accuracy, evaluation.num_wrong)


def test_the_sample_estimates_the_exact_accuracy():
    model = make_model(9, num_layers=1, seed=1)
    exact = evaluate(model, SumModulo(9), 1, 3)
    sampled = evaluate(model, SumModulo(9), 1, 3, max_enumerated=0)
    assert sampled.low <= exact.accuracy <= sampled.high


@pytest.mark.parametrize("max_seq_len", [3, 12])
def test_evaluation_leaves_no_trace(max_seq_len):
    model = make_model(9).train()
    before = torch.get_rng_state()
    evaluate(model, SumModulo(9), 2, max_seq_len)
    assert model.training and torch.equal(torch.get_rng_state(), before)
    evaluate(model.eval(), SumModulo(9), 2, 3)
    assert not model.training


PAIR = Machine("ab", ("no", "yes"), [[0, 1], [0, 2], [2, 2]], [0, 0, 1])  # "bb" somewhere


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}], ids=str)
def test_the_inputs_of_any_machine_are_scored(options):
    torch.manual_seed(0)
    model = RnnClsNet(2, 4, 6, 1, 2, **options)
    inputs = [[*ids] for n in (2, 3, 4) for ids in itertools.product(range(2), repeat=n)]
    right = [int("bb" in "".join("ab"[i] for i in ids)) for ids in inputs]
    answers = model.predict(inputs).tolist()
    wrong = [ids for ids, a, b in zip(inputs, answers, right, strict=True) if a != b]
    evaluation = evaluate(model, PAIR, 2, 4, max_examples=100)
    assert evaluation.exact and evaluation.wrong_examples == wrong
    assert (evaluation.num_inputs, evaluation.num_wrong) == (28, len(wrong))
    sampled = evaluate(model, PAIR, 2, 4, max_enumerated=0)
    assert sampled.low <= evaluation.accuracy <= sampled.high


def test_a_net_with_other_classes_than_the_machine_is_refused():
    with pytest.raises(ValueError, match="10 tokens and 10 classes, the machine 2 and 2"):
        evaluate(make_model(9), PAIR, 1, 2)


def test_the_sample_is_that_of_the_training_distribution_and_keeps_the_shortest_wrong_inputs():
    model = make_model(9)
    evaluation = evaluate(model, SumModulo(9), 2, 12, max_examples=7)
    dataset = SeqSumModDataset(None, 2, 12, 9, seed=0, stream=EVAL_STREAM)
    x, lengths = dataset.draw(0, SAMPLE_SIZE)
    wrong = model(torch.from_numpy(x), torch.from_numpy(lengths)).argmax(dim=1) != torch.from_numpy(
        label(x, 9)
    )
    inputs = [x[i, : lengths[i]].tolist() for i in wrong.nonzero().flatten()]
    assert evaluation.num_wrong == len(inputs)
    different = [list(ids) for ids in set(map(tuple, inputs))]
    assert evaluation.wrong_examples == sorted(different, key=lambda ids: (len(ids), ids))[:7]
