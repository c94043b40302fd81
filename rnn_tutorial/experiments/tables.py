"""Tables of the READMEs, written between markers from the committed result files.

<!-- table: solved -->
…
<!-- end -->
"""

from __future__ import annotations

import re
import statistics
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
    """The Markdown table of a result file.

    Raises:
        ValueError: there is no such table or no result yet.
    """
    results = read_json(RESULTS / f"{name}.json")
    if name in EXPERIMENTS:
        return _seeds_table(results)
    if name == "benchmark":
        return _speed_table(results["training"]["step"])
    if name == "peers":
        return _speed_table(results["step"])
    raise ValueError(f"no table is called {name!r}")


def _seeds_table(results: dict[str, Any]) -> str:
    """A row for each variant: seeds solved, seeds right at each length, time."""
    lengths = list(next(iter(results["variants"].values()))["runs"][0]["right_at_length"])
    proofs = any("proof" in v["runs"][0] for v in results["variants"].values())
    header = ["variant", "every input right", "accuracy, median [min, max]"]
    header += [f"all right at {int(n):,}" for n in lengths]
    header += ["proved"] * proofs + ["start to exit, s"]
    rows = []
    for variant, content in results["variants"].items():
        runs = content["runs"]
        accuracies = [run["accuracy"] for run in runs]
        seconds = [run["seconds"] for run in runs]
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
        row.append(f"{statistics.median(seconds):.1f} [{min(seconds):.1f}, {max(seconds):.1f}]")
        rows.append(row)
    return _markdown(header, rows)


def _share(successes: list[bool]) -> str:
    low, high = wilson_interval(sum(successes), len(successes))
    return f"{sum(successes)}/{len(successes)} [{low:.0%}, {high:.0%}]"


def _speed_table(step: dict[str, Any]) -> str:
    """A row for each candidate on A, B and C: microseconds an update and speed-up."""
    rows = []
    for group, candidates in step.items():
        for name, row in candidates.items():
            own, ratio = row["seconds"], row["speedup"]
            microseconds = [f"{own[k] * 1e6:,.1f}" for k in ("median", "min", "max")]
            rows.append(
                [
                    group,
                    name,
                    f"{microseconds[0]} [{microseconds[1]}, {microseconds[2]}]",
                    f"{ratio['median']:.1f} [{ratio['min']:.1f}, {ratio['max']:.1f}]",
                    str(own["n"]),
                ]
            )
    header = ["net", "loop", "µs an update, median [min, max]", "times the textbook loop", "rounds"]
    return _markdown(header, rows)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
