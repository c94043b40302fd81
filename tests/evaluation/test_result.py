"""What is said of an evaluation, and the interval of its accuracy."""

from dataclasses import replace

import pytest

from rnn_tutorial.evaluation.result import Evaluation, wilson_interval


def test_wilson_interval_of_the_textbook():
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_an_accuracy_with_a_wrong_input_is_not_rounded_up_to_all():
    evaluation = Evaluation(
        0.9999999, 10**7, 1, {7: 0.9999999}, [], True, 0.9999999, 0.9999999, 1.0
    )
    assert evaluation.describe() == "accuracy 99.9999% exactly: 1 of all 10,000,000 inputs wrong"
    examples = replace(evaluation, exact=False, num_inputs=10**6, answers_by_label={})
    assert examples.describe().startswith("accuracy 99.99%, 95% interval")
    assert replace(examples, accuracy=1.0, num_wrong=0).describe().startswith("accuracy 100.00%")
