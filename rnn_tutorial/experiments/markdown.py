"""Markdown tables, and figures as a table shows them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from rnn_tutorial.evaluation.result import wilson_interval


def spread_of(values: list[float], show: Callable[[float], str]) -> str:
    """Median [smallest, largest]."""
    return f"{show(statistics.median(values))} [{show(min(values))}, {show(max(values))}]"


def show_accuracy(share: float) -> str:
    """In percent; what is not all right is not rounded up to it."""
    return "100%" if share == 1 else f"{math.floor(share * 1e5) / 1e3:.3f}%"


def show_percent(share: float) -> str:
    return f"{share:.0%}"


def share_of(successes: list[bool]) -> str:
    """How many of how many, with the 95 % Wilson interval."""
    low, high = wilson_interval(sum(successes), len(successes))
    return f"{sum(successes)}/{len(successes)} [{low:.0%}, {high:.0%}]"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
