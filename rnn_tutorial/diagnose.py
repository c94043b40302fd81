"""What is wrong with a training run, or with your module, data or training loop?

    python -m rnn_tutorial.diagnose output/baseline
    python -m rnn_tutorial.diagnose output/solved --length 1000
    python -m rnn_tutorial.diagnose --module my_net.py:make_net --vocab_size 10
    python -m rnn_tutorial.diagnose --step my_loop.py:make_step
    python -m rnn_tutorial.diagnose --data my_data.py:make_loader --evaluation my_data.py:make_test
    python -m rnn_tutorial.diagnose my_labels.tsv --eval my_test.tsv
    python -m rnn_tutorial.diagnose --self_test

Each finding says what was seen, what it means, what to try, where to read on, and how sure the
doctor is. Without findings it says what it looked at. The exit status is 0 without findings, 1 with
some, and 2 where your code fails. Installed with pip, the command is called rnn-doctor, too;
rnn_tutorial/doctor/README.md says more.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch

from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.data_rows import is_label_file
from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Report, describe
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.doctor.user_code import find_named, make_named, without_flags
from rnn_tutorial.experiments.doctor_self_test import all_cases, is_as_expected, run_self_test
from rnn_tutorial.runs.folder import write_json
from rnn_tutorial.runs.processes import choose_num_threads
from rnn_tutorial.runs.provenance import code_version, versions
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

# What can be diagnosed, as the user names it, and what each further flag belongs to.
SUBJECTS = {
    "run": "RUN", "module": "--module", "data": "--data", "step": "--step",
    "self_test": "--self_test",
}  # fmt: skip
BELONGS_TO = {
    "length": "run", "eval": "run", "vocab_size": "module data", "padding_id": "module data",
    "num_features": "module", "time_major": "module", "lengths": "module",
    "no_lengths": "module", "call": "module", "evaluation": "data", "num_seeds": "self_test",
    "jobs": "self_test",
}  # fmt: skip
_NUM_SEEDS = 5


def _self_test(flags: Any) -> int:
    """Try every fault, and write or print the confusion matrix; returns the exit status."""
    num_seeds = flags.num_seeds or _NUM_SEEDS
    result = run_self_test(all_cases(), num_seeds, flags.jobs or os.cpu_count())
    command = f"python -m rnn_tutorial.diagnose --self_test --num_seeds {num_seeds}"
    result = {
        "command": command, "code_version": code_version(), "versions": versions(), **result,
    }  # fmt: skip
    if isinstance(flags.json, str):
        write_json(Path(flags.json), result)
    status = 0
    for name, row in result["rows"].items():
        is_right = is_as_expected(row, num_seeds)
        status = status if is_right else 1
        if flags.json is not True:
            found = ", ".join(f"{finding} {n}/{num_seeds}" for finding, n in row["found"].items())
            mark = "ok " if is_right else "BAD"
            print(f"{mark} {name} ({row['what']}) -> {found or 'no finding'}")
    if flags.json is True:
        print(json.dumps(result))
    return status


def _check_code(subject: str, flags: Any) -> Report:
    """What is found in the user's module, data or step; what they print goes to stderr."""
    place = getattr(flags, subject).rpartition(":")[0]
    with contextlib.redirect_stdout(sys.stderr), without_flags(place):
        if subject == "module":
            return _check_module(flags)
        if subject == "step":
            return check_step(make_named(flags.step, "--step"))
        evaluation = flags.evaluation
        evaluation = None if evaluation is None else make_named(evaluation, "--evaluation")
        data = make_named(flags.data, "--data")
        return check_data(data, evaluation, flags.vocab_size, flags.padding_id)


def _check_module(flags: Any) -> Report:
    names = ("vocab_size", "num_features", "padding_id", "time_major", "lengths")
    options = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    if len({"vocab_size", "num_features"} & set(options)) != 1:
        raise ValueError(
            "--module needs --vocab_size, the number of tokens without padding, or --num_features, "
            "the size of the vectors that it reads instead"
        )
    if flags.no_lengths:
        if flags.lengths:
            raise ValueError("--lengths and --no_lengths exclude each other")
        options["lengths"] = False
    if flags.call is not None:
        options["call"] = find_named(flags.call, "--call")
    return check_module(make_named(flags.module, "--module"), **options)


def _subject(flags: Any) -> str:
    """What is to be diagnosed; ValueError if that is not one thing, or a flag does not fit it."""
    given = [name for name in SUBJECTS if getattr(flags, name) not in (None, False)]
    if isinstance(flags.json, str) and not given:
        flags.run, flags.json, given = flags.json, True, ["run"]  # argparse took RUN for FILE
    if len(given) != 1:
        raise ValueError("give one of RUN, --module, --data, --step and --self_test")
    for name, owner in BELONGS_TO.items():
        value = getattr(flags, name)
        if value is not None and given[0] not in owner.split():
            owners = " or ".join(SUBJECTS[subject] for subject in owner.split())
            typed = name if value is True else f"{name} {value}"
            raise ValueError(f"--{typed} goes with {owners} only")
        if isinstance(value, int) and value < 1 and name != "padding_id":
            raise ValueError(f"--{name} {value} must be a whole number of at least 1")
    if isinstance(flags.json, str) and given[0] != "self_test":
        raise ValueError(
            f"--json {flags.json!r}: only --self_test writes its result to a FILE; --json alone "
            "prints JSON"
        )
    return given[0]


def _add_flags(parser: CommandLineParser) -> None:
    add = parser.add_argument
    run_help = "a run's folder, a folder of runs, a checkpoint, or a file of labelled examples"
    add("run", nargs="?", metavar="RUN", help=run_help)
    add("--eval", metavar="FILE", help="the examples that such a file is evaluated on")
    add("--length", type=int, metavar="N", help="the run must give right answers at this length")
    place = "PATH:NAME"
    add("--module", metavar=place, help="check this nn.Module, or the one that a function returns")
    add("--vocab_size", type=int, metavar="V", help="number of tokens that the module knows")
    add("--num_features", type=int, metavar="F", help="the module reads vectors of F real numbers")
    add("--padding_id", type=int, metavar="P", help="what stands behind the end of a row of tokens")
    flag = {"action": "store_true", "default": None}
    add("--time_major", **flag, help="the module takes (T, N), not (N, T)")
    add("--lengths", **flag, help="the module takes (x, lengths); by default it is found out")
    add("--no_lengths", **flag, help="the module takes x alone; all rows have one length")
    add("--call", metavar=place, help="a function of (module, x, lengths) that returns its scores")
    add("--data", metavar=place, help="check its samples or batches (x, lengths, targets)")
    add("--evaluation", metavar=place, help="evaluation data to compare with --data")
    add("--step", metavar=place, help="check the training step that a function returns")
    add("--self_test", action="store_true", help="try the doctor on every fault that it knows")
    add("--num_seeds", type=int, metavar="N", help=f"of the self-test (default: {_NUM_SEEDS})")
    add("--jobs", type=int, metavar="N", help="runs of it at a time (default: one per core)")
    json_help = "print JSON, or write it to FILE (--self_test only)"
    add("--json", nargs="?", const=True, metavar="FILE", help=json_help)


def _check_run(flags: Any) -> Report:
    """What is found in a run, or in a label file."""
    if is_label_file(flags.run):
        if flags.length is not None:
            raise ValueError(f"--length {flags.length} goes with the folder of a run only")
        return check_data(Path(flags.run), flags.eval and Path(flags.eval))
    if flags.eval is not None:
        raise ValueError(f"--eval {flags.eval} goes with a file of labelled examples only")
    return check_run(read_evidence(flags.run, flags.length))


def main(arguments: Sequence[str] | None = None) -> int:
    """Diagnose as the command line says; returns the exit status."""
    is_installed = Path(sys.argv[0]).stem == "rnn-doctor"
    prog = "rnn-doctor" if is_installed else "python -m rnn_tutorial.diagnose"
    parser = CommandLineParser(prog=prog, description=__doc__)
    _add_flags(parser)
    flags = parser.parse_args(arguments)
    torch.set_num_threads(choose_num_threads())
    try:
        subject = _subject(flags)
        if subject == "self_test":
            return _self_test(flags)
        report = _check_run(flags) if subject == "run" else _check_code(subject, flags)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    findings = [asdict(finding) for finding in report.findings]
    as_json = {**report._asdict(), "findings": findings}
    print(json.dumps(as_json) if flags.json else describe(*report))
    return 1 if report.findings else 0


def command() -> NoReturn:
    """What `rnn-doctor` runs, and `python -m rnn_tutorial.diagnose`."""
    run_command(main)


if __name__ == "__main__":
    command()
