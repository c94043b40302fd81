"""What is wrong with the code of a sequence classifier: checks that take any nn.Module.

    from rnn_tutorial.doctor.findings import describe
    print(describe(check_module(my_module, vocab_size=10)))

Each check is an experiment that a correct module passes whatever its weights are, trained or not:
widen the padding and compare, permute the rows and compare, change one token and look who notices.
One mistake usually fails several of them; what is reported is the mistake, not every symptom.

Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_probe import (
    PASSED,
    Call,
    ModuleRaised,
    Outcome,
    Probe,
    WrongShape,
    undisturbed,
)
from rnn_tutorial.doctor.module_rows import (
    check_axes,
    check_backward_direction,
    check_rows_and_padding,
)
from rnn_tutorial.doctor.module_time import check_gradients, check_time_axis

FRESH_NETS = 8  # that all give scores in (0, 1) only if the code sees to it
# What follows from another mistake is not reported beside it.
EXPLAINED_BY = {
    "unused-parameters": {
        "bidirectional-last-step", "input-ignored", "only-last-step", "only-first-step",
    },
}  # fmt: skip


def check_module(
    module: nn.Module,
    vocab_size: int,
    *,
    lengths: Sequence[int] | None = None,
    batch_first: bool = True,
    padding_id: int | None = None,
    call: Call | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Find the usual mistakes in a classifier of padded sequences.

    The module is left as it is: a copy is examined, in evaluation mode, in float64 on the CPU
    where that is possible. Nothing is trained.

    Args:
        module: called as module(x, seq_lengths) with x int64 (N, T) and seq_lengths int64 (N,);
            returns scores (N, C), or a tuple that begins with them.
        vocab_size: token ids run from 0 to vocab_size - 1.
        lengths: what lengths to try; by default 1 to 7, unsorted.
        batch_first: False if the module takes x as (T, N).
        padding_id: the id in the padding. By default vocab_size where the module's embedding has
            more rows than that, else the embedding's padding_idx, else 0.
        call: how to call a module with other conventions: a function of (module, x, seq_lengths)
            that returns scores (N, C).
        seed: of the random tokens.

    Returns:
        Findings, the most basic first; none if everything is right.

    Raises:
        ValueError: an argument that is not allowed, or a module that cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module is a {type(module).__name__}; allowed is an nn.Module")
    with undisturbed(module):
        findings = [*_one_layer_dropout(module), *_unregistered(module)]
        try:
            probe = Probe(module, vocab_size, lengths, batch_first, padding_id, call, seed)
            findings += _wrong_padding_idx(probe, is_guess=padding_id is None)
            for check in (
                check_axes, _check_repeatability, _check_inputs, _check_finiteness, _check_range,
                check_rows_and_padding, check_backward_direction, check_time_axis, check_gradients,
            ):  # fmt: skip
                found, go_on = check(probe)
                findings += found
                if not go_on:
                    break
        except ModuleRaised as raised:
            findings.append(_raised(str(raised)))
        except WrongShape as wrong:
            findings.append(_wrong_shape(str(wrong)))
        names = {finding.name for finding in findings}
        return [f for f in findings if not names & EXPLAINED_BY.get(f.name, set())]


def _raised(message: str) -> Finding:
    advice = "run the module on a batch like this one in a debugger"
    for text, hint in (
        ("positional argument", "for other conventions pass call=, a function of (module, x, "
         "seq_lengths) that returns the scores"),
        ("enforce_sorted", "pass enforce_sorted=False to pack_padded_sequence"),
        ("Expected hidden size", "make the first state for the batch at hand, "
         "torch.zeros(num_layers, x.shape[0], H), or pass none: zeros are the default"),
        ("must match the size", "if the columns outnumber the longest row: "
         "pad_packed_sequence(..., total_length=x.shape[1]) keeps the width of x"),
        ("on the CPU", "pass seq_lengths.cpu() to pack_padded_sequence"),
        ("out of range", "give the embedding a row for every id: vocab_size + 1 with the padding; "
         "or tell the check which id pads (padding_id)"),
        ("smaller than num_classes", "give one_hot the padding too, or pass padding_id"),
    ):  # fmt: skip
        if text in message:
            advice = hint
    return Finding(
        "module-raises",
        message,
        "this batch is legitimate, so sooner or later training or prediction stops here",
        advice,
        "certain",
    )


def _wrong_shape(message: str) -> Finding:
    return Finding(
        "wrong-shape",
        message,
        "a classifier gives one row of scores per sequence, (N, C), a single sequence included",
        "return the scores after pooling over time; squeeze only a named dimension; or pass call= "
        "with a function that returns (N, C)",
        "certain",
    )


def _one_layer_dropout(module: nn.Module) -> Iterator[Finding]:
    """nn.RNN's dropout acts between its layers: with one layer there is no between."""
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and part.dropout > 0 and part.num_layers == 1:
            yield Finding(
                "dropout-with-one-layer",
                f"{name or 'the module'} has dropout={part.dropout} and num_layers=1",
                "dropout acts between layers only, so here it does nothing",
                "add nn.Dropout after the embedding or before the last linear map, or a layer",
                "certain",
            )


def _unregistered(module: nn.Module) -> Iterator[Finding]:
    """Modules kept in a plain list or dict: module.parameters() does not know them."""
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute.startswith("_") or not isinstance(value, (list, tuple, dict)):
                continue
            items = value.values() if isinstance(value, dict) else value
            known = {id(p) for p in module.parameters()}
            owned = [
                p
                for item in items
                if isinstance(item, (nn.Module, nn.Parameter))
                for p in (item.parameters() if isinstance(item, nn.Module) else [item])
            ]
            if any(id(p) not in known for p in owned):
                yield Finding(
                    "unregistered-parameters",
                    f"{'.'.join(filter(None, (name, attribute)))} is a {type(value).__name__} of "
                    "modules or parameters",
                    "the optimizer never sees them: they keep their first values, are not saved, "
                    "do not move to a GPU and stay in training mode",
                    "use nn.ModuleList, nn.ModuleDict or nn.ParameterList",
                    "certain",
                )


def _wrong_padding_idx(probe: Probe, is_guess: bool) -> Iterator[Finding]:
    """The row of padding_idx is never trained: if it is a real token's row, that token is lost."""
    for name, part in probe.module.named_modules():
        if isinstance(part, nn.Embedding) and part.padding_idx in probe.token_ids:
            yield Finding(
                "wrong-padding-idx",
                f"{name} has padding_idx={part.padding_idx}, but the padding is "
                f"{probe.padding_id} and {part.padding_idx} is a token",
                f"the embedding of token {part.padding_idx} gets no gradient and stays as it began",
                f"padding_idx={probe.padding_id}; or pass padding_id={part.padding_idx} to the "
                "check if that is what pads",
                "possible" if is_guess else "likely",
            )


def _check_repeatability(probe: Probe) -> Outcome:
    """The same batch twice, in evaluation mode: the scores must be the same."""
    with torch.no_grad():
        x, lengths = probe.batch()
        first = probe.scores(x, lengths)
        if not torch.equal(first.nan_to_num(), probe.scores(x, lengths).nan_to_num()):
            return [
                Finding(
                    "state-kept-between-batches",
                    "the same batch twice in a row gives different scores, the random state equal",
                    "the module remembers earlier batches: the sequences of one batch begin where "
                    "unrelated ones ended, and a batch of another size fails",
                    "begin each forward from a fresh state: do not keep self.hidden; then check "
                    "again, the other checks need this",
                    "certain",
                )
            ], False
        reseeded = probe.scores(x, lengths, other_seed=True)
        if not torch.equal(first.nan_to_num(), reseeded.nan_to_num()):
            return [
                Finding(
                    "dropout-in-evaluation",
                    "after module.eval() the scores of one batch still depend on the random state",
                    "answers vary from call to call, and the measured accuracy is that of a "
                    "damaged net",
                    "use nn.Dropout, or F.dropout(x, p, self.training), and noise only while "
                    "self.training; then check again, the other checks need this",
                    "certain",
                )
            ], False
    return PASSED


def _check_inputs(probe: Probe) -> Outcome:
    """The batch after the call is the batch before it."""
    x, lengths = probe.batch()
    with torch.no_grad():
        probe.scores(x, lengths)
    if not probe.modified:
        return PASSED
    which = probe.modified[0]
    return [
        Finding(
            "input-modified",
            f"{' and '.join(probe.modified)} changed in place by the call",
            "whoever uses the batch again, a second epoch or a metric, gets other data",
            f"compute a new tensor: {which} = {which} - 1, not {which} -= 1; sort(), not sort_()",
            "certain",
        )
    ], True


def _check_finiteness(probe: Probe) -> Outcome:
    """No NaN or infinity for any length."""
    with torch.no_grad():
        scores = probe.scores(*probe.batch())
    is_wrong = ~scores.isfinite().all(dim=1)
    if not is_wrong.any():
        return PASSED
    lengths = sorted(set(probe.lengths[is_wrong.cpu()].tolist()))
    everywhere = bool(is_wrong.all())
    return [
        Finding(
            "non-finite-scores",
            f"NaN or infinity in {int(is_wrong.sum())} of {len(scores)} rows, of lengths {lengths}",
            "one such row makes the loss, and with it every weight, NaN",
            "the weights may be NaN already: see the gradient norms of training"
            if everywhere
            else "look for a division by a count that can be 0, a softmax over nothing, "
            "a logarithm or a standard deviation",
            "certain",
        )
    ], False


def _check_range(probe: Probe) -> Outcome:
    """Scores for cross_entropy are any numbers; softmax, sigmoid and ReLU leave marks on them.

    log_softmax leaves one too but does no harm: cross_entropy applies it a second time in vain.
    """
    with torch.no_grad():
        scores = probe.scores(*probe.batch())
    if scores.shape[1] < 2:
        return PASSED
    tolerance = probe.tolerance
    is_positive = bool((scores >= 0).all())
    for values in (scores, scores.exp()) if is_positive else (scores.exp(),):
        if ((values.sum(dim=0) - 1).abs() <= tolerance).all():
            return [
                Finding(
                    "softmax-over-batch",
                    "each class's probabilities sum to 1 over the rows of the batch",
                    "sequences compete with each other, and a batch of one is always sure",
                    "softmax over classes is dim=-1; and cross_entropy wants none at all",
                    "certain",
                )
            ], False
    if is_positive and ((scores.sum(dim=1) - 1).abs() <= tolerance).all():
        return [
            Finding(
                "softmax-output",
                "every row of the scores is positive and sums to 1",
                "cross_entropy applies softmax itself: twice, the loss cannot come below "
                f"{_softmax_floor(scores.shape[1]):.2f} with {scores.shape[1]} classes and the "
                "gradients are small",
                "return the last linear map's scores; apply softmax only to show probabilities",
                "certain",
            )
        ], True
    if is_positive and (scores == 0).any():
        return [
            Finding(
                "relu-on-scores",
                f"no score is negative and {float((scores == 0).float().mean()):.0%} are exactly 0",
                "a class at 0 gets no gradient, and two classes at 0 cannot be told apart",
                "no activation after the last linear map",
                "likely",
            )
        ], True
    if is_positive and all(_is_between_0_and_1(probe.refreshed(i)) for i in range(FRESH_NETS)):
        return [
            Finding(
                "sigmoid-output",
                "all scores lie between 0 and 1, and rows do not sum to 1",
                "right for binary_cross_entropy; cross_entropy would never get a sure answer",
                "for one class out of many return the last linear map's scores",
                "possible",
            )
        ], True
    return PASSED


def _is_between_0_and_1(probe: Probe) -> bool:
    with torch.no_grad():
        scores = probe.scores(*probe.batch())
    return bool(((scores > 0) & (scores < 1)).all())


def _softmax_floor(classes: int) -> float:
    """The smallest cross entropy of scores that are probabilities: 1 for one class, 0 for others.

    log(e + C - 1) - 1.
    """
    return float(torch.tensor(torch.e + classes - 1).log()) - 1
