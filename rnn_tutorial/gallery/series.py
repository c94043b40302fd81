"""The series that `forecast` learns from: real ones, a random walk, or a column of one's own file.

The real ones ship with statsmodels, so they are on the disk already:

    sunspots       mean sunspot number of a year, 1700 to 2008            309 values
    co2            CO2 at Mauna Loa, parts per million, weekly            2,284 values, 59 gaps
    elnino         sea surface temperature in °C, monthly, 1950 to 2010   732 values
    random_walk    sums of random numbers, from the seed                  2,000 values

A gap is filled with the value before it: that is what one would have known on that day. A line
between its neighbours would use the next value, which is to be forecast. Filled values are
inputs, but they are never scored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FILE = "file"  # the name of the series of --csv
SERIES_STREAM, SHUFFLE_STREAM, BATCH_STREAM = range(3)  # of random numbers of one seed


@dataclass(frozen=True)
class Series:
    """Numbers in the order of time, equally far apart.

    Args:
        source: what it is, in words.
        values: float64, (T,), gaps filled.
        is_measured: bool, (T,), False where a gap was filled.
        start: time of the first value.
        spacing: time from a value to the next.
    """

    source: str
    values: np.ndarray
    is_measured: np.ndarray
    start: float = 1.0
    spacing: float = 1.0

    def __len__(self) -> int:
        return len(self.values)

    def times(self, indices: np.ndarray) -> np.ndarray:
        """The times of values, also of those to come, float64."""
        return self.start + self.spacing * np.asarray(indices)

    def label(self, index: int) -> str:
        """The time of a value in words: "2008", "1987.25"."""
        return f"{self.times(index):.{0 if self.spacing == 1 else 2}f}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all values and gaps."""
        return hashlib.sha256(self.values.tobytes() + self.is_measured.tobytes()).hexdigest()


@dataclass(frozen=True)
class SeriesDefaults:
    """What suits a series where the user does not choose.

    Args:
        load: returns it, given the seed.
        period: values a season; 0 if it has none.
        window: values that the network reads.
        difference: True to learn changes.
    """

    load: Callable[[int], Series]
    period: int
    window: int
    difference: bool


def _load_sunspots(seed: int) -> Series:
    from statsmodels.datasets import sunspots

    table = sunspots.load_pandas().data
    return fill_gaps("yearly sunspot numbers", table["SUNACTIVITY"].to_numpy(), 1700.0)


def _load_co2(seed: int) -> Series:
    from statsmodels.datasets import co2

    table = co2.load_pandas().data
    first = 1958 + 87 / 365.25  # 29 March 1958
    return fill_gaps("CO2 in parts per million", table["co2"].to_numpy(), first, 7 / 365.25)


def _load_elnino(seed: int) -> Series:
    from statsmodels.datasets import elnino

    months = elnino.load_pandas().data.drop(columns="YEAR").to_numpy().ravel()
    return fill_gaps("sea surface temperature in °C", months, 1950.0, 1 / 12)


def _make_random_walk(seed: int) -> Series:
    steps = np.random.default_rng([seed, SERIES_STREAM]).standard_normal(2000)
    return fill_gaps(f"random walk of seed {seed}", 100 + np.cumsum(steps))


SERIES = {
    "sunspots": SeriesDefaults(_load_sunspots, 11, 22, False),
    "co2": SeriesDefaults(_load_co2, 52, 52, True),
    "elnino": SeriesDefaults(_load_elnino, 12, 24, False),
    "random_walk": SeriesDefaults(_make_random_walk, 5, 20, True),  # a week of trading days
}


def fill_gaps(source: str, values: np.ndarray, start: float = 1.0, spacing: float = 1.0) -> Series:
    """A series of values in which NaN is a gap; gaps at both ends are cut off."""
    measured = np.flatnonzero(~np.isnan(values))
    first, last = measured[0], measured[-1]
    values = np.asarray(values[first : last + 1], np.float64)
    is_measured = ~np.isnan(values)
    latest = np.maximum.accumulate(np.where(is_measured, np.arange(len(values)), 0))
    return Series(source, values[latest], is_measured, float(start + spacing * first), spacing)
