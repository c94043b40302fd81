"""What the hidden states of a network show: gradients at every step, saturated and idle units.

Shapes: N sequences, T steps, E embedding, H units of all layers and directions that show theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rnn_tutorial.doctor.module_copy import hooked
from rnn_tutorial.model.classifier import RnnClsNet

SATURATED = 0.97  # |tanh| beyond which its derivative 1 - h² is below 6%
_IDLE = 1e-4  # a unit that varies less over sequences and steps carries no information


@dataclass(frozen=True)
class StateSummary:
    """What one batch of sequences of equal length shows.

    A norm is that of the gradient of a sequence's loss with respect to the embedding of a token.
    """

    gradient_norms: list[float]  # at each of the T steps, mean over the sequences
    saturated: float  # share of |h| above SATURATED, if a tanh network, over all units and steps
    idle: float  # share of the units whose h is the same at all steps of all sequences


def summarize_states(model: RnnClsNet, x: Tensor, targets: Tensor) -> StateSummary:
    """Run a recurrent model, and differentiate with respect to what it reads at each step.

    Args:
        model: recurrent, in evaluation mode, on the CPU.
        x: token ids without padding, (N, T).
        targets: classes, (N,).
    """
    size, embedded, outputs = (x.shape[1], len(x), -1), [], []  # packed data has all steps first
    layers = [layer for layer in model.rnn.modules() if isinstance(layer, nn.RNNBase)]
    with (
        hooked([model.embedding], lambda *call: embedded.append(call[-1])),
        hooked(layers, lambda *call: outputs.append(call[-1][0].data)),
    ):
        scores = model(x, torch.full((len(x),), x.shape[1]))
    # The sum, not the mean, so that each sequence gets the gradient of its loss alone.
    loss = cross_entropy(scores, targets, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, embedded)
    norms = gradient.reshape(size).norm(dim=2).mean(dim=1)  # (T,)
    h = torch.cat([output.detach().reshape(size) for output in outputs], dim=2)  # (T, N, H)
    is_tanh = (model.arguments["cell"], model.arguments["nonlinearity"]) == ("rnn", "tanh")
    saturated = (h.abs() > SATURATED).double().mean().item() if is_tanh else 0.0
    spread = h.amax(dim=(0, 1)) - h.amin(dim=(0, 1))  # (H,)
    return StateSummary(norms.tolist(), saturated, (spread < _IDLE).double().mean().item())
