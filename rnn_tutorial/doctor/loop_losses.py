"""What a loss of PyTorch is given: probabilities, axes, targets. Part of `loop_watch`.

Shapes: N batch, T time, C classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_VIEWS = "Squeeze|View|Select|Slice|Clone|Permute|Transpose"  # nodes that keep the values


def _maker(tensor: Tensor, passing: str) -> Any:
    """The node of the graph that made a tensor; those with such names are passed over."""
    node = tensor.grad_fn
    while node is not None and re.search(passing, node.name()):
        node = node.next_functions[0][0]
    return node


def faults_of_loss(name: str, given: Mapping[str, Any], inputs: Sequence[Tensor]) -> Iterator[str]:
    """The names of findings on what a loss is given; inputs: the data that entered the network."""
    scores, targets = given["input"], given["target"]
    if name == "nll_loss" and _are_no_logarithms(scores):
        yield "no-log-probabilities"
    if name != "nll_loss" and are_probabilities(name, scores):
        yield "probabilities-in-loss"
    if name == "binary_cross_entropy_with_logits" or targets.is_floating_point():
        return
    if _is_mixed_by_view(scores):
        yield "view-for-transpose"
    tables = [x for x in inputs if x.ndim == 2 and x.numel() == targets.numel()]
    pairs = [(x, targets.reshape(x.shape)) for x in tables if not x.is_floating_point()]
    ignored, is_plain = given["ignore_index"], given["weight"] is None
    is_plain &= given["reduction"] != "none"  # else a mask may follow
    both = [*pairs, *((x.T, y.T) for x, y in pairs)]  # time may be either axis
    if is_plain and any(_are_padded(x, y, ignored) for x, y in both):
        yield "padding-in-loss"
    is_shifted = any(torch.equal(x[:, 1:], y[:, :-1]) for x, y in pairs)  # fed to a decoder
    equal = [bool(((x == y) | (y == ignored)).all() and (y != ignored).any()) for x, y in pairs]
    if any(equal) and not is_shifted and targets.unique().numel() > 2:
        yield "target-is-input"


def _are_no_logarithms(scores: Tensor) -> bool:
    """True if nll_loss gets no log-probabilities, and something that is not made from them."""
    excess = scores.detach().double().logsumexp(min(1, scores.ndim - 1))
    node = _maker(scores, _VIEWS)
    if node is None or not excess.abs().median() > 0.1:
        return False
    if node.name().startswith("LogSoftmax"):  # over another axis; a part need not sum to 1
        return node._saved_result.numel() == scores.numel()
    node = _maker(scores, _VIEWS + "|AddBackward")  # of a bias
    raw = ("Addmm", "Mm", "Softmax", "Sigmoid", "Relu", "Tanh")
    return node is not None and node.name().startswith(raw)


def _is_mixed_by_view(scores: Tensor) -> bool:
    """True for (N, T, C) viewed as (N, C, T): the axes change, and no element moves."""
    node = _maker(scores, "LogSoftmax|Clone")
    if node is None or "View" not in node.name():
        return False
    before, after = tuple(node._saved_self_sym_sizes), tuple(scores.shape)
    changed = {a for a, b in zip(before, after, strict=False) if a != b}
    is_swap = sorted(before) == sorted(after) and 1 not in changed
    return is_swap and len(after) > 2 and before[1] != after[1]


def _are_padded(tokens: Tensor, targets: Tensor, ignored: int) -> bool:
    """True if most rows end in padding, of different lengths, in both, and the loss counts it.

    Padding is one id, at the ends of rows and nowhere else.
    """
    padding = [ids == ids[:, -1].mode().values for ids in (tokens, targets)]
    tails = [each.flip(1).long().cumprod(1).flip(1).bool() for each in padding]
    lengths = tails[0].sum(1)
    is_padding = all(map(torch.equal, padding, tails)) and bool((tails[0] <= tails[1]).all())
    is_counted = bool((targets[tails[1]] != ignored).all()) and tails[1].double().mean() > 0.1
    is_usual = (lengths > 0).double().mean() > 0.5 and lengths.unique().numel() > 2
    return bool(is_padding and is_counted and is_usual)


def are_probabilities(name: str, given: Tensor) -> bool:
    """True if a loss that applies softmax or a sigmoid gets what either of them has made."""
    if not given.is_floating_point() or not bool(((given >= 0) & (given <= 1)).all()):
        return False  # else they may be logits, too: what has made them?
    node = _maker(given, _VIEWS)
    made_by = ("Sigmoid",) if name == "cross_entropy" else ("Sigmoid", "Softmax")
    if node is not None and node.name().startswith(made_by):
        return True
    has_rows = name == "cross_entropy" and given.ndim > 1
    return has_rows and bool((given.sum(dim=1) - 1).abs().max() < 1e-3)
