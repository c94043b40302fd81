"""The network in interval arithmetic: what a step can make of all hidden states in a box.

Rounding. The claim is about the float32 numbers that the network really computes, in any batch and
on any machine that keeps to this model of arithmetic:
  - IEEE float32, round to nearest, u = 2⁻²⁴. A sum of n products and biases, in any order, with or
    without fused multiply-add, errs by at most γ_n Σ|a_i b_i|, γ_n = n u / (1 - n u). Underflow, to
    subnormal numbers or to zero, adds at most 2⁻¹²⁶ an operation. (A machine that reads subnormal
    states as zero is covered, too: a box that holds one holds zero, so much is it widened. TF32 and
    bfloat16 are not this: on a GPU, torch.backends.cudnn.allow_tf32 must be False.)
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, chapter 3.
  - tanh errs by at most TANH_ERROR and σ by at most SIGMOID_ERROR, whatever computes them; a
    computed σ is in 0 to 1.
Boxes are widened and margins are narrowed by these bounds. The float64 arithmetic of this program
follows the same model with u = 2⁻⁵³; its errors are covered by _SPARE.

Shapes: B boxes, V tokens, C classes, L layers, H hidden, D input of a layer (the embedding of
layer 0, else H), G rows of a layer's weights (H, or of a GRU 3 H: those of r, z and n).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.settings.model_options import PROVABLE_IN_WORDS

UNIT_ROUNDOFF = 2.0**-24
# torch's and NumPy's tanh err by at most 4 units in the last place, 2.4e-7 below 1. 2 σ(2x) - 1
# errs by twice the error of σ, of which exp, the sum and the quotient each make 2⁻²⁴: 3.6e-7.
TANH_ERROR = 2.0**-21
# σ = 1 / (1 + exp(-x)): of an error of exp of 2⁻²² σ (1 - σ) makes at most 2⁻²⁴; the sum and the
# quotient make 2⁻²⁴ each. (1 + tanh(x / 2)) / 2 errs by half of TANH_ERROR and the sum's 2⁻²⁵.
SIGMOID_ERROR = 2.0**-21
# h' = (h - n) z + n, or (1 - z) n + z h, in float32: with M the larger of |h| and |n|, the
# difference and the product err by at most 2 u M each, the sum by u M; the other order by less.
_BLEND_ERROR = 8 * UNIT_ROUNDOFF * (1 + 2.0**-9)
LARGEST_STATE = 1 + 2.0**-10  # boxes do not reach beyond it: |h| ≤ 1 but for rounding
MAX_NUMBERS = 2**24  # in the boxes, or in the images of a level of sequences: 128 MiB
_LARGEST_WEIGHT = 2.0**32
# Every rounding bound is this much larger than float32 needs. The excess, 2⁻¹⁰ n 2⁻²⁴ Σ|a_i b_i|
# and 2⁻¹⁰ TANH_ERROR, is a thousand times the error of the few float64 operations in each bound.
_SPARE = 1 + 2.0**-10

Boxes = tuple[np.ndarray, np.ndarray]  # lows and highs, (B, L, H), or of one layer (B, H)
_Balls = tuple[np.ndarray, np.ndarray]  # centres and radii, (B, G) or (G,)


def rounding_bound(num_terms: int, mass: np.ndarray) -> np.ndarray:
    """How much a float32 sum may err: num_terms products, of absolute values that sum to `mass`."""
    gamma = num_terms * UNIT_ROUNDOFF / (1 - num_terms * UNIT_ROUNDOFF)
    return gamma * _SPARE * mass + 4 * num_terms * 2.0**-126


class IntervalNet:
    """What the network can make of every hidden state in a box, rounding included.

    Attributes:
        cell: "rnn" or "gru".
        num_tokens, num_layers, hidden_dim: V, L, H.

    Raises:
        ValueError: the network is none of PROVABLE_IN_WORDS, or not in float32 of finite weights.
    """

    def __init__(self, model: RnnClsNet) -> None:
        rnn, fc = model.rnn, model.fc
        if not model.is_provable:
            raise ValueError(f"only {PROVABLE_IN_WORDS} can be certified")
        if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
            raise ValueError("only float32 weights can be certified")
        if not all(parameter.abs().max() < _LARGEST_WEIGHT for parameter in model.parameters()):
            raise ValueError("a weight is not a number, or so large that float32 may overflow")
        inputs = _as_float64(model.embedding.weight)[:-1]  # (V, D)
        self.num_tokens = len(inputs)
        self.num_layers, self.hidden_dim = rnn.num_layers, rnn.hidden_size
        layers = [[_as_float64(part) for part in weights] for weights in rnn.all_weights]
        self._layers = [_Layer(layers[0], inputs), *map(_Layer, layers[1:])]
        self.cell = "gru" if isinstance(rnn, nn.GRU) else "rnn"
        self._act = _act_gru if self.cell == "gru" else _act_rnn
        self._fc_weight, self._fc_bias = _as_float64(fc.weight), _as_float64(fc.bias)
        mass = LARGEST_STATE * np.abs(self._fc_weight).sum(axis=1) + np.abs(self._fc_bias)
        self._score_rounding = rounding_bound(self.hidden_dim + 1, mass)  # (C,)

    def images(self, low: np.ndarray, high: np.ndarray) -> Iterator[Boxes]:
        """Boxes of the next hidden states, for token 0, then 1, …."""
        layers = list(enumerate(self._layers))
        from_states = [layer.from_states(low[:, index], high[:, index]) for index, layer in layers]
        for token in range(self.num_tokens):
            boxes: list[Boxes] = []
            for index, layer in layers:
                from_inputs = layer.from_inputs(*boxes[-1]) if index else layer.from_token(token)
                before = low[:, index], high[:, index]
                boxes.append(self._act(from_inputs, from_states[index], before))
            new_low, new_high = zip(*boxes, strict=True)
            yield np.stack(new_low, axis=1), np.stack(new_high, axis=1)

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


class _Layer:
    """The sums of one layer, W_ih x + b_ih and W_hh h + b_hh, as balls: a centre and a radius.

    A box with centre c and radius r has the sums W c + b ± |W| r. The rounding of both sums, and of
    the two operations by which a GRU multiplies one by a gate in 0 to 1 and adds the other, is in
    the radius of the first.

    Args:
        weights: W_ih (G, D), W_hh (G, H), b_ih (G,), b_hh (G,).
        inputs: the embedded tokens, (V, D), of layer 0; the others' are states.
    """

    def __init__(self, weights: Sequence[np.ndarray], inputs: np.ndarray | None = None) -> None:
        w_ih, w_hh, b_ih, self._b_hh = weights
        self._w_ih, self._w_hh = w_ih.T, w_hh.T
        largest = np.full((1, len(self._w_ih)), LARGEST_STATE) if inputs is None else np.abs(inputs)
        mass = largest @ np.abs(self._w_ih) + LARGEST_STATE * np.abs(w_hh).sum(axis=1)
        mass += np.abs(b_ih) + np.abs(self._b_hh)
        self._rounding = rounding_bound(len(self._w_ih) + len(self._w_hh) + 4, mass)  # (V or 1, G)
        self._b_ih = b_ih if inputs is None else inputs @ self._w_ih + b_ih  # (V, G) of layer 0

    def from_token(self, token: int) -> _Balls:
        return self._b_ih[token], self._rounding[token]

    def from_inputs(self, low: np.ndarray, high: np.ndarray) -> _Balls:
        centre, radius = _multiply(low, high, self._w_ih)
        return centre + self._b_ih, radius + self._rounding

    def from_states(self, low: np.ndarray, high: np.ndarray) -> _Balls:
        centre, radius = _multiply(low, high, self._w_hh)
        return centre + self._b_hh, radius


def _act_rnn(from_inputs: _Balls, from_states: _Balls, before: Boxes) -> Boxes:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return _tanh(from_inputs[0] + from_states[0], from_inputs[1] + from_states[1])


def _act_gru(from_inputs: _Balls, from_states: _Balls, before: Boxes) -> Boxes:
    """h' = n + z (h - n), n = tanh(W_in x + b_in + r (W_hn h + b_hn)), and the gates r and z.

    h' and r (W_hn h + b_hn) are monotone in each of their factors: the ends are at corners.
    """
    hidden = before[0].shape[1]
    gates, new = slice(2 * hidden), slice(2 * hidden, None)
    (input_centre, input_radius), (state_centre, state_radius) = from_inputs, from_states
    r_and_z = _sigmoid(
        input_centre[..., gates] + state_centre[:, gates],
        input_radius[..., gates] + state_radius[:, gates],
    )
    q = state_centre[:, new] - state_radius[:, new], state_centre[:, new] + state_radius[:, new]
    corners = [r[:, :hidden] * end for r in r_and_z for end in q]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
    n = _tanh(input_centre[..., new] + (low + high) / 2, input_radius[..., new] + (high - low) / 2)
    low, high = (
        [end + z[:, hidden:] * (state - end) for z in r_and_z]
        for end, state in zip(n, before, strict=True)
    )
    error = _BLEND_ERROR * LARGEST_STATE
    return np.minimum(*low) - error, np.maximum(*high) + error


def _tanh(centre: np.ndarray, radius: np.ndarray) -> Boxes:
    ends = np.stack((centre - radius, centre + radius))
    low, high = torch.from_numpy(ends).tanh().numpy()  # twice as fast as NumPy's
    return low - _SPARE * TANH_ERROR, high + _SPARE * TANH_ERROR


def _sigmoid(centre: np.ndarray, radius: np.ndarray) -> Boxes:
    """1 / (1 + exp(-x)), of x up to where exp does not overflow."""
    ends = (centre - radius, centre + radius)
    low, high = (1 / (1 + np.exp(np.minimum(-end, 700))) for end in ends)
    error = _SPARE * SIGMOID_ERROR
    return np.maximum(low - error, 0), np.minimum(high + error, 1)


def _as_float64(weights: Tensor) -> np.ndarray:
    return weights.detach().cpu().numpy().astype(np.float64)


def _multiply(
    low: np.ndarray, high: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and radii of the boxes times a matrix."""
    return (low + high) / 2 @ weights, (high - low) / 2 @ np.abs(weights)
