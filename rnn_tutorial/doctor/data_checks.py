"""Faults of the data that a training loop reads.

    from rnn_tutorial.doctor.data_checks import check_data
    print(describe(check_data(training_loader, evaluation_loader)))

Nothing is assumed about the task, except for `shifted-labels` that equal inputs have equal labels.
If there is a label rule, it is checked too.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rnn_tutorial.doctor.findings import Finding

Tokens = tuple[int, ...]
Samples = Sequence[tuple[Tokens, int]]  # tokens and label
Rule = Callable[[Tokens], int]  # the right label

_NUM_SAMPLES = 4096  # looked at, and compared at each distance in some 50 ms
_MIN_REPEATED = 50  # repeated inputs below which nothing is said about their labels
_TWICE = 0.25  # share of samples equal to one at a fixed distance; two equal workers give 1/2
_LEAKED = 0.1  # evaluation samples seen in training, beyond what chance repeats
_CONTRADICTED = 0.2  # share of repeated inputs whose label is not their most frequent one
_SHIFTS = (1, -1, 2, -2)
_FOREIGN_LENGTHS = 0.05  # share of evaluation samples of lengths that training does not have
WIDE_INTERVAL = 0.1  # of an accuracy: a difference of five points is then within the error


def check_data(
    training: Iterable[Any],
    evaluation: Iterable[Any] | None = None,
    *,
    rule: Rule | None = None,
) -> list[Finding]:
    """Look at the first samples of training and evaluation data, in the order in which they come.

    Args:
        training: samples `(input_seq, seq_length, target)`, or batches `(x, seq_lengths, targets)`
            with x of shape (N, T), such as a DataLoader gives. It may be endless.
        evaluation: the same, or None.
        rule: gives the right label of a sequence; None if there is no rule.

    Raises:
        ValueError: data of another form, or none.
    """
    samples = _take(training, "training")
    findings = [*_find_shifted_labels(samples, rule), *_find_duplicates(samples)]
    if evaluation is not None:
        held_out = _take(evaluation, "evaluation")
        findings += _find_shared_samples(samples, held_out)
        findings += _find_foreign_lengths(samples, held_out)
        half = 0.5 * 1.96 / math.sqrt(len(held_out))  # normal interval at an accuracy of one half
        if len(held_out) < _NUM_SAMPLES and 2 * half >= WIDE_INTERVAL:
            findings.append(small_evaluation(len(held_out), f"±{half:.0%} at an accuracy of 50 %"))
    return findings


def _take(data: Iterable[Any], name: str) -> Samples:
    """The first samples, whether data gives samples or batches."""
    samples = list(itertools.islice(_each_sample(data, name), _NUM_SAMPLES))
    if not samples:
        raise ValueError(f"the {name} data are empty; at least one sample is needed")
    return samples


def _each_sample(data: Iterable[Any], name: str) -> Iterator[tuple[Tokens, int]]:
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(
            f"the {name} data are of type {type(data).__name__}; allowed is what a for loop takes"
        )
    for item in data:
        try:
            x, lengths, targets = item
            is_batch = isinstance(x, torch.Tensor | np.ndarray) and x.ndim == 2
            rows = zip(x, lengths, targets, strict=True) if is_batch else [(x, lengths, targets)]
            for row, length, target in rows:
                tokens = row.tolist() if hasattr(row, "tolist") else list(row)
                if not 1 <= int(length) <= len(tokens):
                    raise ValueError
                yield tuple(tokens[: int(length)]), int(target)
        except (TypeError, ValueError):
            raise ValueError(
                f"the {name} data give {type(item).__name__} {str(item)[:60]!r}; allowed are "
                "(input_seq, seq_length, target) with 1 <= seq_length <= len(input_seq), "
                "and batches of them with input_seq (N, T)"
            ) from None


def _find_shifted_labels(samples: Samples, rule: Rule | None) -> Iterator[Finding]:
    """Equal inputs must have equal labels, and a rule must give them."""
    wrong = _share_wrong(samples, rule)
    if wrong is None or wrong < _CONTRADICTED:
        return
    of_what = "labels of repeated inputs differ from the most frequent one of the same input"
    seen = f"{wrong:.0%} of the {'labels break the rule' if rule else of_what}"
    confidence = "certain" if rule else "likely"
    for shift in _SHIFTS:
        x_first, y_first = max(0, -shift), max(0, shift)
        pairs = zip(samples[x_first:], samples[y_first:], strict=False)
        remaining = _share_wrong([(x, y) for (x, _), (_, y) in pairs], rule)
        if remaining is not None and remaining < wrong / 4:
            direction = "later" if shift > 0 else "earlier"
            seen += f"; with the label {abs(shift)} {direction} it is {remaining:.0%}"
            confidence = "certain"
            break
    yield Finding(
        "shifted-labels",
        seen,
        "inputs and labels are paired wrongly, so there is nothing to learn but guessing",
        "read input and label from the same sample; sort, filter and shuffle them together",
        confidence,
    )


def _share_wrong(samples: Samples, rule: Rule | None) -> float | None:
    """Share of labels that break the rule or, without one, differ from that of an equal input."""
    if rule and samples:
        return sum(rule(x) != y for x, y in samples) / len(samples)
    labels_of = defaultdict(Counter)
    for x, y in samples:
        labels_of[x][y] += 1
    repeated = [labels for labels in labels_of.values() if labels.total() > 1]
    total = sum(labels.total() for labels in repeated)
    if total < _MIN_REPEATED:
        return None
    return 1 - sum(labels.most_common(1)[0][1] for labels in repeated) / total


def _find_duplicates(samples: Samples) -> Iterator[Finding]:
    """Samples that equal the one a fixed number of places before, far more often than others do.

    Two workers that draw the same stream give every batch twice: half of the samples equal the one
    a batch before. Chance repeats short inputs at every distance alike.
    """
    ids: dict[tuple[Tokens, int], int] = {}
    numbers = np.array([ids.setdefault(sample, len(ids)) for sample in samples])
    half = len(numbers) // 2
    if half < _MIN_REPEATED:
        return
    shares = [(numbers[lag:] == numbers[:-lag]).mean() for lag in range(1, half + 1)]
    share, usual = max(shares), float(np.median(shares))
    if share - usual >= _TWICE:
        yield Finding(
            "duplicated-workers",
            f"{share:.0%} of the samples equal the one {shares.index(share) + 1} places before (at "
            f"other distances {usual:.1%})",
            "every worker draws the same samples, so a batch brings few new ones or none",
            "in __iter__ divide the samples by get_worker_info(), and seed each worker with its id",
        )


def _find_shared_samples(training: Samples, evaluation: Samples) -> Iterator[Finding]:
    """Evaluation samples that occur in training more often than training samples repeat."""
    times = Counter(x for x, _ in training)
    by_chance = sum(times[x] > 1 for x, _ in training) / len(training)
    shared = sum(x in times for x, _ in evaluation) / len(evaluation)
    if len(evaluation) >= _MIN_REPEATED and shared - by_chance >= _LEAKED:
        yield Finding(
            "shared-stream",
            f"{shared:.0%} of the evaluation samples occur in training; by chance {by_chance:.0%}",
            "the evaluation measures what was memorised, so it overstates what was learned",
            "split the examples before training, and give evaluation its own random generator",
            "likely",
        )


def _find_foreign_lengths(training: Samples, evaluation: Samples) -> Iterator[Finding]:
    """Evaluation samples shorter or longer than any in training."""
    trained, lengths = ([len(x) for x, _ in samples] for samples in (training, evaluation))
    shortest, longest = min(trained), max(trained)
    share = sum(not shortest <= n <= longest for n in lengths) / len(lengths)
    if share >= _FOREIGN_LENGTHS:
        yield Finding(
            "length-mismatch",
            f"training has lengths {shortest} to {longest}, evaluation {min(lengths)} to "
            f"{max(lengths)}: {share:.0%} of its samples lie outside",
            "the score mixes lengths that were trained with lengths that were not",
            "train on these lengths (--min_seq_len, --max_seq_len), or report accuracy by length",
        )


def small_evaluation(num_samples: int, interval: str) -> Finding:
    """The finding that an evaluation has too few samples to tell two networks apart."""
    return Finding(
        "small-evaluation",
        f"{num_samples:,} evaluation samples: the 95 % interval is {interval}",
        "differences of a few points between runs are chance",
        f"score at least {math.ceil((1.96 / WIDE_INTERVAL) ** 2)} samples, or all possible inputs",
    )
