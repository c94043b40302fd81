"""Markdown tables, and figures as a table shows them."""

from __future__ import annotations

import statistics
from collections.abc import Callable

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def spread_of(values: list[float], show: Callable[[float], str]) -> str:
    """Median [smallest, largest]."""
    return f"{show(statistics.median(values))} [{show(min(values))}, {show(max(values))}]"


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
