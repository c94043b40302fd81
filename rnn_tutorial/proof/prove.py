"""A proof that a network answers every sequence of every length right, or the reason why not.

The hidden state after t tokens is h_t = f(h_{t-1}, x_t), with h_0 = 0. What is right is given by a
machine. The proof is a finite automaton whose states are boxes of hidden states. Each abstract
state has a machine state, a box (an interval for every hidden unit) and a successor for every
token. Abstract state 0 is the empty sequence. If

    1. abstract state 0 has the machine's state 0, and h_0 is in its box,
    2. for every abstract state s and token d, f(·, d) takes the box of s into the box of its
       successor, whose machine state is what the machine makes of that of s and d,
    3. in the box of every successor, the class of its machine state has the highest score,

then every sequence ends in the box of an abstract state with the machine state that it really leads
to, by induction over its tokens, and is answered right. For the digit sum the machine state is the
remainder so far: that of the successor is that of s plus d, modulo (max_number + 1).

Whether 1 to 3 hold is decided by interval arithmetic (intervals.py); however the automaton was
found, it cannot make the proof wrong. It is found in two phases:

    explore  follow sequences; those that are alike share an abstract state (explore.py);
    grow     boxes start as points and grow by the images that they must hold, until they do.

Shapes: S abstract states, V tokens, C classes, L layers, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof.explore import MAX_NUMBERS, AbstractStates, NotProved, explore
from rnn_tutorial.proof.intervals import LARGEST_STATE, Boxes, IntervalNet

_RESOLUTIONS = (0.3, 0.1, 0.03)  # coarse ones give few states, fine ones small boxes
_MAX_PASSES = 200
_OVERSHOOT = 0.1  # boxes grow by so much more than they must, to need fewer passes

_Arrivals = tuple[np.ndarray, np.ndarray, np.ndarray]  # see `_group`


@dataclass(frozen=True)
class Proof:
    """An automaton of boxes that proves a network right; what is in a certificate.

    Args:
        machine_states: of the abstract states, (S,).
        successors: the abstract state after one more token, (S, V).
        low, high: the boxes, float32, (S, L, H).
        smallest_margin: score of the right class minus the next, at least, in any box.
    """

    machine_states: np.ndarray
    successors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    smallest_margin: float

    @property
    def largest_width(self) -> float:
        return float((self.high - self.low).max())

    def figures(self) -> dict[str, bool | int | float]:
        return {
            "abstract_states": len(self.machine_states),
            "smallest_margin": self.smallest_margin,
            "largest_width": self.largest_width,
        }

    def describe(self) -> str:
        return f"{len(self.machine_states):,} abstract states, smallest score margin {self.smallest_margin:.3g}"


def prove(model: RnnClsNet, machine: Machine, memory: int | None = None) -> Proof:
    """Prove that the model computes what the machine does for every sequence of every length.

    Args:
        memory: abstract states are the pairs (machine state, last `memory` tokens); None takes
            hidden states that are nearly the same, at resolutions from coarse to fine.

    Raises:
        NotProved: the first step of the proof that failed, at the finest resolution.
        ValueError: such a network, or so many abstract states, are not supported.
    """
    net = IntervalNet(model)
    machine.check_sizes(model.arguments["vocab_size"], model.arguments["cls_num"])
    if memory is not None:
        V = net.num_tokens
        num_states = sum(V**length for length in range(memory)) + machine.num_states * V**memory
        if num_states * net.num_layers * net.hidden_dim > MAX_NUMBERS:
            raise ValueError(f"--memory {memory} makes {num_states:,} abstract states, too many")
        return _grow(net, explore(net, machine, memory=memory))
    for resolution in _RESOLUTIONS:
        states = explore(net, machine, resolution)
        try:
            return _grow(net, states)
        except NotProved as error:
            failure = error
    raise failure


def attempt_proof(model: RnnClsNet, machine: Machine) -> Proof | NotProved:
    """A proof, or why there is none."""
    try:
        return prove(model, machine)
    except NotProved as error:
        return error


def _grow(net: IntervalNet, states: AbstractStates) -> Proof:
    """Let the boxes grow until each holds its images; raise NotProved if that fails."""
    classes = states.classes
    low, high = _round_outward(states.points, states.points)
    arrivals = [_group(successors) for successors in states.successors.T]
    label = f"{len(low):,} states"
    bar = tqdm(range(_MAX_PASSES), label, unit=" passes", leave=False, disable=None)
    for _ in bar:
        bar.set_postfix_str(f"largest width {(high - low).max():.3g}")
        margins = net.margins(low[1:], high[1:], classes[1:])
        if margins.min() <= 0:
            worst = margins.argmin() + 1
            raise NotProved(
                f"a score margin is negative, {margins.min():.3g}: the box of "
                f"{states.describe(worst)} has grown to a width of "
                f"{(high[worst] - low[worst]).max():.3g}"
            )
        image_low, image_high = _unite_images(net, low, high, arrivals)
        lacks_low, lacks_high = np.maximum(low - image_low, 0), np.maximum(image_high - high, 0)
        if not lacks_low.any() and not lacks_high.any():
            boxes = low.astype(np.float32), high.astype(np.float32)  # exact: they were rounded
            margin = float(margins.min())
            return Proof(states.machine_states, states.successors, *boxes, margin)
        low, high = _round_outward(
            np.maximum(low - (1 + _OVERSHOOT) * lacks_low, -LARGEST_STATE),
            np.minimum(high + (1 + _OVERSHOOT) * lacks_high, LARGEST_STATE),
        )
    worst = np.maximum(lacks_low, lacks_high).max(axis=(1, 2)).argmax()
    raise NotProved(
        f"a box kept growing: that of {states.describe(worst)} is "
        f"{(high[worst] - low[worst]).max():.3g} wide after {_MAX_PASSES} passes"
    )


def _unite_images(
    net: IntervalNet, low: np.ndarray, high: np.ndarray, arrivals: Sequence[_Arrivals]
) -> Boxes:
    """For each abstract state, the box around all images that arrive there by any token."""
    image_low, image_high = np.full_like(low, np.inf), np.full_like(high, -np.inf)
    images = net.images(low, high)
    for (order, starts, targets), (new_low, new_high) in zip(arrivals, images, strict=True):
        new_low = np.minimum.reduceat(new_low[order], starts)
        new_high = np.maximum.reduceat(new_high[order], starts)
        image_low[targets] = np.minimum(image_low[targets], new_low)
        image_high[targets] = np.maximum(image_high[targets], new_high)
    return image_low, image_high


def _group(successors: np.ndarray) -> _Arrivals:
    """States in the order of their successors, where each successor starts in it, and which."""
    order = successors.argsort(kind="stable")
    targets, starts = np.unique(successors[order], return_index=True)
    return order, starts, targets


def _round_outward(low: np.ndarray, high: np.ndarray) -> Boxes:
    """Slightly larger boxes of float32 numbers, kept as float64; those of h_0 = 0 stay points."""
    below, above = low.astype(np.float32), high.astype(np.float32)
    below = np.where(below > low, np.nextafter(below, np.float32(-np.inf)), below)
    above = np.where(above < high, np.nextafter(above, np.float32(np.inf)), above)
    return below.astype(np.float64), above.astype(np.float64)
