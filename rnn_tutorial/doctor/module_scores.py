"""The scores of a classifier, the weights that training begins with, and training mode.

Part of `module_checks`. Shapes: N batch, C classes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_copy import RECURRENT, Results
from rnn_tutorial.doctor.module_findings import found
from rnn_tutorial.doctor.module_probe import EXTRA_COLUMNS, Probe

FRESH_NETWORKS = 8  # whose scores all have a mark only if the code makes it
NOISE = (1.0, 3.0, 10.0, 30.0)  # deviation of the noise on their weights: some scores get wide
NUM_SEEDS = 5  # of dropout
FLAT = 20.0  # norm of a unit's weights: with inputs of size 1, tanh is flat for 9 of 10
DRAWN_FLAT = 6.0  # the same where it is seen that tanh and sigmoid are flat, in rows of one size
WIDE = 300.0  # scores this large at the start: the first loss is in the hundreds


@torch.no_grad()
def check_finiteness(probe: Probe) -> Iterator[Finding]:
    """No NaN or infinity for any length."""
    scores = probe.scores(*probe.batch())
    is_wrong = ~scores.isfinite().all(dim=1)
    if is_wrong.any():
        lengths = sorted(set(probe.lengths[is_wrong].tolist()))
        rows = f"{int(is_wrong.sum())} of {len(scores)} rows, of lengths {lengths}"
        advice = "look for log, std, softmax over nothing, or division by a count that can be 0"
        if is_wrong.all():
            advice = "the weights may be NaN already: see the gradient norms of training"
        yield found("non-finite-scores", f"there is NaN or infinity in {rows}", advice=advice)


@torch.no_grad()
def check_range(probe: Probe) -> Iterator[Finding]:
    """Scores for cross_entropy are any numbers; softmax, sigmoid, ReLU and tanh leave marks.

    log_softmax leaves one too but does no harm: applied again by cross_entropy it changes nothing.
    """
    scores = probe.scores(*probe.batch())
    classes, is_positive = scores.shape[1], bool((scores >= 0).all())

    def sums_to_1(values: Tensor, dim: int) -> bool:
        return bool(((values.sum(dim) - 1).abs() <= probe.tolerance).all())

    def floor(width: float) -> str:  # the loss where the right class is so far above all others
        lowest = math.log(math.exp(width) + classes - 1) - width
        return f"the loss cannot fall below {lowest:.2f} with {classes} classes"

    if classes > 1 and ((is_positive and sums_to_1(scores, 0)) or sums_to_1(scores.exp(), 0)):
        seen = "the probabilities of each class sum to 1 over the rows of the batch"
        yield found("softmax-over-batch", seen)
        return
    if classes > 1 and is_positive and sums_to_1(scores, 1):
        seen = "each row of the scores is positive and sums to 1"
        yield found("softmax-output", seen, "likely", floor=floor(1.0))
        return
    networks = [probe.refreshed(i, NOISE[i % len(NOISE)]) for i in range(FRESH_NETWORKS)]
    marked = torch.cat([network.scores(*network.batch()) for network in networks])
    marked = marked[marked.isfinite().all(dim=1)]
    if len(marked) < len(scores):
        return
    low, high = marked.min().item(), marked.max().item()
    zeros = (marked == 0).double().mean().item()
    seen = "whatever the weights, "
    if low == 0 and high > 1 and zeros > 0.01:
        seen += f"no score is negative, and {zeros:.0%} are exactly 0"
        yield found("relu-on-scores", seen, "likely")
    elif classes < 2:
        return
    elif 0 <= low < high <= 1:
        seen += "all scores lie between 0 and 1, and rows do not sum to 1"
        yield found("sigmoid-output", seen, "possible", floor=floor(1.0))
    elif -1 - probe.tolerance <= low < high <= 1 + probe.tolerance:
        seen += f"all scores lie between {low:.2f} and {high:.2f}"
        yield found("bounded-scores", seen, "likely", floor=floor(2.0))


def check_symmetry(probe: Probe) -> Iterator[Finding]:
    """Units with equal weights get equal gradients and stay one unit, whatever their number.

    Weights of 0 are not wrong by themselves: a head or a residual branch at 0 gets different
    gradients. So some updates are made, and what is equal then remains equal.
    """
    equal: list[tuple[str, int]] = []
    for name, part in probe.module.named_modules():
        own = {f"{name}.{key}".strip("."): p for key, p in part.named_parameters(recurse=False)}
        own = {key: p for key, p in own.items() if p.ndim == 2 and p.requires_grad}
        if isinstance(part, RECURRENT) and own and all(_is_constant(p, 0) for p in own.values()):
            yield found("symmetric-weights", f"all rows of {name} are equal", "likely")
            return
        dims = (0,) if isinstance(part, (nn.Linear, *RECURRENT)) else (0, 1)
        if not isinstance(part, nn.Embedding):
            equal += [(key, dim) for key in own for dim in dims if _is_constant(own[key], dim)]
    trained = probe.trained() if equal else probe
    parameters = dict(trained.module.named_parameters())
    for name, dim in equal:
        if _is_constant(parameters[name], dim, trained.tolerance):
            seen = f"all {('rows', 'columns')[dim]} of {name} are equal"
            yield found("symmetric-weights", f"{seen}, and after three updates too", "likely")
            return


def _is_constant(weights: Tensor, dim: int, tolerance: float = 0.0) -> bool:
    """True if the matrix is the same all along a dimension of at least two."""
    spread = weights.amax(dim) - weights.amin(dim)
    return weights.shape[dim] > 1 and bool((spread <= tolerance * weights.abs().max()).all())


@torch.no_grad()
def check_saturation(probe: Probe) -> Iterator[Finding]:
    """Do the units sit where tanh and sigmoid are flat, or are the scores far too wide?"""
    widest = probe.scores(*probe.batch()).abs().max().item()
    squares = Counter()  # of the weights of a unit; input and recurrent weights come together
    tables = {id(part.weight) for part in probe.parts(nn.Embedding)}
    parameters = probe.module.named_parameters()
    matrices = {n: p for n, p in parameters if p.ndim == 2 and id(p) not in tables}
    for name, p in matrices.items():
        squares[re.sub("_[ih]h", "", name)] += p.norm(dim=1).mean().item() ** 2
    name, square = max(squares.items(), key=lambda item: item[1], default=("", 0.0))
    if square >= FLAT**2:
        seen = f"the weights of a unit ({name}) have a norm of {square**0.5:.0f}; 1 is usual"
        yield found("saturated-at-start", seen, "likely")
    elif widest >= WIDE:
        yield found("saturated-at-start", f"the scores reach {widest:.0f}", "likely")
    elif (share := _flat_share(probe)) > 0.5:
        for name, p in matrices.items():
            norms = p.norm(dim=1)
            # Training would make some rows much larger than others, and may saturate on purpose.
            if norms.mean() >= DRAWN_FLAT and norms.std() < 0.1 * norms.mean():
                seen = f"{share:.0%} of the results of tanh and sigmoid are where they are flat; "
                seen += f"the rows of {name} have a norm of {norms.mean():.0f}; 1 is usual"
                yield found("saturated-at-start", seen, "likely")
                return


def _flat_share(probe: Probe) -> float:
    """How many of the results of tanh and sigmoid are so near to a bound that no slope is left."""
    flat: list[Tensor] = []

    def look(func: object, result: Tensor) -> None:
        if named := re.match(r"aten\.(tanh|sigmoid)", str(func)):
            centered = result if named[1] == "tanh" else 2 * result - 1
            flat.append((centered.abs() > 0.975).flatten())

    with Results(look):
        probe.scores(*probe.full_batch())
    return torch.cat(flat).double().mean().item() if flat else 0.0


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
        advice = "run it in a debugger, after module.train()"
        yield found("module-raises", f"in training mode, {raised}", "likely", advice=advice)


def _check_memory(probe: Probe) -> Iterator[Finding]:
    training, batch = probe.training(), probe.batch()
    buffers = {name: buffer.clone() for name, buffer in training.module.named_buffers()}
    first, again = training.scores_around_others()
    if not torch.equal(first, again):
        for name, buffer in training.module.named_buffers():
            buffer.copy_(buffers.get(name, buffer))
        is_in_buffers = torch.equal(first, training.scores(*batch).nan_to_num())
        seen = "in training mode, the same batch gets other scores after another batch"
        yield found("state-kept-between-batches", seen, "likely" if is_in_buffers else "certain")


def _check_statistics(probe: Probe) -> Iterator[Finding]:
    """More columns of padding: do they change the scores where batch norms alone are training?"""
    batches = probe.batch(), probe.batch(extra=EXTRA_COLUMNS)
    probes = probe, probe.training(nn.modules.batchnorm._BatchNorm)
    is_right, stays_right = (p.are_equal(*(p.scores(*b) for b in batches)).all() for p in probes)
    if is_right and not stays_right:
        seen = f"{EXTRA_COLUMNS} more columns of padding change the scores in training mode, and"
        yield found("padding-in-batch-statistics", f"{seen} do not in evaluation mode")


def _check_dropout_of_scores(probe: Probe) -> Iterator[Finding]:
    probe = probe.refreshed(noise=0.1)  # a head that begins at zero says nothing
    training = probe.training()
    is_zero = probe.scores(*probe.batch()) == 0
    dropped = [(training.scores(*probe.batch(), seed) == 0) & ~is_zero for seed in range(NUM_SEEDS)]
    shares = [zeros.double().mean().item() for zeros in dropped]
    if sum(share > 0 for share in shares) > 1:
        seen = f"in training mode {max(shares):.0%} of the scores are exactly 0, and none are so in"
        yield found("dropout-on-scores", f"{seen} evaluation mode")
