"""Tables of the READMEs, written between markers from the committed result files.

<!-- table: solved -->
…
<!-- end -->
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnn_tutorial.exact import wilson_interval
from rnn_tutorial.experiments.catalogue import EXPERIMENTS
from rnn_tutorial.run_folder import read_json

RESULTS = Path(__file__).parent.parent / "results"
_MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """A README's text with every marked table written anew."""
    return _MARKED.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[3]}", text)


def table(name: str) -> str:
    """The Markdown table of that name; the part before a dash is the result file's name.

    Raises:
        ValueError: there is no such table or no result yet.
    """
    results = read_json(RESULTS / f"{name.partition('-')[0]}.json")
    if name in EXPERIMENTS:
        return _seeds_table(results)
    if name not in TABLES:
        raise ValueError(f"no table is called {name!r}")
    return TABLES[name](results)


def _seeds_table(results: dict[str, Any]) -> str:
    """A row for each variant: seeds solved, seeds right at each length, seeds proved."""
    lengths = list(next(iter(results["variants"].values()))["runs"][0]["right_at_length"])
    proofs = any("proof" in v["runs"][0] for v in results["variants"].values())
    header = ["variant", "every input right", "accuracy, median [min, max]"]
    header += [f"all right at {int(n):,}" for n in lengths]
    header += ["proved"] * proofs
    rows = []
    for variant, content in results["variants"].items():
        runs = content["runs"]
        accuracies = [run["accuracy"] for run in runs]
        row = [variant, _share([run["wrong_inputs"] == 0 for run in runs])]
        row.append(
            f"{statistics.median(accuracies):.2%} [{min(accuracies):.2%}, {max(accuracies):.2%}]"
        )
        row += [
            _share([run["right_at_length"][n] == run["num_sequences"] for run in runs])
            for n in lengths
        ]
        if proofs:
            row.append(_share([run["proof"]["proved"] for run in runs]))
        rows.append(row)
    return _markdown(header, rows)


def _share(successes: list[bool]) -> str:
    low, high = wilson_interval(sum(successes), len(successes))
    return f"{sum(successes)}/{len(successes)} [{low:.0%}, {high:.0%}]"


def _speed_table(compared: dict[str, Any], unit: str, scale: float) -> str:
    """A row for each candidate of each group: its time, and its speed-up over the first."""
    header = ["", "", f"{unit}, median [min, max]", "times the first, by round", "rounds"]
    rows = []
    for group, candidates in compared.items():
        for name, row in candidates.items():
            own, ratio = row["seconds"], row["speedup"]
            median, low, high = (f"{own[key] * scale:,.1f}" for key in ("median", "min", "max"))
            speedup = f"{ratio['median']:.1f} [{ratio['min']:.1f}, {ratio['max']:.1f}]"
            rows.append([group, name, f"{median} [{low}, {high}]", speedup, str(own["n"])])
    return _markdown(header, rows)


def _enumerations_table(enumerations: dict[str, Any]) -> str:
    rows = [
        [name, f"{row['inputs']:,}", f"{row['seconds']:.2f}", f"{row['added_peak_mebibytes']:.0f}"]
        for name, row in enumerations.items()
    ]
    return _markdown(["net and length", "inputs", "seconds", "MiB more"], rows)


def _processes_table(processes: dict[str, Any]) -> str:
    rows = []
    for hidden_dim, rates in processes.items():
        one, two = rates["one"]["median"], rates["two"]["median"]
        rows.append([hidden_dim, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"])
    return _markdown(["hidden_dim", "one process, updates/s", "two", "two / one"], rows)


def _memory_table(prediction: dict[str, Any]) -> str:
    rows = [[name, f"{peak:,.0f}"] for name, peak in prediction["peak_mebibytes"].items()]
    return _markdown(["answered", "peak memory, MiB"], rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "benchmark": lambda r: _speed_table(r["training"]["step"], "µs an update", 1e6),
    "benchmark-runs": lambda r: _speed_table(r["runs"]["start to exit"], "s", 1),
    "benchmark-evaluation": lambda r: _speed_table(
        r["evaluation"]["all 111,110 inputs"], "ms", 1e3
    ),
    "benchmark-enumerations": lambda r: _enumerations_table(r["evaluation"]["enumerations"]),
    "benchmark-prediction": lambda r: _speed_table(
        r["prediction"]["sequence"], "µs a sequence", 1e6
    ),
    "benchmark-memory": lambda r: _memory_table(r["prediction"]),
    "benchmark-processes": lambda r: _processes_table(r["processes"]),
    "benchmark-machine": lambda r: _markdown(
        ["cpu", "cores", "threads", "torch", "numba", "python"],
        [
            [
                *(str(r[name]) for name in ("cpu", "cores", "threads")),
                *(r["versions"][name] for name in ("torch", "numba", "python")),
            ]
        ],
    ),
    "peers": lambda r: _speed_table(r["step"], "µs an update", 1e6),
}


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
