"""A layer of nn.LSTM by hand: the way forward, and backpropagation through time.

    i_t, f_t, o_t = σ(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)   input, forget and output gate
    g_t = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)          what may be written to the cell
    c_t = f_t · c_{t-1} + i_t · g_t
    h_t = o_t · tanh(c_t),  h_{-1} = c_{-1} = 0

W_ih stacks those of i, f, g and o, and likewise W_hh, b_ih and b_hh. Shapes: see update.py.

Source: Hochreiter & Schmidhuber, Long Short-Term Memory, 1997; the forget gate: Gers et al., 2000.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnn_tutorial.kernels.activations import sigmoid, tanh
from rnn_tutorial.kernels.arrays import add_rows, multiply, transpose
from rnn_tutorial.kernels.compiler import kernel
from rnn_tutorial.kernels.workspace import Sizes

GATES = 4  # blocks of H rows in W_ih and W_hh


class LstmTrace(NamedTuple):
    """What the way forward leaves for the way back, and workspace to compute in."""

    states: np.ndarray  # h, (L, M, H)
    before: np.ndarray  # h_{t-1} of each step, (L, M, H)
    gates: np.ndarray  # i, f, g, o; on the way back their d_a, (L, M, 4H)
    cells: np.ndarray  # c, (L, M, H)
    cells_before: np.ndarray  # c_{t-1} of each step, (L, M, H)
    tanh_cells: np.ndarray  # tanh(c), (L, M, H)
    W_ih_T: np.ndarray  # the transpose of a layer's W_ih, (E or H, 4H)
    W_hh_T: np.ndarray  # and of its W_hh, (H, 4H)
    recurrent: np.ndarray  # W_hh h_{t-1} of a step, (N, 4H)
    d_next: np.ndarray  # the part of d_h_t that comes through later steps, (N, H)
    d_cells: np.ndarray  # the part of d_c_t that comes through later steps, (N, H)

    @classmethod
    def make(cls, sizes: Sizes, M: int, N: int, dtype: np.dtype) -> LstmTrace:
        """Workspace for batches of N rows and at most M valid steps."""
        E, H, L = sizes.E, sizes.H, sizes.L
        of_steps = (L, M, H), (L, M, H), (L, M, 4 * H), (L, M, H), (L, M, H), (L, M, H)
        transposes = (max(E, H), 4 * H), (H, 4 * H)
        shapes = *of_steps, *transposes, (N, 4 * H), (N, H), (N, H)
        return cls(*(np.empty(shape, dtype) for shape in shapes))


@kernel
def forward(trace, index, inputs, weights, starts):
    """The states of layer `index` at all steps; see rnn.py for the arguments."""
    W_ih, W_hh, b_ih, b_hh = weights
    H = W_hh.shape[1]
    states, before, gates = trace.states[index], trace.before[index], trace.gates[index]
    cells, cells_before = trace.cells[index], trace.cells_before[index]
    tanh_cells, recurrent = trace.tanh_cells[index], trace.recurrent
    W_ih_T, W_hh_T = trace.W_ih_T[: W_ih.shape[1]], trace.W_hh_T
    transpose(W_ih, W_ih_T)
    transpose(W_hh, W_hh_T)
    multiply(inputs, W_ih_T, gates[: len(inputs)])  # (M, D) x (D, 4H)
    recurrent[:] = 0
    before[: starts[1]] = 0
    cells_before[: starts[1]] = 0
    for t in range(len(starts) - 1):
        start, end = starts[t], starts[t + 1]
        if t > 0:
            earlier = starts[t - 1]
            for i in range(end - start):
                for j in range(H):
                    before[start + i, j] = states[earlier + i, j]
                    cells_before[start + i, j] = cells[earlier + i, j]
            multiply(before[start:end], W_hh_T, recurrent[: end - start])  # (n_t, H) x (H, 4H)
        for row in range(start, end):
            gate, products = gates[row], recurrent[row - start]
            for j in range(4 * H):
                gate[j] += (b_ih[j] + b_hh[j]) + products[j]
            for j in range(2 * H):
                gate[j] = sigmoid(gate[j])
            i, f, g, o = gate[:H], gate[H : 2 * H], gate[2 * H : 3 * H], gate[3 * H :]
            for j in range(H):
                g[j] = tanh(g[j])
                o[j] = sigmoid(o[j])
            c, c_before = cells[row], cells_before[row]
            for j in range(H):
                c[j] = f[j] * c_before[j] + i[j] * g[j]
            h, tanh_c = states[row], tanh_cells[row]
            for j in range(H):
                tanh_c[j] = tanh(c[j])
                h[j] = o[j] * tanh_c[j]


@kernel
def backward(trace, index, inputs, weights, starts, d_states, d_weights):
    """Backpropagation through time, from the last step down.

        d_c += d_h · o · (1 - tanh(c)²), where d_h and d_c hold what comes through later steps
        d_o = d_h · tanh(c),  d_i = d_c · g,  d_f = d_c · c_{t-1},  d_g = d_c · i
        d_a_i = d_i · i (1 - i), likewise for f and o; d_a_g = d_g · (1 - g²)
        d_c_{t-1} = d_c · f,  d_h_{t-1} += W_hhᵀ (d_a_i, d_a_f, d_a_g, d_a_o)

    Then, all time steps at once, the gradients of the weights. The arguments are those of rnn.py;
    what is in d_states and in the trace's gates is used up, and d_weights must hold zeros.

    Returns:
        d_a, (M, 4H), the gradient with respect to W_ih x + b_ih.
    """
    _, W_hh, _, _ = weights
    d_W_ih, d_W_hh, d_b_ih, d_b_hh = d_weights
    M, H = d_states.shape
    before, gates = trace.before[index], trace.gates[index]
    cells_before, tanh_cells = trace.cells_before[index], trace.tanh_cells[index]
    d_next, d_cells = trace.d_next, trace.d_cells
    d_next[:] = 0
    d_cells[:] = 0
    for t in range(len(starts) - 2, -1, -1):
        start, end = starts[t], starts[t + 1]
        for row in range(start, end):
            gate, tanh_c, c_before = gates[row], tanh_cells[row], cells_before[row]
            i, f, g, o = gate[:H], gate[H : 2 * H], gate[2 * H : 3 * H], gate[3 * H :]  # become d_a
            d_h, d_later, d_c = d_states[row], d_next[row - start], d_cells[row - start]
            for j in range(H):
                d_h[j] += d_later[j]
            for j in range(H):
                d = d_h[j] * o[j]
                d_c[j] += d - d * tanh_c[j] * tanh_c[j]
                o[j] = d_h[j] * tanh_c[j] * (o[j] - o[j] * o[j])
            for j in range(H):
                d = d_c[j] * i[j]
                i[j] = d_c[j] * g[j] * (i[j] - i[j] * i[j])
                g[j] = d - d * g[j] * g[j]
            for j in range(H):
                d_f = d_c[j] * c_before[j] * (f[j] - f[j] * f[j])
                d_c[j] *= f[j]
                f[j] = d_f
        if t > 0:
            multiply(gates[start:end], W_hh, d_next[: end - start])  # (n_t, 4H) x (4H, H)
    second = starts[1]  # in the first step h_{t-1} is 0
    np.dot(gates[second:M].T, before[second:M], d_W_hh)  # (4H, M) x (M, H)
    np.dot(gates[:M].T, inputs, d_W_ih)  # (4H, M) x (M, D)
    add_rows(gates[:M], d_b_ih)
    for j in range(len(d_b_ih)):
        d_b_hh[j] = d_b_ih[j]
    return gates[:M]
