"""The independent check: what a certificate may not say."""

import io

import numpy as np
import pytest
import torch
from networks import DELAY, PAIR, RELABELLED, build_automaton, save, trained, trained_proof

from rnn_tutorial import certify
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof.certificate import as_arrays, certificate_path, save_certificate
from rnn_tutorial.proof.check import Claim, InvalidCertificate, check_certificate, check_claim
from rnn_tutorial.proof.prove import prove
from rnn_tutorial.runs.checkpoint import load_checkpoint


@pytest.fixture
def certified(tmp_path):
    """A checkpoint with its certificate."""
    path = save(trained(), tmp_path / "run")
    save_certificate(certificate_path(path), trained_proof(), trained().state_dict())
    return path


def widen(fields, name, change):
    """Move one face of the box of the last state."""
    fields[name] = fields[name].copy()
    fields[name][-1, 0, 5] += change


def shrink(fields, name):
    """Move one face of the box of the last state to its middle."""
    low, high = fields["low"][-1, 0, 5], fields["high"][-1, 0, 5]
    fields[name][-1, 0, 5] = (low + high) / 2


def redirect(fields):
    """Let a state go to another state of the same remainder."""
    successors, residues = fields["successors"], fields["residues"]
    now = successors[1, 0]
    others = np.flatnonzero((residues == residues[now]) & (np.arange(len(residues)) != now))
    successors[1, 0] = others[-1]


def drop_last_state(fields):
    for name in ("residues", "successors", "low", "high"):
        fields[name] = fields[name][:-1]


TAMPERED = {
    "format": (lambda f: f.update(format="rnn_tutorial certificate 2"), "format"),
    "hash": (lambda f: f.update(weights_hash="0" * 64), "other weights"),
    "max_number": (lambda f: f.update(max_number=3), "max_number"),
    "residues": (lambda f: f.update(residues=(f["residues"] + 1) % 2), "first state"),
    "one residue": (lambda f: f["residues"].__setitem__(-1, 1 - f["residues"][-1]), "machine goes"),
    "negative residue": (lambda f: f["residues"].__setitem__(-1, -1), "a remainder is not in"),
    "huge max_number": (lambda f: f.update(max_number=10**15), "max_number"),
    "successors": (redirect, "leads out of a box"),
    "no such successor": (lambda f: f["successors"].__setitem__((1, 0), 10_000), "not one of"),
    "negative successor": (lambda f: f["successors"].__setitem__((1, 0), -1), "not one of"),
    "missing digit": (lambda f: f.update(successors=f["successors"][:, :-1]), "is missing"),
    "missing state": (drop_last_state, "not one of"),
    "missing successors": (lambda f: f.update(successors=f["successors"][:-1]), "is missing"),
    "missing boxes": (lambda f: f.update(low=f["low"][:-1], high=f["high"][:-1]), "do not fit"),
    "low": (lambda f: shrink(f, "low"), "leads out of a box"),
    "high": (lambda f: shrink(f, "high"), "leads out of a box"),
    "wide box": (lambda f: (widen(f, "low", -1.5), widen(f, "high", 1.5)), "leads out|negative"),
    "empty box": (lambda f: widen(f, "low", 3.0), "empty"),
    "not a number": (lambda f: widen(f, "low", np.nan), "empty or not a number"),
    "first box": (lambda f: f["low"][0].__setitem__((0, 3), 1e-9), "h_0|empty"),
    "margin": (lambda f: f.update(smallest_margin=f["smallest_margin"] * 1.01), "claims"),
    "margin not a number": (lambda f: f.update(smallest_margin=np.nan), "claims"),
    "type": (lambda f: f.update(low=f["low"].astype(str)), "its field low"),
    "missing field": (lambda f: f.pop("residues"), "fields"),
    "pickle": (lambda f: f.update(residues=f["residues"].astype(object)), "cannot be read"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_certificate_is_refused(name, certified, capsys):
    path = certificate_path(certified)
    assert certify.main([str(certified), "--check"]) == 0
    assert capsys.readouterr().out.startswith("CHECKED: right for every sequence of digits 0–1 ")
    with np.load(path) as file:
        fields = {field: file[field] for field in file.files}
    tamper, reason = TAMPERED[name]
    tamper(fields)
    np.savez(path, **fields)
    assert certify.main([str(certified), "--check"]) == 1
    refused = capsys.readouterr().out
    assert refused.startswith("REFUSED: ") and refused.count("\n") == 1
    with pytest.raises(InvalidCertificate, match=reason):
        check_certificate(path, as_arrays(load_checkpoint(certified).weights))


NPY = io.BytesIO()
np.save(NPY, np.zeros(3))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", NPY.getvalue()])
def test_a_damaged_certificate_is_refused(content, certified, capsys):
    certificate_path(certified).write_bytes(content)
    assert certify.main([str(certified), "--check"]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_no_flipped_byte_makes_a_traceback(certified):
    path, weights = certificate_path(certified), as_arrays(trained().state_dict())
    content, generator = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in generator.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        try:
            check_certificate(path, weights)
        except InvalidCertificate:
            refused += 1
    assert refused > 150  # the others hit what the format does not use


def test_a_certificate_for_other_weights_is_refused_even_with_their_hash(certified):
    other = RnnClsNet(**trained().arguments)
    other.load_state_dict(trained().state_dict())
    with torch.no_grad():
        other.rnn.weight_hh_l0[3, 4] += 0.5
    save(other, certified.parent)
    with pytest.raises(InvalidCertificate, match="other weights"):
        check_certificate(certificate_path(certified), as_arrays(other.state_dict()))
    save_certificate(certificate_path(certified), trained_proof(), other.state_dict())
    with pytest.raises(InvalidCertificate, match="leads out of a box"):
        check_certificate(certificate_path(certified), as_arrays(other.state_dict()))


def test_wrong_scores_are_refused_although_every_box_is_closed(tmp_path):
    other = RnnClsNet(**trained().arguments)
    other.load_state_dict(trained().state_dict())
    with torch.no_grad():
        other.fc.bias[1] += 100
    save_certificate(tmp_path / "c.npz", trained_proof(), other.state_dict())
    with pytest.raises(InvalidCertificate, match="margin is negative"):
        check_certificate(tmp_path / "c.npz", as_arrays(other.state_dict()))


def test_a_net_that_is_no_plain_rnn_is_refused_by_the_checker(tmp_path):
    weights = trained().state_dict() | {"rnn.weight_hh_l0_reverse": torch.zeros(32, 32)}
    save_certificate(tmp_path / "c.npz", trained_proof(), weights)
    with pytest.raises(InvalidCertificate, match="one direction"):
        check_certificate(tmp_path / "c.npz", {k: v.numpy() for k, v in weights.items()})
    weights = trained().state_dict() | {"rnn.weight_hh_l0": torch.zeros(128, 32)}
    save_certificate(tmp_path / "c.npz", trained_proof(), weights)
    with pytest.raises(InvalidCertificate, match=r"plain nn\.RNN"):
        check_certificate(tmp_path / "c.npz", {k: v.numpy() for k, v in weights.items()})


# ---- other machines ----


def make_claim(machine, proof):
    """A proof beside what the machine says, as the check takes it."""
    tokens = np.arange(len(machine.tokens))
    return Claim(
        proof.machine_states,
        machine.output(proof.machine_states),
        machine.step(proof.machine_states[:, None], tokens),
        proof.successors,
        proof.low,
        proof.high,
        proof.smallest_margin,
    )


@pytest.mark.parametrize("machine", [PAIR, DELAY, RELABELLED])
def test_the_proof_of_another_machine_is_checked_by_its_tables(machine):
    model = build_automaton(machine)
    proof = prove(model, machine)
    weights = as_arrays(model.state_dict())
    margin = check_claim(make_claim(machine, proof), weights)
    assert margin == pytest.approx(proof.smallest_margin)
    wrong_classes = (make_claim(machine, proof).classes + 1) % len(machine.classes)
    for changed, reason in (
        ({"classes": wrong_classes}, "margin is negative"),
        ({"classes": wrong_classes + 5}, "classes are not the network's"),
        ({"expected": make_claim(machine, proof).expected[::-1]}, "machine goes to"),
        ({"expected": make_claim(machine, proof).expected[:, :-1]}, "tokens are not the network's"),
        ({"machine_states": proof.machine_states + 1}, "first state"),
    ):
        with pytest.raises(InvalidCertificate, match=reason):
            check_claim(make_claim(machine, proof)._replace(**changed), weights)
