"""What a trained network does: on every short input, at great lengths, and as an automaton.

Every short input is scored; then longer ones are searched for a wrong one, and random ones sampled.

    python -m rnn_tutorial.evaluate output/solved
    python -m rnn_tutorial.evaluate output/solved --lengths 10 100 10000 --json
    python -m rnn_tutorial.evaluate output/solved --automaton
    python -m rnn_tutorial.evaluate output/sentences --eval_file more.tsv

A run that was trained with --train_file is scored on its evaluation examples, or those of a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from rnn_tutorial.evaluation.automaton import find_automaton
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.evaluation.lengths import (
    TABLE_HEAD,
    LengthResult,
    accuracy_at_length,
    check_feasible,
    longest_enumerable,
)
from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.evaluation.search import (
    MAX_SEARCHED,
    SearchResult,
    search_wrong_input,
    why_unsearchable,
)
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.pictures.canvas import check_picture
from rnn_tutorial.pictures.machine_pictures import draw_automaton
from rnn_tutorial.pictures.plots import draw_accuracy_by_length
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.machine import choose_num_threads
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, shown, whole_number
from rnn_tutorial.settings.fields import refuse_empty
from rnn_tutorial.tasks.choose import load_task
from rnn_tutorial.tasks.labelled_files import LabelledFiles
from rnn_tutorial.tasks.machine_task import describe_wrong_input
from rnn_tutorial.tasks.task import Task, require_machine

_DEFAULT_SEARCH = 100  # tokens: the search goes up to this length
MAX_TABLE = 12  # classes of which all confusions are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine as the command line says; returns the exit status."""
    parser = make_parser()
    flags = parser.parse_args(arguments)
    given = [flag for flag, value in vars(flags).items() if value != parser.get_default(flag)]
    torch.set_num_threads(choose_num_threads())
    with parser.exit_on_bad_input():
        _check_flags(flags, given)
        checkpoint = load_run(flags.run)
        task = load_task(checkpoint)
        if task.machine is None:
            for flag in given:
                if flag not in ("run", "eval_file", "json"):
                    require_machine(task, f"--{flag}", checkpoint.path)
            _show_examples(checkpoint, task, flags)
        elif flags.eval_file:
            raise ValueError(
                f"--eval_file {flags.eval_file!r} is for runs that were trained with --train_file"
            )
        else:
            name = "automaton.png" if flags.automaton else "accuracy_by_length.png"
            if not (flags.json or flags.figure):
                flags.figure = checkpoint.path.with_name(name)
                check_picture(flags.figure)
            show = _show_automaton if flags.automaton else _show_lengths
            show(checkpoint, task, flags)
            if not flags.json:
                print(f"Picture: {shown(flags.figure)}")
    return 0


def make_parser() -> CommandLineParser:
    """The flags: what is examined, and how."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.evaluate", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder, a folder of runs, or a file")
    parser.add_argument(
        "--max_len",
        type=whole_number(1),
        metavar="N",
        help="score every input up to this length (default: up to two million inputs)",
    )
    parser.add_argument(
        "--lengths",
        type=whole_number(1),
        nargs="+",
        metavar="N",
        default=[5, 10, 20, 50, 100, 500, 1000, 10000],
        help="score a sample of each of these lengths (default: 5 10 20 … 10000)",
    )
    parser.add_argument(
        "--num_sequences",
        type=whole_number(1),
        default=1000,
        metavar="N",
        help="sample size (%(default)s)",
    )
    parser.add_argument(
        "--search",
        type=whole_number(0, MAX_SEARCHED),
        metavar="N",
        help="search for a wrong input of up to N tokens; 0 does not search "
        f"(default: {_DEFAULT_SEARCH}, if no short input is wrong)",
    )
    parser.add_argument(
        "--eval_file", metavar="FILE", help="score these labelled examples (default: the run's own)"
    )
    parser.add_argument("--automaton", action="store_true", help="show the automaton it learned")
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="draw here (default: beside the checkpoint; with --json, nowhere)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _check_flags(flags: argparse.Namespace, given: Sequence[str]) -> None:
    """Raise ValueError if a flag is without effect, or names no file or no picture."""
    for flag in ("max_len", "lengths", "num_sequences", "search"):
        if flags.automaton and flag in given:
            raise ValueError(f"--automaton looks at states and takes no --{flag}")
    refuse_empty({"eval_file": flags.eval_file})
    check_picture(flags.figure)


def _show_automaton(checkpoint: Checkpoint, task: Task, flags: argparse.Namespace) -> None:
    """Find the automaton, print it, and draw it if there is a place to draw."""
    automaton = find_automaton(load_model(checkpoint), task.machine)
    if flags.json:
        kept = ("agreement", "is_right", "period_shares")
        figures = {name: getattr(automaton, name) for name in kept}
        print(json.dumps(figures | {"table": automaton.table.tolist()}))
    else:
        print(automaton.describe())
    if flags.figure:
        draw_automaton(automaton, min(1, len(task.tokens) - 1), flags.figure)


def _show_lengths(checkpoint: Checkpoint, task: Task, flags: argparse.Namespace) -> None:
    """Score short inputs and samples, print the results, and draw if there is a place to draw."""
    machine, num_tokens = task.machine, len(task.tokens)
    max_len = flags.max_len or longest_enumerable(num_tokens)
    check_feasible(num_tokens, max_len, flags.lengths, flags.num_sequences)
    model = load_model(checkpoint)
    why_not = why_unsearchable(model, machine)
    if flags.search and why_not:
        raise ValueError(f"--search {flags.search}: {why_not}")
    exact = evaluate(model, machine, 1, max_len, max_enumerated=sys.maxsize, max_examples=20)
    max_searched = flags.search
    if max_searched is None:  # nobody asked: where it cannot be done, or tells nothing, it is not
        max_searched = 0 if why_not or exact.num_wrong else _DEFAULT_SEARCH
    search = search_wrong_input(model, machine, max_searched) if max_searched else None
    lengths = tqdm(flags.lengths, leave=False, disable=not sys.stderr.isatty(), unit=" lengths")
    rows = [accuracy_at_length(model, machine, n, flags.num_sequences) for n in lengths]
    if flags.json:
        results = {
            "checkpoint": str(checkpoint.path),
            "step": checkpoint.step,
            "seed": checkpoint.config.get("seed"),
            "num_tokens": num_tokens,
            "trained_lengths": [task.trained_lengths[0], task.trained_lengths[-1]],
            "exact": asdict(exact),
            "search": search and asdict(search),
            "lengths": [asdict(row) for row in rows],
        }
        print(json.dumps(results))
    else:
        _print_lengths(checkpoint, task, model, exact, search, rows)
    if flags.figure:
        rows.sort(key=lambda row: row.length)
        draw_accuracy_by_length(
            [row.length for row in rows],
            [row.right_random / row.num_random for row in rows],
            [row.low for row in rows],
            [row.high for row in rows],
            task.trained_lengths,
            float(machine.class_shares(task.trained_lengths).max()),
            flags.figure,
        )


def _print_lengths(
    checkpoint: Checkpoint,
    task: Task,
    model: RnnClsNet,
    exact: Evaluation,
    search: SearchResult | None,
    rows: Sequence[LengthResult],
) -> None:
    """Exact accuracy on short inputs, some wrong ones, what a search found, and the samples."""
    machine = task.machine
    about = f"seed {checkpoint.config.get('seed', '?')}, trained on {task.trained_on}"
    print(shown(f"{checkpoint.path}: {about}"))
    print(
        f"All {exact.num_inputs:,} inputs up to length {max(exact.accuracy_by_length):,}: "
        f"{exact.num_wrong:,} wrong ({exact.elapsed_seconds:.2f} s)"
    )
    for ids in exact.wrong_examples:
        print(describe_wrong_input(model, machine, ids))
    if exact.num_wrong > len(exact.wrong_examples):
        print(f"  … and {exact.num_wrong - len(exact.wrong_examples):,} more")
    if search:
        margin = search.lowest_margin
        found = "a wrong one" if search.wrong_input else f"none wrong, lowest margin {margin:.2f}"
        print(
            f"Search of {search.num_read:,} inputs up to length {search.max_len:,}: {found} "
            f"({search.elapsed_seconds:.2f} s)"
        )
        if search.wrong_input:
            print(describe_wrong_input(model, machine, search.wrong_input))
    print(TABLE_HEAD)
    for row in rows:
        print(row.describe())


def print_confusions(names: Sequence[str], evaluation: Evaluation) -> None:
    """Which label got which answer: as a table, or the most frequent mistakes of many classes."""
    counts = evaluation.answers_by_label
    if len(names) <= MAX_TABLE:
        print("Answers to the examples of each label (rows: label, columns: answer):")
        visible = [shown(name) for name in names]
        width = max(len(name) for name in [*visible, f"{evaluation.num_inputs:,}"])
        print("  ".join(f"{name:>{width}}" for name in ["", *visible]))
        for label, answers in counts.items():
            cells = [f"{answers.get(name, 0):,}" for name in names]
            print("  ".join(f"{cell:>{width}}" for cell in [shown(label), *cells]))
        return
    mistakes = [
        (count, label, answer)
        for label, answers in counts.items()
        for answer, count in answers.items()
        if answer != label
    ]
    if mistakes:
        print("What is mistaken most often:")
    for count, label, answer in sorted(mistakes, key=lambda mistake: -mistake[0])[:MAX_TABLE]:
        print(f"  {count:>5,}  {shown(label)} for {shown(answer)}")


def _show_examples(checkpoint: Checkpoint, task: LabelledFiles, flags: argparse.Namespace) -> None:
    """Score labelled examples, and print the results."""
    model = load_model(checkpoint)
    evaluation = task.evaluate_file(model, flags.eval_file, max_examples=20)
    if flags.json:
        print(json.dumps({"checkpoint": str(checkpoint.path)} | asdict(evaluation)))
        return
    seed = checkpoint.config.get("seed", "?")
    print(shown(f"{checkpoint.path}: seed {seed}, {evaluation.describe()}"))
    for line in task.describe_results(model, evaluation):
        print(shown(line))
    print_confusions(task.classes, evaluation)


if __name__ == "__main__":
    run_command(main)
