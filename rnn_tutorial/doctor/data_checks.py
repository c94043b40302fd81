"""Faults of labelled data, as a loader gives them or a label file holds them.

    from rnn_tutorial.doctor.data_checks import check_data
    print(describe(*check_data(training_loader, evaluation_loader)))

Nothing is assumed about the task. Rows are read once, and each check asks how likely chance is.

Shapes: N rows, T steps with padding, V different tokens, C classes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.data.examples import Examples
from rnn_tutorial.doctor import data_pairs
from rnn_tutorial.doctor.data_compare import COMPARISONS, can_overlap, check_near_equal
from rnn_tutorial.doctor.data_findings import found
from rnn_tutorial.doctor.data_reading import read_rows
from rnn_tutorial.doctor.data_rows import LARGE_MAJORITY, MIN_REPEATED, MIN_ROWS, Rows, numbered
from rnn_tutorial.doctor.findings import Finding, Report, rank

_TWICE = 0.25  # share of rows equal to one at a fixed distance; two equal workers give 1/2
_LARGE = 10.0  # mean size of real inputs; one of 1 is usual
_MANY = 50  # tokens, of which a usual one is no longer most of the text
_NOTABLE = 0.05  # share of rows that end before their last token, of labels behind their end


def check_data(
    training: Path | Examples | Iterable[Any],
    evaluation: Path | Examples | Iterable[Any] | None = None,
    vocab_size: int | None = None,
    padding_id: int | None = None,
) -> Report:
    """Look at the rows of training and evaluation data.

    Args:
        training: the path or the examples of a label file, or what gives single rows or batches,
            `(x, lengths, targets)` or `(x, targets)`; it may be endless.
        evaluation: the same, or None.
        vocab_size, padding_id: see `Rows`.

    Raises:
        ValueError: data of another form, or none, or code of the user's that fails.
    """
    t = read_rows(training, Rows("training", vocab_size, padding_id))
    tables = [t]
    if evaluation is not None:
        tables.append(read_rows(evaluation, Rows("evaluation", vocab_size, padding_id)))
    findings = [finding for table in tables for finding in _check_form(table)]
    looked_at = [f"{len(table):,} rows of {table.name}" for table in tables]
    if any(table.mismatch for table in tables):
        reason = "rows, classes and labels: inputs and targets must come in pairs first"
        return Report(rank(findings), [*looked_at, "their shapes"], [reason])
    for check in CHECKS:
        findings += check(t)
    for compare in COMPARISONS if evaluation is not None else ():
        findings += compare(*tables)
    looked_at.append("types, shapes, ranges and lengths")
    if len(t) >= MIN_ROWS:
        looked_at.append("repetition" + "; classes, and order by class" * t.has_classes)
    not_asked = _not_asked(tables)
    if t.has_classes and len(t.names) > 1:
        is_open = {"shifted-labels", "contradicting-labels"}.isdisjoint(f.name for f in findings)
        if is_open and (reason := data_pairs.why_labels_cannot_be_judged(t)):
            reason += "; shuffled labels look like this, too"
            not_asked.append(f"whether labels belong to their inputs: {reason}")
        else:
            looked_at.append("whether labels belong to their inputs, or to those of other rows")
    if t.is_tagged:
        looked_at.append("whether the labels of steps belong to them, or to the steps beside them")
    if len(t) >= MIN_ROWS:
        token = "a token, a place or the length"
        what = token if t.has_tokens else "the length or a number at a place"
        looked_at.append(f"whether {what} gives the target away")
    for e in tables[1:]:
        shared = e.num_shared(t)
        looked_at.append(
            f"evaluation against training: {shared:,} of {len(e):,} rows are in both; lengths"
            + ", tokens" * (t.has_tokens and e.has_tokens)
            + ", classes, labels" * (t.has_classes and e.has_classes)
            + ", overlapping windows" * can_overlap(t, e)
        )
    return Report(rank(findings), looked_at, not_asked)


def _not_asked(tables: list[Rows]) -> list[str]:
    """What the rows, or what was given with them, do not allow to look for."""
    t, has_evaluation = tables[0], len(tables) > 1
    reasons = {
        "evaluation against training: no evaluation data were given": not has_evaluation,
        "the largest token: --vocab_size was not given": t.has_tokens
        and t.vocab_size is None
        and "text" not in t.input_kinds,
        "tokens: the inputs are real numbers": not t.has_tokens,
        "classes: the targets are not one class for each row": not t.has_classes,
        f"classes: {len(t)} rows are too few": len(t) < MIN_ROWS,
        "rows that overlap, as windows of one text do: only whole rows are compared": (
            has_evaluation and not can_overlap(*tables)
        ),
        "whether means, maxima or a vocabulary were taken from training alone": has_evaluation,
        f"the rows behind the first {len(t):,}": not t.is_all,
    }
    return [reason for reason, is_true in reasons.items() if is_true]


# ---- the form of the rows ----


def _check_form(t: Rows) -> Iterator[Finding]:
    """Types, shapes, ranges and lengths."""
    if t.mismatch:
        yield found("mismatched-rows", f"{t.name}: {t.mismatch}")
        return
    for what in sorted(t.not_finite):
        yield found("not-finite-data", f"{t.name}: NaN or infinite values in the {what}")
    if t.sizes and not t.has_tokens and (size := float(np.median(t.sizes))) >= _LARGE:
        seen = f"{t.name}: a usual row has numbers of a size of {size:.3g}"
        yield found("inputs-not-normalised", seen, "likely")
    kinds = t.input_kinds - {"int", "features"}
    if kinds and not t.is_file and "real" not in kinds:
        words = {"whole": "whole numbers as floats", "turned": "one-hot over time, (N, V, T)"}
        seen = " and ".join(words.get(kind, kind) for kind in sorted(kinds))
        sure = "likely" if kinds <= {"bool", "text"} else "certain"
        sure = "possible" if kinds == {"text"} else sure  # collate_fn or the loop numbers them
        yield found("token-type", f"{t.name}: the tokens are {seen}", sure)
    kinds = t.label_kinds - {"int", "steps"}
    if kinds and "real" not in kinds:
        # Losses of two classes and of shares take floats; names may become numbers in the loop.
        is_usual = kinds in ({"text"}, {"one-hot", "whole"})
        is_fit = kinds & {"bool", "int32", "text", "whole"}
        seen = ", ".join(sorted(kinds)).replace("whole", "floats").replace("column", "(N, 1)")
        seen = f"{t.name}: the labels are {seen}, such as {t.targets[0]!r}"
        sure = "possible" if is_usual else "likely" if is_fit else "certain"
        yield found("label-type", seen, sure)
    yield from _check_token_range(t)
    yield from _check_lengths(t)
    yield from _check_labels_of_padding(t)


def _check_token_range(t: Rows) -> Iterator[Finding]:
    ids = Counter(chain.from_iterable(t.read)) if t.has_tokens else {}
    if not ids or "text" in t.input_kinds or t.not_finite:
        return
    size, low = t.vocab_size, min((token for token in ids if token != t.padding_id), default=0)
    if low < 0:
        yield found("token-range", f"{t.name}: {ids[low]:,} tokens are {low}")
    over = [token for token in ids if token >= size and token != t.padding_id] if size else []
    if over and not (t.padding_id is None and over == [t.padding] == [size]):
        is_sure = max(over) > size or t.padding_id not in (None, size)
        seen = f"{t.name}: tokens up to {max(over)}, but {size} tokens are known"
        yield found("token-range", seen, "certain" if is_sure else "likely")


def _check_labels_of_padding(t: Rows) -> Iterator[Finding]:
    """Where each step has a label, those behind the end of a row must be no class."""
    if "steps" not in t.label_kinds or not t.has_lengths:
        return
    inside, behind = Counter(), Counter()
    for labels, row, length in zip(t.targets, t.padded, t.lengths, strict=True):
        if len(labels) != len(row):
            return
        inside.update(labels[: max(0, length)])
        behind.update(labels[max(0, length) :])
    share = behind.total() / max(1, inside.total() + behind.total())
    if len(behind) == 1 and share >= _NOTABLE and (label := next(iter(behind))) in inside:
        seen = f"{t.name}: {share:.0%} of the labels stand behind the end of a row: all are {label}"
        seen += f", as are {inside[label] / inside.total():.0%} of the others"
        yield found("labels-of-padding", seen, "possible")


def _check_lengths(t: Rows) -> Iterator[Finding]:
    """Padding must begin where a row ends."""
    n, sizes = np.array(t.lengths), np.array([len(row) for row in t.padded])  # (N,), (N,)
    tails = np.array(t.tails)
    if len(t.inverted) > 1 and not t.is_upright:
        seen = "the mask is 1 on padding and 0 on the steps that count, as key_padding_mask has it"
        yield found("wrong-lengths", f"{t.name}: {seen}", "possible")
    elif wrong := int(((n < 1) | (n > sizes)).sum()):
        yield found("wrong-lengths", f"{t.name}: {wrong:,} lengths are not in 1 to T")
    elif not t.has_lengths and len(tails):
        seen = f"{t.name}: rows end in {t.padding!r}, and no lengths are given"
        yield found("wrong-lengths", seen, "possible")
    elif len(tails):
        off = n - (sizes - tails)  # (N,)
        too_long, too_short = (off > 0)[tails > 0].mean(), (off < 0).mean()
        if too_long >= 0.5 or too_short >= _NOTABLE:
            seen = f"{t.name}: {too_long:.0%} of the padded rows count padding ({t.padding!r}), "
            seen += f"{too_short:.0%} of the rows end before their last token"
            # An end mark may equal the padding, and rows may be cut on purpose.
            is_mark = set(off[tails > 0].tolist()) <= {0, 1}
            is_meant = is_mark or max(too_long, _NOTABLE) < too_short < 0.9
            yield found("wrong-lengths", seen, "likely" if is_meant else "certain")
    elif t.heads and (n < sizes).any() and (np.array(t.heads)[n < sizes] > 0).mean() > 0.5:
        seen = f"the padding {t.padding_in_front!r} stands in front, and the lengths count from"
        yield found("wrong-lengths", f"{t.name}: {seen} the front")


# ---- rows and classes ----


def _check_repetition(t: Rows) -> Iterator[Finding]:
    """Many rows and few different ones; the same input again and again; twice by two workers."""
    number = len(t)
    if number < MIN_ROWS:
        return
    numbers = numbered(zip(t.x.tolist(), t.labels, strict=True))  # (N,)
    different = int(numbers.max()) + 1
    most, count = t.times.most_common(1)[0]
    alone = Counter(row[0] for row in t.inputs if len({*row}) == 1).most_common(1)
    if different > 1 and (count >= 0.9 * number or (alone and alone[0][1] >= 0.9 * number)):
        if data_pairs.share_wrong(t.x, t.y) != 0:  # unary numbers are inputs too
            seen = f"{count / number:.0%} of the inputs are {str(most)[:60]}"
            yield found("constant-inputs", seen + ", others hold the same token" * (count < number))
        return
    # Two workers that draw the same stream give every batch twice: half of the rows equal the one
    # a batch before. Chance repeats at every distance alike; an epoch over few rows repeats all.
    half = 0 if t.is_file else number // 2
    shares = [(numbers[lag:] == numbers[:-lag]).mean() for lag in range(1, half + 1)]
    usual = float(np.median(shares)) if half >= MIN_REPEATED else 1.0
    lag = next((lag for lag, share in enumerate(shares, 1) if share - usual >= _TWICE), None)
    # Windows of a series, as a list may give, look like batches that repeat from their middle on.
    is_inside = lag and t.is_batched and t.batches[lag] == t.batches[lag - 1]
    if is_inside and shares[lag - 1] < 1:
        return
    is_few = min(number, t.promised) >= max(4 * different, 2 * MIN_REPEATED)
    if is_few and data_pairs.chance_of_two(t.times) > 20 * data_pairs.chance_of_equal(t):
        seen = f"{t.promised:,} rows are promised; of {number:,} read, only {different:,} differ"
        is_possible = t.is_file or number < 10 * different
        yield found("repeated-samples", seen, "possible" if is_possible else "certain")
    if lag and shares[lag - 1] < 0.99:
        seen = f"{shares[lag - 1]:.0%} of the samples equal the one {lag} places before"
        seen += f" (at other distances {usual:.1%})"
        yield found("duplicated-workers", seen, "likely")  # or the data hold everything twice


def _check_classes(t: Rows) -> Iterator[Finding]:
    """How many classes, how often each, how they are numbered and named."""
    number, counts, are_floats = len(t), t.counts, "whole" in t.label_kinds
    is_clear = t.is_file and len(counts) in (1, number)  # however few rows there are
    if not t.has_classes or (number < MIN_ROWS and not is_clear):
        return
    if all(isinstance(name, int) for name in t.names) and not are_floats:
        low, high, least = min(t.names), max(t.names), min(counts.values())
        seen = f"the labels are {', '.join(map(str, sorted(t.names)[:6]))}"
        seen += f" … {high}" * (len(t.names) > 6)
        is_one_rare = high == len(t.names) and low == 0 and least < MIN_ROWS
        if low < 0:
            yield found("label-range", f"{seen}; {counts[low]:,} are {low}")
        elif high >= len(t.names) and least >= 5 and not is_one_rare:
            yield found("label-range", seen, "likely")
    if len(counts) == 1:
        yield found("single-class", f"{t.names[0]!r} is the only label; number of rows: {number:,}")
        return
    decimals = sum(bool(re.fullmatch(r"[-+]?\d*[.,]\d+", str(name))) for name in t.names)
    if len(counts) >= number / 2 or (t.is_file and decimals > max(20, 0.9 * len(counts))):
        yield found("too-many-classes", f"{len(counts):,} labels for {number:,} rows")
    yield from check_near_equal(counts)
    usual = float(np.median([*counts.values()]))
    rare = [name for name in t.names if counts[name] <= 2 and usual >= MIN_ROWS]
    if 0 < len(rare) <= max(1, len(counts) // 4) and not are_floats:
        seen = f"{rare[0]!r} (row {t.labels.index(rare[0]) + 1:,}) occurs {counts[rare[0]]}x"
        yield found("rare-class", f"{seen}, the median class {usual:.0f}x", "likely")
    least = min(counts[name] for name in t.names if name not in rare)
    if t.majority >= LARGE_MAJORITY or t.majority * number >= 50 * least:
        fewest = min(counts.values())
        seen = f"the most frequent class has {t.majority:.0%} of the rows, another {fewest:,} rows"
        sure = "certain" if t.majority >= LARGE_MAJORITY else "possible"
        yield found("imbalanced-classes", seen, sure)


def _check_unsplit(t: Rows) -> Iterator[Finding]:
    """Many rows of one token each, of which many are different."""
    tokens = [str(row[0]) for row in t.inputs if len(row) == 1]
    different = {*tokens}
    is_long = sum(map(len, different)) >= 3 * len(different)
    is_usual = len(tokens) >= max(MIN_ROWS, len(t) / 2)
    if t.has_tokens and is_usual and is_long and len(different) >= 0.2 * len(tokens):
        seen = f"{len(tokens):,} of {len(t):,} rows are one token; of these, {len(different):,} "
        yield found("unsplit-tokens", f"{seen}are different", "likely")


def _check_unknown(t: Rows) -> Iterator[Finding]:
    """One of many tokens that stands in most places, and is not padding."""
    (token, count), *others = t.tokens.most_common() or [(None, 0)]
    is_padding = token in {t.padding_id, t.padding, t.padding_in_front}
    is_asked = t.has_tokens and len(t) >= MIN_ROWS and len(others) >= _MANY and not is_padding
    if is_asked and (share := count / t.tokens.total()) >= 0.5:
        seen = f"{share:.0%} of the tokens are {token!r}; there are {len(others):,} others"
        yield found("unknown-token", seen, "possible")


def _check_order(t: Rows) -> Iterator[Finding]:
    """Runs of equal labels far longer than chance makes them."""
    if t.has_classes and len(t) >= 2 * MIN_ROWS and len(t.names) > 1:
        changes = int((t.y[1:] != t.y[:-1]).sum())
        chance = (len(t) - 1) * (1 - data_pairs.chance_of_two(t.counts))
        if changes <= 0.2 * chance:
            seen = f"the label changes {changes:,} times; in random order about {chance:,.0f} times"
            yield found("sorted-by-class", seen, "likely" if t.is_batched else "possible")


# What training data are asked, whatever their form.
CHECKS = (
    _check_repetition, _check_classes, _check_unsplit, _check_order, data_pairs.check_pairs,
    data_pairs.check_leaks, data_pairs.check_steps, _check_unknown,
)  # fmt: skip
