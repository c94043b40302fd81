"""The network in interval arithmetic: what a step can make of all hidden states in a box.

Rounding. The claim is about the float32 numbers that the network really computes, in any batch and
on any machine that keeps to this model of arithmetic:
  - IEEE float32, round to nearest, u = 2⁻²⁴. A sum of n products and biases, in any order, with or
    without fused multiply-add, errs by at most γ_n Σ|a_i b_i|, γ_n = n u / (1 - n u). Underflow, to
    subnormal numbers or to zero, adds at most 2⁻¹²⁶ an operation. (TF32 and bfloat16 are not this.)
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, chapter 3.
  - tanh errs by at most TANH_ERROR, whatever computes it.
Boxes are widened and margins are narrowed by these bounds. The float64 arithmetic of this program
follows the same model with u = 2⁻⁵³; its errors are covered by _SPARE.

Shapes: B boxes, V tokens, C classes, L layers, H hidden, D input of a layer (the embedding of
layer 0, else H).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS

UNIT_ROUNDOFF = 2.0**-24
# torch's and NumPy's tanh err by at most 4 units in the last place, 2.4e-7 below 1. 2 σ(2x) - 1
# errs by twice the error of σ, of which exp, the sum and the quotient each make 2⁻²⁴: 3.6e-7.
TANH_ERROR = 2.0**-21
LARGEST_STATE = 1 + 2 * TANH_ERROR  # of |h|, for whatever computes tanh
_LARGEST_WEIGHT = 2.0**32
# Every rounding bound is this much larger than float32 needs. The excess, 2⁻¹⁰ n 2⁻²⁴ Σ|a_i b_i|
# and 2⁻¹⁰ TANH_ERROR, is a thousand times the error of the few float64 operations in each bound.
_SPARE = 1 + 2.0**-10

Boxes = tuple[np.ndarray, np.ndarray]  # lows and highs, (B, L, H)


def rounding_bound(num_terms: int, mass: np.ndarray) -> np.ndarray:
    """How much a float32 sum may err: num_terms products, of absolute values that sum to `mass`."""
    gamma = num_terms * UNIT_ROUNDOFF / (1 - num_terms * UNIT_ROUNDOFF)
    return gamma * _SPARE * mass + 4 * num_terms * 2.0**-126


class IntervalNet:
    """What the network can make of every hidden state in a box, rounding included.

    Attributes:
        num_tokens, num_layers, hidden_dim: V, L, H.

    Raises:
        ValueError: the network is not plain, or not in float32 of finite weights.
    """

    def __init__(self, model: RnnClsNet) -> None:
        rnn, fc = model.rnn, model.fc
        if not model.is_plain:
            raise ValueError(f"only {PLAIN_IN_WORDS} can be certified")
        if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
            raise ValueError("only float32 weights can be certified")
        if not all(parameter.abs().max() < _LARGEST_WEIGHT for parameter in model.parameters()):
            raise ValueError("a weight is not a number, or so large that float32 may overflow")
        inputs = _as_float64(model.embedding.weight)[:-1]  # (V, D)
        self.num_tokens = len(inputs)
        self.num_layers, self.hidden_dim = rnn.num_layers, rnn.hidden_size
        self._layers = []
        for index, weights in enumerate(rnn.all_weights):
            w_ih, w_hh, b_ih, b_hh = map(_as_float64, weights)
            mass = LARGEST_STATE * np.abs(w_hh).sum(axis=1) + np.abs(b_ih) + np.abs(b_hh)
            if index == 0:  # its inputs are known: their product is added as a bias
                mass = mass + np.abs(inputs) @ np.abs(w_ih).T
                bias = inputs @ w_ih.T + b_ih + b_hh  # (V, H)
            else:
                mass = mass + LARGEST_STATE * np.abs(w_ih).sum(axis=1)
                bias = np.tile(b_ih + b_hh, (self.num_tokens, 1))
            rounding = rounding_bound(sum(w_ih.shape[1:] + w_hh.shape[1:]) + 2, mass)
            self._layers.append((w_ih.T, w_hh.T, bias, np.broadcast_to(rounding, bias.shape)))
        self._fc_weight, self._fc_bias = _as_float64(fc.weight), _as_float64(fc.bias)
        mass = LARGEST_STATE * np.abs(self._fc_weight).sum(axis=1) + np.abs(self._fc_bias)
        self._score_rounding = rounding_bound(self.hidden_dim + 1, mass)  # (C,)

    def images(self, low: np.ndarray, high: np.ndarray) -> Iterator[Boxes]:
        """Boxes of the next hidden states, for token 0, then 1, ….

        A box with centre c and radius r has the pre-activations W c + b ± (|W| r + rounding).
        """
        recurrent = [
            _multiply(low[:, index], high[:, index], layer[1])
            for index, layer in enumerate(self._layers)
        ]
        for token in range(self.num_tokens):
            new_low, new_high = np.empty_like(low), np.empty_like(high)
            for index, (w_ih, _, bias, rounding) in enumerate(self._layers):
                centre, radius = recurrent[index]
                if index > 0:
                    c, r = _multiply(new_low[:, index - 1], new_high[:, index - 1], w_ih)
                    centre, radius = centre + c, radius + r
                centre, radius = centre + bias[token], radius + rounding[token]
                new_low[:, index] = np.tanh(centre - radius) - _SPARE * TANH_ERROR
                new_high[:, index] = np.tanh(centre + radius) + _SPARE * TANH_ERROR
            yield new_low, new_high

    def margins(self, low: np.ndarray, high: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Score of the right class minus the best other score, at least, in each box, (B,)."""
        smallest = np.empty(len(low))
        for right in np.unique(classes):
            rows = classes == right
            difference = self._fc_weight[right] - self._fc_weight  # (C, H)
            centre, radius = _multiply(low[rows, -1], high[rows, -1], difference.T)
            rounding = self._score_rounding[right] + self._score_rounding
            margins = centre - radius + self._fc_bias[right] - self._fc_bias - rounding
            margins[:, right] = np.inf
            smallest[rows] = margins.min(axis=1)
        return smallest


def _as_float64(weights: Tensor) -> np.ndarray:
    return weights.detach().cpu().numpy().astype(np.float64)


def _multiply(
    low: np.ndarray, high: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and radii of the boxes times a matrix."""
    return (low + high) / 2 @ weights, (high - low) / 2 @ np.abs(weights)
