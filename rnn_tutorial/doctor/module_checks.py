"""What is wrong with the code of a sequence classifier: checks that take any nn.Module.

    from rnn_tutorial.doctor.findings import describe
    print(describe(*check_module(my_module, vocab_size=10)))

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

from rnn_tutorial.doctor import module_rows, module_scores, module_time, module_weights
from rnn_tutorial.doctor.findings import Finding, Report, rank
from rnn_tutorial.doctor.module_call import CannotCall, ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_copy import undisturbed
from rnn_tutorial.doctor.module_findings import found
from rnn_tutorial.doctor.module_probe import Probe

# After these the other checks mean nothing.
DECISIVE = {
    "batch-first-swapped", "state-kept-between-batches", "dropout-in-evaluation",
    "non-finite-scores", "softmax-over-batch", "order-not-restored", "batch-statistics",
    "state-reshaped", "rows-mixed", "input-ignored", "symmetric-weights",
    "ids-as-numbers",
}  # fmt: skip
# Advice by what the error of a module says; the last that fits is given.
ADVICE_ON_ERRORS = {
    "": "run the module on a batch like this one in a debugger; it is no fault if none of your "
    "sequences is that short",
    "enforce_sorted": "pass enforce_sorted=False to pack_padded_sequence; it is no fault if your "
    "loader sorts each batch, longest first",
    "Expected hidden size": "the first state is for a fixed number of rows: make "
    "it for the given batch, torch.zeros(num_layers, x.size(0), H), or pass none: it is zeros then",
    "must match the size": "if the columns outnumber the longest row: "
    "pad_packed_sequence(..., total_length=x.shape[1]) keeps the width of x",
    "out of range": "give the embedding vocab_size + 1 rows, one for padding; or say --padding_id",
    "smaller than num_classes": "give one_hot the padding too, or say --padding_id",
}


def check_module(module: nn.Module, vocab_size: int | None = None, **options: Any) -> Report:
    """Find the usual mistakes in a classifier of padded sequences.

    The module is not changed: a copy is examined on the CPU, in float64 where that is possible.
    How it is called is found out, see `module_call`, as far as the options do not say it.

    Args:
        module: gives scores (N, C) of a batch x, int64 (N, T), or float (N, T, F).
        vocab_size, options: see `Probe`.

    Raises:
        ValueError: an argument that is not allowed, or a module that cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module is of type {type(module).__name__}; allowed is an nn.Module")
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    findings = [*module_weights.check_layers(module)]
    looked_at, not_asked = [f"{sum(1 for _ in module.parameters())} parameters, as they are"], []
    with undisturbed():
        try:
            probe = Probe(module, vocab_size, **options)
            shortest, longest = probe.lengths.min(), probe.lengths.max()
            steps = f"{shortest} to {longest}" if shortest < longest else f"{longest}"
            looked_at += [
                f"scores by {probe.way} of sequences of {steps} steps, in evaluation and in "
                f"training mode, in {probe.dtype}"
            ]
            rest = "rows alone and together, each step changed, gradients by finite differences"
            not_asked += [] if probe.is_padded else ["padding: all sequences have one length"]
            not_asked += ["gradients that vanish or explode over hundreds of steps"]
            for check in CHECKS:
                new = list(check(probe))
                findings += new
                if decisive := [finding.name for finding in new if finding.name in DECISIVE]:
                    not_asked += [f"{rest}: mend {decisive[0]} first"]
                    break
                if check is module_scores.check_symmetry:
                    probe = probe.awakened()
            else:
                looked_at += [rest]
        except CannotCall as error:
            if loose := module_weights.unregistered(module):
                findings.append(module_weights.loose_weights(loose, "likely"))
            findings.append(found("cannot-call", str(error), "possible"))
        except ModuleRaised as raised:
            fitting = [advice for text, advice in ADVICE_ON_ERRORS.items() if text in str(raised)]
            # If rows without padding are scored, those that failed may only be too short.
            is_long = len(fitting) == 1 and probe.can_score(*probe.full_batch())
            is_sorting = "enforce_sorted" in str(raised)
            sure = "likely" if is_long or is_sorting else "certain"
            findings.append(found("module-raises", str(raised), sure, advice=fitting[-1]))
        except WrongShape as wrong:
            sure = "certain"
            if wrong.has_more:
                sure = "likely" if _labels_steps(probe) else "possible"  # a forecast has more, too
            findings.append(found("wrong-shape", str(wrong), sure))
    return Report(rank(findings), looked_at, not_asked)


def _labels_steps(probe: Probe) -> bool:
    """True if fewer steps get fewer scores."""
    shapes = set()
    for steps in (None, 5):
        try:
            probe.scores(*probe.full_batch(steps))
        except ModuleRaised:  # another length does not fit
            return False
        except WrongShape as wrong:
            shapes.add(str(wrong))
    return len(shapes) > 1


def _check_padding_idx(probe: Probe) -> Iterator[Finding]:
    """The row of padding_idx is never trained: if it belongs to a token, that token is lost."""
    sure = "likely" if probe.padding_is_told else "possible"
    for name, part in probe.module.named_modules():
        if isinstance(part, nn.Embedding) and (idx := part.padding_idx) in probe.token_ids:
            seen = f"{name} has padding_idx={idx}, a token; the padding is {probe.padding_id}"
            yield found("wrong-padding-idx", seen, sure, idx=idx, padding_id=probe.padding_id)


@torch.no_grad()
def _check_repeatability(probe: Probe) -> Iterator[Finding]:
    """The same batch twice, another between: the scores are the same, and so is the batch."""
    first, again = probe.scores_around_others()
    if not torch.equal(first, again):
        seen = "the same batch gets other scores after another batch"
        yield found("state-kept-between-batches", seen)
        return
    if not torch.equal(first, probe.scores(*probe.batch(), other_seed=1).nan_to_num()):
        shapes = module_weights.drawn_weights(probe)
        if not shapes:
            seen = "after module.eval() the scores of one batch still depend on the random state"
            yield found("dropout-in-evaluation", seen)
            return
        seen = f"each call of forward draws random weights of shape {shapes[0]}"
        yield found("unregistered-parameters", seen, advice=module_weights.ANEW)
    probe.scores(*probe.batch())
    if probe.modified:
        seen = f"the call changes {' and '.join(probe.modified)} in place"
        yield found("input-modified", seen, which=probe.modified[0])


# The most basic first.
CHECKS = (
    _check_padding_idx, module_rows.check_axes, module_weights.check_registration,
    _check_repeatability, module_scores.check_finiteness, module_rows.check_ids,
    module_weights.check_sharing,
    module_scores.check_saturation, module_scores.check_symmetry, module_scores.check_range,
    module_rows.check_rows_and_padding, module_rows.check_backward_direction,
    module_scores.check_training_mode, module_time.check_time_axis, module_time.check_gradients,
)  # fmt: skip
