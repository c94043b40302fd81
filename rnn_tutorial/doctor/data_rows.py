"""The rows that a loader or a label file gives, read once, in the order in which they come.

Shapes: N rows of a batch, T steps with padding, F features of a step, C classes.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_tutorial.data.examples import Examples

NUM_ROWS = 4096  # of a loader, which may be endless; compared at each distance in some 50 ms
_NUM_STEPS = 2**20  # in all of them


@dataclass
class Rows:
    """Labelled rows, and what was noticed of their form.

    Args:
        name: "training" or "evaluation".
        is_file: they are the lines of a label file, which training shuffles.
        inputs: a tuple of tokens for each row, padding included; a step of features is its bytes.
        lengths: number of steps that count.
        labels: a class for each row; a tuple if each step has a label.
        batches: the number of the batch of each row.
        input_kinds: "int", "bool", "whole" and "real" (floats), "text", "features", "turned".
        label_kinds: the same, and "int32", "column" (N, 1), "one-hot", "steps".
        not_finite: what has NaN or infinite values.
        mismatch: shapes that do not fit each other, in words.
        has_lengths, is_batched, is_all: they were given; in batches; to the end.
        promised: number of rows that len() tells, or None.
    """

    name: str
    is_file: bool = False
    inputs: list[tuple[Hashable, ...]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    labels: list[Hashable] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    input_kinds: set[str] = field(default_factory=set)
    label_kinds: set[str] = field(default_factory=set)
    not_finite: set[str] = field(default_factory=set)
    mismatch: str = ""
    has_lengths: bool = True
    is_batched: bool = False
    is_all: bool = True
    promised: int | None = None


def is_label_file(path: str) -> bool:
    """True for a file that ends in .tsv or .txt, or that begins with a line `label<TAB>tokens`."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        first = file.readline(2**16)
    return Path(path).suffix in {".tsv", ".txt"} or (b"\t" in first and b"\0" not in first)


def read_rows(data: Examples | Iterable[Any], name: str) -> Rows:
    """The first rows of data; ValueError if it has none, gives something else, or fails."""
    if isinstance(data, Examples):
        inputs = [*map(tuple, data.tokens)]
        lengths, labels, places = [*map(len, inputs)], list(data.labels), [*range(len(inputs))]
        return Rows(name, True, inputs, lengths, labels, places, {"text"}, promised=len(inputs))
    rows, steps = Rows(name), 0
    with contextlib.suppress(TypeError, ValueError, AttributeError, NotImplementedError):
        rows.promised = len(getattr(data, "dataset", data))
    for number, item in enumerate(_items(data, name)):
        before = len(rows.inputs)
        if before >= NUM_ROWS or steps >= _NUM_STEPS:
            rows.is_all = False
            break
        try:
            _add(rows, item, number)
        except (TypeError, ValueError, AttributeError, IndexError):
            raise ValueError(
                f"the {name} data give {type(item).__name__} {str(item)[:60]!r}; allowed are "
                "(x, lengths, targets) and (x, targets), of one row or of a batch, with x of "
                "shape (N, T) or (N, T, F)"
            ) from None
        steps += sum(map(len, rows.inputs[before:]))
    if not (rows.inputs or rows.mismatch):
        raise ValueError(f"the {name} data are empty; at least one row is needed")
    if rows.is_batched and not hasattr(data, "dataset"):
        rows.promised = len(rows.inputs) if rows.promised else None  # it was the number of batches
    if "whole" in rows.input_kinds and not rows.input_kinds & {"real", "features"}:
        rows.inputs = [tuple(map(int, row)) for row in rows.inputs]
    return rows


def _items(data: Iterable[Any], name: str) -> Iterator[Any]:
    """What data gives; an error of the user's code becomes one sentence."""
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(
            f"the {name} data are of type {type(data).__name__}; allowed is what a for loop takes"
        )
    try:
        if not hasattr(data, "__iter__") and hasattr(data, "__len__"):
            yield from (data[i] for i in range(len(data)))  # it may never raise IndexError
        else:
            yield from data
    except Exception as error:  # whatever the user's code raises
        raise ValueError(f"the {name} data raise {describe_error(error)}") from None


def describe_error(error: Exception) -> str:
    """An error of the user's code in one line: exception, message, file and line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    message = lines[0]
    if "Original Traceback" in str(error):  # of a worker, as a text
        quoted = [line.split('"') for line in lines if line.lstrip().startswith('File "')]
        places += [(file, rest.split(",")[1].split()[-1]) for _, file, rest in quoted]
        message = lines[-1].partition(": ")[2]
    house = str(Path(__file__).parent.parent)
    own = [p for p in places if "site-packages" not in p[0] and not p[0].startswith((house, "<"))]
    where = f" ({own[-1][0]}, line {own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {message}{where}"


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
    lengths = _array(item[1]) if len(item) == 3 else None
    holds_rows = isinstance(x, list) or x.ndim > (x.dtype.kind != "U")
    is_batch = holds_rows and targets.ndim > 0 and (lengths is None or lengths.ndim > 0)
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
    if isinstance(x, np.ndarray) and x.ndim == 3 and np.isin(x, (0, 1)).all():
        rows.input_kinds |= {"turned"} if x.sum(-1).max() > 1 == x.sum(1).max() else set()
    for row in map(np.asarray, x):
        if row.ndim == 0 and row.dtype.kind != "U":
            raise ValueError  # a number is no sequence
        kind = "features" if row.ndim > 1 else _kind(row)
        rows.input_kinds.add(kind)
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            rows.not_finite.add("inputs")
        steps = row.tolist() if row.ndim else str(row).split()
        rows.inputs.append(tuple(v.tobytes() for v in row) if kind == "features" else tuple(steps))
    rows.labels += _labels(rows, targets, len(rows.inputs[-1]))
    rows.batches += [number] * len(targets)
    ends = [len(row) for row in rows.inputs[-len(targets) :]] if lengths is None else lengths
    rows.lengths += [int(length) for length in ends]


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
        rows.label_kinds.add("steps")
        return [tuple(row.ravel().tolist()) for row in targets]
    rows.label_kinds |= {kind, "column"} if targets.ndim > 1 else {kind}
    return targets.ravel().tolist()
