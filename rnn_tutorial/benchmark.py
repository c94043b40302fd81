"""Speed, side by side: the textbook loop against every engine, in one process, in turns.

    python -m rnn_tutorial.benchmark                     everything, some minutes
    python -m rnn_tutorial.benchmark --quick             most of it in half a minute, less certain
    python -m rnn_tutorial.benchmark --json FILE         keep the figures

The candidates take turns, round after round (timing.py). Every cost of a step is counted: drawing
the batch, noise, learning rate, update. The first line compares the matrix products of the
compiled engine with PyTorch's, and says where OpenBLAS's kernels are slow for this processor.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.measure import answers, growth, training
from rnn_tutorial.measure.products import compare_products, describe_products
from rnn_tutorial.measure.timing import print_comparison, show_mebibytes
from rnn_tutorial.pictures.canvas import check_picture
from rnn_tutorial.pictures.plots import draw_growth
from rnn_tutorial.runs.files import check_place, given_by, read_json, write_json
from rnn_tutorial.runs.machine import choose_num_threads
from rnn_tutorial.runs.provenance import describe_machine
from rnn_tutorial.runs.terminal import CommandLineParser, run_command
from rnn_tutorial.settings.config import ENGINES


def measure_products() -> dict[str, Any] | None:
    """The compiled engine's matrix products against PyTorch's."""
    products = compare_products()
    if products:
        print(describe_products(products))
    return products


def measure_training(quick: bool) -> dict[str, Any]:
    """The training step of A, B and C, and of the same with the gated cells."""
    rounds, seconds = (3, 0.1) if quick else (15, 0.4)
    results = {"step": training.compare_training(rounds, seconds)}
    print_comparison("Training step", results["step"], "µs per update", 1e6)
    for cell in ("gru", "lstm"):
        results[cell] = training.compare_training(rounds, seconds, cell)
        print_comparison(f"Training step, {cell}", results[cell], "µs per update", 1e6)
    return results


def measure_runs() -> dict[str, Any]:
    """What a reader waits for: compilation, and whole runs from start to exit."""
    results: dict[str, Any] = {"compilation": training.measure_compilation()}
    text = "\nCompilation: {cold_seconds:.1f} s, cached {cached_seconds:.1f} s"
    print(text.format(**results["compilation"]))
    results["start to exit"] = {"whole run": training.compare_whole_runs(rounds=7)}
    print_comparison("From start to exit", results["start to exit"], "s", 1)
    return results


def measure_evaluation(quick: bool) -> dict[str, Any]:
    """Exact evaluation against packed batches, and to greater lengths."""
    compared = answers.compare_evaluation(1 if quick else 7)
    results: dict[str, Any] = {"all 111,110 inputs": compared}
    print_comparison("Evaluation", compared, "ms", 1e3)
    results["enumerations"] = answers.measure_enumerations(longest=6 if quick else 7)
    print("\nExact evaluation to greater lengths")
    for name, row in results["enumerations"].items():
        more = show_mebibytes(row["added_peak_mebibytes"])
        print(f"  {name}: {row['inputs']:,} inputs in {row['seconds']:.2f} s, {more} MiB more")
    return results


def measure_prediction(quick: bool) -> dict[str, Any]:
    """The prediction script on a stream against one sequence at a time."""
    num_lines = 20_000 if quick else 1_000_000
    compared = answers.compare_prediction(1 if quick else 7, num_lines)
    results = {"lines": num_lines, "sequence": compared}
    print_comparison(f"Prediction, {num_lines:,} lines", compared, "µs per sequence", 1e6)
    results["peak_mebibytes"] = answers.measure_stream_memory([num_lines // 10, num_lines])
    for name, peak in results["peak_mebibytes"].items():
        print(f"  peak memory after {name}: {show_mebibytes(peak)} MiB")
    return results


def measure_several_processes() -> dict[str, Any]:
    """From which size on two processes are faster than one."""
    results = training.measure_processes((32, 128, 512, 1024), num_steps=80)
    print("\nUpdates per second, batch 256, one thread a process")
    for hidden_dim, rates in results.items():
        one, two = rates["one"]["median"], rates["two"]["median"]
        print(f"  hidden_dim {hidden_dim:>5}: one {one:,.0f}, two {two:,.0f}, x {two / one:.2f}")
    return results


def measure_growth(quick: bool) -> dict[str, Any]:
    """How updates per second fall as the net, the batch or the sequences grow."""
    rounds, seconds = (1, 0.05) if quick else (7, 0.2)
    results = growth.measure_growth(rounds, seconds)
    print(f"\nUpdates per second (matrix products at {results['matmul_gigaflops']:.0f} GFLOP/s)")
    for setting in growth.GROWTH:
        for value, point in results[setting].items():
            able = [engine for engine in ENGINES if engine in point]
            rates = [f"{engine} {point[engine]['median']:>9,.0f}" for engine in able]
            print(f"  {setting:<12} {value:>5}  {'  '.join(rates)}")
    return results


# The parts that --quick shortens, and those that it leaves out.
SHORTENED = {
    "training": measure_training,
    "evaluation": measure_evaluation,
    "prediction": measure_prediction,
    "growth": measure_growth,
}
LEFT_OUT = {"runs": measure_runs, "processes": measure_several_processes}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.benchmark", description=__doc__)
    parts = [*SHORTENED, *LEFT_OUT]
    parser.add_argument(
        "--only", choices=parts, action="append", help="measure this part only; may be repeated"
    )
    shorter = f"shorter and less certain, without {' and '.join(LEFT_OUT)}"
    parser.add_argument("--quick", action="store_true", help=shorter)
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the figures to this file; with --only, the others in it stay",
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw how cost grows")
    flags = parser.parse_args(arguments)
    names = flags.only or ([*SHORTENED] if flags.quick else parts)
    results: dict[str, Any] = {"measured": {}}
    with parser.exit_on_bad_input():
        _check(flags, names)
        if flags.json and flags.json.exists():  # only figures of this command are written over
            earlier = _read_figures(flags.json)
            results |= earlier if flags.only else {}
    torch.set_num_threads(choose_num_threads())
    torch.backends.cudnn.allow_tf32 = False  # as in training
    command = " ".join([parser.prog, *(sys.argv[1:] if arguments is None else arguments)])
    how = {"command": command, **describe_machine(), "products": measure_products()}
    for name in names:
        results[name] = SHORTENED[name](flags.quick) if name in SHORTENED else LEFT_OUT[name]()
        results["measured"][name] = how
    with parser.exit_on_bad_input():
        if flags.json:
            write_json(flags.json, results)
        if flags.figure:
            draw_growth(results["growth"], list(growth.GROWTH), flags.figure)
    return 0


def _read_figures(path: Path) -> dict[str, Any]:
    """The figures of earlier measurements; ValueError if they cannot be written back with more."""
    with given_by("--json"):
        figures = read_json(path)
    try:
        json.dumps(figures, allow_nan=False)
        is_ours = isinstance(figures.get("measured"), dict)
    except ValueError:
        is_ours = False
    if not is_ours:
        raise ValueError(f"--json {str(path)!r} does not hold the figures of this command")
    return figures


def _check(flags: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise ValueError if flags do not go together, or a file cannot be written in the end."""
    for name in names:
        if flags.quick and name in LEFT_OUT:
            raise ValueError(f"--only {name} is what --quick leaves out")
    if flags.figure and "growth" not in names:
        raise ValueError(f"--figure {str(flags.figure)!r} draws growth, which --only leaves out")
    check_picture(flags.figure)
    if flags.json:
        check_place(flags.json, "--json")


if __name__ == "__main__":
    run_command(main)
