"""One step at a time: go on from the states of many sequences, for every recurrent net.

A state is one tensor whatever the cell, S vectors for each sequence, (S, N, H), of which the
classifier reads the last: h of each layer; before it c of each layer of an LSTM; after it the last
layer's output if that is not its h, as with residual connections.

Shapes: N sequences, P prefixes, T steps, L layers, S vectors of a state, E embedding, H hidden,
K inputs of a matrix, V tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_tutorial.model.classifier import RnnClsNet


def empty_state(model: RnnClsNet) -> Tensor:
    """The state before the first token, (S, 1, H): zeros."""
    is_lstm, has_output = _parts_of_state(model)
    size = model.rnn.num_layers * (1 + is_lstm) + has_output  # S
    return model.fc.weight.new_zeros(size, 1, model.rnn.hidden_size)


def advance(model: RnnClsNet, state: Tensor, ids: Tensor) -> Tensor:
    """The states, (S, N, H), after the tokens `ids`, (T, N), are read in such states."""
    state = state.contiguous()  # cuDNN refuses others
    if model.is_plain:
        _, h_n = model.rnn(model.embedding(ids.T), state)
        return h_n
    is_lstm, has_output = _parts_of_state(model)
    steps, rows = ids.shape
    embedded = PackedSequence(model.embedding(ids.flatten()), torch.full((steps,), rows))
    before = state[:-1] if has_output else state
    if is_lstm:
        c, h = before.chunk(2)
        before = h, c
    output, after = model.rnn(embedded, before)
    parts = [after[1], after[0]] if is_lstm else [after]
    if has_output:
        parts.append(output.data[-rows:].unsqueeze(0))
    return torch.cat(parts)


def _parts_of_state(model: RnnClsNet) -> tuple[bool, bool]:
    """Whether a state holds an LSTM's c beside h, and whether also the last layer's output."""
    return model.arguments["cell"] == "lstm", model.arguments["residual"]


def extend_by_every_token(model: RnnClsNet, state: Tensor) -> Tensor:
    """One step from the states of P prefixes by each of V tokens.

    In a plain net the product with W_hh is computed once for each prefix, not for each of its V
    extensions, and the product with layer 0's W_ih once for each token.

    Args:
        state: (S, P, H).

    Returns:
        The states after prefix 0 with tokens 0, 1, …, then prefix 1, …: (S, P·V, H).
    """
    if not model.is_plain:
        tokens = torch.arange(model.arguments["vocab_size"], device=state.device)
        ids = tokens.repeat(state.shape[1]).unsqueeze(0)  # (1, P·V)
        return advance(model, state.repeat_interleave(len(tokens), dim=1), ids)
    inputs = model.embedding.weight[:-1].unsqueeze(0)  # (1, V, E): the same tokens for each prefix
    states = []
    for layer in range(model.rnn.num_layers):
        w_ih, w_hh, b_ih, b_hh = model.rnn.all_weights[layer]
        recurrent = torch.addmm(b_ih + b_hh, state[layer], w_hh.T)  # (P, H)
        x = inputs @ w_ih.T + recurrent.unsqueeze(1)  # (P, V, H)
        inputs = tanh(x, out=x)
        states.append(inputs.flatten(0, 1))
    return torch.stack(states) if len(states) > 1 else states[0].unsqueeze(0)


class PlainSteps:
    """The steps of a plain net for many sequences; layer 0's product with W_ih is looked up.

    The recurrent part of a step, W_hh h with the bias (layer 0 has it in its inputs), does not
    depend on the token. Where many sequences go on from the same state, it is computed once.
    """

    @torch.no_grad()
    def __init__(self, model: RnnClsNet) -> None:
        layers = model.rnn.all_weights
        self._weights = [(w_ih, w_hh) for w_ih, w_hh, _, _ in layers]
        self._biases = [b_ih + b_hh for _, _, b_ih, b_hh in layers]  # (H,) each
        self._inputs = model.embedding.weight[:-1] @ layers[0][0].T + self._biases[0]  # (V, H)
        self._biases[0] = torch.zeros_like(self._biases[0])

    def recurrent_part(self, state: Tensor) -> Tensor:
        """Of the steps that follow such states, (L, N, H)."""
        layers = zip(state, self._weights, self._biases, strict=True)
        return torch.stack([add_product(b.expand_as(h), h, w_hh) for h, (_, w_hh), b in layers])

    def finish_in_place(self, recurrent: Tensor, tokens: Tensor) -> Tensor:
        """Add a token, (N,), to each recurrent part, (L, N, H): it becomes the state after it."""
        recurrent[0] += self._inputs.index_select(0, tokens)
        tanh(recurrent[0], out=recurrent[0])
        for layer in range(1, len(recurrent)):
            x = add_product(recurrent[layer], recurrent[layer - 1], self._weights[layer][0])
            tanh(x, out=recurrent[layer])
        return recurrent

    def extend_recurrent_parts(self, recurrent: Tensor) -> Tensor:
        """One step from the recurrent parts after P prefixes, (L, P, H), by each of V tokens.

        Returns:
            Those after prefix 0 with tokens 0, 1, …, then prefix 1, …: (L, P·V, H).
        """
        tokens = torch.arange(len(self._inputs)).repeat(recurrent.shape[1])
        rows = recurrent.repeat_interleave(len(self._inputs), dim=1)
        return self.recurrent_part(self.finish_in_place(rows, tokens))

    def advance_in_place(self, state: Tensor, ids: Tensor, n: int) -> None:
        """Update the first n of the states, (L, N, H), by the tokens `ids`, (T, N)."""
        for tokens in ids:
            x = self._inputs.index_select(0, tokens)  # (N, H)
            for layer, (w_ih, w_hh) in enumerate(self._weights):
                if layer > 0:
                    x = add_product(self._biases[layer].expand_as(x), state[layer - 1], w_ih)
                x = add_product(x, state[layer], w_hh)
                tanh(x[:n], out=state[layer, :n])


def add_product(addend: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """addend + x @ weight.T for matrices on a CPU: (N, H) from (N, H), (N, K) and (H, K).

    It calls oneDNN where torch has it: up to twice as fast as torch.addmm on AMD's processors.
    """
    try:
        return torch.ops.mkldnn._linear_pointwise.binary(x, addend, weight, None, "add")
    except AttributeError:
        return torch.addmm(addend, x, weight.T)


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """tanh of x, without gradients, written into `out`, which may be x.

    On a CPU NumPy computes it: its tanh is vectorised and ten times as fast as torch's.
    """
    if x.device.type != "cpu":
        return torch.tanh(x, out=out)
    np.tanh(x.numpy(), out=out.numpy())
    return out
