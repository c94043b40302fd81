"""Prove that a network answers every sequence of every length right, or say why not.

    python -m rnn_tutorial.certify output/certified             prove it, write a certificate
    python -m rnn_tutorial.certify output/certified --check     check the certificate again

How the proof works is explained in proof/prove.py; proof/check.py checks it independently.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.proof.certificate import (
    as_arrays,
    as_rule,
    certificate_path,
    save_certificate,
)
from rnn_tutorial.proof.check import InvalidCertificate, check_certificate
from rnn_tutorial.proof.explore import NotProved
from rnn_tutorial.proof.prove import prove
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.files import check_place, check_regular
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, shown, whole_number
from rnn_tutorial.settings.model_options import PROVABLE_IN_WORDS
from rnn_tutorial.tasks.choose import load_task
from rnn_tutorial.tasks.task import Task, require_machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove or check as the command line says; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.certify", description=__doc__)
    parser.add_argument(
        "run", metavar="RUN", help="a run's folder, a folder of runs (the newest), or a checkpoint"
    )
    parser.add_argument(
        "--memory",
        type=whole_number(1, 99),
        metavar="K",
        help="group hidden states by machine state and last K tokens "
        "(default: by being nearly the same)",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the certificate beside the checkpoint instead"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    flags = parser.parse_args(arguments)
    with parser.exit_on_bad_input():
        checkpoint = load_run(flags.run)
        task, model = load_task(checkpoint), load_model(checkpoint)
        require_machine(task, "a proof", checkpoint.path)
        if not model.is_provable:
            raise ValueError(f"{str(checkpoint.path)!r}: only {PROVABLE_IN_WORDS} can be certified")
        if flags.check:
            if flags.memory is not None:
                raise ValueError(f"--memory {flags.memory} is for a proof; --check takes none")
            return _check(checkpoint, task, model, flags.json)
        return _prove(checkpoint, task, model, flags)


def _prove(checkpoint: Checkpoint, task: Task, model: RnnClsNet, flags: argparse.Namespace) -> int:
    """Prove, say so, and write the certificate."""
    path = certificate_path(checkpoint.path)
    check_place(path, "the certificate")
    started = time.perf_counter()
    try:
        proof = prove(model, task.machine, flags.memory)
    except NotProved as error:
        failure = {"proved": False, "reason": str(error)}
        print(json.dumps(failure) if flags.json else f"NOT PROVED: {error}")
        return 1
    seconds = time.perf_counter() - started
    save_certificate(path, proof, checkpoint.weights, task.machine)
    if flags.json:
        print(json.dumps({"proved": True, **proof.figures(), "seconds": seconds}))
        return 0
    print(f"PROVED: {task.claim}")
    print(f"{proof.describe()}, {seconds:.1f} s")
    print(f"Certificate: {shown(path)}")
    return 0


def _check(checkpoint: Checkpoint, task: Task, model: RnnClsNet, as_json: bool) -> int:
    """Check the certificate beside the checkpoint, and say what came out."""
    path = certificate_path(checkpoint.path)
    if not os.path.lexists(path):
        raise ValueError(f"there is no certificate {str(path)!r}; leave out --check to make one")
    check_regular(path)
    rule, cell = as_rule(task.machine), model.arguments["cell"]
    try:
        margin = check_certificate(path, as_arrays(checkpoint.weights), rule, cell)
    except InvalidCertificate as error:
        failure = {"checked": False, "reason": str(error)}
        print(json.dumps(failure) if as_json else f"REFUSED: {shown(path)}: {shown(error)}")
        return 1
    if as_json:
        print(json.dumps({"checked": True, "smallest_margin": margin}))
        return 0
    print(f"CHECKED: {task.claim}")
    print(f"{shown(path)} holds for these weights, with a smallest score margin of {margin:.3g}")
    return 0


if __name__ == "__main__":
    run_command(main)
