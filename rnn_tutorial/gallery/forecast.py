"""Forecast a series of numbers. Lesson: rnn_tutorial/gallery/README.md#forecast

    python -m rnn_tutorial.gallery.forecast train --series sunspots
    python -m rnn_tutorial.gallery.forecast train --csv sales.csv --column pieces --loss quantile
    python -m rnn_tutorial.gallery.forecast evaluate --horizon 11 --figure test_part.png
    python -m rnn_tutorial.gallery.forecast forecast --horizon 11 --figure next.png

The network reads a window of values and answers with the values that follow: with one
(many to one) or with --horizon of them (many to many). The first 70% of the series train it, the
next 10% choose the best checkpoint, and the last fifth, which nothing has seen, tests it.

Shapes: O origins (an origin is the index of the last value that is known), W values in a window,
H values ahead, Q quantiles (1 with --loss mse).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from rnn_tutorial.gallery.checkpoint import find_run, require_same_data
from rnn_tutorial.gallery.column import load_series
from rnn_tutorial.gallery.command import add_run_flag, execute, make_parser
from rnn_tutorial.gallery.comparison import compare, draw, report
from rnn_tutorial.gallery.report import finish
from rnn_tutorial.gallery.run import GalleryRun, set_learning_rate
from rnn_tutorial.gallery.series import BATCH_STREAM, FILE, SERIES, SeriesDefaults
from rnn_tutorial.gallery.settings import GalleryConfig, configure, same_setting
from rnn_tutorial.gallery.windows import Windows, forecast_errors, middle, predict, targets_of
from rnn_tutorial.model.layers import make_layers
from rnn_tutorial.model.saved import load_weights
from rnn_tutorial.pictures.canvas import check_picture
from rnn_tutorial.runs.terminal import run_command
from rnn_tutorial.settings.fields import check_bounds, setting_field
from rnn_tutorial.training.optimizer import make_optimizer

TASK = "forecast"
QUICK = {"total_steps": 300}
QUANTILES = (0.1, 0.5, 0.9)  # of --loss quantile: a band that should hold 80% of the values

_data = partial(setting_field, "data")


@dataclass(frozen=True)
class ForecastConfig(GalleryConfig):
    """Everything that determines a training; zeros and "auto" take what suits the series."""

    series: str = _data(
        "sunspots", "what to forecast; file is implied by --csv", choices=(*SERIES, FILE)
    )
    csv: str = _data("", "a CSV file with a header and a series of your own", metavar="FILE")
    column: str = _data("", "the column of --csv; needed if it has more than one")
    window: int = _data(0, "values that the network reads; 0 suits the series", within=(0, 10_000))
    horizon: int = _data(1, "values ahead that it answers with", within=(1, 1000))
    period: int = _data(0, "values a season; 0 takes that of the series", within=(0, 10_000))
    difference: str = _data(
        "auto", "learn changes, not values; auto suits the series", choices=("auto", "on", "off")
    )
    loss: str = _data(
        "mse", "squared error, or quantiles: a band for 8 of 10 values", choices=("mse", "quantile")
    )
    leak: str = _data(
        "none",
        "make a mistake on purpose: scaling by the whole series, a window that includes the "
        "target, parts that are shuffled",
        choices=("none", "scaling", "target", "shuffle"),
    )

    hidden_dim: int = same_setting("hidden_dim", 32)
    dropout: float = same_setting("dropout", 0.2)
    run_name: str = same_setting("run_name", "forecast")
    total_steps: int = same_setting("total_steps", 1000)
    eval_every: int = same_setting("eval_every", 50)
    early_stopping_patience: int = same_setting("early_stopping_patience", 10)

    def find_conflicts(self) -> Iterator[str]:
        yield from super().find_conflicts()
        if self.series == FILE and not self.csv:
            yield "--series file needs a --csv FILE"
        if self.csv and self.series != FILE:
            yield f"--csv {self.csv!r} cannot be combined with --series {self.series}"
        if self.column and not self.csv:
            yield f"--column {self.column!r} needs a --csv FILE"


class Forecaster(nn.Module):
    """Recurrent layers over a window, and a linear layer that reads the last hidden state."""

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        sizes = 1, config.hidden_dim, config.num_layers
        self.rnn = make_layers(config.cell, *sizes, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.horizon = config.horizon
        num_quantiles = len(QUANTILES) if config.loss == "quantile" else 1
        self.fc = nn.Linear(config.hidden_dim, config.horizon * num_quantiles)

    def forward(self, x: Tensor) -> Tensor:
        """The values that follow, scaled; (O, H, Q) of windows (O, W, 1)."""
        states, _ = self.rnn(x)
        return self.fc(self.dropout(states[:, -1])).unflatten(1, (self.horizon, -1))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error; outputs (O, H, 1), targets (O, H)."""
    return nn.functional.mse_loss(outputs[..., 0], targets)


def pinball_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss whose minimum is the quantiles; outputs (O, H, Q), targets (O, H).

    Too low an output costs q a unit, too high a one 1 - q.

    Source: Koenker and Bassett, Regression Quantiles, 1978.
    """
    quantiles = outputs.new_tensor(QUANTILES)
    errors = targets[..., None] - outputs
    return torch.maximum(quantiles * errors, (quantiles - 1) * errors).mean()


def train(flags: dict[str, Any]) -> int:
    """Train a network, or go on with one; returns the exit status."""
    if "csv" in flags:
        flags.setdefault("series", FILE)
    config, resume = configure(ForecastConfig, flags, QUICK)
    config = with_choices(config)
    series = load_series(config)
    windows = Windows(series, config)
    data = {"fingerprint": series.fingerprint, "mean": windows.mean, "deviation": windows.deviation}
    with GalleryRun(TASK, config, data, resume, ("mae", ".4g")) as run:
        torch.manual_seed(config.seed)
        model = Forecaster(config).to(config.device)
        optimizer = make_optimizer(model.parameters(), config)
        run.restore(model, optimizer)
        origins = windows.origins("train", config.horizon)
        validated = windows.origins("validation", config.horizon)
        loss_of = pinball_loss if config.loss == "quantile" else squared_error
        with run.recording(model):
            for step in run.steps():
                generator = np.random.default_rng([config.seed, BATCH_STREAM, step])
                drawn = generator.choice(origins, config.batch_size)
                outputs = model(windows.inputs(drawn, windows.leaked_values))
                loss = loss_of(outputs, windows.targets(drawn))
                optimizer.zero_grad()
                loss.backward()
                grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm or math.inf)
                set_learning_rate(optimizer, run.learning_rate)
                optimizer.step()
                run.record_update(loss, grad_norm)
                if run.needs_evaluation:
                    errors = forecast_errors(model, windows, validated, config.horizon)
                    error = float(np.abs(errors).mean())
                    run.record_evaluation(-error, {"mae": error})
                run.log()
                if run.checkpoint_is_due:
                    run.save(model, optimizer)
        return finish(run, model, "evaluate")


def with_choices(config: ForecastConfig) -> ForecastConfig:
    """The configuration with what suits the series where the user left it open."""
    suits = SERIES.get(config.series, SeriesDefaults(None, 0, 24, False))
    difference = "on" if suits.difference else "off"
    return replace(
        config,
        window=config.window or suits.window,
        period=config.period or suits.period,
        difference=difference if config.difference == "auto" else config.difference,
    )


@dataclass(frozen=True)
class Trained:
    """A trained network and its series, as the commands after `train` use them."""

    config: ForecastConfig
    windows: Windows
    model: Forecaster
    step: int

    def ask(self, origins: np.ndarray, steps: int, leaked: int | None = None) -> np.ndarray:
        """Forecasts and their bands, float64, (O, steps, 3): 10%, forecast, 90%.

        The band is that of a network of quantiles. Beyond its horizon, and with --loss mse, it is
        where 80% of the network's errors on the validation part lay, that many steps ahead.
        """
        answers = predict(self.model, self.windows, origins, steps, leaked)
        if answers.shape[-1] == len(QUANTILES) and steps <= self.config.horizon:
            return answers
        validated = self.windows.origins("validation", steps)
        if not len(validated):
            raise ValueError(f"--horizon {steps} is longer than the validation part")
        errors = forecast_errors(self.model, self.windows, validated, steps, leaked)
        below, above = np.quantile(errors, (QUANTILES[0], QUANTILES[-1]), axis=0)
        forecasts = middle(answers)
        return np.stack([forecasts + below, forecasts, forecasts + above], axis=-1)


def load_trained(run: str | None) -> Trained:
    """The network that --run means; ValueError if its series is no longer what it was."""
    checkpoint, config = find_run(run, TASK, ForecastConfig)
    series = load_series(config)
    require_same_data(checkpoint, series.fingerprint, series.source)
    model = Forecaster(config)
    load_weights(model, checkpoint.weights, checkpoint.path)
    return Trained(config, Windows(series, config), model, checkpoint.step)


def evaluate(flags: dict[str, Any]) -> int:
    """Compare the network with the baselines on the test part; returns the exit status."""
    check_picture(flags["figure"])
    trained = load_trained(flags["run"])
    windows, config = trained.windows, trained.config
    steps = chosen_horizon(flags, config)
    if windows.leaked_values and steps > config.horizon:
        raise ValueError(
            f"--horizon {steps}: with --leak target it is at most that of training, "
            f"{config.horizon}"
        )
    figures = {"series": config.series, "leak": config.leak, "step": trained.step}
    for ahead in sorted({1, steps}):
        origins = windows.origins("test", ahead)
        if not len(origins):
            raise ValueError(f"--horizon {steps} is longer than the test part")
        answers = trained.ask(origins, ahead)
        forecasts = {"network": middle(answers), **windows.baselines(origins, ahead)}
        if windows.leaked_values:
            forecasts["network in use"] = middle(trained.ask(origins, ahead, leaked=0))
        figures |= compare(windows, origins, forecasts, answers)
        if ahead == 1:
            curves = origins + 1, answers[:, 0]
    if flags["json"]:
        print(json.dumps(figures, allow_nan=False))
    else:
        print(*report(windows.series, config, figures), sep="\n")
    if flags["figure"]:
        draw(flags["figure"], windows.series, *curves)
    return 0


def forecast(flags: dict[str, Any]) -> int:
    """Print the values that come next, with a band; returns the exit status."""
    check_picture(flags["figure"])
    trained = load_trained(flags["run"])
    series, steps = trained.windows.series, chosen_horizon(flags, trained.config)
    origin = np.array([len(series) - 1])
    answers = trained.ask(origin, steps, leaked=0)[0]
    print(f"{series.source}: {series.values[-1]:.6g} at {series.label(len(series) - 1)}, then")
    print(f"{'':>10}{'forecast':>12}{'10%':>12}{'90%':>12}")
    times = targets_of(origin, steps)[0]
    for time, (low, value, high) in zip(times, answers, strict=True):
        print(f"{series.label(time):>10}{value:12.6g}{low:12.6g}{high:12.6g}")
    if flags["figure"]:
        draw(flags["figure"], series, times, answers)
    return 0


def chosen_horizon(flags: dict[str, Any], config: ForecastConfig) -> int:
    """--horizon of a command after `train`; the default is that of the training."""
    horizon = config.horizon if flags["horizon"] is None else flags["horizon"]
    check_bounds(ForecastConfig.__dataclass_fields__["horizon"], horizon)
    return horizon


def main(arguments: Sequence[str] | None = None) -> int:
    """The commands train, evaluate and forecast; returns the exit status."""
    parser, commands = make_parser(TASK, __doc__, ForecastConfig)
    for name, help in (
        ("evaluate", "compare a trained network with the baselines on the test part"),
        ("forecast", "print the values that come next"),
    ):
        command = commands.add_parser(name, help=help)
        add_run_flag(command)
        command.add_argument(
            "--horizon", type=int, metavar="N", help="values ahead (default: as trained)"
        )
        command.add_argument("--figure", metavar="FILE", help="draw the forecasts into a file")
        if name == "evaluate":
            command.add_argument("--json", action="store_true", help="print the figures as JSON")
    functions = {"train": train, "evaluate": evaluate, "forecast": forecast}
    return execute(parser, functions, arguments)


if __name__ == "__main__":
    run_command(main, if_unread=0)
