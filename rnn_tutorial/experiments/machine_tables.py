"""Tables of what was trained until it was proved."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from rnn_tutorial.experiments.catalogue import LONG
from rnn_tutorial.experiments.markdown import breakable, markdown, spread_of
from rnn_tutorial.experiments.seed_tables import Runs, count_of, is_proved, is_right_at


def machines(results: dict[str, Any]) -> str:
    """A row for each machine: seeds proved, seeds right on long sequences, and updates."""
    rows = []
    for name, variant in results["variants"].items():
        runs = variant["runs"]
        rows.append(
            [
                breakable(name),
                count_of(runs, is_proved),
                count_of(runs, _is_right_at_length),
                f"{statistics.median(run['steps'] for run in runs):,.0f}",
            ]
        )
    return markdown(["machine", "proved", "long", "updates"], rows)


def machine_details(results: dict[str, Any]) -> str:
    """A row for each machine: seeds right on trained lengths, and what the proofs took and gave."""
    rows = []
    for name, variant in results["variants"].items():
        runs = variant["runs"]
        rows.append(
            [
                name,
                count_of(runs, lambda run: run["trained"]["wrong_inputs"] == 0),
                "all" if runs[0]["trained"]["exact"] else "a sample",
                spread_of([run["steps"] for run in runs], "{:,.0f}".format),
                spread_of([run["seconds"] for run in runs], "{:.0f}".format),
                _of_proofs(runs, "abstract_states", "{:,.0f}".format),
                _of_proofs(runs, "smallest_margin", "{:.1f}".format),
            ]
        )
    header = [
        "machine",
        "right when trained",
        "of inputs",
        "updates",
        "seconds",
        "abstract states",
        "margin",
    ]
    return markdown(header, rows)


def sampling(results: dict[str, Any]) -> str:
    """By the sampling: how many seeds of each machine are proved, and after how many updates."""
    ways: dict[str, dict[str, Runs]] = {"varied": {}, "uniform": {}}
    for variant, content in results["variants"].items():
        name, _, way = variant.rpartition(", ")
        ways[way][name] = content["runs"]
    return _by_way(ways)


def by_penalty(contracted: dict[str, Any], recipe: dict[str, Any]) -> str:
    """By the penalties: how many seeds of each machine are proved, and after how many updates."""
    runs = {
        way: {name: results["variants"][name]["runs"] for name in contracted["variants"]}
        for way, results in (("contraction alone", contracted), ("recipe", recipe))
    }
    return _by_way(runs)


def _by_way(ways: Mapping[str, Mapping[str, Runs]]) -> str:
    """A row for each machine: seeds proved and updates, in each way to train it.

    Args:
        ways: for each way, the same machines' runs.
    """
    header = ["machine", *(f"proved, {way}" for way in ways), *(f"updates, {way}" for way in ways)]
    rows = []
    for name in next(iter(ways.values())):
        by_way = [runs[name] for runs in ways.values()]
        counts = [count_of(runs, is_proved) for runs in by_way]
        steps = [spread_of([run["steps"] for run in runs], "{:,.0f}".format) for runs in by_way]
        rows.append([name, *counts, *steps])
    return markdown(header, rows)


def proved_by_kind(results: dict[str, Any]) -> str:
    """A row for each machine, a column for each kind of net: seeds proved."""
    variants = results["variants"]
    names, _, kinds = zip(*(variant.rpartition(", ") for variant in variants), strict=True)
    kinds = dict.fromkeys(kinds)
    rows = [
        [name, *(count_of(variants[f"{name}, {kind}"]["runs"], is_proved) for kind in kinds)]
        for name in dict.fromkeys(names)
    ]
    return markdown(["machine", *kinds], rows)


def _of_proofs(runs: Runs, figure: str, show: Callable[[float], str]) -> str:
    """A figure of the proofs of those runs that are proved."""
    values = [run["proof"][figure] for run in runs if is_proved(run)]
    return spread_of(values, show) if values else "–"


def _is_right_at_length(run: dict[str, Any]) -> bool:
    """True if all sampled sequences of these lengths are answered right."""
    return all(is_right_at(length)(run) for length in LONG)
