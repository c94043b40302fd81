"""The recurrent layers between embedding and classifier, of any cell, and their first weights.

They take the embedded steps of a batch as a PackedSequence and give their outputs as another, and
they take and give a state as nn.RNN does.

Shapes: N batch, M valid steps of a batch (the sum of its lengths), E embedding, H hidden,
D directions, L layers, F outputs of a step (D·H).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_tutorial.model.transformer import TransformerLayers

State = Tensor | tuple[Tensor, Tensor]  # (L·D, N, H); of an LSTM (h, c)


class LayeredRnn(nn.Module):
    """Stacked recurrent layers, with more between them than dropout.

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


# What --cell means. All but the Transformer have a state that is carried from step to step.
CELL_CLASSES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "transformer": TransformerLayers}


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
    make = CELL_CLASSES[cell]
    if make is TransformerLayers:
        return make(input_size, hidden_size, num_layers, dropout)
    if make is nn.RNN:
        make = partial(make, nonlinearity=nonlinearity)
    make = partial(make, batch_first=True, bidirectional=bidirectional)
    if layer_norm or residual:
        return LayeredRnn(make, input_size, hidden_size, num_layers, dropout, layer_norm, residual)
    # A single layer has nothing between layers that could be dropped; PyTorch would warn.
    return make(input_size, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0)


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


def one_layer(rnn: nn.RNNBase, index: int) -> nn.RNNBase:
    """One layer of a stack as a module of its own, which shares its parameters.

    Args:
        rnn: nn.RNN, nn.GRU or nn.LSTM.
        index: of the layer, 0 is the lowest.
    """
    options = {"nonlinearity": rnn.nonlinearity} if isinstance(rnn, nn.RNN) else {}
    input_size = getattr(rnn, f"weight_ih_l{index}").shape[1]
    layer = type(rnn)(input_size, rnn.hidden_size, batch_first=True, **options)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(layer, f"{name}_l0", getattr(rnn, f"{name}_l{index}"))
    return layer
