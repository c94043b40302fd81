"""Every step of a sequence must reach the scores, and the gradient of the scores every step.

Part of `module_checks`. Shapes: N batch, T time, C classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_copy import RECURRENT, Softmaxes, hooked, weights_like
from rnn_tutorial.doctor.module_findings import found
from rnn_tutorial.doctor.module_probe import LONGER, Probe

FD_STEP = 1e-5  # of central differences in float64: their error is about FD_STEP²
FAR_SIZES = (-1.0, 1.0, -30.0, 30.0)  # so far a parameter is moved to see whether it is used
FD_TENSORS = 32  # at most so many parameters are compared with finite differences


def check_time_axis(probe: Probe) -> Iterator[Finding]:
    """Every valid step matters, and so does their order."""
    steps = probe.tokens.shape[1]
    ignored = _ignored_steps(probe)
    if not ignored:
        x, lengths = probe.full_batch()
        scores, backwards = probe.scores(x, lengths), probe.scores(x.flip(1), lengths)
        if steps > 1 and probe.are_equal(scores, backwards).all():
            sees_order = probe.parts(*RECURRENT, nn.Conv1d, nn.MultiheadAttention)
            sure = "likely" if sees_order else "possible"
            yield found("order-ignored", "every sequence scores the same read backwards", sure)
        return
    others = (probe.refreshed(0), probe.refreshed(1, noise=0.5))
    by_code = sorted(set(ignored).intersection(*map(_ignored_steps, others)))
    seen = f"of {steps} steps, counted from 0, the tokens of {by_code or ignored} change no score"
    if not by_code:
        seen += " with these weights; with fresh weights they do"
        yield found("steps-forgotten", seen, "likely")
        return
    every = tuple(range(steps))
    names = {every: "input-ignored", every[:-1]: "only-last-step", every[1:]: "only-first-step"}
    name = names.get(tuple(by_code), "steps-ignored")
    if name != "steps-ignored" or _are_ignored_in_longer(probe, by_code):
        yield found(name, seen)


def _are_ignored_in_longer(probe: Probe, ignored: Sequence[int]) -> bool:
    """False if these steps count in longer rows: the last of a few may fill no whole patch.

    A step of the first half is looked for as far from the beginning, another one from the end.
    """
    longer, steps = probe.longer(), probe.tokens.shape[1]
    there = _ignored_steps(longer) if longer else range(LONGER)
    return any(s + (LONGER - steps) * (2 * s >= steps) in there for s in ignored)


@torch.no_grad()
def _ignored_steps(probe: Probe) -> list[int]:
    """Change one step's token at a time, in full rows: at which steps does no score move?"""
    x, lengths = probe.full_batch()
    scores = probe.scores(x, lengths)
    ignored = []
    for step in range(x.shape[1]):
        changed = x.clone()
        changed[:, step] = probe.other_tokens(x[:, step])
        if not probe.are_touched(scores, probe.scores(changed, lengths)).any():
            ignored.append(step)
    return ignored


def check_gradients(probe: Probe) -> Iterator[Finding]:
    """Gradients exist, are finite, reach the first step, and agree with finite differences."""
    parameters = {n: p for n, p in probe.module.named_parameters() if p.requires_grad}
    if not parameters:
        return
    try:
        made = _gradients(probe.weighted_sum(*probe.batch()), [*parameters.values()])
        gradients = dict(zip(parameters, made, strict=True))
        reached = _steps_with_gradient(probe)
    except RuntimeError as error:
        yield found("backward-raises", str(error).strip().split("\n")[0])
        return
    broken = [n for n, g in gradients.items() if g is not None and not g.isfinite().all()]
    if broken:
        seen = "the scores are finite, but there is NaN or infinity in the gradient of"
        yield found("non-finite-gradient", f"{seen} {_some(broken)}")
    elif any(reached) and (missing := _steps_cut_off(probe, reached)):
        seen = f"steps {missing} of {len(reached)}, counted from 0, matter, but get no gradient"
        yield found("state-detached", seen)
    else:
        yield from _check_slopes(probe, gradients)


def _steps_cut_off(probe: Probe, reached: list[bool]) -> list[int]:
    """Steps that matter and get no gradient, not even with fresh weights."""
    missing = [step for step, is_reached in enumerate(reached) if not is_reached]
    if not missing:
        return []
    ignored, fresh = _ignored_steps(probe), _steps_with_gradient(probe.refreshed())
    return [step for step in missing if step not in ignored and not fresh[step]]


def _steps_with_gradient(probe: Probe) -> list[bool]:
    """For each step: does the vector of a token get a gradient there? Empty if that is unknown."""
    vectors: list[Tensor] = []  # that the module is given, or that come out of its embedding
    (x, lengths), embedding = probe.full_batch(), probe.embedding()
    with hooked([embedding] if embedding else [], lambda *call: vectors.append(call[-1])):
        weighted = probe.weighted_sum(x, lengths, watch=vectors)
    if not (vectors and all(vector.requires_grad for vector in vectors)):
        return []
    gradients = _gradients(weighted, vectors)
    if len(vectors) == x.shape[1]:  # one call for each step
        return [gradient is not None and bool(gradient.any()) for gradient in gradients]
    size = vectors[0].shape[:-1]
    if len(vectors) > 1 or gradients[0] is None or size not in (x.shape, x.T.shape):
        return []
    return (gradients[0] != 0).any(-1).any(0 if size == x.shape else 1).tolist()


def _check_slopes(probe: Probe, gradients: dict[str, Tensor | None]) -> Iterator[Finding]:
    """Each parameter moved a little in a random direction: does the loss move as its gradient says?

    Slopes are compared in float64 only; elsewhere rounding hides the differences.
    """
    unused, cut, wrong = [], [], []
    parameters, generator = dict(probe.module.named_parameters()), torch.Generator().manual_seed(0)
    for name in list(gradients)[:: -(-len(gradients) // FD_TENSORS)]:
        parameter, gradient = parameters[name], gradients[name]
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction = (direction / direction.norm()).to(parameter)
        for part in probe.parts(nn.Embedding):  # the row of padding_idx has no gradient on purpose
            if part.weight is parameter and part.padding_idx is not None:
                direction[part.padding_idx] = 0
        has_gradient = gradient is not None and bool(gradient.any())
        moved = partial(probe.scores_moved, parameter, direction)
        far = map(moved, FAR_SIZES)
        if not has_gradient and all(torch.equal(a, b) for a, b in itertools.pairwise(far)):
            unused.append(name)
        elif gradient is None:  # no way leads there; without a slope either, if it is rounded
            cut.append(name)
        elif probe.rounding == torch.finfo(torch.float64).eps:
            slope = float((gradient * direction).sum())
            # Two sizes of step, because one may straddle a kink of ReLU.
            if all(_contradicts(slope, moved, size) for size in (FD_STEP, FD_STEP / 10)):
                (wrong if has_gradient else cut).append(name)
    unused = _unused_in_longer(probe, unused)
    if behind := _behind_softmax_of_one(probe, {name: parameters[name] for name in unused}):
        seen = f"the scores that {_some(behind)} make go through a softmax that gives only 1"
        yield found("softmax-of-one", seen, "likely")
    if unused := [name for name in unused if name not in behind]:
        yield found("unused-parameters", f"{_some(unused)}: no score changes with them")
    if cut:
        yield found(
            "gradient-cut", f"{_some(cut)}: the scores change with them, but no gradient comes"
        )
    elif wrong:
        seen = f"the gradient of {_some(wrong)} differs from finite differences"
        yield found("gradient-wrong", seen, "likely")


@torch.no_grad()
def _unused_in_longer(probe: Probe, names: Sequence[str]) -> Sequence[str]:
    """Those of the unused parameters that change no scores of longer rows and fresh weights either.

    A single step, or patch of steps, uses no recurrent weights; saturated units hide what is behind
    them. Where all scores are equal, as after a ReLU that is off, nothing can be told.
    """
    scores = probe.scores(*probe.batch())
    if not names or probe.tokens.shape[1] == 1 or (scores == scores[0, 0]).all():
        return []
    if not (longer := probe.longer()):
        return names
    longer = longer.refreshed(noise=0.1)
    parameters, before = dict(longer.module.named_parameters()), longer.scores(*longer.batch())
    moved = {n: longer.scores_moved(parameters[n], torch.ones_like(parameters[n])) for n in names}
    return [name for name in names if torch.equal(before, moved[name])]


def _behind_softmax_of_one(probe: Probe, weights: dict[str, nn.Parameter]) -> list[str]:
    """Those of the weights that scores are made of whose softmax is 1 everywhere."""
    scores: list[Tensor] = []
    with Softmaxes(lambda given, result: scores.extend([given] if (result == 1).all() else [])):
        probe.scores(*probe.full_batch())
    if not (weights and scores):
        return []
    made = _gradients(sum(each.sum() for each in scores), [*weights.values()])
    return [n for n, gradient in zip(weights, made, strict=True) if gradient is not None]


def _contradicts(slope: float, moved: Callable[[float], Tensor], size: float) -> bool:
    """Whether the central difference, (f(p + εv) - f(p - εv)) / 2ε, is another slope."""
    above, below = moved(size), moved(-size)
    weights = weights_like(above)
    measured = float(((above - below) * weights).sum()) / (2 * size)
    rounding = float((above * weights).abs().sum()) * 1e-14 / size
    return abs(measured - slope) > 1e-5 * max(abs(measured), abs(slope)) + rounding


def _gradients(weighted: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradients of a scalar as dense tensors; None where there is none."""
    if not weighted.requires_grad:
        return [None] * len(parameters)
    made = torch.autograd.grad(weighted, parameters, allow_unused=True)
    return [g.to_dense() if g is not None and g.is_sparse else g for g in made]


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
