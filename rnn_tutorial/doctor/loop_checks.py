"""Faults of a training loop: the updates that it makes, and what it makes them of.

    from rnn_tutorial.doctor.loop_checks import check_step
    print(describe(*check_step(step)))  # a function that makes an update and returns the loss

Nothing is assumed about the task.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from rnn_tutorial.doctor.findings import Finding, Report, rank, user_error
from rnn_tutorial.doctor.loop_facts import Weight, held_by
from rnn_tutorial.doctor.loop_findings import found
from rnn_tutorial.doctor.loop_watch import MAX_INPUTS, LoopWatch

_SECOND_TIME = "backward through the graph a second time"  # as PyTorch says it
_LARGE, _SLOW, _SMALL = 0.3, 3e-5, 1e-6  # norm of an update divided by that of the weights
_VANISHED = 0.02  # of the largest learning rate
_OF_LOSSES = {  # what a loss is given, and how sure it is a fault
    "no-log-probabilities": ("numbers whose exp does not sum to 1 over the classes", "certain"),
    "probabilities-in-loss": ("numbers from 0 to 1", "likely"),
    "view-for-transpose": ("scores whose axes were exchanged by view or reshape", "likely"),
    "padding-in-loss": ("targets that end in one id wherever the input ends in padding", "likely"),
    "target-is-input": ("targets that equal the input at every place", "possible"),
}


def check_step(made: Any) -> Report:
    """Make some training steps, and see what they do to the parameters.

    Args:
        made: a function that makes one update and returns its loss, a generator that yields it, or
            a tuple of one of them, the model (or a list of tensors) and any number of optimizers,
            one by one or in lists.

    Raises:
        ValueError: made is something else, the user's code raises, or nothing is trained.
    """
    watch = LoopWatch(made)
    watch.run()
    if not watch.steps and watch.error is None:
        raise ValueError("--step: the loop ended before its first step")
    findings = list(_check_graph(watch))
    if watch.error is not None and not findings:
        raise user_error(watch.error) from watch.error
    findings += [*_check_updates(watch), *_check_surroundings(watch)]
    if not (findings or watch.weights):
        raise ValueError(f"--step: {len(watch.steps)} calls used no tensor that needs a gradient")
    num_steps = len(watch.steps)
    weights = [w for w in watch.weights.values() if w.num_gradients or w.is_lasting]
    idle = [str(tuple(w.tensor.shape)) for w in weights if not w.num_gradients]
    looked_at = [
        f"steps: {num_steps}, each with its loss, its graph, and what is kept in memory",
        f"tensors that need a gradient: {len(weights)}, of which {len(weights) - len(idle)} got one"
        + f" (not those of shape {', '.join(idle)})" * (0 < len(idle) < 4)
        + ", and their updates",
        f"optimizers: {len(watch.optimizers)}, their learning rates; ways of clipping: "
        f"{len(watch.clippings)}",
        f"modules: {len(watch.modes)}, their training mode; the loss: its shapes, "
        "probabilities, axes, and its targets beside the tokens that came in",
    ]
    not_asked = ["the data themselves (--data), the network (--module)"]
    if _makes_epochs(watch):
        not_asked.append("whether all updates see one batch: a call makes several updates")
        if not any(w.num_gradients and w.is_lasting for w in weights):
            not_asked.append("the updates: each call trains a network of its own; yield each loss")
    else:
        looked_at.append("whether all updates see one batch")
    if watch.uses_functions:
        not_asked.append("what torch.func does: weights and gradients that it makes are not seen")
    if watch.is_cut_short or num_steps < 16:
        not_asked.append(f"what needs more than {num_steps} steps to be seen")
    return Report(rank(findings), looked_at, not_asked)


def _check_graph(watch: LoopWatch) -> Iterator[Finding]:
    """Graphs that are cut off, or outlive their step."""
    last = watch.steps[-1] if watch.error is None else watch.step
    reached = [s.reached for s in (*watch.steps, last) if s.reached < math.inf]
    is_second = len(watch.steps) > 0 and _SECOND_TIME in str(watch.error)
    is_window = len(set(reached)) > 1  # truncated backpropagation lets go of the oldest
    if is_second or (last.reached < math.inf and not is_window):
        number, first = len(watch.steps) + (watch.error is not None), min(reached, default=0) + 1
        seen = f"the graph grows: backward in step {number} goes through that of step {first}"
        yield found("state-not-detached", seen)
    if watch.error is not None and watch.num_without_graph:
        yield found("loss-detached", "backward was called on a loss without a graph")
    old = watch.steps[:-2]
    if len(old) >= 4 and all(step.marks for step in old):
        gc.collect()  # takes a while
        if all(step.marks for step in old):
            yield found("graph-kept", f"the graphs of all {len(old)} steps are in memory")


def _check_updates(watch: LoopWatch) -> Iterator[Finding]:
    """From the loss to its gradient, from the gradient to the update: the first break is named."""
    num_steps, num_backward = len(watch.steps), watch.num_backward
    weights = [weight for weight in watch.weights.values() if weight.is_lasting]
    given = [weight for weight in weights if weight.num_gradients]
    moved = [weight for weight in weights if weight.num_updates]
    if not num_backward:
        if not moved and weights:
            yield found("no-backward", f"no backward in {num_steps} steps, and nothing moved")
        elif not moved and watch.is_untouched():
            yield found("loss-detached", "the network is called without gradients")
        return
    if not given:
        passing = [w.tensor for w in watch.weights.values() if w.num_gradients]
        is_rebuilt = any(isinstance(tensor, nn.Parameter) for tensor in passing)
        if num_steps == 1 or (moved and (is_rebuilt or not watch.optimizers)):
            return  # too little to say, or gradients that are not PyTorch's
        shapes = {p.shape for module in watch.modes for p in module.parameters()}
        is_dict = not (weights or watch.optimizers) and len(shapes & {t.shape for t in passing}) > 1
        if is_dict or (is_rebuilt and _makes_epochs(watch)):
            return  # each update makes other weights, or each call trains a network of its own
        if is_rebuilt:
            seen = "each step makes and uses a network of its own"
            yield found("parameters-never-moved", seen, "possible")
        else:
            is_cut = not weights or watch.num_without_graph
            reason = "no parameter of the network got one" if is_cut else "all were zero"
            seen = f"of the gradients of {num_backward} backward passes, {reason}"
            yield found("loss-detached", seen, "certain" if is_cut else "likely")
        return
    lost = [w for w in given if w.num_lost >= max(2, w.num_held / 2)]
    if 2 * len(lost) >= len(given):
        is_all = len(lost) == sum(w.num_held > 0 for w in given)
        seen = f"the gradients of {len(lost)} of {len(given)} parameters were zeroed before a step"
        yield found("gradient-zeroed-before-step", seen, "certain" if is_all else "possible")
        if is_all:
            return
    if not moved and not watch.optimizers:
        is_held = _has_optimizer(given)  # by an optimizer, which may be to step later
        seen = f"{num_steps} steps called backward {num_backward} times, and nothing moved"
        sure = "likely" if is_held or num_steps < 16 else "certain"
        yield found("no-step" if is_held else "nothing-moved", seen, sure)
        return
    never = [w for w in given if not (w.num_updates or w.num_held) and w.num_gradients > 1]
    if any(isinstance(w.tensor, nn.Parameter) for w in given):  # else tensors are the inputs
        never = [w for w in never if isinstance(w.tensor, nn.Parameter)]
    if never:
        shapes = ", ".join(str(tuple(w.tensor.shape)) for w in never[:3])
        seen = f"{len(never)} of {len(given)} parameters with a gradient never moved: {shapes}"
        sure = "likely" if _has_optimizer(never) else "certain"
        yield found("parameters-never-moved", seen, sure)
    yield from _check_reach(watch)
    mixed = [w for w in moved if w.num_mixed >= max(2, w.num_updates / 2)]
    if mixed:
        seen = f"{len(mixed)} of {len(moved)} parameters are updated by old and new gradients"
        yield found("gradient-not-zeroed", seen)
    if moved or not never:
        yield from _check_rates(watch)
        yield from _check_sizes(watch)


def _check_reach(watch: LoopWatch) -> Iterator[Finding]:
    """Modules whose parameters an optimizer holds and no backward pass reaches."""
    held = {id(p) for os in watch.optimizers.values() for o in os for p in held_by(o)}
    cut_off = []
    for module in watch.modes:
        asked = [p for p in module.parameters() if p.requires_grad and id(p) in held]
        if asked and watch.reached.isdisjoint(map(id, asked)):
            cut_off.append(f"{type(module).__name__} ({len(asked)})")
    if cut_off and len(watch.steps) > 1:
        seen = f"called, held by an optimizer, and reached by no backward: {', '.join(cut_off)}"
        yield found("gradient-cut-off", seen, "likely")


def _has_optimizer(weights: Sequence[Weight]) -> bool:
    """True if there is an optimizer that holds one of them, though it made no step."""
    held = {id(tensor) for optimizer in _living(Optimizer) for tensor in held_by(optimizer)}
    return any(id(weight.tensor) in held for weight in weights)


def _living(kind: type) -> list[Any]:
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


def _check_rates(watch: LoopWatch) -> Iterator[Finding]:
    """A learning rate that falls to nothing and stays there, and optimizers made anew."""
    all_rates = []
    for first, optimizers in watch.optimizers.items():
        rates = [step.rates[first][-1] for step in watch.steps if first in step.rates]
        all_rates.append(rates)
        states = [v for o in optimizers for s in o.state.values() for v in s.values()]
        has_memory = any(isinstance(value, Tensor) for value in states)
        if len(optimizers) >= max(3, 0.8 * len(rates)) and has_memory:
            seen = f"{len(optimizers)} optimizers made {len(rates)} steps"
            yield found("optimizer-rebuilt", seen)
    if not watch.optimizers:  # updates by hand
        steps = [step for step in watch.steps if step.gradient]
        all_rates.append([math.sqrt(step.update / step.gradient) for step in steps])
    of_what = "the learning rate" if watch.optimizers else "update / gradient"
    for rates in [r for r in all_rates if len(r) >= 6 and max(r) > 0]:
        half = len(rates) // 2
        start, middle, end = (math.log(max(rates[i], 1e-30)) for i in (0, half, -1))
        falls = start - middle, middle - end
        is_steady = falls[1] > 0 and 0.3 < falls[0] / falls[1] < 3 and sum(falls) > math.log(4)
        fallen = [rate <= _VANISHED * max(rates) for rate in rates]
        if is_steady or (fallen[-1] and sum(fallen) >= len(rates) / 4):
            seen = f"{of_what} falls from {max(rates):.2g} to {rates[-1]:.2g}"
            seen += f" in {len(rates)} updates"
            sure = "certain" if fallen[-1] and watch.optimizers else "likely"
            is_slow = not fallen[-1] and sum(falls) < math.log(5)
            yield found("learning-rate-vanishes", seen, "possible" if is_slow else sure)


def _check_sizes(watch: LoopWatch) -> Iterator[Finding]:
    """Updates that are too small, too large, or in the wrong direction."""
    shares = [math.sqrt(s.update / (s.length or 1)) for s in watch.steps if s.update != 0]
    losses = [step.losses[-1] for step in watch.steps if step.losses]
    rates = [max(r[-1] for r in step.rates.values()) for step in watch.steps if step.rates]
    largest, is_rising = max(shares, default=0), bool(rates) and rates[-1] > 1.5 * rates[0]
    if largest <= _SLOW and not is_rising:
        seen = f"updates change the weights by {largest:.1g} of their norm at most"
        seen += f"; the learning rate is {max(rates):.1g}" if rates else ""
        sure = "certain" if largest <= 1e-7 else "likely" if largest <= _SMALL else "possible"
        yield found("update-too-small", seen, sure)
    steps = watch.steps
    is_back = len({s.length for s in steps}) == 1 and math.isfinite(steps[0].length)
    if is_back and len(steps) >= 8 and min(s.update / (s.length or 1) for s in steps) > _SMALL**2:
        yield found("weights-put-back", f"equal weights after all {len(steps)} steps", "likely")
    if len(losses) < 4:
        return
    usual = sorted(losses[len(losses) // 2 :])[len(losses) // 4]  # median of the second half
    change = f"the loss goes from {losses[0]:.3g} to {losses[-1]:.3g}"
    climbs = [s.along / math.sqrt(s.update * s.gradient or 1) for s in watch.steps if s.along]
    climbing = sum(climb > 0.1 for climb in climbs) / max(1, len(climbs))
    if climbing >= 0.8 and watch.signs != {-1}:
        seen = f"the updates go along the gradient, not against it; {change}"
        yield found("negated-loss", seen, "certain" if watch.signs == {1} else "likely")
    elif climbs and climbing <= 0.2 and watch.signs == {-1}:
        seen = f"the updates make the cross-entropy (or log-likelihood) worse; {change}"
        yield found("negated-loss", seen, "likely")
    if sum(share >= _LARGE for share in shares) >= 2 and not usual <= losses[0]:
        seen = f"updates of up to {largest:.1g} of the norm of the weights; {change}"
        sure = "certain" if not usual < 3 * abs(losses[0]) else "likely"
        yield found("update-too-large", seen, sure)


def _check_surroundings(watch: LoopWatch) -> Iterator[Finding]:
    """Values, shapes, clipping, modes and batches."""
    bad = [i for i, s in enumerate(watch.steps, 1) if not all(map(math.isfinite, s.losses))]
    if bad:
        seen = f"the loss is {watch.steps[bad[0] - 1].losses[-1]} in step {bad[0]}"
        yield found("not-finite-loss", seen)
    if watch.broadcasts:  # one in a loss function rather than another
        what = max(watch.broadcasts, key=watch.broadcasts.get)
        seen = f"{what} and compares every pair of their elements"
        yield found("broadcast-loss", seen, "certain" if watch.broadcasts[what] else "likely")
    for (fault, name), number in watch.faults_of_losses.items():
        if number == watch.num_losses[name]:
            what, sure = _OF_LOSSES[fault]
            yield found(fault, f"{name} gets {what} in all {len(watch.steps)} steps", sure)
    without = [had for had in watch.clippings.values() if len(had) > 1 and not any(had)]
    if without and watch.num_backward:
        seen = f"the gradient was clipped {len(without[0])} times when there was no new one"
        yield found("clipping-without-effect", seen)
    last = len(watch.steps) - 1
    moved = {id(w.tensor) for w in watch.weights.values() if w.num_updates}
    trained = [m for m in watch.modes if not moved.isdisjoint(map(id, m.parameters()))]
    modes = {module: watch.modes[module].get(last) for module in trained}
    module = next((m for m in trained if modes[m] == {False}), None)
    if module is not None and _has_trained_mode(module, moved, watch.forgetful):
        is_all = all(mode in ({False}, None) for mode in modes.values())
        ids = set(map(id, module.parameters()))
        is_probe = 2 * len(moved & ids) < len(ids)  # most are frozen, perhaps in this mode, too
        seen = f"{type(module).__name__} is trained with training=False"
        sure = "likely" if is_all and not is_probe else "possible"
        yield found("evaluation-mode-in-training", seen, sure)
    yield from _check_batches(watch)


def _has_mode(module: nn.Module) -> bool:
    """True for a layer that behaves otherwise in evaluation."""
    name = type(module).__name__
    dropout = getattr(module, "p" if "Dropout" in name else "dropout", 0)
    return "BatchNorm" in name or (isinstance(dropout, float) and dropout > 0)


def _has_trained_mode(module: nn.Module, moved: set[int], forgetful: set[nn.Module]) -> bool:
    """True if the smallest part with parameters around a layer with a mode is trained."""
    parts = [(part, {*map(id, part.parameters())}) for part in module.modules()]
    for layer in [each for each in module.modules() if each in forgetful or _has_mode(each)]:
        around = [ids for part, ids in parts if ids and layer in part.modules()]
        if not moved.isdisjoint(min(around, key=len)):
            return True
    return False


def _makes_epochs(watch: LoopWatch) -> bool:
    """True if each call makes several updates, so that equal calls may have different batches."""
    return any(len(rates) > 1 for step in watch.steps for rates in step.rates.values())


def _check_batches(watch: LoopWatch) -> Iterator[Finding]:
    """The same data in every step, though a fixed set or a loader of one batch is meant so."""
    steps = watch.steps
    if len(steps) < 4 or not all(step.is_repeated for step in steps) or _makes_epochs(watch):
        return
    first, is_fixed = steps[0].inputs, all(step.places == steps[0].places for step in steps)
    is_part = 2 * sum(t.nbytes for t in first) < max(t.untyped_storage().nbytes() for t in first)
    is_seeded = any(len(set(s)) == 1 for s in zip(*(x.random_states for x in steps), strict=True))
    sizes = {size for tensor in first for size in tensor.shape}
    loaders = [loader for loader in _living(DataLoader) if loader.batch_size in sizes]
    has_more = any(not hasattr(each.dataset, "__len__") or len(each) > 1 for each in loaders)
    is_whole = not is_part or len(first) == MAX_INPUTS if is_fixed else loaders and not has_more
    if has_more or is_seeded or not is_whole:
        is_sure = is_seeded or (has_more and not is_fixed)
        seen = f"the data that enter the network are equal in all {len(steps)} steps"
        yield found("same-batch", seen, "likely" if is_sure else "possible")
