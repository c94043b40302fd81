"""Lines of answers against Python's formatting, one by one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.prediction.answers import Answers, JsonWriter, TextWriter, WordWriter, make_writer
from rnn_tutorial.tasks.reading import Questions

NAMES = {
    "numbers": [str(i) for i in range(121)],
    "words": [f"{'é' * (i % 3)}“{i}" for i in range(121)],
}

answer_lists = st.integers(1, 120).flatmap(
    lambda largest: st.lists(
        st.tuples(
            st.lists(st.integers(0, largest), min_size=1, max_size=12),
            st.integers(0, largest),
            st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.0625, 0.3125, 1.0]),
            st.integers(0, largest),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)


def as_answers(answers, lines=None, typed=None, num_classes=1):
    ids, predictions, probabilities, targets, trained = zip(*answers, strict=True)
    sequences = dict(zip(range(len(ids)) if lines is None else lines, ids, strict=True))
    by_class = np.zeros((len(ids), num_classes))
    by_class[np.arange(len(ids)), predictions if typed else 0] = probabilities
    return Answers(
        Questions.from_lists(sequences, {}, typed),
        np.array(predictions),
        np.array(probabilities, np.float32),
        None if typed else np.array(targets),
        np.array(trained),
        by_class,
    )


@pytest.mark.parametrize("kind", NAMES)
@given(answer_lists)
def test_text_is_that_of_python(kind, answers):
    names = NAMES[kind]
    expected = "".join(
        f"{' '.join(names[i] for i in ids)} -> {names[prediction]} with probability "
        f"{probability:.1%}; right is {names[target]} {'✓' if prediction == target else '✗'}"
        f"{'' if trained else f'  (never trained on length {len(ids)})'}\n"
        for ids, prediction, probability, target, trained in answers
    )
    writer = TextWriter(names, names)
    assert writer.write(as_answers(answers)).decode() == expected
    assert writer.write(as_answers(answers), first_number=1).decode() == expected


@given(answer_lists, st.integers(1, 10**12))
def test_json_is_read_back(answers, first):
    lines = (np.arange(len(answers)) * 7).tolist()
    writer = JsonWriter(NAMES["numbers"], NAMES["numbers"])
    written = writer.write(as_answers(answers, lines), first).decode().splitlines()
    for text, line, answer in zip(written, lines, answers, strict=True):
        ids, prediction, probability, target, trained = answer
        assert json.loads(text) == {
            "line": first + line,
            "input": ids,
            "prediction": prediction,
            "probability": round(probability, 6),
            "target": target,
            "trained_length": trained,
        }
        start = {"line": first + line, "input": ids}
        assert text.startswith(json.dumps(start)[:-1] + ', "prediction": ')


def test_json_of_an_answer_that_has_no_line():
    answers = as_answers([([1, 2], 3, 0.25, 3, True)])
    assert JsonWriter(NAMES["numbers"], NAMES["numbers"]).write(answers) == (
        b'{"input": [1, 2], "prediction": 3, "probability": 0.250000, '
        b'"target": 3, "trained_length": true}\n'
    )


def test_a_network_that_diverged_answers_with_probability_zero():
    answer = ([1, 2], 0, float("nan"), 3, True)
    text = TextWriter(NAMES["numbers"], NAMES["numbers"]).write(as_answers([answer]))
    assert text.decode() == "1 2 -> 0 with probability 0.0%; right is 3 ✗\n"
    by_chance = as_answers([([1, 2], 3, float("nan"), 3, True)])
    text = TextWriter(NAMES["numbers"], NAMES["numbers"]).write(by_chance)
    assert text.decode() == "1 2 -> 3 with probability 0.0%; right is 3 ✗\n"
    answers = as_answers([answer], typed=[["a", "b"]])
    assert WordWriter(["x"], as_json=False).write(answers) == b"a b -> x with probability 0.0%\n"
    assert b'"probabilities": {"x": 0.0}' in WordWriter(["x"], as_json=True).write(answers)


def test_words_are_written_as_they_were_typed():
    answers = as_answers(
        [([3, 0], 1, 0.5, 0, True), ([2], 0, 1 / 3, 0, False)],
        lines=[4, 6],
        typed=[["the", "zébra"], ["dog"]],
        num_classes=2,
    )
    assert WordWriter(["x", "ÿ"], as_json=False).write(answers).decode() == (
        "the zébra -> ÿ with probability 50.0%  (unknown: zébra)\n"
        "dog -> x with probability 33.3%  (never trained on length 1)\n"
    )
    writer = WordWriter(["x", "ÿ"], as_json=True)
    assert writer.write(answers, first_number=2).decode() == (
        '{"line": 6, "input": ["the", "zébra"], "prediction": "ÿ", "probability": 0.5, '
        '"probabilities": {"x": 0.0, "ÿ": 0.5}, "unknown": ["zébra"], "trained_length": true}\n'
        '{"line": 8, "input": ["dog"], "prediction": "x", "probability": 0.333333, '
        '"probabilities": {"x": 0.333333, "ÿ": 0.0}, "unknown": [], "trained_length": false}\n'
    )
    assert writer.write(answers).startswith(b'{"input": ["the", ')


def test_the_probability_of_words_is_rounded_once():
    answers = as_answers([([1], 0, 0.003499999875202775, 0, True)], typed=[["the"]])
    assert b"0.3%" in WordWriter(["x"], as_json=False).write(answers)
    assert json.loads(WordWriter(["x"], as_json=True).write(answers))["probability"] == 0.0035


def test_answers_are_written_by_column_where_a_machine_knows_them():
    machine = SumModulo(9)
    digits = SimpleNamespace(machine=machine, tokens=machine.tokens, classes=machine.classes)
    words = SimpleNamespace(machine=None, classes=["a", "b"])
    assert isinstance(make_writer(digits, False), TextWriter)
    assert isinstance(make_writer(digits, True), JsonWriter)
    assert isinstance(make_writer(words, True), WordWriter)
