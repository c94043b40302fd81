"""What the hidden states of a network show: gradients at every step, saturated and idle units.

Shapes: N sequences, T steps, E embedding, H units of all layers and directions that show theirs.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rnn_tutorial.model.classifier import RnnClsNet

SATURATED = 0.97  # |tanh| beyond which its derivative 1 - h² is below 6 %
_IDLE = 1e-4  # a unit that varies less over sequences and steps carries no information


@dataclass(frozen=True)
class StateSummary:
    """What one batch of sequences of equal length shows.

    Args:
        gradient_norms: 2-norm of the gradient of a sequence's loss with respect to the embedding
            of each of its T tokens, mean over the sequences.
        saturated: share of |h| above SATURATED, over all units, steps and sequences of a tanh
            network; 0 for other networks.
        idle: share of the units whose h is the same at all steps of all sequences.
    """

    gradient_norms: list[float]
    saturated: float
    idle: float


def summarize_states(model: RnnClsNet, x: Tensor, targets: Tensor) -> StateSummary:
    """Run a recurrent model, and differentiate with respect to what it reads at each step.

    Args:
        model: recurrent, in evaluation mode, on the CPU.
        x: token ids without padding, (N, T).
        targets: classes, (N,).
    """
    size, embedded, outputs = (x.shape[1], len(x), -1), [], []  # packed data has all steps first
    with ExitStack() as hooks:
        hook = model.embedding.register_forward_hook(lambda *call: embedded.append(call[-1]))
        hooks.callback(hook.remove)
        for layer in model.rnn.modules():
            if isinstance(layer, nn.RNNBase):
                hook = layer.register_forward_hook(lambda *call: outputs.append(call[-1][0].data))
                hooks.callback(hook.remove)
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
