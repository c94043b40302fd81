"""Many updates in one call: batches in, trained weights out, every formula by hand.

    ids -> embed -> layer 0 -> … -> layer L-1 -> last valid state -> logits -> cross-entropy
    the same way back (backpropagation through time) -> clip -> AdamW -> the next batch

Valid steps are packed as in PackedSequence: all rows at t = 0, then those that still run at t = 1,
and so on. Rows are sorted by descending length, so the n_t rows that run at t are the first n_t.
Where time does not matter, packing turns many small matrix products into a single large one.

Shapes: K steps (batches), N batch, T time, M valid steps of a batch (the sum of its lengths),
E embedding, D input of a layer (E or H), H hidden, G gates of a cell, L layers, C classes,
V vocabulary, S states of a machine. `d_a` is the gradient of the loss with respect to `a`.
"""

from __future__ import annotations

import math

import numpy as np

from rnn_tutorial.kernels import gru, lstm, rnn
from rnn_tutorial.kernels.arrays import add_rows, multiply, scatter_rows
from rnn_tutorial.kernels.compiler import by_type, compile_function, kernel
from rnn_tutorial.kernels.gru import GruTrace
from rnn_tutorial.kernels.lstm import LstmTrace
from rnn_tutorial.kernels.rnn import RnnTrace

# By the name of a cell: what its layers leave for the way back, and the blocks of its matrices.
TRACES = {"rnn": RnnTrace, "gru": GruTrace, "lstm": LstmTrace}
GATES = {"rnn": rnn.GATES, "gru": gru.GATES, "lstm": lstm.GATES}


# ---- what depends on the cell ----

# Python finds the cell by the type of the trace at every call. numba must know it when it compiles:
# it asks the function decorated with @by_type, which gets the types of the arguments and returns
# the function to compile.
_CELLS = {RnnTrace: rnn, GruTrace: gru, LstmTrace: lstm}


def _forward(trace, index, inputs, weights, starts):
    """The states of layer `index`; see rnn.py."""
    return _CELLS[type(trace)].forward(trace, index, inputs, weights, starts)


def _backward(trace, index, inputs, weights, starts, d_states, d_weights):
    """Backpropagation through layer `index`; see rnn.py."""
    cell = _CELLS[type(trace)]
    return cell.backward(trace, index, inputs, weights, starts, d_states, d_weights)


@by_type(_forward)
def _forward_of(trace, index, inputs, weights, starts):
    return _CELLS[trace.instance_class].forward


@by_type(_backward)
def _backward_of(trace, index, inputs, weights, starts, d_states, d_weights):
    return _CELLS[trace.instance_class].backward


# ---- training ----


@compile_function
def train(
    memory,
    step,
    sizes,
    batches,
    noise,
    learning_rates,
    weight_decays,
    contraction,
    centering,
    max_grad_norm,
    hyperparameters,
    workspace,
    trace,
    losses,
    grad_norms,
):
    """K times: gradients, clipping, AdamW.

    Args:
        memory: all parameters in one flat array, and AdamW's two moving averages likewise.
        step: steps taken before.
        sizes: of the model.
        batches: x (K, N, T), seq_lengths (K, N), targets (K, N).
        noise: for the embedded tokens of all batches, (ΣM, E), or (0, E).
        learning_rates, weight_decays: of each step, (K,).
        contraction: the factor of each step's penalty, for nn.RNN, (K,); None is no penalty.
        centering: None for no center loss, or the factor of each step's, (K,); the state after
            each state and token of the machine, padding included, (S, V + 1); and -1 for each such
            pair, (S · (V + 1),), which is room for the number of its group.
        max_grad_norm: 0 is no clipping.
        hyperparameters: beta1, beta2, eps.
        workspace, trace: to compute in.
        losses, grad_norms: receive those of each step, (K,).
    """
    x, seq_lengths, targets = batches
    embedding, layers, W, b = _split(memory[0], sizes)
    d_embedding, d_layers, d_W, d_b = _split(workspace.gradients, sizes)
    noise_row = 0
    for k in range(len(x)):
        M = _pack(x[k], seq_lengths[k], workspace)
        ids, starts = workspace.ids[:M], workspace.starts[: seq_lengths[k, 0] + 1]
        embedded = workspace.embedded[:M]
        d_states, d_inputs = workspace.d_states[:M], workspace.d_inputs[:M]
        workspace.gradients[:] = 0

        # Forward, and back to the states that are classified.
        noise_end = min(noise_row + M, len(noise))
        _embed(embedding, ids, noise[noise_row:noise_end], embedded)
        noise_row = noise_end
        inputs = embedded
        for index in range(sizes.L):
            _forward(trace, index, inputs, _layer(layers, index, sizes), starts)
            inputs = trace.states[index][:M]
        _take_last(inputs, seq_lengths[k], starts, workspace)
        loss = _classify(W, b, targets[k], d_W, d_b, workspace)

        # Backward through the layers.
        _take_last_backward(d_states, workspace)
        num_groups = 0
        if centering is not None and centering[0][k] > 0:  # compiled only if there is one
            num_groups = _group(ids, starts, centering, workspace)
        for index in range(sizes.L - 1, -1, -1):
            inputs = trace.states[index - 1][:M] if index > 0 else embedded
            weights, d_weights = _layer(layers, index, sizes), _layer(d_layers, index, sizes)
            if contraction is not None and contraction[k] > 0:  # as above
                W_hh, d_W_hh = weights[1], d_weights[1]
                loss += rnn.contract(trace, index, W_hh, contraction[k], d_states, d_W_hh)
            if centering is not None and centering[0][k] > 0:
                groups = workspace.groups
                loss += rnn.center(trace, index, groups, num_groups, centering[0][k], d_states)
            d_a = _backward(trace, index, inputs, weights, starts, d_states, d_weights)  # (M, G·H)
            if index > 0:
                _inputs_backward(d_a, weights[0], d_inputs)
                d_states, d_inputs = d_inputs, d_states
        _embed_backward(d_a, ids, weights[0], d_embedding, workspace)

        # Update.
        losses[k], grad_norms[k] = loss, _clip(workspace.gradients, max_grad_norm)
        rate, decay = learning_rates[k], weight_decays[k]
        _adamw(memory, workspace.gradients, step + k + 1, rate, decay, hyperparameters)


@kernel
def _clip(gradients, max_grad_norm):
    """Scale the gradients down to the 2-norm max_grad_norm, if they are longer and it is not 0.

    Returns:
        Their 2-norm before.
    """
    grad_norm = math.sqrt(np.dot(gradients, gradients))
    if max_grad_norm > 0:
        scale = gradients.dtype.type(min(1.0, max_grad_norm / (float(grad_norm) + 1e-6)))
        for i in range(len(gradients)):
            gradients[i] *= scale
    return grad_norm


@kernel
def _adamw(memory, gradients, step, learning_rate, weight_decay, hyperparameters):
    """Weight decay p ← p - lr·wd·p, then Adam p ← p - lr · m̂ / (√v̂ + eps).

    With m ← β1 m + (1 - β1) g, v ← β2 v + (1 - β2) g², m̂ = m / (1 - β1ᵗ), v̂ = v / (1 - β2ᵗ).

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2.
    """
    parameters, exp_avg, exp_avg_sq = memory
    beta1, beta2, eps = hyperparameters
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


# ---- parts of a batch ----

# numba compiles twice what both `train` and a kernel call; so `train` calls only what is here.


@kernel
def _split(flat, sizes):
    """Views of embedding (V + 1, E), all layers (flat), weight (C, H) and bias (C,) of fc."""
    V, E, H, G, L, C = sizes
    layers = (V + 1) * E
    W = layers + G * H * (E + H + 2) + (L - 1) * G * H * (H + H + 2)
    b = W + C * H
    return flat[:layers].reshape(V + 1, E), flat[layers:W], flat[W:b].reshape(C, H), flat[b:]


@kernel
def _layer(layers, index, sizes):
    """Views of a layer's W_ih (G·H, D), W_hh (G·H, H), b_ih (G·H,) and b_hh (G·H,)."""
    E, H, rows = sizes.E, sizes.H, sizes.G * sizes.H
    D = E if index == 0 else H
    W_ih = 0 if index == 0 else rows * (E + H + 2) + (index - 1) * rows * (H + H + 2)
    W_hh = W_ih + rows * D
    b_ih = W_hh + rows * H
    b_hh = b_ih + rows
    return (
        layers[W_ih:W_hh].reshape(rows, D),
        layers[W_hh:b_ih].reshape(rows, H),
        layers[b_ih:b_hh],
        layers[b_hh : b_hh + rows],
    )


@kernel
def _pack(x, seq_lengths, workspace):
    """Pack the ids of a batch in the workspace: step t is ids[starts[t] : starts[t + 1]].

    Returns:
        M, the number of its valid steps.
    """
    ids, starts = workspace.ids, workspace.starts
    rows = len(seq_lengths)
    starts[0] = 0
    for t in range(seq_lengths[0]):
        while seq_lengths[rows - 1] <= t:
            rows -= 1
        starts[t + 1] = starts[t] + rows
        for row in range(rows):
            ids[starts[t] + row] = x[row, t]
    return starts[seq_lengths[0]]


@kernel
def _group(ids, starts, centering, workspace):
    """Number the groups of steps with one state of the machine and one last token.

    Returns:
        How many there are; workspace.groups has that of each step.
    """
    _, successors, numbers = centering
    machine_states, groups = workspace.machine_states, workspace.groups
    num_tokens = successors.shape[1]
    count = 0
    for t in range(len(starts) - 1):
        for row in range(starts[t + 1] - starts[t]):
            m = starts[t] + row
            before = machine_states[starts[t - 1] + row] if t > 0 else 0
            machine_states[m] = successors[before, ids[m]]
            pair = machine_states[m] * num_tokens + ids[m]
            if numbers[pair] < 0:
                numbers[pair] = count
                count += 1
            groups[m] = numbers[pair]
    for m in range(starts[-1]):
        numbers[machine_states[m] * num_tokens + ids[m]] = -1
    return count


@kernel
def _embed(embedding, ids, noise, embedded):
    """Rows of the embedding, with noise if there is any, (M, E)."""
    for m in range(len(ids)):
        for e in range(embedded.shape[1]):
            embedded[m, e] = embedding[ids[m], e]
    for m in range(len(noise)):
        for e in range(embedded.shape[1]):
            embedded[m, e] += noise[m, e]


@kernel
def _take_last(states, seq_lengths, starts, workspace):
    """The states of the last layer at each row's last valid step: where they are, and what."""
    ends, last = workspace.ends, workspace.last
    for n in range(len(ends)):
        ends[n] = starts[seq_lengths[n] - 1] + n
        for j in range(last.shape[1]):
            last[n, j] = states[ends[n], j]


@kernel
def _take_last_backward(d_states, workspace):
    """The gradient of the last layer's states: of those that are classified d_last, else 0."""
    d_states[:] = 0
    scatter_rows(workspace.d_last, workspace.ends, d_states)


@kernel
def _classify(W, b, targets, d_W, d_b, workspace):
    """The mean of -log softmax(logits)[target], where logits = last Wᵀ + b, and its gradients.

    With d_logits = (softmax(logits) - one_hot(target)) / N, (N, C), workspace.d_last receives
    d_logits W, (N, H), and d_W and d_b those of the classifier.
    """
    logits, d_logits = workspace.logits, workspace.d_logits
    N, C = logits.shape
    np.dot(workspace.last, W.T, logits)  # (N, H) x (H, C)
    loss = 0.0
    for n in range(N):
        for c in range(C):
            logits[n, c] += b[c]
        largest = logits[n, 0]
        for c in range(1, C):
            largest = max(largest, logits[n, c])
        total = 0.0
        for c in range(C):
            d_logits[n, c] = math.exp(logits[n, c] - largest)
            total += d_logits[n, c]
        loss += math.log(total) + largest - logits[n, targets[n]]
        for c in range(C):
            d_logits[n, c] = (d_logits[n, c] / total - (c == targets[n])) / N
    np.dot(d_logits, W, workspace.d_last)  # (N, C) x (C, H)
    np.dot(d_logits.T, workspace.last, d_W)  # (C, N) x (N, H)
    add_rows(d_logits, d_b)
    return loss / N


@kernel
def _inputs_backward(d_a, W_ih, d_inputs):
    """The gradient of the inputs of a layer, the states of the one below: d_inputs = d_a W_ih."""
    multiply(d_a, W_ih, d_inputs)  # (M, G·H) x (G·H, H)


@kernel
def _embed_backward(d_a, ids, W_ih, d_embedding, workspace):
    """The gradient of the embedding through layer 0's W_ih; the padding's, row V, stays 0.

    Summed by id first: then the product has V rows, not M.
    """
    V = len(d_embedding) - 1
    workspace.d_by_id[:] = 0
    scatter_rows(d_a, ids, workspace.d_by_id)  # Σ d_a over the steps of each id
    np.dot(workspace.d_by_id[:V], W_ih, d_embedding[:V])  # (V, G·H) x (G·H, E)
