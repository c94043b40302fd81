"""Tables of what was trained until it was proved."""

from __future__ import annotations

import statistics
from typing import Any

from rnn_tutorial.experiments.catalogue import HIDDEN_DIMS
from rnn_tutorial.experiments.markdown import breakable, markdown, spread_of
from rnn_tutorial.experiments.seed_tables import count_of, is_proved


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
        proofs = [run["proof"] for run in runs if is_proved(run)]
        margins = [proof["smallest_margin"] for proof in proofs]
        states = [proof["abstract_states"] for proof in proofs]
        rows.append(
            [
                name,
                count_of(runs, lambda run: run["trained"]["wrong_inputs"] == 0),
                "all" if runs[0]["trained"]["exact"] else "a sample",
                spread_of([run["steps"] for run in runs], "{:,.0f}".format),
                spread_of([run["seconds"] for run in runs], "{:.0f}".format),
                spread_of(states, "{:,.0f}".format) if states else "–",
                spread_of(margins, "{:.1f}".format) if margins else "–",
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
    """A row for each machine: how many seeds are proved, and after how long, by the sampling."""
    ways = ("varied", "uniform")
    header = ["machine", *(f"proved, {way}" for way in ways), *(f"updates, {way}" for way in ways)]
    names = dict.fromkeys(variant.rpartition(", ")[0] for variant in results["variants"])
    rows = []
    for name in names:
        by_way = [results["variants"][f"{name}, {way}"]["runs"] for way in ways]
        counts = [count_of(runs, is_proved) for runs in by_way]
        steps = [spread_of([run["steps"] for run in runs], "{:,.0f}".format) for runs in by_way]
        rows.append([name, *counts, *steps])
    return markdown(header, rows)


def smallest(results: dict[str, Any]) -> str:
    """A row for each machine, a column for each size of the hidden state: seeds proved."""
    return _proved_table(results, [f"hidden_dim {size}" for size in HIDDEN_DIMS])


def deeper(results: dict[str, Any]) -> str:
    """A row for each machine, a column for each kind of net: seeds proved."""
    kinds = dict.fromkeys(variant.rpartition(", ")[2] for variant in results["variants"])
    return _proved_table(results, list(kinds))


def _proved_table(results: dict[str, Any], kinds: list[str]) -> str:
    variants = results["variants"]
    rows = [
        [name, *(count_of(variants[f"{name}, {kind}"]["runs"], is_proved) for kind in kinds)]
        for name in dict.fromkeys(variant.rpartition(", ")[0] for variant in variants)
    ]
    return markdown(["machine", *kinds], rows)


def _is_right_at_length(run: dict[str, Any]) -> bool:
    """True if all sampled sequences, of 500, 501 and 1,000 tokens, are answered right."""
    return set(run["right_at_length"].values()) == {run["num_sequences"]}
