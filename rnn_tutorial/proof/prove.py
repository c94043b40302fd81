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
to, by induction over its tokens, and is answered right.

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
from rnn_tutorial.proof.explore import (
    MAX_ABSTRACT_STATES,
    AbstractStates,
    NotProved,
    TooManyStates,
    explore,
)
from rnn_tutorial.proof.intervals import LARGEST_STATE, MAX_NUMBERS, Boxes, IntervalNet

_OVERSHOOT = 0.3  # boxes grow by so much more than they must, to need fewer passes

_Arrivals = tuple[np.ndarray, np.ndarray, np.ndarray]  # see `_group`


@dataclass(frozen=True)
class _Search:
    """How hard to look for a proof.

    Args:
        resolutions: from coarse ones, which give few abstract states, to fine ones, which give
            small boxes.
        max_states: of the automaton.
        max_passes: over all boxes, until they hold their images.
        quiet: show no progress bars.
    """

    resolutions: Sequence[float] = (0.3, 0.1, 0.03)
    max_states: int = MAX_ABSTRACT_STATES
    max_passes: int = 100
    quiet: bool = False


@dataclass(frozen=True)
class Proof:
    """An automaton of boxes that proves a network right; what is in a certificate.

    Args:
        cell: of the network, "rnn" or "gru".
        machine_states: of the abstract states, (S,).
        successors: the abstract state after one more token, (S, V).
        low, high: the boxes, float32, (S, L, H).
        smallest_margin: score of the right class minus the next, at least, in any box.
    """

    cell: str
    machine_states: np.ndarray
    successors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    smallest_margin: float

    @property
    def largest_width(self) -> float:
        return float((self.high - self.low).max())

    def figures(self) -> dict[str, int | float]:
        """What a result file says of the proof."""
        return {
            "abstract_states": len(self.machine_states),
            "smallest_margin": self.smallest_margin,
            "largest_width": self.largest_width,
        }

    def describe(self) -> str:
        """The same in words."""
        return (
            f"{len(self.machine_states):,} abstract states, smallest score margin "
            f"{self.smallest_margin:.3g}, largest box width {self.largest_width:.3g}"
        )


def prove(
    model: RnnClsNet, machine: Machine, memory: int | None = None, quick: bool = False
) -> Proof:
    """Prove that the model computes what the machine does for every sequence of every length.

    Nothing here is random.

    Args:
        memory: abstract states are the pairs (machine state, last `memory` tokens); None takes
            hidden states that are nearly the same, at resolutions from coarse to fine.
        quick: give up early, and show no progress bars: for one attempt of many while a network
            learns. What it proves is proved as well as by a long search.

    Raises:
        NotProved: a sequence that is answered wrongly, or the first step of the proof that failed
            at the finest resolution that the hidden states allow.
        ValueError: such a network, or so large a machine or memory, is not supported.
    """
    machine.check_sizes(model.arguments["vocab_size"], model.arguments["cls_num"])
    net = IntervalNet(model)
    _check_machine(net, machine)
    search = _quick_search(machine) if quick else _Search()
    if memory is not None:
        _check_memory(net, machine, memory)
        return _grow(net, explore(net, machine, memory=memory, quiet=quick), search)
    return _prove_by_resolution(net, machine, search)


def _prove_by_resolution(net: IntervalNet, machine: Machine, search: _Search) -> Proof:
    """Try resolution after resolution, until one is too fine for the abstract states allowed."""
    failed, failure = None, None
    for resolution in search.resolutions:
        try:
            states = explore(net, machine, resolution, None, search.max_states, search.quiet)
        except TooManyStates as error:
            raise failure or error from None  # the box that grew says more
        if failed is None or not np.array_equal(states.successors, failed.successors):
            try:
                return _grow(net, states, search)
            except NotProved as error:
                failed, failure = states, error
    raise failure


def attempt_proof(model: RnnClsNet, machine: Machine, quick: bool) -> Proof | NotProved:
    """A proof, or why there is none yet, or why there can be none."""
    try:
        return prove(model, machine, quick=quick)
    except NotProved as error:
        return error
    except ValueError as error:
        return NotProved(str(error))


def _quick_search(machine: Machine) -> _Search:
    """A search of a fraction of a second for ten tokens and 128 hidden units.

    A network that is ready to be proved has about as many abstract states as there are pairs of a
    machine state and a token, or a few times as many.
    """
    max_states = max(500, 5 * machine.num_states * len(machine.tokens))
    return _Search((0.3, 0.1), min(max_states, MAX_ABSTRACT_STATES), max_passes=30, quiet=True)


def _check_memory(net: IntervalNet, machine: Machine, memory: int) -> None:
    """Raise ValueError if the last tokens of a sequence may be too many different ones."""
    V = net.num_tokens
    num_states = sum(V**length for length in range(memory)) + machine.num_states * V**memory
    if num_states * net.num_layers * net.hidden_dim > MAX_NUMBERS:
        raise ValueError(f"--memory {memory} makes {num_states:,} abstract states, too many")


def _check_machine(net: IntervalNet, machine: Machine) -> None:
    """Raise ValueError if the proof would need more abstract states than there is memory for.

    Each state of the machine that sequences reach needs one at least, and an image for each token.
    """
    num_units = net.num_layers * net.hidden_dim
    num_numbers = machine.num_states * net.num_tokens * num_units
    if machine.num_states > MAX_ABSTRACT_STATES or num_numbers > MAX_NUMBERS:
        raise ValueError(
            f"a machine of {machine.num_states:,} states and {net.num_tokens:,} tokens is too "
            f"large for a proof: at most {MAX_ABSTRACT_STATES:,} states, and {MAX_NUMBERS:,} "
            f"numbers in the images of the states, for each token one of {num_units:,} hidden units"
        )


def _grow(net: IntervalNet, states: AbstractStates, search: _Search) -> Proof:
    """Let the boxes grow until each holds its images; raise NotProved if that fails."""
    classes = states.classes
    low, high = _round_outward(states.points, states.points)
    arrivals = [_group(successors) for successors in states.successors.T]
    label = f"{len(low):,} states"
    passes = range(search.max_passes)
    bar = tqdm(passes, label, unit=" passes", leave=False, disable=search.quiet or None)
    for _ in bar:
        bar.set_postfix_str(f"largest width {(high - low).max():.3g}")
        margins = net.margins(low[1:], high[1:], classes[1:])
        if not margins.min() > 0:  # NaN is not
            worst = margins.argmin() + 1
            raise NotProved(
                f"the box of {states.describe(worst)} grew to a width of "
                f"{(high[worst] - low[worst]).max():.3g}, and its score margin is "
                f"{margins.min():.3g}"
            )
        image_low, image_high = _unite_images(net, low, high, arrivals)
        lacks_low, lacks_high = np.maximum(low - image_low, 0), np.maximum(image_high - high, 0)
        if not lacks_low.any() and not lacks_high.any():
            boxes = low.astype(np.float32), high.astype(np.float32)  # exact: they were rounded
            margin = float(margins.min())
            return Proof(net.cell, states.machine_states, states.successors, *boxes, margin)
        low, high = _round_outward(
            np.maximum(low - (1 + _OVERSHOOT) * lacks_low, -LARGEST_STATE),
            np.minimum(high + (1 + _OVERSHOOT) * lacks_high, LARGEST_STATE),
        )
    worst = np.maximum(lacks_low, lacks_high).max(axis=(1, 2)).argmax()
    raise NotProved(
        f"the box of {states.describe(worst)} kept growing: to a width of "
        f"{(high[worst] - low[worst]).max():.3g} in {search.max_passes} passes"
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
