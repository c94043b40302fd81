"""Where training begins, and what goes wrong in training mode only.

Part of `module_checks`. Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_copy import CELLS, hooked
from rnn_tutorial.doctor.module_findings import TABLE
from rnn_tutorial.doctor.module_probe import EXTRA_COLUMNS, Probe
from rnn_tutorial.doctor.states import SATURATED

NUM_SEEDS = 5  # of dropout
NEARLY_ALL = 0.95  # share of units; recipes that learn have 0.85 at most, see run_checks
SHUT = 4.0  # a gate at sigmoid(±4) is open or shut to 2 %
WIDE = 300.0  # scores this large at the start: the first loss is in the hundreds


@torch.no_grad()
def check_training_mode(probe: Probe) -> Iterator[Finding]:
    """The same experiments as in evaluation, where training mode may be different."""
    try:
        yield from _check_memory(probe)
        if probe.is_padded:
            yield from _check_statistics(probe)
        yield from _check_dropout_of_scores(probe)
    except WrongShape:  # some modules return their loss in training
        return
    except ModuleRaised as raised:
        yield TABLE.found(
            "module-raises",
            f"in training mode, {raised}",
            "likely",
            advice="run it in a debugger, after module.train()",
        )


def _check_memory(probe: Probe) -> Iterator[Finding]:
    batch, others = probe.batch(), probe.batch(probe.other_tokens(probe.tokens))
    training = probe.training()
    buffers = {name: buffer.clone() for name, buffer in training.module.named_buffers()}
    first, _, again = (training.scores(*b).nan_to_num() for b in (batch, others, batch))
    if torch.equal(first, again):
        return
    for name, buffer in training.module.named_buffers():
        buffer.copy_(buffers.get(name, buffer))
    is_in_buffers = torch.equal(first, training.scores(*batch).nan_to_num())
    yield state_kept("in training mode, ", "likely" if is_in_buffers else "certain")


def state_kept(mode: str, confidence: str) -> Finding:
    """The finding for a module that remembers earlier batches."""
    return TABLE.found(
        "state-kept-between-batches",
        f"{mode}the same batch gets other scores after another batch, with equal random states",
        confidence,
    )


def _check_statistics(probe: Probe) -> Iterator[Finding]:
    """More columns of padding: do the scores change in training mode, but not in evaluation?"""
    narrow, wide = probe.batch(), probe.batch(extra=EXTRA_COLUMNS)
    training = probe.training()
    scores = training.scores(*narrow)
    is_noisy = not training.are_equal(scores, training.scores(*narrow, other_seed=True)).all()
    if is_noisy or not probe.are_equal(probe.scores(*narrow), probe.scores(*wide)).all():
        return
    if not training.are_equal(scores, training.scores(*wide)).all():
        yield TABLE.found(
            "padding-in-batch-statistics",
            f"in training mode {EXTRA_COLUMNS} more columns of padding change the scores; in "
            "evaluation they do not",
        )


def _check_dropout_of_scores(probe: Probe) -> Iterator[Finding]:
    probe = probe.refreshed(noise=0.1)  # a head that begins at zero says nothing
    training = probe.training(with_dropout=True)
    in_evaluation = probe.scores(*probe.batch()) == 0
    shares = []
    for seed in range(NUM_SEEDS):
        zeros = (training.scores(*probe.batch(), other_seed=seed) == 0) & ~in_evaluation
        shares.append(zeros.double().mean().item())
    if sum(share > 0 for share in shares) > 1:
        yield TABLE.found(
            "dropout-on-scores",
            f"in training mode {max(shares):.0%} of the scores are exactly 0, in evaluation none",
        )


def check_symmetry(probe: Probe) -> Iterator[Finding]:
    """Units with equal weights get equal gradients and stay one unit, whatever their number.

    Weights of 0 are not wrong by themselves: a head or a residual branch at 0 gets different
    gradients. So some updates are made, and what is equal then remains equal.
    """
    for name, part in probe.module.named_modules():
        weights = [p for p in part.parameters(recurse=False) if p.ndim > 1 and p.requires_grad]
        if part is probe.embedding():
            weights = [p[1:-1] for p in weights]  # one of the others may be that of the padding
        elif not isinstance(part, CELLS):
            continue
        if weights and all(_is_constant(p, 0) for p in weights):
            yield _symmetric(f"all rows of {name or 'the weights'} are equal")
            return
    equal = {
        (name, dim): p
        for part_name, part in probe.module.named_modules()
        for key, p in part.named_parameters(recurse=False)
        for name in [f"{part_name}.{key}" if part_name else key]
        for dim in ((0,) if isinstance(part, (nn.Linear, *CELLS)) else (0, 1))
        if p.ndim == 2
        and p.requires_grad
        and not isinstance(part, nn.Embedding)
        and _is_constant(p, dim)
    }
    if not equal:
        return
    trained = probe.trained()
    parameters = dict(trained.module.named_parameters())
    for name, dim in equal:
        if _is_constant(parameters[name], dim, trained.tolerance):
            units = "rows" if dim == 0 else "columns"
            yield _symmetric(f"all {units} of {name} are equal, and equal after three updates too")
            return


def _is_constant(weights: Tensor, dim: int, tolerance: float = 0.0) -> bool:
    """True if the matrix is the same all along a dimension of at least two."""
    spread = weights.amax(dim) - weights.amin(dim)
    return weights.shape[dim] > 1 and bool((spread <= tolerance * weights.abs().max()).all())


def _symmetric(seen: str) -> Finding:
    return TABLE.found("symmetric-weights", seen, "likely")


@torch.no_grad()
def check_saturation(probe: Probe) -> Iterator[Finding]:
    """Do the units sit where tanh and sigmoid are flat, or are the scores far too wide?"""
    shares: list[tuple[float, str]] = []

    def add(is_flat: Tensor, where: str) -> None:
        if is_flat.numel() >= len(probe.lengths):
            shares.append((is_flat.double().mean().item(), where))

    class Curves(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
            result = func(*args, **(kwargs or {}))
            name = getattr(func, "__name__", "")
            if name in ("tanh", "sigmoid") and isinstance(result, Tensor):
                add((result if name == "tanh" else 2 * result - 1).abs() > SATURATED, name)
            return result

    def look(part: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        x, h = (v.data if isinstance(v, PackedSequence) else v for v in (args[0], result))
        while isinstance(h, tuple):
            h = h[0].data if isinstance(h[0], PackedSequence) else h[0]
        kind = type(part).__name__
        if kind.startswith("RNN"):
            add(h.abs() > SATURATED, kind)
            return
        own = list(part.parameters(recurse=False))[:2]
        if x.is_floating_point() and own[0].shape[1] == x.shape[-1]:
            h = h[..., : own[1].shape[1]]
            before = x.reshape(-1, x.shape[-1]) @ own[0].T
            count = min(len(before), h.reshape(-1, h.shape[-1]).shape[0])
            before = before[:count] + h.reshape(-1, h.shape[-1])[:count] @ own[1].T
            add(before.abs() > SHUT, f"gates of {kind}")

    with Curves(), hooked(probe.module, CELLS, look):
        scores = probe.scores(*probe.batch())
    share, where = max(shares, default=(0.0, ""))
    widest = scores.abs().max().item()
    if share >= NEARLY_ALL or widest >= WIDE:
        seen = (
            f"{share:.0%} of the values of {where} are at their ends"
            if share >= NEARLY_ALL
            else (f"the scores reach {widest:.0f}")
        )
        yield TABLE.found("saturated-at-start", seen, "likely")
