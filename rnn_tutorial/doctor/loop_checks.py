"""Faults of a training loop outside the network: the data that it reads, the graph that it keeps.

    from rnn_tutorial.doctor.loop_checks import check_data, check_step
    print(describe(check_data(training_loader, evaluation_loader)))

    def step():
        global hidden
        scores, hidden = net(next(batches), hidden)
        ...
        return loss

    print(describe(check_step(step)))

Nothing is assumed about the task, except for `shifted-labels` that equal inputs have equal labels.
If there is a label rule, it is checked too.
"""

from __future__ import annotations

import gc
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.loop_watch import MAX_INPUTS, Watch, Weight, held_by, user_error

Tokens = tuple[int, ...]
Samples = Sequence[tuple[Tokens, int]]  # tokens and label
Rule = Callable[[Tokens], int]  # the right label

_NUM_SAMPLES = 4096  # looked at, and compared at each distance in some 50 ms
_MIN_REPEATED = 50  # repeated inputs below which nothing is said about their labels
_TWICE = 0.25  # share of samples equal to one at a fixed distance; two equal workers give 1/2
_LEAKED = 0.1  # evaluation samples seen in training, beyond what chance repeats
_CONTRADICTED = 0.2  # share of repeated inputs whose label is not their most frequent one
_SHIFTS = (1, -1, 2, -2)
_FOREIGN_LENGTHS = 0.05  # share of evaluation samples of lengths that training does not have
WIDE_INTERVAL = 0.1  # of an accuracy: a difference of five points is then within the error


def check_data(
    training: Iterable[Any],
    evaluation: Iterable[Any] | None = None,
    *,
    rule: Rule | None = None,
) -> list[Finding]:
    """Look at the first samples of training and evaluation data, in the order in which they come.

    Args:
        training: samples `(input_seq, seq_length, target)`, or batches `(x, seq_lengths, targets)`
            with x of shape (N, T), such as a DataLoader gives. It may be endless.
        evaluation: the same, or None.
        rule: gives the right label of a sequence; None if there is no rule.

    Raises:
        ValueError: data of another form, or none.
    """
    samples = _take(training, "training")
    findings = [*_find_shifted_labels(samples, rule), *_find_duplicates(samples)]
    if evaluation is not None:
        held_out = _take(evaluation, "evaluation")
        findings += _find_shared_samples(samples, held_out)
        findings += _find_foreign_lengths(samples, held_out)
        half = 0.5 * 1.96 / math.sqrt(len(held_out))  # normal interval at an accuracy of one half
        if len(held_out) < _NUM_SAMPLES and 2 * half >= WIDE_INTERVAL:
            findings.append(small_evaluation(len(held_out), f"±{half:.0%} at an accuracy of 50 %"))
    return findings


def _take(data: Iterable[Any], name: str) -> Samples:
    """The first samples, whether data gives samples or batches."""
    samples = list(itertools.islice(_each_sample(data, name), _NUM_SAMPLES))
    if not samples:
        raise ValueError(f"the {name} data are empty; at least one sample is needed")
    return samples


def _each_sample(data: Iterable[Any], name: str) -> Iterator[tuple[Tokens, int]]:
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(
            f"the {name} data are of type {type(data).__name__}; allowed is what a for loop takes"
        )
    for item in data:
        try:
            x, lengths, targets = item
            is_batch = isinstance(x, torch.Tensor | np.ndarray) and x.ndim == 2
            rows = zip(x, lengths, targets, strict=True) if is_batch else [(x, lengths, targets)]
            for row, length, target in rows:
                tokens = row.tolist() if hasattr(row, "tolist") else list(row)
                if not 1 <= int(length) <= len(tokens):
                    raise ValueError
                yield tuple(tokens[: int(length)]), int(target)
        except (TypeError, ValueError):
            raise ValueError(
                f"the {name} data give {type(item).__name__} {str(item)[:60]!r}; allowed are "
                "(input_seq, seq_length, target) with 1 <= seq_length <= len(input_seq), "
                "and batches of them with input_seq (N, T)"
            ) from None


def _find_shifted_labels(samples: Samples, rule: Rule | None) -> Iterator[Finding]:
    """Equal inputs must have equal labels, and a rule must give them."""
    wrong = _share_wrong(samples, rule)
    if wrong is None or wrong < _CONTRADICTED:
        return
    of_what = "labels of repeated inputs differ from the most frequent one of the same input"
    seen = f"{wrong:.0%} of the {'labels break the rule' if rule else of_what}"
    confidence = "certain" if rule else "likely"
    for shift in _SHIFTS:
        x_first, y_first = max(0, -shift), max(0, shift)
        pairs = zip(samples[x_first:], samples[y_first:], strict=False)
        remaining = _share_wrong([(x, y) for (x, _), (_, y) in pairs], rule)
        if remaining is not None and remaining < wrong / 4:
            direction = "later" if shift > 0 else "earlier"
            seen += f"; with the label {abs(shift)} {direction} it is {remaining:.0%}"
            confidence = "certain"
            break
    yield Finding(
        "shifted-labels",
        seen,
        "inputs and labels are paired wrongly, so there is nothing to learn but guessing",
        "read input and label from the same sample; sort, filter and shuffle them together",
        confidence,
    )


def _share_wrong(samples: Samples, rule: Rule | None) -> float | None:
    """Share of labels that break the rule or, without one, differ from that of an equal input."""
    if rule and samples:
        return sum(rule(x) != y for x, y in samples) / len(samples)
    labels_of = defaultdict(Counter)
    for x, y in samples:
        labels_of[x][y] += 1
    repeated = [labels for labels in labels_of.values() if labels.total() > 1]
    total = sum(labels.total() for labels in repeated)
    if total < _MIN_REPEATED:
        return None
    return 1 - sum(labels.most_common(1)[0][1] for labels in repeated) / total


def _find_duplicates(samples: Samples) -> Iterator[Finding]:
    """Samples that equal the one a fixed number of places before, far more often than others do.

    Two workers that draw the same stream give every batch twice: half of the samples equal the one
    a batch before. Chance repeats short inputs at every distance alike.
    """
    ids: dict[tuple[Tokens, int], int] = {}
    numbers = np.array([ids.setdefault(sample, len(ids)) for sample in samples])
    half = len(numbers) // 2
    if half < _MIN_REPEATED:
        return
    shares = [(numbers[lag:] == numbers[:-lag]).mean() for lag in range(1, half + 1)]
    share, usual = max(shares), float(np.median(shares))
    if share - usual >= _TWICE:
        yield Finding(
            "duplicated-workers",
            f"{share:.0%} of the samples equal the one {shares.index(share) + 1} places before (at "
            f"other distances {usual:.1%})",
            "every worker draws the same samples, so a batch brings few new ones or none",
            "in __iter__ divide the samples by get_worker_info(), and seed each worker with its id",
        )


def _find_shared_samples(training: Samples, evaluation: Samples) -> Iterator[Finding]:
    """Evaluation samples that occur in training more often than training samples repeat."""
    times = Counter(x for x, _ in training)
    by_chance = sum(times[x] > 1 for x, _ in training) / len(training)
    shared = sum(x in times for x, _ in evaluation) / len(evaluation)
    if len(evaluation) >= _MIN_REPEATED and shared - by_chance >= _LEAKED:
        yield Finding(
            "shared-stream",
            f"{shared:.0%} of the evaluation samples occur in training; by chance {by_chance:.0%}",
            "the evaluation measures what was memorised, so it overstates what was learned",
            "split the examples before training, and give evaluation its own random generator",
            "likely",
        )


def _find_foreign_lengths(training: Samples, evaluation: Samples) -> Iterator[Finding]:
    """Evaluation samples shorter or longer than any in training."""
    trained, lengths = ([len(x) for x, _ in samples] for samples in (training, evaluation))
    shortest, longest = min(trained), max(trained)
    share = sum(not shortest <= n <= longest for n in lengths) / len(lengths)
    if share >= _FOREIGN_LENGTHS:
        yield Finding(
            "length-mismatch",
            f"training has lengths {shortest} to {longest}, evaluation {min(lengths)} to "
            f"{max(lengths)}: {share:.0%} of its samples lie outside",
            "the score mixes lengths that were trained with lengths that were not",
            "train on these lengths (--min_seq_len, --max_seq_len), or report accuracy by length",
        )


def small_evaluation(num_samples: int, interval: str) -> Finding:
    """The finding that an evaluation has too few samples to tell two networks apart."""
    return Finding(
        "small-evaluation",
        f"{num_samples:,} evaluation samples: the 95 % interval is {interval}",
        "differences of a few points between runs are chance",
        f"score at least {math.ceil((1.96 / WIDE_INTERVAL) ** 2)} samples, or all possible inputs",
    )


# What each finding about a loop means, and what to try.
_TEXTS = {
    "no-backward": (
        "without gradients no parameter can learn",
        "call loss.backward(), with its brackets, before optimizer.step()",
    ),
    "loss-detached": (
        "the graph is cut between the network and the loss, so that nothing can be learned",
        "compute the loss from the network's own output: no .item(), .data, .detach(), numpy, argmax "
        "or round between them, no torch.tensor(loss), no torch.no_grad() around the network",
    ),
    "gradient-zeroed-before-step": (
        "the update does not use the gradients that were computed for it",
        "zero_grad(), backward() for each part of the batch, step(), in this order",
    ),
    "no-step": (
        "gradients are computed and never used",
        "call optimizer.step(), with its brackets, after backward(); if it waits for some batches, "
        "print its condition: step + 1 % k is step + (1 % k)",
    ),
    "nothing-moved": (
        "gradients are computed, and no parameter of the network is changed by them",
        "update in place, under torch.no_grad(): p -= lr * p.grad, or p.copy_(…); p = p - … makes a "
        "new tensor that the network does not know",
    ),
    "parameters-never-moved": (
        "the optimizer does not hold these parameters, so they stay as they were made",
        "make the optimizer after the network is complete, from the parameters of this very "
        "network, and step every optimizer; what is to stay fixed gets requires_grad_(False)",
    ),
    "update-too-small": (
        "at this pace nothing changes within a training",
        "raise the learning rate, to 1e-3 with Adam, and clip to a norm of about 1",
    ),
    "update-too-large": (
        "each step throws away what the steps before it have learned",
        "try a tenth of the learning rate, or less; average the loss instead of summing it",
    ),
    "learning-rate-vanishes": (
        "training ends here, whatever number of steps is still to come",
        "step a scheduler of epochs once per epoch, or give it the total number of steps",
    ),
    "negated-loss": (
        "what should be made small is made large",
        "cross-entropy and squared error are minimised as they are, a log-likelihood with a minus; "
        "no maximize=True; by hand p -= lr * p.grad",
    ),
    "gradient-not-zeroed": (
        "each update goes along the sum of all gradients since the start",
        "call zero_grad() once per update, on every optimizer, before backward() or after step()",
    ),
    "clipping-without-effect": (
        "there is no gradient yet to be clipped, or it was used already: the update sees the raw one",
        "clip between backward() and step(), with the parameters of this network as a list",
    ),
    "not-finite-loss": (
        "after a NaN no further step can learn",
        "find the first one with torch.autograd.set_detect_anomaly(True): a root, a logarithm or a "
        "division at zero (add 1e-8 inside), an empty mean, a mask of a whole row",
    ),
    "broadcast-loss": (
        "each prediction is compared with every target, so that the net learns their mean",
        "give both the same shape: prediction.squeeze(1), or target.unsqueeze(1)",
    ),
    "evaluation-mode-in-training": (
        "dropout is off, and batch normalisation uses old statistics",
        "call model.train() before training, and again after each evaluation",
    ),
    "same-batch": (
        "the network sees one batch only, and learns it by heart",
        "make the iterator (or seed the generator) once, before the loop; next(iter(loader)) starts "
        "anew each time",
    ),
    "graph-kept": (
        "memory grows with each step, though no later loss needs these graphs",
        "keep loss.item(), or output.detach(), in sums and lists for the log",
    ),
    "state-not-detached": (
        "the state of one batch is carried to the next with its history: every step goes back "
        "through all steps before it, and needs more and more time and memory",
        "hidden = hidden.detach() between batches (for an LSTM both tensors), or start each batch "
        "from zeros; never retain_graph=True",
    ),
    "optimizer-rebuilt": (
        "its memory (momentum, Adam's averages) begins anew each time",
        "make the optimizer once, before the loop",
    ),
}
# A finding is left out if one that explains it was made with no less confidence.
_EXPLAINS = {
    "update-too-large": {"not-finite-loss"},
    "negated-loss": {"not-finite-loss", "update-too-large"},
    "gradient-not-zeroed": {"not-finite-loss", "update-too-large"},
    "learning-rate-vanishes": {"update-too-small"},
    "state-not-detached": {"graph-kept"},
    "gradient-zeroed-before-step": {"clipping-without-effect"},
}
_RANKS = ("certain", "likely", "possible")
_LOOKED_AT = (
    "whether the loss has a graph, is finite, and falls or rises with the updates",
    "gradients and values of every parameter before and after each update",
    "zeroing, clipping, optimizer steps, learning rates",
    "shapes of prediction and target, equal batches, training mode",
    "graphs that are kept or gone through again",
)
_SECOND_TIME = "backward through the graph a second time"
_LARGE, _SMALL = 0.3, 1e-6  # norm of an update divided by that of the weights
_VANISHED = 0.02  # of the largest learning rate

Seen = tuple[str, str, str]  # name, confidence, what was seen


def check_step(made: Any) -> list[Finding]:
    """The findings of `examine_step`."""
    return examine_step(made)[0]


def examine_step(made: Any) -> tuple[list[Finding], list[str]]:
    """Make some training steps, and see what they do to the parameters.

    Args:
        made: a function that makes one update and returns its loss, a generator that yields it, or
            a tuple of one of them, the model (or a list of tensors) and any number of optimizers.

    Returns:
        The findings, the surest first, and what was looked at.

    Raises:
        ValueError: made is something else, the user's code raises, or nothing is trained.
    """
    watch = Watch(made)
    watch.run()
    seen = [*_check_graph(watch)] if watch.steps or watch.error else []
    if watch.error is not None and not seen:
        raise user_error(watch.error) from watch.error
    if not watch.steps and watch.error is None:
        raise ValueError("--step: the loop ends before its first step")
    seen += [*_check_updates(watch), *_check_surroundings(watch)]
    if not (seen or watch.num_backward or watch.weights):
        raise ValueError(f"--step: {len(watch.steps)} calls used no tensor that needs a gradient")
    explained = {
        other
        for name, confidence, _ in seen
        for other, its, _ in seen
        if other in _EXPLAINS.get(name, ()) and _RANKS.index(confidence) <= _RANKS.index(its)
    }
    seen = sorted([s for s in seen if s[0] not in explained], key=lambda s: _RANKS.index(s[1]))
    findings = [Finding(name, what, *_TEXTS[name], sure) for name, sure, what in seen]
    looked_at = [f"{len(watch.steps)} steps, {len(watch.weights)} parameters", *_LOOKED_AT]
    if not watch.steppers:
        looked_at.append("not: learning rates and momentum, for no optimizer made a step")
    return findings, looked_at


def _check_graph(watch: Watch) -> Iterator[Seen]:
    """Graphs that outlive their step."""
    step = watch.step if watch.error is not None else watch.steps[-1]
    reached = [s.reached for s in watch.steps if s.reached is not None]
    is_second = len(watch.steps) > 0 and _SECOND_TIME in str(watch.error)
    is_window = len(set(reached)) > 1  # truncated backpropagation lets go of the oldest
    if is_second or (step.reached is not None and not is_window):
        number = len(watch.steps) + (watch.error is not None)
        first = (step.reached or 0) + 1
        seen = f"the graph grows: backward in step {number} goes through that of step {first}"
        yield "state-not-detached", "certain", seen
    if watch.error is not None and watch.num_without_graph:
        yield "loss-detached", "certain", "backward was called on a loss without a graph"
    old = watch.steps[:-2]
    if all(step.marks for step in old):  # collecting takes a while
        gc.collect()
    if len(old) >= 4 and all(step.marks for step in old):
        seen = f"after {len(watch.steps)} steps the graphs of all steps are still in memory"
        yield "graph-kept", "certain", seen


def _check_updates(watch: Watch) -> Iterator[Seen]:
    """From the loss to its gradient, from the gradient to the update: the first break is named."""
    num_steps = len(watch.steps)
    weights = [weight for weight in watch.weights.values() if len(weight.steps) > 1]
    given = [weight for weight in weights if weight.num_gradients]
    moved = [weight for weight in weights if weight.num_updates]
    if not watch.num_backward:
        if not moved and weights:
            yield "no-backward", "certain", f"no backward in {num_steps} steps, and nothing moved"
        elif not moved and any(needs_gradient(module) for module, _ in watch.calls.values()):
            yield "loss-detached", "certain", "the network is called without gradients"
        return
    if not given:
        if num_steps > 1:
            is_cut = not weights or watch.num_without_graph
            reason = "no parameter of the network got a gradient" if is_cut else "all are zero"
            seen = f"backward was called {watch.num_backward} times: {reason}"
            yield "loss-detached", "certain" if is_cut else "likely", seen
        return
    lost = [w for w in given if w.num_lost >= max(2, w.num_held / 2)]
    if 2 * len(lost) >= len(given):
        is_all = len(lost) == sum(w.num_held > 0 for w in given)
        seen = f"the gradients of {len(lost)} of {len(given)} parameters were zeroed before a step"
        yield "gradient-zeroed-before-step", "certain" if is_all else "possible", seen
        if is_all:
            return
    never = [w for w in given if not w.num_updates and not w.num_held and w not in lost]
    if any(isinstance(w.tensor, nn.Parameter) for w in given):  # else tensors are the inputs
        never = [w for w in never if isinstance(w.tensor, nn.Parameter)]
    if not moved and not watch.steppers:
        seen = f"{num_steps} steps made {watch.num_backward} backward calls, and nothing moved"
        name = "no-step" if _has_optimizer(given) else "nothing-moved"
        yield name, "certain" if num_steps >= 16 else "likely", seen
        return
    if never and max(w.num_gradients for w in never) > 1:
        shapes = ", ".join(str(tuple(w.tensor.shape)) for w in never[:3])
        seen = f"{len(never)} of {len(given)} parameters with a gradient never moved: {shapes}"
        yield "parameters-never-moved", "likely" if _has_optimizer(never) else "certain", seen
        if not moved:
            return
    mixed = [w for w in moved if w.num_mixed >= max(2, w.num_updates / 2)]
    if mixed:
        seen = f"{len(mixed)} of {len(moved)} parameters are updated by used gradients and new ones"
        yield "gradient-not-zeroed", "certain", seen
    yield from _check_rates(watch)
    yield from _check_sizes(watch)


def needs_gradient(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _has_optimizer(weights: Sequence[Weight]) -> bool:
    """True if there is an optimizer that holds one of them, though it made no step."""
    ids = {id(weight.tensor) for weight in weights}
    optimizers = [thing for thing in gc.get_objects() if issubclass(type(thing), Optimizer)]
    return any(id(tensor) in ids for optimizer in optimizers for tensor in held_by(optimizer))


def _check_rates(watch: Watch) -> Iterator[Seen]:
    """A learning rate that falls to nothing and stays there, and optimizers made anew."""
    for first, optimizers in watch.steppers.items():
        rates = [step.rates[first] for step in watch.steps if first in step.rates]
        if len(optimizers) >= max(3, 0.8 * len(rates)) and any(o.state for o in optimizers):
            states = [v for o in optimizers for s in o.state.values() for v in s.values()]
            if any(isinstance(value, Tensor) for value in states):
                seen = f"{len(optimizers)} optimizers made the {len(rates)} steps"
                yield "optimizer-rebuilt", "certain", seen
        yield from _check_fall(rates)
    if not watch.steppers:  # by hand
        steps = [step for step in watch.steps if step.gradient]
        yield from _check_fall([math.sqrt(step.update / step.gradient) for step in steps])


def _check_fall(rates: list[float]) -> Iterator[Seen]:
    if len(rates) < 6 or not max(rates) > 0:
        return
    fallen = [rate <= _VANISHED * max(rates) for rate in rates]
    middle = len(rates) // 2
    first, second = (
        math.log(max(b, 1e-30) / max(a, 1e-30))
        for a, b in ((rates[0], rates[middle]), (rates[middle], rates[-1]))
    )
    is_steady = second < 0 and 0.3 < first / second < 3 and first + second < math.log(0.2)
    if is_steady or (fallen[-1] and sum(fallen) >= len(rates) / 4):
        seen = f"it goes from {max(rates):.2g} to {rates[-1]:.2g} in {len(rates)} updates"
        yield "learning-rate-vanishes", "certain" if fallen[-1] else "likely", seen


def _check_sizes(watch: Watch) -> Iterator[Seen]:
    """Updates that are too small, too large, or in the wrong direction."""
    shares = [step.share for step in watch.steps if step.update != 0]
    losses = [step.loss for step in watch.steps if step.loss is not None]
    rates = [max(step.rates.values()) for step in watch.steps if step.rates]
    is_rising = len(rates) > 1 and rates[-1] > 1.5 * rates[0]
    if max(shares, default=0) <= _SMALL and not is_rising:
        seen = (
            f"an update changes the weights by {max(shares, default=0):.1g} of their norm at most"
        )
        seen += f"; the learning rate is {max(rates):.1g}" if rates else ""
        yield "update-too-small", "certain" if max(shares, default=0) <= 1e-7 else "likely", seen
    if len(losses) < 4:
        return
    later = sorted(losses[len(losses) // 2 :])
    usual, change = (
        later[len(later) // 2],
        f"the loss goes from {losses[0]:.3g} to {losses[-1]:.3g}",
    )
    climbs = [s.along / math.sqrt(s.update * s.gradient) for s in watch.steps if s.along]
    climbing = sum(climb > 0.02 for climb in climbs) / max(1, len(climbs))
    is_loss, is_negative = watch.signs == {1}, watch.signs == {-1}
    if climbs and climbing >= 0.8 and not is_negative:
        seen = f"the updates go along the gradient, not against it; {change}"
        yield "negated-loss", "certain" if is_loss else "likely", seen
    elif climbs and climbing <= 0.2 and is_negative:
        seen = f"the loss falls as the cross-entropy, or what else it is made of, rises; {change}"
        yield "negated-loss", "likely", seen
    if sum(share >= _LARGE for share in shares) >= 2 and not usual <= losses[0]:
        seen = f"updates of up to {max(shares):.1g} of the norm of the weights; {change}"
        yield "update-too-large", "certain" if not usual < 3 * abs(losses[0]) else "likely", seen


def _check_surroundings(watch: Watch) -> Iterator[Seen]:
    """Values, shapes, batches, modes and clipping."""
    for number, step in enumerate(watch.steps, start=1):
        bad = [loss for loss in step.losses if not math.isfinite(loss)]
        if bad:
            yield "not-finite-loss", "certain", f"the loss is {bad[0]} in step {number}"
            break
    if watch.broadcasts:
        what, sure = max(watch.broadcasts.items(), key=lambda item: item[1])
        yield "broadcast-loss", "certain" if sure == 2 else "likely", f"{what}, of every pair"
    without = [e for e in watch.clippings.values() if len(e) > 1 and not any(e)]
    if without and watch.num_backward:
        seen = f"{len(without[0])} times there was no new gradient when it was clipped"
        yield "clipping-without-effect", "certain", seen
    yield from _check_mode(watch)
    yield from _check_batches(watch)


def _check_mode(watch: Watch) -> Iterator[Seen]:
    last = len(watch.steps) - 1
    modes = [(module, modes[last]) for module, modes in watch.calls.values() if modes.get(last)]
    moved = {id(w.tensor) for w in watch.weights.values() if w.num_updates}
    trained = [(m, mode) for m, mode in modes if moved & {id(p) for p in m.parameters()}]
    for module, mode in trained:
        has_effect = id(module) in watch.forgetting or any(map(_has_mode, module.modules()))
        if mode == {False} and has_effect:
            is_all = all(other == {False} for _, other in trained)
            seen = f"{type(module).__name__} is trained with training=False"
            yield "evaluation-mode-in-training", "likely" if is_all else "possible", seen
            return


def _has_mode(module: nn.Module) -> bool:
    """True for a layer that behaves otherwise in evaluation."""
    name = type(module).__name__
    dropout = getattr(module, "p" if "Dropout" in name else "dropout", 0)
    return "BatchNorm" in name or (isinstance(dropout, float) and dropout > 0)


def _check_batches(watch: Watch) -> Iterator[Seen]:
    steps = [step for step in watch.steps if step.inputs]
    first = steps[0] if steps else None
    if len(steps) < 4 or any(step.inputs != first.inputs for step in steps):
        return
    places = [[t.untyped_storage().data_ptr() for t in step.sources] for step in steps]
    is_fixed = all(place == places[0] for place in places)
    is_part = len(first.inputs) < MAX_INPUTS and all(
        2 * t.nbytes < t.untyped_storage().nbytes() for t in first.sources
    )
    states = {step.random for step in steps}
    is_seeded = len(states) == 1 and watch.random not in states
    loaders = [thing for thing in gc.get_objects() if issubclass(type(thing), DataLoader)]
    sizes = {size for tensor in first.sources for size in tensor.shape}
    lengths = [_num_batches(loader) for loader in loaders if loader.batch_size in sizes]
    if is_fixed and not is_part and not any(n > 1 for n in lengths):
        return
    if not is_fixed and 1 in lengths and not is_seeded:
        return
    is_sure = is_seeded or (not is_fixed and any(n > 1 for n in lengths))
    seen = f"the data that enter the network are equal in all {len(steps)} steps"
    yield "same-batch", "likely" if is_sure else "possible", seen


def _num_batches(loader: DataLoader) -> int:
    try:
        return len(loader)
    except TypeError:  # an endless one
        return 2
