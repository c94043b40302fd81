"""The layers between embedding and classifier: recurrent ones of any cell, or a Transformer.

All take the embedded steps of a batch as a PackedSequence and give their outputs as another; the
recurrent ones take and give a state as nn.RNN does. What lies between layers (dropout, LayerNorm,
residual connections) and what makes one vector of all steps (pooling) is here too.

Shapes: N batch, T time, M valid steps of a batch (the sum of its lengths), E embedding, H hidden,
D directions, L layers, F outputs of a step (D·H).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

State = Tensor | tuple[Tensor, Tensor]  # (L·D, N, H); of an LSTM (h, c)

_HEAD_SIZE = 16  # at least, if the size of the hidden state allows it


class LayeredRnn(nn.Module):
    """Recurrent layers one upon the other, with more between them than dropout.

    Layer 0 is y = f(x). The layers above it are y = x + f(dropout(norm(x))), where `x +` is the
    residual connection and norm a LayerNorm; without both this is nn.RNN, nn.GRU or nn.LSTM.

    Args:
        make_layer: makes a layer, an nn.RNNBase, from the sizes of its input and its state.
        input_size: E.
        hidden_size: H.
        num_layers: L.
        dropout: probability of a zero in the input of a layer above layer 0.
        layer_norm: normalize the input of every layer above layer 0.
        residual: add the input of every layer above layer 0 to its output.

    Source: Ba, Kiros, Hinton, Layer Normalization, 2016; He et al., Identity Mappings in Deep
    Residual Networks, 2016 (the order of norm, layer and sum).
    """

    def __init__(
        self,
        make_layer: Callable[[int, int], nn.RNNBase],
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float = 0.0,
        layer_norm: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList([make_layer(input_size, hidden_size)])
        self.bidirectional = self.layers[0].bidirectional
        size = hidden_size * (2 if self.bidirectional else 1)  # F
        self.layers.extend(make_layer(size, hidden_size) for _ in range(num_layers - 1))
        make_norm = nn.LayerNorm if layer_norm else nn.Identity
        self.norms = nn.ModuleList(make_norm(size) for _ in range(num_layers - 1))
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.hidden_size = hidden_size
        self.num_layers = num_layers

    def forward(
        self, inputs: PackedSequence, state: State | None = None
    ) -> tuple[PackedSequence, State]:
        """As nn.RNN: all outputs of the last layer, and the state of every layer at the end."""
        states_before = [None] * self.num_layers if state is None else _by_layer(state, self)
        output, state = self.layers[0](inputs, states_before[0])
        states = [state]
        for layer, norm, before in zip(self.layers[1:], self.norms, states_before[1:], strict=True):
            x = output.data  # (M, F)
            output, state = layer(output._replace(data=self.dropout(norm(x))), before)
            if self.residual:
                output = output._replace(data=x + output.data)
            states.append(state)
        if isinstance(state, tuple):
            return output, tuple(torch.cat(parts) for parts in zip(*states, strict=True))
        return output, torch.cat(states)


def _by_layer(state: State, rnn: LayeredRnn) -> list[State]:
    """The state of each layer."""
    if isinstance(state, tuple):
        return list(zip(*(part.chunk(rnn.num_layers) for part in state), strict=True))
    return list(state.chunk(rnn.num_layers))


class TransformerLayers(nn.Module):
    """A Transformer encoder: every step looks at all steps of its row, and at no padding.

    The embedded steps are projected to H numbers, to which a code of the position is added. Then
    each layer is x = x + attention(norm(x)), x = x + feed_forward(norm(x)); a last norm follows.

    A layer has 6H² weights, as many as a GRU's between layers: 4H² for the queries, keys, values
    and their output, and 2H² for a feed-forward net of H hidden units (the original has 4H of
    them). There is a head for every 16 numbers of H, or fewer heads if that does not divide H.

    Args:
        input_size: E.
        hidden_size: H.
        num_layers: L.
        dropout: probability of a zero in what attention and feed_forward add, while training.

    Source: Vaswani et al., Attention Is All You Need, 2017; Xiong et al., On Layer Normalization
    in the Transformer Architecture, 2020 (the norm before, which needs no warmup).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size)
        self.layers = nn.ModuleList(
            _TransformerLayer(hidden_size, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.bidirectional = False
        self.hidden_size = hidden_size
        self.num_layers = num_layers

    def forward(self, inputs: PackedSequence) -> tuple[PackedSequence, None]:
        """The outputs of the last layer; there is no state to go on from."""
        rows = PackedSequence(self.input(inputs.data), inputs.batch_sizes)  # longest first
        x, seq_lengths = pad_packed_sequence(rows, batch_first=True)  # (N, T, H)
        x = x + position_codes(x.shape[1], x.shape[2]).to(x)
        is_valid = None  # nothing to mask
        if seq_lengths[-1] < x.shape[1]:
            is_valid = (torch.arange(x.shape[1]) < seq_lengths.unsqueeze(1)).to(x.device)
            is_valid = is_valid[:, None, None]  # (N, 1, 1, T), the same for all heads and steps
        for layer in self.layers:
            x = layer(x, is_valid)
        packed = pack_padded_sequence(self.norm(x), seq_lengths, batch_first=True)
        return inputs._replace(data=packed.data), None


class _TransformerLayer(nn.Module):
    """Attention over the steps, then the same two-layer net at each step."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = next(n for n in range(max(1, size // _HEAD_SIZE), 0, -1) if size % n == 0)
        self.attention_norm = nn.LayerNorm(size)
        self.queries_keys_values = nn.Linear(size, 3 * size)
        self.attention_output = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, is_valid: Tensor | None) -> Tensor:
        """(N, T, H) to (N, T, H); `is_valid`: steps that may be looked at, (N, 1, 1, T)."""
        qkv = self.queries_keys_values(self.attention_norm(x))  # (N, T, 3H)
        qkv = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(*qkv, attn_mask=is_valid)  # (N, heads, T, H / heads)
        x = x + self.dropout(self.attention_output(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed_forward(x))


def position_codes(num_steps: int, size: int) -> Tensor:
    """Sine and cosine of t at wavelengths from 2π to 20,000π in turn, float64, (T, H).

    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """
    t = torch.arange(num_steps, dtype=torch.float64).unsqueeze(1)
    frequencies = 10_000 ** (-torch.arange(0, size, 2, dtype=t.dtype) / size)  # (⌈H / 2⌉,)
    angles = t * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :size]


# What --cell means. All but the Transformer have a state that is carried from step to step.
CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "transformer": TransformerLayers}


def make_layers(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    nonlinearity: str = "tanh",
    bidirectional: bool = False,
    dropout: float = 0.0,
    layer_norm: bool = False,
    residual: bool = False,
) -> nn.RNNBase | LayeredRnn | TransformerLayers:
    """PyTorch's own stack where it can do what is asked, else one of this module's."""
    make = CELLS[cell]
    if make is TransformerLayers:
        return make(input_size, hidden_size, num_layers, dropout)
    if make is nn.RNN:
        make = partial(make, nonlinearity=nonlinearity)
    make = partial(make, batch_first=True, bidirectional=bidirectional)
    if layer_norm or residual:
        return LayeredRnn(make, input_size, hidden_size, num_layers, dropout, layer_norm, residual)
    return make(input_size, hidden_size, num_layers, dropout=dropout)


# ---- from all steps to one vector ----


def last_steps(output: PackedSequence, bidirectional: bool = False) -> Tensor:
    """The outputs at the end of each row, (N, F), in the order of a batch before packing.

    Each direction ends elsewhere: forward at the row's last valid step, backward at its first.
    """
    data, sizes = output.data, output.batch_sizes
    num_rows = int(sizes[0])
    starts = sizes.cumsum(0) - sizes  # of each step in `data`
    rows = torch.arange(num_rows)
    lengths = (sizes.unsqueeze(1) > rows).sum(dim=0)
    last = data[(starts[lengths - 1] + rows).to(data.device)]  # (N, F)
    if bidirectional:
        forward, _ = last.chunk(2, dim=1)
        _, backward = data[:num_rows].chunk(2, dim=1)
        last = torch.cat([forward, backward], dim=1)
    return last if output.unsorted_indices is None else last[output.unsorted_indices]


def _mean(x: Tensor, is_valid: Tensor, attention: nn.Module | None) -> Tensor:
    return (x * is_valid).sum(dim=1) / is_valid.sum(dim=1)


def _max(x: Tensor, is_valid: Tensor, attention: nn.Module | None) -> Tensor:
    return x.masked_fill(~is_valid, -math.inf).amax(dim=1)


def _attention(x: Tensor, is_valid: Tensor, attention: nn.Module) -> Tensor:
    """The mean with learned weights: a softmax over the steps of each step's score.

    Source: Yang et al., Hierarchical Attention Networks, 2016, section 2.2, without its tanh layer.
    """
    weights = attention(x).masked_fill(~is_valid, -math.inf).softmax(dim=1)  # (N, T, 1)
    return (weights * x).sum(dim=1)


# What --pooling means, beside "last": from (N, T, F) and which steps are valid, (N, T, 1).
POOLINGS = {"mean": _mean, "max": _max, "attention": _attention}


def pool(output: PackedSequence, pooling: str, attention: nn.Module | None = None) -> Tensor:
    """One vector for each row from its valid steps, (N, F); `attention` scores steps, F to 1."""
    x, seq_lengths = pad_packed_sequence(output, batch_first=True)  # (N, T, F)
    is_valid = torch.arange(x.shape[1]) < seq_lengths.unsqueeze(1)
    return POOLINGS[pooling](x, is_valid.unsqueeze(2).to(x.device), attention)


# ---- first weights ----


@torch.no_grad()
def init_recurrent(layers: nn.RNNBase | LayeredRnn, init: str, forget_bias: float = 0.0) -> None:
    """Give the matrices from state to state other first weights than PyTorch's uniform ones.

    Args:
        layers: changed in place. The block of each gate of a GRU or LSTM is a matrix of its own.
        init: "orthogonal", which keeps the length of a state; "identity" with all biases zero,
            which keeps a state of ReLU units as it is until an input changes it; "default".
        forget_bias: of an LSTM's forget gate, the sum of its two biases; 0 is PyTorch's own.

    Source: Saxe, McClelland, Ganguli, Exact Solutions to the Nonlinear Dynamics of Learning in Deep
    Linear Networks, 2014; Le, Jaitly, Hinton, A Simple Way to Initialize Recurrent Networks of
    Rectified Linear Units, 2015; Jozefowicz, Zaremba, Sutskever, An Empirical Exploration of
    Recurrent Network Architectures, 2015.
    """
    fill = {"default": None, "orthogonal": nn.init.orthogonal_, "identity": nn.init.eye_}[init]
    for name, parameter in layers.named_parameters():
        kind = name.rpartition(".")[2]
        if kind.startswith("weight_hh") and fill:
            for gate in parameter.split(layers.hidden_size):
                fill(gate)
        if kind.startswith("bias_"):
            if init == "identity":
                parameter.zero_()
            if forget_bias:  # the gates of an LSTM: input, forget, cell, output
                forget_gate = parameter.chunk(4)[1]
                forget_gate.fill_(forget_bias if kind.startswith("bias_hh") else 0.0)
