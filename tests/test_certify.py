"""Proofs for every length: what is proved, what must not be, what a certificate may not say."""

import io
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

import train_cls_rnn
from rnn_tutorial import certify
from rnn_tutorial.certify import (
    certificate_matches,
    certificate_path,
    save_certificate,
)
from rnn_tutorial.data.streams import SeqSumModDataset, pack_batches
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof import prover as proof
from rnn_tutorial.proof.check import InvalidCertificate, _step, check_certificate
from rnn_tutorial.proof.prover import TANH_ERROR, IntervalNet, NotProved, prove, rounding_bound
from rnn_tutorial.runs.checkpoint import load_checkpoint, save_checkpoint, weights_hash


def build_automaton(max_number, gain=8.0, num_layers=1):
    """A net with known weights that is right: one unit for each (residue before, digit).

    Unit (r, d) has the pre-activation gain · (A_r + [x = d] - 3/2), where A_r is 1 if the unit that
    was on before leads to residue r, else 0. The last unit is 0 before the first digit and 1 after,
    which makes A_0 = 1 at the start. Further layers copy. A small gain forgets.
    """
    C = max_number + 1
    model = RnnClsNet(C, C, C * C + 1, num_layers, C)
    weights = {name: torch.zeros_like(values) for name, values in model.state_dict().items()}
    weights["embedding.weight"][:C] = torch.eye(C)
    for residue in range(C):
        for digit in range(C):
            unit = residue * C + digit
            weights["rnn.weight_ih_l0"][unit, digit] = gain
            weights["rnn.bias_hh_l0"][unit] = gain * ((residue == 0) - 1.5)
            weights["rnn.weight_hh_l0"][unit, -1] = gain * (C / 2 - (residue == 0))
            for before in range(C):
                source = before * C + (residue - before) % C
                weights["rnn.weight_hh_l0"][unit, source] = gain / 2
            weights["fc.weight"][(residue + digit) % C, unit] = 1
    weights["rnn.bias_hh_l0"][-1] = gain
    for layer in range(1, num_layers):
        weights[f"rnn.weight_ih_l{layer}"] = gain * torch.eye(C * C + 1)
    model.load_state_dict(weights)
    return model


def build_random(seed, num_layers, max_number=3, hidden=40):
    torch.manual_seed(seed)
    model = RnnClsNet(max_number + 1, 10, hidden, num_layers, max_number + 1)
    for values in model.rnn.parameters():
        values.data *= 3
    return model


def train(max_number, hidden, num_layers, steps, penalty, weight_decay, noise, seed=0):
    """A net trained by autograd on lengths 1 to 5."""
    torch.manual_seed(seed)
    model = RnnClsNet(max_number + 1, 8, hidden, num_layers, max_number + 1)
    for weights in model.rnn.all_weights:
        nn.init.orthogonal_(weights[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=weight_decay)
    batches = SeqSumModDataset(None, 1, 5, max_number, seed).draw_batches(0, steps, 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, (ids, targets) in enumerate(zip(pack_batches(batches), batches.targets, strict=True)):
        added = noise * torch.randn(len(ids.data), 8)
        scores, contraction = model.forward_with_contraction(ids, added)
        loss = cross_entropy(scores, targets) + penalty * min(1, 2 * step / steps) * contraction
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


@pytest.fixture(scope="module")
def trained():
    """A net that training with the contraction penalty made provable."""
    return train(1, hidden=32, num_layers=1, steps=600, penalty=0.3, weight_decay=0.5, noise=0.2)


@pytest.fixture(scope="module")
def trained_proof(trained):
    return prove(trained)


def save(model, folder):
    """The model as a run's checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = {"min_seq_len": 1, "max_seq_len": 5}
    return save_checkpoint(
        folder,
        7,
        model=model.arguments,
        weights=model.state_dict(),
        config=lengths | {"max_number": model.arguments["cls_num"] - 1},
        optimizer=None,
        evaluation=None,
        elapsed_seconds=0.0,
    )


def as_arrays(model):
    return {name: values.numpy() for name, values in model.state_dict().items()}


# ---- what is proved, and what is not ----


@pytest.mark.parametrize("memory", [None, 1, 2])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("max_number", [1, 2, 4])
def test_a_net_that_is_an_automaton_is_proved_and_checked(max_number, num_layers, memory, tmp_path):
    model = build_automaton(max_number, num_layers=num_layers)
    proof = prove(model, memory)
    C = max_number + 1
    if memory != 2:
        assert len(proof.residues) == 1 + C * C  # the start, and one for each unit
    assert 1.9 < proof.smallest_margin < 2 and proof.largest_width < 1e-4
    save_certificate(tmp_path / "proof.npz", proof, model.state_dict())
    margin = check_certificate(tmp_path / "proof.npz", as_arrays(model))
    assert margin == pytest.approx(proof.smallest_margin)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_one_wrong_transition_is_found(num_layers):
    model = build_automaton(2, num_layers=num_layers)
    with torch.no_grad():
        model.rnn.weight_hh_l0[1 * 3 + 2, 0 * 3 + 1] *= -1  # after 1 comes 2: no unit goes on
    with pytest.raises(NotProved, match=r"the sequence 1 2 is answered wrongly: .* answer is 0"):
        prove(model)
    after = torch.tensor([[1, 2, 0], [1, 2, 1], [1, 2, 2]])
    assert model.predict([1, 1]) == 2 and (model.predict(after) != after.sum(dim=1) % 3).any()


def test_a_net_that_is_right_until_length_20_is_not_proved():
    model = build_automaton(2, gain=2.2)
    every = torch.cartesian_prod(*[torch.arange(3)] * 5)
    for length in range(1, 6):
        digits = every[:, :length]
        assert (model.predict(digits) == digits.sum(dim=1) % 3).all()
    long = torch.randint(0, 3, (100, 50), generator=torch.Generator().manual_seed(0))
    assert (model.predict(long) != long.sum(dim=1) % 3).any()
    with pytest.raises(NotProved, match="is answered wrongly") as failure:
        prove(model)
    found = [
        int(digit) for digit in str(failure.value).split("sequence ")[1].split(" is ")[0].split()
    ]
    assert len(found) > 20 and model.predict(found) != sum(found) % 3
    for memory in (1, 3):
        with pytest.raises(NotProved, match="a score margin is negative"):
            prove(model, memory)


def test_a_net_trained_by_the_published_sota_warmup_is_not_proved(tmp_path, capsys):
    pytest.importorskip("numba")  # with it, the recipe's 20,000 updates take two seconds
    flags = ("--recipe", "sota_warmup", "--save_dir", str(tmp_path), "--tracker", "disabled")
    assert train_cls_rnn.main([*flags, "--device", "cpu", "--eval_every", "5000"]) == 0
    capsys.readouterr()
    assert certify.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("NOT PROVED: ")


def test_an_untrained_net_has_a_wrong_single_digit():
    with pytest.raises(NotProved, match=r"the sequence \d is answered wrongly"):
        prove(build_random(0, 1))


def test_a_trained_net_is_proved_only_with_enough_memory(trained, trained_proof, monkeypatch):
    assert trained_proof.smallest_margin > 1
    with pytest.raises(NotProved, match="a score margin is negative") as failure:
        prove(trained, memory=1)
    assert "residue" in str(failure.value) and "width" in str(failure.value)
    assert prove(trained, memory=4).smallest_margin > 1
    monkeypatch.setattr(proof, "_MAX_PASSES", 1)
    with pytest.raises(NotProved, match="a box kept growing: that of abstract state"):
        prove(trained)
    monkeypatch.setattr(proof, "_MAX_STATES", 8)
    with pytest.raises(NotProved, match="do not settle: more than 8 "):
        prove(trained)


# ---- the boxes hold what float32 computes ----


def test_the_states_of_long_random_runs_lie_in_the_boxes(trained, trained_proof):
    proof, generator = trained_proof, np.random.default_rng(0)
    h = torch.zeros(1, 10_000, 32)
    states = np.zeros(10_000, np.int64)
    total = np.zeros(10_000, np.int64)
    for _ in range(200):
        digits = generator.integers(0, 2, 10_000)
        states, total = proof.successors[states, digits], total + digits
        with torch.no_grad():
            _, h = trained.rnn(trained.embedding(torch.from_numpy(digits))[:, None], h)
            scores = trained.fc(h[-1]).numpy()
        reached = h.transpose(0, 1).numpy()
        assert (proof.low[states] <= reached).all() and (reached <= proof.high[states]).all()
        assert (proof.residues[states] == total % 2).all()
        rows = np.arange(10_000)
        right = scores[rows, total % 2]
        scores[rows, total % 2] = -np.inf
        assert (right - scores.max(axis=1) >= proof.smallest_margin - 1e-4).all()


def run_stepwise(model, x):
    """Hidden states of layer after layer, step after step, row after row, (N, T, L, H)."""
    h = torch.zeros(model.rnn.num_layers, len(x), model.rnn.hidden_size)
    steps = []
    for t in range(x.shape[1]):
        rows = [
            model.rnn(model.embedding(x[n, t])[None], h[:, n].contiguous())[1]
            for n in range(len(x))
        ]
        h = torch.stack(rows, dim=1)
        steps.append(h)
    return torch.stack(steps).permute(2, 0, 1, 3)


def run_by_layers(model, x, packed):
    """The same with all rows and steps in one call of each layer's nn.RNN."""
    inputs, layers = model.embedding(x), []
    for w_ih, w_hh, b_ih, b_hh in model.rnn.all_weights:
        layer = nn.RNN(w_ih.shape[1], w_hh.shape[1], batch_first=True)
        layer.load_state_dict(
            {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh, "bias_ih_l0": b_ih, "bias_hh_l0": b_hh}
        )
        if packed:
            lengths = torch.full((len(x),), x.shape[1])
            output, _ = layer(pack_padded_sequence(inputs, lengths, batch_first=True))
            inputs = output.data.reshape(x.shape[1], len(x), -1).transpose(0, 1)
        else:
            inputs, _ = layer(inputs)
        layers.append(inputs)
    return torch.stack(layers, dim=2)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", ["trained", "automaton", "random", "large"])
@torch.no_grad()
def test_the_rounding_bound_dominates_what_float32_really_errs(name, num_layers, request):
    model = {
        "trained": lambda: request.getfixturevalue("trained"),
        "automaton": lambda: build_automaton(3, num_layers=num_layers),
        "random": lambda: build_random(1, num_layers),
        "large": lambda: build_random(2, num_layers, hidden=300),
    }[name]()
    net = IntervalNet(model)
    x = torch.randint(0, net.num_classes, (20, 30), generator=torch.Generator().manual_seed(0))
    runs = [run_stepwise(model, x), run_by_layers(model, x, False), run_by_layers(model, x, True)]
    for states in runs:
        before = states[:, :-1].flatten(0, 1).double().numpy()  # of each of 580 steps, (S, L, H)
        after = states[:, 1:].flatten(0, 1).double().numpy()
        digits = x[:, 1:].flatten().numpy()
        for digit, (low, high) in enumerate(net.images(before, before)):
            rows = digits == digit
            assert (low[rows] <= after[rows]).all() and (after[rows] <= high[rows]).all()
            assert (high - low)[:, 0].max() < 3e-3  # so that to be inside means something
    assert not torch.equal(runs[0], runs[1]) or name == "automaton"  # they do round differently


@torch.no_grad()
def test_the_rounding_bound_of_a_sum_dominates():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 300, 500, generator=generator)
    forward, products = torch.zeros(300), (a * b).T
    for product in products:  # the worst order of summation: one term after the other
        forward = forward + product
    exact = (a.double() * b.double()).sum(dim=1)
    mass = (a.double() * b.double()).abs().sum(dim=1).numpy()
    for computed in (forward, (a * b).sum(dim=1), torch.einsum("ij,ij->i", a, b)):
        error = (computed.double() - exact).abs().numpy()
        assert error.max() > 0 and (error <= rounding_bound(500, mass)).all()
    assert (rounding_bound(500, mass) < 4e-5 * mass).all()


def test_every_tanh_errs_less_than_assumed():
    bits = np.arange(0, 0x42000000, 251, dtype=np.uint32)  # every 251st float32 from 0 to 32
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    exact = np.tanh(x.astype(np.float64))
    t = torch.from_numpy(x)
    computed = [torch.tanh(t).numpy(), np.tanh(x), (2 * torch.sigmoid(2 * t) - 1).numpy()]
    errors = [np.abs(values - exact).max() for values in computed]
    assert min(errors) > 0 and max(errors) < TANH_ERROR
    beyond = torch.tensor([32.0, 1e3, 1e30, float("inf")])
    for values in (torch.tanh(beyond), 2 * torch.sigmoid(2 * beyond) - 1):
        assert (values == 1).all()  # as is the true value, to within 2⁻⁶⁰


@pytest.mark.parametrize("num_layers", [1, 3])
def test_prover_and_checker_compute_the_same_boxes_which_hold_what_is_in_them(num_layers):
    model, generator = build_random(3, num_layers), np.random.default_rng(0)
    centre = generator.uniform(-0.9, 0.9, (50, num_layers, 40))
    low, high = centre - generator.uniform(0, 0.1), centre + generator.uniform(0, 0.1)
    exact = [[part.detach().double().numpy() for part in layer] for layer in model.rnn.all_weights]
    inputs = model.embedding.weight.detach().double().numpy()
    for digit, (image_low, image_high) in enumerate(IntervalNet(model).images(low, high)):
        checked_low, checked_high = _step(inputs[digit], exact, low, high)
        assert checked_low == pytest.approx(image_low, abs=1e-6)
        assert checked_high == pytest.approx(image_high, abs=1e-6)
        assert (image_low <= checked_low).all() and (checked_high <= image_high).all()
        for h in (low, high, generator.uniform(low, high)):
            x = np.broadcast_to(inputs[digit], (50, 10))
            for layer, (w_ih, w_hh, b_ih, b_hh) in enumerate(exact):
                x = np.tanh(x @ w_ih.T + h[:, layer] @ w_hh.T + b_ih + b_hh)
                assert (checked_low[:, layer] < x).all() and (x < checked_high[:, layer]).all()


# ---- certificates ----


@pytest.fixture
def certified(trained, trained_proof, tmp_path):
    """A checkpoint with its certificate."""
    path = save(trained, tmp_path / "run")
    save_certificate(certificate_path(path), trained_proof, trained.state_dict())
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
    """Let a state go to another state of the same residue."""
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
    "residues": (lambda f: f.update(residues=(f["residues"] + 1) % 2), "residue 0"),
    "one residue": (lambda f: f["residues"].__setitem__(-1, -1), "disagree"),
    "successors": (redirect, "leads out of a box"),
    "no such successor": (lambda f: f["successors"].__setitem__((1, 0), 10_000), "no abstract"),
    "negative successor": (lambda f: f["successors"].__setitem__((1, 0), -1), "no abstract"),
    "missing digit": (lambda f: f.update(successors=f["successors"][:, :-1]), "is missing"),
    "missing state": (drop_last_state, "no abstract state"),
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
        check_certificate(path, as_arrays(load_checkpoint(certified).build_model()))


NPY = io.BytesIO()
np.save(NPY, np.zeros(3))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", NPY.getvalue()])
def test_a_damaged_certificate_is_refused_and_matches_nothing(content, certified, capsys):
    certificate_path(certified).write_bytes(content)
    assert certify.main([str(certified), "--check"]) == 1
    assert "cannot be read" in capsys.readouterr().out
    assert not certificate_matches(load_checkpoint(certified))


def test_no_flipped_byte_makes_a_traceback(certified, trained):
    path, weights = certificate_path(certified), as_arrays(trained)
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


def test_a_certificate_for_other_weights_is_refused_even_with_their_hash(
    trained, trained_proof, certified
):
    assert certificate_matches(load_checkpoint(certified))
    other = RnnClsNet(**trained.arguments)
    other.load_state_dict(trained.state_dict())
    with torch.no_grad():
        other.rnn.weight_hh_l0[3, 4] += 0.5
    save(other, certified.parent)
    assert not certificate_matches(load_checkpoint(certified))
    with pytest.raises(InvalidCertificate, match="other weights"):
        check_certificate(certificate_path(certified), as_arrays(other))
    save_certificate(certificate_path(certified), trained_proof, other.state_dict())
    assert certificate_matches(load_checkpoint(certified))
    with pytest.raises(InvalidCertificate, match="leads out of a box"):
        check_certificate(certificate_path(certified), as_arrays(other))


def test_wrong_scores_are_refused_although_every_box_is_closed(trained, trained_proof, tmp_path):
    other = RnnClsNet(**trained.arguments)
    other.load_state_dict(trained.state_dict())
    with torch.no_grad():
        other.fc.bias[1] += 100
    save_certificate(tmp_path / "c.npz", trained_proof, other.state_dict())
    with pytest.raises(InvalidCertificate, match="margin is negative"):
        check_certificate(tmp_path / "c.npz", as_arrays(other))


def test_a_net_that_is_no_plain_rnn_is_refused_by_the_checker(trained, trained_proof, tmp_path):
    weights = trained.state_dict() | {"rnn.weight_hh_l0_reverse": torch.zeros(32, 32)}
    save_certificate(tmp_path / "c.npz", trained_proof, weights)
    with pytest.raises(InvalidCertificate, match="one direction"):
        check_certificate(tmp_path / "c.npz", {k: v.numpy() for k, v in weights.items()})
    weights = trained.state_dict() | {"rnn.weight_hh_l0": torch.zeros(128, 32)}
    save_certificate(tmp_path / "c.npz", trained_proof, weights)
    with pytest.raises(InvalidCertificate, match=r"plain nn\.RNN"):
        check_certificate(tmp_path / "c.npz", {k: v.numpy() for k, v in weights.items()})


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


# ---- the command ----


def test_proving_writes_a_certificate_that_the_check_confirms(certified, trained_proof, capsys):
    certificate_path(certified).unlink()
    for run in (certified, certified.parent, certified.parent.parent):
        assert certify.main([str(run)]) == 0
        first, second, third = capsys.readouterr().out.splitlines()
        assert first == "PROVED: right for every sequence of digits 0–1 of every length ≥ 1"
        assert f"{len(trained_proof.residues):,} abstract states, smallest score margin " in second
        assert "largest box width 0." in second and second.endswith(" s")
        assert third == f"Certificate: {certified.with_suffix('.certificate.npz')}"
        assert certificate_matches(load_checkpoint(certified))
        assert certify.main([str(run), "--check"]) == 0
        capsys.readouterr()
        assert certify.main([str(run), "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures["proved"] and figures["abstract_states"] == len(trained_proof.residues)


def test_what_is_not_proved_says_so_and_leaves_no_certificate(certified, capsys):
    path = certificate_path(certified)
    path.unlink()
    assert certify.main([str(certified), "--memory", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("NOT PROVED: a score margin is negative") and not captured.err
    assert list(certified.parent.iterdir()) == [certified]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["."], "no checkpoint"),
        (["RUN", "--memory", "0"], "whole number"),
        (["RUN", "--memory", "two"], "whole number"),
        (["RUN", "--memory", "99"], "too many"),
        (["RUN", "--check"], "there is no certificate"),
        ([], "required"),
    ],
)
def test_a_bad_command_is_one_sentence(
    arguments, sentence, certified, tmp_path, monkeypatch, capsys
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    certificate_path(certified).unlink()
    arguments = [str(certified) if argument == "RUN" else argument for argument in arguments]
    try:
        status = certify.main(arguments)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and not captured.out
    assert sentence in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "rnn",
    [
        nn.LSTM(8, 32),
        nn.GRU(8, 32),
        nn.RNN(8, 32, bidirectional=True),
        nn.RNN(8, 32, nonlinearity="relu"),
        nn.RNN(8, 32, bias=False),
    ],
)
def test_other_recurrent_nets_are_refused(rnn):
    model = build_automaton(1)
    model.rnn = rnn
    with pytest.raises(ValueError, match="only a tanh RNN of one direction"):
        prove(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("where", ["embedding", "rnn", "fc"])
def test_weights_that_float32_cannot_use_are_refused(where, value):
    model = build_automaton(1)
    next(getattr(model, where).parameters()).data[0, 0] = value
    with pytest.raises(ValueError, match="so large that float32 may overflow"):
        prove(model)
    with pytest.raises(ValueError, match="float32"):
        prove(build_automaton(1).double())


def test_abstract_states_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(proof, "_MAX_NUMBERS", 1000)
    with pytest.raises(ValueError, match="too many for the memory"):
        prove(build_automaton(4))
