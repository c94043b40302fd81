"""The certificate file of a checkpoint: where it lies, how it is written, whether it holds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof.check import InvalidCertificate, Rule, check_certificate, claimed_hash
from rnn_tutorial.proof.intervals import MAX_NUMBERS
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.files import write_atomically

if TYPE_CHECKING:  # to tell whether a certificate holds needs no prover
    from rnn_tutorial.proof.prove import Proof

FORMAT = "rnn_tutorial certificate 2"
_CHEAP_PRODUCTS = 2**30  # multiplications in a check that takes about a second at most
_TANH_PRODUCTS = 32  # multiplications that take as long as one tanh


class CertificateStatus(Enum):
    """What is known of a checkpoint's certificate."""

    ABSENT = "there is none for these weights"
    REFUSED = "there is one, and it is damaged or does not hold"
    UNCHECKED = "there is one for these weights; to check it takes longer than about a second"
    HOLDS = "there is one, it was checked, and it holds"


def certificate_path(checkpoint: Path) -> Path:
    """Where the certificate of a checkpoint is kept: model_step_N.certificate.npz beside it."""
    return checkpoint.with_suffix(".certificate.npz")


def save_certificate(
    path: Path, proof: Proof, weights: Mapping[str, Tensor], machine: Machine
) -> None:
    """Write what a proof claims, about which machine, and for which weights; see check.py."""
    rule = as_rule(machine)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        format=FORMAT,
        weights_hash=weights_hash(weights),
        cell=proof.cell,
        machine_successors=rule.successors,
        machine_outputs=rule.outputs,
        machine_states=proof.machine_states,
        successors=proof.successors,
        low=proof.low,
        high=proof.high,
        smallest_margin=proof.smallest_margin,
    )
    write_atomically(path, buffer.getvalue())


def certificate_status(
    checkpoint: Checkpoint, model: RnnClsNet, machine: Machine | None
) -> CertificateStatus:
    """Whether the checkpoint is proved right: its certificate is checked if that is cheap.

    The same weights in another network, such as one of ReLU units, are not what was proved.
    Without a machine there is no rule that could be proved.
    """
    if machine is None or not model.is_provable:
        return CertificateStatus.ABSENT
    path, cell = certificate_path(checkpoint.path), model.arguments["cell"]
    if not path.exists():
        return CertificateStatus.ABSENT
    try:
        if claimed_hash(path) != weights_hash(checkpoint.weights):
            return CertificateStatus.ABSENT
        if _count_products(path, model.arguments) > _CHEAP_PRODUCTS:
            return CertificateStatus.UNCHECKED
        check_certificate(path, as_arrays(checkpoint.weights), as_rule(machine), cell)
    except (InvalidCertificate, ValueError):  # ValueError: no certificate has so large a rule
        return CertificateStatus.REFUSED
    return CertificateStatus.HOLDS


def as_rule(machine: Machine) -> Rule:
    """The tables of a machine, as `check_certificate` takes them; ValueError if too large."""
    num_states, num_tokens = machine.num_states, len(machine.tokens)
    if num_states * num_tokens > MAX_NUMBERS:
        raise ValueError(
            f"a machine of {num_states:,} states and {num_tokens:,} tokens is too large for a proof"
        )
    return Rule(*machine.tables())


def as_arrays(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The weights as `check_certificate` takes them."""
    return {name: values.cpu().numpy() for name, values in weights.items()}


def _count_products(path: Path, model: Mapping[str, Any]) -> int:
    """About how many products a check takes: each bound in the boxes times each token and unit.

    The size of the boxes is read from the file's table of contents, so that a large file is not
    even unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    num_bounds = size // 4  # float32
    num_gates = 3 if model["cell"] == "gru" else 1
    products = num_gates * (model["hidden_dim"] + _TANH_PRODUCTS)
    return num_bounds * model["vocab_size"] * products
