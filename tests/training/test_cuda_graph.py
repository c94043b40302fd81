"""The graph engine against autograd: gradients, trajectories, state; and what a replay repeats.

Without a GPU its update runs step by step, and a stand-in shows what a graph would record of it.
"""

import contextlib
import copy
import io
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from rnn_tutorial.data.streams import SeqSumModDataset, add_noise
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.training import cuda_graph
from rnn_tutorial.training.cuda_graph import graph_training_step
from rnn_tutorial.training.objective import Objective

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])

# Noise and learning rates are powers of two: float32 and float64 hold the same.
PLAIN = {"min_seq_len": 1, "max_number": 9, "embed_dim": 5, "hidden_dim": 8, "batch_size": 6}
ALL_AT_ONCE = PLAIN | {
    "num_layers": 2, "hidden_dim": 16, "batch_size": 12,
    "embed_noise": 0.25, "max_grad_norm": 0.5, "weight_decay": 0.3,
}  # fmt: skip
cases = st.fixed_dictionaries(
    {
        "min_seq_len": st.integers(1, 2),
        "max_seq_len": st.integers(2, 7),
        "max_number": st.integers(1, 12),
        "embed_dim": st.integers(1, 12),
        "hidden_dim": st.integers(1, 24),
        "num_layers": st.integers(1, 3),
        "batch_size": st.integers(1, 12),
        "embed_noise": st.sampled_from([0.0, 0.5]),
        "max_grad_norm": st.sampled_from([0.0, 0.01, 100.0]),
        "seed": st.integers(0, 1000),
    }
)


def make_model(case, dtype=torch.float32, device="cpu"):
    config = TrainConfig(**case, device=device)
    torch.manual_seed(config.seed)
    classes = config.max_number + 1
    model = RnnClsNet(classes, config.embed_dim, config.hidden_dim, config.num_layers, classes)
    model = model.to(device, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay, fused=True)
    return model, optimizer, config


def graph_advance(model, optimizer, config):
    return graph_training_step(model, optimizer, config.embed_noise, config.max_grad_norm)


def make_engine(*arguments):
    model, optimizer, config = make_model(*arguments)
    return model, optimizer, graph_advance(model, optimizer, config)


def draw_steps(case, count):
    """What `advance` takes for `count` steps: batches and learning rates."""
    config = TrainConfig(**case)
    limits = (config.min_seq_len, config.max_seq_len, config.max_number)
    dataset = SeqSumModDataset(None, *limits, seed=config.seed)
    batches = dataset.draw_batches(0, count, config.batch_size)
    if config.embed_noise:
        batches = add_noise(batches, 0, config.seed, config.embed_dim)
    return batches, [2.0 ** -(7 + step % 4) for step in range(count)]


def cut(steps, first, end):
    """The steps first .. end - 1."""
    batches, learning_rates = steps
    return batches[first:end], learning_rates[first:end]


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


@cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
def train_with_autograd(model, optimizer, config, steps):
    """The same steps from PyTorch's own parts; returns losses and gradient norms, (K,)."""
    batches, learning_rates = steps
    objective = Objective(model, config)
    results = []
    for k, batch in enumerate(batches.pack(config.device)):
        loss = objective(batch)
        optimizer.zero_grad()
        loss.backward()
        grad_norm = get_total_norm([parameter.grad for parameter in model.parameters()])
        if config.max_grad_norm:
            clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rates[k]
        optimizer.step()
        results.append(torch.stack([loss.detach(), grad_norm]))
    return torch.stack(results).unbind(1)


# ---- the same updates as autograd's ----


@settings(max_examples=60)
@given(case=cases)
def test_gradients_equal_autograds(case):
    assert_gradients_equal(case, "cpu")


@needs_gpu
@settings(max_examples=20)
@given(case=cases)
def test_gradients_equal_autograds_on_the_gpu(case):
    assert_gradients_equal(case, "cuda")


def assert_gradients_equal(case, device):
    steps = draw_steps(case, 1)
    model, _, advance = make_engine(case, torch.float64, device)
    losses, grad_norms = advance(*cut(steps, 0, 1))
    reference, *reference_settings = make_model(case, torch.float64, device)
    wanted_losses, wanted_norms = train_with_autograd(reference, *reference_settings, steps)

    torch.testing.assert_close(losses, wanted_losses, rtol=1e-9, atol=0)
    torch.testing.assert_close(grad_norms, wanted_norms, rtol=1e-9, atol=0)
    for (name, parameter), wanted in zip(
        model.named_parameters(), reference.parameters(), strict=True
    ):
        error = (parameter.grad - wanted.grad).norm().item()
        assert error <= 1e-9 * wanted_norms.item(), name


@on_each_device
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize(
    "case",
    [PLAIN, PLAIN | {"weight_decay": 0.3}, PLAIN | {"max_grad_norm": 0.1}, ALL_AT_ONCE],
    ids=["plain", "decay", "clipped", "all_at_once"],
)
def test_a_hundred_steps_follow_autograd_and_torchs_adamw(case, dtype, tolerance, device):
    steps = draw_steps(case, 100)
    model, optimizer, advance = make_engine(case, dtype, device)
    losses, grad_norms = advance(*cut(steps, 0, 100))
    reference, reference_optimizer, config = make_model(case, dtype, device)
    wanted_results = train_with_autograd(reference, reference_optimizer, config, steps)

    for result, wanted in zip((losses, grad_norms), wanted_results, strict=True):
        torch.testing.assert_close(result, wanted, rtol=10 * tolerance, atol=tolerance)
    wanted = snapshot(reference, reference_optimizer)
    for name, tensor in snapshot(model, optimizer).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=tolerance, atol=tolerance)


# ---- the same bits whatever the calls ----


@on_each_device
@pytest.mark.parametrize("case", [PLAIN, ALL_AT_ONCE], ids=["plain", "all_at_once"])
def test_steps_are_the_same_however_many_a_call_and_however_many_fit(case, device, monkeypatch):
    steps = draw_steps(case, 20)
    calls = [[0, 20], [0, 7, 20], [0, *range(1, 21)], [0, 20], [0, 20]]
    ends = []
    for index, cuts in enumerate(calls):
        if index == len(calls) - 1:  # three steps fit in the memory
            monkeypatch.setattr(cuda_graph, "_MAX_STEPS", 3)
        model, optimizer, advance = make_engine(case, torch.float32, device)
        losses, grad_norms = zip(
            *(advance(*cut(steps, *pair)) for pair in pairwise(cuts)), strict=True
        )
        results = {"losses": torch.cat(losses), "grad_norms": torch.cat(grad_norms)}
        ends.append(snapshot(model, optimizer) | results)
        assert_identical(ends[-1], ends[0])


@on_each_device
@pytest.mark.parametrize("first_engine", ["graph", "autograd"])
def test_a_checkpoint_continues_bit_for_bit(first_engine, device):
    steps = draw_steps(ALL_AT_ONCE, 12)
    model, optimizer, config = make_model(ALL_AT_ONCE, torch.float32, device)
    if first_engine == "autograd":
        train_with_autograd(model, optimizer, config, cut(steps, 0, 5))
        advance = graph_advance(model, optimizer, config)
    else:
        advance = graph_advance(model, optimizer, config)
        advance(*cut(steps, 0, 5))
    checkpoint = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], checkpoint)
    advance(*cut(steps, 5, 12))

    checkpoint.seek(0)
    weights, optimizer_state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    (group,) = optimizer_state["param_groups"]
    assert type(group["lr"]) is float and group["lr"] == steps[1][4]
    resumed, resumed_optimizer, _ = make_model(ALL_AT_ONCE | {"seed": 1}, torch.float32, device)
    resumed.load_state_dict(weights)
    resumed_optimizer.load_state_dict(optimizer_state)
    graph_advance(resumed, resumed_optimizer, config)(*cut(steps, 5, 12))
    assert_identical(snapshot(resumed, resumed_optimizer), snapshot(model, optimizer))


# ---- what a graph records ----


class Recorder(TorchDispatchMode):
    """A stand-in for a CUDA graph: notes every kernel with the memory it works on, to repeat it.

    What the step computes in Python, and not by a kernel, stays as it was at the recording.
    """

    def __init__(self):
        super().__init__()
        self.kernels, self.replays = [], 0

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        noted = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))
        results = kernel(*args, **(kwargs or {}))
        self.kernels.append((kernel, *noted, tree_map_only(Tensor, Tensor.detach, results)))
        return results

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for kernel, args, kwargs, results in self.kernels:
            repeated = kernel(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(repeated), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def recorders(monkeypatch):
    """On the CPU, let recorders stand in for CUDA graphs; returns those that were made."""
    made = []

    def make_recorder():
        made.append(Recorder())
        return made[-1]

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make_recorder)
    monkeypatch.setattr(torch.cuda, "graph", lambda recorder, stream: recorder)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(nn.Parameter, "is_cuda", True, raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2")
    return made


# Where there is a GPU, torch sees that no graph is captured here.
with_recorders = pytest.mark.filterwarnings("ignore:.*capturable=True:UserWarning")


@with_recorders
@pytest.mark.parametrize("case", [PLAIN, ALL_AT_ONCE], ids=["plain", "all_at_once"])
def test_a_recorded_step_repeats_as_the_step_itself(case, recorders, monkeypatch):
    """So nothing of the step is left to Python, and the warm-up leaves no trace."""
    steps = draw_steps(case, 20)
    ends = []
    for replayed in (True, False):
        monkeypatch.setattr(nn.Parameter, "is_cuda", replayed)
        model, optimizer, advance = make_engine(case)
        random_state = torch.get_rng_state()
        losses = torch.cat([advance(*cut(steps, *pair))[0] for pair in pairwise([0, 1, 9, 20])])
        assert torch.equal(torch.get_rng_state(), random_state)
        (group,) = optimizer.param_groups
        assert group["lr"] == steps[1][-1] and group["capturable"] is False
        ends.append(snapshot(model, optimizer) | {"losses": losses})
    assert_identical(*ends)
    assert [recorder.replays for recorder in recorders] == [20]


@with_recorders
def test_a_step_reads_nothing_back_to_the_cpu(recorders):
    _, _, advance = make_engine(ALL_AT_ONCE)
    advance(*cut(draw_steps(ALL_AT_ONCE, 2), 0, 2))
    names = {kernel.overloadpacket.__name__ for kernel, *_ in recorders[0].kernels}
    assert names >= {"index_select", "embedding", "gather", "_fused_adamw_", "index_copy_"}
    assert not names & {"_local_scalar_dense", "nonzero", "equal", "_to_copy", "masked_select"}


@with_recorders
def test_it_captures_again_when_what_it_captured_is_gone(recorders, monkeypatch):
    steps, shorter = draw_steps(PLAIN, 4), draw_steps(PLAIN | {"max_seq_len": 3}, 4)
    model, optimizer, advance = make_engine(PLAIN)
    monkeypatch.setattr(nn.Parameter, "is_cuda", False)
    reference, reference_optimizer, reference_advance = make_engine(PLAIN)
    for part in (steps, steps, shorter):
        for one in (advance, reference_advance):
            one(*cut(part, 0, 4))
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        assert_identical(snapshot(model, optimizer), snapshot(reference, reference_optimizer))
    advance(*cut(shorter, 0, 4))
    advance(*cut(shorter, 0, 2))
    assert [recorder.replays for recorder in recorders] == [4, 4, 4, 6]


@needs_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_a_call_does_not_wait_for_the_gpu():
    steps = draw_steps(ALL_AT_ONCE, 12)
    *_, advance = make_engine(ALL_AT_ONCE, torch.float32, "cuda")
    advance(*cut(steps, 0, 5))
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses, _ = advance(*cut(steps, 5, 12))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert losses.is_cuda and losses.isfinite().all()


# ---- what it refuses ----


def test_only_a_fused_adamw_is_accepted():
    model, _, _ = make_model(PLAIN)
    for wrong in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        with pytest.raises(ValueError, match="graph engine needs an AdamW"):
            graph_training_step(model, wrong(model.parameters()))


def test_noise_and_learning_rates_must_fit_the_batches():
    batches, learning_rates = draw_steps(ALL_AT_ONCE, 2)
    *_, advance = make_engine(ALL_AT_ONCE)
    with pytest.raises(ValueError, match="noise"):
        advance(replace(batches, noise=None), learning_rates)
    with pytest.raises(ValueError, match="1 learning rates for 2 batches"):
        advance(batches, learning_rates[1:])
    *_, advance = make_engine(PLAIN)
    with pytest.raises(ValueError, match="noise"):
        advance(batches, learning_rates)


def test_numbers_that_are_none_show_in_the_loss():
    model, _, advance = make_engine(PLAIN)
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = torch.nan
    losses, grad_norms = advance(*cut(draw_steps(PLAIN, 2), 0, 2))
    assert losses.isnan().all() and grad_norms.isnan().all()
