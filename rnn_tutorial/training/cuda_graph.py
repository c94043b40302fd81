"""Training on a GPU that never waits for Python: one update captured as a CUDA graph, replayed.

    CPU  draw K batches -> pad the noise -> pinned memory ──┐ copied while both go on working
    GPU  K batches in memory <──────────────────────────────┘
         ┌> batch at `position` -> embed -> nn.RNN -> last valid state -> logits -> cross-entropy
         │  backward -> clip -> AdamW -> loss at `position` -> position + 1 ─┐  replayed K times
         └───────────────────────────────────────────────────────────────────┘

A small net needs many kernels of a few microseconds for an update, and Python launches them more
slowly than the GPU runs them. A CUDA graph holds them all and is launched by one call. Each time it
does the same work at the same addresses, so whatever differs from update to update (the batch, its
noise, the learning rate, the place for the loss) is found through a counter that it moves itself.

Nothing in the graph may need the CPU. Packing does, for the lengths; so the RNN runs over all T
steps of the padded rows instead, and the state at `length - 1` is taken from its output. Later
states get no gradient, so the padding contributes nothing.

Shapes: K steps (batches) of a call, S steps that fit in the memory, N batch, T time, E embedding,
H hidden, C classes, M valid steps of a batch (the sum of its lengths).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.backends import cudnn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from rnn_tutorial.data.batches import Batches, valid_steps
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.training.support import check_supported

Advance = Callable[..., tuple[Tensor, Tensor]]

# What the memory holds at most: steps, and numbers of noise (16 MB of them).
_MAX_STEPS, _MAX_NOISE = 1024, 2**22
_WARM_UP_STEPS = 3


class _Memory(NamedTuple):
    """What the graph reads and writes, at addresses that stay."""

    x: Tensor  # token ids, int64, (S, N, T)
    seq_lengths: Tensor  # int64, (S, N)
    targets: Tensor  # int64, (S, N)
    learning_rates: Tensor  # float32, which the fused AdamW requires, (S,)
    noise: Tensor | None  # standard normal numbers, if there is noise, (S, T, N, E)
    results: Tensor  # loss and gradient norm, (S, 2)
    position: Tensor  # of the next step in this memory, int64, (1,)


def graph_training_step(
    model: RnnClsNet,
    optimizer: torch.optim.AdamW,
    embed_noise: float = 0.0,
    max_grad_norm: float = 0.0,
) -> Advance:
    """Make the function that trains the model on K batches without waiting for the GPU.

    On a CUDA device its first call captures the update; on any other device the same update runs
    step by step. Between calls, model and optimizer are as after the same steps in a usual loop.

    Args:
        model: trained in place.
        optimizer: an AdamW(fused=True); its settings are used and its state is kept up to date.
        embed_noise: standard deviation of the Gaussian noise on the embedded input.
        max_grad_norm: clip the gradients to this 2-norm over all parameters; 0 is no clipping.

    Returns:
        `advance(batches, learning_rates) -> losses, grad_norms`.
        batches: K batches on the CPU, with noise if and only if embed_noise > 0.
        learning_rates: of each step, (K,).
        losses, grad_norms: of each step, on the model's device, (K,); the gradient's 2-norm is
            before clipping. Only reading them waits for the GPU.

    Raises:
        ValueError: the model is not plain, or the optimizer is not an AdamW(fused=True) with one
            parameter group.
    """
    check_supported(model, optimizer, "graph")
    group = optimizer.param_groups[0]
    if not group["fused"]:
        raise ValueError("the graph engine needs an AdamW with fused=True")
    on_gpu = next(model.parameters()).is_cuda
    if on_gpu:
        # Else cuDNN's RNN may differ in the last bits from run to run; cuBLAS reads it at its
        # start. Source: the documentation of torch.nn.RNN.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2")
    memory, run_step, prepared_for = None, None, None

    def advance(batches: Batches, learning_rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        nonlocal memory, run_step, prepared_for
        if len(learning_rates) != len(batches.x):
            raise ValueError(f"{len(learning_rates)} learning rates for {len(batches.x)} batches")
        if (batches.noise is not None) != (embed_noise > 0):
            raise ValueError(
                f"the batches must have noise if and only if embed_noise {embed_noise:g} > 0"
            )
        shape = batches.x.shape[1:]
        if prepared_for != (shape, on_gpu and _addresses(model, optimizer)):
            memory = _reserve_memory(model, *shape, with_noise=embed_noise > 0)
            run_step = partial(_step, model, optimizer, memory, embed_noise, max_grad_norm)
            if on_gpu:
                run_step = _capture(run_step, model, optimizer, memory)
            prepared_for = shape, on_gpu and _addresses(model, optimizer)
        inputs = [batches.x, batches.seq_lengths, batches.targets, torch.as_tensor(learning_rates)]
        if batches.noise is not None:
            inputs.append(_pad_noise(batches))
        results = []
        for chunk in zip(*(part.split(len(memory.x)) for part in inputs), strict=True):
            _load(memory, chunk)
            for _ in chunk[0]:
                run_step()
            results.append(memory.results[: len(chunk[0])].clone())
        group["lr"] = float(learning_rates[-1])
        return torch.cat(results).unbind(1)

    return advance


def _step(
    model: RnnClsNet,
    optimizer: torch.optim.AdamW,
    memory: _Memory,
    embed_noise: float,
    max_grad_norm: float,
) -> None:
    """One update from the batch at the memory's position, by work on the model's device alone."""

    def at_position(values: Tensor) -> Tensor:
        return values.index_select(0, memory.position).squeeze(0)

    embedded = model.embedding(at_position(memory.x))  # (N, T, E)
    if embed_noise:
        embedded = embedded + embed_noise * at_position(memory.noise).transpose(0, 1)
    output, _ = model.rnn(embedded)  # (N, T, H)
    last_step = (at_position(memory.seq_lengths) - 1).view(-1, 1, 1)  # (N, 1, 1)
    last_state = output.gather(1, last_step.expand(-1, -1, output.shape[2])).squeeze(1)  # (N, H)
    loss = cross_entropy(model.fc(last_state), at_position(memory.targets))
    optimizer.zero_grad()
    loss.backward()
    grad_norm = clip_grad_norm_(model.parameters(), max_grad_norm or math.inf)
    optimizer.param_groups[0]["lr"] = at_position(memory.learning_rates)
    optimizer.step()
    result = torch.stack([loss.detach(), grad_norm]).unsqueeze(0)  # (1, 2)
    memory.results.index_copy_(0, memory.position, result)
    memory.position.add_(1)


def _capture(
    step: Callable[[], None], model: RnnClsNet, optimizer: torch.optim.AdamW, memory: _Memory
) -> Callable[[], None]:
    """Record a step as a CUDA graph; parameters and optimizer state stay as they are.

    Source: PyTorch's notes on CUDA semantics, "CUDA Graphs", "Whole-network capture".

    Returns:
        The function that runs the recorded step.
    """
    device = memory.position.device
    saved = {tensor: tensor.detach().clone() for tensor in _trained_tensors(model, optimizer)}
    group = optimizer.param_groups[0]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    # In full float32, as on the CPU; cuDNN's default is the coarser TF32.
    with cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        # What is made on first use, such as handles and the optimizer's state, is made outside.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_STEPS):
                memory.position.zero_()
                step()
        group["capturable"] = True
        with torch.cuda.graph(graph, stream=stream):
            step()  # recorded, not run
        group["capturable"] = False
    torch.cuda.current_stream(device).wait_stream(stream)
    with torch.no_grad():
        for tensor in _trained_tensors(model, optimizer):
            if tensor in saved:
                tensor.copy_(saved[tensor])
            else:  # AdamW's state starts at zero
                tensor.zero_()
    return graph.replay


def _trained_tensors(model: RnnClsNet, optimizer: torch.optim.AdamW) -> list[Tensor]:
    """The parameters and the optimizer's state, as far as it exists."""
    states = [tensor for state in optimizer.state.values() for tensor in state.values()]
    return [*model.parameters(), *states]


def _addresses(model: RnnClsNet, optimizer: torch.optim.AdamW) -> list[int]:
    """Where the parameters and the optimizer's state lie."""
    return [tensor.data_ptr() for tensor in _trained_tensors(model, optimizer)]


def _reserve_memory(model: RnnClsNet, N: int, T: int, with_noise: bool) -> _Memory:
    """Memory for as many steps as the limits allow, at least one; valid to train on."""
    weight = model.embedding.weight
    E = weight.shape[1]
    S = max(1, min(_MAX_STEPS, _MAX_NOISE // (N * T * E)))
    ids = partial(torch.zeros, dtype=torch.int64, device=weight.device)
    return _Memory(
        x=ids(S, N, T),
        seq_lengths=ids(S, N) + 1,
        targets=ids(S, N),
        learning_rates=torch.zeros(S, dtype=torch.float32, device=weight.device),
        noise=weight.new_zeros(S, T, N, E) if with_noise else None,
        results=weight.new_zeros(S, 2),
        position=ids(1),
    )


def _load(memory: _Memory, chunk: Sequence[Tensor]) -> None:
    """Copy up to S steps into the memory, which may still be read: the copies wait, not Python."""
    for reserved, values in zip(memory, chunk, strict=False):
        values = values.to(reserved.dtype)
        if reserved.is_cuda:
            values = values.pin_memory()  # freed only when the copy is done
        reserved[: len(values)].copy_(values, non_blocking=True)
    memory.position.zero_()


def _pad_noise(batches: Batches) -> Tensor:
    """The noise of the batches put where its steps are, (K, T, N, E)."""
    noise = torch.cat(batches.noise)  # (ΣM, E)
    is_valid = valid_steps(batches.seq_lengths, batches.x.shape[2])  # (K, T, N)
    padded = noise.new_zeros(*is_valid.shape, noise.shape[1])
    padded[is_valid] = noise
    return padded
