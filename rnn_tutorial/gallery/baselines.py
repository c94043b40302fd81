"""What a forecast must be compared with: two naive rules, exponential smoothing, an autoregression.

The naive rules need no fitting. The other two are fitted by statsmodels on the training part
alone; then they read on through the series, value by value, without being fitted again, and
forecast from each origin what follows. An origin is the index of the last value that is known.

Shapes: T values of the series, O origins, S steps ahead, L lags.
"""

from __future__ import annotations

import math
import warnings
from itertools import product

import numpy as np

NUM_RESAMPLES = 2000
NAIVE = ("persistence", "seasonal naive")


def forecast_baselines(
    values: np.ndarray,
    train_end: int,
    origins: np.ndarray,
    steps: int,
    period: int,
    lags: int,
    difference: bool,
) -> dict[str, np.ndarray]:
    """What each baseline forecasts from each origin; name to float64, (O, S).

    Args:
        values: float64, (T,).
        train_end: the baselines are fitted on the values before this index.
        origins: int64, (O,), each at least period - 1, and lags - 1, or lags with `difference`.
        steps: how far ahead.
        period: values a season; with 0 there is no seasonal baseline.
        lags: of the autoregression: as many values as the network reads.
        difference: True for an autoregression of the changes.
    """
    forecasts = {"persistence": np.repeat(values[origins, None], steps, axis=1)}
    if period:
        forecasts["seasonal naive"] = values[_a_season_before(origins, steps, period)]
    forecasts["exponential smoothing"] = smooth(values, train_end, origins, steps, period)
    forecasts["autoregression"] = autoregress(values, train_end, origins, steps, lags, difference)
    return forecasts


def _a_season_before(origins: np.ndarray, steps: int, period: int) -> np.ndarray:
    """For each step ahead the latest known index at the same place in the season, (O, S)."""
    return origins[:, None] + (np.arange(steps) % period - period + 1)


def smooth(
    values: np.ndarray, train_end: int, origins: np.ndarray, steps: int, period: int
) -> np.ndarray:
    """Forecasts of additive exponential smoothing, float64, (O, S).

    With or without a trend, with or without a season: the form of the lowest AIC.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, chapter 8.
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    seasons = (None, "add") if train_end >= 10 + 2 * period and period > 1 else (None,)
    fits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a search that does not converge: its best is taken
        for trend, seasonal in product((None, "add"), seasons):
            form = {"trend": trend, "seasonal": seasonal, "seasonal_periods": seasonal and period}
            model = ETSModel(values[:train_end], initialization_method="heuristic", **form)
            fits.append((form, model.fit(disp=False)))
        form, fitted = min(fits, key=lambda fit: fit[1].aic)
        known = {"initial_level": fitted.initial_state[0]}
        if form["trend"]:
            known["initial_trend"] = fitted.initial_state[1]
        if form["seasonal"]:
            known["initial_seasonal"] = fitted.initial_state[-period:]
        model = ETSModel(values, initialization_method="known", **known, **form)
        states = model.smooth(fitted.params)
    forecasts = np.repeat(states.level[origins, None], steps, axis=1)
    if form["trend"]:
        forecasts += states.slope[origins, None] * np.arange(1, steps + 1)
    if form["seasonal"]:
        forecasts += states.season[_a_season_before(origins, steps, period)]
    return forecasts


def autoregress(
    values: np.ndarray,
    train_end: int,
    origins: np.ndarray,
    steps: int,
    lags: int,
    difference: bool,
) -> np.ndarray:
    """Forecasts of a linear autoregression with a constant, by least squares, float64, (O, S)."""
    from statsmodels.tsa.ar_model import AutoReg

    inputs = np.diff(values, prepend=values[0]) if difference else values
    trained = inputs[difference:train_end]
    lags = min(lags, len(trained) // 3)  # there must be more equations than coefficients
    constant, *weights = AutoReg(trained, lags).fit().params
    recent = inputs[origins[:, None] - np.arange(lags)]  # (O, L), the latest value first
    forecasts = np.empty((len(origins), steps))
    for step in range(steps):
        forecasts[:, step] = constant + recent @ weights
        recent = np.column_stack([forecasts[:, step], recent[:, :-1]])
    return values[origins, None] + forecasts.cumsum(axis=1) if difference else forecasts


def block_length(num_errors: int, period: int, steps: int) -> int:
    """How many errors in a row are drawn together: a season, or as far as a forecast reaches.

    At least the cube root of their number, at most a third of them.

    Source: Hall, Horowitz and Jing, On blocking rules for the bootstrap with dependent data, 1995
    (the cube root).
    """
    root = math.ceil(num_errors ** (1 / 3))
    return max(1, min(max(root, period, steps), num_errors // 3))


def skill_interval(
    errors: np.ndarray, naive_errors: np.ndarray, block: int
) -> tuple[float, float | None, float | None]:
    """The skill, 1 - mean error / mean error of the naive rule, and its 95% interval.

    The interval is a percentile interval of the circular block bootstrap: blocks of neighbouring
    errors are drawn with replacement, because errors that follow each other resemble each other;
    the first error follows the last, so that all are drawn equally often. Where the naive rule
    errs so seldom that a resample may have no error of it, there is no interval: None.

    Args:
        errors: absolute errors in the order of time, float64, (O,).
        naive_errors: those of the naive rule at the same origins, float64, (O,).
        block: errors in a block.

    Source: Politis and Romano, A circular block-resampling procedure for stationary data, 1992.
    """
    generator = np.random.default_rng(0)
    number = len(errors)
    skill = float(1 - errors.mean() / naive_errors.mean())
    skills = np.empty(NUM_RESAMPLES)
    for resample, starts in enumerate(
        generator.integers(number, size=(NUM_RESAMPLES, math.ceil(number / block)))
    ):
        drawn = (starts[:, None] + np.arange(block)).ravel()[:number] % number
        if not naive_errors[drawn].any():
            return skill, None, None
        skills[resample] = 1 - errors[drawn].mean() / naive_errors[drawn].mean()
    low, high = np.quantile(skills, (0.025, 0.975))
    return skill, float(low), float(high)


def best_lag(forecasts: np.ndarray, values: np.ndarray, targets: np.ndarray, max_lag: int) -> int:
    """By how many values the forecasts trail behind: the lag of their highest correlation.

    Args:
        forecasts: of the values at `targets`, float64, (O,).
        values: the series, float64, (T,).
        targets: int64, (O,), each at least max_lag.
        max_lag: the highest lag that is tried.
    """
    correlations = []
    for lag in range(max_lag + 1):
        known = values[targets - lag]
        varies = np.ptp(forecasts) and np.ptp(known)  # else there is no correlation
        correlations.append(np.corrcoef(forecasts, known)[0, 1] if varies else -1)
    return int(np.argmax(correlations))
