"""Whether labels belong to their inputs: contradictions, leaks, and evaluation against training.

Shapes: N rows, M pairs of a row and a token in it, V different tokens, C classes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice

import numpy as np

from rnn_tutorial.doctor.data_findings import found
from rnn_tutorial.doctor.data_rows import MIN_REPEATED, MIN_ROWS, Row, Rows, numbered
from rnn_tutorial.doctor.findings import Finding

_CONTRADICTED = 0.1  # share of repeated inputs whose label is not their most frequent one
_SURE = 4.0  # standard deviations beyond chance
_MAX_STEPS = 2**15  # with a label each, which are enough to see a shift
_MAX_SCORES = 10**7  # pairs of a row and a token, times classes, in some 0.2 s

SHIFTS = {
    1: "with the label 1 later", -1: "with the label 1 earlier",
    2: "with the label 2 later", -2: "with the label 2 earlier",
}  # fmt: skip
Pairs = tuple[np.ndarray, np.ndarray]


def labels_of(keys: Iterable[Hashable], y: np.ndarray) -> dict[Hashable, Counter[int]]:
    """How often each label occurs with each key."""
    counts: dict[Hashable, Counter[int]] = defaultdict(Counter)
    keys = keys.tolist() if isinstance(keys, np.ndarray) else keys
    for key, label in zip(keys, y.tolist(), strict=True):
        counts[key][label] += 1
    return counts


def share_wrong(x: np.ndarray, y: np.ndarray) -> float | None:
    """Share of labels that differ from the most frequent one of an equal input; None if few are."""
    repeated = [labels for labels in labels_of(x, y).values() if labels.total() > 1]
    total = sum(labels.total() for labels in repeated)
    if total < MIN_REPEATED:
        return None
    return 1 - sum(max(labels.values()) for labels in repeated) / total


def chance_of_two(counts: Counter[Hashable]) -> float:
    """How often two draws are the same."""
    return sum(count**2 for count in counts.values()) / counts.total() ** 2


def chances_of_equal(t: Rows) -> dict[int, float]:
    """How often two inputs of each length were equal if each token depended on its place alone.

    Among three inputs or fewer every place looks fixed, so places are not told apart.
    """
    if len(t.times) < 4:
        return {n: chance_of_two(t.tokens) ** n for n in t.num_of_length}
    by_length = defaultdict(list)
    for row in t.inputs:
        by_length[len(row)].append(row)
    return {
        n: math.prod(chance_of_two(Counter(column)) for column in zip(*rows, strict=True))
        for n, rows in by_length.items()
    }


def chance_of_equal(t: Rows) -> float:
    """How often two inputs of any lengths were equal, see `chances_of_equal`."""
    chances = chances_of_equal(t).items()
    return sum((t.num_of_length[n] / len(t)) ** 2 * chance for n, chance in chances)


# ---- labels against inputs ----


def why_labels_cannot_be_judged(t: Rows) -> str:
    """Why neither equal inputs nor single tokens would show labels of other rows; "" if they do."""
    if share_wrong(t.x, t.y) is not None:
        return ""
    skill = skill_of(bag_of(t.inputs), np.arange(len(t)), t.y) if t.has_tokens else None
    if skill is None:
        return "few inputs occur twice"
    return "" if skill >= 0.05 else "few inputs occur twice, and no token tells the label"


def check_pairs(t: Rows) -> Iterator[Finding]:
    """Equal inputs must have equal labels; other pairs of inputs and labels may do better."""
    if not t.has_classes or len(t.names) < 2:
        return
    x, others = t.x, _other_pairs(t)
    wrong = share_wrong(x, t.y)
    if wrong is None or wrong < _CONTRADICTED:
        bag, everyone = bag_of(t.inputs), np.arange(len(t))
        if t.has_tokens and (skill := skill_of(bag, everyone, t.y)) is not None and skill < 0.05:
            skills = {words: skill_of(bag, i, t.y[j]) or 0 for words, (i, j) in others.items()}
            words = max(skills, key=skills.get, default="")
            if words and skills[words] > 0.3:
                seen = f"the tokens tell nothing of the label, but much of it {words}"
                yield found("shifted-labels", seen, "likely")
        return
    seen = f"{wrong:.0%} of the labels of repeated inputs differ from the most frequent one"
    for first, last in [(0, 4), (0, 2), (2, 4), (0, 1), (3, 4)]:  # a line may be lost on the way
        start, stop = len(t) * first // 4, len(t) * last // 4
        wrong_here = share_wrong(x[start:stop], t.y[start:stop])
        for words, (i, j) in others.items():
            inside = (i >= start) & (i < stop)
            remaining = share_wrong(x[i[inside]], t.y[j[inside]])
            if wrong_here and remaining is not None and remaining < wrong_here / 4:
                yield found("shifted-labels", f"{seen}; {words} it is {remaining:.0%}")
                return
    generator = np.random.default_rng(0)
    # Labels are shuffled within each batch.
    orders = [np.lexsort((generator.random(len(t)), t.batches)) for _ in range(12)]
    shuffled = [share_wrong(x, t.y[order]) for order in orders]
    usual, spread = float(np.mean(shuffled)), float(np.std(shuffled))
    if spread <= usual / 20 and wrong > 0.9 * usual:
        why = f"{seen}; with shuffled labels it is {usual:.0%}"
        sure = "certain" if usual - wrong < _SURE * spread else "likely"
        yield found("contradicting-labels", why, sure)
        return
    # Noise and chance give an input many labels, two rules give it two, or one in each half.
    often = [sorted(labels.values()) for labels in labels_of(x, t.y).values() if labels.total() > 5]
    are_two = [
        len(counts) > 1 and sum(counts[-2:]) >= 0.95 * sum(counts) and counts[-2] >= sum(counts) / 5
        for counts in often
    ]
    half = len(t) // 2
    halves = [share_wrong(x[part], t.y[part]) for part in (slice(half), slice(half, None))]
    is_split = all(share is not None and share < wrong / 4 for share in halves)
    if is_split or (len(t.names) > 2 and len(often) >= MIN_ROWS and np.mean(are_two) >= 0.5):
        why = "each half agrees with itself" if is_split else "most such inputs have two labels"
        yield found("contradicting-labels", f"{seen}; {why}", "likely")


def _other_pairs(t: Rows) -> dict[str, Pairs]:
    """Other ways to pair input i with label j, in words, without those that copy tokens."""
    place = np.arange(len(t))
    pairs = {}
    for shift, words in SHIFTS.items():
        inside = (place + shift >= 0) & (place + shift < len(t))
        pairs[words] = (place[inside], place[inside] + shift)
    if t.is_batched:
        starts = np.unique(t.batches, return_index=True)[1]
        turned = np.concatenate([part[::-1] for part in np.split(place, starts[1:])])
        pairs["with the labels of each batch turned round"] = (place, turned)
    if t.is_all:
        pairs["with all labels turned round"] = (place, place[::-1])
    return {words: (i, j) for words, (i, j) in pairs.items() if not _copies(t, i, j)}


def _copies(t: Rows, i: np.ndarray, j: np.ndarray) -> bool:
    """True if label j is a token at one place of input i, as in windows of a running text."""
    rows, labels = [t.inputs[k] for k in i.tolist()], [t.labels[k] for k in j.tolist()]
    hits = Counter()  # by place from the front, and below 0 from the end
    for row, label in zip(rows, labels, strict=True):
        hits.update(at for at, token in enumerate(row[:16]) if token == label)
        hits.update(-at for at, token in enumerate(row[:-17:-1], 1) if token == label)
    return max(hits.values(), default=0) >= 0.95 * len(rows)


def check_steps(t: Rows) -> Iterator[Finding]:
    """Where each step has a label, its own token must tell it if the one beside it does."""
    skills = {}
    for shift in (0, 1, -1) if t.is_tagged else ():
        pairs = (
            (row[at], labels[at + shift])
            for row, labels in zip(t.inputs, t.targets, strict=True)
            for at in range(max(0, -shift), len(row) - max(0, shift))
            if labels[at + shift] != -100  # cross_entropy passes over it
        )
        if len(first := [*islice(pairs, _MAX_STEPS)]) < 4 * MIN_REPEATED:
            return
        tokens, labels = zip(*first, strict=True)
        y = numbered(labels)
        share, rule = _told(tokens, y)
        usual = np.bincount(y).max() / len(y)
        # A label that one token tells is that token, as where the next one is predicted.
        many = np.median([*Counter(rule.values()).values()])
        skills[shift] = (share - usual) / (1 - usual) if usual < 1 < many else 0.0
    best = max(skills, key=skills.get, default=0)
    if best and skills[best] >= 0.6 and skills[0] < skills[best] / 2:
        seen = f"beyond the most frequent label, tokens tell {max(0, skills[0]):.0%} of their own, "
        yield found("shifted-labels", f"{seen}but {skills[best]:.0%} {SHIFTS[best]}", "likely")


# ---- naive Bayes ----


def bag_of(inputs: Sequence[Row]) -> Pairs:
    """Each row and token in it, as numbers, (M,) and (M,)."""
    sets = [{*row} for row in inputs]
    rows = np.repeat(np.arange(len(sets)), [*map(len, sets)])
    return rows, numbered(chain.from_iterable(sets))


def naive_bayes(bag: Pairs, y: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """The class of every row by naive Bayes, learned from the rows that are known, (N,)."""
    (rows, tokens), known = bag, is_known[bag[0]]
    counts = np.full((tokens.max(initial=0) + 1, y.max() + 1), 0.5)  # (V, C)
    np.add.at(counts, (tokens[known], y[rows[known]]), 1)
    scores = np.log(np.bincount(y[is_known], minlength=y.max() + 1) + 0.5) + np.zeros((len(y), 1))
    np.add.at(scores, rows, np.log(counts / counts.sum(0))[tokens])
    return scores.argmax(1)


def skill_of(bag: Pairs, i: np.ndarray, labels: np.ndarray) -> float | None:
    """How far naive Bayes gets on held-out rows among i: 0 is the majority's share, 1 is all."""
    if len(i) < 4 * MIN_REPEATED or len(bag[0]) * (labels.max() + 1) > _MAX_SCORES:
        return None
    y = np.zeros(max(i.max(), bag[0].max(initial=0)) + 1, np.int64)  # (N,)
    is_known = np.zeros(len(y), bool)
    y[i], is_known[i[::2]] = labels, True
    right = (naive_bayes(bag, y, is_known) == y)[i[1::2]].mean()
    usual = np.bincount(y[i[1::2]]).max() / len(i[1::2])
    return (right - usual) / (1 - usual) if usual < 1 else None


# ---- what gives the label away ----


def check_leaks(t: Rows) -> Iterator[Finding]:
    """A token, a place or the length that tells the label alone, a number that is the target."""
    number = len(t)
    if "steps" in t.label_kinds and [*map(tuple, t.targets)] == t.padded:
        yield found("leaking-input", "the targets of all rows equal the inputs", "likely")
    for copies in t.copies.values():
        back, *features = np.unravel_index(copies.argmax(), copies.shape)
        if copies.max() >= 0.99 * number >= MIN_ROWS and len({*t.targets}) > 10:
            place = ", ".join(map(str, (-1 - back, *features)))
            seen = f"in {copies.max():,} of {number:,} rows the target is the number in x[{place}]"
            yield found("leaking-position", seen, "likely")
    if not t.has_classes or number < 2 * MIN_ROWS or not 1 < len(t.names) <= number / 10:
        return
    share, rule = _told(t.num_steps, t.y)
    if share >= 0.95 and share - t.majority >= 0.1:
        in_order = [label for label, _ in groupby(rule[length] for length in sorted(rule))]
        is_counted = len(in_order) != len({*in_order}) or 4 <= len(rule) == len({*in_order})
        seen = f"the length alone tells {share:.1%} of the labels"
        yield found("leaking-length", seen, "possible" if is_counted else "likely")
    if not t.has_tokens or np.median(t.num_steps) < 3:
        return
    for at in (0, 1, -1, -2):
        here = [row[at] if len(row) > 2 else None for row in t.inputs]
        share, rule = _told(here, t.y)
        if len(rule) <= number / 10 and share >= 0.99 and t.majority < 0.9:
            seen = f"the token at place {at} alone tells {share:.1%} of the labels"
            yield found("leaking-position", seen, "possible")
    (rows, tokens), sizes = bag_of(t.inputs), np.bincount(t.y)  # (M,), (M,), (C,)
    if (tokens.max() + 1) * len(sizes) <= _MAX_SCORES:
        inside = np.zeros((tokens.max() + 1, len(sizes)))  # (V, C)
        np.add.at(inside, (tokens, t.y[rows]), 1)
        outside = inside.sum(1, keepdims=True) - inside
        is_mark = (inside >= 0.95 * sizes) & (outside <= 0.005 * (number - sizes))
        is_mark &= (sizes >= MIN_ROWS) & (number - sizes >= MIN_ROWS)
        for token, label in np.argwhere(is_mark)[:1].tolist():
            name = [*dict.fromkeys(v for row in t.inputs for v in {*row})][token]
            seen = f"{name!r} is in {inside[token, label]:,.0f} of {sizes[label]:,} rows of class "
            seen += f"{t.names[label]!r}, and in {outside[token, label]:.0f} others"
            yield found("leaking-token", seen, "likely")


def _told(keys: Sequence[Hashable], y: np.ndarray) -> tuple[float, dict[Hashable, int]]:
    """The share of held-out labels that the most frequent one of each key tells, and this rule."""
    learned = labels_of(keys[::2], y[::2])
    rule = {key: labels.most_common(1)[0][0] for key, labels in learned.items()}
    return float(np.mean([rule.get(key, -1) for key in keys[1::2]] == y[1::2])), rule
