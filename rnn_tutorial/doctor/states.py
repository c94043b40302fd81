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
from rnn_tutorial.model.layers import LayeredRnn
from rnn_tutorial.model.pooling import last_steps, pool

SATURATED = 0.97  # |tanh| beyond which its derivative 1 - h² is below 6 %
_IDLE = 1e-4  # a unit that varies less over sequences and steps carries no information
_CELLS = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}

State = tuple[Tensor, ...]  # (h,), or (h, c) of an LSTM, each (N, H)


@dataclass(frozen=True)
class StateSummary:
    """What one batch of sequences of equal length shows.

    Args:
        loss: cross-entropy.
        gradient_norms: 2-norm of the gradient of a sequence's loss with respect to the state after
            each step, mean over the sequences: S rows of T numbers, lowest layer first, in the
            order in which the states are computed. An LSTM's state is h and c together.
        saturated: share of |h| above SATURATED, over all units, steps and sequences of a tanh
            network; 0 for other networks.
        idle: share of the units whose h is the same at all steps of all sequences.
    """

    loss: float
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
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
    norms = [
        [
            torch.cat([next(gradients) for _ in state], 1).norm(dim=1).mean().item()
            for state in chain
        ]
        for chain in chains
    ]
    with torch.no_grad():
        h = torch.stack([torch.stack([state[0] for state in chain]) for chain in chains])
        is_tanh = (model.arguments["cell"], model.arguments["nonlinearity"]) == ("rnn", "tanh")
        saturated = (h.abs() > SATURATED).double().mean().item() if is_tanh else 0.0
        spread = h.amax(dim=(1, 2)) - h.amin(dim=(1, 2))  # of h (S, T, N, H): (S, H)
        idle = (spread < _IDLE).double().mean().item()
    return StateSummary(loss.item() / len(x), norms, saturated, idle)


def _unroll(model: RnnClsNet, x: Tensor) -> tuple[list[list[State]], Tensor]:
    """Every state in the order of computation, S chains of T states, and the scores, (N, C)."""
    rnn = model.rnn
    inputs = list(model.embedding(x).unbind(dim=1))  # T × (N, E)
    chains: list[list[State]] = []
    for number in range(rnn.num_layers):
        layer, index = (rnn, number) if isinstance(rnn, nn.RNNBase) else (rnn.layers[number], 0)
        is_inner = number > 0 and isinstance(rnn, LayeredRnn)
        normed = [rnn.norms[number - 1](x_t) for x_t in inputs] if is_inner else inputs
        directions = [_run(_cell(layer, f"_l{index}"), normed)]
        outputs = [state[0] for state in directions[0]]  # T × (N, F)
        if rnn.bidirectional:
            directions.append(_run(_cell(layer, f"_l{index}_reverse"), normed[::-1]))
            backward = [state[0] for state in reversed(directions[1])]
            outputs = [torch.cat(both, dim=1) for both in zip(outputs, backward, strict=True)]
        if is_inner and rnn.residual:
            outputs = [x_t + y_t for x_t, y_t in zip(inputs, outputs, strict=True)]
        chains += directions
        inputs = outputs
    seq_lengths = torch.full((len(x),), x.shape[1])
    output = pack_padded_sequence(torch.stack(inputs, dim=1), seq_lengths, batch_first=True)
    if model.arguments["pooling"] == "last":
        return chains, model.fc(last_steps(output, rnn.bidirectional))
    return chains, model.fc(pool(output, model.arguments["pooling"], model.attention))


def _run(cell: nn.RNNCellBase, inputs: list[Tensor]) -> list[State]:
    """The state after each input."""
    state, chain = None, []
    for x_t in inputs:
        state = cell(x_t, state)
        if isinstance(state, tuple):  # copies: else the gradient of c would contain that of h
            state = state[0].clone(), state[1].clone()
        chain.append(state if isinstance(state, tuple) else (state,))
    return chain


def _cell(rnn: nn.RNNBase, ending: str) -> nn.RNNCellBase:
    """One layer and direction, whose parameters' names have this ending, as a cell."""
    weights = {
        name.removesuffix(ending): weight.detach()
        for name, weight in rnn.named_parameters()
        if name.endswith(ending)
    }
    options = {"nonlinearity": rnn.nonlinearity} if isinstance(rnn, nn.RNN) else {}
    first = weights["weight_ih"]
    cell = _CELLS[type(rnn)](first.shape[1], rnn.hidden_size, dtype=first.dtype, **options)
    cell.load_state_dict(weights)
    return cell
