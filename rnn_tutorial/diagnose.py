"""What is wrong with a training run, or with your module, data or training loop?

    python -m rnn_tutorial.diagnose output/baseline
    python -m rnn_tutorial.diagnose output/solved --length 1000
    python -m rnn_tutorial.diagnose --module my_net.py:make_net --vocab_size 10
    python -m rnn_tutorial.diagnose --step my_loop.py:make_step
    python -m rnn_tutorial.diagnose --data my_data.py:make_loader --evaluation my_data.py:make_test
    python -m rnn_tutorial.diagnose my_labels.tsv --eval my_test.tsv

Each finding says what was seen, what it means, what to try, where to read on, and how sure the
doctor is. Without findings it says what it looked at. The exit status is 1 if a finding is certain
or likely, 2 where your code fails, and 0 otherwise. Installed with pip, the command is called
rnn-doctor, too; rnn_tutorial/doctor/README.md says more.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch

from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.data_reading import is_label_file
from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Report, describe
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.doctor.user_code import find_named, make_named, without_flags
from rnn_tutorial.runs.machine import choose_num_threads
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, whole_number
from rnn_tutorial.settings.fields import refuse_empty

# What can be diagnosed: a flag names it, or nothing names a run.
SUBJECTS = ("run", "module", "data", "step")
FLAGS = [  # name, the subjects that it belongs to, what it takes, and what it is
    ("eval", "run", "FILE", "evaluation examples for a file of labelled examples"),
    ("length", "run", "N", "the run must give right answers at this length"),
    ("module", "", "PATH:NAME", "check this nn.Module, or the one that a function returns"),
    ("vocab_size", "module data", "V", "ids are 0 to V - 1; the padding is one of them, or V"),
    ("num_features", "module", "F", "the module reads vectors of F real numbers"),
    ("padding_id", "module data", "P", "the id that fills a row after its last token"),
    ("time_major", "module", "", "the module takes (T, N), not (N, T)"),
    ("lengths", "module", "", "the module takes (x, lengths); by default, the doctor finds out"),
    ("no_lengths", "module", "", "the module takes x alone; all rows have one length"),
    ("call", "module", "PATH:NAME", "a function of (module, x, lengths) that returns its scores"),
    ("data", "", "PATH:NAME", "check its samples or batches (x, lengths, targets)"),
    ("evaluation", "data", "PATH:NAME", "evaluation data to compare with --data"),
    ("step", "", "PATH:NAME", "check this training step, or the one that a function returns"),
]
_MOST_IDS, _MOST_FEATURES = 10**7, 10**5
_READERS = {  # of what a flag takes
    "N": whole_number(1),
    "V": whole_number(1, _MOST_IDS),
    "F": whole_number(1, _MOST_FEATURES),
    "P": whole_number(-_MOST_IDS, _MOST_IDS),
}


def _check_code(subject: str, flags: Any) -> Report:
    """What is found in the user's module, data or step; what they print goes to stderr."""
    place = getattr(flags, subject).rpartition(":")[0]
    with contextlib.redirect_stdout(sys.stderr), without_flags(place):
        if subject == "module":
            return _check_module(flags)
        if subject == "step":
            made = make_named(flags.step, "--step")
            first = made[0] if isinstance(made, tuple) and made else made
            is_step = callable(first) or isinstance(first, Iterator)
            # Else it may be the loss of a function that makes an update.
            return check_step(made if is_step else find_named(flags.step, "--step"))
        evaluation = flags.evaluation
        evaluation = None if evaluation is None else make_named(evaluation, "--evaluation")
        data = make_named(flags.data, "--data")
        return check_data(data, evaluation, flags.vocab_size, flags.padding_id)


def _check_module(flags: Any) -> Report:
    names = ("vocab_size", "num_features", "padding_id", "time_major", "lengths")
    options = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    if len({"vocab_size", "num_features"} & set(options)) != 1:
        raise ValueError(
            "--module needs --vocab_size V (ids of tokens are 0 to V - 1), or --num_features, the "
            "size of the vectors that it reads instead"
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
    given = [name for name in SUBJECTS if getattr(flags, name) is not None]
    if len(given) != 1:
        raise ValueError("give one of RUN, --module, --data and --step")
    for name, owners, _, _ in FLAGS:
        value = getattr(flags, name)
        if owners and value is not None and given[0] not in owners.split():
            words = " or ".join(f"--{owner}" for owner in owners.split()).replace("--run", "RUN")
            raise ValueError(f"--{name}{f' {value}' * (value is not True)} goes with {words} only")
    return given[0]


def _add_flags(parser: CommandLineParser) -> None:
    run_help = "a run's folder, a folder of runs, a checkpoint, or a file of labelled examples"
    parser.add_argument("run", nargs="?", metavar="RUN", help=run_help)
    for name, _, takes, text in FLAGS:
        reader = {"metavar": takes, "type": _READERS.get(takes, str)}
        kind = reader if takes else {"action": "store_true", "default": None}
        parser.add_argument(f"--{name}", **kind, help=text)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _check_run(flags: Any) -> Report:
    """What is found in a run, or in a label file."""
    refuse_empty({"eval": flags.eval})
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
    with parser.exit_on_bad_input():
        subject = _subject(flags)
        report = _check_run(flags) if subject == "run" else _check_code(subject, flags)
    findings = [asdict(finding) for finding in report.findings]
    as_json = {**report._asdict(), "findings": findings}
    print(json.dumps(as_json) if flags.json else describe(*report))
    return int(any(finding.confidence != "possible" for finding in report.findings))


def command() -> NoReturn:
    """What `rnn-doctor` runs, and `python -m rnn_tutorial.diagnose`."""
    run_command(main)


if __name__ == "__main__":
    command()
