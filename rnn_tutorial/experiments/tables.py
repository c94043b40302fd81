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
from collections.abc import Callable
from typing import Any

from rnn_tutorial.experiments.catalogue import ABLATION
from rnn_tutorial.experiments.doctor_advice import advice_table
from rnn_tutorial.experiments.doctor_judge import summary_table
from rnn_tutorial.experiments.doctor_self_test import is_as_expected
from rnn_tutorial.experiments.gallery_tables import GALLERY_TABLES
from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.experiments.lesson_tables import (
    gradients_table,
    packing_table,
    training_transcript,
    transcript,
)
from rnn_tutorial.experiments.machine_tables import (
    by_penalty,
    machine_details,
    machines,
    proved_by_kind,
    sampling,
)
from rnn_tutorial.experiments.markdown import markdown, show_summary, spread_of
from rnn_tutorial.experiments.seed_tables import (
    alike,
    count,
    drift,
    drift_median,
    first_exact,
    is_exact,
    is_found_wrong,
    is_proved,
    is_right_at,
    median_percent,
    parts,
    periods,
    proofs,
    published,
    right_at,
    seeds_table,
    update_time,
    wrong_inputs,
)
from rnn_tutorial.measure.timing import show_mebibytes
from rnn_tutorial.runs.files import read_json

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
    except LookupError as error:
        raise ValueError(f"{file} has no {error} for the table {name!r}: measure anew") from None
    raise ValueError(f"no table is called {name!r}")


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
        same = sum(run["weights_hash"] == other["weights_hash"] for run, other in pairs)
        wrong = [(run["wrong_inputs"], other["wrong_inputs"]) for run, other in pairs]
        apart = [abs(one - other) for one, other in wrong]
        seeds = [abs(one - other) for (one, _), (other, _) in itertools.combinations(wrong, 2)]
        spreads = (spread_of(values, "{:,.0f}".format) for values in (apart, seeds))
        rows.append([name, f"{same}/{len(pairs)}", *spreads])
    header = ["recipe", "same weights", "wrong inputs apart", "apart between two seeds"]
    return markdown(header, rows)


def _speed_table(compared: dict[str, Any], unit: str, scale: float) -> str:
    """A row for each candidate of each group: its time, and its speed-up over the first."""
    rows = []
    for group, candidates in compared.items():
        for name, row in candidates.items():
            time = show_summary(row["seconds"], lambda seconds: _time(seconds * scale))
            rows.append([group, name, time, show_summary(row["speedup"], "{:.1f}".format)])
    return markdown(["", "", unit, "times the first"], rows)


def _time(value: float) -> str:
    """With a decimal where it is one of three digits or fewer."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _enumerations_table(enumerations: dict[str, Any]) -> str:
    rows = [
        [
            *(name, f"{row['inputs']:,}", f"{row['seconds']:.2f}"),
            show_mebibytes(row["added_peak_mebibytes"]),
        ]
        for name, row in enumerations.items()
    ]
    return markdown(["network and length", "inputs", "seconds", "MiB more"], rows)


def _advantage(hidden_dim: str, form: str) -> Callable[[dict[str, Any]], str]:
    """How many times as many updates the compiled engine makes as autograd, within a sentence."""

    def text(results: dict[str, Any]) -> str:
        rates = results["growth"]["hidden_dim"][hidden_dim]
        return f"{rates['compiled']['median'] / rates['autograd']['median']:{form}}"

    return text


def _processes_table(processes: dict[str, Any]) -> str:
    rows = []
    for hidden_dim, rates in processes.items():
        one, two = rates["one"]["median"], rates["two"]["median"]
        rows.append([hidden_dim, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"])
    return markdown(["hidden_dim", "one process, updates/s", "two", "two / one"], rows)


def _memory_table(prediction: dict[str, Any]) -> str:
    rows = [[name, show_mebibytes(peak)] for name, peak in prediction["peak_mebibytes"].items()]
    return markdown(["answered", "peak memory, MiB"], rows)


def _diagnosed(is_healthy: bool) -> Callable[[dict[str, Any]], str]:
    """Of how many cases of the self-test, healthy or not, exactly what is right was found."""

    def cell(results: dict[str, Any]) -> str:
        rows = [row for row in results["rows"].values() if (row["expected"] is None) == is_healthy]
        num_right = sum(is_as_expected(row, results["num_seeds"]) for row in rows)
        return f"{num_right} of {len(rows)}"

    return cell


_SINGLE = "sota_warmup, 1 to 5 digits"
_BARE = "lengths 2 to 5, neither decay nor noise"
_SLOW = "lengths 2 to 5, lr 0.001"
TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    **GALLERY_TABLES,
    "published": published,
    "published-parts": parts,
    "published-exact": count(is_exact),
    "published-at-10": count(is_right_at(10)),
    "published-baseline": median_percent("baseline", lambda run: run["accuracy"]),
    **{
        f"published-seed-{seed}": lambda r, seed=seed: (
            f"{r['variants']['baseline']['runs'][seed]['accuracy']:.0%}"
        )
        for seed in (3, 6)  # the worst and the best
    },
    "published-least-wrong": wrong_inputs("sota_warmup", min),
    "published-median-wrong": wrong_inputs("sota_warmup", statistics.median),
    "digits-median-wrong": wrong_inputs(_SINGLE, statistics.median),
    "digits-exact": count(is_exact),
    "digits-median-at-10": median_percent(_SINGLE, right_at(10)),
    "digits-median-at-100": median_percent(_SINGLE, right_at(100)),
    "ablation": seeds_table(("to 5", "at 10", "at 100", "at 1,000"), ABLATION),
    "ablation-slow": count(lambda run: run["accuracy"] > 0.75, _SLOW),
    "ablation-without-decay": count(is_right_at(1000), "no weight decay"),
    "ablation-without-noise": count(is_right_at(1000), "no noise"),
    "ablation-bare": median_percent(_BARE, lambda run: run["accuracy"], decimals=2),
    "ablation-bare-exact": count(is_exact, _BARE),
    "ablation-bare-at-10": median_percent(_BARE, right_at(10)),
    "ablation-layers-at-1000": median_percent("two layers", right_at(1000)),
    "ablation-layers-modulo-2": median_percent("two layers", right_at(1000, 2)),
    "transformer": alike,
    "transformer-rnn-time": update_time("rnn"),
    "transformer-time": update_time("Transformer, two layers"),
    "solved-exact": count(is_exact),
    "solved-first": first_exact,
    "drift": drift,
    "drift-seeds": lambda r: str(len(r["networks"]["GRU"]["seeds"])),
    "drift-gru-gate": drift_median("GRU", lambda s: s["gate"]["median"], "{:.2f}"),
    "drift-gru-open": drift_median("GRU", lambda s: s["gate"]["above_0.9"], "{:.0%}"),
    "drift-lstm-gate": drift_median("LSTM", lambda s: s["gate"]["median"], "{:.2f}"),
    "drift-lstm-open": drift_median("LSTM", lambda s: s["gate"]["above_0.9"], "{:.0%}"),
    "drift-lower": drift_median("two layers", lambda s: s["by_layer"]["lower"], "{:.0%}"),
    "drift-upper": drift_median("two layers", lambda s: s["by_layer"]["upper"], "{:.1%}"),
    "drift-fifths": drift_median(
        "two layers", lambda s: s["by_layer"]["fifths"] / s["by_layer"]["parity"], "{:.0f}"
    ),
    "certified-proved": count(is_proved),
    "certified-right": count(lambda run: run["automaton"]["is_right"]),
    "certified-parts": count(lambda run: run["automaton"]["period_shares"]["10"] < 0.1),
    "certified-periods": periods,
    "certified-proof": proofs,
    "certified-smallest": count(lambda run: run["proof"]["abstract_states"] == 1 + 10 * 10),
    "processor": _processor_table,
    "machines": machines,
    "machines-details": machine_details,
    "machines-arithmetic": median_percent("modular_arithmetic", lambda run: run["accuracy"]),
    "shorter-exact": count(is_exact, "contraction alone"),
    "shorter-right": count(is_right_at(500), "contraction alone"),
    "shorter-both": count(is_proved, "both penalties"),
    "contracted": lambda r: by_penalty(r, read_json(RESULTS / "machines.json")),
    **{f"contracted-{m}": count(is_proved, f"sum modulo {m}") for m in (7, 16, 26)},
    "sampling": sampling,
    "smallest": proved_by_kind,
    "deeper": proved_by_kind,
    "fresh-right": count(is_right_at(1000), "solved"),
    "fresh-search": count(is_found_wrong, "solved"),
    "fresh-proved": count(is_proved, "certified"),
    "benchmark-baseline": lambda r: (
        f"{r['training']['step']['A']['compiled']['speedup']['median']:.0f}"
    ),
    "benchmark-narrow": _advantage("16", ".0f"),
    "benchmark-wide": _advantage("512", ".1f"),
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
    "doctor-faults": _diagnosed(is_healthy=False),
    "doctor-healthy": _diagnosed(is_healthy=True),
    "doctor_cases": summary_table,
    "doctor_advice": advice_table,
    "peers": lambda r: _speed_table(r["step"], "µs per update", 1e6),
    "solved-seeds": lambda r: str(len(r["variants"]["solved"]["runs"])),
    "lesson-packing": lambda r: packing_table(r["packing"]),
    "lesson-gradients": lambda r: gradients_table(r["gradients"]),
    "lesson-seeds": lambda r: str(r["gradients"]["num_seeds"]),
    "lesson-seconds": lambda r: f"{r['session']['seconds']:.0f}",
    "lesson-forget-path": lambda r: f"{100 * r['forget_gate']['3']['through_c']['median']:.0f}%",
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
