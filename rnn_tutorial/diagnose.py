"""What is wrong with a training run, or with your module, data or training step?

    python -m rnn_tutorial.diagnose output/baseline
    python -m rnn_tutorial.diagnose output/solved --length 1000
    python -m rnn_tutorial.diagnose --module my_net.py:make_net --vocab_size 10
    python -m rnn_tutorial.diagnose --data my_data.py:make_loader --evaluation my_data.py:make_test
    python -m rnn_tutorial.diagnose my_labels.tsv --eval my_test.tsv
    python -m rnn_tutorial.diagnose --step my_loop.py:make_step
    python -m rnn_tutorial.diagnose --self_test

Each finding says what was seen, what it means, what to try, and how sure the doctor is. The exit
status is 0 without findings and 1 with some.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.data_rows import is_label_file
from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Finding, describe
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run, describe_run
from rnn_tutorial.experiments.doctor_self_test import all_cases, is_as_expected, run_self_test
from rnn_tutorial.runs.folder import write_json
from rnn_tutorial.runs.processes import choose_num_threads
from rnn_tutorial.runs.provenance import code_version, versions
from rnn_tutorial.runs.terminal import CommandLineParser

# What can be diagnosed, as the user names it, and what each further flag belongs to.
SUBJECTS = {
    "run": "RUN", "module": "--module", "data": "--data", "step": "--step",
    "self_test": "--self_test",
}  # fmt: skip
BELONGS_TO = {
    "length": "run", "eval": "run", "vocab_size": "module data", "padding_id": "module data",
    "num_features": "module", "time_major": "module", "lengths": "module", "no_lengths": "module",
    "call": "module",
    "evaluation": "data", "num_seeds": "self_test", "jobs": "self_test",
}  # fmt: skip
_NUM_SEEDS = 5


def load_function(place: str, flag: str) -> Any:
    """The function that PATH:FUNCTION names; ValueError if there is none, naming the flag."""
    path, _, name = place.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or not Path(path).is_file():
        raise ValueError(f"{flag} {place!r} is not PATH:FACTORY with the path of a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(path).parent.resolve()))  # so that it can import its neighbours
    sys.modules[spec.name] = module  # where dataclasses look for the names in annotations
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function) or isinstance(function, nn.Module):
        raise ValueError(f"{flag} {place!r}: {path!r} has no function {name!r}")
    return function


def call_factory(place: str, flag: str) -> Any:
    """What the function that PATH:FACTORY names returns.

    Args:
        place: a Python file and a function in it, such as "my_net.py:make_net".
        flag: where the user gave it, for the error message.

    Raises:
        ValueError: there is no such file or function, or it needs arguments or returns None.
    """
    factory, name = load_function(place, flag), place.rpartition(":")[2]
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ValueError(f"{flag} {place!r}: {name!r} gets no arguments, but: {error}") from None
    made = factory()
    if made is None:
        raise ValueError(f"{flag} {place!r} returns None; is a return statement missing?")
    return made


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


def _check_code(subject: str, flags: Any) -> list[Finding]:
    """The findings of the user's module, data or step."""
    if subject == "module":
        if (flags.vocab_size is None) == (flags.num_features is None):
            raise ValueError(
                "--module needs --vocab_size, the number of tokens without padding, or "
                "--num_features, the size of the vectors that it takes instead"
            )
        if flags.lengths and flags.no_lengths:
            raise ValueError("--lengths and --no_lengths exclude each other")
        call = flags.call and load_function(flags.call, "--call")
        return check_module(
            call_factory(flags.module, "--module"),
            flags.vocab_size,
            num_features=flags.num_features,
            time_major=bool(flags.time_major),
            padding_id=flags.padding_id,
            lengths=True if flags.lengths else False if flags.no_lengths else None,
            call=call,
        ).findings
    if subject == "data":
        is_compared = flags.evaluation is not None
        evaluation = call_factory(flags.evaluation, "--evaluation") if is_compared else None
        data, options = call_factory(flags.data, "--data"), (flags.vocab_size, flags.padding_id)
        return check_data(data, evaluation, *options).findings
    return check_step(call_factory(flags.step, "--step"))[0]


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
            raise ValueError(f"--{name} {value} goes with {owners} only")
        if isinstance(value, int) and value < 1 and name != "padding_id":
            raise ValueError(f"--{name} {value} must be a whole number of at least 1")
    if isinstance(flags.json, str) and given[0] != "self_test":
        raise ValueError(
            f"--json {flags.json!r}: only --self_test writes its result to a FILE; --json alone "
            "prints JSON"
        )
    return given[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Diagnose as the command line says; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.diagnose", description=__doc__)
    add = parser.add_argument
    run_help = "a run's folder, a folder of runs, a checkpoint, or a file of labelled examples"
    add("run", nargs="?", metavar="RUN", help=run_help)
    add("--eval", metavar="FILE", help="the examples that such a file is evaluated on")
    add("--length", type=int, metavar="N", help="the run must give right answers at this length")
    place = "PATH:FACTORY"
    add("--module", metavar=place, help="check the nn.Module that it returns, called (x, lengths)")
    add("--vocab_size", type=int, metavar="V", help="number of tokens that the module knows")
    add("--num_features", type=int, metavar="F", help="it takes vectors, (N, T, F), not tokens")
    add("--time_major", action="store_true", default=None, help="it takes x as (T, N)")
    add("--lengths", action="store_true", default=None, help="it is called (x, lengths)")
    add("--no_lengths", action="store_true", default=None, help="its sequences have one length")
    add("--call", metavar="PATH:FUNCTION", help="calls it: (module, x, lengths) -> scores")
    add("--data", metavar=place, help="check its samples (input_seq, seq_length, target)")
    add("--evaluation", metavar=place, help="evaluation data to compare with --data")
    add("--padding_id", type=int, metavar="P", help="what stands behind the end of a row of it")
    add("--step", metavar=place, help="check the training step that it returns, a function")
    add("--self_test", action="store_true", help="try the doctor on every fault that it knows")
    add("--num_seeds", type=int, metavar="N", help=f"of the self-test (default: {_NUM_SEEDS})")
    add("--jobs", type=int, metavar="N", help="runs of it at a time (default: one per core)")
    json_help = "print JSON, or write it to FILE (--self_test only)"
    add("--json", nargs="?", const=True, metavar="FILE", help=json_help)
    flags = parser.parse_args(arguments)
    torch.set_num_threads(choose_num_threads())
    try:
        subject = _subject(flags)
        if subject == "self_test":
            return _self_test(flags)
        if subject == "run" and is_label_file(flags.run):
            if flags.length is not None:
                raise ValueError(f"--length {flags.length} goes with the folder of a run only")
            findings = check_data(Path(flags.run), flags.eval and Path(flags.eval)).findings
            text = describe(findings)
        elif flags.eval is not None:
            raise ValueError(f"--eval {flags.eval} goes with a file of labelled examples only")
        elif subject == "run":
            evidence = read_evidence(flags.run, flags.length)
            findings = check_run(evidence)
            text = describe_run(evidence, findings)
        else:
            findings = _check_code(subject, flags)
            text = describe(findings)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(json.dumps([asdict(finding) for finding in findings]) if flags.json else text)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
