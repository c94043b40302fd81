"""The compiled engine against autograd: gradients, trajectories, state, and what it must refuse."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_tutorial.data.batches import Batches
from rnn_tutorial.kernels.activations import tanh
from rnn_tutorial.kernels.compiler import compile_function
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.training import compiled
from rnn_tutorial.training.compiled import compile_training_step

TESTS = REPOSITORY / "tests"

numba = pytest.importorskip("numba")
pytest.importorskip("scipy")

PLAIN = SimpleNamespace(
    cell="rnn", vocab=10, embed=5, hidden=8, layers=1, batch=6, longest=5,
    embed_noise=0.0, max_grad_norm=0.0, weight_decay=0.0, contraction=0.0, center_loss=0.0,
    decay_changes=False,
)  # fmt: skip


CELLS = ["rnn", "gru", "lstm"]


def case(**changes):
    return SimpleNamespace(**(vars(PLAIN) | changes))


def with_cell(case, cell):
    """The same with other layers; penalties are for nn.RNN."""
    penalties = {} if cell == "rnn" else {"contraction": 0.0, "center_loss": 0.0}
    return SimpleNamespace(**(vars(case) | {"cell": cell, **penalties}))


ALL_AT_ONCE = case(
    layers=2, hidden=16, batch=12, embed_noise=0.3, max_grad_norm=0.5, weight_decay=0.3,
    contraction=0.02, center_loss=0.5, decay_changes=True,
)  # fmt: skip
WITHOUT_PENALTIES = SimpleNamespace(**vars(ALL_AT_ONCE) | {"contraction": 0.0, "center_loss": 0.0})
cases = st.builds(
    case,
    cell=st.sampled_from(CELLS),
    vocab=st.integers(2, 12),
    embed=st.integers(1, 20),
    hidden=st.integers(1, 40),
    layers=st.integers(1, 3),
    batch=st.integers(1, 20),
    longest=st.integers(1, 7),
    embed_noise=st.sampled_from([0.0, 0.3]),
    max_grad_norm=st.sampled_from([0.0, 0.01, 100.0]),
    contraction=st.sampled_from([0.0, 0.5]),
    center_loss=st.sampled_from([0.0, 10.0]),
).map(lambda case: with_cell(case, case.cell))


def make_model(case, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    sizes = case.vocab, case.embed, case.hidden, case.layers, case.vocab
    model = RnnClsNet(*sizes, cell=case.cell).to(dtype)
    return model, torch.optim.AdamW(model.parameters(), weight_decay=case.weight_decay)


def make_engine(case, dtype=torch.float32, seed=0):
    model, optimizer = make_model(case, dtype, seed)
    return model, optimizer, compile_training_step(*settings_of(case, model, optimizer))


def settings_of(case, model, optimizer):
    return model, optimizer, case.embed_noise, case.max_grad_norm, machine_of(case)


def machine_of(case):
    """A machine in which the order of tokens matters, and different states lead to the same one."""
    generator, num_states = np.random.default_rng(case.vocab), case.vocab + 2
    names = [str(i) for i in range(case.vocab)]
    successors = generator.integers(0, num_states, (num_states, case.vocab))
    return Machine(names, names, successors, np.arange(num_states) % case.vocab)


def draw_steps(case, count, seed=0):
    """What `advance` takes for `count` steps: batches, learning rates, two penalties, decay."""
    generator = np.random.default_rng(seed)
    seq_lengths = generator.integers(1, case.longest + 1, (count, case.batch))
    seq_lengths = -np.sort(-seq_lengths, axis=1)
    x = generator.integers(0, case.vocab, (count, case.batch, case.longest))
    x[np.arange(case.longest) >= seq_lengths[:, :, None]] = case.vocab
    targets = generator.integers(0, case.vocab, (count, case.batch))
    noise = torch.from_numpy(generator.standard_normal((seq_lengths.sum(), case.embed), np.float32))
    noise = noise.split(seq_lengths.sum(axis=1).tolist()) if case.embed_noise else None
    every_other = np.arange(count) % 2 == 0
    return (
        Batches(*map(torch.from_numpy, (x, seq_lengths, targets)), noise),
        generator.uniform(1e-4, 1e-2, count),
        *(f * every_other if f else None for f in (case.contraction, case.center_loss)),
        case.weight_decay * generator.uniform(0, 1, count) if case.decay_changes else None,
    )


def cut(steps, first, end):
    """The steps first .. end - 1."""
    return tuple(None if part is None else part[first:end] for part in steps)


def autograd_loss(case, model, steps):
    """The loss of a single step, from nn.RNN; the penalties need one nn.RNN per layer."""
    batches, _, *factors, _ = steps
    contraction, center_loss = (0.0 if factor is None else factor[0] for factor in factors)
    ids = pack_padded_sequence(batches.x[0], batches.seq_lengths[0], batch_first=True)
    embedded = model.embedding(ids.data)
    if batches.noise is not None:
        embedded = embedded + case.embed_noise * batches.noise[0].to(embedded.dtype)
    inputs = PackedSequence(embedded, *ids[1:])
    state = model.last_state(*model.rnn(inputs))
    loss = cross_entropy(model.fc(state), batches.targets[0])
    groups = steps_by_state_and_token(batches, machine_of(case))
    for layer in range(case.layers if contraction or center_loss else 0):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = {f"{name}_l0": getattr(model.rnn, f"{name}_l{layer}") for name in names}
        cell = nn.RNN(weights["weight_ih_l0"].shape[1], case.hidden, dtype=embedded.dtype)
        inputs, _ = functional_call(cell, weights, (inputs,))
        reach = weights["weight_hh_l0"].abs().sum(1)  # (H,)
        loss = loss + contraction * ((1 - inputs.data**2) * reach).mean()
        spread = sum((h - h.mean(0)).square().sum() for h in (inputs.data[g] for g in groups))
        loss = loss + center_loss * spread / inputs.data.numel()
    return loss


def steps_by_state_and_token(batches, machine):
    """Of a single batch, the packed steps that share the machine's state and the last token."""
    groups = {}
    rows = [
        row[:length].tolist()
        for row, length in zip(batches.x[0], batches.seq_lengths[0], strict=True)
    ]
    steps = [(t, row) for t in range(len(rows[0])) for row in rows if t < len(row)]
    for place, (t, row) in enumerate(steps):
        state = 0
        for token in row[: t + 1]:
            state = int(machine.step(state, token))
        groups.setdefault((state, row[t]), []).append(place)
    return groups.values()


def autograd_advance(case, model, optimizer, steps):
    """The same steps with autograd and torch's AdamW."""
    losses, grad_norms = [], []
    for k in range(len(steps[1])):
        step = cut(steps, k, k + 1)
        loss = autograd_loss(case, model, step)
        optimizer.zero_grad()
        loss.backward()
        grad_norms.append(get_total_norm([p.grad for p in model.parameters()]).item())
        if case.max_grad_norm:
            clip_grad_norm_(model.parameters(), case.max_grad_norm)
        group = optimizer.param_groups[0]
        group["lr"] = float(step[1][0])
        if case.decay_changes:
            group["weight_decay"] = float(step[4][0])
        optimizer.step()
        losses.append(loss.item())
    return losses, grad_norms


def snapshot(model, optimizer):
    """All numbers of the two state dicts, as one dictionary of copies."""
    numbers = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        numbers |= {f"{index}.{name}": tensor.clone() for name, tensor in state.items()}
    return numbers


def assert_identical(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@settings(max_examples=60)
@given(case=cases, seed=st.integers(0, 1000))
def test_gradients_equal_autograds(dtype, tolerance, case, seed):
    steps = draw_steps(case, 1, seed)
    steps = (steps[0], [0.0], *steps[2:])  # a learning rate of 0: parameters stay as they are
    model, optimizer, advance = make_engine(case, dtype, seed)
    losses, grad_norms = advance(*steps)
    # After the first step, exp_avg is (1 - beta1) times the clipped gradient.
    gradients = [optimizer.state[p]["exp_avg"] / (1 - 0.9) for p in model.parameters()]

    loss = autograd_loss(case, model, steps)
    loss.backward()
    norm = get_total_norm([p.grad for p in model.parameters()]).item()
    assert losses.tolist() == pytest.approx([loss.item()], rel=tolerance)
    assert grad_norms.tolist() == pytest.approx([norm], rel=tolerance)
    scale = min(1.0, case.max_grad_norm / (norm + 1e-6)) if case.max_grad_norm else 1.0
    for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
        error = (gradient - scale * parameter.grad).norm().item()
        assert error <= tolerance * scale * norm, name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    "case",
    [PLAIN, case(weight_decay=0.3), case(layers=3, hidden=12, max_grad_norm=0.1), ALL_AT_ONCE],
    ids=["plain", "decay", "deep_clipped", "all_at_once"],
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_hundred_steps_follow_autograd_and_torchs_adamw(cell, case, dtype, tolerance):
    case = with_cell(case, cell)
    steps = draw_steps(case, 100)
    model, optimizer, advance = make_engine(case, dtype)
    losses, grad_norms = advance(*steps)
    reference, reference_optimizer = make_model(case, dtype)
    wanted_losses, wanted_norms = autograd_advance(case, reference, reference_optimizer, steps)

    assert losses.tolist() == pytest.approx(wanted_losses, rel=tolerance)
    assert grad_norms.tolist() == pytest.approx(wanted_norms, rel=tolerance)
    wanted = snapshot(reference, reference_optimizer)
    for name, tensor in snapshot(model, optimizer).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [PLAIN, ALL_AT_ONCE], ids=["plain", "all_at_once"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_the_same_however_many_a_call(cell, case, dtype):
    case = with_cell(case, cell)
    steps = draw_steps(case, 20)
    ends = {}
    for cuts in ([0, 20], [0, 7, 20], [0, *range(1, 21)], [0, 20]):
        model, optimizer, advance = make_engine(case, dtype)
        losses, _ = zip(*(advance(*cut(steps, *pair)) for pair in pairwise(cuts)), strict=True)
        ends[tuple(cuts)] = snapshot(model, optimizer) | {"losses": torch.cat(losses)}
        assert_identical(ends[tuple(cuts)], ends[0, 20])


@pytest.mark.parametrize("cell", CELLS)
def test_after_a_thousand_updates_the_weights_are_autograds(cell):
    case = with_cell(WITHOUT_PENALTIES, cell)  # whose reference takes long
    steps = draw_steps(case, 1000)
    # In float64: a thousand updates make float32's rounding errors a thousand times as large.
    model, _, advance = make_engine(case, torch.float64)
    losses, _ = advance(*steps)
    reference, reference_optimizer = make_model(case, torch.float64)
    wanted_losses, _ = autograd_advance(case, reference, reference_optimizer, steps)
    assert losses.tolist() == pytest.approx(wanted_losses, rel=1e-9)
    for parameter, wanted in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_batches_that_need_more_room_get_it(cell):
    wide, long = case(cell=cell, batch=9, longest=2), case(cell=cell, longest=7)
    model, _, advance = make_engine(wide, torch.float64)
    reference, reference_optimizer = make_model(wide, torch.float64)
    for seed, changed in enumerate((long, wide, long, case(cell=cell, longest=6))):
        steps = draw_steps(changed, 2, seed)
        advance(*steps)
        autograd_advance(changed, reference, reference_optimizer, steps)
    for parameter, wanted in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_large_net_trains_the_same_twice(cell):
    large = case(cell=cell, hidden=128, batch=256, embed=10, embed_noise=0.3, max_grad_norm=1.0)
    steps = draw_steps(large, 10)
    runs = []
    for _ in range(2):
        model, optimizer, advance = make_engine(large)
        advance(*steps)
        runs.append(snapshot(model, optimizer))
    assert_identical(*runs)


def test_model_and_optimizer_are_worked_on_in_place():
    model, optimizer = make_model(PLAIN)
    parameters, names = list(model.parameters()), list(model.state_dict())
    before = snapshot(model, optimizer)
    advance = compile_training_step(model, optimizer)
    assert_identical({name: model.state_dict()[name] for name in names}, before)
    advance(*draw_steps(PLAIN, 3))

    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    assert not torch.equal(model.rnn.weight_hh_l0, before["rnn.weight_hh_l0"])
    assert torch.equal(model.embedding.weight[-1], before["embedding.weight"][-1])  # padding
    assert all(state["step"] == 3 for state in optimizer.state.values())
    assert len(optimizer.state) == len(parameters)


@pytest.mark.parametrize("first_engine", ["compiled", "autograd"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_checkpoint_continues_bit_for_bit(cell, first_engine):
    everything = with_cell(ALL_AT_ONCE, cell)
    steps = draw_steps(everything, 12)
    model, optimizer = make_model(everything)
    if first_engine == "autograd":
        autograd_advance(everything, model, optimizer, cut(steps, 0, 5))
        advance = compile_training_step(*settings_of(everything, model, optimizer))
    else:
        advance = compile_training_step(*settings_of(everything, model, optimizer))
        advance(*cut(steps, 0, 5))
    checkpoint = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], checkpoint)
    advance(*cut(steps, 5, 12))

    checkpoint.seek(0)
    weights, optimizer_state = torch.load(checkpoint, weights_only=True)
    resumed, resumed_optimizer = make_model(everything, seed=1)
    resumed.load_state_dict(weights)
    resumed_optimizer.load_state_dict(optimizer_state)
    compile_training_step(*settings_of(everything, resumed, resumed_optimizer))(*cut(steps, 5, 12))
    assert_identical(snapshot(resumed, resumed_optimizer), snapshot(model, optimizer))


def test_autograd_goes_on_where_the_compiled_engine_stopped():
    steps = draw_steps(ALL_AT_ONCE, 10)
    model, optimizer, advance = make_engine(ALL_AT_ONCE, torch.float64)
    advance(*cut(steps, 0, 5))
    autograd_advance(ALL_AT_ONCE, model, optimizer, cut(steps, 5, 10))
    reference, reference_optimizer = make_model(ALL_AT_ONCE, torch.float64)
    autograd_advance(ALL_AT_ONCE, reference, reference_optimizer, steps)
    wanted = snapshot(reference, reference_optimizer)
    for name, tensor in snapshot(model, optimizer).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-9, atol=1e-12)


def test_float32_tanh_errs_by_less_than_the_stated_bound():
    @compile_function
    def tanh_of_all(x, y):
        for i in range(len(x)):
            y[i] = tanh(x[i])

    largest = np.float32(30).view(np.int32)
    x = np.arange(0, largest, 499, np.int32).view(np.float32)  # every 499th float32 from 0 to 30
    x = np.concatenate([x, -x, np.float32([np.inf, -np.inf])])
    y = np.empty_like(x)
    tanh_of_all(x, y)
    wanted = np.tanh(x.astype(np.float64))
    smallest = np.finfo(np.float32).smallest_subnormal
    assert (np.abs(y - wanted) <= 3.1e-7 * np.abs(wanted) + smallest).all()
    assert np.abs(y).max() < 1
    tanh_of_all(np.float32([np.nan]), y[:1])
    assert np.isnan(y[0])


def sums_of_trained_weights():
    """A number of each cell's net after three updates."""
    sums = {}
    for cell in CELLS:
        everything = with_cell(ALL_AT_ONCE, cell)
        model, _, advance = make_engine(everything, torch.float64)
        advance(*draw_steps(everything, 3))
        sums[cell] = model.rnn.weight_hh_l1.sum().item()
    return sums


def in_a_new_process(function, folder, **variables):
    """What a function of this module returns there, as JSON."""
    code = (
        "import json, test_compiled\n"
        "from rnn_tutorial.runs.terminal import spare_the_garbage_collector\n"
        "spare_the_garbage_collector()\n"
        f"print(json.dumps(test_compiled.{function.__name__}()))"
    )
    path = os.pathsep.join(map(str, (REPOSITORY, TESTS, TESTS / "training")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=500,
    )
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


def test_the_kernels_compute_the_same_uncompiled(tmp_path):
    sums = in_a_new_process(sums_of_trained_weights, tmp_path, NUMBA_DISABLE_JIT="1")
    assert sums == pytest.approx(sums_of_trained_weights(), rel=1e-9)


def hash_of_trained_weights():
    """Of a net in float32, after enough updates for a last bit to show."""
    model, _, advance = make_engine(ALL_AT_ONCE)
    advance(*draw_steps(ALL_AT_ONCE, 300))
    return weights_hash(model.state_dict())


@pytest.mark.long
def test_what_is_compiled_and_what_was_kept_give_the_same_bits(tmp_path):
    compiled, kept = (
        in_a_new_process(hash_of_trained_weights, tmp_path, NUMBA_CACHE_DIR=str(tmp_path))
        for _ in range(2)
    )
    assert compiled == kept


def test_numbers_that_are_none_show_in_the_loss():
    model, _, advance = make_engine(PLAIN)
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = torch.nan
    losses, grad_norms = advance(*draw_steps(PLAIN, 1))
    assert losses.isnan().all() and grad_norms.isnan().all()


def test_without_numba_or_scipy_the_module_imports_and_says_so():
    """The project is imported anew for each, PyTorch once."""
    code = """
import atexit, gc, sys
import torch
atexit.register(gc.freeze)  # no search for garbage at the end
for missing in ("numba", "scipy"):
    assert missing not in sys.modules
    sys.modules[missing] = None
    from rnn_tutorial.training.compiled import compile_training_step
    from rnn_tutorial.model.classifier import RnnClsNet
    model = RnnClsNet(3, 2, 4, 1, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    try:
        compile_training_step(model, optimizer)
    except ValueError as error:
        print(error)
    for name in [name for name in sys.modules if name.startswith(("rnn_tutorial", missing))]:
        del sys.modules[name]
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    expected = [
        f"the compiled engine cannot be used: {missing} not installed"
        for missing in ("numba", "scipy")
    ]
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")


def refusal(model, optimizer):
    with pytest.raises(ValueError, match="compiled engine") as refused:
        compile_training_step(model, optimizer)
    return str(refused.value)


def test_only_what_is_supported_is_accepted():
    model, optimizer = make_model(PLAIN)
    assert compile_training_step(model, optimizer)
    for wrong in (
        nn.RNN(5, 8, nonlinearity="relu"),
        nn.GRU(5, 8, bidirectional=True),
        nn.LSTM(5, 8, proj_size=3),
        nn.RNN(5, 8, 2, dropout=0.1),
        nn.RNN(5, 8, bias=False),
    ):
        model.rnn = wrong
        assert "only a tanh RNN, a GRU or an LSTM" in refusal(model, optimizer)
    model, _ = make_model(PLAIN)
    assert "AdamW" in refusal(model, torch.optim.SGD(model.parameters()))
    assert "amsgrad" in refusal(model, torch.optim.AdamW(model.parameters(), amsgrad=True))
    assert "CPU" in refusal(model.to("meta"), optimizer)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("x", lambda batches: batches.x.fill_(PLAIN.vocab + 1)),
        ("x", lambda batches: batches.x.fill_(-1)),
        ("targets", lambda batches: batches.targets.fill_(PLAIN.vocab)),
        ("seq_lengths", lambda batches: batches.seq_lengths.fill_(0)),
        ("seq_lengths", lambda batches: batches.seq_lengths.fill_(PLAIN.longest + 1)),
        ("descend", lambda batches: batches.seq_lengths[0, :2].copy_(torch.tensor([1, 2]))),
    ],
)
def test_batches_that_would_leave_the_arrays_are_refused(name, spoil):
    _, _, advance = make_engine(PLAIN)
    steps = draw_steps(PLAIN, 2)
    spoil(steps[0])
    with pytest.raises(ValueError, match=name):
        advance(*steps)


def test_shapes_that_do_not_fit_are_refused():
    noisy = case(embed_noise=0.3, contraction=0.5, center_loss=1.0)
    model, optimizer, advance = make_engine(noisy)
    batches, learning_rates, contraction, center_loss, _ = draw_steps(noisy, 2)
    with pytest.raises(ValueError, match="noise"):
        advance(replace(batches, noise=None), learning_rates)
    with pytest.raises(ValueError, match="noise"):
        advance(replace(batches, noise=batches.noise[1:]), learning_rates)
    with pytest.raises(ValueError, match="learning_rates"):
        advance(batches, learning_rates[1:])
    with pytest.raises(ValueError, match="contraction"):
        advance(batches, learning_rates, contraction[1:])
    with pytest.raises(ValueError, match="center_loss"):
        advance(batches, learning_rates, None, center_loss[1:])
    with pytest.raises(ValueError, match="weight_decays"):
        advance(batches, learning_rates, weight_decays=[0.5])
    with pytest.raises(ValueError, match="no batches"):
        advance(replace(batches[:0], noise=[torch.empty(0, 5)]), [])
    _, _, advance_lstm = make_engine(with_cell(noisy, "lstm"))
    with pytest.raises(ValueError, match="no penalty on the states of cell 'lstm'"):
        advance_lstm(batches, learning_rates, contraction)
    with pytest.raises(ValueError, match="tokens"):
        compile_training_step(model, optimizer, machine=SumModulo(3))
    unruled = compile_training_step(model, optimizer, noisy.embed_noise)
    with pytest.raises(ValueError, match="the center loss needs a machine"):
        unruled(batches, learning_rates, None, center_loss)


def test_padding_within_a_row_leads_to_no_place_outside_the_tables(monkeypatch):
    passed = []
    monkeypatch.setattr(compiled, "train", lambda *arguments: passed.append(arguments))
    strong = case(center_loss=1.0)
    _, _, advance = make_engine(strong)
    advance(*draw_steps(strong, 1))
    _, successors, numbers = passed[0][8]  # centering
    table, _ = machine_of(strong).tables()
    np.testing.assert_array_equal(successors[:, :-1], table)
    np.testing.assert_array_equal(successors[:, -1], range(len(table)))  # it stays where it is
    np.testing.assert_array_equal(numbers, [-1] * successors.size)


def test_state_that_was_loaded_afterwards_is_not_overlooked():
    model, optimizer, advance = make_engine(PLAIN)
    steps = draw_steps(PLAIN, 1)
    advance(*steps)
    optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(RuntimeError, match="again"):
        advance(*steps)
    compile_training_step(model, optimizer)(*steps)
    model.double()
    with pytest.raises(RuntimeError, match="again"):
        advance(*steps)
