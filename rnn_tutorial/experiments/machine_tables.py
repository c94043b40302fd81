"""Tables of what was trained until it was proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnn_tutorial.experiments.markdown import markdown, spread_of

_Runs = list[dict[str, Any]]


def machines(results: dict[str, Any]) -> str:
    """A row for each machine: how many seeds are right, how many proved, and how."""
    header = [
        *("machine", "proved", "right on all trained lengths", "all right at 500 and 1,000"),
        *("seconds", "updates", "abstract states", "smallest margin"),
    ]
    rows = []
    for name, variant in results["variants"].items():
        runs = variant["runs"]
        proofs = [run["proof"] for run in runs if _is_proved(run)]
        exactly = "" if runs[0]["trained"]["exact"] else " (of a sample)"
        rows.append(
            [
                name,
                _count(runs, _is_proved),
                _count(runs, lambda run: run["trained"]["wrong_inputs"] == 0) + exactly,
                _count(runs, _is_right_at_length),
                spread_of([run["seconds"] for run in runs], "{:.0f}".format),
                spread_of([run["steps"] for run in runs], "{:,.0f}".format),
                _spread_or_dash([proof["abstract_states"] for proof in proofs], "{:,.0f}".format),
                _spread_or_dash([proof["smallest_margin"] for proof in proofs], "{:.1f}".format),
            ]
        )
    return markdown(header, rows)


def _is_proved(run: dict[str, Any]) -> bool:
    return run["proof"]["proved"]


def _is_right_at_length(run: dict[str, Any]) -> bool:
    """True if all sampled sequences, of 500 and of 1,000 tokens, are answered right."""
    return set(run["right_at_length"].values()) == {run["num_sequences"]}


def _count(runs: _Runs, holds: Callable[[dict[str, Any]], bool]) -> str:
    return f"{sum(map(holds, runs))}/{len(runs)}"


def _spread_or_dash(values: list[float], show: Callable[[float], str]) -> str:
    return spread_of(values, show) if values else "–"
