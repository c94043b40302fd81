"""What is said of an evaluation, and the interval of its accuracy."""

import pytest

from rnn_tutorial.evaluation.result import wilson_interval


def test_wilson_interval_of_the_textbook():
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
