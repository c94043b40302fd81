"""The weights of a checkpoint, back in a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.checkpoint import Checkpoint


def load_model(checkpoint: Checkpoint) -> RnnClsNet:
    """The model of a checkpoint with its weights, on the CPU, in evaluation mode.

    Raises:
        ValueError: the weights are not those of such a model.
    """
    sizes, num_weights = checkpoint.model, sum(map(Tensor.numel, checkpoint.weights.values()))
    names = "vocab_size", "embed_dim", "hidden_dim", "num_layers", "cls_num"
    V, E, H, L, C = (sizes[name] for name in names)
    # Before memory is asked for that no machine has.
    if max(V * E, E * H, L * H * H, H * C) > num_weights:
        raise ValueError(f"{str(checkpoint.path)!r}: the weights do not fit the model")
    try:
        model = RnnClsNet(**sizes)
    except ValueError as error:
        raise ValueError(f"{str(checkpoint.path)!r}: {error}") from None
    load_weights(model, checkpoint.weights, checkpoint.path)
    return model.eval()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give a model the weights of the checkpoint at a path; ValueError if they do not fit it."""
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(f"{str(path)!r}: the weights do not fit the model") from None
