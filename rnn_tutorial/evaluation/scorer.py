"""Inference: many sequences of any lengths, fast, in memory that does not grow with their length.

Sequences are taken in descending order of length: those that still run at a step are then the
first rows of the state, and no step is spent on padding. The states after short prefixes are
computed once and looked up; from there each step and layer is one product, and moves the states
in place. That is a plain net's; any other that has a state is moved on by its own modules, and a
net without one reads batches of sequences of equal length.

A state is one tensor whatever the cell, S vectors for each sequence, (S, N, H), of which the
classifier reads the last: h of each layer; before it c of each layer of an LSTM; after it the last
layer's output if that is not its h, as with residual connections.

Shapes: N sequences, M digits of all of them, n sequences that still run, T steps, L layers,
S vectors of a state, E embedding, H hidden, V digits, C classes, P prefixes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_tutorial.model.classifier import RnnClsNet

_GROUP_NUMBERS = 2**18  # in a layer's states of one group of sequences: they stay in the cache
_UNIT_NUMBERS = 2**14  # steps are for multiples of so many: each new shape costs oneDNN 0.5 ms
_STRETCH_DIGITS = 2**14  # read at once: bounds the memory of a sequence of any length
_PREFIX_NUMBERS = 2**22  # at most, in the states of the longest prefixes: 16 MiB
_FEW_NUMBERS = 1024  # in the states of a step; below it the loop inside nn.RNN is faster
_BATCH_TOKENS = 2**16  # of sequences read from their beginning at once


class Inference:
    """A model made ready to classify many sequences on the CPU.

    Args:
        model: in evaluation mode; its weights must stay as they are.
    """

    def __init__(self, model: RnnClsNet) -> None:
        self._model = model
        self._digits = model.arguments["vocab_size"]
        self._has_state = model.has_state
        if not self._has_state:
            return
        with torch.no_grad():
            self._prefix_states, self._depth = _states_of_prefixes(model)  # (S, P, H)
            self._advance_by_products = _Products(model) if model.is_plain else None

    @torch.no_grad()
    def classify(self, digits: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The most probable class of each sequence, and its probability.

        Args:
            digits: of all sequences, one after the other, whole numbers in [0, V), (M,).
            lengths: digits of each sequence, int64, (N,), each at least 1; they sum to M.

        Returns:
            Classes, int64, (N,), and probabilities, float32, (N,).
        """
        classes = np.empty(len(lengths), np.int64)
        probabilities = np.empty(len(lengths), np.float32)
        scored = self._from_states if self._has_state else self._from_the_beginning
        for group, scores in scored(digits, lengths):
            best = scores.softmax(dim=0).max(dim=0)  # classes first: 20 times faster
            classes[group], probabilities[group] = best.indices.numpy(), best.values.numpy()
        return classes, probabilities

    @torch.no_grad()
    def final_states(self, digits: np.ndarray, lengths: np.ndarray) -> Tensor:
        """The states after the last digit of each sequence, (S, N, H); see `classify`.

        Raises:
            ValueError: the net has no state.
        """
        if not self._has_state:
            raise ValueError(
                "only a recurrent net of one direction, read at its last step, has a state"
            )
        num_layers, _, hidden = self._prefix_states.shape
        states = self._prefix_states.new_empty(num_layers, len(lengths), hidden)
        for group, state in self._groups(digits, lengths):
            states[:, group] = state
        return states

    def _from_states(
        self, digits: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Groups of sequences: their places, (n,), and scores, (C, n)."""
        fc = self._model.fc
        for group, state in self._groups(digits, lengths):
            yield group, torch.addmm(fc.bias.unsqueeze(1), fc.weight, state[-1].T)

    def _from_the_beginning(
        self, digits: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """As `_from_states`; the sequences of a group have the same length."""
        starts = np.cumsum(lengths) - lengths
        for length in np.unique(lengths).tolist():
            places = np.flatnonzero(lengths == length)
            rows = max(1, _BATCH_TOKENS // length)
            for first in range(0, len(places), rows):
                group = places[first : first + rows]
                ids = digits[starts[group][:, None] + np.arange(length)]  # (n, T)
                ids = torch.from_numpy(ids.astype(np.int64))
                yield group, self._model(ids, torch.full((len(ids),), length)).T

    def _groups(
        self, digits: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Groups of sequences of like length: their places, (n,), and final states, (S, n, H)."""
        by_length = np.argsort(-lengths, kind="stable")
        starts = np.cumsum(lengths) - lengths
        num_groups = -(-len(lengths) * self._prefix_states.shape[-1] // _GROUP_NUMBERS)
        for group in np.array_split(by_length, num_groups):
            yield group, self._run(digits, starts[group], lengths[group])

    def _run(self, digits: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Tensor:
        """The final states, (S, N, H), of sequences in descending order of length."""
        unit = max(1, _UNIT_NUMBERS // self._prefix_states.shape[-1])
        idle = np.zeros(-len(lengths) % unit, np.int64)  # rows that make the state whole units
        prefixes = np.append(self._find_prefixes(digits, starts, lengths), idle)
        starts = np.append(starts, idle)
        state = self._prefix_states.index_select(1, torch.from_numpy(prefixes))
        t = self._depth
        last_rows = np.append(np.flatnonzero(np.diff(lengths)), len(lengths) - 1)  # of each length
        for row in last_rows[::-1].tolist():
            n, end = row + 1, int(lengths[row])  # until step `end`, the first n rows run
            by_modules = not self._advance_by_products or n * state.shape[-1] < _FEW_NUMBERS
            rows = n if by_modules else n + -n % unit
            while t < end:
                steps = np.arange(t, min(t + max(1, _STRETCH_DIGITS // n), end))  # (T,)
                ids = digits.take(starts[:rows] + steps[:, None], mode="clip")  # (T, rows)
                ids = torch.from_numpy(ids.astype(np.int32))
                if by_modules:
                    self._advance_by_modules(state[:, :n], ids)
                else:
                    self._advance_by_products(state[:, :rows], ids, n)
                t += len(steps)
        return state[:, : len(lengths)]

    def _find_prefixes(
        self, digits: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """The places in the states of prefixes of the sequences' longest prefixes there, (N,).

        The prefixes are the nodes of a tree with V children each, the empty one first: those of
        node i are V·i + 1, …, V·i + V.
        """
        node = np.zeros(len(lengths), np.int64)
        for t in range(self._depth):
            n = np.count_nonzero(lengths > t)
            node[:n] = node[:n] * self._digits + 1 + digits[starts[:n] + t]
        return node

    def _advance_by_modules(self, state: Tensor, ids: Tensor) -> None:
        """Move the states, (S, n, H), in place over the digits, (T, n), as the model does it."""
        if self._advance_by_products:
            _, h_n = self._model.rnn(self._model.embedding(ids.T), state.contiguous())
        else:
            h_n = advance(self._model, state, ids)
        state.copy_(h_n)


class _Products:
    """The steps of a plain nn.RNN for many rows: layer 0's input product is looked up."""

    def __init__(self, model: RnnClsNet) -> None:
        layers = model.rnn.all_weights
        self._weights = [(w_ih, w_hh) for w_ih, w_hh, _, _ in layers]
        self._biases = [b_ih + b_hh for _, _, b_ih, b_hh in layers]  # (H,) each
        self._inputs = model.embedding.weight[:-1] @ layers[0][0].T + self._biases[0]  # (V, H)

    def __call__(self, state: Tensor, ids: Tensor, n: int) -> None:
        """Move the first n of the states, (L, rows, H), in place over the digits, (T, rows)."""
        for digits in ids:
            x = self._inputs.index_select(0, digits)  # (rows, H)
            for layer, (w_ih, w_hh) in enumerate(self._weights):
                if layer > 0:
                    x = add_product(self._biases[layer].expand_as(x), state[layer - 1], w_ih)
                x = add_product(x, state[layer], w_hh)
                tanh(x[:n], out=state[layer, :n])


def add_product(addend: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """addend + x @ weight.T for matrices: (N, H) from (N, H), (N, K) and (H, K).

    By oneDNN where torch has it: up to twice as fast as what torch.addmm uses on AMD's processors.
    """
    try:
        return torch.ops.mkldnn._linear_pointwise.binary(x, addend, weight, None, "add")
    except AttributeError:
        return torch.addmm(addend, x, weight.T)


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """tanh into `out`, which may be x, without gradients.

    On a CPU by NumPy, whose tanh is vectorised and ten times as fast as torch's.
    """
    if x.device.type != "cpu":
        return torch.tanh(x, out=out)
    np.tanh(x.numpy(), out=out.numpy())
    return out


def _states_of_prefixes(model: RnnClsNet) -> tuple[Tensor, int]:
    """The states after all prefixes of up to some length, (S, P, H), and that length."""
    states = [empty_state(model)]
    while states[-1].numel() * model.arguments["vocab_size"] <= _PREFIX_NUMBERS:
        states.append(extend_by_every_digit(model, states[-1]))
    return torch.cat(states, dim=1), len(states) - 1


def empty_state(model: RnnClsNet) -> Tensor:
    """The state before the first digit, (S, 1, H): zeros."""
    is_lstm, has_output = _slots(model)
    size = model.rnn.num_layers * (1 + is_lstm) + has_output  # S
    return model.fc.weight.new_zeros(size, 1, model.rnn.hidden_size)


def advance(model: RnnClsNet, state: Tensor, ids: Tensor) -> Tensor:
    """The states, (S, n, H), after going on from such states by the digits, (T, n)."""
    is_lstm, has_output = _slots(model)
    steps, rows = ids.shape
    embedded = PackedSequence(model.embedding(ids.flatten()), torch.full((steps,), rows))
    before = state[:-1] if has_output else state
    if is_lstm:
        c, h = before.chunk(2)
        before = h.contiguous(), c.contiguous()
    output, after = model.rnn(embedded, before)
    parts = [after[1], after[0]] if is_lstm else [after]
    if has_output:
        parts.append(output.data[-rows:].unsqueeze(0))
    return torch.cat(parts)


def _slots(model: RnnClsNet) -> tuple[bool, bool]:
    """Whether a state holds an LSTM's c beside h, and whether also the last layer's output."""
    return model.arguments["cell"] == "lstm", model.arguments["residual"]


def extend_by_every_digit(model: RnnClsNet, state: Tensor) -> Tensor:
    """One step from P states by each of V digits.

    In a plain net the product with W_hh is taken once for each prefix, not for each of its V
    extensions, and the product with layer 0's W_ih once for each digit.

    Args:
        state: (S, P, H).

    Returns:
        The states after prefix 0 with digits 0, 1, …, then prefix 1, …: (S, P·V, H).
    """
    if not model.is_plain:
        digits = torch.arange(model.arguments["vocab_size"], device=state.device)
        ids = digits.repeat(state.shape[1]).unsqueeze(0)  # (1, P·V)
        return advance(model, state.repeat_interleave(len(digits), dim=1), ids)
    inputs = model.embedding.weight[:-1].unsqueeze(0)  # (1, V, E): the same digits for each prefix
    states = []
    for layer in range(model.rnn.num_layers):
        w_ih, w_hh, b_ih, b_hh = model.rnn.all_weights[layer]
        recurrent = torch.addmm(b_ih + b_hh, state[layer], w_hh.T)  # (P, H)
        x = inputs @ w_ih.T + recurrent.unsqueeze(1)  # (P, V, H)
        h = tanh(x, out=x)
        states.append(h.flatten(0, 1))
        inputs = h
    return torch.stack(states) if len(states) > 1 else states[0].unsqueeze(0)
