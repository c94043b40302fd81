"""Training without a framework: every formula of a step by hand, compiled by numba.

    ids -> embed -> layer 0 -> … -> layer L-1 -> last valid state -> scores -> cross-entropy
    the same way back (backpropagation through time) -> clip -> AdamW -> the next batch

Plain functions on arrays replace `loss.backward()`, `clip_grad_norm_` and `optimizer.step()`, and
take many steps a call. They work in place on the memory of the nn.Module and of its optimizer, so
that everything else (evaluation, checkpoints, going on with autograd) meets a usual PyTorch model.

Valid steps are packed as in PackedSequence: all rows at t = 0, then those that still run at t = 1,
and so on. Rows are sorted by descending length, so the n_t rows that run at t are the first n_t.
Where time does not matter, packing turns many small matrix products into a single large one.

Shapes: K steps (batches), N batch, T time, M valid steps of a batch (the sum of its lengths),
E embedding, D input of a layer (E or H), H hidden, L layers, C classes, V vocabulary.
`d_a` is the gradient of the loss with respect to `a`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.data.batches import Batches
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.training.compiler import OPTIONS, compile_function, keep_compiled, numba
from rnn_tutorial.training.support import check_supported, missing_libraries

if numba:
    from numba.extending import overload

Advance = Callable[..., tuple[Tensor, Tensor]]


# ---- what the training script calls ----


def compile_training_step(
    model: RnnClsNet,
    optimizer: torch.optim.AdamW,
    embed_noise: float = 0.0,
    max_grad_norm: float = 0.0,
) -> Advance:
    """Make the function that trains the model on K batches in one call.

    The first call compiles, for some seconds; numba keeps the result on disk for later processes.
    Load checkpoints before: parameters and optimizer state become views of shared memory here.

    Args:
        model: trained in place.
        optimizer: its betas, eps and weight_decay are used and its state is kept up to date.
        embed_noise: standard deviation of the Gaussian noise on the embedded input.
        max_grad_norm: clip the gradients to this 2-norm over all parameters; 0 is no clipping.

    Returns:
        `advance(batches, learning_rates, contraction=None) -> losses, grad_norms`.
        batches: K batches, with noise if and only if embed_noise > 0.
        learning_rates: of each step, (K,).
        contraction: of each step, the factor of the contraction penalty, (K,); None is zero.
        losses, grad_norms: of each step, float64, (K,); the gradient's 2-norm is before clipping.

    Raises:
        ValueError: the model or the optimizer is not supported.
    """
    if absent := missing_libraries():
        raise ValueError(f"the compiled engine cannot be used: {absent}")
    check_supported(model, optimizer, "compiled")
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise ValueError("the compiled engine trains models on the CPU only")
    _prepare_numba()
    modules = model.embedding, model.rnn, model.fc
    parameters = [parameter for module in modules for parameter in module.parameters()]
    states = [_state_of(parameter, optimizer) for parameter in parameters]
    values = _share(parameters)
    exp_avg, exp_avg_sq, steps = (
        _share([state[name] for state in states]) for name in ("exp_avg", "exp_avg_sq", "step")
    )
    rnn, cls_num = model.rnn, model.fc.out_features
    vocab_size = model.arguments["vocab_size"]
    sizes = vocab_size, rnn.input_size, rnn.hidden_size, rnn.num_layers, cls_num

    def advance(
        batches: Batches,
        learning_rates: Sequence[float],
        contraction: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        moved = parameters[0].data_ptr() != values.ctypes.data
        if moved or optimizer.state.get(parameters[0]) is not states[0]:
            raise RuntimeError(
                "model or optimizer were loaded or moved; compile_training_step again"
            )
        no_noise = torch.empty(0, rnn.input_size)
        noise = no_noise if batches.noise is None else torch.cat(batches.noise)  # (ΣM, E)
        if contraction is None:
            contraction = np.zeros(len(learning_rates))
        parts = batches.x, batches.seq_lengths, batches.targets
        arrays = tuple(_as_array(part, np.int64) for part in parts)
        _check(arrays, sizes, learning_rates, noise, embed_noise, contraction)
        group = optimizer.param_groups[0]
        losses, grad_norms = _train(
            (values, exp_avg, exp_avg_sq),
            int(steps[0]),
            sizes,
            arrays,
            (_as_array(noise, values.dtype), float(embed_noise)),
            _as_array(learning_rates, np.float64),
            _as_array(contraction, np.float64),
            float(max_grad_norm),
            (*group["betas"], group["eps"], float(group["weight_decay"])),
        )
        steps[:] += len(losses)
        group["lr"] = float(learning_rates[-1])
        return torch.from_numpy(losses), torch.from_numpy(grad_norms)

    return advance


def _prepare_numba() -> None:
    """Give BLAS as many threads as torch has, and keep on disk what numba compiles."""
    # OpenBLAS reads this when scipy loads it; by itself it takes every core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(torch.get_num_threads()))
    keep_compiled(_train)


def _state_of(parameter: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state of a parameter, as AdamW's first step would create it."""
    state = optimizer.state[parameter]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
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
    sizes: tuple[int, ...],
    learning_rates: Sequence[float],
    noise: Tensor,
    embed_noise: float,
    contraction: Sequence[float],
) -> None:
    """Refuse what would read or write outside an array, where compiled code does not look."""
    x, seq_lengths, targets = batches
    K, N, T = x.shape
    V, E, _, _, C = sizes
    M_total = int(seq_lengths.sum()) if embed_noise > 0 else 0
    shapes = {
        "seq_lengths": (seq_lengths.shape, (K, N)),
        "targets": (targets.shape, (K, N)),
        "learning_rates": (np.shape(learning_rates), (K,)),
        "contraction": (np.shape(contraction), (K,)),
        "noise": (np.shape(noise), (M_total, E)),
    }
    for name, (shape, wanted) in shapes.items():
        if shape != wanted:
            raise ValueError(f"{name} has shape {shape}; wanted is {wanted}")
    ranges = {
        "x": (x, 0, V),
        "seq_lengths": (seq_lengths, 1, T),
        "targets": (targets, 0, C - 1),
    }
    for name, (values, lowest, highest) in ranges.items():
        if values.min() < lowest or values.max() > highest:
            raise ValueError(f"{name} has values outside {lowest} to {highest}")
    if (seq_lengths[:, 1:] > seq_lengths[:, :-1]).any():
        raise ValueError("seq_lengths must descend within each batch")


# ---- training ----


@compile_function
def _train(
    memory,
    step,
    sizes,
    batches,
    noise,
    learning_rates,
    contraction,
    max_grad_norm,
    hyperparameters,
):
    """K times: gradients, clipping, AdamW.

    Args:
        memory: all parameters in one flat array, and AdamW's two moving averages likewise.
        step: steps taken before.
        sizes: V, E, H, L, C.
        batches: x (K, N, T), seq_lengths (K, N), targets (K, N).
        noise: standard normal numbers, (ΣM, E) or (0, E), and their factor.
        learning_rates, contraction: of each step, (K,).
        max_grad_norm: 0 is no clipping.
        hyperparameters: beta1, beta2, eps, weight_decay.

    Returns:
        Losses and gradient norms, (K,).
    """
    parameters = memory[0]
    x, seq_lengths, targets = batches
    normal, embed_noise = noise
    K = len(x)
    losses, grad_norms = np.empty(K), np.empty(K)
    gradients = np.empty_like(parameters)
    first = 0
    for k in range(K):
        end = first + seq_lengths[k].sum()
        losses[k] = _loss_and_gradients(
            parameters,
            gradients,
            sizes,
            (x[k], seq_lengths[k], targets[k]),
            (normal[first:end], embed_noise),
            contraction[k],
        )
        first = end
        grad_norms[k] = math.sqrt(np.dot(gradients, gradients))
        if max_grad_norm > 0:
            gradients *= parameters.dtype.type(min(1.0, max_grad_norm / (grad_norms[k] + 1e-6)))
        _adamw(memory, gradients, step + k + 1, learning_rates[k], hyperparameters)
    return losses, grad_norms


@compile_function
def _adamw(memory, gradients, step, learning_rate, hyperparameters):
    """Weight decay p ← p - lr·wd·p, then Adam p ← p - lr · m̂ / (√v̂ + eps).

    With m ← β1 m + (1 - β1) g, v ← β2 v + (1 - β2) g², m̂ = m / (1 - β1ᵗ), v̂ = v / (1 - β2ᵗ).

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2.
    """
    parameters, exp_avg, exp_avg_sq = memory
    beta1, beta2, eps, weight_decay = hyperparameters
    # In the parameters' own precision: one float64 would turn the whole loop into float64.
    real = parameters.dtype.type
    keep1, add1, keep2, add2 = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2)
    decay = real(1 - learning_rate * weight_decay)
    rate = real(learning_rate / (1 - beta1**step))
    scale = real(1 / math.sqrt(1 - beta2**step))
    tiny = real(eps)
    for i in range(len(parameters)):
        g = gradients[i]
        exp_avg[i] = keep1 * exp_avg[i] + add1 * g
        exp_avg_sq[i] = keep2 * exp_avg_sq[i] + add2 * g * g
        direction = exp_avg[i] / (math.sqrt(exp_avg_sq[i]) * scale + tiny)
        parameters[i] = decay * parameters[i] - rate * direction


# ---- one batch: loss and gradients ----


@compile_function
def _loss_and_gradients(parameters, gradients, sizes, batch, noise, contraction):
    """The loss of a batch; `gradients` receives its gradient."""
    V, E, H, L, _ = sizes
    x, seq_lengths, targets = batch
    embedding, layers, W, b = _split(parameters, sizes)
    d_embedding, d_layers, d_W, d_b = _split(gradients, sizes)

    # Forward.
    ids, starts = _pack(x, seq_lengths)  # (M,), (T + 1,)
    ends = starts[seq_lengths - 1] + np.arange(len(x))  # each row's last valid step, (N,)
    embedded = _embed(embedding, ids, noise)  # (M, E)
    states = np.empty((L, len(ids), H), parameters.dtype)
    for index in range(L):
        inputs = states[index - 1] if index > 0 else embedded
        _forward(inputs, _layer(layers, index, E, H), starts, states[index])
    last = states[L - 1][ends]  # (N, H)
    scores = np.dot(last, W.T) + b  # (N, C)
    d_scores = np.empty_like(scores)
    loss = _cross_entropy(scores, targets, d_scores)

    # Backward: the same in reverse.
    gradients.fill(0)
    np.dot(d_scores.T, last, d_W)  # (C, N) x (N, H)
    _sum_rows(d_scores, d_b)
    d_states = np.zeros((len(ids), H), parameters.dtype)
    _add_rows(d_states, ends, np.dot(d_scores, W))
    d_inputs = np.empty_like(d_states)
    for index in range(L - 1, -1, -1):
        inputs = states[index - 1] if index > 0 else embedded
        W_ih, W_hh, _, _ = _layer(layers, index, E, H)
        d_weights = _layer(d_layers, index, E, H)
        if contraction > 0:
            loss += _contract(states[index], W_hh, contraction, d_states, d_weights[1])
        _backward(inputs, W_hh, d_weights, starts, states[index], d_states)
        if index > 0:
            np.dot(d_states, W_ih, d_inputs)  # (M, H) x (H, H)
            d_states, d_inputs = d_inputs, d_states
    d_by_id = np.zeros((V + 1, H), parameters.dtype)  # Σ d_a over the steps of each id
    _add_rows(d_by_id, ids, d_states)
    # Through layer 0's W_ih, (V, H) x (H, E); row V, the padding, gets no gradient.
    np.dot(d_by_id[:V], _layer(layers, 0, E, H)[0], d_embedding[:V])
    return loss


@compile_function
def _split(flat, sizes):
    """Views of embedding (V + 1, E), all layers (flat), weight (C, H) and bias (C,) of fc."""
    V, E, H, L, C = sizes
    layers = (V + 1) * E
    W = layers + H * (E + H + 2) + (L - 1) * H * (H + H + 2)
    b = W + C * H
    return flat[:layers].reshape(V + 1, E), flat[layers:W], flat[W:b].reshape(C, H), flat[b:]


@compile_function
def _layer(layers, index, E, H):
    """Views of a layer's W_ih (H, D), W_hh (H, H), b_ih (H,) and b_hh (H,)."""
    D = E if index == 0 else H
    W_ih = 0 if index == 0 else H * (E + H + 2) + (index - 1) * H * (H + H + 2)
    W_hh = W_ih + H * D
    b_ih = W_hh + H * H
    b_hh = b_ih + H
    return (
        layers[W_ih:W_hh].reshape(H, D),
        layers[W_hh:b_ih].reshape(H, H),
        layers[b_ih:b_hh],
        layers[b_hh : b_hh + H],
    )


@compile_function
def _pack(x, seq_lengths):
    """Ids of the valid steps, time by time, (M,); step t is ids[starts[t]:starts[t + 1]]."""
    longest, rows = seq_lengths[0], len(seq_lengths)
    ids = np.empty(seq_lengths.sum(), np.int64)
    starts = np.zeros(longest + 1, np.int64)
    for t in range(longest):
        while seq_lengths[rows - 1] <= t:
            rows -= 1
        starts[t + 1] = starts[t] + rows
        for row in range(rows):
            ids[starts[t] + row] = x[row, t]
    return ids, starts


@compile_function
def _embed(embedding, ids, noise):
    """Rows of the embedding, with noise if there is any, (M, E)."""
    normal, embed_noise = noise
    embedded = embedding[ids]
    if len(normal) > 0:
        embedded += normal.dtype.type(embed_noise) * normal
    return embedded


@compile_function
def _forward(inputs, weights, starts, states):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) for all t, with h_{-1} = 0.

    Args:
        inputs: x, (M, D).
        weights: the layer's W_ih, W_hh, b_ih, b_hh.
        starts: first row of each time step, (T + 1,).
        states: receives h, (M, H).
    """
    W_ih, W_hh, b_ih, b_hh = weights
    bias = b_ih + b_hh
    np.dot(inputs, W_ih.T, states)  # needs no h, so all time steps at once: (M, D) x (D, H)
    recurrent = np.zeros((starts[1], len(bias)), states.dtype)  # W_hh h_{t-1}, (N, H)
    for t in range(len(starts) - 1):
        start, rows = starts[t], starts[t + 1] - starts[t]
        if t > 0:
            before = starts[t - 1]
            np.dot(states[before : before + rows], W_hh.T, recurrent[:rows])  # (n_t, H) x (H, H)
        for i in range(rows):
            for j in range(len(bias)):
                states[start + i, j] = _tanh(states[start + i, j] + bias[j] + recurrent[i, j])


@compile_function
def _cross_entropy(scores, targets, d_scores):
    """Mean of -log softmax(scores)[target].

    d_scores, (N, C), receives the gradient (softmax(scores) - one_hot(target)) / N.
    """
    N, C = scores.shape
    loss = 0.0
    for n in range(N):
        largest = scores[n].max()
        total = 0.0
        for c in range(C):
            d_scores[n, c] = math.exp(scores[n, c] - largest)
            total += d_scores[n, c]
        loss += math.log(total) + largest - scores[n, targets[n]]
        for c in range(C):
            d_scores[n, c] = (d_scores[n, c] / total - (c == targets[n])) / N
    return loss / N


@compile_function
def _backward(inputs, W_hh, d_weights, starts, states, d_states):
    """Backpropagation through time of one layer.

    With a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh and h_t = tanh(a_t), from the last step down:
        d_a_t = d_h_t · (1 - h_t²)
        d_W_hh += d_a_t h_{t-1}ᵀ
        d_h_{t-1} += W_hhᵀ d_a_t
    and then, all time steps at once, d_W_ih = Σ d_a_t x_tᵀ and d_b_ih = d_b_hh = Σ d_a_t.

    Args:
        inputs: x, (M, D).
        W_hh: (H, H).
        d_weights: gradients of the layer's weights, zero so far except for d_W_hh.
        starts: first row of each time step, (T + 1,).
        states: h, (M, H).
        d_states: what d_h gets from above, (M, H); becomes d_a.

    Source: Werbos, Backpropagation through time: what it does and how to do it, 1990.
    """
    d_W_ih, d_W_hh, d_b_ih, d_b_hh = d_weights
    H = len(W_hh)
    d_next = np.zeros((starts[1], H), states.dtype)  # W_hhᵀ d_a_{t+1}, (N, H)
    outer = np.empty((H, H), states.dtype)
    for t in range(len(starts) - 2, -1, -1):
        start, end = starts[t], starts[t + 1]
        rows = end - start
        for i in range(rows):
            for j in range(H):
                h, d_h = states[start + i, j], d_states[start + i, j] + d_next[i, j]
                d_states[start + i, j] = d_h - d_h * h * h
        if t > 0:
            before = starts[t - 1]
            np.dot(d_states[start:end], W_hh, d_next[:rows])  # (n_t, H) x (H, H)
            np.dot(d_states[start:end].T, states[before : before + rows], outer)
            for i in range(H):
                for j in range(H):
                    d_W_hh[i, j] += outer[i, j]
    np.dot(d_states.T, inputs, d_W_ih)  # (H, M) x (M, D)
    _sum_rows(d_states, d_b_ih)
    d_b_hh += d_b_ih


@compile_function
def _contract(states, W_hh, factor, d_states, d_W_hh):
    """factor · mean over visited states and units i of (1 - h_i²) Σ_j |W_hh[i, j]|.

    The sum bounds row i of the Jacobian ∂h_t/∂h_{t-1}: where it is small, states draw together.
    Its gradients are added to d_states, (M, H), and d_W_hh, (H, H).
    """
    M, H = states.shape
    real = states.dtype.type
    weight, one = real(factor / (M * H)), real(1)
    slopes = np.zeros(H, states.dtype)  # Σ over the states of 1 - h_i²
    reaches = np.empty(H, states.dtype)  # Σ_j |W_hh[i, j]|
    for i in range(H):
        reaches[i] = np.abs(W_hh[i]).sum()
    pull = (weight + weight) * reaches
    for m in range(M):
        for i in range(H):
            h = states[m, i]
            slopes[i] += one - h * h
            d_states[m, i] -= pull[i] * h
    for i in range(H):
        for j in range(H):
            d_W_hh[i, j] += weight * slopes[i] * np.sign(W_hh[i, j])
    return weight * np.dot(slopes, reaches)


@compile_function
def _sum_rows(matrix, total):
    """total[j] += Σ_i matrix[i, j]."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            total[j] += matrix[i, j]


@compile_function
def _add_rows(total, positions, matrix):
    """total[positions[i]] += matrix[i] for all i."""
    for i in range(len(positions)):
        row = total[positions[i]]
        for j in range(len(row)):
            row[j] += matrix[i, j]


# ---- the hyperbolic tangent ----

# math.tanh is computed one number at a time. The rational function x · p(x²) / q(x²) fills whole
# vector registers; over all float32 it errs by less than 3.1e-7 of the value. Beyond the limit it
# is constant, 1 - 2e-7. Coefficients in float32 keep the arithmetic in float32.
# Source: Eigen, src/Core/MathFunctionsImpl.h, ptanh_float.
_LIMIT = np.float32(7.90531110763549805)
_P9, _P7, _P5, _P3 = map(
    np.float32, (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)
)
_Q8, _Q6, _Q4, _Q2 = map(
    np.float32, (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1)
)
_ONE = np.float32(1)


def _tanh(x):
    """tanh(x), in float32 by a rational function."""
    return math.tanh(x)


def _rational_tanh(x):
    x = _LIMIT if x > _LIMIT else x  # a comparison with NaN is false: NaN stays NaN
    x = -_LIMIT if x < -_LIMIT else x
    s = x * x
    p = (((_P9 * s + _P7) * s + _P5) * s + _P3) * s + _ONE
    q = (((_Q8 * s + _Q6) * s + _Q4) * s + _Q2) * s + _ONE
    return x * p / q


if numba:

    @overload(_tanh, jit_options=OPTIONS)
    def _tanh_for(x):
        return _rational_tanh if x == numba.float32 else lambda x: math.tanh(x)
