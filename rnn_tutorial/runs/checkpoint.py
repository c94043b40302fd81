"""Checkpoints: tensors and plain values only, saved atomically, loaded without executing anything.

A checkpoint holds everything that prediction and resuming need: the task, the model's arguments
and weights, the configuration, the optimizer's state, the step and the evaluation at that step. The
training data needs no state, because batch i is a function of (seed, i).

It also holds the identity of its run, and a SHA-256 over all of this: PyTorch does not notice a
flipped bit.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from rnn_tutorial.runs.archive import (
    DAMAGED,
    DamagedArchive,
    check_hash,
    check_parts,
    load_plain,
    save_archive,
)
from rnn_tutorial.runs.files import read_file
from rnn_tutorial.runs.folder import step_in_name
from rnn_tutorial.runs.schema import Count, NonNegative, Size, build
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.fields import check_bounds

_FORMAT = "rnn_tutorial checkpoint 3"
_FORMAT_2 = "rnn_tutorial checkpoint 2"  # without the identity of its run and without a hash
_FORMAT_1 = "rnn_tutorial checkpoint 1"  # its tasks are described by config and `examples`


class _Sizes(TypedDict):
    vocab_size: Size
    embed_dim: Size
    hidden_dim: Size
    num_layers: Annotated[int, (1, 999)]
    cls_num: Size


class ModelArguments(_Sizes, total=False):
    """The arguments of RnnClsNet; the options are checked where it is made."""

    cell: str
    nonlinearity: str
    bidirectional: bool
    dropout: float
    pooling: str
    layer_norm: bool
    residual: bool


class OptimizerState(TypedDict):
    """The state_dict of an optimizer."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


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
    step: Count
    task: dict[str, Any]
    model: ModelArguments
    weights: dict[str, Tensor]
    config: dict[str, Any]
    run_id: str | None = None
    optimizer: OptimizerState | None = None
    evaluation: dict[str, Any] | None = None
    history: dict[str, Any] = field(default_factory=dict)
    elapsed_seconds: NonNegative = 0.0


def save_checkpoint(path: Path, **content: Any) -> None:
    """Write a checkpoint; the keywords are the fields of Checkpoint, but for its path."""
    save_archive(path, {"format": _FORMAT, **content})


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint of this project, or one of the published scripts with its `args.pt`.

    Raises:
        ValueError: no such file, or none that may be opened.
        DamagedArchive: the file is damaged or foreign, or it asks to execute code.
    """
    path = Path(path)
    shown, file = repr(str(path)), read_file(path)
    content = load_plain(file, shown)
    known = content if isinstance(content, dict) else {}
    if "sha256" not in known:
        check_parts(file, shown)
    if "format" not in known and "embedding.weight" in known:
        return _published_checkpoint(path, content)
    known = _as_newest(known, shown)
    if known.get("format") != _FORMAT:
        raise DamagedArchive(f"{shown} is not a checkpoint of this project")
    values = {name: value for name, value in known.items() if name not in ("format", "sha256")}
    try:
        checkpoint = build(Checkpoint, {"path": path, **values}, f"{shown} is damaged")
        _check_weights(checkpoint)
        _check_content(checkpoint)
    except ValueError as error:
        raise DamagedArchive(str(error)) from None
    return checkpoint


def _as_newest(content: dict[str, Any], shown: str) -> dict[str, Any]:
    """The content of a file of any format as one of the newest; one with a hash is checked."""
    if "sha256" in content or content.get("format") == _FORMAT:
        check_hash(content, shown)
    if content.get("format") == _FORMAT_1:
        content = {"standing": {}, "examples": None} | content
        history, examples = content.pop("standing"), content.pop("examples")
        try:
            task = _task_of_format_1(content["config"], examples)
        except (LookupError, TypeError):
            raise DamagedArchive(f"{shown} is damaged: its settings name no task") from None
        content |= {"format": _FORMAT_2, "task": task, "history": history}
    if content.get("format") == _FORMAT_2:
        content = content | {"format": _FORMAT, "run_id": None}
    return content


def _check_weights(checkpoint: Checkpoint) -> None:
    """Raise ValueError if a weight is not just float32 numbers, one after the other in memory."""
    for name, tensor in checkpoint.weights.items():
        is_here = tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not (is_here and tensor.dtype == torch.float32 and tensor.is_contiguous()):
            raise ValueError(
                f"{str(checkpoint.path)!r} is damaged: weights {name!r} are not numbers in float32"
            )


def _check_content(checkpoint: Checkpoint) -> None:
    """Raise ValueError if values that have the right types do not go together."""
    shown, step = repr(str(checkpoint.path)), step_in_name(checkpoint.path)
    if step not in (None, checkpoint.step):
        raise ValueError(f"{shown} holds step {checkpoint.step}, but its name says {step}")
    for setting in fields(TrainConfig):
        if setting.name in checkpoint.config:
            value = checkpoint.config[setting.name]
            try:
                check_bounds(setting, value)
            except ValueError as error:
                raise ValueError(f"{shown} is damaged: config: {error}") from None
            if checkpoint.model.get(setting.name, value) != value:
                raise ValueError(
                    f"{shown} is damaged: its model has {setting.name} "
                    f"{checkpoint.model[setting.name]!r}, its config {value!r}"
                )


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


def _published_checkpoint(path: Path, weights: dict[str, Tensor]) -> Checkpoint:
    """A state_dict of the published scripts, whose settings lie beside it in `args.pt`."""
    config = _load_namespace(path.with_name("args.pt"))
    shown = repr(str(path))
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
        values = {"step": step, "task": task, "model": model, "weights": weights, "config": config}
    except (LookupError, ValueError, AttributeError):
        raise ValueError(f"{shown} is not a checkpoint of the published scripts") from None
    checkpoint = build(Checkpoint, {"path": path, **values}, shown)
    _check_weights(checkpoint)
    return checkpoint


def _load_namespace(path: Path) -> dict[str, Any]:
    """The settings in a pickled argparse.Namespace, written by torch.save or by pickle."""
    if not os.path.lexists(path):
        raise ValueError(
            f"{str(path)!r} is missing: weights of the published scripts need it beside them"
        )
    content, shown = read_file(path), repr(str(path))
    if zipfile.is_zipfile(io.BytesIO(content)):
        namespace = load_plain(content, shown, [argparse.Namespace])
    else:
        try:
            namespace = _NamespaceUnpickler(io.BytesIO(content)).load()
        except DAMAGED as error:
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
