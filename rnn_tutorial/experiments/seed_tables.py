"""Tables and figures within sentences of what variants reach over their seeds.

A count says of how many seeds; its interval is not in the table (20/20 allows a true rate of 84%).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from rnn_tutorial.experiments.catalogue import CLAIMS, EXACT_LENGTH
from rnn_tutorial.experiments.markdown import breakable, markdown, spread_of

Results = dict[str, Any]
Runs = list[dict[str, Any]]
Table = Callable[[Results], str]

# ---- cells ----


def is_exact(run: dict[str, Any]) -> bool:
    """True if no input of the trained lengths up to EXACT_LENGTH is answered wrong."""
    return run["wrong_inputs"] == 0


def is_proved(run: dict[str, Any]) -> bool:
    """True if a run is proved right for every length."""
    return run["proof"]["proved"]


def is_found_wrong(run: dict[str, Any]) -> bool:
    """True if a run answers an input wrongly: a short one, so that none is searched, or another."""
    return run["search"] is None or bool(run["search"]["wrong_input"])


def right_at(length: int, modulo: int | None = None) -> Callable[[dict[str, Any]], float]:
    """Share of the sequences of a length that a run answers right, or right modulo a part."""

    def share(run: dict[str, Any]) -> float:
        if modulo is None:
            return run["right_at_length"][str(length)] / run["num_sequences"]
        return run["right_modulo"][str(length)][str(modulo)] / run["num_sequences"]

    return share


def is_right_at(length: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a run answers all sequences of a length right."""
    return lambda run: right_at(length)(run) == 1


def count_of(runs: Runs, holds: Callable[[dict[str, Any]], bool]) -> str:
    """Of how many runs something holds, such as 3/20."""
    return f"{sum(map(holds, runs))}/{len(runs)}"


def show_tenths(share: float) -> str:
    """In percent with one decimal; what is not all is not rounded up to it."""
    return "100" if share == 1 else f"{math.floor(share * 1e3) / 10:.1f}"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _spread(value: Callable[[dict[str, Any]], float]) -> Callable[[Runs], str]:
    return lambda runs: spread_of([value(run) for run in runs], show_tenths)


def _seeds(holds: Callable[[dict[str, Any]], bool]) -> Callable[[Runs], str]:
    return lambda runs: count_of(runs, holds)


_COLUMNS: dict[str, Callable[[Runs], str]] = {
    "to 5": _seeds(is_exact),
    "accuracy, %": _spread(lambda run: run["accuracy"]),
    "at 10": _seeds(is_right_at(10)),
    "at 100": _seeds(is_right_at(100)),
    "at 1,000": _seeds(is_right_at(1000)),
    "at 100, %": _spread(right_at(100)),
    "at 1,000, %": _spread(right_at(1000)),
}

# ---- tables ----


def seeds_table(columns: Sequence[str], rows: Sequence[str] = ()) -> Table:
    """A row for each variant, or for those asked for, and these columns of _COLUMNS."""

    def table(results: Results) -> str:
        names = rows or results["variants"]
        runs = {name: results["variants"][name]["runs"] for name in names}
        cells = [
            [name.partition(" instead")[0], *(_COLUMNS[column](own) for column in columns)]
            for name, own in runs.items()
        ]
        return markdown(["variant", *columns], cells)

    return table


def published(results: Results) -> str:
    """The published recipes: what they reach, and what was claimed."""
    accuracy = _COLUMNS["accuracy, %"]
    variants = results["variants"].items()
    cells = [[name, accuracy(variant["runs"]), CLAIMS[name]] for name, variant in variants]
    return markdown(["recipe", "accuracy, %", "claimed"], cells)


def alike(results: Results) -> str:
    """Networks of about as many parameters: right answers by length."""
    columns = ("to 5", "at 100, %", "at 1,000, %")
    cells = [
        [name.replace(", two layers", ""), *(_COLUMNS[c](variant["runs"]) for c in columns)]
        for name, variant in results["variants"].items()
    ]
    return markdown(["network", *columns], cells)


def update_time(variant: str) -> Table:
    """Milliseconds of one update, the median."""
    return lambda results: f"{results['update_seconds'][variant]['median'] * 1e3:.1f}"


_KNOWN = 0.8  # of random sequences right modulo p: then a network knows the sum modulo p


def parts(results: Results) -> str:
    """How many seeds of each variant know the sum of five digits modulo 5, or modulo 2."""
    kinds = {"both": {"5", "2"}, "only 5": {"5"}, "only 2": {"2"}, "none": set()}

    def known(run: dict[str, Any]) -> set[str]:
        right = run["right_modulo"][str(EXACT_LENGTH)]
        return {p for p, count in right.items() if count >= _KNOWN * run["num_sequences"]}

    rows = [
        [
            breakable(name),
            *(count_of(v["runs"], lambda run, k=kind: known(run) == k) for kind in kinds.values()),
        ]
        for name, v in results["variants"].items()
    ]
    return markdown(["recipe", *kinds], rows)


def periods(results: Results) -> str:
    """By what the mean states of the remainders differ, over the seeds of `certified`."""
    automata = [run["automaton"] for run in results["variants"]["certified"]["runs"]]
    shares = {p: [a["period_shares"][p] for a in automata] for p in automata[0]["period_shares"]}
    cells = [spread_of([100 * s for s in share], "{:.0f}".format) for share in shares.values()]
    return markdown([f"period {p}, %" for p in shares], [cells])


def proofs(results: Results) -> str:
    """What the proofs of the seeds that were proved look like."""
    found = [run["proof"] for run in results["variants"]["certified"]["runs"] if is_proved(run)]
    columns = {
        "abstract states": ("abstract_states", "{:,.0f}"),
        "smallest margin": ("smallest_margin", "{:.1f}"),
        "widest box": ("largest_width", "{:.2f}"),
        "seconds": ("seconds", "{:.1f}"),
    }
    cells = [spread_of([p[key] for p in found], form.format) for key, form in columns.values()]
    return markdown(list(columns), [cells])


def drift(results: Results) -> str:
    """What becomes of each network's states: right answers far out, fading errors."""
    far = results["times"].index(20)
    columns: dict[str, Callable[[dict[str, Any]], float]] = {
        "mod 2": lambda seed: 100 * seed["modulo_2"][-1],
        "mod 5": lambda seed: 100 * seed["modulo_5"][-1],
        "99th": lambda seed: seed["farthest"][far],
        "left": lambda seed: 100 * seed["error_left"],
    }
    cells = [
        [
            name,
            *(
                _two_digits(statistics.median(map(value, network["seeds"])))
                for value in columns.values()
            ),
        ]
        for name, network in results["networks"].items()
    ]
    return markdown(["network", *columns], cells)


# ---- within sentences ----


def median_percent(
    variant: str, value: Callable[[dict[str, Any]], float], decimals: int = 0
) -> Table:
    """The median of what a variant's seeds reach."""

    def text(results: Results) -> str:
        runs = results["variants"][variant]["runs"]
        return f"{statistics.median(map(value, runs)):.{decimals}%}"

    return text


def count(holds: Callable[[dict[str, Any]], bool], variant: str | None = None) -> Table:
    """Of the runs of a variant, or of an experiment, those of which something holds."""

    def text(results: Results) -> str:
        variants = results["variants"]
        chosen = variants.values() if variant is None else [variants[variant]]
        runs = [run for one in chosen for run in one["runs"]]
        return count_of(runs, holds).replace("/", " of ")

    return text


def first_exact(results: Results) -> str:
    """After how many updates the median seed was first seen to answer every input."""
    runs = results["variants"]["solved"]["runs"]
    found = [run["curve"]["step"][run["curve"]["accuracy"].index(1)] for run in runs]
    return f"{statistics.median(found):,.0f}"


def wrong_inputs(variant: str, choose: Callable[[list[int]], float]) -> Table:
    """The least or the median number of wrong inputs of a variant's seeds."""
    return lambda results: "{:,.0f}".format(
        choose([run["wrong_inputs"] for run in results["variants"][variant]["runs"]])
    )


def drift_median(network: str, value: Callable[[dict[str, Any]], float], form: str) -> Table:
    """The median over the seeds of a network of the experiment on drift."""
    return lambda results: form.format(
        statistics.median(map(value, results["networks"][network]["seeds"]))
    )
