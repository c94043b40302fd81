"""Lines of answers against Python's own formatting, one by one."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.prediction.answers import Answers

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


def as_answers(answers):
    digits, predictions, probabilities, targets, trained = zip(*answers, strict=True)
    return Answers(
        np.concatenate(digits),
        np.array([len(own) for own in digits]),
        np.array(predictions),
        np.array(probabilities, np.float32),
        np.array(targets),
        np.array(trained),
    )


@given(answer_lists)
def test_text_is_that_of_python(answers):
    expected = "".join(
        f"{' '.join(map(str, digits))} -> {prediction} with probability {probability:.1%}; "
        f"right is {target} {'✓' if prediction == target else '✗'}"
        f"{'' if trained else f'  (never trained on length {len(digits)})'}\n"
        for digits, prediction, probability, target, trained in answers
    )
    assert as_answers(answers).as_text().decode() == expected


@given(answer_lists, st.integers(1, 10**12))
def test_json_is_read_back(answers, first):
    numbers = first + np.arange(len(answers)) * 7
    lines = as_answers(answers).as_json(numbers).decode().splitlines()
    for line, number, answer in zip(lines, numbers.tolist(), answers, strict=True):
        digits, prediction, probability, target, trained = answer
        assert json.loads(line) == {
            "line": number,
            "input": digits,
            "prediction": prediction,
            "probability": round(probability, 6),
            "target": target,
            "trained_length": trained,
        }
        assert line.startswith(f'{{"line": {number}, "input": {digits}, "prediction": ')


def test_json_of_an_answer_that_has_no_line():
    answers = as_answers([([1, 2], 3, 0.25, 3, True)])
    assert answers.as_json() == (
        b'{"input": [1, 2], "prediction": 3, "probability": 0.250000, '
        b'"target": 3, "trained_length": true}\n'
    )


def test_a_network_that_diverged_answers_with_probability_zero():
    answers = as_answers([([1, 2], 0, float("nan"), 3, True)])
    assert answers.as_text().decode() == "1 2 -> 0 with probability 0.0%; right is 3 ✗\n"
