"""The series of the gallery: real ones are what they seem, columns are read or refused."""

import csv
import datetime
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.gallery import column
from rnn_tutorial.gallery.column import read_column
from rnn_tutorial.gallery.series import SERIES


@pytest.mark.parametrize(
    ("name", "length", "first", "last", "last_time"),
    [
        ("sunspots", 309, 5.0, 2.9, "2008"),
        ("co2", 2284, 316.1, 371.5, "2001.99"),
        ("elnino", 732, 23.11, 22.07, "2010.92"),
    ],
)
def test_real_series_are_those_of_statsmodels(name, length, first, last, last_time):
    series = SERIES[name].load(0)
    assert (len(series), series.values[0], series.values[-1]) == (length, first, last)
    assert series.label(length - 1) == last_time
    assert np.isfinite(series.values).all() and series.values.dtype == np.float64


def test_gaps_of_co2_hold_the_value_before_them_and_are_marked():
    from statsmodels.datasets import co2

    table = co2.load_pandas().data["co2"]
    series = SERIES["co2"].load(0)
    np.testing.assert_array_equal(series.values, table.ffill().to_numpy())
    np.testing.assert_array_equal(series.is_measured, table.notna().to_numpy())
    last = table.index[-1]
    days = (last - last.replace(month=1, day=1)) / datetime.timedelta(days=1)
    assert series.times(len(series) - 1) == pytest.approx(last.year + days / 365, abs=0.01)


def test_a_random_walk_comes_from_the_seed():
    walks = [SERIES["random_walk"].load(seed) for seed in (0, 0, 1)]
    assert walks[0].fingerprint == walks[1].fingerprint != walks[2].fingerprint
    steps = np.diff(walks[0].values)
    assert abs(steps.mean()) < 0.1 and steps.std() == pytest.approx(1, abs=0.05)


cells = st.lists(st.none() | st.floats(-1e9, 1e9), min_size=1, max_size=30)


@given(cells, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_column_is_read_as_it_was_written(tmp_path_factory, values, delimiter, end, has_dates):
    path = tmp_path_factory.mktemp("csv") / "own.csv"
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end)
    writer.writerows([["day", "a b"], *([i, v] for i, v in enumerate(values))])
    if not has_dates:
        written = io.StringIO("a b" + end + end.join("" if v is None else repr(v) for v in values))
    path.write_text(written.getvalue(), encoding="utf-8-sig", newline="")
    while values and values[-1] is None:
        values = values[:-1]
    while values and values[0] is None:
        values = values[1:]
    if not values:
        with pytest.raises(ValueError, match="has no values in column 'a b'"):
            read_column(str(path), "a b" if has_dates else "")
        return
    series = read_column(str(path), "a b")
    assert [bool(known) for known in series.is_measured] == [v is not None for v in values]
    latest = math.nan
    for read, value in zip(series.values, values, strict=True):
        latest = latest if value is None else value
        assert read == latest


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"1\n2\n3\n", "", "has no header: its first line holds the number 1; name the columns"),
        (b"a\n1_000\n", "a", "line 2: '1_000' is not a number"),
        (b"", "a", "own.csv' is empty; it needs a header and a number a line"),
        (b"a,b\n1,2\n", "c", "no column named 'c'; there are 'a', 'b'"),
        (b"a,b\n1,2\n", "", "needs a --column; there are 'a', 'b'"),
        (b"a,a\n1,2\n", "a", "2 columns named 'a'"),
        (b"a,b\n1,2\n3,four\n", "b", "line 3: 'four' is not a number; an empty cell is a gap"),
        (b"a,b\n1,2\n\n3,nan\n", "b", "line 4: 'nan' is not a number"),
        (b"a;b\n1;2,5\n", "b", "line 2: '2,5' is not a number"),
        (b"a,b\n1,2\n3\n", "b", "line 3: it has fewer cells than the header"),
        (b"a\n1,5\n", "a", "line 2: it has more cells than the header .decimals need a point"),
        (b"d,a\n2020,1,5\n", "a", "line 2: it has more cells than the header"),
        (b'a\n"1\n2"\n', "a", "line 3: '1.n2' is not a number"),
        (b"a\n\n\n", "a", "no values in column 'a'"),
        (b"a\n" + b"1\n" * 21, "a", "has 21 values, more than 20"),
        (b"a\n1\n\xff\n", "a", "not UTF-8 text: byte 4 is 0xff"),
        (b"a\n1\n\0\n", "a", "NUL characters"),
        (b'a\n"' + b"1" * 140_000, "a", "line 2: field larger than field limit"),
    ],
)
def test_a_file_that_is_no_series_is_refused_with_its_line(
    tmp_path, monkeypatch, content, name, reason
):
    monkeypatch.setattr(column, "MAX_VALUES", 20)
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_column(str(path), name)
