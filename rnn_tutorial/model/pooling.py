"""From the outputs of all steps to one vector for each row: the last, or the mean or maximum.

Shapes: N batch, T time, M valid steps of a batch (the sum of its lengths), F outputs of a step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence


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
POOLING_FUNCTIONS = {"mean": _mean, "max": _max, "attention": _attention}


def pool(output: PackedSequence, pooling: str, attention: nn.Module | None = None) -> Tensor:
    """One vector for each row from its valid steps, (N, F); `attention` scores steps, F to 1."""
    x, seq_lengths = pad_packed_sequence(output, batch_first=True)  # (N, T, F)
    is_valid = torch.arange(x.shape[1]) < seq_lengths.unsqueeze(1)
    return POOLING_FUNCTIONS[pooling](x, is_valid.unsqueeze(2).to(x.device), attention)
