"""The command: list, run and render the experiments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.experiments import __doc__ as package_doc
from rnn_tutorial.experiments.catalogue import EXPERIMENTS
from rnn_tutorial.experiments.figures import render_figures
from rnn_tutorial.experiments.kept import RESULTS, make_all, result_head
from rnn_tutorial.experiments.notebooks import NOTEBOOKS, write_notebook
from rnn_tutorial.experiments.runs import CODE, run_once
from rnn_tutorial.experiments.tables import render
from rnn_tutorial.measure.timing import measure_in_turns, seconds_per_update, summarize
from rnn_tutorial.measure.training import engine_steps
from rnn_tutorial.runs.files import write_atomically, write_json
from rnn_tutorial.runs.machine import choose_num_threads, count_cores
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.provenance import REPOSITORY, describe_machine
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, whole_number
from rnn_tutorial.settings.flags import add_config_flags
from rnn_tutorial.training.configure import configure

READMES = (
    *("README.md", "README_next.md"),
    *("rnn_tutorial/data/README.md", "rnn_tutorial/machines/README.md"),
    *("rnn_tutorial/training/README.md", "rnn_tutorial/runs/README.md"),
    *("rnn_tutorial/gallery/README.md", "rnn_tutorial/doctor/README.md"),
)


def run_experiments(names: Sequence[str], num_seeds: int, jobs: int, quick: bool) -> None:
    """Make every missing run, then write each experiment's result file.

    A run that several experiments contain is made once. What is quick, or has fewer seeds than the
    experiment, is written to output/quick_results instead.
    """
    work, wanted = {}, {}
    short = ("--total_steps", "20", "--warmup_step", "5") if quick else ()
    at_most = 3 if quick else None
    variants = {name: dict([*EXPERIMENTS[name].variants.items()][:at_most]) for name in names}
    for name in names:
        experiment = EXPERIMENTS[name]
        lengths = experiment.lengths[:1] if quick else experiment.lengths
        settings = (experiment.certify, lengths, experiment.environment)
        for variant, flags in variants[name].items():
            seeds = experiment.seeds(variant, num_seeds)
            runs = [((*flags, *short), seed, *settings) for seed in seeds]
            wanted[name, variant] = [*map(repr, runs)]
            work |= {repr(run): partial(run_once, *run) for run in runs}
    made = make_all(work, jobs, CODE)
    for name in names:
        experiment = EXPERIMENTS[name]
        asked = f"run {name} --num_seeds {min(num_seeds, experiment.max_seeds)}"
        command = f"python -m rnn_tutorial.experiments {asked}"
        variables = {**os.environ, **experiment.environment}
        content = {
            **result_head(command, variables=variables, question=experiment.question, jobs=jobs),
            "variants": {
                variant: {
                    "flags": " ".join(flags),
                    "runs": [made[key] for key in wanted[name, variant]],
                }
                for variant, flags in variants[name].items()
            },
        }
        is_whole = not quick and num_seeds >= experiment.max_seeds
        if is_whole and experiment.timed:
            content |= time_updates(name)
        folder = RESULTS if is_whole else Path("output", "quick_results")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{name}.json", content)


def time_updates(name: str) -> dict[str, Any]:
    """Measure an update of every variant of an experiment in turns; what its result file says."""
    parser = CommandLineParser()
    add_config_flags(parser)
    candidates = {}
    for variant, flags in EXPERIMENTS[name].variants.items():
        typed = vars(parser.parse_args([*flags, "--device", "cpu"]))
        config = configure(typed, None, World())
        candidates[variant] = seconds_per_update(engine_steps(config, config.engine, 5), 0.2)
    times = measure_in_turns(7, candidates)
    return {
        "update_seconds": {variant: summarize(t) for variant, t in times.items()},
        "update_machine": describe_machine(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.experiments", description=package_doc)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print names and questions")
    commands.add_parser("render", help="write tables of the READMEs and figures from the results")
    paper = commands.add_parser(
        "notebooks", help="execute the tutorials as notebooks, and keep them"
    )
    paper.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NOTEBOOKS)}")
    run = commands.add_parser("run", help="train and measure; what is done already is kept")
    run.add_argument(
        "names",
        nargs="+",
        choices=[*EXPERIMENTS, "all"],
        metavar="NAME",
        help="experiments, as `list` prints them, or all",
    )
    run.add_argument(
        "--num_seeds",
        type=whole_number(1),
        metavar="N",
        help="seeds at most (default: as each experiment says, mostly 20; 1 with --quick)",
    )
    run.add_argument(
        "--jobs",
        type=whole_number(1),
        default=count_cores(),
        metavar="N",
        help="runs at a time (default: one per core)",
    )
    run.add_argument("--quick", action="store_true", help="few updates and variants: does it work?")
    flags = parser.parse_args(arguments)
    torch.set_num_threads(choose_num_threads())  # as in the runs
    with parser.exit_on_bad_input(RuntimeError):
        return _execute(flags, parser)


def _execute(flags: argparse.Namespace, parser: CommandLineParser) -> int:
    """Execute the chosen command; returns the exit status."""
    if flags.command == "list":
        for name, experiment in EXPERIMENTS.items():
            print(f"{name}: {experiment.question} ({len(experiment.variants)} variants)")
    elif flags.command == "render":
        for readme in (REPOSITORY / name for name in READMES):
            text = render(readme.read_text(encoding="utf-8"))
            write_atomically(readme, text.encode())
        render_figures()
        print(f"The tables of {', '.join(READMES)} and all figures are written.")
    elif flags.command == "notebooks":
        for name in flags.names:
            if name not in NOTEBOOKS:
                parser.error(f"{name!r} is not one of {', '.join(NOTEBOOKS)}")
        for name in flags.names or NOTEBOOKS:
            print(f"Executed {write_notebook(name).relative_to(REPOSITORY)}")
    else:
        names = [*EXPERIMENTS] if "all" in flags.names else flags.names
        num_seeds = flags.num_seeds or (1 if flags.quick else sys.maxsize)
        run_experiments(names, num_seeds, flags.jobs, flags.quick)
    return 0


if __name__ == "__main__":
    run_command(main)
