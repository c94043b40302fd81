"""Pairs of a source and a target, from texts to batches.

    535+61<TAB>596                 units: characters
    guten Tag<TAB>good day         units: words, or characters

Shapes: N pairs, S units of the longest source, T units of the longest target and its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.gallery.corpus import read_text
from rnn_tutorial.runs.files import given_by

SPLIT = {"characters": list, "words": str.split}  # a text into its units
END = 0  # ends a target; the decoder also reads it first. In a source: padding, or a unit unknown
IGNORED = -100  # the target at padding; cross_entropy passes over it
MAX_UNITS = 1000  # of a source or a target
_HELD_OUT_SHARE = 0.1
SUMS_STREAM, BATCH_STREAM, SPLIT_STREAM = range(3)  # of random numbers of one seed


@dataclass(frozen=True)
class Pairs:
    """Sources and their targets, each as typed; equally many."""

    sources: list[str]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.sources)

    def __add__(self, others: Pairs) -> Pairs:
        return Pairs(self.sources + others.sources, self.targets + others.targets)

    def take(self, indices: Iterable[int]) -> Pairs:
        """The pairs at these indices."""
        kept = list(indices)
        return Pairs([self.sources[i] for i in kept], [self.targets[i] for i in kept])

    def parts(self, size: int = 1000) -> Iterator[Pairs]:
        """All of them in their order, so many at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Pairs(self.sources[part], self.targets[part])

    def ambiguous_sources(self) -> list[str]:
        """The sources that have more than one target, in their order."""
        targets: dict[str, set[str]] = {}
        for source, target in zip(self.sources, self.targets, strict=True):
            targets.setdefault(source, set()).add(target)
        return [source for source, different in targets.items() if len(different) > 1]

    def fingerprint(self) -> str:
        """SHA-256 over all of them."""
        lines = "\n".join(map("\t".join, zip(self.sources, self.targets, strict=True)))
        return hashlib.sha256(lines.encode()).hexdigest()


class Units:
    """The characters or words of one side, with the ids 1, 2, …; END is 0.

    Args:
        names: of the units, those with the ids 1, 2, …
        kind: "characters" or "words".
        is_reversed: texts are read and written from their last unit on.
    """

    def __init__(self, names: Sequence[str], kind: str, is_reversed: bool = False) -> None:
        self.names, self.kind = list(names), kind
        self._order = slice(None, None, -1 if is_reversed else 1)
        self._ids = {name: i for i, name in enumerate(self.names, start=1)}

    @classmethod
    def of(cls, texts: Iterable[str], kind: str) -> Units:
        """All units that occur in texts, in their order."""
        return cls(sorted(set(chain.from_iterable(map(SPLIT[kind], texts)))), kind)

    def __len__(self) -> int:
        """How many ids there are, END included."""
        return len(self.names) + 1

    def split(self, text: str) -> list[str]:
        """The units of a text, in the order in which they are read and written."""
        return SPLIT[self.kind](text)[self._order]

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids, int64, (N, S), each row padded with END, and the units of each row, int64, (N,)."""
        rows = [[self._ids.get(unit, END) for unit in self.split(text)] for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        return torch.tensor([row + [END] * (longest - len(row)) for row in rows]), lengths

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, up to the first END."""
        ids = list(ids)
        names = [self.names[i - 1] for i in ids[: ids.index(END) if END in ids else None]]
        return ("" if self.kind == "characters" else " ").join(names[self._order])


def read_pairs(path: str, units: str) -> Pairs:
    """The pairs in a file of lines source<TAB>target; empty lines are passed over.

    Raises:
        ValueError: the file cannot be read, or a line is malformed or too long, or there are fewer
            than two different sources; names the line.
    """
    pairs = Pairs([], [])
    with given_by("--pairs_file"):
        text = read_text(Path(path))
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"--pairs_file {path!r}, line {number}"
        source, _, target = (part.strip() for part in line.partition("\t"))
        if units == "words":
            source, target = (" ".join(side.split()) for side in (source, target))
        if line.count("\t") != 1 or not source or not target:
            raise ValueError(f"{where}: expected source<TAB>target, neither of them empty")
        if (longest := max(len(SPLIT[units](side)) for side in (source, target))) > MAX_UNITS:
            raise ValueError(f"{where}: {longest:,} {units}; at most {MAX_UNITS:,} are allowed")
        pairs.sources.append(source)
        pairs.targets.append(target)
    if (num_sources := len(set(pairs.sources))) < 2:
        raise ValueError(
            f"--pairs_file {path!r} has {num_sources} different sources; at least 2 are needed"
        )
    return pairs


def hold_out(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """The pairs to train on, and those of a tenth of the sources, at least one, held out.

    So no source that is held out is also trained, however often the file repeats it.
    """
    sources = list(dict.fromkeys(pairs.sources))
    order = np.random.default_rng([seed, SPLIT_STREAM]).permutation(len(sources))
    count = max(1, int(len(sources) * _HELD_OUT_SHARE))
    held_out = {sources[i] for i in order[:count]}
    is_held_out = [source in held_out for source in pairs.sources]
    return (
        pairs.take(i for i, held in enumerate(is_held_out) if not held),
        pairs.take(i for i, held in enumerate(is_held_out) if held),
    )


def describe_pairs(trained: Pairs, held_out: Pairs, kind: str) -> dict[str, Any]:
    """What a checkpoint records of its pairs: the units of both sides, the longest, a hash."""
    pairs = trained + held_out
    source_units, target_units = (Units.of(side, kind) for side in (pairs.sources, pairs.targets))
    return {
        "source_units": source_units.names,
        "target_units": target_units.names,
        "longest_target": max(len(target_units.split(text)) for text in pairs.targets),
        "fingerprint": pairs.fingerprint(),
    }


@dataclass(frozen=True)
class Batch:
    """Pairs as tensors.

    Args:
        source: ids, int64, (N, S).
        lengths: of the sources, int64, (N,).
        target: ids, int64, (N, T); END after the last unit, IGNORED after that.
        is_taught: whose decoder reads the right units; the others' read their own, bool, (N,).
    """

    source: Tensor
    lengths: Tensor
    target: Tensor
    is_taught: Tensor

    @classmethod
    def of(cls, pairs: Pairs, source_units: Units, target_units: Units) -> Batch:
        """All of these pairs."""
        source, lengths = source_units.encode(pairs.sources)
        target, target_lengths = target_units.encode(pairs.targets)
        target = torch.cat([target, torch.full((len(pairs), 1), END)], dim=1)
        is_after = torch.arange(target.shape[1]) > target_lengths[:, None]
        is_taught = torch.ones(len(pairs), dtype=torch.bool)
        return cls(source, lengths, target.masked_fill(is_after, IGNORED), is_taught)

    def draw(self, seed: int, step: int, size: int, teacher_forcing: float) -> Batch:
        """Some of them, drawn with replacement: a function of seed and step.

        Args:
            seed: of the run.
            step: number of the batch.
            size: N.
            teacher_forcing: probability that a sequence is taught.
        """
        generator = np.random.default_rng([seed, BATCH_STREAM, step])
        rows = torch.from_numpy(generator.integers(len(self.source), size=size))
        is_taught = torch.from_numpy(generator.random(size) < teacher_forcing)
        is_taught = is_taught.to(self.is_taught.device)
        lengths = self.lengths[rows]
        source = self.source[rows, : lengths.max()]
        return Batch(source, lengths, self.target[rows], is_taught)

    def to(self, device: str) -> Batch:
        """The same on a device; the lengths stay on the CPU, where packing needs them."""
        source, target, is_taught = self.source, self.target, self.is_taught
        return Batch(source.to(device), self.lengths, target.to(device), is_taught.to(device))
