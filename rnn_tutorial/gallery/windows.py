"""A series as the network of `forecast` reads it: split by time, scaled, cut at each origin.

Shapes: O origins (an origin is the index of the last value that is known), W values in a window,
H values ahead, Q quantiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnn_tutorial.gallery.baselines import forecast_baselines
from rnn_tutorial.gallery.series import SHUFFLE_STREAM, Series
from rnn_tutorial.model.classifier import evaluating

PARTS = ("train", "validation", "test")


class Windows:
    """A series, split by time, scaled and cut.

    Args:
        series: all of it.
        config: a ForecastConfig with every choice made.

    Attributes:
        train_end: the index at which the training part ends.
        mean, deviation: of the first 70%, with --leak scaling of all values (of the changes with
            --difference on).

    Raises:
        ValueError: the series is too short, or its training part never changes.
    """

    def __init__(self, series: Series, config: Any) -> None:
        self.series, self.config, self.values = series, config, series.values
        self.difference = config.difference == "on"
        test_start = len(series) - len(series) // 5
        self.train_end = test_start - len(series) // 10
        # The part of each value: 0 train, 1 validation, 2 test.
        self._part = np.searchsorted([self.train_end, test_start], np.arange(len(series)), "right")
        if config.leak == "shuffle":
            generator = np.random.default_rng([config.seed, SHUFFLE_STREAM])
            self._part = generator.permutation(self._part)
        numbers = [len(self.origins(part, config.horizon)) for part in PARTS]
        if numbers[0] < 10 or not all(numbers) or self.train_end < config.period:
            raise ValueError(
                f"{series.source}: {len(series):,} values, of which {self.train_end:,} train, are "
                f"too few for --window {config.window}, --horizon {config.horizon} and --period "
                f"{config.period}"
            )
        seen = self.values if config.leak == "scaling" else self.values[: self.train_end]
        with np.errstate(all="ignore"):
            seen = np.diff(seen) if self.difference else seen
            self.mean, self.deviation = float(seen.mean()), float(seen.std())
        if not np.isfinite([self.mean, self.deviation]).all():
            raise ValueError(f"{series.source}: its values are too large to compute with")
        if not np.ptp(seen):
            raise ValueError(f"{series.source}: its training part never changes")
        self._scaled = self.scale(self.values[None], self.values[:1])[0]

    def origins(self, part: str, steps: int) -> np.ndarray:
        """The origins after which the next `steps` values lie in a part, int64, (O,).

        With --leak shuffle, the first of them does.
        """
        config = self.config
        first = max(config.window - 1 + self.difference, config.period - 1)
        origins = np.arange(first, len(self.values) - steps)
        last = 1 if config.leak == "shuffle" else steps
        parts = self._part[origins + 1], self._part[origins + last]
        is_inside = np.all(np.stack(parts) == PARTS.index(part), axis=0)
        gaps = np.cumsum(~self.series.is_measured)
        is_measured = gaps[origins] == gaps[origins + steps]
        return origins[is_inside & is_measured]

    def scale(self, values: np.ndarray, before: np.ndarray) -> Tensor:
        """Values (O, T), or their changes, as the network reads them: float32, (O, T, 1).

        Args:
            before: the value before each row, (O,); the first change counts from there.
        """
        if self.difference:
            values = np.diff(values, prepend=before[:, None])
        scaled = torch.from_numpy((values - self.mean) / self.deviation)
        return scaled.float()[..., None].to(self.config.device)

    def unscale(self, outputs: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Values of outputs (O, H, Q); with --difference on, changes since the last known (O,)."""
        return self._base(last, outputs.shape[1])[..., None] + self.deviation * outputs

    def _base(self, last: np.ndarray, steps: int) -> np.ndarray:
        """What an output of 0 means, (O, H)."""
        if self.difference:
            return last[:, None] + self.mean * np.arange(1, steps + 1)
        return np.full((len(last), steps), self.mean)

    def inputs(self, origins: np.ndarray, shift: int) -> Tensor:
        """The windows that end `shift` values after each origin, (O, W, 1)."""
        return self._scaled[origins[:, None] + np.arange(1 - self.config.window, 1) + shift]

    def targets(self, origins: np.ndarray) -> Tensor:
        """What the network should answer, (O, H)."""
        truth = self.values[targets_of(origins, self.config.horizon)]
        scaled = (truth - self._base(self.values[origins], truth.shape[1])) / self.deviation
        return torch.from_numpy(scaled).float().to(self.config.device)

    def baselines(self, origins: np.ndarray, steps: int) -> dict[str, np.ndarray]:
        """What each baseline forecasts from each origin; name to (O, H)."""
        window, period = self.config.window, self.config.period
        known = self.values, self.train_end
        return forecast_baselines(*known, origins, steps, period, window, self.difference)

    @property
    def leaked_values(self) -> int:
        """How many of the values to be forecast a window includes: with --leak target one."""
        return int(self.config.leak == "target")


def targets_of(origins: np.ndarray, steps: int) -> np.ndarray:
    """The indices of the values to be forecast, int64, (O, H)."""
    return origins[:, None] + np.arange(1, steps + 1)


@torch.no_grad()
def predict(
    model: nn.Module, windows: Windows, origins: np.ndarray, steps: int, leaked: int | None = None
) -> np.ndarray:
    """Forecast the next values from each origin, float64, (O, steps, Q), quantiles in order.

    Beyond its horizon the network reads its own forecasts.

    Args:
        model: a Forecaster.
        windows: of its series.
        origins: int64, (O,).
        steps: how far ahead.
        leaked: how many of the values to be forecast each window includes; None: as in training.
    """
    leaked = windows.leaked_values if leaked is None else leaked
    inputs, last, blocks = windows.inputs(origins, leaked), windows.values[origins], []
    for _ in range(0, steps, model.horizon):
        with evaluating(model):
            outputs = torch.cat([model(some) for some in inputs.split(4096)])
        answers = windows.unscale(outputs.sort(-1).values.double().cpu().numpy(), last)
        blocks.append(answers)
        own = windows.scale(middle(answers), last)
        inputs = torch.cat([inputs, own], dim=1)[:, -inputs.shape[1] :]
        last = middle(answers)[:, -1]
    return np.concatenate(blocks, axis=1)[:, :steps]


def middle(answers: np.ndarray) -> np.ndarray:
    """The forecast in the middle of the quantiles, (O, H) of (O, H, Q)."""
    return answers[..., answers.shape[-1] // 2]


def forecast_errors(
    model: nn.Module, windows: Windows, origins: np.ndarray, steps: int, leaked: int | None = None
) -> np.ndarray:
    """By how much the values lie above what `predict` forecasts, (O, steps)."""
    truth = windows.values[targets_of(origins, steps)]
    return truth - middle(predict(model, windows, origins, steps, leaked))
