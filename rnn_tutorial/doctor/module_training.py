"""What goes wrong in training mode only: memory, batch normalisation of padding, dropout of scores.

Part of `module_checks`. Shapes: N batch, T time, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_probe import EXTRA_COLUMNS, Probe

NUM_CALLS = 3  # of one batch, to see a memory
NUM_SEEDS = 5  # of dropout


@torch.no_grad()
def check_training_mode(probe: Probe) -> Iterator[Finding]:
    """The same experiments as in evaluation, where training mode may be different."""
    try:
        yield from _check_memory(probe)
        if probe.is_padded:
            yield from _check_statistics(probe)
        yield from _check_dropout_of_scores(probe)
    except WrongShape:  # some modules return their loss in training
        return
    except ModuleRaised as raised:
        yield Finding(
            "module-raises",
            f"in training mode, {raised}",
            "in evaluation mode the same batch has scores, so training would stop here",
            "run the module on a batch like this one in a debugger, after module.train()",
            "likely",
        )


def _check_memory(probe: Probe) -> Iterator[Finding]:
    batch, training = probe.batch(), probe.training()
    first, *others = (training.scores(*batch).nan_to_num() for _ in range(NUM_CALLS))
    if all(torch.equal(first, other) for other in others):
        return
    training = probe.training()
    buffers = {name: buffer.clone() for name, buffer in training.module.named_buffers()}
    first = training.scores(*batch).nan_to_num()
    for name, buffer in training.module.named_buffers():
        buffer.copy_(buffers.get(name, buffer))
    is_in_buffers = torch.equal(first, training.scores(*batch).nan_to_num())
    yield state_kept("in training mode, ", "likely" if is_in_buffers else "certain")


def state_kept(mode: str, confidence: str) -> Finding:
    """The finding for a module that remembers earlier batches."""
    return Finding(
        "state-kept-between-batches",
        f"{mode}the same batch twice in a row gives different scores, with equal random states",
        "the module remembers earlier batches: the sequences of one batch begin where unrelated "
        "ones ended, and a batch of another size fails",
        "begin each forward from a fresh state, without self.hidden; then run all checks again",
        confidence,
    )


def _check_statistics(probe: Probe) -> Iterator[Finding]:
    """More columns of padding: do the scores change in training mode, but not in evaluation?"""
    narrow, wide = probe.batch(), probe.batch(extra=EXTRA_COLUMNS)
    training = probe.training()
    scores = training.scores(*narrow)
    is_noisy = not training.are_equal(scores, training.scores(*narrow, other_seed=True)).all()
    if is_noisy or not probe.are_equal(probe.scores(*narrow), probe.scores(*wide)).all():
        return
    if not training.are_equal(scores, training.scores(*wide)).all():
        yield Finding(
            "padding-in-batch-statistics",
            f"in training mode {EXTRA_COLUMNS} more columns of padding change the scores; in "
            "evaluation they do not",
            "means and variances of batch normalisation count the padding: they depend on how long "
            "the longest row is, and evaluation uses others than training",
            "nn.LayerNorm for sequences; or normalise packed.data, or x[mask], alone",
        )


def _check_dropout_of_scores(probe: Probe) -> Iterator[Finding]:
    probe = probe.refreshed(noise=0.1)  # a head that begins at zero says nothing
    training = probe.training(with_dropout=True)
    in_evaluation = probe.scores(*probe.batch()) == 0
    shares = []
    for seed in range(NUM_SEEDS):
        zeros = (training.scores(*probe.batch(), other_seed=seed) == 0) & ~in_evaluation
        shares.append(zeros.double().mean().item())
    if sum(share > 0 for share in shares) > 1:
        yield Finding(
            "dropout-on-scores",
            f"in training mode {max(shares):.0%} of the scores are exactly 0, in evaluation none",
            "dropout after the last linear map sets the scores of right classes to 0 and enlarges "
            "the others: the loss cannot become small",
            "dropout before the last linear map, never after it",
        )
