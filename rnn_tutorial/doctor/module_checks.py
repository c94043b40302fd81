"""What is wrong with the code of a sequence classifier: checks that take any nn.Module.

    from rnn_tutorial.doctor.findings import describe
    print(describe(check_module(my_module, vocab_size=10)))

Each check is an experiment that a correct module passes whatever its weights are, trained or not:
widen the padding and compare, permute the rows and compare, change one token and see which scores
move. One mistake usually fails several of them; reported is the mistake, not every symptom.

Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import CannotCall, ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_probe import Probe, undisturbed
from rnn_tutorial.doctor.module_rows import (
    check_axes,
    check_backward_direction,
    check_rows_and_padding,
)
from rnn_tutorial.doctor.module_scores import check_finiteness, check_range
from rnn_tutorial.doctor.module_time import check_gradients, check_time_axis
from rnn_tutorial.doctor.module_training import check_training_mode, state_kept
from rnn_tutorial.doctor.module_weights import (
    check_dropout,
    check_frozen,
    check_registration,
    check_saturation,
    check_sharing,
    check_symmetry,
    no_parameters,
    unregistered,
)

# After these the other checks mean nothing.
DECISIVE = {
    "batch-first-swapped", "state-kept-between-batches", "dropout-in-evaluation",
    "non-finite-scores", "softmax-over-batch", "order-not-restored", "batch-statistics",
    "state-reshaped", "rows-mixed", "input-ignored", "symmetric-weights",
}  # fmt: skip
# What follows from another mistake is not reported beside it.
EXPLAINS = {
    "bidirectional-last-step": {"unused-parameters"},
    "input-ignored": {"unused-parameters"},
    "only-last-step": {"unused-parameters"},
    "only-first-step": {"unused-parameters"},
    "saturated-at-start": {"steps-forgotten"},
}
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


def check_module(module: nn.Module, vocab_size: int | None = None, **options: Any) -> list[Finding]:
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
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    with undisturbed(module):
        findings = [*check_dropout(module), *check_frozen(module)]
        try:
            probe = Probe(module, vocab_size, **options)
            for check in CHECKS:
                found = list(check(probe))
                findings += found
                if any(finding.name in DECISIVE for finding in found):
                    break
                if check is check_symmetry:
                    probe = probe.awakened()
        except CannotCall as error:
            findings += _not_called(module, str(error))
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
    hidden = {effect for name in names for effect in EXPLAINS.get(name, ())}
    findings = [f for f in findings if f.name not in hidden]
    return sorted(findings, key=lambda f: ("certain", "likely", "possible").index(f.confidence))


def _not_called(module: nn.Module, tried: str) -> Iterator[Finding]:
    """What can be said of a module that cannot be called."""
    if loose := unregistered(module):
        yield no_parameters(list(loose), "likely")
    yield Finding(
        "cannot-call",
        tried,
        "I cannot call this module, so I do not know whether it is right",
        "--call FILE:FUNCTION, a function of (module, x, lengths) that returns scores; see also "
        "--num_features, --time_major, --padding_id, --no_lengths",
        "possible",
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
        yield state_kept("", "certain")
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


# The most basic first.
CHECKS = (
    _check_padding_idx, check_axes, check_registration, _check_repeatability, _check_inputs,
    check_finiteness, check_sharing, check_saturation, check_symmetry, check_range,
    check_rows_and_padding, check_backward_direction, check_training_mode, check_time_axis,
    check_gradients,
)  # fmt: skip
