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
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Finding, describe
from rnn_tutorial.doctor.loop_checks import check_data, check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run, describe_run
from rnn_tutorial.doctor.self_test import all_cases, is_as_expected, run_self_test
from rnn_tutorial.runs.folder import write_json
from rnn_tutorial.runs.processes import choose_num_threads
from rnn_tutorial.runs.provenance import code_version, versions
from rnn_tutorial.runs.terminal import OneSentenceParser

# What may be asked about, and what each further flag belongs to.
SUBJECTS = {
    "run": "RUN", "module": "--module", "data": "--data", "step": "--step",
    "self_test": "--self_test",
}  # fmt: skip
BELONGS_TO = {
    "length": "run", "vocab_size": "module", "evaluation": "data", "num_seeds": "self_test",
    "jobs": "self_test",
}  # fmt: skip
_NUM_SEEDS = 5


def load_factory(place: str, flag: str) -> Callable[[], Any]:
    """The function that PATH:FACTORY names.

    Args:
        place: a Python file and a function in it, such as "my_net.py:make_net".
        flag: where the user gave it, for the refusal.

    Raises:
        ValueError: no such file or function, or it needs arguments.
    """
    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"{flag} {place!r} is not PATH:FACTORY with the path of a Python file")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None:
        raise ValueError(f"{flag} {place!r}: {path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(path).parent.resolve()))  # what stands beside it may be imported
    sys.modules[spec.name] = module  # where dataclasses look for the names in annotations
    spec.loader.exec_module(module)
    factory = getattr(module, name, None)
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ValueError(f"{flag} {place!r}: {path!r} has no function {name!r}")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ValueError(
            f"{flag} {place!r}: {name!r} is called without arguments, but: {error}"
        ) from None
    return factory


def _made_by(place: str, flag: str) -> Any:
    """What the factory returns; ValueError if that is None."""
    made = load_factory(place, flag)()
    if made is None:
        raise ValueError(f"{flag} {place!r} returns None; does it lack a return?")
    return made


def print_matrix(result: dict[str, Any]) -> None:
    """The confusion matrix for a person: a line for each case."""
    count = result["num_seeds"]
    for name, row in result["rows"].items():
        found = ", ".join(f"{finding} {n}/{count}" for finding, n in row["found"].items())
        mark = "ok " if is_as_expected(row, count) else "BAD"
        print(f"{mark} {name} ({row['what']}) -> {found or 'no finding'}")


def _self_test(flags: Any) -> int:
    num_seeds = flags.num_seeds or _NUM_SEEDS
    result = run_self_test(all_cases(), num_seeds, flags.jobs or os.cpu_count())
    command = f"python -m rnn_tutorial.diagnose --self_test --num_seeds {num_seeds}"
    recorded = {"command": command, "code_version": code_version(), "versions": versions()}
    result = recorded | result
    if isinstance(flags.json, str):
        write_json(Path(flags.json), result)
    if flags.json is True:
        print(json.dumps(result))
    else:
        print_matrix(result)
    good = [is_as_expected(row, num_seeds) for row in result["rows"].values()]
    return 0 if all(good) else 1


def _check_own(subject: str, flags: Any) -> list[Finding]:
    """The findings of the user's own module, data or step."""
    if subject == "module":
        if flags.vocab_size is None:
            raise ValueError("--module needs --vocab_size, the number of tokens without padding")
        return check_module(_made_by(flags.module, "--module"), flags.vocab_size)
    if subject == "data":
        evaluation = None
        if flags.evaluation is not None:
            evaluation = _made_by(flags.evaluation, "--evaluation")
        return check_data(_made_by(flags.data, "--data"), evaluation)
    return check_step(_made_by(flags.step, "--step"))


def _subject(flags: Any) -> str:
    """What is asked about; ValueError if that is not one thing, or a flag belongs to another."""
    given = [name for name in SUBJECTS if getattr(flags, name) not in (None, False)]
    if isinstance(flags.json, str) and not given:
        flags.run, flags.json, given = flags.json, True, ["run"]  # it was --json RUN
    if len(given) != 1:
        raise ValueError("give one of RUN, --module, --data, --step and --self_test")
    for name, owner in BELONGS_TO.items():
        value = getattr(flags, name)
        if value is not None and owner != given[0]:
            raise ValueError(f"--{name} {value} goes with {SUBJECTS[owner]} only")
        if isinstance(value, int) and value < 1:
            raise ValueError(f"--{name} {value} is not a whole number from 1 on")
    if isinstance(flags.json, str) and given[0] != "self_test":
        raise ValueError(
            f"--json {flags.json!r}: to write its result to a FILE goes with --self_test only; "
            "--json alone prints"
        )
    return given[0]


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
    parser.add_argument(
        "--num_seeds", type=int, metavar="N", help=f"of the self-test (default: {_NUM_SEEDS})"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="its runs at a time (default: one per core)"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=True,
        metavar="FILE",
        help="print JSON; the self-test writes it to FILE if one is given",
    )
    flags = parser.parse_args(arguments)
    torch.set_num_threads(choose_num_threads())
    try:
        subject = _subject(flags)
        if subject == "self_test":
            return _self_test(flags)
        if subject == "run":
            evidence = read_evidence(flags.run, flags.length)
            findings = check_run(evidence)
            text = describe_run(evidence, findings)
        else:
            findings = _check_own(subject, flags)
            text = describe(findings)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(json.dumps([asdict(finding) for finding in findings]) if flags.json else text)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
