"""A proof that a network answers every sequence of every length right, or the reason why not.

The hidden state after t digits is h_t = f(h_{t-1}, x_t), with h_0 = 0. The proof is a finite
automaton whose states are boxes of hidden states. Each abstract state has a residue, a box (an
interval for every hidden unit) and a successor for every digit. State 0 is the empty sequence. If

    1. state 0 has residue 0, and h_0 is in its box,
    2. for every state s and digit d, f(·, d) takes the box of s into the box of its successor,
       whose residue is that of s plus d, modulo (max_number + 1),
    3. in the box of every successor, the class that is the residue has the highest score,

then every sequence ends in the box of a state with its own residue, by induction over its digits,
and is answered right. Whether 1 to 3 hold is decided by interval arithmetic; however the automaton
was found, it cannot make the proof wrong. It is found so:

    explore  breadth first over sequences: one whose hidden state is nearly that of an earlier
             sequence with the same residue shares its abstract state and is not continued (with
             --memory K, one whose residue and last K digits are those of an earlier sequence);
    grow     boxes start as points and grow by the images that they must hold, until they do.

Rounding. The claim is about the float32 numbers that the network really computes, in any batch and
on any machine that keeps to this model of arithmetic:
  - IEEE float32, round to nearest, u = 2⁻²⁴. A sum of n products and biases, in any order, with or
    without fused multiply-add, errs by at most γ_n Σ|a_i b_i|, γ_n = n u / (1 - n u). Underflow, to
    subnormal numbers or to zero, adds at most 2⁻¹²⁶ an operation. (TF32 and bfloat16 are not this.)
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, chapter 3.
  - tanh errs by at most TANH_ERROR, whatever computes it.
Boxes are widened and margins are narrowed by these bounds. The float64 arithmetic of this program
obeys the same model with u = 2⁻⁵³; what it errs is covered by _SPARE.

Shapes: S abstract states, M sequences, C digits (as many as classes), L layers, H hidden,
D input of a layer (E for layer 0, then H).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS

UNIT_ROUNDOFF = 2.0**-24
# torch's and NumPy's tanh err by at most 4 units in the last place, 2.4e-7 below 1. 2 σ(2x) - 1
# errs by twice the error of σ, of which exp, the sum and the quotient each make 2⁻²⁴: 3.6e-7.
TANH_ERROR = 2.0**-21
_LARGEST_STATE = 1 + 2 * TANH_ERROR  # of |h|, for whatever computes tanh
_LARGEST_WEIGHT = 2.0**32
# Every rounding bound is this much larger than float32 needs. The excess, 2⁻¹⁰ n 2⁻²⁴ Σ|a_i b_i|
# and 2⁻¹⁰ TANH_ERROR, is a thousand times what the few float64 operations per bound can err by.
_SPARE = 1 + 2.0**-10
_RESOLUTIONS = (0.3, 0.1, 0.03)  # coarse ones give few states, fine ones small boxes
_MAX_STATES = 5000  # found by resolution; beyond it the hidden states do not settle
_MAX_NUMBERS = 2**24  # in the boxes, or in the images of a level of sequences: 128 MiB
_MAX_PASSES = 200
_OVERSHOOT = 0.1  # boxes grow by so much more than they must, to need fewer passes


class NotProved(Exception):
    """The proof failed; the message says in which step."""


@dataclass(frozen=True)
class Proof:
    """An automaton of boxes that proves a network right; what is in a certificate.

    Args:
        residues: of the abstract states, (S,).
        successors: the state after one more digit, (S, C).
        low, high: the boxes, float32, (S, L, H).
        smallest_margin: score of the right class minus the next, at least, in any box.
    """

    residues: np.ndarray
    successors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    smallest_margin: float

    @property
    def largest_width(self) -> float:
        return float((self.high - self.low).max())


# ---- the network in interval arithmetic ----


def rounding_bound(num_terms: int, mass: np.ndarray) -> np.ndarray:
    """How much a float32 sum may err: num_terms products, of absolute values that sum to `mass`."""
    gamma = num_terms * UNIT_ROUNDOFF / (1 - num_terms * UNIT_ROUNDOFF)
    return gamma * _SPARE * mass + 4 * num_terms * 2.0**-126


class IntervalNet:
    """What the network can make of every hidden state in a box, rounding included.

    Attributes:
        rounding: bounds for the pre-activations of each layer, (C, H) for layer 0, then (H,).

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
        inputs = _as_float64(model.embedding.weight)[:-1]  # (C, D)
        self.num_classes, self.num_layers, self.hidden_dim = (
            len(inputs), rnn.num_layers, rnn.hidden_size
        )  # fmt: skip
        self._layers, self.rounding = [], []
        for index, weights in enumerate(rnn.all_weights):
            w_ih, w_hh, b_ih, b_hh = map(_as_float64, weights)
            mass = _LARGEST_STATE * np.abs(w_hh).sum(axis=1) + np.abs(b_ih) + np.abs(b_hh)
            if index == 0:  # its inputs are known: their product is added as a bias
                mass = mass + np.abs(inputs) @ np.abs(w_ih).T
                bias = inputs @ w_ih.T + b_ih + b_hh  # (C, H)
            else:
                mass = mass + _LARGEST_STATE * np.abs(w_ih).sum(axis=1)
                bias = np.tile(b_ih + b_hh, (self.num_classes, 1))
            self._layers.append((w_ih.T, w_hh.T, bias))
            self.rounding.append(rounding_bound(sum(w_ih.shape[1:] + w_hh.shape[1:]) + 2, mass))
        self._fc_weight, self._fc_bias = _as_float64(fc.weight), _as_float64(fc.bias)
        mass = _LARGEST_STATE * np.abs(self._fc_weight).sum(axis=1) + np.abs(self._fc_bias)
        self._score_rounding = rounding_bound(self.hidden_dim + 1, mass)  # (C,)

    def images(self, low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Boxes of the next hidden states, for digit 0, then 1, …: lows and highs, (S, L, H).

        A box with centre c and radius r has the pre-activations W c + b ± (|W| r + rounding).
        """
        recurrent = [
            _multiply(low[:, index], high[:, index], w_hh)
            for index, (_, w_hh, _) in enumerate(self._layers)
        ]
        for digit in range(self.num_classes):
            new_low, new_high = np.empty_like(low), np.empty_like(high)
            for index, (w_ih, _, bias) in enumerate(self._layers):
                centre, radius = recurrent[index]
                rounding = self.rounding[index]
                if index == 0:
                    rounding = rounding[digit]
                else:
                    c, r = _multiply(new_low[:, index - 1], new_high[:, index - 1], w_ih)
                    centre, radius = centre + c, radius + r
                centre, radius = centre + bias[digit], radius + rounding
                new_low[:, index] = np.tanh(centre - radius) - _SPARE * TANH_ERROR
                new_high[:, index] = np.tanh(centre + radius) + _SPARE * TANH_ERROR
            yield new_low, new_high

    def margins(self, low: np.ndarray, high: np.ndarray, residues: np.ndarray) -> np.ndarray:
        """Score of the residue minus the best other score, at least, in each box, (S,)."""
        smallest = np.empty(len(low))
        for residue in np.unique(residues):
            rows = residues == residue
            difference = self._fc_weight[residue] - self._fc_weight  # (C, H)
            centre, radius = _multiply(low[rows, -1], high[rows, -1], difference.T)
            rounding = self._score_rounding[residue] + self._score_rounding
            margins = centre - radius + self._fc_bias[residue] - self._fc_bias - rounding
            margins[:, residue] = np.inf
            smallest[rows] = margins.min(axis=1)
        return smallest


def _as_float64(weights: Tensor) -> np.ndarray:
    return weights.detach().cpu().numpy().astype(np.float64)


def _multiply(
    low: np.ndarray, high: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and radii of the boxes times a matrix."""
    return (low + high) / 2 @ weights, (high - low) / 2 @ np.abs(weights)


# ---- explore ----


@dataclass(frozen=True)
class _Automaton:
    """Abstract states with the hidden state of one sequence each: the first that was met.

    Args:
        points: hidden states, (S, L, H).
        residues: (S,).
        successors: (S, C).
        origins: the state and the digit that led to it first, (S, 2).
    """

    points: np.ndarray
    residues: np.ndarray
    successors: np.ndarray
    origins: np.ndarray

    def describe(self, state: int) -> str:
        return f"residue {self.residues[state]}, as after {_sequence(self.origins, state)}"


def _sequence(origins: np.ndarray, state: int) -> str:
    """The first sequence that reached an abstract state."""
    digits = []
    while state:
        state, digit = origins[state]
        digits.append(str(digit))
    return " ".join(digits[::-1])


def _explore(net: IntervalNet, resolution: float, memory: int | None) -> _Automaton:
    """Follow all sequences until none is new.

    Args:
        net: the network.
        resolution: two sequences of the same residue share an abstract state if their hidden
            states differ by at most this in every unit.
        memory: or, if given, if their last `memory` digits agree.

    Raises:
        NotProved: an answer is wrong, or there are too many states.
        ValueError: there are too many states for the memory.
    """
    C = net.num_classes
    digits = np.arange(C)
    points = np.zeros((1, net.num_layers, net.hidden_dim))
    recent = np.full((1, memory or 0), -1)  # the last digits; -1 is none
    residues, origins = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
    successors = np.empty((0, C), np.int64)
    with tqdm(desc="exploring", unit=" states", leave=False, disable=None) as bar:
        while len(successors) < len(points):
            level = np.arange(len(successors), len(points))  # states to continue
            if (len(points) + len(level) * C) * points[0].size > _MAX_NUMBERS:
                raise ValueError(
                    f"{len(points):,} abstract states with {C} digits each are too many for the "
                    "memory of this program"
                )
            images = net.images(points[level], points[level])
            next_points = np.stack([(low + high) / 2 for low, high in images], axis=1)
            next_points = next_points.reshape(-1, *points.shape[1:])  # (M, L, H)
            labels = ((residues[level, None] + digits) % C).ravel()  # (M,)
            pairs = np.stack(np.meshgrid(level, digits, indexing="ij"), axis=-1).reshape(-1, 2)
            next_recent = np.hstack([recent[pairs[:, 0]], pairs[:, 1:]])[:, 1:]
            found = np.empty(len(labels), np.int64)
            new: list[int] = []
            for residue in np.unique(labels):
                rows = np.flatnonzero(labels == residue)
                earlier = np.flatnonzero(residues[1:] == residue) + 1  # state 0 has no answer
                if memory is None:
                    place, first = _find_near(points[earlier], next_points[rows], resolution)
                else:
                    place, first = _find_equal(recent[earlier], next_recent[rows])
                ids = np.append(earlier, len(points) + len(new) + np.arange(len(first)))
                found[rows] = ids[place]
                new += rows[first].tolist()
            successors = np.vstack([successors, found.reshape(-1, C)])
            points = np.concatenate([points, next_points[new]])
            recent = np.concatenate([recent, next_recent[new]])
            residues = np.append(residues, labels[new])
            origins = np.vstack([origins, pairs[new]])
            bar.update(len(new))
            _check_answers(net, points, residues, origins, len(new))
            if memory is None and len(points) > _MAX_STATES:
                raise NotProved(
                    f"the hidden states do not settle: more than {_MAX_STATES:,} of them differ by "
                    f"more than {resolution}"
                )
    return _Automaton(points, residues, successors, origins)


def _find_near(
    known: np.ndarray, met: np.ndarray, resolution: float
) -> tuple[np.ndarray, list[int]]:
    """Find a known row within `resolution` of each row, or make it known.

    Args:
        known: hidden states, (S, L, H).
        met: hidden states, (M, L, H).
        resolution: largest difference.

    Returns:
        The places, (M,), in `known` followed by new rows, and which of `met` those are.
    """
    met = met.reshape(len(met), -1)
    place = np.full(len(met), -1)
    if len(known):
        pair = torch.from_numpy(met), torch.from_numpy(known).flatten(1)
        distance, nearest = torch.cdist(*pair, p=float("inf")).min(dim=1)
        place = np.where(distance.numpy() <= resolution, nearest.numpy(), -1)
    first: list[int] = []
    left = np.flatnonzero(place < 0)
    while len(left):
        is_near = (np.abs(met[left] - met[left[0]]) <= resolution).all(axis=1)
        place[left[is_near]] = len(known) + len(first)
        first.append(left[0])
        left = left[~is_near]
    return place, first


def _find_equal(known: np.ndarray, met: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The same for rows that are equal."""
    _, index, inverse = np.unique(
        np.vstack([known, met]), axis=0, return_index=True, return_inverse=True
    )
    place = index[inverse.ravel()][len(known) :]  # of the first row that is equal
    first = np.unique(place[place >= len(known)])
    is_new = place >= len(known)
    place[is_new] = len(known) + np.searchsorted(first, place[is_new])
    return place, (first - len(known)).tolist()


def _check_answers(
    net: IntervalNet, points: np.ndarray, residues: np.ndarray, origins: np.ndarray, num_new: int
) -> None:
    """Raise NotProved if the first sequence of one of the last states is answered wrongly."""
    first = len(points) - num_new
    margins = net.margins(points[first:], points[first:], residues[first:])
    wrong = np.flatnonzero(margins <= 0)
    if len(wrong):
        raise NotProved(
            f"the sequence {_sequence(origins, first + wrong[0])} is answered wrongly: the right "
            f"answer is {residues[first + wrong[0]]}, its score margin {margins[wrong[0]]:.3g}"
        )


# ---- grow ----


def _grow(net: IntervalNet, automaton: _Automaton) -> Proof:
    """Let the boxes grow from points until each holds all the images that it must.

    Raises:
        NotProved: a box came to hold wrong answers, or did not stop growing.
    """
    residues = automaton.residues
    low, high = _round_outward(automaton.points, automaton.points)
    arrivals = [_group(successors) for successors in automaton.successors.T]
    bar = tqdm(
        range(_MAX_PASSES), f"{len(low):,} states", unit=" passes", leave=False, disable=None
    )
    for _ in bar:
        bar.set_postfix_str(f"largest width {(high - low).max():.3g}")
        margins = net.margins(low[1:], high[1:], residues[1:])
        if margins.min() <= 0:
            worst = margins.argmin() + 1
            width = (high[worst] - low[worst]).max()
            raise NotProved(
                f"a score margin is negative, {margins.min():.3g}: the box of abstract state "
                f"{worst:,} ({automaton.describe(worst)}) has grown to a width of {width:.3g}"
            )
        image_low, image_high = np.full_like(low, np.inf), np.full_like(high, -np.inf)
        for (order, starts, targets), (new_low, new_high) in zip(
            arrivals, net.images(low, high), strict=True
        ):
            new_low = np.minimum.reduceat(new_low[order], starts)
            new_high = np.maximum.reduceat(new_high[order], starts)
            image_low[targets] = np.minimum(image_low[targets], new_low)
            image_high[targets] = np.maximum(image_high[targets], new_high)
        lacks_low, lacks_high = np.maximum(low - image_low, 0), np.maximum(image_high - high, 0)
        if not lacks_low.any() and not lacks_high.any():
            boxes = low.astype(np.float32), high.astype(np.float32)  # exact: they were rounded
            return Proof(residues, automaton.successors, *boxes, float(margins.min()))
        low, high = _round_outward(
            np.maximum(low - (1 + _OVERSHOOT) * lacks_low, -_LARGEST_STATE),
            np.minimum(high + (1 + _OVERSHOOT) * lacks_high, _LARGEST_STATE),
        )
    worst = np.maximum(lacks_low, lacks_high).max(axis=(1, 2)).argmax()
    raise NotProved(
        f"a box kept growing: that of abstract state {worst:,} ({automaton.describe(worst)}) is "
        f"{(high[worst] - low[worst]).max():.3g} wide after {_MAX_PASSES} passes"
    )


def _group(successors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States in the order of their successors, where each successor starts in it, and which."""
    order = successors.argsort(kind="stable")
    targets, starts = np.unique(successors[order], return_index=True)
    return order, starts, targets


def _round_outward(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slightly larger boxes of float32 numbers, kept as float64; those of h_0 = 0 stay points."""
    below, above = low.astype(np.float32), high.astype(np.float32)
    below = np.where(below > low, np.nextafter(below, np.float32(-np.inf)), below)
    above = np.where(above < high, np.nextafter(above, np.float32(np.inf)), above)
    return below.astype(np.float64), above.astype(np.float64)


def prove(model: RnnClsNet, memory: int | None = None) -> Proof:
    """Prove that the model is right for every sequence of every length.

    Args:
        model: the network; its task is the sum modulo its number of classes.
        memory: abstract states are the pairs (residue, last `memory` digits); None takes hidden
            states that are nearly the same, at resolutions from coarse to fine.

    Raises:
        NotProved: the first step of the proof that failed, at the finest resolution.
        ValueError: such a network, or so many abstract states, are not supported.
    """
    net = IntervalNet(model)
    if memory is not None:
        C = net.num_classes
        num_states = sum(C**length for length in range(memory)) + C ** (memory + 1)
        if num_states * net.num_layers * net.hidden_dim > _MAX_NUMBERS:
            raise ValueError(f"--memory {memory} makes {num_states:,} abstract states, too many")
        return _grow(net, _explore(net, 0, memory))
    for resolution in _RESOLUTIONS:
        automaton = _explore(net, resolution, memory)
        try:
            return _grow(net, automaton)
        except NotProved as error:
            failure = error
    raise failure
