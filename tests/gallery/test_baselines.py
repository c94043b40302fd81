"""The baselines of a forecast: against statsmodels and plain loops; none looks into the future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_tutorial.gallery.baselines import (
    autoregress,
    best_lag,
    block_length,
    forecast_baselines,
    skill_interval,
    smooth,
)

TRAIN_END, PERIOD = 84, 6


@pytest.fixture(scope="module")
def values():
    """A season, a trend and noise, (120,)."""
    time = np.arange(120)
    noise = np.random.default_rng(0).standard_normal(120)
    return 50 + 0.3 * time + 8 * np.sin(2 * np.pi * time / PERIOD) + noise


def forecasts_of(values, origins, steps=8):
    return forecast_baselines(values, TRAIN_END, np.array(origins), steps, PERIOD, 7, True)


def test_naive_rules_are_those_of_a_plain_loop(values):
    origins = np.array([20, 83, 111])
    found = forecasts_of(values, origins)
    for row, origin in enumerate(origins):
        for ahead in range(1, 9):
            earlier = origin + ahead
            while earlier > origin:
                earlier -= PERIOD
            assert found["persistence"][row, ahead - 1] == values[origin]
            assert found["seasonal naive"][row, ahead - 1] == values[earlier]
    assert "seasonal naive" not in forecast_baselines(values, TRAIN_END, origins, 2, 0, 7, False)


def test_no_baseline_depends_on_what_comes_after_its_origin(values):
    origins = [TRAIN_END - 1, 90, 111]
    found = forecasts_of(values, origins)
    for row, origin in enumerate(origins):
        changed = values.copy()
        changed[origin + 1 :] = 1000.0
        for name, forecasts in forecasts_of(changed, origins).items():
            np.testing.assert_allclose(forecasts[row], found[name][row], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("period", [PERIOD, 0])
def test_smoothing_forecasts_what_statsmodels_does(values, period):
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    options = [{}, {"trend": "add"}]
    if period:
        season = {"seasonal": "add", "seasonal_periods": period}
        options += [season, {"trend": "add", **season}]
    fits = [
        ETSModel(values[:TRAIN_END], initialization_method="heuristic", **form).fit(disp=False)
        for form in options
    ]
    best = min(fits, key=lambda fit: fit.aic)
    found = smooth(values, TRAIN_END, np.array([TRAIN_END - 1]), 14, period)
    np.testing.assert_allclose(found[0], best.forecast(14), rtol=1e-9)


@pytest.mark.parametrize("difference", [False, True])
def test_the_autoregression_forecasts_what_statsmodels_does(values, difference):
    from statsmodels.tsa.ar_model import AutoReg

    known = np.diff(values[:TRAIN_END]) if difference else values[:TRAIN_END]
    expected = AutoReg(known, 7).fit().forecast(9)
    if difference:
        expected = values[TRAIN_END - 1] + np.cumsum(expected)
    origins = np.array([TRAIN_END - 1, 100])
    found = autoregress(values, TRAIN_END, origins, 9, 7, difference)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)


def test_a_window_longer_than_the_training_part_allows_has_fewer_lags(values):
    found = autoregress(values[:40], 30, np.array([35]), 2, 25, False)
    np.testing.assert_array_equal(found, autoregress(values[:40], 30, np.array([35]), 2, 10, False))


def test_the_interval_of_independent_errors_is_that_of_the_normal_approximation():
    errors, naive = np.random.default_rng(0).uniform(0.5, 1.5, (2, 4000)) * [[0.8], [1.0]]
    skill, low, high = skill_interval(errors, naive, 1)
    ratio = errors.mean() / naive.mean()
    deviation = np.std(errors - ratio * naive) / naive.mean() / np.sqrt(4000)  # the delta method
    assert skill == pytest.approx(1 - ratio)
    assert (low, high) == pytest.approx(
        (skill - 1.96 * deviation, skill + 1.96 * deviation), abs=0.15 * deviation
    )


def test_blocks_widen_the_interval_of_errors_that_resemble_their_neighbours():
    generator = np.random.default_rng(0)
    errors, naive = (np.repeat(generator.uniform(0.5, 1.5, 60), 20) for _ in range(2))
    widths = [high - low for _, low, high in (skill_interval(errors, naive, b) for b in (1, 20))]
    assert widths[1] > 3 * widths[0]


@settings(max_examples=15)
@given(st.integers(3, 500), st.integers(0, 60), st.integers(1, 60), st.integers(0, 3))
def test_equal_errors_have_no_skill_whatever_the_blocks(number, period, steps, seed):
    block = block_length(number, period, steps)
    assert 1 <= block <= max(1, number // 3)
    errors = np.random.default_rng(seed).uniform(1, 2, number)
    assert skill_interval(errors, errors, block) == (0, 0, 0)
    skill, low, high = skill_interval(errors / 2, errors, block)
    assert (skill, low, high) == pytest.approx((0.5, 0.5, 0.5))


def test_there_is_no_interval_where_the_naive_rule_hardly_errs():
    naive = np.zeros(60)
    naive[59] = 1
    skill, low, high = skill_interval(np.full(60, 0.35), naive, 5)
    assert skill == pytest.approx(1 - 60 * 0.35) and low is None and high is None


def test_the_first_and_the_last_errors_are_drawn_as_often_as_the_others():
    """Then the resamples scatter around the skill itself, and not around that of the middle."""
    errors, naive = np.ones(40), np.ones(40)
    errors[[0, 1, 38, 39]] = 9
    skill, low, high = skill_interval(errors, naive, 10)
    assert low < skill < high


def test_what_never_changes_has_no_lag():
    values = np.arange(30.0)
    assert best_lag(np.full(10, 3.0), values, np.arange(20, 30), 5) == 0
    assert best_lag(values[20:], np.full(30, 3.0), np.arange(20, 30), 5) == 0


@given(st.integers(0, 6), st.integers(0, 5))
def test_the_lag_is_that_by_which_a_copy_was_delayed(lag, seed):
    values = np.random.default_rng(seed).standard_normal(200).cumsum()
    targets = np.arange(100, 200)
    assert best_lag(3 * values[targets - lag] + 1, values, targets, 6) == lag
