"""Sequences of a batch must not know of each other, nor of the padding behind them.

Part of `module_checks`. Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from traceback import walk_tb

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_probe import (
    PASSED,
    ModuleRaised,
    Outcome,
    Probe,
    WrongShape,
    hooked,
    weights_like,
)

EXTRA_COLUMNS = 3  # of padding


def check_axes(probe: Probe) -> Outcome:
    """Which axis the recurrent and attention layers take for time, seen at their own inputs.

    Silent because nn.RNN takes any (a, b, E): with the axes swapped it walks from one sequence of
    the batch to the next instead of from step to step.
    """
    seen: list[str] = []
    x, lengths = probe.batch()

    def look(name: str, given: object, batch_first: bool) -> None:
        is_batch = isinstance(given, Tensor) and not given.is_nested and given.ndim == 3
        if is_batch and given.shape[:2] == (x.shape[::-1] if batch_first else x.shape):
            seen.append(
                f"{name} with batch_first={batch_first} got {tuple(given.shape)} for "
                f"{x.shape[0]} rows of {x.shape[1]} columns"
            )

    def hook(part: nn.Module, args: tuple, kwargs: dict) -> None:
        given = next(iter((*args, *kwargs.values())), None)
        look(type(part).__name__, given, getattr(part, "self_attn", part).batch_first)

    kinds = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)
    with hooked(probe.module, kinds, hook, before=True):
        try:
            probe.scores(x, lengths)
        except (ModuleRaised, WrongShape) as error:
            if error.__cause__ is not None:
                for frame, _ in walk_tb(error.__cause__.__traceback__):
                    if frame.f_code is pack_padded_sequence.__code__:
                        given = frame.f_locals["input"]
                        look("pack_padded_sequence", given, frame.f_locals["batch_first"])
            if not seen:
                raise
    if seen:
        return [_swapped(seen[0], "certain")], False
    return PASSED


def _swapped(seen: str, confidence: str) -> Finding:
    return Finding(
        "batch-first-swapped",
        seen,
        "the net runs over the rows of the batch instead of over time: it sees one token of each "
        "sequence, and its neighbours in the batch instead of its past",
        "batch_first=True for an input (N, T, E); it belongs to the layer and, separately, to "
        "pack_padded_sequence and pad_packed_sequence",
        confidence,
    )


def check_rows_and_padding(probe: Probe) -> Outcome:
    """A row's scores depend on its own valid tokens only: batch of one = batch = any padding.

    The reference is each row alone, without padding. If the batch differs from it, the cause is
    looked for, from mistakes with a clear mark to those without.
    """
    with torch.no_grad():
        x, lengths = probe.batch()
        alone = torch.cat([probe.scores(*probe.row(i)) for i in range(len(lengths))])
        batch = probe.scores(x, lengths)
        wider = probe.scores(*probe.batch(extra=EXTRA_COLUMNS))
        others = [probe.scores(*probe.batch(filler=i)) for i in probe.token_ids[:2]]
        mixed = torch.arange(len(lengths)).flip(0).roll(1)
        permuted = probe.scores(x[mixed], lengths[mixed])
        is_right = probe.are_equal(batch, alone)
        differs_wider = ~probe.are_equal(batch, wider).all()
        differs_by_id = not all(probe.are_equal(batch, other).all() for other in others)
        is_permuted_right = probe.are_equal(permuted, alone[mixed]).all()
        if is_right.all() and is_permuted_right and not differs_wider:
            return ([_padding_by_id()] if differs_by_id else []), True

        if source := _order_of_rows(probe, batch, alone):
            return [_order_not_restored(source)], False
        if read := _lengths_read(probe, batch):
            return [_lengths_misordered(lengths.tolist(), read)], True
        if mixing := _mixing_rows(probe, batch):
            return [mixing], False
    if place := _step_read(probe):
        return [_last_step_of_padding(place, lengths, is_right)], True
    seen = f"{int((~is_right).sum())} of {len(lengths)} rows score otherwise than alone"
    if differs_by_id:
        return [
            Finding(
                "padding-leak",
                f"{seen}; another id in the padding changes the scores",
                "what stands after the end of a sequence counts, so an answer depends on the "
                "longest sequence of its batch",
                "pack_padded_sequence before the net, or a mask from seq_lengths where steps are "
                "pooled or attended to; a state that a loop carries must stop at its length",
                "certain",
            )
        ], True
    if differs_wider:
        return [
            Finding(
                "padding-counted",
                f"{seen}; more columns of padding change the scores, what stands in them does not",
                "padding enters as zeros: a mean divides by T, or a maximum is taken with them",
                "divide by seq_lengths; fill the padding with -inf before a maximum",
                "certain",
            )
        ], True
    return [
        Finding(
            "batch-of-one-differs",
            seen if not is_right.all() else "rows in another order get other scores",
            "the answer depends on which sequences happen to be in the batch",
            "look for what is computed over dimension 0: a mean, a norm, a maximum of lengths",
            "certain",
        )
    ], True


def _padding_by_id() -> Finding:
    return Finding(
        "padding-known-by-id",
        "scores are right with the padding id in the padding and change with any other there",
        "the module takes its mask from the ids (or counts on a zero embedding), not from "
        "seq_lengths: it is right only as long as the padding id is no token and stays in place",
        "mask = torch.arange(T) < seq_lengths[:, None], or leave it if the ids are sure",
        "possible",
    )


def _order_of_rows(probe: Probe, batch: Tensor, alone: Tensor) -> list[int]:
    """Which row's scores stand in each row, if they are all there in a wrong order."""
    matches = [probe.are_equal(alone, scores.expand_as(alone)) for scores in batch]
    source: list[int] = []
    for row, match in enumerate(matches):
        free = [i for i in match.nonzero().flatten().tolist() if i not in source]
        if not free:
            return []
        source.append(row if row in free else free[0])
    return source if source != sorted(source) else []


def _order_not_restored(source: list[int]) -> Finding:
    return Finding(
        "order-not-restored",
        f"row 0 of the scores belongs to row {source[0]} of the batch: the order is {source}",
        "the batch was sorted by length inside the module and not put back, so nearly every "
        "sequence is trained with another one's label",
        "enforce_sorted=False sorts and restores by itself; by hand: scores[order.argsort()]",
        "certain",
    )


def _lengths_read(probe: Probe, batch: Tensor) -> list[int]:
    """The length that was used in each row, if they are the lengths of the batch in wrong order.

    With all lengths equal no order is wrong: such batches say what a row scores at each length.
    """
    x, lengths = probe.batch()
    own = lengths.tolist()
    at_length = {n: probe.scores(x, torch.full_like(lengths, n)) for n in sorted(set(own))}
    matches = {n: probe.are_equal(batch, scores).tolist() for n, scores in at_length.items()}
    read = []
    for row, length in enumerate(own):
        fitting = [n for n in matches if matches[n][row]]
        if not fitting:
            return []
        read.append(length if length in fitting else fitting[0])
    return read if read != own and sorted(read) == sorted(own) else []


def _lengths_misordered(lengths: list[int], read: list[int]) -> Finding:
    how = "sorted" if read in (sorted(lengths), sorted(lengths, reverse=True)) else "in other order"
    return Finding(
        "lengths-misordered",
        f"lengths {lengths} are used as {read}",
        f"the lengths are {how}, the rows are not: long rows are cut and short ones read padding",
        "sort both or none: enforce_sorted=False takes the rows as they are",
        "certain",
    )


def _mixing_rows(probe: Probe, batch: Tensor) -> Finding | None:
    """Change the tokens of one row at a time: does any other row's score move?"""
    lengths = probe.lengths
    size = len(lengths)
    influence = torch.zeros(size, size, dtype=torch.bool)  # [i, j]: row i moves row j
    for row in range(size):
        tokens = probe.tokens.clone()
        tokens[row] = probe.other_tokens(tokens[row])
        changed = probe.scores(probe.batch(tokens)[0], lengths)
        influence[row] = probe.are_touched(batch, changed).cpu()
    others = influence & ~torch.eye(size, dtype=torch.bool)
    if not others.any():
        return None
    seen = f"{int(others.any(dim=1).sum())} of {size} rows change the scores of other rows"
    for part in probe.module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            return Finding(
                "batch-statistics",
                f"{seen}; {type(part).__name__} keeps no running statistics",
                "in evaluation too each row is normalised by the others, so an answer depends on "
                "the batch, and a batch of one has none",
                "nn.LayerNorm for sequences; or track_running_stats=True",
                "certain",
            )
    rows = torch.arange(size)
    for joined in range(2, 9):
        expected = torch.zeros_like(influence)
        for k in range(joined):
            expected[(rows * joined + k) % size, rows] = True
        if torch.equal(influence, expected):
            return Finding(
                "state-reshaped",
                f"the scores of row i come from rows {joined}·i to {joined}·i + {joined - 1} "
                "(modulo N)",
                f"h_n is ({joined}, N, H); view or reshape to (N, {joined}·H) does not join "
                "directions or layers, it cuts the tensor at other places",
                "torch.cat([h_n[-2], h_n[-1]], dim=-1), or h_n.transpose(0, 1).flatten(1)",
                "certain",
            )
    if torch.equal(others, torch.ones_like(others).triu(1)):
        return _swapped(f"{seen}: each row those after it, as time steps do", "likely")
    return Finding(
        "rows-mixed",
        seen,
        "sequences of a batch have nothing to do with each other: what is learned depends on the "
        "batch, and answers for one sequence alone are others",
        "look for a swapped axis, a view where a transpose is meant, or a mean or norm over dim 0",
        "certain",
    )


def _last_step_of_padding(place: str, lengths: Tensor, is_right: Tensor) -> Finding:
    full = lengths == lengths.max()
    right = int((is_right.cpu() & full).sum())
    return Finding(
        "last-step-of-padding",
        f"{place}; {right} of {int(full.sum())} rows of full length score as they do alone, and "
        f"{int((is_right.cpu() & ~full).sum())} of {int((~full).sum())} shorter ones",
        "for short rows output[:, -1] is a step of the padding, and so is h_n if the net ran "
        "over it; with output unpacked again it is zeros and the row's tokens count for nothing",
        "h_n[-1] of a packed sequence; in one direction also "
        "output[torch.arange(N), seq_lengths - 1]",
        "certain",
    )


def _recurrent_gradients(probe: Probe) -> Iterator[tuple[nn.RNNBase, Tensor, bool, bool]]:
    """Which of a recurrent net's results the scores are made of: where gradients arrive.

    Yields:
        For each recurrent layer whose result gets a gradient: itself; which steps of its output
        get one, bool, (N, T, H); whether its final state gets one; whether its input was packed.
    """
    results: list[tuple[nn.RNNBase, object, Tensor]] = []

    def keep(part: nn.Module, args: tuple, kwargs: dict, result: tuple) -> None:
        output, state = result
        data = output.data if isinstance(output, PackedSequence) else output
        final = state[0] if isinstance(state, tuple) else state
        for tensor in (data, final):
            if tensor.requires_grad:
                tensor.retain_grad()
        results.append((part, output, final))

    with hooked(probe.module, (nn.RNNBase,), keep):
        scores = probe.scores(*probe.batch())
    if not scores.requires_grad:
        return
    try:
        (scores * weights_like(scores)).sum().backward()
    except RuntimeError:  # `check_gradients` reports it
        return
    probe.module.zero_grad()
    for part, output, final in results:
        is_packed = isinstance(output, PackedSequence)
        data = output.data if is_packed else output
        gradient = torch.zeros_like(data) if data.grad is None else data.grad
        if is_packed:
            gradient, _ = pad_packed_sequence(output._replace(data=gradient), batch_first=True)
        elif gradient.ndim == 3 and not part.batch_first:
            gradient = gradient.transpose(0, 1)
        of_state = final.grad is not None and bool(final.grad.any())
        if gradient.shape[0] == len(probe.lengths) and (gradient.any() or of_state):
            yield part, gradient.cpu() != 0, of_state, is_packed


def _step_read(probe: Probe) -> str:
    """Where a recurrent net is read in the padding of short rows, in words; empty if nowhere."""
    for _, reaches, of_state, is_packed in _recurrent_gradients(probe):
        steps = reaches.any(dim=2)  # (N, T)
        if of_state and not is_packed:
            return "the final state is taken of a net that ran over the padding"
        if steps.any() and not steps[:, :-1].any():
            return f"of the net's {steps.shape[1]} steps only the last column is read"
    return ""


def check_backward_direction(probe: Probe) -> Outcome:
    """The backward direction ends at the first step; at the last step it has read one token."""
    for part, reaches, of_state, _ in _recurrent_gradients(probe):
        if not part.bidirectional or of_state:
            continue
        steps = reaches[:, :, reaches.shape[2] // 2 :].any(dim=2)  # (N, T)
        rows, times = steps[probe.lengths > 1].nonzero(as_tuple=True)
        last = probe.lengths[probe.lengths > 1][rows] - 1
        if len(rows) and ((times == last) | (times == steps.shape[1] - 1)).all():
            return [
                Finding(
                    "bidirectional-last-step",
                    "of the backward direction's output only the last step is used",
                    "there it has seen a single token: half of the net's width is wasted",
                    "torch.cat([h_n[-2], h_n[-1]], dim=-1) of a packed sequence: both final states",
                    "certain",
                )
            ], True
    return PASSED
