"""Markdown tables, and figures as a table shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rnn_tutorial.measure.timing import summarize

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def spread_of(values: list[float], show: Callable[[float], str]) -> str:
    """Median [smallest, largest]."""
    return show_summary(summarize(values), show)


def show_summary(summary: Mapping[str, float], show: Callable[[float], str]) -> str:
    """The same of what `summarize` returned."""
    return "{} [{}, {}]".format(*(show(summary[key]) for key in ("median", "min", "max")))


def power_of_ten(exponent: int) -> str:
    """10 to a power, such as 10⁻⁷."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def breakable(name: str) -> str:
    """A name of several words that a narrow page may break between them."""
    return name.replace("_", "_<wbr>")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
