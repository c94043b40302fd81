"""A column of a CSV file as a series."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.gallery.corpus import read_text
from rnn_tutorial.gallery.series import FILE, SERIES, Series, fill_gaps
from rnn_tutorial.runs.files import given_by

MAX_VALUES = 100_000  # statsmodels would fit a longer series for many minutes


def load_series(config: Any) -> Series:
    """The series of a ForecastConfig, from the library or a file; ValueError if it is refused."""
    if config.series == FILE:
        return read_column(config.csv, config.column)
    return SERIES[config.series].load(config.seed)


def read_column(path: str, column: str) -> Series:
    """A column of a CSV file with a header; cells are separated by commas, semicolons or tabs.

    Args:
        path: of the file, UTF-8.
        column: its name in the header; "" takes the only one.

    Raises:
        ValueError: the file cannot be read or is too large, there is no such column, a cell is not
            a finite number (an empty cell is a gap), or there are too few or too many values.
    """
    flag = f"--csv {path!r}"
    with given_by("--csv"):
        text = read_text(Path(path))
    header_line = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=header_line.count))
    try:
        names = [name.strip() for name in next(rows, [])]
        place = _find_column(flag, names, column)
        values = [
            _read_cell(f"{flag}, line {rows.line_num}", row, place, len(names))
            for row in rows
            if row or len(names) == 1  # else it is an empty line between rows of several cells
        ]
    except csv.Error as error:
        raise ValueError(f"{flag}, line {rows.line_num}: {error}") from None
    if len(values) > MAX_VALUES:
        raise ValueError(f"{flag} has {len(values):,} values, more than {MAX_VALUES:,}")
    if all(map(math.isnan, values)):
        raise ValueError(f"{flag} has no values in column {names[place]!r}")
    return fill_gaps(f"column {names[place]!r} of {path!r}", np.array(values))


def _find_column(flag: str, names: list[str], column: str) -> int:
    if not any(names):
        raise ValueError(f"{flag} is empty; it needs a header and a number a line")
    if numbers := [name for name in names if _is_number(name)]:
        raise ValueError(
            f"{flag} has no header: its first line holds the number {numbers[0]}; name the columns "
            "there"
        )
    there_are = f"there are {', '.join(map(repr, names[:20]))}{', …' * (len(names) > 20)}"
    if not column and len(names) > 1:
        raise ValueError(f"{flag} needs a --column; {there_are}")
    found = [place for place, name in enumerate(names) if name == column or not column]
    if len(found) != 1:
        how_often = "no column" if not found else f"{len(found)} columns"
        raise ValueError(f"{flag} has {how_often} named {column!r}; {there_are}")
    return found[0]


def _read_cell(where: str, row: list[str], place: int, num_columns: int) -> float:
    """The number of a cell, NaN if it is empty."""
    if row and place >= len(row):
        raise ValueError(f"{where}: it has fewer cells than the header")
    if any(cell.strip() for cell in row[num_columns:]):
        raise ValueError(f"{where}: it has more cells than the header (decimals need a point)")
    cell = row[place].strip() if row else ""
    if not cell:
        return math.nan
    if not _is_number(cell):
        raise ValueError(f"{where}: {cell[:40]!r} is not a number; an empty cell is a gap")
    return float(cell)


def _is_number(cell: str) -> bool:
    """True if a cell is a finite number; Python's underscores in numbers do not count."""
    try:
        return "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False
