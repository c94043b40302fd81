"""The independent check: what a certificate may not say."""

import io
import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from networks import (
    CYCLE,
    DELAY,
    PAIR,
    PARITY,
    RELABELLED,
    TOMITA_4,
    build_automaton,
    save,
    trained,
    trained_gru,
    trained_proof,
)

from rnn_tutorial import certify
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof import check
from rnn_tutorial.proof.certificate import as_arrays, as_rule, certificate_path, save_certificate
from rnn_tutorial.proof.check import InvalidCertificate, Rule, check_certificate
from rnn_tutorial.proof.prove import prove
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.checkpoint import load_checkpoint

SUM = as_rule(SumModulo(1))


@pytest.fixture
def certified(tmp_path):
    """A checkpoint with its certificate."""
    path = save(trained(), tmp_path / "run")
    save_certificate(certificate_path(path), trained_proof(), trained().state_dict(), SumModulo(1))
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
    """Let a state go to another state of the same machine state."""
    successors, states = fields["successors"], fields["machine_states"]
    now = successors[1, 0]
    others = np.flatnonzero((states == states[now]) & (np.arange(len(states)) != now))
    successors[1, 0] = others[-1]


def drop_last_state(fields):
    for name in ("machine_states", "successors", "low", "high"):
        fields[name] = fields[name][:-1]


def move_first_box(fields):
    for name in ("low", "high"):
        fields[name][0][0, 3] = 1e-9


TAMPERED = {
    "format": (lambda f: f.update(format="rnn_tutorial certificate 3"), "format"),
    "earlier format": (lambda f: f.update(format="rnn_tutorial certificate 1"), "fields"),
    "hash": (lambda f: f.update(weights_hash="0" * 64), "other weights"),
    "cell": (lambda f: f.update(cell="gru"), "another cell"),
    "rule": (lambda f: f["machine_successors"].__setitem__((1, 1), 1), "another machine"),
    "rule's class": (lambda f: f.update(machine_outputs=1 - f["machine_outputs"]), "another mach"),
    "rule's size": (lambda f: f.update(machine_outputs=f["machine_outputs"][:1]), "another mach"),
    "states": (lambda f: f.update(machine_states=(f["machine_states"] + 1) % 2), "first state"),
    "one state": (
        lambda f: f["machine_states"].__setitem__(-1, 1 - f["machine_states"][-1]),
        "machine goes",
    ),
    "negative state": (lambda f: f["machine_states"].__setitem__(-1, -1), "not one of the machine"),
    "huge state": (lambda f: f["machine_states"].__setitem__(-1, 10**15), "not one of the machine"),
    "successors": (redirect, "leads out of a box"),
    "no such successor": (lambda f: f["successors"].__setitem__((1, 0), 10_000), "not one of"),
    "negative successor": (lambda f: f["successors"].__setitem__((1, 0), -1), "not one of"),
    "missing token": (lambda f: f.update(successors=f["successors"][:, :-1]), "is missing"),
    "missing state": (drop_last_state, "not one of"),
    "missing successors": (lambda f: f.update(successors=f["successors"][:-1]), "is missing"),
    "missing boxes": (lambda f: f.update(low=f["low"][:-1], high=f["high"][:-1]), "do not fit"),
    "low": (lambda f: shrink(f, "low"), "leads out of a box"),
    "high": (lambda f: shrink(f, "high"), "leads out of a box"),
    "wide box": (lambda f: (widen(f, "low", -1.5), widen(f, "high", 1.5)), "leads out|negative"),
    "empty box": (lambda f: widen(f, "low", 3.0), "empty"),
    "infinite": (lambda f: widen(f, "high", np.inf), "empty or not a number"),
    "not a number": (lambda f: widen(f, "low", np.nan), "empty or not a number"),
    "first box": (move_first_box, "h_0"),
    "margin": (lambda f: f.update(smallest_margin=f["smallest_margin"] * 1.01), "claims"),
    "margin not a number": (lambda f: f.update(smallest_margin=np.nan), "claims"),
    "type": (lambda f: f.update(low=f["low"].astype(str)), "its field low"),
    "missing field": (lambda f: f.pop("machine_states"), "fields"),
    "pickle": (
        lambda f: f.update(machine_states=f["machine_states"].astype(object)),
        "cannot be read",
    ),
}


def tamper_with(path, name):
    """Change a certificate file; returns what the refusal must say."""
    with np.load(path) as file:
        fields = {field: file[field] for field in file.files}
    tamper, reason = TAMPERED[name]
    tamper(fields)
    np.savez(path, **fields)
    return reason


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_certificate_is_refused(name, certified, capsys):
    path = certificate_path(certified)
    assert certify.main([str(certified), "--check"]) == 0
    assert capsys.readouterr().out.startswith("CHECKED: right for every sequence of digits 0–1, ")
    reason = tamper_with(path, name)
    assert certify.main([str(certified), "--check"]) == 1
    refused = capsys.readouterr().out
    assert refused.startswith("REFUSED: ") and refused.count("\n") == 1
    assert certify.main([str(certified), "--check", "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)
    assert failure["checked"] is False and re.search(reason, failure["reason"])
    with pytest.raises(InvalidCertificate, match=reason):
        check_certificate(path, as_arrays(load_checkpoint(certified).weights), SUM)


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
            check_certificate(path, weights, SUM)
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
        check_certificate(certificate_path(certified), as_arrays(other.state_dict()), SUM)
    save_certificate(certificate_path(certified), trained_proof(), other.state_dict(), SumModulo(1))
    with pytest.raises(InvalidCertificate, match="leads out of a box"):
        check_certificate(certificate_path(certified), as_arrays(other.state_dict()), SUM)


def test_wrong_scores_are_refused_although_every_box_is_closed(tmp_path):
    other = RnnClsNet(**trained().arguments)
    other.load_state_dict(trained().state_dict())
    with torch.no_grad():
        other.fc.bias[1] += 100
    save_certificate(tmp_path / "c.npz", trained_proof(), other.state_dict(), SumModulo(1))
    with pytest.raises(InvalidCertificate, match="margin is not above 0"):
        check_certificate(tmp_path / "c.npz", as_arrays(other.state_dict()), SUM)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("rnn.weight_hh_l0_reverse", lambda w: np.zeros((32, 32), "f4"), "one direction"),
        ("rnn.weight_hh_l0", lambda w: np.zeros((96, 32), "f4"), "not those of cell rnn"),
        ("rnn.weight_hh_l0", lambda w: np.zeros((128, 32), "f4"), "not those of cell rnn"),
        ("fc.weight", lambda w: w.astype(np.float64), "not in float32"),
        ("fc.weight", lambda w: w * np.float32(2.0**40), "not a number that a network uses"),
    ],
)
def test_the_weights_of_other_nets_are_refused_by_the_checker(name, change, reason, certified):
    weights = as_arrays(trained().state_dict())
    weights |= {name: change(weights.get(name))}
    path = certificate_path(certified)
    with np.load(path) as file:
        fields = {field: file[field] for field in file.files}
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    np.savez(path, **fields | {"weights_hash": weights_hash(tensors)})
    with pytest.raises(InvalidCertificate, match=reason):
        check_certificate(path, weights, SUM)


def test_a_certificate_of_format_1_is_for_the_sum_alone():
    path = REPOSITORY / "tests/runs/format_1/proved/model_step_4000.certificate.npz"
    weights = as_arrays(load_checkpoint(path.with_name("model_step_4000.pt")).weights)
    assert check_certificate(path, weights, SUM) > 0
    for rule in (
        Rule(SUM.successors, SUM.outputs[::-1]),
        Rule(SUM.successors[::-1], SUM.outputs),
        Rule(np.zeros((1, 2), np.int64), SUM.outputs[:1]),
        as_rule(SumModulo(2)),
    ):
        with pytest.raises(InvalidCertificate, match="another machine"):
            check_certificate(path, weights, rule)
    with pytest.raises(InvalidCertificate, match="another cell"):
        check_certificate(path, weights, SUM, "gru")


def test_a_file_that_unpacks_to_more_than_a_proof_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_LARGEST_FILE", 1000)
    save_certificate(tmp_path / "c.npz", trained_proof(), trained().state_dict(), SumModulo(1))
    with pytest.raises(InvalidCertificate, match="unpacks to"):
        check_certificate(tmp_path / "c.npz", as_arrays(trained().state_dict()), SUM)


# ---- other machines ----


proof_of = cache(prove)  # the nets stay as they are


class Case:
    """A net, its certificate and the rule, each of which a test may damage."""

    def __init__(self, model, machine, folder):
        self.path = folder / "case.certificate.npz"
        self.cell = model.arguments["cell"]
        save_certificate(self.path, proof_of(model, machine), model.state_dict(), machine)
        self.weights = as_arrays(model.state_dict())
        self.weights = {name: values.copy() for name, values in self.weights.items()}
        with np.load(self.path) as file:
            self.fields = {name: file[name] for name in file.files}
        self.rule = Rule(*(table.copy() for table in as_rule(machine)))

    def check(self):
        np.savez(self.path, **self.fields)
        return check_certificate(self.path, self.weights, self.rule, self.cell)

    def stamp(self):
        """Let the certificate name the weights as they are now."""
        tensors = {name: torch.from_numpy(values) for name, values in self.weights.items()}
        self.fields["weights_hash"] = np.array(weights_hash(tensors))

    def state_of_rule(self):
        """A machine state that has a box, and the abstract states where it is the state."""
        state = self.fields["machine_states"][-1]
        return state, np.flatnonzero(self.fields["machine_states"] == state)


def flip_weights(case):
    case.weights["rnn.weight_hh_l0"] *= -1
    case.stamp()


def raise_a_score(case):
    case.weights["fc.bias"][0] += 100
    case.stamp()


def swap_tokens(case):
    case.weights["embedding.weight"][:2] = case.weights["embedding.weight"][1::-1]
    case.stamp()


def change_one_bit(case):
    weight = case.weights["rnn.weight_hh_l0"]
    weight[0, 0] = np.nextafter(weight[0, 0], np.float32(9))


def lead_to_the_start(case):
    case.fields["successors"][case.fields["successors"] == len(case.fields["low"]) - 1] = 0


def shrink_a_box(case):
    case.fields["low"][-1] = case.fields["high"][-1]


def widen_a_box(case):
    case.fields["low"][-1], case.fields["high"][-1] = -1, 1


def drop_a_box(case):
    case.fields = {
        name: values[:-1] if values.ndim and not name.startswith("machine_") else values
        for name, values in case.fields.items()
    }


def claim_more(case):
    case.fields["smallest_margin"] *= 1.001


def change_the_rule_of_the_caller(case):
    outputs = case.rule.outputs
    outputs[0] = (outputs[0] + 1) % (outputs.max() + 1)


def change_the_rule_of_the_file(case):
    successors = case.fields["machine_successors"]
    successors[-1, -1] = (successors[-1, -1] + 1) % len(successors)


def change_a_class_of_both_rules(case):
    state, _ = case.state_of_rule()
    outputs = case.rule.outputs
    outputs[state] = (outputs[state] + 1) % (outputs.max() + 1)
    case.fields["machine_outputs"] = outputs


def change_a_successor_of_both_rules(case):
    state, _ = case.state_of_rule()
    successors = case.rule.successors
    successors[state, 0] = (successors[state, 0] + 1) % len(successors)
    case.fields["machine_successors"] = successors


def name_another_cell(case):
    case.fields["cell"] = np.array({"rnn": "gru", "gru": "rnn"}[case.cell])


DAMAGES = {
    flip_weights: "leads out of a box",
    raise_a_score: "margin is not above 0",
    swap_tokens: "leads out of a box",
    change_one_bit: "other weights",
    lead_to_the_start: "machine goes to|leads out of a box",
    shrink_a_box: "leads out of a box",
    widen_a_box: "leads out of a box|margin is not above 0",
    drop_a_box: "is not one of|is missing",
    claim_more: "claims a margin",
    change_the_rule_of_the_caller: "another machine",
    change_the_rule_of_the_file: "another machine",
    change_a_class_of_both_rules: "margin is not above 0",
    change_a_successor_of_both_rules: "machine goes to",
    name_another_cell: "another cell",
}
CASES = {
    "parity": (build_automaton(PARITY), PARITY),
    "tomita_4": (build_automaton(TOMITA_4), TOMITA_4),
    "cycle": (build_automaton(CYCLE), CYCLE),
    "two layers": (build_automaton(TOMITA_4, num_layers=2), TOMITA_4),
    "gru": (trained_gru(), TOMITA_4),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", CASES)
def test_damage_to_a_net_a_certificate_or_a_rule_is_refused(name, damage, tmp_path):
    case = Case(*CASES[name], tmp_path)
    assert case.check() > 1
    damage(case)
    with pytest.raises(InvalidCertificate, match=DAMAGES[damage]):
        case.check()


@pytest.mark.parametrize("machine", [PAIR, DELAY, RELABELLED])
def test_the_proof_of_another_machine_is_checked(machine, tmp_path):
    assert Case(build_automaton(machine), machine, tmp_path).check() > 1.9


def test_a_rule_for_other_tokens_or_classes_than_the_net_has_is_refused(tmp_path):
    case = Case(build_automaton(PARITY), PARITY, tmp_path)
    for rule, reason in (
        (Rule(np.zeros((2, 3), np.int64), case.rule.outputs), "tokens are not the network's"),
        (Rule(case.rule.successors, case.rule.outputs + 5), "classes are not the network's"),
    ):
        case.rule = rule
        case.fields |= {"machine_successors": rule.successors, "machine_outputs": rule.outputs}
        with pytest.raises(InvalidCertificate, match=reason):
            case.check()
