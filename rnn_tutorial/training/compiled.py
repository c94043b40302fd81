"""The compiled engine: many updates a call, by hand, without autograd.

What kernels/ computes replaces `loss.backward()`, `clip_grad_norm_` and `optimizer.step()`. It
works in place on the memory of the nn.Module and of its optimizer, so that everything else
(evaluation, checkpoints, going on with autograd) meets a usual PyTorch model.

Shapes: K steps (batches), N batch, T time, M valid steps of a batch (the sum of its lengths),
E embedding, C classes, V vocabulary, S states of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.data.batches import Batches
from rnn_tutorial.kernels.compiler import keep_compiled, without_collector
from rnn_tutorial.kernels.update import GATES, TRACES, train
from rnn_tutorial.kernels.workspace import Sizes, Workspace
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.training.optimizer import new_state
from rnn_tutorial.training.support import check_supported, missing_libraries

Advance = Callable[..., tuple[Tensor, Tensor]]


def compile_training_step(
    model: RnnClsNet,
    optimizer: torch.optim.AdamW,
    embed_noise: float = 0.0,
    max_grad_norm: float = 0.0,
    machine: Machine | None = None,
) -> Advance:
    """Make the function that trains the model on K batches in one call.

    The first call compiles, for some seconds; numba keeps the result on disk for later processes.
    Load checkpoints before: parameters and optimizer state become views of shared memory here.

    Args:
        model: trained in place.
        optimizer: its betas and eps are used, and its weight_decay if `advance` gets none; its
            state is kept up to date.
        embed_noise: standard deviation of the Gaussian noise on the embedded input.
        max_grad_norm: clip the gradients to this 2-norm over all parameters; 0 is no clipping.
        machine: what the model should compute, for the center loss; None allows none.

    Returns:
        `advance(batches, learning_rates, contraction, center_loss, weight_decays)
        -> losses, grad_norms`.
        batches: K batches, with noise if and only if embed_noise > 0.
        learning_rates: of each step, (K,).
        contraction, center_loss: the factor of that penalty in each step, (K,); None is none.
        weight_decays: of each step, (K,); None leaves the optimizer's.
        losses, grad_norms: of each step, float64, (K,); the gradient's 2-norm is before clipping.

    Raises:
        ValueError: the model or the optimizer is not supported, or the machine is not the model's.
    """
    if absent := missing_libraries():
        raise ValueError(f"the compiled engine cannot be used: {absent}")
    check_supported(model, optimizer, "compiled")
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise ValueError("the compiled engine trains models on the CPU only")
    limit_openblas()
    keep_compiled(train)
    modules = model.embedding, model.rnn, model.fc
    parameters = [parameter for module in modules for parameter in module.parameters()]
    states = [_state_of(parameter, optimizer) for parameter in parameters]
    values = _share(parameters)
    exp_avg, exp_avg_sq, steps = (
        _share([state[name] for state in states]) for name in ("exp_avg", "exp_avg_sq", "step")
    )
    cell, rnn = model.arguments["cell"], model.rnn
    make_trace = TRACES[cell].make
    sizes = Sizes(
        V=model.arguments["vocab_size"],
        E=rnn.input_size,
        H=rnn.hidden_size,
        G=GATES[cell],
        L=rnn.num_layers,
        C=model.fc.out_features,
    )
    no_noise = np.empty((0, sizes.E), values.dtype)
    if machine is not None:
        machine.check_sizes(sizes.V, sizes.C)
        # (S, V + 1): padding, the last token, leaves a state as it is.
        successors = np.column_stack([machine.tables()[0], np.arange(machine.num_states)])
        numbers = np.full(successors.size, -1)
    workspace = trace = None

    def advance(
        batches: Batches,
        learning_rates: Sequence[float],
        contraction: Sequence[float] | None = None,
        center_loss: Sequence[float] | None = None,
        weight_decays: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        nonlocal workspace, trace
        moved = parameters[0].data_ptr() != values.ctypes.data
        if moved or optimizer.state.get(parameters[0]) is not states[0]:
            raise RuntimeError(
                "the model was moved or its optimizer loaded; call compile_training_step again"
            )
        if (contraction is not None or center_loss is not None) and cell != "rnn":
            raise ValueError(f"the compiled engine has no penalty on the states of cell {cell!r}")
        if center_loss is not None and machine is None:
            raise ValueError("the center loss needs a machine")
        parts = batches.x, batches.seq_lengths, batches.targets
        arrays = tuple(_as_array(part, np.int64) for part in parts)
        noise = no_noise
        if batches.noise is not None:
            noise = torch.cat(batches.noise).numpy() * values.dtype.type(embed_noise)  # (ΣM, E)
        group = optimizer.param_groups[0]
        if weight_decays is None:
            weight_decays = [group["weight_decay"]] * len(arrays[0])
        by_step = {"learning_rates": learning_rates, "weight_decays": weight_decays}
        penalties = {"contraction": contraction, "center_loss": center_loss}
        by_step |= {name: values for name, values in penalties.items() if values is not None}
        _check(arrays, sizes, noise, embed_noise, by_step)
        centering = None
        if center_loss is not None:
            centering = _as_array(center_loss, np.float64), successors, numbers
        _, N, T = arrays[0].shape
        M = int(arrays[1].sum(axis=1).max())
        if workspace is None or not workspace.fits(M, N, T):
            workspace = Workspace.make(sizes, M, N, T, values)
            trace = make_trace(sizes, M, N, values.dtype)
        losses, grad_norms = np.empty(len(arrays[0])), np.empty(len(arrays[0]))
        with without_collector():  # the first call compiles
            train(
                (values, exp_avg, exp_avg_sq),
                int(steps[0]),
                sizes,
                arrays,
                _as_array(noise, values.dtype),
                _as_array(learning_rates, np.float64),
                _as_array(weight_decays, np.float64),
                None if contraction is None else _as_array(contraction, np.float64),
                centering,
                float(max_grad_norm),
                (*group["betas"], group["eps"]),
                workspace,
                trace,
                losses,
                grad_norms,
            )
        steps[:] += len(losses)
        group["lr"], group["weight_decay"] = float(learning_rates[-1]), float(weight_decays[-1])
        return torch.from_numpy(losses), torch.from_numpy(grad_norms)

    return advance


def limit_openblas() -> None:
    """Let the products of the engine have as many threads as torch has, unless that is set.

    SciPy's copy of OpenBLAS reads the variable when SciPy is imported; by itself it takes every
    core. NumPy has a copy of its own, which was loaded before and keeps the threads that it took.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(torch.get_num_threads()))


def _state_of(parameter: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state of a parameter, as AdamW's first step would create it."""
    state = optimizer.state[parameter]
    if not state:
        state.update(new_state(parameter))
    return state


def _share(tensors: Sequence[Tensor]) -> np.ndarray:
    """Move tensors into one flat array; each becomes a view of its part."""
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.data = part.view(tensor.shape)
    return flat.numpy()


def _as_array(values: Tensor | np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """An array of the one memory layout that is compiled for."""
    return np.require(values, dtype, ["C_CONTIGUOUS", "WRITEABLE"])


def _check(
    batches: tuple[np.ndarray, ...],
    sizes: Sizes,
    noise: np.ndarray,
    embed_noise: float,
    by_step: Mapping[str, Sequence[float]],
) -> None:
    """Refuse what would read or write outside an array, where compiled code does not look."""
    x, seq_lengths, targets = batches
    K, N, T = x.shape
    if not x.size:
        raise ValueError("there are no batches to train on")
    M_total = int(seq_lengths.sum()) if embed_noise > 0 else 0
    shapes = {
        "seq_lengths": (seq_lengths.shape, (K, N)),
        "targets": (targets.shape, (K, N)),
        "noise": (np.shape(noise), (M_total, sizes.E)),
    }
    shapes |= {name: (np.shape(values), (K,)) for name, values in by_step.items()}
    for name, (shape, wanted) in shapes.items():
        if shape != wanted:
            raise ValueError(f"{name} has shape {shape}; wanted is {wanted}")
    ranges = {
        "x": (x, 0, sizes.V),
        "seq_lengths": (seq_lengths, 1, T),
        "targets": (targets, 0, sizes.C - 1),
    }
    for name, (values, lowest, highest) in ranges.items():
        if values.min() < lowest or values.max() > highest:
            raise ValueError(f"{name} has values outside {lowest} to {highest}")
    if (seq_lengths[:, 1:] > seq_lengths[:, :-1]).any():
        raise ValueError("seq_lengths must descend within each batch")
