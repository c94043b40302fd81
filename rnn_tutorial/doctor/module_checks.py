"""What is wrong with the code of a sequence classifier: checks that take any nn.Module.

    from rnn_tutorial.doctor.findings import describe
    print(describe(check_module(my_module, vocab_size=10)))

Each check is an experiment that a correct module passes whatever its weights are, trained or not:
widen the padding and compare, permute the rows and compare, change one token and see which scores
move. One mistake usually fails several of them; reported is the mistake, not every symptom.

Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_probe import ModuleRaised, Probe, WrongShape, undisturbed
from rnn_tutorial.doctor.module_rows import (
    check_axes,
    check_backward_direction,
    check_rows_and_padding,
)
from rnn_tutorial.doctor.module_time import check_gradients, check_time_axis

FRESH_NETS = 8  # networks that all score in (0, 1) only if the code makes them
# After these the other checks mean nothing.
DECISIVE = {
    "batch-first-swapped", "state-kept-between-batches", "dropout-in-evaluation",
    "non-finite-scores", "softmax-over-batch", "order-not-restored", "batch-statistics",
    "state-reshaped", "rows-mixed", "input-ignored",
}  # fmt: skip
# What follows from another mistake is not reported beside it.
EXPLAINED_BY = {
    "unused-parameters": {
        "bidirectional-last-step", "input-ignored", "only-last-step", "only-first-step",
    },
}  # fmt: skip
# Advice by what the error of a module says; the last that fits is given.
ADVICE_ON_ERRORS = {
    "": "run the module on a batch like this one in a debugger",
    "positional argument": "pass call=, a function of (module, x, seq_lengths) that returns scores",
    "enforce_sorted": "pass enforce_sorted=False to pack_padded_sequence",
    "Expected hidden size": "make the first state for the given batch, "
    "torch.zeros(num_layers, x.shape[0], H), or pass none: zeros are the default",
    "must match the size": "if the columns outnumber the longest row: "
    "pad_packed_sequence(..., total_length=x.shape[1]) keeps the width of x",
    "on the CPU": "pass seq_lengths.cpu() to pack_padded_sequence",
    "out of range": "give the embedding vocab_size + 1 rows, one for padding; or pass padding_id",
    "smaller than num_classes": "give one_hot the padding too, or pass padding_id",
}


def check_module(module: nn.Module, vocab_size: int, **options: Any) -> list[Finding]:
    """Find the usual mistakes in a classifier of padded sequences.

    The module is not changed: a copy is examined, in evaluation mode, in float64 on the CPU where
    that is possible. Nothing is trained.

    Args:
        module: called as module(x, seq_lengths) with x int64 (N, T) and seq_lengths int64 (N,);
            returns scores (N, C), or a tuple that begins with them.
        vocab_size: token ids run from 0 to vocab_size - 1, without padding_id if that is in there.
        options: lengths, batch_first, padding_id, call and seed of `Probe`.

    Returns:
        Findings, the most basic first; none if everything is right.

    Raises:
        ValueError: an argument that is not allowed, or a module that cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module is of type {type(module).__name__}; allowed is an nn.Module")
    with undisturbed(module):
        findings = [*_check_dropout(module), *_check_registration(module)]
        try:
            probe = Probe(module, vocab_size, **options)
            for check in CHECKS:
                found = list(check(probe))
                findings += found
                if any(finding.name in DECISIVE for finding in found):
                    break
        except ModuleRaised as raised:
            findings.append(
                Finding(
                    "module-raises",
                    str(raised),
                    "this batch is valid, so training or prediction stops here sooner or later",
                    [advice for text, advice in ADVICE_ON_ERRORS.items() if text in str(raised)][
                        -1
                    ],
                )
            )
        except WrongShape as wrong:
            findings.append(
                Finding(
                    "wrong-shape",
                    str(wrong),
                    "a classifier gives each sequence, also a single one, a row of scores, (N, C)",
                    "return the scores after pooling over time; squeeze only a named dimension; or "
                    "pass call= with a function that returns (N, C)",
                )
            )
    names = {finding.name for finding in findings}
    return [f for f in findings if not names & EXPLAINED_BY.get(f.name, set())]


def _check_dropout(module: nn.Module) -> Iterator[Finding]:
    """nn.RNN's dropout acts between its layers, and a single layer has nothing between."""
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and part.dropout > 0 and part.num_layers == 1:
            yield Finding(
                "dropout-with-one-layer",
                f"{name or 'the module'} has dropout={part.dropout} and num_layers=1",
                "dropout acts between layers only, so here it does nothing",
                "add nn.Dropout after the embedding or before the last linear map, or a layer",
            )


def _check_registration(module: nn.Module) -> Iterator[Finding]:
    """Modules kept in a plain list or dict: module.parameters() does not know them."""
    known = {id(p) for p in module.parameters()}
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            items = list(value.values() if isinstance(value, dict) else value)
            modules = nn.ModuleList(item for item in items if isinstance(item, nn.Module))
            loose = [item for item in items if isinstance(item, nn.Parameter)]
            if any(id(p) not in known for p in (*modules.parameters(), *loose)):
                where = f"{name}.{attribute}" if name else attribute
                yield Finding(
                    "unregistered-parameters",
                    f"{where} is a {type(value).__name__} of modules or parameters",
                    "the optimizer never sees them: they keep their first values, are not saved, "
                    "do not move to a GPU and stay in training mode",
                    "use nn.ModuleList, nn.ModuleDict or nn.ParameterList",
                )


def _check_padding_idx(probe: Probe) -> Iterator[Finding]:
    """The row of padding_idx is never trained: if it belongs to a token, that token is lost."""
    for name, part in probe.module.named_modules():
        if isinstance(part, nn.Embedding) and (idx := part.padding_idx) in probe.token_ids:
            yield Finding(
                "wrong-padding-idx",
                f"{name} has padding_idx={idx}, a token; the padding is {probe.padding_id}",
                f"the embedding of token {idx} gets no gradient and never changes",
                f"padding_idx={probe.padding_id}; or check with padding_id={idx} if that is right",
                "possible" if probe.is_padding_guessed else "likely",
            )


@torch.no_grad()
def _check_repeatability(probe: Probe) -> Iterator[Finding]:
    """The same batch twice, in evaluation mode: the scores must be the same."""
    batch = probe.batch()
    first, again, reseeded = (
        probe.scores(*batch, other_seed=is_other).nan_to_num() for is_other in (False, False, True)
    )
    if not torch.equal(first, again):
        yield Finding(
            "state-kept-between-batches",
            "the same batch twice in a row gives different scores, with equal random states",
            "the module remembers earlier batches: the sequences of one batch begin where "
            "unrelated ones ended, and a batch of another size fails",
            "begin each forward from a fresh state, without self.hidden; then run all checks again",
        )
    elif not torch.equal(first, reseeded):
        yield Finding(
            "dropout-in-evaluation",
            "after module.eval() the scores of one batch still depend on the random state",
            "answers vary from call to call, and the accuracy is that of a damaged network",
            "use nn.Dropout, or F.dropout(x, p, self.training), and noise only while "
            "self.training; then check again, because the other checks need this",
        )


@torch.no_grad()
def _check_inputs(probe: Probe) -> Iterator[Finding]:
    """The call does not change the batch."""
    probe.scores(*probe.batch())
    if probe.modified:
        which = probe.modified[0]
        yield Finding(
            "input-modified",
            f"{' and '.join(probe.modified)} changed in place by the call",
            "whatever uses the batch again, a second epoch or a metric, gets other data",
            f"compute a new tensor: {which} = {which} - 1, not {which} -= 1; sort(), not sort_()",
        )


@torch.no_grad()
def _check_finiteness(probe: Probe) -> Iterator[Finding]:
    """No NaN or infinity for any length."""
    scores = probe.scores(*probe.batch())
    is_wrong = ~scores.isfinite().all(dim=1)
    if is_wrong.any():
        lengths = sorted(set(probe.lengths[is_wrong.cpu()].tolist()))
        yield Finding(
            "non-finite-scores",
            f"NaN or infinity in {int(is_wrong.sum())} of {len(scores)} rows, of lengths {lengths}",
            "one such row makes the loss, and with it every weight, NaN",
            "the weights may be NaN already: see the gradient norms of training"
            if is_wrong.all()
            else "look for log, std, softmax over nothing, or division by a count that can be 0",
        )


@torch.no_grad()
def _check_range(probe: Probe) -> Iterator[Finding]:
    """Scores for cross_entropy are any numbers; softmax, sigmoid and ReLU leave marks on them.

    log_softmax leaves one too but does no harm: applied again by cross_entropy it changes nothing.
    """
    scores = probe.scores(*probe.batch())
    classes = scores.shape[1]
    if classes < 2:
        return

    def sums_to_1(values: Tensor, dim: int) -> bool:
        return bool(((values.sum(dim) - 1).abs() <= probe.tolerance).all())

    is_positive = bool((scores >= 0).all())
    if (is_positive and sums_to_1(scores, 0)) or sums_to_1(scores.exp(), 0):
        yield Finding(
            "softmax-over-batch",
            "each class's probabilities sum to 1 over the rows of the batch",
            "sequences compete with each other, and a batch of one is always sure",
            "softmax over classes is dim=-1; and cross_entropy wants none at all",
        )
    elif is_positive and sums_to_1(scores, 1):
        floor = math.log(math.e + classes - 1) - 1  # the loss of a 1 for the right class, else 0
        yield Finding(
            "softmax-output",
            "every row of the scores is positive and sums to 1",
            "cross_entropy applies softmax itself: with two of them the gradients are small, and "
            f"the loss cannot fall below {floor:.2f} with {classes} classes",
            "return the last linear map's scores; apply softmax only to show probabilities",
        )
    elif is_positive and (scores == 0).any():
        yield Finding(
            "relu-on-scores",
            f"no score is negative and {float((scores == 0).float().mean()):.0%} are exactly 0",
            "a class at 0 gets no gradient, and two classes at 0 cannot be told apart",
            "no activation after the last linear map",
            "likely",
        )
    elif is_positive and all(_is_between_0_and_1(probe.refreshed(i)) for i in range(FRESH_NETS)):
        yield Finding(
            "sigmoid-output",
            "all scores lie between 0 and 1, and rows do not sum to 1",
            "right for binary_cross_entropy; cross_entropy would never get a sure answer",
            "to choose one of many classes, return the last linear map's scores",
            "possible",
        )


def _is_between_0_and_1(probe: Probe) -> bool:
    scores = probe.scores(*probe.batch())
    return bool(((scores > 0) & (scores < 1)).all())


# The most basic first.
CHECKS = (
    _check_padding_idx, check_axes, _check_repeatability, _check_inputs, _check_finiteness,
    _check_range, check_rows_and_padding, check_backward_direction, check_time_axis,
    check_gradients,
)  # fmt: skip
