"""The engines, which make the updates of a training.

    autograd   PyTorch's own parts, one update at a time: the one to read first
    compiled   the same updates by hand, compiled, many in one call: compiled.py
    graph      the same updates on a GPU, recorded once and replayed: cuda_graph.py

Shapes: K updates (one a batch).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from rnn_tutorial.data.batches import Batches
from rnn_tutorial.data.streams import dropout_seed
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.training.cuda_graph import graph_training_step
from rnn_tutorial.training.objective import Objective, changes_the_loss
from rnn_tutorial.training.schedule import EvaluationHistory, penalty_share, weight_decay
from rnn_tutorial.training.update import update, update_with_options

# engine(steps, learning_rates, batches, must_stop) makes one update for each of K batches and
# returns the loss of each, (K,), and the gradient's 2-norm at the last, before clipping, a scalar.
# It makes fewer when must_stop() is true.
MustStop = Callable[[], bool]
Result = tuple[Tensor, Tensor]
Engine = Callable[[range, Sequence[float], Batches, MustStop], Result]


def autograd_engine(
    model: RnnClsNet,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    world: World,
    history: EvaluationHistory,
    machine: Machine | None = None,
) -> Engine:
    """Updates one by one through PyTorch's own parts."""
    with_options = changes_the_loss(config) or config.accumulate_steps > 1
    network: nn.Module = Objective(model, config, machine) if with_options else model
    if world.size > 1:
        network = DistributedDataParallel(network)

    def engine(
        steps: range, learning_rates: Sequence[float], batches: Batches, must_stop: MustStop
    ) -> Result:
        batches = batches.share(world.rank, world.size)
        parts = (batches.share(i, config.accumulate_steps) for i in range(config.accumulate_steps))
        packed = zip(*(part.pack(config.device) for part in parts), strict=True)
        losses, clip = [], config.max_grad_norm
        for step, lr, passes in zip(steps, learning_rates, packed, strict=True):
            if config.dropout:
                torch.manual_seed(dropout_seed(config.seed, step, world.rank))
            if with_options:
                share = penalty_share(config, step, history)
                decay = weight_decay(config, share)
                loss, grad_norm = update_with_options(
                    network, optimizer, passes, lr, clip, share, decay
                )
            else:
                loss, grad_norm = update(network, optimizer, passes[0], lr, clip)
            losses.append(loss)
            if must_stop():
                break
        if grad_norm is None:
            grad_norm = get_total_norm([parameter.grad for parameter in model.parameters()])
        return world.mean(torch.stack(losses)), grad_norm

    return engine


def _compile_training_step(*arguments: Any, **options: Any) -> Callable[..., Result]:
    from rnn_tutorial.training.compiled import compile_training_step  # imports the compiler

    return compile_training_step(*arguments, **options)


# The engines that make a span of updates in one call, the fastest first.
SPAN_ENGINES = {"graph": graph_training_step, "compiled": _compile_training_step}


def make_engine(
    model: RnnClsNet,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    world: World,
    history: EvaluationHistory,
    machine: Machine | None = None,
) -> Engine:
    """The engine that the configuration names; load weights and optimizer state before.

    Args:
        history: goes on while the engine is used: what it shows decides about the penalties, and
            with them about weight decay.
        machine: of the task, for --center_loss.
    """
    if config.engine == "autograd":
        return autograd_engine(model, optimizer, config, world, history, machine)
    make_step = SPAN_ENGINES[config.engine]
    options = {"machine": machine} if config.center_loss else {}
    advance = make_step(model, optimizer, config.embed_noise, config.max_grad_norm, **options)
    at_once = 1  # updates of about a second, between which Ctrl-C is heeded

    def engine(
        steps: range, learning_rates: Sequence[float], batches: Batches, must_stop: MustStop
    ) -> Result:
        nonlocal at_once
        shares = [penalty_share(config, step, history) for step in steps]
        by_step = {name: [f * share for share in shares] for name, f in config.penalties.items()}
        if config.center_loss:
            by_step["weight_decays"] = [weight_decay(config, share) for share in shares]
        losses, made = [], 0
        while made < len(batches) and not (made and must_stop()):
            part = slice(made, made + at_once)
            started = time.perf_counter()
            of_part = {name: values[part] for name, values in by_step.items()}
            some_losses, grad_norms = advance(batches[part], learning_rates[part], **of_part)
            losses.append(some_losses)
            made += len(some_losses)
            grad_norms[-1].item()  # waits for a GPU
            at_once = 1 + int(len(some_losses) / (time.perf_counter() - started))
        return torch.cat(losses), grad_norms[-1]

    return engine
