"""Faults of data that can be seen without a model, in anyone's samples or DataLoader.

    from rnn_tutorial.doctor.data_checks import check_data
    print(describe(check_data(training_loader, evaluation_loader)))

Nothing is assumed about the task, but for `shifted-labels` that samples of equal input are to have
equal labels; a label rule, if there is one, is checked too.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from rnn_tutorial.doctor.findings import Finding

Tokens = tuple[int, ...]
Rule = Callable[[Tokens], int]

_NUM_SAMPLES = 4096  # compared at each distance in some 50 ms
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
    num_samples: int = _NUM_SAMPLES,
) -> list[Finding]:
    """Look at the first samples of training and evaluation data, in the order in which they come.

    Args:
        training: samples `(input_seq, seq_length, target)`, or batches `(x, seq_lengths, targets)`
            with x of shape (N, T), such as a DataLoader gives. Endless ones are fine.
        evaluation: the same, or None. If it has fewer than num_samples, those are all.
        rule: what the label of a sequence must be, or None if there is no rule.
        num_samples: samples to look at of each.

    Raises:
        ValueError: data of another form, or none.
    """
    samples = _take(training, num_samples, "training")
    findings = [
        _find_shifted_labels(samples, rule),
        _find_duplicates(samples),
    ]
    if evaluation is not None:
        held_out = _take(evaluation, num_samples, "evaluation")
        findings += [
            _find_shared_samples(samples, held_out),
            _find_foreign_lengths(samples, held_out),
            _find_few(len(held_out)) if len(held_out) < num_samples else None,
        ]
    return [finding for finding in findings if finding]


def _take(data: Iterable[Any], count: int, name: str) -> list[tuple[Tokens, int]]:
    """The first samples as (tokens, target), whether data gives samples or batches."""
    samples = list(itertools.islice(_each_sample(data, name), count))
    if not samples:
        raise ValueError(f"the {name} data are empty; at least one sample is needed")
    return samples


def _each_sample(data: Iterable[Any], name: str) -> Iterable[tuple[Tokens, int]]:
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(
            f"the {name} data are a {type(data).__name__}; allowed is what a for loop takes: a "
            "list, a DataLoader, a Dataset"
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


def _find_shifted_labels(
    samples: Sequence[tuple[Tokens, int]], rule: Rule | None
) -> Finding | None:
    """Equal inputs must have equal labels, and a rule must give them."""
    inputs, targets = zip(*samples, strict=True)
    wrong = _share_wrong(inputs, targets, rule)
    if wrong is None or wrong < _CONTRADICTED:
        return None
    of_what = "the labels are not what the rule says"
    if not rule:
        of_what = (
            "the labels of repeated inputs differ from the most frequent one of the same input"
        )
    seen = f"{wrong:.0%} of {of_what}"
    meaning = "inputs and labels are paired wrongly, so there is nothing to learn but guessing"
    advice = "read input and label from the same sample; sort, filter and shuffle them together"
    for shift in _SHIFTS:
        before, after = slice(None, -abs(shift)), slice(abs(shift), None)
        of_inputs, of_targets = (before, after) if shift > 0 else (after, before)
        remaining = _share_wrong(inputs[of_inputs], targets[of_targets], rule)
        if remaining is not None and remaining < wrong / 4:
            seen += f"; with the label {abs(shift)} {'later' if shift > 0 else 'earlier'} it is "
            seen += f"{remaining:.0%}"
            return Finding("shifted-labels", seen, meaning, advice, "certain")
    return Finding("shifted-labels", seen, meaning, advice, "certain" if rule else "likely")


def _share_wrong(
    inputs: Sequence[Tokens], targets: Sequence[int], rule: Rule | None
) -> float | None:
    """Share of labels that break the rule or, without one, differ from that of an equal input."""
    if rule and inputs:
        return sum(rule(x) != y for x, y in zip(inputs, targets, strict=True)) / len(inputs)
    labels_of = defaultdict(Counter)
    for x, y in zip(inputs, targets, strict=True):
        labels_of[x][y] += 1
    repeated = [labels for labels in labels_of.values() if labels.total() > 1]
    total = sum(labels.total() for labels in repeated)
    if total < _MIN_REPEATED:
        return None
    agreeing = sum(labels.most_common(1)[0][1] for labels in repeated)
    return 1 - agreeing / total


def _find_duplicates(samples: Sequence[tuple[Tokens, int]]) -> Finding | None:
    """Samples that equal the one a fixed number of places before, far more often than others do.

    Two workers that draw the same stream give every batch twice: half of the samples equal the one
    a batch before. Chance repeats short inputs at every distance alike.
    """
    numbers = _numbered(samples)
    half = len(numbers) // 2
    if half < _MIN_REPEATED:
        return None
    shares = np.array(
        [(numbers[lag:] == numbers[:-lag]).mean() for lag in range(1, half + 1)]
    )  # of the samples, by distance
    lag = int(shares.argmax()) + 1
    share, usual = shares.max(), float(np.median(shares))
    if share - usual < _TWICE:
        return None
    return Finding(
        "duplicated-workers",
        f"{share:.0%} of the samples equal the one {lag} places before (at other distances "
        f"{usual:.1%})",
        "every worker draws the same samples: an epoch holds few different ones, and a batch "
        "brings nothing new",
        "in __iter__ divide the samples by torch.utils.data.get_worker_info(), and seed each "
        "worker's generator with its id",
        "certain",
    )


def _numbered(samples: Sequence[tuple[Tokens, int]]) -> np.ndarray:
    """A number for each different sample, (N,)."""
    numbers: dict[tuple[Tokens, int], int] = {}
    return np.array([numbers.setdefault(sample, len(numbers)) for sample in samples])


def _find_shared_samples(
    training: Sequence[tuple[Tokens, int]], evaluation: Sequence[tuple[Tokens, int]]
) -> Finding | None:
    """Evaluation samples that occur in training more often than training samples repeat."""
    times = Counter(x for x, _ in training)
    by_chance = sum(times[x] > 1 for x, _ in training) / len(training)
    shared = sum(x in times for x, _ in evaluation) / len(evaluation)
    if len(evaluation) < _MIN_REPEATED or shared - by_chance < _LEAKED:
        return None
    return Finding(
        "shared-stream",
        f"{shared:.0%} of the evaluation samples occur in training; if they were drawn anew, about "
        f"{by_chance:.0%} would",
        "the evaluation measures what was memorised, and says too much of what was learned",
        "split the examples before training, and give evaluation a random generator of its own",
        "likely",
    )


def _find_foreign_lengths(
    training: Sequence[tuple[Tokens, int]], evaluation: Sequence[tuple[Tokens, int]]
) -> Finding | None:
    """Evaluation samples shorter or longer than any in training."""
    trained = [len(x) for x, _ in training]
    shortest, longest = min(trained), max(trained)
    lengths = [len(x) for x, _ in evaluation]
    share = sum(not shortest <= n <= longest for n in lengths) / len(lengths)
    if share < _FOREIGN_LENGTHS:
        return None
    return Finding(
        "length-mismatch",
        f"training has lengths {shortest} to {longest}, evaluation {min(lengths)} to "
        f"{max(lengths)}: {share:.0%} of its samples lie outside",
        "the score mixes what was trained with what was not",
        "train on the lengths that will be asked (--min_seq_len, --max_seq_len), or report the "
        "accuracy by length",
        "certain",
    )


def _find_few(num_samples: int) -> Finding | None:
    """Too few evaluation samples to tell two networks apart."""
    half = 0.5 * 1.96 / math.sqrt(num_samples)  # normal interval at an accuracy of one half
    if 2 * half < WIDE_INTERVAL:
        return None
    return small_evaluation(num_samples, f"±{half:.0%} at an accuracy of 50 %")


def small_evaluation(num_samples: int, interval: str) -> Finding:
    """The finding that an evaluation cannot tell much."""
    return Finding(
        "small-evaluation",
        f"{num_samples:,} evaluation samples: the 95 % interval is {interval}",
        "differences of a few points between runs are chance",
        f"score at least {math.ceil((1.96 / WIDE_INTERVAL) ** 2)} samples, or all inputs if they "
        "can be enumerated",
        "certain",
    )
