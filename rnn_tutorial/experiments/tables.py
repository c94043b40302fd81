"""Tables of the READMEs, written between markers from the committed result files.

<!-- table: solved -->
…
<!-- end -->

A single figure stands within a line: it takes <!-- table: lesson-seconds -->6<!-- end --> seconds.
Code of the package is shown in the same way: <!-- code: MODULE.FUNCTION --> … <!-- end -->.
"""

from __future__ import annotations

import inspect
import itertools
import pkgutil
import re
import statistics
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.experiments.catalogue import CLAIMS, EXACT_LENGTH, EXPERIMENTS, SECTIONS
from rnn_tutorial.experiments.doctor_advice import advice_table
from rnn_tutorial.experiments.doctor_judge import summary_table
from rnn_tutorial.experiments.gallery_tables import GALLERY_TABLES
from rnn_tutorial.experiments.lesson_tables import (
    gradients_table,
    packing_table,
    training_transcript,
    transcript,
)
from rnn_tutorial.experiments.machine_tables import deeper, machines, sampling, smallest
from rnn_tutorial.experiments.markdown import (
    markdown,
    share_of,
    show_accuracy,
    show_percent,
    spread_of,
)
from rnn_tutorial.measure.timing import show_mebibytes
from rnn_tutorial.runs.folder import read_json

RESULTS = Path(__file__).parent.parent / "results"
_MARKED = re.compile(r"(<!-- (table|code): ([\w.-]+) -->)(\n?).*?(<!-- end -->)", re.DOTALL)

_DOCSTRING = re.compile(r' *""".*?"""\n', re.DOTALL)


def render(text: str) -> str:
    """A README's text with every marked table, figure and piece of code written anew."""
    contents = {"table": table, "code": code}
    return _MARKED.sub(lambda m: f"{m[1]}{m[4]}{contents[m[2]](m[3])}{m[4]}{m[5]}", text)


def code(name: str) -> str:
    """A function or method of the project, without its docstring, as a Markdown block."""
    source = textwrap.dedent(inspect.getsource(pkgutil.resolve_name(name)))
    without_docstring = _DOCSTRING.sub("", source, count=1)
    return f"```py\n{without_docstring}```"


def table(name: str) -> str:
    """The Markdown table of that name; the part before a dash is the result file's name.

    Raises:
        ValueError: there is no such table or no result yet.
    """
    file = f"{name.partition('-')[0]}.json"
    results = read_json(RESULTS / file)
    try:
        if name in TABLES:
            return TABLES[name](results)
        if name in SECTIONS or name in EXPERIMENTS:
            return _seeds_table(results, SECTIONS.get(name, ()))
    except LookupError as error:
        raise ValueError(f"{file} has no {error} for the table {name!r}: measure anew") from None
    raise ValueError(f"no table is called {name!r}")


Runs = list[dict[str, Any]]


def _seeds_table(results: dict[str, Any], rows: Sequence[str] = (), detailed: bool = False) -> str:
    """A row for each variant: seeds solved, seeds right at each length, seeds proved.

    Args:
        results: of an experiment.
        rows: variants to show; none means all.
        detailed: parameters and time too, and at each length the share of right answers instead.
    """
    variants = {name: results["variants"][name]["runs"] for name in rows or results["variants"]}
    first = next(iter(variants.values()))[0]
    columns: dict[str, Callable[[Runs], str]] = {}
    if detailed:
        columns["parameters"] = lambda runs: f"{runs[0]['model_parameters']:,}"
    columns["every input right"] = lambda runs: share_of([run["wrong_inputs"] == 0 for run in runs])
    columns["accuracy, median [min, max]"] = lambda runs: spread_of(
        [run["accuracy"] for run in runs], show_accuracy
    )
    for n in first["right_at_length"]:
        if detailed:
            columns[f"right at {int(n):,}"] = lambda runs, n=n: spread_of(
                _right(runs, n), show_percent
            )
        else:
            columns[f"all right at {int(n):,}"] = lambda runs, n=n: share_of(
                [right == 1 for right in _right(runs, n)]
            )
    if first.get("proof"):
        columns["proved"] = lambda runs: share_of([run["proof"]["proved"] for run in runs])
    cells = [[name, *(cell(runs) for cell in columns.values())] for name, runs in variants.items()]
    more = {"published claim": CLAIMS} if variants.keys() <= CLAIMS.keys() else {}
    if detailed:
        more["µs per update"] = {
            name: "{median:,.0f} [{min:,.0f}, {max:,.0f}]".format(
                **{key: seconds * 1e6 for key, seconds in time.items()}
            )
            for name, time in results["update_seconds"].items()
        }
    cells = [[*row, *(texts[row[0]] for texts in more.values())] for row in cells]
    return markdown(["variant", *columns, *more], cells)


def _right(runs: Runs, length: str) -> list[float]:
    """Share of the sequences of a length that each run answers right."""
    return [run["right_at_length"][length] / run["num_sequences"] for run in runs]


_KNOWN = 0.8  # of random sequences right modulo p: then a net knows the sum modulo p


def _parts_table(results: dict[str, Any]) -> str:
    """How many seeds of each variant know the sum of five digits modulo 5, or modulo 2."""
    parts = {
        "modulo 10": {"5", "2"}, "modulo 5 only": {"5"}, "modulo 2 only": {"2"}, "neither": set(),
    }  # fmt: skip
    rows = []
    for name, variant in results["variants"].items():
        known = [
            {
                p
                for p, right in run["right_modulo"][str(EXACT_LENGTH)].items()
                if right >= _KNOWN * run["num_sequences"]
            }
            for run in variant["runs"]
        ]
        rows.append(
            [name, *(share_of([found == part for found in known]) for part in parts.values())]
        )
    return markdown(["variant", *parts], rows)


def _processor_table(results: dict[str, Any]) -> str:
    """Each seed of some recipes beside itself, trained with the products of another processor.

    Raises:
        ValueError: the two differ in their code or their versions, or do not in their products.
    """
    here: dict[str, Any] = {}
    for name in ("published", "solved"):
        other = read_json(RESULTS / f"{name}.json")
        found = [{"code": r["code_version"], **r["versions"]} for r in (results, other)]
        differing = {key for key in found[0] if found[0][key] != found[1].get(key)}
        if differing != {"openblas_coretype"}:
            raise ValueError(f"{name}.json and processor.json differ in {sorted(differing)}")
        here |= other["variants"]
    rows = []
    for name, variant in results["variants"].items():
        pairs = list(zip(here[name]["runs"], variant["runs"], strict=True))
        same = [run["weights_hash"] == other["weights_hash"] for run, other in pairs]
        wrong = [(run["wrong_inputs"], other["wrong_inputs"]) for run, other in pairs]
        apart = [abs(one - other) for one, other in wrong]
        seeds = [abs(one - other) for (one, _), (other, _) in itertools.combinations(wrong, 2)]
        right = [share_of([both[side] == 0 for both in wrong]) for side in (0, 1)]
        number = "{:,.0f}".format
        rows.append(
            [name, share_of(same), spread_of(apart, number), spread_of(seeds, number), *right]
        )
    header = [
        *("variant", "same weights", "wrong inputs apart, median [min, max]"),
        *("apart between two seeds", "every input right", "with the older products"),
    ]
    return markdown(header, rows)


def _automaton_table(runs: Runs) -> str:
    """How many seeds learned addition, and by what the states of their remainders differ."""
    automata = [run["automaton"] for run in runs]
    periods = automata[0]["period_shares"]
    header = ["the table is addition", *(f"variance of period {p}" for p in periods)]
    shares = [[automaton["period_shares"][p] for automaton in automata] for p in periods]
    cells = [
        share_of([a["is_right"] for a in automata]),
        *(spread_of(s, show_percent) for s in shares),
    ]
    return markdown(header, [cells])


def _proofs_table(runs: Runs) -> str:
    """What the proofs of the seeds that were proved look like."""
    proofs = [run["proof"] for run in runs if run["proof"]["proved"]]
    columns = {
        "abstract states": ("abstract_states", "{:,.0f}"),
        "smallest score margin": ("smallest_margin", "{:.1f}"),
        "widest box": ("largest_width", "{:.2f}"),
        "seconds": ("seconds", "{:.1f}"),
    }
    cells = [
        spread_of([proof[key] for proof in proofs], form.format) for key, form in columns.values()
    ]
    return markdown(list(columns), [cells])


def _speed_table(compared: dict[str, Any], unit: str, scale: float) -> str:
    """A row for each candidate of each group: its time, and its speed-up over the first."""
    header = ["", "", f"{unit}, median [min, max]", "times the first, by round", "rounds"]
    rows = []
    for group, candidates in compared.items():
        for name, row in candidates.items():
            seconds, ratio = row["seconds"], row["speedup"]
            median, low, high = (f"{seconds[key] * scale:,.1f}" for key in ("median", "min", "max"))
            speedup = f"{ratio['median']:.1f} [{ratio['min']:.1f}, {ratio['max']:.1f}]"
            rows.append([group, name, f"{median} [{low}, {high}]", speedup, str(seconds["n"])])
    return markdown(header, rows)


def _enumerations_table(enumerations: dict[str, Any]) -> str:
    rows = [
        [
            *(name, f"{row['inputs']:,}", f"{row['seconds']:.2f}"),
            show_mebibytes(row["added_peak_mebibytes"]),
        ]
        for name, row in enumerations.items()
    ]
    return markdown(["net and length", "inputs", "seconds", "MiB more"], rows)


def _processes_table(processes: dict[str, Any]) -> str:
    rows = []
    for hidden_dim, rates in processes.items():
        one, two = rates["one"]["median"], rates["two"]["median"]
        rows.append([hidden_dim, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"])
    return markdown(["hidden_dim", "one process, updates/s", "two", "two / one"], rows)


def _memory_table(prediction: dict[str, Any]) -> str:
    rows = [[name, show_mebibytes(peak)] for name, peak in prediction["peak_mebibytes"].items()]
    return markdown(["answered", "peak memory, MiB"], rows)


def _doctor_table(results: dict[str, Any]) -> str:
    """The confusion matrix: a row for each case, with every finding that was made of it."""
    rows = []
    for name, row in results["rows"].items():
        found = ", ".join(f"{n} {k}/{results['num_seeds']}" for n, k in row["found"].items())
        rows.append([name, row["what"], row["expected"] or "none", found or "none"])
    return markdown(["put in", "how", "expected", "found"], rows)


def _median(
    results: dict[str, Any],
    variant: str,
    value: Callable[[dict[str, Any]], float],
    first: int | None = None,
) -> str:
    """In percent: the median of what a variant's seeds, or the first of them, reach."""
    runs = results["variants"][variant]["runs"][:first]
    return f"{statistics.median(map(value, runs)):.0%}".replace("%", " %")


def _far(length: str, modulo: str = "") -> Callable[[dict[str, Any]], float]:
    """Share of the sequences of a length that a run answers right, or right modulo a part."""
    return lambda run: (
        (run["right_modulo"][length][modulo] if modulo else run["right_at_length"][length])
        / run["num_sequences"]
    )


def _count(results: dict[str, Any], holds: Callable[[dict[str, Any]], bool]) -> str:
    """Of all runs of an experiment, those of which something holds, for within a sentence."""
    runs = [run for variant in results["variants"].values() for run in variant["runs"]]
    return f"{sum(map(holds, runs))} of {len(runs)}"


_SLOWER = "lengths 2 to 5, neither, lr 0.001"
TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    **GALLERY_TABLES,
    "published-parts": _parts_table,
    "published-exact": lambda r: _count(r, lambda run: run["wrong_inputs"] == 0),
    "ablation-slower": lambda r: _median(r, _SLOWER, lambda run: run["accuracy"]),
    "ablation-slower-at-10": lambda r: _median(r, _SLOWER, _far("10")),
    "ablation-layers-at-1000": lambda r: _median(r, "two layers", _far("1000")),
    "ablation-layers-modulo-2": lambda r: _median(r, "two layers", _far("1000", "2")),
    "transformer-five-seeds": lambda r: _median(r, "rnn, no decay, no noise", _far("1000"), 5),
    "certified-parts": lambda r: _count(
        r, lambda run: run["automaton"]["period_shares"]["10"] < 0.1
    ),
    "processor": _processor_table,
    "machines": machines,
    "sampling": sampling,
    "smallest": smallest,
    "deeper": deeper,
    "fresh-right": lambda r: _count(r, lambda run: run["right_at_length"]["1000"] == 1000),
    "benchmark-baseline": lambda r: (
        f"{r['training']['step']['A']['compiled']['speedup']['median']:.0f}"
    ),
    "certified-automaton": lambda r: _automaton_table(r["variants"]["certified"]["runs"]),
    "certified-proof": lambda r: _proofs_table(r["variants"]["certified"]["runs"]),
    "cells": lambda r: _seeds_table(r, detailed=True),
    "transformer": lambda r: _seeds_table(r, detailed=True),
    "benchmark": lambda r: _speed_table(r["training"]["step"], "µs per update", 1e6),
    "benchmark-gru": lambda r: _speed_table(r["training"]["gru"], "µs per update", 1e6),
    "benchmark-lstm": lambda r: _speed_table(r["training"]["lstm"], "µs per update", 1e6),
    "benchmark-runs": lambda r: _speed_table(r["runs"]["start to exit"], "s", 1),
    "benchmark-evaluation": lambda r: _speed_table(
        r["evaluation"]["all 111,110 inputs"], "ms", 1e3
    ),
    "benchmark-enumerations": lambda r: _enumerations_table(r["evaluation"]["enumerations"]),
    "benchmark-prediction": lambda r: _speed_table(
        r["prediction"]["sequence"], "µs per sequence", 1e6
    ),
    "benchmark-memory": lambda r: _memory_table(r["prediction"]),
    "benchmark-processes": lambda r: _processes_table(r["processes"]),
    "benchmark-machine": lambda r: markdown(
        ["cpu", "cores", "threads", "torch", "numba", "python"],
        [
            [
                *(str(r["measured"]["training"][name]) for name in ("cpu", "cores", "threads")),
                *(r["measured"]["training"]["versions"][n] for n in ("torch", "numba", "python")),
            ]
        ],
    ),
    "benchmark-compilation": lambda r: f"{r['runs']['compilation']['cold_seconds']:.0f}",
    "doctor": _doctor_table,
    "doctor_cases": summary_table,
    "doctor_advice": advice_table,
    "peers": lambda r: _speed_table(r["step"], "µs per update", 1e6),
    "solved-seeds": lambda r: str(len(r["variants"]["solved"]["runs"])),
    "lesson-packing": lambda r: packing_table(r["packing"]),
    "lesson-gradients": lambda r: gradients_table(r["gradients"]),
    "lesson-seeds": lambda r: str(r["gradients"]["num_seeds"]),
    "lesson-seconds": lambda r: f"{r['session']['seconds']:.0f}",
    "lesson-forget-path": lambda r: f"{100 * r['forget_gate']['3']['through_c']['median']:.0f} %",
    "lesson-forget-radius": lambda r: "{min:.2f} to {max:.2f}".format(
        **r["forget_gate"]["3"]["radius"]
    ),
    "lesson-first": lambda r: transcript(**r["session"]["first"]),
    "lesson-training": lambda r: training_transcript(r["session"]),
    "lesson-prediction": lambda r: transcript(
        "python predict_cls_rnn.py", r["session"]["prediction"]
    ),
    "lesson-evaluation": lambda r: transcript(**r["session"]["evaluation"]),
    "lesson-machine": lambda r: f"{r['cpu']}, one thread, PyTorch {r['versions']['torch']}",
}
