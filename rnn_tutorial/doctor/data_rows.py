"""Labelled rows of a loader or a file, read once, in the order in which they come.

Shapes: N rows, T steps with padding, F features of a step, C classes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from rnn_tutorial.data.examples import Examples, read_examples
from rnn_tutorial.doctor.findings import user_error

NUM_ROWS = 4096  # of a loader, which may be endless; compared at each distance in some 50 ms
MIN_ROWS = 20  # below which nothing is said about frequencies
LARGE_MAJORITY = 0.9  # of the rows; accuracy tells little of a network beside such a class
MIN_REPEATED = 50  # rows of repeated inputs below which nothing is said about their labels
_NUM_STEPS = 2**20  # in all rows
_LAST = 256  # steps of a row that are compared with its target
_TEXTS = {".tsv", ".txt", ".csv"}
Row = tuple[Hashable, ...]


@dataclass
class Rows:
    """Labelled rows, what was noticed of their form, and the facts that several checks need."""

    name: str  # "training" or "evaluation"
    vocab_size: int | None = None  # number of tokens, or None if nobody knows
    padding_id: int | None = None  # stands behind the end of a row, or None
    is_file: bool = False  # they are the lines of a label file, which training shuffles
    padded: list[Row] = field(default_factory=list)  # a step of features is its bytes
    lengths: list[int] = field(default_factory=list)  # number of steps that count
    targets: list[Hashable] = field(default_factory=list)  # tuples if each step has a label
    batches: list[int] = field(default_factory=list)  # the number of the batch of each row, or 0
    # "int", "bool", "whole" and "real" (floats), "text"; of inputs also "features", "turned"; of
    # labels also "int32", "column" (N, 1), "one-hot", "steps"
    input_kinds: set[str] = field(default_factory=set)
    label_kinds: set[str] = field(default_factory=set)
    not_finite: set[str] = field(default_factory=set)  # what has NaN or infinite values
    sizes: list[float] = field(default_factory=list)  # mean size of the numbers in each row
    # Of real inputs: in how many rows the target equals the number at a step, counted from the end,
    # and of a feature, (_LAST, …), by the shape of a step.
    copies: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)
    mismatch: str = ""  # shapes that do not fit each other, in words
    has_lengths: bool = True  # they were given
    inverted: set[int] = field(default_factory=set)  # lengths by masks that are 1 on padding alone
    is_upright: bool = False  # a mask is 1 on different values
    is_batched: bool = False
    gives: str = "either"  # or "rows" (a data set) or "batches" (a loader); lists give either
    is_all: bool = True  # the data were read to the end
    promised: int = 0  # number of rows that len() tells

    def __len__(self) -> int:
        return len(self.padded)

    def gather(self) -> Rows:
        """Set what follows from the rows, once all are read."""
        if not self.is_batched:
            self.batches = [0] * len(self)
        self.has_tokens = not self.input_kinds & {"real", "features"}
        self.has_classes = not self.label_kinds & {"real", "steps"}
        if self.has_tokens and "whole" in self.input_kinds and "inputs" not in self.not_finite:
            self.padded = [tuple(map(int, row)) for row in self.padded]
        if "steps" in self.label_kinds:  # a row of one step has one label
            self.label_kinds &= {"steps", "real"}  # one of several marks looks like one-hot
            self.targets = [y if isinstance(y, tuple) else (y,) for y in self.targets]
        pairs = zip(self.padded, self.lengths, strict=True)
        self.read = [row[: max(0, n)] for row, n in pairs]  # what the network reads of each row
        self.padding, self.tails = self._find_padding(self.padded)
        self.padding_in_front, self.heads = self._find_padding([row[::-1] for row in self.padded])
        self.padded_side = ""  # or the only one that is padded
        if bool(self.heads) != bool(self.tails):
            self.padded_side = "in front" if self.heads else "behind"
        # Numbers so fine that two that are equal have one source.
        is_fine = len({*chain.from_iterable(self.read)}) > len(self) / 2
        self.is_continuous = not self.has_tokens and is_fine
        pairs = zip(self.padded, self.lengths, strict=True)
        self.fillers = {value for row, n in pairs for value in row[max(0, n) :]}  # behind the ends
        if self.tails and not self.has_lengths:
            self.fillers = {self.padding}
        pairs = zip(self.padded, self.targets, strict=True)
        is_tagged = self.has_tokens and self.label_kinds == {"steps"}
        self.is_tagged = is_tagged and all(len(row) == len(y) for row, y in pairs)
        self.inputs = self.read  # without padding that nobody told the network of
        if self.tails and not self.has_lengths:
            pairs = zip(self.read, self.tails, strict=True)
            self.inputs = [row[: len(row) - tail] for row, tail in pairs]
        self.x = numbered(self.inputs)  # equal inputs have one number, (N,)
        self.firsts = np.unique(self.x, return_index=True)[1]  # the first row of each input
        self.times = Counter(self.inputs)
        self.num_of_length = Counter(map(len, self.inputs))
        self.tokens = Counter(chain.from_iterable(self.inputs))
        is_whole = self.has_classes and "whole" in self.label_kinds and not self.not_finite
        self.labels = [*map(int, self.targets)] if is_whole else self.targets
        self.counts = Counter(self.labels)  # of each class, in the order in which they come
        self.names, self.y = list(self.counts), numbered(self.labels)  # y: places in names, (N,)
        self.majority = max(self.counts.values()) / len(self)
        return self

    def num_shared(self, other: Rows) -> int:
        """How many of these rows have an input that occurs in the other rows, too."""
        return sum(row in other.times for row in self.inputs)

    def _find_padding(self, rows: Sequence[Row]) -> tuple[Hashable, list[int]]:
        """The value that ends rows of one size, and how often it does; (None, []) if none does.

        Chance ends a row with two equal tokens too; padding does so more often, and its length
        varies.
        """
        sizes = {*zip(self.batches, map(len, rows), strict=True)}
        is_even = len(sizes) == len({*self.batches}) and min(map(len, rows)) > 0
        if not is_even or len({*rows}) < MIN_REPEATED:
            return None, []
        value = self.padding_id
        if value is None:
            value = Counter(row[-1] for row in rows).most_common(1)[0][0]
        tails = [sum(1 for _ in takewhile(value.__eq__, reversed(row))) for row in rows]
        inside = sum(map(len, rows)) - sum(tails)
        usual = (sum(row.count(value) for row in rows) - sum(tails)) / max(1, inside)
        long = sum(tail > 1 for tail in tails) / len(tails)
        whole = sum(tail == len(row) for tail, row in zip(tails, rows, strict=True)) / len(tails)
        is_varied = len({*tails} - {0}) > 1 and whole < 0.5
        is_padding = is_varied and long >= 0.1 and long >= 5 * usual**2
        return (value, tails) if is_padding else (None, [])


def numbered(things: Iterable[Hashable]) -> np.ndarray:
    """Numbers for things, in the order in which they first come, int64, (N,)."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(thing, len(numbers)) for thing in things], np.int64)


def is_label_file(path: str) -> bool:
    """True for a name that ends as texts do, or a file that begins with a line label<TAB>tokens."""
    if Path(path).suffix in _TEXTS and not Path(path).is_dir():
        return True
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        first = file.readline(2**16)
    return b"\t" in first and b"\0" not in first


def read_rows(data: Path | Examples | Iterable[Any], rows: Rows) -> Rows:
    """Fill in the first rows of data; ValueError if it has none, gives something else, or fails."""
    name, steps = rows.name, 0
    if isinstance(data, Path):
        data = read_examples(str(data), name)
    if isinstance(data, Examples):
        rows.padded, rows.targets, rows.is_file = [*map(tuple, data.tokens)], data.labels, True
        rows.lengths, rows.input_kinds = [*map(len, rows.padded)], {"text"}
        rows.promised = len(data)
        return rows.gather()
    with contextlib.suppress(TypeError, ValueError, AttributeError, NotImplementedError):
        rows.promised = len(getattr(data, "dataset", data))
    if getattr(data, "batch_sampler", None) is not None:
        rows.gives = "batches"
    elif isinstance(data, Dataset) and not hasattr(data, "__iter__"):
        rows.gives = "rows"
    for number, item in enumerate(_items(data, name)):
        before = len(rows)
        if before >= NUM_ROWS or steps >= _NUM_STEPS:
            rows.is_all = False
            break
        try:
            _add(rows, item, number)
        except (TypeError, ValueError, AttributeError, IndexError):
            raise ValueError(
                f"the {name} data give {_shown(item)}; allowed are (x, targets), (x, lengths, "
                "targets) and (x, mask, targets), of one row or of a batch, with x of shape (N, T) "
                "or (N, T, F)"
            ) from None
        steps += sum(map(len, rows.padded[before:]))
    if not (rows.padded or rows.mismatch):
        raise ValueError(f"the {name} data are empty; at least one row is needed")
    if rows.is_batched and not hasattr(data, "dataset"):
        rows.promised = len(rows) if rows.promised else 0  # it was the number of batches
    return rows if rows.mismatch else rows.gather()


def _items(data: Iterable[Any], name: str) -> Iterator[Any]:
    """What data gives; an error of the user's code becomes one sentence."""
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(
            f"the {name} data are of type {type(data).__name__}, which a for loop cannot go through"
        )
    try:
        if not hasattr(data, "__iter__") and hasattr(data, "__len__"):
            yield from (data[i] for i in range(len(data)))  # it may never raise IndexError
        else:
            yield from data
    except Exception as error:  # whatever the user's code raises
        raise user_error(error) from None


def _shown(item: Any) -> str:
    """What the user's data give, in words: the types of its parts and their shapes."""
    if isinstance(item, list | tuple) and 0 < len(item) <= 6:
        return f"({', '.join(map(_shown, item))})"
    if isinstance(item, dict):
        return f"a dict with {', '.join(map(repr, item))}"
    shape = f" of shape {tuple(item.shape)}" if hasattr(item, "shape") else f" {str(item)[:40]!r}"
    return type(item).__name__ + shape


def _array(value: Any) -> Any:
    """A tensor, array, number, text or even list as an array; rows of unequal lengths as a list."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value if value.dtype != torch.bfloat16 else value.float()).numpy()
    if isinstance(value, list | tuple):
        value = [_array(part) for part in value]
        if len({part.shape if hasattr(part, "shape") else None for part in value}) > 1:
            return value
    return np.asarray(value)


def _kind(values: np.ndarray) -> str:
    if values.dtype.kind == "f":
        is_whole = np.all(np.mod(values[np.isfinite(values)], 1) == 0)
        return "whole" if is_whole else "real"
    return {"i": "int", "u": "int", "b": "bool"}.get(values.dtype.kind, "text")


def _add(rows: Rows, item: Any, number: int) -> None:
    """Append the row, or the rows of the batch, that an item is."""
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise ValueError
    x, targets = _array(item[0]), _array(item[-1])
    if not np.size(targets):
        raise ValueError  # a row has no target
    lengths = _array(item[1]) if len(item) == 3 else None
    is_batch = _is_batch(x, lengths, targets, rows.gives)
    if lengths is not None and lengths.ndim == 1 + is_batch:  # a mask
        mask = lengths != 0
        if getattr(x, "shape", ())[: mask.ndim] == mask.shape:
            marked, others = (np.unique(x[part]).size for part in (mask, ~mask))
            rows.is_upright |= marked > 1
            if marked == 1 < others and np.diff(mask).sum(-1).max() < 2:
                mask = ~mask
                rows.inverted |= {*mask.sum(-1).ravel().tolist()}
        is_first, is_last = (bool(mask[..., at].all()) for at in (0, -1))
        lengths = (mask if is_first or is_last else ~mask).sum(-1)
        lengths = lengths if is_first or not is_last else None  # the padding stands in front
    if not is_batch:
        x, targets = [x], targets[None]
        lengths = lengths if lengths is None else lengths[None]
    rows.is_batched |= is_batch
    rows.has_lengths = lengths is not None
    if len({len(part) for part in (x, targets, lengths) if part is not None}) > 1:
        shapes = f"{len(x)} rows" if isinstance(x, list) else f"shape {x.shape}"
        seen = f"batch {number + 1} has inputs of {shapes}, {len(targets)} targets"
        seen += f", {len(lengths)} lengths" if lengths is not None else ""
        is_turned = isinstance(x, np.ndarray) and x.shape[1:2] == targets.shape[:1]
        rows.mismatch = rows.mismatch or seen + "; it seems that time comes first" * is_turned
        return
    is_one_hot = isinstance(x, np.ndarray) and x.ndim == 3 and np.isin(x, (0, 1)).all()
    if is_one_hot and x.sum(-1).max() > 1 == x.sum(1).max():
        rows.input_kinds.add("turned")
    for row, target in zip(map(np.asarray, x), targets, strict=True):
        if row.ndim == 0 and row.dtype.kind != "U":
            raise ValueError  # a number is no sequence
        kind = "features" if row.ndim > 1 else _kind(row)
        rows.input_kinds.add(kind)
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            rows.not_finite.add("inputs")
        elif kind in ("features", "real"):
            rows.sizes.append(float(np.abs(row.astype(float)).mean()))
            if np.size(target) == 1 and target.dtype.kind in "fiu":
                zeros = np.zeros((_LAST, *row.shape[1:]), np.int64)
                copies = rows.copies.setdefault(row.shape[1:], zeros)
                copies[: len(row)] += row[: -_LAST - 1 : -1] == target.ravel()[0].astype(row.dtype)
        steps = row.tolist() if row.ndim else str(row).split()
        rows.padded.append(tuple(v.tobytes() for v in row) if kind == "features" else tuple(steps))
    rows.targets += _labels(rows, targets, len(rows.padded[-1]))
    rows.batches += [number] * len(targets)
    ends = [len(row) for row in rows.padded[-len(targets) :]] if lengths is None else lengths
    rows.lengths += [int(length) for length in ends]


def _is_batch(x: Any, lengths: Any, targets: np.ndarray, gives: str) -> bool:
    """Whether x holds rows; steps of features are one row, whose targets may be several."""
    if targets.ndim == 0 or not (isinstance(x, list) or x.ndim > (x.dtype.kind != "U")):
        return False
    if lengths is not None and lengths.ndim != 1:
        return lengths.ndim > 1
    if lengths is None and targets.shape == (1,) != np.shape(x)[:1]:
        return False
    is_counted = lengths is not None and lengths.max(initial=0) > 1  # no mask
    if isinstance(x, list) or gives == "batches" or is_counted:
        return True
    is_pair = len(x) == len(targets)
    if gives == "rows":  # unless the set holds whole batches
        return is_pair and (x.ndim > 2 or (x.ndim == 2 > targets.ndim and x.dtype.kind in "iu"))
    return x.ndim != 2 or x.dtype.kind != "f" or (is_pair and x.shape[1] > 1)


def _labels(rows: Rows, targets: np.ndarray, num_steps: int) -> list[Hashable]:
    """The labels of a batch: numbers or names, or a tuple for each row if its steps have labels."""
    kind = "int32" if targets.dtype == np.int32 else _kind(targets)
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        rows.not_finite.add("targets")
    if targets.ndim > 1 and targets.shape[1] > 1:
        is_mark = np.isin(targets, (0, 1)).all() and (targets.sum(-1) == 1).all()
        if is_mark and (targets.shape[1:] != (num_steps,) or kind != "int"):
            rows.label_kinds |= {"one-hot", kind}
            return targets.argmax(1).tolist()
        rows.label_kinds |= {"steps"} | ({kind} & {"real"})
        return [tuple(row.ravel().tolist()) for row in targets]
    rows.label_kinds |= {kind, "column"} if targets.ndim > 1 else {kind}
    return targets.ravel().tolist()
