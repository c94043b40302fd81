"""Evaluation data against training data: the same rows; other lengths, padding, tokens, classes,
labels.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from difflib import SequenceMatcher
from itertools import permutations

import numpy as np

from rnn_tutorial.doctor.data_findings import found
from rnn_tutorial.doctor.data_pairs import (
    SHIFTS,
    bag_of,
    chance_of_two,
    chances_of_equal,
    labels_of,
    naive_bayes,
    skill_of,
)
from rnn_tutorial.doctor.data_rows import MIN_REPEATED, MIN_ROWS, NUM_ROWS, Rows
from rnn_tutorial.doctor.findings import Finding

WIDE_INTERVAL = 0.1  # of an accuracy: a difference of five points is then within the error
_LEAKED = 0.1  # evaluation rows seen in training, beyond what chance repeats
_LEAKED_TEXT = 0.5  # the same of windows of tokens: texts repeat phrases
_FOREIGN_LENGTHS = 0.05  # share of evaluation rows of lengths that training does not have
_PIECES = 8, 32  # steps of a piece that is looked for in other rows: of numbers; at most, of tokens
_FOREIGN = 0.05  # share of evaluation tokens, or of rows of a class, that training does not have


def _plain(name: Hashable) -> str:
    """A class name without case, quotes, punctuation and the like."""
    text = unicodedata.normalize("NFKC", str(name)).casefold()
    text = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", text).strip(" \t\n\"'`“”‘’.,;:!?()[]")
    is_whole = re.fullmatch(r"[-+]?\d+(\.0*)?", text)
    return str(int(float(text))) if is_whole else text or str(name)


def check_near_equal(counts: Counter[Hashable]) -> Iterator[Finding]:
    """Names that differ in case, quotes or spaces, or a rare one that differs in a letter."""
    names = [name for name in counts if isinstance(name, str)]
    groups = defaultdict(list)
    for name in names:
        groups[_plain(name)].append(name)
    for plain, group in groups.items():
        if len(group) > 1:  # letters are classes of their own in handwriting
            shown = ", ".join(f"{name!r} ({counts[name]:,})" for name in group)
            yield found("near-equal-classes", shown, "certain" if len(plain) > 1 else "possible")
    for one, other in permutations(names, 2) if len(names) <= 50 else ():
        is_slip = counts[one] >= 20 * counts[other] and min(len(one), len(other)) > 4
        is_slip = is_slip and not re.search(r"\d", one + other)
        if is_slip and SequenceMatcher(None, one, other).ratio() >= 0.85:
            shown = f"{other!r} ({counts[other]:,}), {one!r} ({counts[one]:,})"
            yield found("near-equal-classes", shown, "likely")


def small_evaluation(num_samples: int, interval: str, confidence: str = "certain") -> Finding:
    """The finding that an evaluation has too few samples to tell two networks apart."""
    seen = f"{num_samples:,} evaluation samples: the 95% interval is {interval}"
    return found("small-evaluation", seen, confidence)


def can_overlap(t: Rows, e: Rows) -> bool:
    """True if a piece of a row that is found in another row too was cut from the same series."""
    size, is_rare = _piece_size(t, e), t.is_continuous and e.is_continuous
    if t.has_tokens and e.has_tokens:
        is_rare = t.tokens.total() * chance_of_two(t.tokens) ** size < 0.01
    return size >= _PIECES[0] and is_rare


def _piece_size(t: Rows, e: Rows) -> int:
    """Steps of a row that are looked for in other rows, at most half of a usual one."""
    half = int(np.median(t.num_steps + e.num_steps)) // 2
    return min(half, _PIECES[1] if t.has_tokens else _PIECES[0])


def _share_of_windows(t: Rows, e: Rows) -> float:
    """Share of evaluation rows that begin as a training row goes on, and end as one goes before.

    If a series is cut in two and then into windows, no window's last steps are in the other part.
    Sentences of one form, which begin or end alike, have equal pieces at equal places only.
    """
    if not can_overlap(t, e):
        return 0.0
    size = _piece_size(t, e)
    pieces = [[hash(row[i : i + size]) for i in range(len(row) - size + 1)] for row in t.inputs]
    later = {piece for row in pieces for piece in row[1:]}
    earlier = {piece for row in pieces for piece in row[:-1]}
    ends = [(row[:size], row[-size:]) for row in e.inputs]
    if not t.has_tokens:  # a series that stands still is alike everywhere
        ends = [pair for pair in ends if all(len({*piece}) == size for piece in pair)]
    return sum(hash(first) in later and hash(last) in earlier for first, last in ends) / len(e)


def _share_of_copies(t: Rows, e: Rows) -> float:
    """Share of evaluation rows in training, of lengths at which chance makes few of them."""
    chances = {n: t.num_of_length[n] * chance for n, chance in chances_of_equal(t).items()}
    shared = Counter(len(row) for row in e.inputs if row in t.times)
    copied = [n for n in shared if _LEAKED * shared[n] > chances[n] * e.num_of_length[n]]
    return sum(shared[n] for n in copied) / len(e)


def _compare_rows(t: Rows, e: Rows) -> Iterator[Finding]:
    """Evaluation rows or windows that occur in training, few rows, other padding or lengths."""
    # Short rows repeat by chance, so each length has a chance of its own.
    repeated = Counter(len(row) for row in t.inputs if t.times[row] > 1)
    chances = {n: repeated[n] / number for n, number in t.num_of_length.items()}
    by_chance = sum(chances.get(n, 0) for n in e.num_steps) / len(e)
    shared = e.num_shared(t) / len(e)
    if len(e) >= MIN_REPEATED and shared >= _LEAKED:
        seen = f"{shared:.0%} of the evaluation samples occur in training"
        if shared - by_chance >= _LEAKED:
            yield found("shared-stream", f"{seen}; by chance {by_chance:.0%}", "likely")
        elif _share_of_copies(t, e) >= _LEAKED:  # training itself holds copies
            seen += f", where {by_chance:.0%} of the rows occur twice or more: copied before the "
            sure = "likely" if t.is_continuous else "possible"
            yield found("shared-stream", f"{seen}split?", sure)
    elif (overlapping := _share_of_windows(t, e)) >= (_LEAKED_TEXT if t.has_tokens else _LEAKED):
        seen = f"{overlapping:.0%} of the evaluation rows begin and end as pieces of training rows"
        yield found("shared-stream", f"{seen}: overlapping windows, split at random", "likely")
    half = 0.5 * 1.96 / math.sqrt(len(e))  # normal interval at an accuracy of one half
    has_classes = "real" not in e.label_kinds  # else there is no accuracy
    if has_classes and e.is_all and len(e) < NUM_ROWS and 2 * half >= WIDE_INTERVAL:
        yield small_evaluation(len(e), f"±{half:.0%} at an accuracy of 50%", "possible")
    sides = [(bool(rows.heads), bool(rows.tails)) for rows in (t, e)]
    if sorted(sides) == [(False, True), (True, False)] and not (t.has_lengths or e.has_lengths):
        one, other = ("in front" if in_front else "behind" for in_front, _ in sides)
        seen = f"training is padded {one}, evaluation {other}"
        yield found("padding-on-other-side", seen)
    if t.has_tokens and e.has_tokens and len(t.fillers) == len(e.fillers) == 1:
        (one,), (other,) = t.fillers, e.fillers
        seen = f"training is padded with {one!r}, evaluation with {other!r}"
        if one != other:
            yield found("other-padding", seen, "possible")
    shortest, longest = min(t.num_steps), max(t.num_steps)
    share = sum(not shortest <= n <= longest for n in e.num_steps) / len(e)
    if share >= max(_FOREIGN_LENGTHS, 10 / (len(t) + 1)):  # chance: 2 of N + 1 rows
        seen = f"training has lengths {shortest} to {longest}, evaluation {min(e.num_steps)} to "
        seen += f"{max(e.num_steps)}: {share:.0%} of its rows lie outside"
        yield found("length-mismatch", seen)


def _compare_labels(t: Rows, e: Rows) -> Iterator[Finding]:
    """Evaluation must follow the rule of training: that of equal inputs, or of their tokens."""
    number = len(t.names)
    if not (t.has_classes and e.has_classes and 1 < number <= len(t) / 10):
        return
    numbers = {name: i for i, name in enumerate(t.names)}
    y = np.array([numbers.get(label, -1) for label in e.labels])  # (N,)
    sure = {
        row: labels.most_common(1)[0][0]
        for row, labels in labels_of(t.inputs, t.y).items()
        if max(labels.values()) >= 0.8 * labels.total()
    }
    # Each input counts once: a few that come often do not tell what the labels mean.
    is_first = np.isin(np.arange(len(e)), e.firsts)
    guesses = np.array([sure.get(row, -1) for row in e.inputs])
    guesses, skill, is_known = np.where(is_first, guesses, -1), 0.8, True
    if (guesses >= 0).sum() < MIN_REPEATED:
        is_known = False
        skill = skill_of(bag_of(t.inputs), t.firsts, t.y[t.firsts])  # copies teach nothing
        if not t.has_tokens or skill is None:
            return
        alike = [i for i in e.firsts.tolist() if e.num_steps[i] in t.num_of_length]
        alike = np.array(alike, np.int64)
        if skill < 0.05 and (skill_of(bag_of(e.inputs), alike, e.y[alike]) or 0) > 0.3:
            seen = "single tokens tell much about evaluation's labels, and nothing about training's"
            yield found("contradicting-labels", seen, "likely")
        if skill < 0.3:
            return
        bag, is_training = bag_of([*t.inputs, *e.inputs]), np.arange(len(t) + len(e)) < len(t)
        guesses = naive_bayes(bag, np.append(t.y, y), is_training)[len(t) :]
    asked = (guesses >= 0) & (y >= 0)
    if asked.sum() < MIN_REPEATED:
        return
    # Training may have been balanced by copies, so that each class counts the same.
    often = np.bincount(y[asked], minlength=number) >= MIN_ROWS // 2
    asked &= often[y]
    if often.sum() < 2:
        return
    weights = 1 / np.bincount(y[asked], minlength=number)[y[asked]]
    weights /= weights.sum()
    usual = 1 / often.sum()
    agreed = weights @ (guesses == y)[asked]
    if agreed - usual >= 0.4 * skill * (1 - usual):
        return
    table = np.zeros((number, number))
    np.add.at(table, (guesses[asked], y[asked]), weights)
    ways = {"with the classes exchanged": table.max(1).sum()}
    for shift, words in SHIFTS.items():
        ways[words] = weights @ (guesses == np.roll(y, -shift))[asked]
    best = max(ways, key=ways.get)
    seen = f"what training teaches of the inputs is right for {agreed:.0%} of the evaluation labels"
    seen += f" (guessing: {usual:.0%}), if each class counts the same"
    is_explained = ways[best] - usual >= 0.7 * skill * (1 - usual)
    seen += f"; {best} for {ways[best]:.0%}" if is_explained else ""
    sure = "certain" if is_explained and is_known else "likely"
    yield found("evaluation-labels-wrong", seen, sure)


def _compare_tokens(t: Rows, e: Rows) -> Iterator[Finding]:
    """Evaluation tokens that training lacks: most, or more than rare words bring by chance."""
    if not (t.has_tokens and e.has_tokens and t.tokens and e.tokens):
        return
    unknown = [token for token in e.tokens if token not in t.tokens]
    share = sum(e.tokens[token] for token in unknown) / e.tokens.total()
    # Good and Turing: what occurs once in training is as frequent as what does not occur there.
    excess = share - sum(count == 1 for count in t.tokens.values()) / t.tokens.total()
    if excess >= _FOREIGN or share > 0.5:
        known = {str(token).casefold() for token in t.tokens}
        in_case = sum(str(token).casefold() in known for token in unknown) > len(unknown) / 2
        seen = f"{share:.0%} of the evaluation tokens do not occur in training ({unknown[0]!r}, …)"
        seen += ", but most of them do in another case" * in_case
        yield found("token-mismatch", seen, "certain" if excess >= 0.3 else "likely")


def _compare_classes(t: Rows, e: Rows) -> Iterator[Finding]:
    """Classes that only one of the two has."""
    if not (t.has_classes and e.has_classes):
        return
    foreign = [name for name in e.names if name not in t.counts]
    absent = [name for name in t.names if name not in e.counts]
    if {_plain(name) for name in foreign} & {_plain(name) for name in absent}:
        yield from check_near_equal(t.counts + e.counts)
        return
    share = sum(e.counts[name] for name in foreign) / len(e)
    lost = sum(t.counts[name] for name in absent) / len(t)
    if foreign or len(e) * lost >= 10:
        seen = f"{share:.0%} of the evaluation rows have classes that training lacks {foreign[:3]}"
        seen += f"; classes of {lost:.0%} of the training rows are not in evaluation {absent[:3]}"
        sure = "certain" if share >= _FOREIGN or lost >= 0.2 else "likely"
        yield found("class-mismatch", seen, sure)


COMPARISONS = (_compare_tokens, _compare_classes, _compare_rows, _compare_labels)
