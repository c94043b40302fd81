"""A checkpoint of the gallery: what it holds, and which one a command means."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.gallery.settings import SAVE_DIR, Config, program_of, recorded_config
from rnn_tutorial.runs.archive import DamagedArchive, check_hash, load_plain
from rnn_tutorial.runs.files import read_file, read_json
from rnn_tutorial.runs.folder import CONFIG_FILE, find_checkpoint, is_run_folder, of_newest_run
from rnn_tutorial.runs.schema import Count, NonNegative, build

FORMAT = "rnn_tutorial gallery 1"


@dataclass(frozen=True)
class GalleryCheckpoint:
    """The content of a checkpoint file of the gallery.

    Args:
        path: where it was loaded from.
        task: the name of the task: "text".
        run_id: the identity of its run.
        step: optimizer updates behind it.
        config: the fields of the task's configuration.
        data: what the task must know of its data to use the network, and to tell whether they are
            the same when it goes on: alphabet, scaling, fingerprint.
        weights: the state_dict of the model.
        optimizer: that of the optimizer.
        random_state: that of PyTorch's generator on the CPU, and of the GPU's if it was used.
        carried: what the loop carries from update to update, such as hidden states.
        score: of the evaluation at that step; higher is better.
        figures: of the evaluation.
        history: the fields of EvaluationHistory at that step.
        elapsed_seconds: training time behind it.
    """

    path: Path
    task: str
    run_id: str
    step: Count
    config: dict[str, Any]
    data: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    random_state: dict[str, Tensor]
    carried: dict[str, Any]
    score: float
    figures: dict[str, Any]
    history: dict[str, Any]
    elapsed_seconds: NonNegative


def load_gallery_checkpoint(path: Path, task: str) -> GalleryCheckpoint:
    """Load a checkpoint of a task.

    Raises:
        ValueError: no such file, or none that may be opened, or it is of another task.
        DamagedArchive: the file is damaged or foreign, or it asks to execute code.
    """
    shown_path = repr(str(path))
    content = load_plain(read_file(path), shown_path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedArchive(f"{shown_path} is not a checkpoint of the gallery")
    check_hash(content, shown_path)
    values = {name: value for name, value in content.items() if name not in ("format", "sha256")}
    try:
        checkpoint = build(GalleryCheckpoint, {"path": path, **values}, f"{shown_path} is damaged")
    except ValueError as error:
        raise DamagedArchive(str(error)) from None
    if checkpoint.task != task:
        raise ValueError(
            f"{shown_path} is of the task {checkpoint.task!r}, not of {task!r}; "
            f"use {program_of(checkpoint.task)}"
        )
    return checkpoint


def find_run(run: str | None, task: str, schema: type[Config]) -> tuple[GalleryCheckpoint, Config]:
    """The checkpoint that --run means, and its configuration, on the CPU with its threads.

    Args:
        run: a run's folder, a folder of runs or a file; None takes the latest run of the task in
            SAVE_DIR.
        task: its name.
        schema: the configuration of the task.

    Raises:
        ValueError: there is none, or it is damaged or of another task.
    """
    path = Path(SAVE_DIR if run is None else run)
    train_command = f"{program_of(task)} train"
    if run is None or (path.is_dir() and not is_run_folder(path)):
        found = of_newest_run(_runs_of(task, path))
        if not found:
            raise ValueError(
                f"there is no trained run of {task!r} in {str(path)!r}; "
                f"train first: {train_command}"
            )
        path = found
    elif path.is_dir() or not os.path.lexists(path):
        path = find_checkpoint(run, flag="--run", train=train_command)
    checkpoint = load_gallery_checkpoint(path, task)
    config = replace(recorded_config(schema, checkpoint.config, path), device="cpu")
    torch.set_num_threads(config.num_threads)
    return checkpoint, config


def _runs_of(task: str, folder: Path) -> Iterator[Path]:
    """The runs of a task in a folder of runs."""
    for config in folder.glob(f"*/{CONFIG_FILE}"):
        with contextlib.suppress(ValueError):
            if read_json(config).get("task") == task:
                yield config.parent


def require_same_data(checkpoint: GalleryCheckpoint, fingerprint: str, source: str) -> None:
    """Raise ValueError unless the data are those that the network has learned.

    Args:
        checkpoint: of the network.
        fingerprint: of the data as they are now.
        source: what they are, in words.
    """
    if checkpoint.data.get("fingerprint") != fingerprint:
        raise ValueError(
            f"{source} is not what {str(checkpoint.path)!r} has learned: it has changed since, or "
            "it comes with another version of Python or of a library"
        )
