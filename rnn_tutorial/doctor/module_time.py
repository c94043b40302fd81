"""Every step of a sequence must reach the scores, and the gradient of the scores every step.

Part of `module_checks`. Shapes: N batch, T time, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_probe import PASSED, Outcome, Probe, weighted_sum, weights_like

FD_STEP = 1e-5  # of central differences in float64: their error is about FD_STEP²
FD_TENSORS = 32  # at most so many parameters are compared with finite differences
MARKED_TOKENS = 8  # tokens tried for a gradient at one step


def _ignored_steps(probe: Probe) -> list[int]:
    """Change one step's token at a time, in full rows: at which steps does no score move?"""
    with torch.no_grad():
        x, lengths = probe.full_batch()
        scores = probe.scores(x, lengths)
        ignored = []
        for step in range(x.shape[1]):
            changed = x.clone()
            changed[:, step] = probe.other_tokens(x[:, step].contiguous())
            if not probe.are_touched(scores, probe.scores(changed, lengths)).any():
                ignored.append(step)
    return ignored


def check_time_axis(probe: Probe) -> Outcome:
    """Every valid step matters, and so does their order: the sequences are read backwards."""
    x, lengths = probe.full_batch()
    steps = x.shape[1]
    ignored = _ignored_steps(probe)
    if steps > 1 and not ignored:
        with torch.no_grad():
            backwards = probe.scores(x.flip(1), lengths)
            if probe.are_equal(probe.scores(x, lengths), backwards).all():
                return [
                    Finding(
                        "order-ignored",
                        "every sequence scores the same read backwards",
                        "the module sees which tokens there are, not their order",
                        "attention needs position encodings; a mean of embeddings needs a net "
                        "before it; leave it if order is meant not to count",
                        "likely",
                    )
                ], True
    if not ignored:
        return PASSED
    whatever_weights = _ignored_steps(probe.refreshed())
    if not set(ignored) & set(whatever_weights):
        return [
            Finding(
                "steps-forgotten",
                f"of {steps} steps, counted from 0, the tokens of {ignored} change no score with "
                "these weights; with fresh weights they do",
                "the code is right, but the state forgets, or is saturated, to the last digit",
                "an orthogonal recurrent matrix, smaller weights or a smaller learning rate, a GRU "
                "or LSTM",
                "likely",
            )
        ], True
    ignored = [step for step in ignored if step in whatever_weights]
    name, meaning, advice = (
        "steps-ignored",
        "part of each sequence is never read",
        ("look at slices and loop bounds: range(T - 1), x[:, 1:], seq_lengths - 1 taken twice"),
    )
    if len(ignored) == steps:
        name, meaning = "input-ignored", "the scores are the same whatever the sequence says"
        advice = "follow the tokens through forward: where are they replaced or multiplied by 0?"
    elif ignored == list(range(steps - 1)):
        name, meaning = "only-last-step", "nothing is carried from one step to the next"
        advice = "hand the state on: h = cell(x[:, t], h), and do not begin anew in the loop"
    elif ignored == list(range(1, steps)):
        name, meaning = "only-first-step", "the answer is read before the sequence has been"
        advice = "read the last valid step, not output[:, 0], nor h_0 in place of h_n"
    return [
        Finding(
            name,
            f"of {steps} steps, counted from 0, the tokens of {ignored} change no score",
            meaning,
            advice,
            "certain",
        )
    ], len(ignored) < steps


def check_gradients(probe: Probe) -> Outcome:
    """Gradients exist, are finite, reach the first step, and are the slopes that they should be."""
    parameters = {n: p for n, p in probe.module.named_parameters() if p.requires_grad}
    if not parameters:
        return PASSED
    try:
        weighted = weighted_sum(probe, *probe.batch())
        gradients = dict.fromkeys(parameters)
        if weighted.requires_grad:
            found = torch.autograd.grad(weighted, list(parameters.values()), allow_unused=True)
            gradients = dict(zip(parameters, found, strict=True))
        reached = _steps_with_gradient(probe)
    except RuntimeError as error:
        return [
            Finding(
                "backward-raises",
                str(error).strip().split("\n")[0],
                "the module computes scores but cannot be trained",
                "no in-place changes of what gradients need: collect the steps in a list and "
                "torch.stack them, instead of writing into a tensor",
                "certain",
            )
        ], False
    broken = [n for n, g in gradients.items() if g is not None and not _dense(g).isfinite().all()]
    if broken:
        return [
            Finding(
                "non-finite-gradient",
                f"finite scores, but NaN or infinity in the gradient of {_some(broken)}",
                "the first update makes these weights NaN",
                "sqrt, norm, log, std and division have infinite slopes at 0, also behind "
                "torch.where: add a small constant before them",
                "certain",
            )
        ], False
    missing = _steps_cut_off(probe, reached) if any(reached) else []
    if missing:
        return [
            Finding(
                "state-detached",
                f"steps {missing} of {len(reached)}, counted from 0, matter for the scores but "
                "their tokens get no gradient",
                "the net cannot learn from what is long past: the state is cut from its history",
                "no detach(), .data or no_grad between the steps of a sequence; between batches "
                "of one long text it is right, and so is a truncation that you chose",
                "certain",
            )
        ], True
    return _slopes(probe, parameters, gradients), True


def _steps_cut_off(probe: Probe, reached: list[bool]) -> list[int]:
    """Steps that matter and get no gradient with fresh weights either, which no state saturates."""
    missing = [step for step, is_reached in enumerate(reached) if not is_reached]
    if not missing:
        return []
    ignored, fresh = _ignored_steps(probe), _steps_with_gradient(probe.refreshed())
    return [step for step in missing if step not in ignored and not fresh[step]]


def _steps_with_gradient(probe: Probe) -> list[bool]:
    """For each step: is there a gradient for the embedding of a token that stands only there?"""
    embedding = probe.embedding()
    if embedding is None or not embedding.weight.requires_grad:
        return []
    ids = [i for i in probe.token_ids if i != embedding.padding_idx]
    if len(ids) < 2:
        return []
    reached = []
    for step in range(probe.tokens.shape[1]):
        is_reached = False
        for marked in ids[:MARKED_TOKENS]:  # a maximum or a ReLU may pass one of them over
            others = torch.tensor([i for i in ids if i != marked])
            x, lengths = probe.full_batch(others[probe.tokens % len(others)])
            x[:, step] = marked
            weighted = weighted_sum(probe, x, lengths)
            if weighted.requires_grad:
                (gradient,) = torch.autograd.grad(weighted, [embedding.weight], allow_unused=True)
                is_reached = gradient is not None and bool(_dense(gradient)[marked].any())
            if is_reached:
                break
        reached.append(is_reached)
    return reached


def _slopes(
    probe: Probe, parameters: dict[str, nn.Parameter], gradients: dict[str, Tensor | None]
) -> list[Finding]:
    """Each parameter moved a little in a random direction: does the loss move as its gradient says?

    Central differences, (f(p + εv) - f(p - εv)) / 2ε, in float64; elsewhere rounding hides them.
    """
    unused, cut, wrong = [], [], []
    x, lengths = probe.batch()
    generator = torch.Generator().manual_seed(0)
    names = list(parameters)[:: -(-len(parameters) // FD_TENSORS)]

    def value_along(parameter: nn.Parameter, direction: Tensor, size: float) -> Tensor:
        kept = parameter.detach().clone()
        try:
            with torch.no_grad():
                parameter.add_(direction, alpha=size)
                return probe.scores(x, lengths)
        finally:
            with torch.no_grad():
                parameter.copy_(kept)

    for name in names:
        parameter = parameters[name]
        gradient = gradients[name]
        gradient = None if gradient is None else _dense(gradient)
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction = (direction / direction.norm()).to(parameter)
        for part in probe.module.modules():  # the row of padding_idx has no gradient on purpose
            if isinstance(part, nn.Embedding) and part.weight is parameter:
                direction[[] if part.padding_idx is None else part.padding_idx] = 0
        far = value_along(parameter, direction, 1.0)
        has_gradient = gradient is not None and bool(gradient.any())
        if not has_gradient and torch.equal(far, value_along(parameter, direction, -1.0)):
            unused.append(name)
            continue
        if probe.dtype != torch.float64:
            continue
        slope = 0.0 if gradient is None else float((gradient * direction).sum())
        is_wrong = True
        for step in (FD_STEP, FD_STEP / 10):  # a second chance: a kink of ReLU may be in the way
            above, below = (value_along(parameter, direction, s) for s in (step, -step))
            weights = weights_like(above)
            measured = float(((above - below) * weights).sum()) / (2 * step)
            rounding = float((above * weights).abs().sum()) * 1e-14 / step
            error = abs(measured - slope)
            is_wrong = is_wrong and error > 1e-5 * max(abs(measured), abs(slope)) + rounding
        if is_wrong:
            (wrong if has_gradient else cut).append(name)
    findings = []
    if unused and x.shape[1] > 1:  # a single step uses no recurrent weights
        findings.append(
            Finding(
                "unused-parameters",
                f"{_some(unused)} change no score and get no gradient",
                "they are not trained; often the wrong part of a result is read: h_n[0] is the "
                "first layer, h_n[-1] of a bidirectional net its backward direction alone",
                "use them in forward, or remove them",
                "certain",
            )
        )
    if cut:
        findings.append(
            Finding(
                "gradient-cut",
                f"{_some(cut)} change the scores but get no gradient",
                "they keep their first values for ever: what is before the cut is not trained",
                "no detach(), .data, no_grad, .item(), argmax or torch.tensor(...) on the way from "
                "them to the scores",
                "certain",
            )
        )
    elif wrong:
        findings.append(
            Finding(
                "gradient-wrong",
                f"the gradient of {_some(wrong)} differs from finite differences",
                "part of the way from these weights to the scores is cut off or differentiated "
                "wrongly, so training goes in a wrong direction",
                "look for detach(), .data and no_grad on one of several ways, for in-place changes "
                "through .data, and for a custom autograd.Function",
                "certain",
            )
        )
    return findings


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
