"""Checkpoints: tensors and plain values only, saved atomically, loaded without executing anything.

A checkpoint holds everything that prediction and resuming need: the task, the model's arguments
and weights, the configuration, the optimizer's state, the step and the evaluation at that step. The
training data needs no state, because batch i is a function of (seed, i).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.runs.folder import (
    BEST_FILE,
    checkpoint_path,
    find_checkpoint,
    write_atomically,
)

FORMAT = "rnn_tutorial checkpoint 3"
_FORMAT_2 = "rnn_tutorial checkpoint 2"  # without the identity of its run
_FORMAT_1 = "rnn_tutorial checkpoint 1"  # its tasks are described by config and `examples`


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Args:
        path: where it was loaded from.
        step: optimizer updates behind it.
        task: what was learned, the `record` of a task: plain values, of which `kind` names it.
        model: the arguments of RnnClsNet.
        weights: the state_dict: `embedding.*`, `rnn.*`, `fc.*`, and `attention.*` if it pools so.
        config: the training configuration.
        run_id: the identity of the run, as in config.json; None in files of format 1 and 2 and of
            the published scripts.
        optimizer: the optimizer's state_dict; None in files of the published scripts.
        evaluation: the fields of Evaluation at that step; None in files of the published scripts.
        history: the fields of EvaluationHistory at that step.
        elapsed_seconds: training time behind it.
    """

    path: Path
    step: int
    task: dict[str, Any]
    model: dict[str, Any]
    weights: dict[str, Tensor]
    config: dict[str, Any]
    run_id: str | None = None
    optimizer: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    history: dict[str, Any] = field(default_factory=dict)
    elapsed_seconds: float = 0.0


_DAMAGED = (pickle.UnpicklingError, EOFError, LookupError, ValueError, AttributeError, TypeError)
_FIELDS = {field.name for field in fields(Checkpoint)} - {"path"}


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the weights, by name: name, type, shape, and the numbers as little-endian."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def save_checkpoint(folder: Path, step: int, is_best: bool = False, **content: Any) -> Path:
    """Write the checkpoint of a step, or the best one; the keywords are fields of Checkpoint."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "step": step, **content}, buffer)
    path = folder / BEST_FILE if is_best else checkpoint_path(folder, step)
    write_atomically(path, buffer.getvalue())
    return path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint of this project, or one of the published scripts with its `args.pt`.

    Raises:
        ValueError: no such file, a damaged or foreign one, or one that asks to execute code.
    """
    path = Path(path)
    content = _load_plain(path)
    known = content if isinstance(content, dict) else {}
    if known.get("format") == _FORMAT_1:
        known = _upgrade(known, path)
    if known.get("format") == _FORMAT_2:
        known = known | {"format": FORMAT, "run_id": None}
    if known.get("format") == FORMAT and known.keys() >= _FIELDS:
        return Checkpoint(path, **{name: known[name] for name in _FIELDS})
    if "embedding.weight" in known:
        return _published_checkpoint(path, content)
    raise ValueError(f"{str(path)!r} is not a checkpoint of this project")


def load_run(run: str) -> Checkpoint:
    """The checkpoint that RUN means: a file, or what `find_checkpoint` finds in a folder.

    Raises:
        ValueError: there is none, or it is refused; see `load_checkpoint`.
    """
    is_file = Path(run).is_file()
    return load_checkpoint(run if is_file else find_checkpoint(run, flag="RUN"))


def _upgrade(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The content of a file of format 1 as one of format 2."""
    content = {"standing": {}, "examples": None} | content
    history, examples = content.pop("standing"), content.pop("examples")
    try:
        task = _task_of_format_1(content["config"], examples)
    except (LookupError, TypeError):
        raise ValueError(f"{str(path)!r}: the recorded settings do not fit its weights") from None
    return content | {"format": _FORMAT_2, "task": task, "history": history}


def _task_of_format_1(
    config: Mapping[str, Any], examples: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The record of the task that a configuration describes, and `examples` for labelled files."""
    lengths = {name: config[name] for name in ("min_seq_len", "max_seq_len")}
    if examples is None:
        return {"kind": "digit sum", "max_number": config["max_number"], **lengths}
    return {
        "kind": "labelled files",
        "tokens": examples["vocabulary"],
        "classes": examples["class_names"],
        "fingerprint": examples.get("fingerprint", ""),
        **lengths,
    }


def _load_plain(path: Path, allowed: Sequence[type] = ()) -> Any:
    """Load tensors, plain values and the allowed classes; refuse everything else."""
    shown = repr(str(path))
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.simplefilter("ignore")  # of foreign formats; they are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{shown} cannot be read: {error.strerror or error}") from None
    except (RuntimeError, *_DAMAGED) as error:
        asked = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if not asked:
            raise ValueError(f"{shown} is damaged or no checkpoint") from None
        raise ValueError(
            f"{shown} is refused: loading it would call {asked[1]}, "
            "and a checkpoint needs tensors and plain values only"
        ) from None


def _published_checkpoint(path: Path, weights: dict[str, Tensor]) -> Checkpoint:
    """A state_dict of the published scripts, whose settings lie beside it in `args.pt`."""
    config = _load_namespace(path.with_name("args.pt"))
    try:
        embedding, fc = weights["embedding.weight"], weights["fc.weight"]
        model = {
            "vocab_size": embedding.shape[0] - 1,
            "embed_dim": embedding.shape[1],
            "hidden_dim": fc.shape[1],
            "num_layers": sum(name.startswith("rnn.weight_hh_l") for name in weights),
            "cls_num": fc.shape[0],
        }
        step = int(path.stem.rpartition("_")[2])
        task = _task_of_format_1(config)
    except (LookupError, ValueError, AttributeError):
        raise ValueError(f"{str(path)!r} is not a checkpoint of the published scripts") from None
    return Checkpoint(path, step, task, model, weights, config)


def _load_namespace(path: Path) -> dict[str, Any]:
    """The settings in a pickled argparse.Namespace, written by torch.save or by pickle."""
    if not path.exists():
        raise ValueError(
            f"{str(path)!r} is missing: weights of the published scripts need it beside them"
        )
    if zipfile.is_zipfile(path):
        namespace = _load_plain(path, [argparse.Namespace])
    else:
        try:
            with path.open("rb") as file:
                namespace = _NamespaceUnpickler(file).load()
        except _DAMAGED as error:
            raise ValueError(f"{str(path)!r} is refused: {error}") from None
    if type(namespace) is not argparse.Namespace:
        raise ValueError(f"{str(path)!r} holds no argparse.Namespace")
    return vars(namespace)


class _NamespaceUnpickler(pickle.Unpickler):
    """Rebuilds an argparse.Namespace of plain values and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("argparse", "Namespace"):
            return argparse.Namespace
        raise pickle.UnpicklingError(f"loading it would call {module}.{name}")
