"""Inference: many sequences of any lengths, fast, in memory that does not grow with their length.

Sequences are taken in descending order of length: those that still run at a step are then the
first rows of the state, and no step is spent on padding. The states after short prefixes are
computed once and looked up; from there each step and layer is one product, and moves the states
in place.

Shapes: N sequences, M digits of all of them, n sequences that still run, T steps, L layers,
E embedding, H hidden, C classes (as many as digits), P prefixes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.model import RnnClsNet

_GROUP_NUMBERS = 2**18  # in a layer's states of one group of sequences: they stay in the cache
_UNIT_NUMBERS = 2**14  # steps are for multiples of so many: each new shape costs oneDNN 0.5 ms
_STRETCH_DIGITS = 2**14  # read at once: bounds the memory of a sequence of any length
_PREFIX_NUMBERS = 2**22  # at most, in the states of the longest prefixes: 16 MiB
_FEW_NUMBERS = 1024  # in the states of a step; below it the loop inside nn.RNN is faster


class Inference:
    """A model made ready to classify many sequences on the CPU.

    Args:
        model: its weights must stay as they are.
    """

    def __init__(self, model: RnnClsNet) -> None:
        self._model = model
        self._classes = model.fc.out_features
        with torch.no_grad():
            self._prefix_states, self._depth = _states_of_prefixes(model)  # (L, P, H)
            self._advance_by_products = _Products(model)

    @torch.no_grad()
    def classify(self, digits: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The most probable class of each sequence, and its probability.

        Args:
            digits: of all sequences, one after the other, whole numbers in [0, C), (M,).
            lengths: digits of each sequence, int64, (N,), each at least 1; they sum to M.

        Returns:
            Classes, int64, (N,), and probabilities, float32, (N,).
        """
        classes = np.empty(len(lengths), np.int64)
        probabilities = np.empty(len(lengths), np.float32)
        fc = self._model.fc
        for group, state in self._groups(digits, lengths):
            scores = torch.addmm(fc.bias.unsqueeze(1), fc.weight, state[-1].T)  # (C, n)
            best = scores.softmax(dim=0).max(dim=0)  # classes first: 20 times faster
            classes[group], probabilities[group] = best.indices.numpy(), best.values.numpy()
        return classes, probabilities

    @torch.no_grad()
    def final_states(self, digits: np.ndarray, lengths: np.ndarray) -> Tensor:
        """The states after the last digit of each sequence, (L, N, H); see `classify`."""
        num_layers, _, hidden = self._prefix_states.shape
        states = self._prefix_states.new_empty(num_layers, len(lengths), hidden)
        for group, state in self._groups(digits, lengths):
            states[:, group] = state
        return states

    def _groups(
        self, digits: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Groups of sequences of like length: their places, (n,), and final states, (L, n, H)."""
        by_length = np.argsort(-lengths, kind="stable")
        starts = np.cumsum(lengths) - lengths
        num_groups = -(-len(lengths) * self._prefix_states.shape[-1] // _GROUP_NUMBERS)
        for group in np.array_split(by_length, num_groups):
            yield group, self._run(digits, starts[group], lengths[group])

    def _run(self, digits: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Tensor:
        """The final states, (L, N, H), of sequences in descending order of length."""
        unit = max(1, _UNIT_NUMBERS // self._prefix_states.shape[-1])
        idle = np.zeros(-len(lengths) % unit, np.int64)  # rows that make the state whole units
        prefixes = np.append(self._find_prefixes(digits, starts, lengths), idle)
        starts = np.append(starts, idle)
        state = self._prefix_states.index_select(1, torch.from_numpy(prefixes))
        t = self._depth
        last_rows = np.append(np.flatnonzero(np.diff(lengths)), len(lengths) - 1)  # of each length
        for row in last_rows[::-1].tolist():
            n, end = row + 1, int(lengths[row])  # until step `end`, the first n rows run
            is_few = n * state.shape[-1] < _FEW_NUMBERS
            rows = n if is_few else n + -n % unit
            while t < end:
                steps = np.arange(t, min(t + max(1, _STRETCH_DIGITS // n), end))  # (T,)
                ids = digits.take(starts[:rows] + steps[:, None], mode="clip")  # (T, rows)
                ids = torch.from_numpy(ids.astype(np.int32))
                if is_few:
                    self._advance_by_modules(state[:, :n], ids)
                else:
                    self._advance_by_products(state[:, :rows], ids, n)
                t += len(steps)
        return state[:, : len(lengths)]

    def _find_prefixes(
        self, digits: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """The places in the states of prefixes of the sequences' longest prefixes there, (N,).

        The prefixes are the nodes of a tree with C children each, the empty one first: those of
        node i are C·i + 1, …, C·i + C.
        """
        node = np.zeros(len(lengths), np.int64)
        for t in range(self._depth):
            n = np.count_nonzero(lengths > t)
            node[:n] = node[:n] * self._classes + 1 + digits[starts[:n] + t]
        return node

    def _advance_by_modules(self, state: Tensor, ids: Tensor) -> None:
        """Move the states, (L, n, H), in place over the digits, (T, n), as the model does it."""
        _, h_n = self._model.rnn(self._model.embedding(ids.T), state.contiguous())
        state.copy_(h_n)


class _Products:
    """The steps of a plain nn.RNN for many rows: layer 0's input product is looked up."""

    def __init__(self, model: RnnClsNet) -> None:
        layers = model.rnn.all_weights
        self._weights = [(w_ih, w_hh) for w_ih, w_hh, _, _ in layers]
        self._biases = [b_ih + b_hh for _, _, b_ih, b_hh in layers]  # (H,) each
        self._inputs = model.embedding.weight[:-1] @ layers[0][0].T + self._biases[0]  # (C, H)

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
    """The states after all prefixes of up to some length, (L, P, H), and that length."""
    states = [model.fc.weight.new_zeros(model.rnn.num_layers, 1, model.rnn.hidden_size)]
    while states[-1].numel() * model.fc.out_features <= _PREFIX_NUMBERS:
        states.append(extend_by_every_digit(model, states[-1]))
    return torch.cat(states, dim=1), len(states) - 1


def extend_by_every_digit(model: RnnClsNet, state: Tensor) -> Tensor:
    """The recurrence of nn.RNN for one step, from P states by each of C digits.

    The product with W_hh is taken once for each prefix, not for each of its C extensions, and the
    product with layer 0's W_ih once for each digit.

    Args:
        state: (L, P, H).

    Returns:
        The states after prefix 0 with digits 0, 1, …, then prefix 1, …: (L, P·C, H).
    """
    inputs = model.embedding.weight[:-1].unsqueeze(0)  # (1, C, E): the same digits for each prefix
    states = []
    for layer in range(model.rnn.num_layers):
        w_ih, w_hh, b_ih, b_hh = model.rnn.all_weights[layer]
        recurrent = torch.addmm(b_ih + b_hh, state[layer], w_hh.T)  # (P, H)
        x = inputs @ w_ih.T + recurrent.unsqueeze(1)  # (P, C, H)
        h = tanh(x, out=x)
        states.append(h.flatten(0, 1))
        inputs = h
    return torch.stack(states) if len(states) > 1 else states[0].unsqueeze(0)
