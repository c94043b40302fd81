"""What goes on inside a network: gradients at every step, and idle units.

Shapes: N sequences, T steps, H hidden, F outputs of a step, S chains of
states: one per layer and direction.
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
_IDLE = 1e-4  # a unit that varies less over sequences and steps carries nothing


@dataclass(frozen=True)
class Probe:
    """What one batch of sequences of equal length shows.

    Args:
        loss: cross-entropy.
        gradient_norms: 2-norm of the gradient of a sequence's loss with respect to the state after
            each step, mean over the sequences: S rows of T numbers, lowest layer first, in the
            order in which the states are computed. An LSTM's state is h and c together.
        saturated: share of |h| above SATURATED, over all units, steps and sequences of a tanh
            network; 0 for others, whose h is no tanh of its input.
        idle: share of the units whose h is the same at all steps of all sequences.
    """

    loss: float
    gradient_norms: list[list[float]]
    saturated: float
    idle: float


def probe(model: RnnClsNet, x: Tensor, targets: Tensor) -> Probe:
    """Run a recurrent model step by step and differentiate with respect to every state.

    Args:
        model: recurrent, in evaluation mode, on the CPU.
        x: token ids without padding, (N, T).
        targets: classes, (N,).
    """
    chains, scores = _unroll(model, x)
    loss = cross_entropy(scores, targets, reduction="sum")  # each sequence's own gradient
    flat = [tensor for chain in chains for state in chain for tensor in state]
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
    norms = [
        [
            torch.stack([next(gradients).squeeze(0) for _ in state]).norm(dim=(0, 2)).mean().item()
            for state in chain
        ]
        for chain in chains
    ]
    with torch.no_grad():
        h = torch.stack([torch.stack([state[0][0] for state in chain]) for chain in chains])
        is_tanh = (model.arguments["cell"], model.arguments["nonlinearity"]) == ("rnn", "tanh")
        saturated = (h.abs() > SATURATED).double().mean().item() if is_tanh else 0.0
        spread = h.amax(dim=(1, 2)) - h.amin(dim=(1, 2))  # of h (S, T, N, H): (S, H)
        return Probe(
            loss.item() / len(x),
            norms,
            saturated,
            (spread < _IDLE).double().mean().item(),
        )


def _unroll(model: RnnClsNet, x: Tensor) -> tuple[list[list[tuple[Tensor, ...]]], Tensor]:
    """Every state in the order of computation, and the scores, (N, C).

    A state is a tuple (h,) or (h, c) of tensors (1, N, H), through which all of the future passes.
    """
    rnn = model.rnn
    inputs = list(model.embedding(x).unbind(dim=1))  # T × (N, E)
    chains: list[list[tuple[Tensor, ...]]] = []
    for number in range(rnn.num_layers):
        layer, own = (rnn, number) if isinstance(rnn, nn.RNNBase) else (rnn.layers[number], 0)
        is_inner = number > 0 and isinstance(rnn, LayeredRnn)
        read = [rnn.norms[number - 1](x_t) for x_t in inputs] if is_inner else inputs
        directions = [
            _run(_one_layer(layer, own, suffix), read[:: -1 if suffix else 1])
            for suffix in ["", "_reverse"][: 1 + rnn.bidirectional]
        ]
        chains += directions
        outputs = [[state[0][0] for state in chain] for chain in directions]
        if rnn.bidirectional:
            outputs[1].reverse()
        outputs = [torch.cat(both, dim=1) for both in zip(*outputs, strict=True)]  # T × (N, F)
        if is_inner and rnn.residual:
            outputs = [x_t + y_t for x_t, y_t in zip(inputs, outputs, strict=True)]
        inputs = outputs
    seq_lengths = torch.full((len(x),), x.shape[1])
    output = pack_padded_sequence(torch.stack(inputs, dim=1), seq_lengths, batch_first=True)
    if model.arguments["pooling"] == "last":
        return chains, model.fc(last_steps(output, rnn.bidirectional))
    return chains, model.fc(pool(output, model.arguments["pooling"], model.attention))


def _run(one_layer: nn.RNNBase, inputs: list[Tensor]) -> list[tuple[Tensor, ...]]:
    state, chain = None, []
    for x_t in inputs:
        _, state = one_layer(x_t.unsqueeze(1), state)
        chain.append(state if isinstance(state, tuple) else (state,))
    return chain


def _one_layer(rnn: nn.RNNBase, layer: int, suffix: str) -> nn.RNNBase:
    """One layer and direction of a stack, as a module of its own."""
    own = {
        name.removesuffix(f"_l{layer}{suffix}") + "_l0": weight.detach()
        for name, weight in rnn.named_parameters()
        if name.endswith(f"_l{layer}{suffix}")
    }
    options = {"nonlinearity": rnn.nonlinearity} if isinstance(rnn, nn.RNN) else {}
    input_size = own["weight_ih_l0"].shape[1]
    one_layer = type(rnn)(input_size, rnn.hidden_size, batch_first=True, **options)
    one_layer.to(own["weight_ih_l0"].dtype)
    one_layer.load_state_dict(own)
    return one_layer
