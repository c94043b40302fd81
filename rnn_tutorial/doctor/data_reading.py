"""Labelled rows as a loader gives them or a file holds them, whatever their form.

Shapes: N rows, T steps with padding, F features of a step, C classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from rnn_tutorial.data.examples import Examples, read_examples
from rnn_tutorial.doctor.data_rows import LAST, NUM_ROWS, Rows
from rnn_tutorial.doctor.findings import user_error

_NUM_STEPS = 2**20  # in all rows
_TEXTS = {".tsv", ".txt", ".csv"}


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
    except (Exception, SystemExit) as error:  # whatever the user's code raises
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
    if lengths is not None and lengths.ndim == 1 + is_batch:
        lengths = _lengths_of_mask(rows, x, lengths != 0)
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
    _add_inputs(rows, x, targets)
    rows.targets += _labels(rows, targets, len(rows.padded[-1]))
    rows.batches += [number] * len(targets)
    ends = [len(row) for row in rows.padded[-len(targets) :]] if lengths is None else lengths
    rows.lengths += [int(length) for length in ends]


def _lengths_of_mask(rows: Rows, x: Any, mask: np.ndarray) -> np.ndarray | None:
    """The lengths that a mask says, whichever way round it is; None if padding stands in front."""
    if getattr(x, "shape", ())[: mask.ndim] == mask.shape:
        marked, others = (np.unique(x[part]).size for part in (mask, ~mask))
        rows.is_upright |= marked > 1
        if marked == 1 < others and np.diff(mask).sum(-1).max() < 2:
            mask = ~mask
            rows.inverted |= {*mask.sum(-1).ravel().tolist()}
    is_first, is_last = (bool(mask[..., at].all()) for at in (0, -1))
    lengths = (mask if is_first or is_last else ~mask).sum(-1)
    return lengths if is_first or not is_last else None


def _add_inputs(rows: Rows, x: Any, targets: np.ndarray) -> None:
    """Append inputs, and count where real ones equal their targets."""
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
                zeros = np.zeros((LAST, *row.shape[1:]), np.int64)
                copies = rows.copies.setdefault(row.shape[1:], zeros)
                copies[: len(row)] += row[: -LAST - 1 : -1] == target.ravel()[0].astype(row.dtype)
        steps = row.tolist() if row.ndim else str(row).split()
        rows.padded.append(tuple(v.tobytes() for v in row) if kind == "features" else tuple(steps))


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
