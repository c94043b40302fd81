"""A layer of nn.RNN by hand: the way forward, and backpropagation through time.

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh),  h_{-1} = 0

Shapes: see update.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnn_tutorial.kernels.activations import tanh
from rnn_tutorial.kernels.arrays import add_product, add_rows, multiply, transpose
from rnn_tutorial.kernels.compiler import kernel
from rnn_tutorial.kernels.workspace import Sizes

GATES = 1  # blocks of H rows in W_ih and W_hh


class RnnTrace(NamedTuple):
    """What the way forward leaves for the way back, and workspace to compute in."""

    states: np.ndarray  # h, (L, M, H)
    before: np.ndarray  # h_{t-1} of each step of a layer, (M, H)
    W_ih_T: np.ndarray  # the transpose of a layer's W_ih, (E or H, H)
    W_hh_T: np.ndarray  # and of its W_hh, (H, H)
    recurrent: np.ndarray  # W_hh h_{t-1} of a step; on the way back W_hhᵀ d_a_{t+1}, (N, H)
    part: np.ndarray  # of d_W_hh, from a block of steps, (H, H)
    by_unit: np.ndarray  # what a penalty sums over the states, of each unit, (H,)
    reaches: np.ndarray  # Σ_j |W_hh[i, j]|, (H,)
    group_sizes: np.ndarray  # (M,)

    @classmethod
    def make(cls, sizes: Sizes, M: int, N: int, dtype: np.dtype) -> RnnTrace:
        """Workspace for batches of N rows and at most M valid steps."""
        E, H, L = sizes.E, sizes.H, sizes.L
        shapes = (L, M, H), (M, H), (max(E, H), H), (H, H), (N, H), (H, H), (H,), (H,), (M,)
        return cls(*(np.empty(shape, dtype) for shape in shapes))


@kernel
def forward(trace, index, inputs, weights, starts):
    """The states of layer `index` at all steps.

    Args:
        trace: its states of the layer receive h.
        index: of the layer.
        inputs: x, (M, D).
        weights: the layer's W_ih, W_hh, b_ih, b_hh.
        starts: first row of each time step, (T + 1,).
    """
    W_ih, W_hh, b_ih, b_hh = weights
    states, recurrent = trace.states[index][: len(inputs)], trace.recurrent
    W_ih_T, W_hh_T = trace.W_ih_T[: W_ih.shape[1]], trace.W_hh_T
    H = W_hh.shape[1]
    transpose(W_ih, W_ih_T)
    transpose(W_hh, W_hh_T)
    multiply(inputs, W_ih_T, states)  # needs no h, so all time steps at once: (M, D) x (D, H)
    recurrent[:] = 0
    for t in range(len(starts) - 1):
        start, rows = starts[t], starts[t + 1] - starts[t]
        if t > 0:
            earlier = starts[t - 1]
            # (n_t, H) x (H, H)
            multiply(states[earlier : earlier + rows], W_hh_T, recurrent[:rows])
        for i in range(rows):
            for j in range(H):
                states[start + i, j] = tanh(
                    states[start + i, j] + (b_ih[j] + b_hh[j]) + recurrent[i, j]
                )


@kernel
def backward(trace, index, inputs, weights, starts, d_states, d_weights):
    """Backpropagation through time, from the last step down.

        d_a_t = d_h_t · (1 - h_t²), where a_t is the argument of tanh
        d_h_{t-1} += W_hhᵀ d_a_t

    and then, all time steps at once, d_W_hh = Σ d_a_t h_{t-1}ᵀ, d_W_ih = Σ d_a_t x_tᵀ and
    d_b_ih = d_b_hh = Σ d_a_t.

    Args:
        trace: as `forward` has left it.
        index, inputs, weights, starts: as there.
        d_states: what d_h gets from above, (M, H).
        d_weights: receives the gradients of the weights; d_W_hh may already hold the penalty's.

    Returns:
        d_a, (M, H), which is also what d_states becomes.

    Source: Werbos, Backpropagation through time: what it does and how to do it, 1990.
    """
    _, W_hh, _, _ = weights
    d_W_ih, d_W_hh, d_b_ih, d_b_hh = d_weights
    states, before, d_next = trace.states[index], trace.before, trace.recurrent
    H = W_hh.shape[1]
    d_next[:] = 0
    for t in range(len(starts) - 2, -1, -1):
        start, end = starts[t], starts[t + 1]
        rows = end - start
        for i in range(rows):
            for j in range(H):
                h, d_h = states[start + i, j], d_states[start + i, j] + d_next[i, j]
                d_states[start + i, j] = d_h - d_h * h * h
        if t > 0:
            multiply(d_states[start:end], W_hh, d_next[:rows])  # (n_t, H) x (H, H)
            earlier = starts[t - 1]
            for i in range(rows):
                for j in range(H):
                    before[start + i, j] = states[earlier + i, j]
    M, second = len(d_states), starts[1]  # in the first step h_{t-1} is 0
    add_product(d_states[second:], before[second:M], trace.part, d_W_hh)  # (H, M) x (M, H)
    np.dot(d_states.T, inputs, d_W_ih)  # (H, M) x (M, D)
    add_rows(d_states, d_b_ih)
    for j in range(len(d_b_ih)):
        d_b_hh[j] = d_b_ih[j]
    return d_states


@kernel
def contract(trace, index, W_hh, factor, d_states, d_W_hh):
    """factor · mean over visited states and units i of (1 - h_i²) Σ_j |W_hh[i, j]|.

    The sum bounds row i of the Jacobian ∂h_t/∂h_{t-1}: where it is small, states draw together.
    Its gradients are added to d_states, (M, H), and d_W_hh, (H, H).
    """
    M, H = d_states.shape
    states, slopes, reaches = trace.states[index], trace.by_unit, trace.reaches
    real = d_states.dtype.type
    weight, one = real(factor / (M * H)), real(1)
    for i in range(H):
        slopes[i] = reaches[i] = 0
        for j in range(H):
            reaches[i] += abs(W_hh[i, j])
    for m in range(M):
        for i in range(H):
            h = states[m, i]
            slopes[i] += one - h * h
            d_states[m, i] -= (weight + weight) * reaches[i] * h
    for i in range(H):
        for j in range(H):
            pull = weight * slopes[i]
            d_W_hh[i, j] += pull if W_hh[i, j] > 0 else -pull if W_hh[i, j] < 0 else real(0)
    return weight * np.dot(slopes, reaches)


@kernel
def center(trace, index, groups, num_groups, factor, d_states):
    """factor · mean over visited states and units of (h_i - the mean of h_i in its group)².

    Its gradient is added to d_states, (M, H). The mean needs none of its own: around it, the
    differences of a group sum to 0. (`before` is free until the way back, and holds the means.)

    Source: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, 2016.
    """
    M, H = d_states.shape
    states, squares = trace.states[index], trace.by_unit
    means, sizes = trace.before[:num_groups], trace.group_sizes[:num_groups]
    real = d_states.dtype.type
    weight = real(factor / (M * H))
    means[:] = sizes[:] = squares[:] = 0
    for m in range(M):
        sizes[groups[m]] += real(1)
        for i in range(H):
            means[groups[m], i] += states[m, i]
    for k in range(num_groups):
        for i in range(H):
            means[k, i] /= sizes[k]
    for m in range(M):
        for i in range(H):
            difference = states[m, i] - means[groups[m], i]
            squares[i] += difference * difference
            d_states[m, i] += (weight + weight) * difference
    return weight * squares.sum()
