"""Prove that a network answers every sequence of every length right, or say why not.

    python -m rnn_tutorial.certify output/certified             prove it, write a certificate
    python -m rnn_tutorial.certify output/certified --check     check the certificate again

How the proof works stands in proof.py; check_certificate.py checks it without using it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from rnn_tutorial.proof.check import InvalidCertificate, check_certificate, claimed_hash
from rnn_tutorial.proof.prover import NotProved, Proof, prove
from rnn_tutorial.runs.checkpoint import Checkpoint, load_run, weights_hash
from rnn_tutorial.runs.folder import write_atomically
from rnn_tutorial.runs.terminal import CommandLineParser
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS

FORMAT = "rnn_tutorial certificate 1"


def certificate_path(checkpoint: Path) -> Path:
    """Where the certificate of a checkpoint is kept: model_step_N.certificate.npz beside it."""
    return checkpoint.with_suffix(".certificate.npz")


def save_certificate(path: Path, proof: Proof, weights: Mapping[str, Tensor]) -> None:
    """Write what the proof claims and for which weights, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        format=FORMAT,
        weights_hash=weights_hash(weights),
        max_number=proof.successors.shape[1] - 1,
        residues=proof.residues,
        successors=proof.successors,
        low=proof.low,
        high=proof.high,
        smallest_margin=proof.smallest_margin,
    )
    write_atomically(path, buffer.getvalue())


def certificate_matches(checkpoint: Checkpoint) -> bool:
    """True if a certificate for these very weights lies beside the checkpoint; reads a hash only.

    It trusts the file; `--check` does not. The same weights in another net, such as one of ReLU
    units, are not what was proved.
    """
    if not checkpoint.build_model().is_plain:
        return False
    try:
        claimed = claimed_hash(certificate_path(checkpoint.path))
    except InvalidCertificate:
        return False
    return claimed == weights_hash(checkpoint.weights)


# ---- the command ----


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove or check as the command line says; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.certify", description=__doc__)
    parser.add_argument(
        "run", metavar="RUN", help="a run's folder, a folder of runs (the newest), or a checkpoint"
    )
    parser.add_argument(
        "--memory",
        type=_positive,
        metavar="K",
        help="abstract states are the residue and the last K digits "
        "(default: hidden states that are nearly the same)",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the certificate beside the checkpoint instead"
    )
    parser.add_argument("--json", action="store_true", help="print the proof's figures as JSON")
    flags = parser.parse_args(arguments)
    try:
        checkpoint = load_run(flags.run)
        checkpoint.require_digit_task("a proof")
        if not checkpoint.build_model().is_plain:
            raise ValueError(f"{str(checkpoint.path)!r}: only {PLAIN_IN_WORDS} can be certified")
        if flags.check:
            return _check(checkpoint)
        return _prove(checkpoint, flags.memory, flags.json)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 99):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 99")
    return int(text)


def _claim(checkpoint: Checkpoint) -> str:
    return (
        f"right for every sequence of digits 0–{checkpoint.config['max_number']} "
        "of every length ≥ 1"
    )


def _prove(checkpoint: Checkpoint, memory: int | None, as_json: bool) -> int:
    """Prove, say so, and write the certificate."""
    started = time.perf_counter()
    try:
        proof = prove(checkpoint.build_model(), memory)
    except NotProved as error:
        print(
            json.dumps({"proved": False, "reason": str(error)})
            if as_json
            else f"NOT PROVED: {error}"
        )
        return 1
    figures = {
        "proved": True,
        "abstract_states": len(proof.residues),
        "smallest_margin": proof.smallest_margin,
        "largest_width": proof.largest_width,
        "seconds": time.perf_counter() - started,
    }
    path = certificate_path(checkpoint.path)
    save_certificate(path, proof, checkpoint.weights)
    if as_json:
        print(json.dumps(figures))
        return 0
    print(f"PROVED: {_claim(checkpoint)}")
    print(
        f"{figures['abstract_states']:,} abstract states, smallest score margin "
        f"{proof.smallest_margin:.3g}, largest box width {proof.largest_width:.3g}, "
        f"{figures['seconds']:.1f} s"
    )
    print(f"Certificate: {path}")
    return 0


def _check(checkpoint: Checkpoint) -> int:
    """Check the certificate beside the checkpoint."""
    path = certificate_path(checkpoint.path)
    if not path.exists():
        raise ValueError(f"there is no certificate {str(path)!r}; leave out --check to make one")
    weights = {name: tensor.numpy() for name, tensor in checkpoint.weights.items()}
    try:
        margin = check_certificate(path, weights)
    except InvalidCertificate as error:
        print(f"REFUSED: {path}: {error}")
        return 1
    print(f"CHECKED: {_claim(checkpoint)}")
    print(f"{path} holds for these weights, with a smallest score margin of {margin:.3g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
