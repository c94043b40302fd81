"""What the forecasts of the test part are worth: figures, sentences, a picture.

Shapes: O origins, S steps ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.gallery.baselines import NAIVE, best_lag, block_length, skill_interval
from rnn_tutorial.gallery.series import Series
from rnn_tutorial.gallery.windows import Windows, targets_of
from rnn_tutorial.pictures.canvas import BLUE, INK, new_figure, save
from rnn_tutorial.runs.terminal import shown

MISTAKES = {
    "scaling": "the series was scaled by the mean and deviation of all of it, the test part too",
    "target": "each window includes the value that is to be forecast",
    "shuffle": "the parts were drawn at random, so that the network has seen both neighbours of "
    "the values that test it",
}
_SHOWN_STEPS = 12  # rows of the table by steps ahead
_SHOWN_BEFORE = 50  # measured values in a picture before the first forecast


def compare(
    windows: Windows,
    origins: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    band: np.ndarray,
) -> dict[str, Any]:
    """Errors of forecasts one step ahead, or rolling forecasts of several steps, as flat figures.

    Args:
        windows: of the series.
        origins: of the test part, in the order of time, int64, (O,).
        forecasts: name to float64, (O, S); "network" is among them.
        band: of the network: 10%, forecast, 90%, (O, S, 3).
    """
    targets = targets_of(origins, band.shape[1])
    truth = windows.values[targets]
    steps = band.shape[1]
    rolling = "rolling_" if steps > 1 else ""
    block = block_length(len(origins), windows.config.period, steps)
    errors = {name: np.abs(values - truth) for name, values in forecasts.items()}
    best = min((name for name in NAIVE if name in errors), key=lambda name: errors[name].mean())
    if not errors[best].any():
        raise ValueError(
            f"{windows.series.source}: {best} is right about every value of its test part, so "
            "there is nothing left to learn"
        )
    figures: dict[str, Any] = {"origins": len(origins), "block": block, "best_naive": best}
    for name, error in errors.items():
        key = name.replace(" ", "_")
        figures[f"{key}_mae"] = float(error.mean())
        figures[f"{key}_rmse"] = float(np.sqrt((error**2).mean()))
        if name not in NAIVE:
            skill = skill_interval(error.mean(axis=1), errors[best].mean(axis=1), block)
            for figure, value in zip(("skill", "skill_low", "skill_high"), skill, strict=True):
                figures[f"{key}_{figure}"] = value
        if rolling:
            for step, mae in enumerate(error.mean(axis=0), start=1):
                figures[f"{key}_mae_at_{step}"] = float(mae)
    inside = (band[..., 0] <= truth) & (truth <= band[..., 2])
    figures["coverage"] = float(inside.mean())
    if rolling:
        figures["steps"] = steps
    else:
        figures["test_start"], figures["test_end"] = int(targets[0, 0]), int(targets[-1, 0])
        max_lag = min(10, windows.config.window - 1)
        figures["lag"] = best_lag(
            forecasts["network"][:, 0], windows.values, targets[:, 0], max_lag
        )
    return {f"{rolling}{name}": value for name, value in figures.items()}


def report(series: Series, config: Any, figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures of `compare`, for a reader; a line each."""
    if config.leak != "none":
        yield f"WRONG ON PURPOSE (--leak {config.leak}): {MISTAKES[config.leak]}."
        yield "What follows is how good such an evaluation looks, not how good the network is."
    first, last = (series.label(figures[f"test_{end}"]) for end in ("start", "end"))
    yield f"{series.source}: one step ahead, {figures['origins']:,} values, {first} to {last}"
    yield from _table(figures, "")
    yield f"Skill: 1 - error / error of the best naive rule, which is {figures['best_naive']}; its"
    yield f"95% interval is from a bootstrap of blocks of {figures['block']} values."
    yield f"The band from 10 to 90% holds {figures['coverage']:.0%} of the values."
    if config.leak == "none":
        yield from _conclusions(config, figures)
    if "rolling_steps" in figures:
        yield from _rolling(figures)


def _names(figures: Mapping[str, Any]) -> list[str]:
    """Whose errors there are, the network first."""
    keys = [key.removesuffix("_mae") for key in figures if key.endswith("_mae")]
    return [key for key in keys if not key.startswith("rolling_")]


def _table(figures: Mapping[str, Any], prefix: str) -> Iterator[str]:
    yield f"{'':24}{'mean abs. error':>16}{'RMSE':>10}{'skill':>9}   95% interval"
    for name in _names(figures):
        key = prefix + name
        mae, rmse = figures[f"{key}_mae"], figures[f"{key}_rmse"]
        line = f"{name.replace('_', ' '):24}{mae:16.4g}{rmse:10.4g}"
        if f"{key}_skill" in figures:
            low, high = figures[f"{key}_skill_low"], figures[f"{key}_skill_high"]
            line += f"{figures[f'{key}_skill']:9.3f}   "
            line += "none: too few errors" if low is None else f"{low:.3f} to {high:.3f}"
        yield line


def _conclusions(config: Any, figures: Mapping[str, Any]) -> Iterator[str]:
    naive, low, high = (
        figures[n] for n in ("best_naive", "network_skill_low", "network_skill_high")
    )
    if low is None:
        yield f"There is no interval: {naive} errs too seldom."
        return
    if low > 0:
        yield f"The network is better than {naive}: the interval lies above 0."
    elif high < 0:
        yield f"The network is worse than {naive}: the interval lies below 0."
    else:
        yield f"The network is not shown to be better than {naive}: the interval includes 0."
    if low <= 0 and figures["lag"]:
        steps = f"{figures['lag']} step{'s' * (figures['lag'] > 1)}"
        yield f"Its forecasts correlate best with the series {steps} earlier."
    for name in ("exponential_smoothing", "autoregression"):
        if figures[f"{name}_mae"] < figures["network_mae"]:
            yield f"{name.replace('_', ' ').capitalize()} has a smaller error than the network."
    if config.series == "random_walk" and low > 0:
        yield "That is chance: nothing can beat persistence on a random walk."
    elif config.series == "random_walk":
        yield "Nothing beats persistence here, and nothing can: each step of a random walk is"
        yield "independent of all that came before. The pretty curve is yesterday's price."


def _rolling(figures: Mapping[str, Any]) -> Iterator[str]:
    steps = figures["rolling_steps"]
    yield f"\nUp to {steps} steps ahead, from {figures['rolling_origins']:,} origins:"
    yield from _table(figures, "rolling_")
    yield f"The band holds {figures['rolling_coverage']:.0%}. Mean absolute error by steps ahead:"
    names = _names(figures)
    short = [name.replace("_", " ").replace("exponential", "exp.") for name in names]
    yield "steps" + "".join(f"{name:>16}" for name in short)
    rows = np.unique(np.linspace(1, steps, min(steps, _SHOWN_STEPS)).round().astype(int))
    for step in rows:
        errors = (figures[f"rolling_{name}_mae_at_{step}"] for name in names)
        yield f"{step:5}" + "".join(f"{error:16.4g}" for error in errors)


def draw(path: str, series: Series, indices: np.ndarray, answers: np.ndarray) -> None:
    """Draw forecasts with their band over what was measured, and some values before.

    Args:
        path: of the picture.
        series: that was forecast.
        indices: of the values that are forecast, int64, (O,).
        answers: 10%, forecast, 90%, float64, (O, 3).
    """
    figure, axes = new_figure(3.5, width=9)
    first = max(0, indices[0] - _SHOWN_BEFORE)
    measured = np.arange(first, min(len(series), indices[-1] + 1))
    low, forecasts, high = answers.T
    times = series.times(indices)
    axes.plot(series.times(measured), series.values[measured], color=INK, lw=1, label="measured")
    axes.fill_between(times, low, high, color=BLUE, alpha=0.25, lw=0, label="10 to 90%")
    axes.plot(times, forecasts, color=BLUE, lw=1.2, label="forecast")
    axes.set_title(shown(series.source).replace("$", r"\$"))
    axes.legend()
    save(figure, Path(path))
