"""The sequences of a batch must not depend on each other, nor on the padding behind them.

Part of `module_checks`. Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from traceback import walk_tb

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_copy import RECURRENT, hooked
from rnn_tutorial.doctor.module_findings import found
from rnn_tutorial.doctor.module_probe import EXTRA_COLUMNS, Probe

OF_PADDING = {"last-step-of-padding", "padding-leak", "padding-counted"}
FEW_IDS = 32  # so few may be amounts


def check_axes(probe: Probe) -> Iterator[Finding]:
    """Which axis the recurrent and attention layers take for time, seen at their inputs.

    PyTorch cannot notice this mistake, because nn.RNN takes any (a, b, E): with the axes swapped it
    walks from one sequence of the batch to the next instead of from step to step.
    """
    seen: list[str] = []
    cut: list[str] = []
    x, lengths = probe.batch()

    def look(name: str, given: object, batch_first: bool) -> None:
        is_batch = isinstance(given, Tensor) and not given.is_nested and given.ndim == 3
        if is_batch and given.shape[:2] == (x.shape[::-1] if batch_first else x.shape):
            shapes = f"{tuple(given.shape)} for {x.shape[0]} rows of {x.shape[1]} columns"
            seen.append(f"{name} with batch_first={batch_first} got {shapes}")

    def hook(part: nn.Module, args: tuple, kwargs: dict) -> None:
        given = next(iter((*args, *kwargs.values())), None)
        made_by = getattr(given, "grad_fn", None)
        if type(made_by).__name__ in ("ViewBackward0", "UnsafeViewBackward0"):
            old, new = tuple(made_by._saved_self_sym_sizes), tuple(given.shape)
            # Merging k steps to one gives (N, A / k, …), which may look like an exchange.
            if len(old) == 3 and new == (old[0], old[2], old[1]) and max(old[1:]) % min(old[1:]):
                cut.append(f"{type(part).__name__} got {new}, a view of {old}")
        if not isinstance(part, nn.Conv1d):
            look(type(part).__name__, given, getattr(part, "self_attn", part).batch_first)

    kinds = nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.Conv1d
    parts, is_turned = probe.parts(*kinds), False
    with hooked(parts, hook, before=True):
        try:
            probe.scores(x, lengths)
        except (ModuleRaised, WrongShape) as error:
            is_turned = isinstance(error, WrongShape)  # as if x were meant to be (T, N)
            for frame, _ in walk_tb(error.__cause__ and error.__cause__.__traceback__):
                if frame.f_code is pack_padded_sequence.__code__:
                    given = frame.f_locals
                    look("pack_padded_sequence", given["input"], given["batch_first"])
            if not seen:
                raise
    if seen:
        yield found("batch-first-swapped", seen[0], "likely" if is_turned else "certain")
    elif cut:
        yield found("view-for-transpose", cut[0], "likely")


@torch.no_grad()
def check_ids(probe: Probe) -> Iterator[Finding]:
    """Do layers compute with the ids as if they were amounts?"""
    (x, lengths), given = probe.full_batch(), defaultdict(list)

    def hook(part: nn.Module, args: tuple, _: dict) -> None:
        values = args[0].data if args else x  # also of packed sequences
        if values.is_floating_point() and not values.is_nested:
            given[part].append(values.flatten())

    with hooked(probe.parts(*RECURRENT, nn.Linear), hook, before=True):
        probe.scores(x, lengths)
    ids = x.flatten().sort().values
    for part, values in given.items() if len(probe.token_ids) > FEW_IDS else ():
        if torch.equal(torch.cat(values).sort().values.double(), ids.double()):
            seen = f"{type(part).__name__} gets the ids {ids[0]} to {ids[-1]} as numbers"
            yield found("ids-as-numbers", seen, "likely")
            return


def check_rows_and_padding(probe: Probe) -> Iterator[Finding]:
    """A row's scores depend on its valid tokens only: alone, in a batch and with any padding.

    The reference is each row alone, without padding. If the batch differs from it, the first cause
    that fits is reported; the causes with a clear mark come first.
    """
    with torch.no_grad():
        x, lengths = probe.batch()
        alone = torch.cat([probe.scores(*probe.row(i)) for i in range(len(lengths))])
        batch = probe.scores(x, lengths)
        wider, others = batch, []
        if probe.is_padded:
            wider = probe.scores(*probe.batch(extra=EXTRA_COLUMNS))
            others = [probe.scores(*probe.batch(filler=i)) for i in probe.token_ids[:2]]
        mixed = torch.arange(len(lengths)).flip(0).roll(1)
        permuted = probe.scores(x[mixed], lengths[mixed])
    is_right = probe.are_equal(batch, alone)
    differs_wider = not probe.are_equal(batch, wider).all()
    differs_by_id = not all(probe.are_equal(batch, other).all() for other in others)
    is_right_permuted = probe.are_equal(permuted, alone[mixed]).all()
    if not (is_right.all() and is_right_permuted) or differs_wider:
        seen = f"{int((~is_right).sum())} of {len(is_right)} rows score differently than alone"
        if differs_by_id:  # without a clear mark: what the scores depend on, they should not
            seen += "; another id in the padding changes the scores"
            unclear = found("padding-leak", seen)
        elif differs_wider:
            seen += "; more columns of padding change the scores, the ids in them do not"
            unclear = found("padding-counted", seen)
        else:
            seen += ": all but the longest" * torch.equal(is_right, lengths == lengths.max())
            seen = "rows in another order get other scores" if is_right.all() else seen
            unclear = found("batch-of-one-differs", seen)
        causes = itertools.chain(
            _find_order(probe, batch, alone),
            _find_lengths(probe, batch),
            _find_influence(probe, batch),
            _find_last_step(probe, is_right),
        )
        cause = next(causes, unclear)
        is_read_last = cause.name == "last-step-of-padding" and probe.way == "forward(x)"
        if cause.name in OF_PADDING and (is_read_last or not probe.knows_padding):
            condition = f"{cause.advice}; right as it is if your sequences all have one length"
            condition += " or are padded in front: then say --no_lengths" * is_read_last
            cause = replace(cause, advice=condition, confidence="likely")
        yield cause
    elif differs_by_id and not probe.padding_is_told:
        seen = "scores are right with the padding id in the padding and change with any other there"
        yield found("padding-known-by-id", seen, "possible")


def _find_order(probe: Probe, batch: Tensor, alone: Tensor) -> Iterator[Finding]:
    """Are the scores of all rows there, but in a wrong order?"""
    source: list[int] = []  # the row whose scores each row has
    for row, scores in enumerate(batch):
        match = probe.are_equal(alone, scores.expand_as(alone))
        free = [i for i in match.nonzero().flatten().tolist() if i not in source]
        if not free:
            return
        source.append(row if row in free else free[0])
    if source != sorted(source):
        seen = f"the rows of the scores belong to rows {source} of the batch"
        yield found("order-not-restored", seen)


@torch.no_grad()
def _find_lengths(probe: Probe, batch: Tensor) -> Iterator[Finding]:
    """Are the lengths of the batch used in a wrong order?

    With all lengths equal no order is wrong: such batches say what a row scores at each length.
    """
    x, lengths = probe.batch()
    given, used = lengths.tolist(), []
    at_length = {n: probe.scores(x, torch.full_like(lengths, n)) for n in sorted(set(given))}
    matches = {n: probe.are_equal(batch, scores).tolist() for n, scores in at_length.items()}
    for row, length in enumerate(given):
        fitting = [n for n in matches if matches[n][row]]
        if not fitting:
            return
        used.append(length if length in fitting else fitting[0])
    if used != given and sorted(used) == sorted(given):
        yield found("lengths-misordered", f"lengths {given} are used as {used}")


@torch.no_grad()
def _find_influence(probe: Probe, batch: Tensor) -> Iterator[Finding]:
    """Change the tokens of one row at a time: does any other row's score move?"""
    size = len(batch)
    influence = torch.zeros(size, size, dtype=torch.bool)  # [i, j]: row i moves row j
    for row in range(size):
        tokens = probe.tokens.clone()
        tokens[row] = probe.other_tokens(tokens[row])
        influence[row] = probe.are_touched(batch, probe.scores(*probe.batch(tokens)))
    others = influence & ~torch.eye(size, dtype=torch.bool)
    if not others.any():
        return
    seen = f"{int(others.any(dim=1).sum())} of {size} rows change the scores of other rows"
    if any(part.running_mean is None for part in probe.parts(nn.modules.batchnorm._BatchNorm)):
        yield found("batch-statistics", f"{seen}; batch normalisation keeps no running statistics")
    rows = torch.arange(size)
    for joined in range(2, 9):  # is (joined, N, H) cut into rows by view?
        reshaped = torch.zeros(size, size, dtype=torch.bool)
        reshaped[(rows * joined + torch.arange(joined)[:, None]) % size, rows] = True
        if torch.equal(influence, reshaped):
            where = f"row i's scores come from rows {joined}·i to {joined}·i + {joined - 1}"
            yield found("state-reshaped", f"{where} (modulo N)", joined=joined)
    if torch.equal(others, torch.ones_like(others).triu(1)):
        seen = f"{seen}: each row changes those after it, as time steps do"
        yield found("batch-first-swapped", seen, "likely")
    yield found("rows-mixed", seen)


def _find_last_step(probe: Probe, is_right: Tensor) -> Iterator[Finding]:
    """Where is a recurrent network read in the padding of short rows?"""
    is_full = probe.lengths == probe.lengths.max()
    for _, reaches, of_state, is_packed in _recurrent_gradients(probe):
        steps = reaches.any(dim=2)  # (N, T)
        if of_state and not is_packed:
            seen = "the final state is taken from a network that ran over the padding"
        elif steps.any() and not steps[:, :-1].any():
            seen = f"of the network's {steps.shape[1]} steps only the last column is read"
        else:
            continue
        full, short = (int((is_right & rows).sum()) for rows in (is_full, ~is_full))
        seen += f"; {full} of {int(is_full.sum())} rows of full length score as they do alone"
        seen += f", and {short} of {int((~is_full).sum())} shorter ones"
        yield found("last-step-of-padding", seen)


def _recurrent_gradients(probe: Probe) -> Iterator[tuple[nn.RNNBase, Tensor, bool, bool]]:
    """Which of a recurrent layer's results the scores are made of: where gradients arrive.

    Yields each layer whose result gets a gradient, which steps of its output get one, bool,
    (N, T, H), whether its final state gets one, and whether its input was packed.
    """
    calls: list[tuple] = []  # the part, its arguments and its result
    with hooked(probe.parts(nn.RNNBase), lambda *call: calls.append(call)):
        weighted = probe.weighted_sum(*probe.batch())
    for part, _, _, (output, state) in calls:
        is_packed = isinstance(output, PackedSequence)
        data = output.data if is_packed else output
        final = state[0] if isinstance(state, tuple) else state
        if not (weighted.requires_grad and data.requires_grad):
            continue
        try:
            gradient, of_final = torch.autograd.grad(
                weighted, [data, final], retain_graph=True, materialize_grads=True
            )
        except RuntimeError:  # `check_gradients` reports it
            return
        if is_packed:
            gradient, _ = pad_packed_sequence(output._replace(data=gradient), batch_first=True)
        elif gradient.ndim == 3 and not part.batch_first:
            gradient = gradient.transpose(0, 1)
        of_state = bool(of_final.any())
        if gradient.shape[0] == len(probe.lengths) and (gradient.any() or of_state):
            yield part, gradient != 0, of_state, is_packed


def check_backward_direction(probe: Probe) -> Iterator[Finding]:
    """The backward direction ends at the first step; at the last step it has read one token."""
    for part, reaches, of_state, _ in _recurrent_gradients(probe):
        if not part.bidirectional or of_state:
            continue
        steps = reaches[:, :, reaches.shape[2] // 2 :].any(dim=2)  # (N, T)
        rows, times = steps[probe.lengths > 1].nonzero(as_tuple=True)
        last = probe.lengths[probe.lengths > 1][rows] - 1
        if len(rows) and ((times == last) | (times == steps.shape[1] - 1)).all():
            seen = "of the backward direction's output only the last step is used"
            yield found("bidirectional-last-step", seen)
            return
