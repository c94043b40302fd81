"""One update of the weights: the plain version to read first, then one that supports options.

Shapes: N batch, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from rnn_tutorial.data.batches import PackedBatch


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: PackedBatch,
    lr: float,
    max_grad_norm: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    """Train the model on one batch.

    Args:
        model: maps packed token ids to logits, (N, C).
        optimizer: of the model's parameters.
        batch: N sequences and their classes.
        lr: learning rate of this update.
        max_grad_norm: clip the gradient to this 2-norm; 0 does not clip.

    Returns:
        The loss, and the gradient's 2-norm before clipping if it was computed to clip.
    """
    optimizer.zero_grad()  # else the gradients would be added to those of the last update
    logits = model(batch.tokens)  # forward, (N, C)
    loss = cross_entropy(logits, batch.targets)
    loss.backward()
    grad_norm = clip_gradient(model, max_grad_norm)
    optimizer.param_groups[0]["lr"] = lr  # as the schedule says
    optimizer.step()
    return loss.detach(), grad_norm


def clip_gradient(model: nn.Module, max_grad_norm: float) -> Tensor | None:
    """Scale the gradient down to this 2-norm; returns the norm before, None for max_grad_norm 0."""
    return clip_grad_norm_(model.parameters(), max_grad_norm) if max_grad_norm else None


def update_with_options(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    passes: Sequence[PackedBatch],
    lr: float,
    max_grad_norm: float,
    penalty_share: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor | None]:
    """Like `update`, but with gradient accumulation, any loss, and weight decay that may change.

    Args:
        objective: maps a pass and the share of its penalties to its loss; see `Objective`.
        optimizer: of the objective's parameters.
        passes: parts of the batch, of equal size: their gradients are added.
        lr: learning rate of this update.
        max_grad_norm: clip the gradient to this 2-norm; 0 does not clip.
        penalty_share: of the objective's penalties, from 0 to 1.
        weight_decay: of this update.

    Returns:
        As `update`; the loss is the mean over the whole batch.
    """
    optimizer.zero_grad()
    losses = []
    for batch in passes:
        loss = objective(batch, penalty_share) / len(passes)  # they add up to the batch's mean
        loss.backward()
        losses.append(loss.detach())
    grad_norm = clip_gradient(objective, max_grad_norm)
    group = optimizer.param_groups[0]
    group["lr"], group["weight_decay"] = lr, weight_decay
    optimizer.step()
    return sum(losses), grad_norm
