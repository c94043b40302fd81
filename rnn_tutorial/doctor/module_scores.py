"""The scores of a classifier: finite, of any size, and of each sequence alone.

Part of `module_checks`. Shapes: N batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_findings import TABLE
from rnn_tutorial.doctor.module_probe import Probe

FRESH_NETS = 8  # networks whose scores all have a mark only if the code makes it
NOISE = (1.0, 3.0, 10.0, 30.0)  # deviation of the noise on their weights: some scores get wide


@torch.no_grad()
def check_finiteness(probe: Probe) -> Iterator[Finding]:
    """No NaN or infinity for any length."""
    scores = probe.scores(*probe.batch())
    is_wrong = ~scores.isfinite().all(dim=1)
    if is_wrong.any():
        lengths = sorted(set(probe.lengths[is_wrong.cpu()].tolist()))
        yield TABLE.found(
            "non-finite-scores",
            f"NaN or infinity in {int(is_wrong.sum())} of {len(scores)} rows, of lengths {lengths}",
            advice="the weights may be NaN already: see the gradient norms of training"
            if is_wrong.all()
            else "look for log, std, softmax over nothing, or division by a count that can be 0",
        )


@torch.no_grad()
def check_range(probe: Probe) -> Iterator[Finding]:
    """Scores for cross_entropy are any numbers; softmax, sigmoid, ReLU and tanh leave marks.

    log_softmax leaves one too but does no harm: applied again by cross_entropy it changes nothing.
    """
    scores = probe.scores(*probe.batch())
    classes = scores.shape[1]
    if classes < 2:
        return

    def sums_to_1(values: Tensor, dim: int) -> bool:
        return bool(((values.sum(dim) - 1).abs() <= probe.tolerance).all())

    is_positive = bool((scores >= 0).all())
    if (is_positive and sums_to_1(scores, 0)) or sums_to_1(scores.exp(), 0):
        yield TABLE.found(
            "softmax-over-batch", "each class's probabilities sum to 1 over the rows of the batch"
        )
        return
    if is_positive and sums_to_1(scores, 1):
        yield TABLE.found(
            "softmax-output",
            "every row of the scores is positive and sums to 1",
            floor=_floor(1.0, classes),
        )
        return
    nets = [probe.refreshed(i, NOISE[i % len(NOISE)]) for i in range(FRESH_NETS)]
    marked = torch.cat([net.scores(*net.batch()) for net in nets])
    marked = marked[marked.isfinite().all(dim=1)]
    if len(marked) < len(scores):
        return
    low, high = marked.min().item(), marked.max().item()
    zeros = (marked == 0).double().mean().item()
    if low == 0 and high > 1 and zeros > 0.01:
        yield TABLE.found(
            "relu-on-scores",
            f"whatever the weights, no score is negative; {zeros:.0%} are exactly 0",
            "likely",
        )
    elif low >= 0 and high <= 1 and high > low:
        yield TABLE.found(
            "sigmoid-output",
            "whatever the weights, all scores lie between 0 and 1, and rows do not sum to 1",
            "possible",
            floor=_floor(1.0, classes),
        )
    elif low >= -1 - probe.tolerance and high <= 1 + probe.tolerance and high > low:
        yield TABLE.found(
            "bounded-scores",
            f"whatever the weights, all scores lie between {low:.2f} and {high:.2f}",
            "likely",
            floor=_floor(2.0, classes),
        )


def _floor(width: float, classes: int) -> str:
    """The loss where the right class is so far above all others."""
    lowest = math.log(math.exp(width) + classes - 1) - width
    return f"the loss cannot fall below {lowest:.2f} with {classes} classes"
