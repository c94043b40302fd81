"""The certificate file: what is said of a checkpoint that has one."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from networks import CYCLE, RELABELLED, build_automaton, save

from rnn_tutorial import certify
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.proof import certificate
from rnn_tutorial.proof.certificate import (
    CertificateStatus,
    certificate_path,
    certificate_status,
    save_certificate,
)
from rnn_tutorial.proof.prove import prove
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.checkpoint import load_checkpoint

ABSENT, REFUSED, UNCHECKED, HOLDS = CertificateStatus
# The walk on a circle, where right and left are exchanged.
MIRRORED = Machine(
    CYCLE.tokens, CYCLE.classes, CYCLE.step(np.arange(5)[:, None], [0, 2, 1]), range(5)
)


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint with the certificate that an earlier version wrote."""
    run = shutil.copytree(REPOSITORY / "tests/runs/format_1/proved", tmp_path / "proved")
    return load_checkpoint(run / "model_step_4000.pt")


def status(checkpoint):
    return certificate_status(checkpoint, load_model(checkpoint), SumModulo(1))


def test_a_certificate_is_checked_if_that_is_cheap(checkpoint, monkeypatch):
    assert status(checkpoint) == HOLDS
    monkeypatch.setattr(certificate, "_CHEAP_PRODUCTS", 0)
    assert status(checkpoint) == UNCHECKED


def test_a_new_certificate_says_what_that_of_an_earlier_version_did(checkpoint, tmp_path):
    model = load_model(checkpoint)
    save_certificate(
        tmp_path / "new.npz", prove(model, SumModulo(1)), checkpoint.weights, SumModulo(1)
    )
    with np.load(certificate_path(checkpoint.path)) as old, np.load(tmp_path / "new.npz") as new:
        for name in ("weights_hash", "low", "high", "successors", "smallest_margin"):
            assert (old[name].dtype, old[name].shape) == (new[name].dtype, new[name].shape)
        assert np.array_equal(old["residues"], new["machine_states"])
        assert np.array_equal(old["successors"], new["successors"])
        assert new["cell"] == "rnn" and new["machine_successors"].tolist() == [[0, 1], [1, 0]]


def test_no_certificate_or_one_for_other_weights_is_none(checkpoint):
    other = {name: values + 1 for name, values in checkpoint.weights.items()}
    assert status(replace(checkpoint, weights=other)) == ABSENT
    certificate_path(checkpoint.path).unlink()
    assert status(checkpoint) == ABSENT


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_damaged_certificate_is_none_and_is_said(content, checkpoint):
    certificate_path(checkpoint.path).write_bytes(content)
    assert status(checkpoint) == REFUSED


def test_a_false_certificate_with_the_right_hash_is_none(checkpoint):
    model = load_model(checkpoint)
    proof, path = prove(model, SumModulo(1)), certificate_path(checkpoint.path)
    save_certificate(path, replace(proof, low=proof.low / 2), checkpoint.weights, SumModulo(1))
    assert status(checkpoint) == REFUSED
    save_certificate(path, proof, checkpoint.weights, SumModulo(1))
    assert status(checkpoint) == HOLDS


def test_a_certificate_is_not_for_the_same_weights_in_another_net(checkpoint):
    arguments = checkpoint.model | {"nonlinearity": "relu"}
    assert status(replace(checkpoint, model=arguments)) == ABSENT


def test_a_certificate_is_not_for_another_rule(checkpoint):
    opposite = Machine("01", "01", [[0, 1], [1, 0]], [1, 0])
    assert certificate_status(checkpoint, load_model(checkpoint), opposite) == REFUSED
    assert certificate_status(checkpoint, load_model(checkpoint), SumModulo(65_535)) == REFUSED


def test_labelled_examples_have_no_certificate(checkpoint):
    assert certificate_status(checkpoint, load_model(checkpoint), None) == ABSENT


def test_the_hash_depends_on_names_types_shapes_and_every_bit():
    weights = {"a": torch.arange(6.0), "b": torch.ones(2)}
    others = [
        {"b": torch.ones(2), "c": torch.arange(6.0)},
        weights | {"a": torch.arange(6.0).reshape(2, 3)},
        weights | {"a": torch.arange(6.0).double()},
        weights | {"a": torch.arange(6.0).nextafter(torch.tensor(9.0))},
        weights | {"a": -torch.arange(6.0)},
    ]
    hashes = {weights_hash(w) for w in [weights, *others]}
    assert len(hashes) == 6
    reordered = {"b": torch.ones(2), "a": torch.arange(12.0).reshape(6, 2).T.contiguous()[0] / 2}
    assert weights_hash(reordered) == weights_hash(weights)


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_any_machine_is_certified_and_checked_from_its_checkpoint(cell, tmp_path, capsys):
    path = save(build_automaton(CYCLE, cell=cell), tmp_path / "run", CYCLE)
    checkpoint = load_checkpoint(path)
    assert certify.main([str(path)]) == 0
    claim = "right by the rule of .json for every sequence of stay, right, left, of every length"
    assert capsys.readouterr().out.startswith(f"PROVED: {claim}\n")
    assert certify.main([str(path), "--check"]) == 0
    assert capsys.readouterr().out.startswith(f"CHECKED: {claim}\n")
    assert certificate_status(checkpoint, load_model(checkpoint), CYCLE) == HOLDS
    assert certificate_status(checkpoint, load_model(checkpoint), RELABELLED) == REFUSED
    save(build_automaton(CYCLE, cell=cell), tmp_path / "run", MIRRORED)  # the same net for another
    assert certify.main([str(path), "--check"]) == 1
    assert "it is for another machine" in capsys.readouterr().out
    assert certify.main([str(path)]) == 1
    assert "the sequence left is answered wrongly: the right" in capsys.readouterr().out
