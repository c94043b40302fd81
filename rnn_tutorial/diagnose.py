"""What is wrong with a training run, or with your module, data or training step?

    python -m rnn_tutorial.diagnose output/baseline
    python -m rnn_tutorial.diagnose output/solved --length 1000
    python -m rnn_tutorial.diagnose --module my_net.py:make_net --vocab_size 10
    python -m rnn_tutorial.diagnose --data my_data.py:make_loader --evaluation my_data.py:make_test
    python -m rnn_tutorial.diagnose --step my_loop.py:make_step
    python -m rnn_tutorial.diagnose --self_test

Each finding says what was seen, what it means, what to try, and how sure it is. The exit status is
0 without and 1 with findings.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.data_checks import check_data
from rnn_tutorial.distributed import choose_num_threads
from rnn_tutorial.evidence import read_evidence
from rnn_tutorial.experiments.runs import code_version
from rnn_tutorial.findings import Finding, describe
from rnn_tutorial.loop_checks import check_step
from rnn_tutorial.module_checks import check_module
from rnn_tutorial.report import versions
from rnn_tutorial.run_checks import check_run
from rnn_tutorial.run_folder import write_json
from rnn_tutorial.self_test import all_cases, is_as_expected, run_self_test
from rnn_tutorial.terminal import OneSentenceParser


def load_factory(place: str, flag: str) -> Callable[[], Any]:
    """The function that PATH:FACTORY names.

    Args:
        place: a Python file and a function in it, such as "my_net.py:make_net".
        flag: where the user gave it, for the refusal.

    Raises:
        ValueError: no such file or function.
    """
    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"{flag} {place!r} is not PATH:FACTORY with the path of a Python file")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None:
        raise ValueError(f"{flag} {place!r}: {path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(path).parent.resolve()))  # what stands beside it may be imported
    spec.loader.exec_module(module)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ValueError(f"{flag} {place!r}: {path!r} has no function {name!r}")
    return factory


def print_matrix(result: dict[str, Any]) -> None:
    """The confusion matrix for a person: a line for each case."""
    count = result["num_seeds"]
    for name, row in result["rows"].items():
        found = ", ".join(f"{finding} {n}/{count}" for finding, n in row["found"].items())
        mark = "ok " if is_as_expected(row, count) else "BAD"
        print(f"{mark} {name} ({row['what']}) -> {found or 'no finding'}")


def _self_test(flags: Any) -> int:
    result = run_self_test(all_cases(), flags.num_seeds, flags.jobs)
    command = f"python -m rnn_tutorial.diagnose --self_test --num_seeds {flags.num_seeds}"
    recorded = {"command": command, "code_version": code_version(), "versions": versions()}
    result = recorded | result
    if isinstance(flags.json, str):
        write_json(Path(flags.json), result)
    if flags.json is True:
        print(json.dumps(result))
    else:
        print_matrix(result)
    good = [is_as_expected(row, flags.num_seeds) for row in result["rows"].values()]
    return 0 if all(good) else 1


def _findings(flags: Any) -> list[Finding]:
    """Whatever was asked about."""
    if flags.module:
        if flags.vocab_size is None:
            raise ValueError("--module needs --vocab_size, the number of tokens without padding")
        return check_module(load_factory(flags.module, "--module")(), flags.vocab_size)
    if flags.data:
        evaluation = flags.evaluation and load_factory(flags.evaluation, "--evaluation")()
        return check_data(load_factory(flags.data, "--data")(), evaluation)
    if flags.step:
        return check_step(load_factory(flags.step, "--step")())
    return check_run(read_evidence(flags.run, flags.length))


def main(arguments: Sequence[str] | None = None) -> int:
    """Diagnose as the command line says; returns the exit status."""
    parser = OneSentenceParser(prog="python -m rnn_tutorial.diagnose", description=__doc__)
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run's folder, a folder of runs, or a checkpoint"
    )
    parser.add_argument(
        "--length", type=int, metavar="N", help="answers are wanted at this length too"
    )
    parser.add_argument(
        "--module", metavar="PATH:FACTORY", help="check the nn.Module(x, lengths) that it returns"
    )
    parser.add_argument("--vocab_size", type=int, metavar="V", help="tokens of the module")
    parser.add_argument(
        "--data",
        metavar="PATH:FACTORY",
        help="check the samples (input_seq, seq_length, target), or batches of them, it returns",
    )
    parser.add_argument("--evaluation", metavar="PATH:FACTORY", help="evaluation data beside them")
    parser.add_argument(
        "--step",
        metavar="PATH:FACTORY",
        help="check the function it returns, which makes a training step and returns the loss",
    )
    parser.add_argument(
        "--self_test", action="store_true", help="put in every fault and see what is found"
    )
    parser.add_argument("--num_seeds", type=int, default=5, metavar="N", help="(default: 5)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="at a time")
    parser.add_argument(
        "--json",
        nargs="?",
        const=True,
        metavar="FILE",
        help="print JSON; the self-test writes it to FILE if one is given",
    )
    flags = parser.parse_args(arguments)
    if isinstance(flags.json, str) and not flags.self_test and flags.run is None:
        flags.run, flags.json = flags.json, True  # it was --json RUN
    subjects = [flags.run, flags.module, flags.data, flags.step, flags.self_test or None]
    if sum(subject is not None for subject in subjects) != 1:
        parser.error("give one of RUN, --module, --data, --step and --self_test")
    for name in ("length", "vocab_size", "num_seeds", "jobs"):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            parser.error(f"--{name} {getattr(flags, name)} is not a whole number from 1 on")
    torch.set_num_threads(choose_num_threads())
    try:
        if flags.self_test:
            return _self_test(flags)
        findings = _findings(flags)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(
        json.dumps([asdict(finding) for finding in findings]) if flags.json else describe(findings)
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
