"""What the hidden states of a network show: gradients at every step, saturated and idle units.

Shapes: N sequences, T steps, E embedding, H hidden, F outputs of a step, S chains of states: one
for each layer and direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.layers import LayeredRnn, one_layer

SATURATED = 0.97  # |tanh| beyond which its derivative 1 - h² is below 6 %
_IDLE = 1e-4  # a unit that varies less over sequences and steps carries no information

State = tuple[Tensor, ...]  # (h,), or (h, c) of an LSTM, each (1, N, H)


@dataclass(frozen=True)
class StateSummary:
    """What one batch of sequences of equal length shows.

    Args:
        gradient_norms: 2-norm of the gradient of a sequence's loss with respect to the state after
            each step, mean over the sequences: S rows of T numbers, lowest layer first, in the
            order in which the states are computed. An LSTM's state is h and c together.
        saturated: share of |h| above SATURATED, over all units, steps and sequences of a tanh
            network; 0 for other networks.
        idle: share of the units whose h is the same at all steps of all sequences.
    """

    gradient_norms: list[list[float]]
    saturated: float
    idle: float


def summarize_states(model: RnnClsNet, x: Tensor, targets: Tensor) -> StateSummary:
    """Run a recurrent model step by step and differentiate with respect to every state.

    Args:
        model: recurrent, in evaluation mode, on the CPU.
        x: token ids without padding, (N, T).
        targets: classes, (N,).
    """
    chains, scores = _unroll(model, x)
    # The sum, not the mean, so that each sequence gets the gradient of its loss alone.
    loss = cross_entropy(scores, targets, reduction="sum")
    flat = [tensor for chain in chains for state in chain for tensor in state]
    gradients = iter(torch.autograd.grad(loss, flat, materialize_grads=True))
    norms = [
        [
            torch.cat([next(gradients) for _ in state], 2).norm(dim=2).mean().item()
            for state in chain
        ]
        for chain in chains
    ]
    with torch.no_grad():
        h = torch.stack([torch.cat([state[0] for state in chain]) for chain in chains])
        is_tanh = (model.arguments["cell"], model.arguments["nonlinearity"]) == ("rnn", "tanh")
        saturated = (h.abs() > SATURATED).double().mean().item() if is_tanh else 0.0
        spread = h.amax(dim=(1, 2)) - h.amin(dim=(1, 2))  # of h (S, T, N, H): (S, H)
        idle = (spread < _IDLE).double().mean().item()
    return StateSummary(norms, saturated, idle)


def _unroll(model: RnnClsNet, x: Tensor) -> tuple[list[list[State]], Tensor]:
    """Every state in the order of computation, S chains of T states, and the scores, (N, C)."""
    rnn, chains = model.rnn, []
    inputs = model.embedding(x)  # (N, T, E)
    for number in range(rnn.num_layers):
        layer, index = (rnn, number) if isinstance(rnn, nn.RNNBase) else (rnn.layers[number], 0)
        is_inner = number > 0 and isinstance(rnn, LayeredRnn)
        normed = rnn.norms[number - 1](inputs) if is_inner else inputs
        chain, outputs = _run(one_layer(layer, index), normed)  # (N, T, F)
        chains.append(chain)
        if rnn.bidirectional:
            chain, backward = _run(one_layer(layer, index, "_reverse"), normed.flip(1))
            chains.append(chain)
            outputs = torch.cat([outputs, backward.flip(1)], dim=2)
        inputs = inputs + outputs if is_inner and rnn.residual else outputs
    packed = pack_padded_sequence(inputs, torch.full((len(x),), x.shape[1]), batch_first=True)
    h_n = torch.cat([chain[-1][0] for chain in chains])
    return chains, model.fc(model.last_state(packed, h_n))


def _run(layer: nn.RNNBase, inputs: Tensor) -> tuple[list[State], Tensor]:
    """The state after each step of inputs, (N, T, F), and the outputs made of these states."""
    state, chain = None, []
    for x_t in inputs.split(1, dim=1):
        _, state = layer(x_t, state)
        if isinstance(state, tuple):  # copies: else the gradient of c would contain that of h
            state = state[0].clone(), state[1].clone()
        chain.append(state if isinstance(state, tuple) else (state,))
    return chain, torch.cat([h for h, *_ in chain]).transpose(0, 1)
