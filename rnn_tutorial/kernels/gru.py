"""A layer of nn.GRU by hand: the way forward, and backpropagation through time.

    r_t = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)             the reset gate
    z_t = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)             the update gate
    n_t = tanh(W_in x_t + b_in + r_t · (W_hn h_{t-1} + b_hn))  the candidate
    h_t = (1 - z_t) · n_t + z_t · h_{t-1},  h_{-1} = 0

W_ih stacks W_ir, W_iz and W_in, and likewise W_hh, b_ih and b_hh. Shapes: see update.py.

Source: Cho et al., Learning Phrase Representations using RNN Encoder–Decoder for Statistical
Machine Translation, 2014; with r_t applied after the product with W_hn, as in PyTorch and cuDNN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnn_tutorial.kernels.activations import sigmoid, tanh
from rnn_tutorial.kernels.arrays import add_rows, multiply, transpose
from rnn_tutorial.kernels.compiler import kernel
from rnn_tutorial.kernels.workspace import Sizes

GATES = 3  # blocks of H rows in W_ih and W_hh


class GruTrace(NamedTuple):
    """What the way forward leaves for the way back, and workspace to compute in."""

    states: np.ndarray  # h, (L, M, H)
    before: np.ndarray  # h_{t-1} of each step, (L, M, H)
    gates: np.ndarray  # r, z, n; on the way back their d_a, (L, M, 3H)
    recalled: np.ndarray  # W_hn h_{t-1} + b_hn, (L, M, H)
    W_ih_T: np.ndarray  # the transpose of a layer's W_ih, (E or H, 3H)
    W_hh_T: np.ndarray  # and of its W_hh, (H, 3H)
    recurrent: np.ndarray  # W_hh h_{t-1} of a step, (N, 3H)
    d_recurrent: np.ndarray  # the gradient with respect to W_hh h_{t-1} + b_hh, (M, 3H)
    d_next: np.ndarray  # the part of d_h_t that comes through later steps, (N, H)

    @classmethod
    def make(cls, sizes: Sizes, M: int, N: int, dtype: np.dtype) -> GruTrace:
        """Workspace for batches of N rows and at most M valid steps."""
        E, H, L = sizes.E, sizes.H, sizes.L
        of_steps = (L, M, H), (L, M, H), (L, M, 3 * H), (L, M, H)
        transposes = (max(E, H), 3 * H), (H, 3 * H)
        shapes = *of_steps, *transposes, (N, 3 * H), (M, 3 * H), (N, H)
        return cls(*(np.empty(shape, dtype) for shape in shapes))


@kernel
def forward(trace, index, inputs, weights, starts):
    """The states of layer `index` at all steps; see rnn.py for the arguments."""
    W_ih, W_hh, b_ih, b_hh = weights
    H = W_hh.shape[1]
    states, before, gates = trace.states[index], trace.before[index], trace.gates[index]
    recalled, recurrent = trace.recalled[index], trace.recurrent
    W_ih_T, W_hh_T = trace.W_ih_T[: W_ih.shape[1]], trace.W_hh_T
    transpose(W_ih, W_ih_T)
    transpose(W_hh, W_hh_T)
    multiply(inputs, W_ih_T, gates[: len(inputs)])  # (M, D) x (D, 3H)
    recurrent[:] = 0
    before[: starts[1]] = 0
    for t in range(len(starts) - 1):
        start, end = starts[t], starts[t + 1]
        if t > 0:
            earlier = starts[t - 1]
            for i in range(end - start):
                for j in range(H):
                    before[start + i, j] = states[earlier + i, j]
            multiply(before[start:end], W_hh_T, recurrent[: end - start])  # (n_t, H) x (H, 3H)
        for i in range(start, end):
            gate, products = gates[i], recurrent[i - start]
            for j in range(2 * H):
                gate[j] = sigmoid(gate[j] + b_ih[j] + (products[j] + b_hh[j]))
            recall, candidate, b_in = recalled[i], gate[2 * H :], b_ih[2 * H :]
            W_h, b_hn = products[2 * H :], b_hh[2 * H :]
            for j in range(H):
                recall[j] = W_h[j] + b_hn[j]
                candidate[j] = tanh(candidate[j] + b_in[j] + gate[j] * recall[j])
            state, z, h_before = states[i], gate[H : 2 * H], before[i]
            for j in range(H):
                state[j] = candidate[j] + z[j] * (h_before[j] - candidate[j])


@kernel
def backward(trace, index, inputs, weights, starts, d_states, d_weights):
    """Backpropagation through time, from the last step down.

        d_n = d_h · (1 - z),         d_a_n = d_n · (1 - n²)
        d_z = d_h · (h_{t-1} - n),   d_a_z = d_z · z (1 - z)
        d_r = d_a_n · (W_hn h_{t-1} + b_hn),  d_a_r = d_r · r (1 - r)
        d_h_{t-1} += d_h · z + W_hhᵀ (d_a_r, d_a_z, d_a_n · r)

    Then, all time steps at once, the gradients of the weights. The arguments are those of rnn.py;
    what is in d_states and in the trace's gates is used up, and d_weights must hold zeros.

    Returns:
        d_a, (M, 3H), the gradient with respect to W_ih x + b_ih.
    """
    _, W_hh, _, _ = weights
    d_W_ih, d_W_hh, d_b_ih, d_b_hh = d_weights
    M, H = d_states.shape
    before, gates, recalled = trace.before[index], trace.gates[index], trace.recalled[index]
    d_recurrent, d_next = trace.d_recurrent, trace.d_next
    d_next[:] = 0
    for t in range(len(starts) - 2, -1, -1):
        start, end = starts[t], starts[t + 1]
        for i in range(start, end):
            d_h, h_before, recall, gate = d_states[i], before[i], recalled[i], gates[i]
            r, z, n = gate[:H], gate[H : 2 * H], gate[2 * H :]
            d_row = d_recurrent[i]
            d_a_r, d_a_z, d_recall = d_row[:H], d_row[H : 2 * H], d_row[2 * H :]
            d_later = d_next[i - start]
            for j in range(H):
                d_h[j] += d_later[j]
            for j in range(H):
                d_a_z[j] = d_h[j] * (h_before[j] - n[j]) * (z[j] - z[j] * z[j])
            for j in range(H):
                d = d_h[j] - d_h[j] * z[j]
                n[j] = d - d * n[j] * n[j]  # from here on n holds d_a_n
                d_h[j] *= z[j]
            for j in range(H):
                d_recall[j] = n[j] * r[j]
                d_a_r[j] = n[j] * recall[j] * (r[j] - r[j] * r[j])
            for j in range(2 * H):  # the gates now hold d_a, for the products with the inputs
                gate[j] = d_row[j]
        if t > 0:
            multiply(d_recurrent[start:end], W_hh, d_next[: end - start])  # (n_t, 3H) x (3H, H)
            for i in range(start, end):
                d_h, d_later = d_states[i], d_next[i - start]
                for j in range(H):
                    d_later[j] += d_h[j]
    second = starts[1]  # in the first step h_{t-1} is 0
    np.dot(d_recurrent[second:M].T, before[second:M], d_W_hh)  # (3H, M) x (M, H)
    np.dot(gates[:M].T, inputs, d_W_ih)  # (3H, M) x (M, D)
    add_rows(gates[:M], d_b_ih)
    add_rows(d_recurrent[:M], d_b_hh)
    return gates[:M]
