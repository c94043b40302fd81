"""The folder of one run: its files, written so that a kill at any moment leaves them whole.

README.md says what is promised after a crash, a damaged file, a hostile file.

output/baseline/config.json            the run's identity and its configuration
output/baseline/metrics.jsonl          every logged value, one JSON object per step
output/baseline/model_step_20000.pt    checkpoints
output/baseline/model_best.pt          the best checkpoint, with --early_stopping_patience
output/baseline/result.json            the final figures
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from rnn_tutorial.runs.schema import Count, NonNegative, Share, Size, check_record

CONFIG_FILE, METRICS_FILE, RESULT_FILE = "config.json", "metrics.jsonl", "result.json"
BEST_FILE = "model_best.pt"
_TEMPORARY = re.compile(
    r"\.(config\.json|metrics\.jsonl|result\.json|model_\w+(\.certificate\.npz|\.pt))\.\w*\.?tmp"
)
_LONGEST_NAME = 200  # bytes; file systems allow 255, and write_atomically adds some


class MetricsLine(TypedDict, total=False):
    """What a line of metrics.jsonl may hold; `step` must be there."""

    step: Size
    loss: float | None  # None: not a finite number
    current_lr: NonNegative
    grad_norm: NonNegative
    padding_share: Share
    update_ratio: NonNegative
    steps_per_second: NonNegative
    accuracy: Share
    wrong_inputs: Count
    balanced_accuracy: Share
    proved: bool
    accuracy_by_length: dict[str, Share]


def claim_run_folder(save_dir: str, run_name: str) -> Path:
    """Make a new folder save_dir/run_name, or run_name-2, run_name-3, … where names are taken.

    Raises:
        ValueError: the folder cannot be made.
    """
    for number in itertools.count(1):
        folder = Path(save_dir, run_name if number == 1 else f"{run_name}-{number}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
        except FileExistsError:
            if not folder.parent.is_dir():
                raise ValueError(f"--save_dir {save_dir!r} is not a folder") from None
        except OSError as error:
            raise ValueError(
                f"--save_dir {save_dir!r} is not a folder that can be written to: {error.strerror}"
            ) from None


def new_run_id() -> str:
    """A random name that tells a run from every other, even from one with the same settings."""
    return uuid.uuid4().hex


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is kept."""
    return folder / f"model_step_{step}.pt"


def is_run_folder(folder: Path) -> bool:
    """True if a folder has a configuration, whatever that is."""
    return folder.is_dir() and os.path.lexists(folder / CONFIG_FILE)


def step_in_name(path: Path) -> int | None:
    """The step that the name of a checkpoint says, or None if it says none."""
    match = re.fullmatch(r"model_step_(0|[1-9][0-9]*)\.pt", path.name)
    return int(match[1]) if match else None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run by step, the one that it wrote last at first.

    One folder of this project holds one run, so the highest step is the last. A folder of the
    published scripts may mix several runs, so there it is the file written last.
    """
    found = {path: step for path in folder.iterdir() if (step := step_in_name(path)) is not None}
    if is_run_folder(folder):
        return sorted(found, key=found.get, reverse=True)
    return sorted(found, key=lambda path: (path.lstat().st_mtime_ns, found[path]), reverse=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run wrote last, or None."""
    return next(iter(checkpoints(folder)), None)


def best_or_latest(folder: Path) -> Path | None:
    """The checkpoint that speaks for a run: the best if the run keeps it, else the latest."""
    best = folder / BEST_FILE
    return best if os.path.lexists(best) else latest_checkpoint(folder)


def find_checkpoint(
    save_dir: str,
    run_name: str | None = None,
    flag: str = "--save_dir",
    train: str = "python train_cls_rnn.py",
) -> Path:
    """The checkpoint that speaks for the named run, or for the newest run in a folder of runs.

    Args:
        save_dir: a folder of runs, or the folder of a run.
        run_name: the run in it; None takes the run whose checkpoint was written last.
        flag: what the user gave save_dir with, for the refusal.
        train: the command that makes runs, for the refusal.

    Raises:
        ValueError: there is no such folder, or no checkpoint in it.
    """
    folder = Path(save_dir) if run_name is None else Path(save_dir, run_name)
    flag = flag if run_name is None else "--run_name"
    if not folder.is_dir():
        raise ValueError(f"{flag}: there is no folder {str(folder)!r}; train first: {train}")
    if found := best_or_latest(folder):
        return found
    runs = [] if run_name else [run for run in folder.iterdir() if run.is_dir()]
    found = [path for run in runs if (path := latest_checkpoint(run) or best_or_latest(run))]
    if not found:
        raise ValueError(
            f"{flag}: no checkpoint (model_step_N.pt) in {str(folder)!r}; "
            f"train a model first: {train}"
        )
    newest = max(found, key=lambda path: (path.lstat().st_mtime_ns, path.parent.name))
    return best_or_latest(newest.parent)


def check_regular(path: Path) -> None:
    """Raise ValueError unless a path is that of a regular file, or of a link to one.

    Asked before a file is opened: opening a FIFO waits for its writer, and a device may never end.
    """
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    if not is_regular:
        raise ValueError(f"{str(path)!r} is not a regular file")


def read_file(path: Path) -> bytes:
    """The content of a regular file; ValueError if it is none or cannot be read."""
    check_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None


def check_place(path: Path, flag: str) -> None:
    """Raise ValueError if no file can be written at a path, before the work that fills it.

    Args:
        path: of a file that is there or not.
        flag: what the user gave it with, for the message.
    """
    shown = f"{flag} {str(path)!r}"
    if not path.parent.is_dir():
        raise ValueError(f"{shown}: there is no folder {str(path.parent)!r}")
    if path.exists() and not path.is_file():
        raise ValueError(f"{shown} is {'a folder' if path.is_dir() else 'not a regular file'}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{shown}: the folder {str(path.parent)!r} cannot be written to")
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise ValueError(f"{shown}: the name is longer than {_LONGEST_NAME} bytes")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in the folder of a run."""
    for path in list(folder.iterdir()):
        if _TEMPORARY.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process dies."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:  # x: never into a file or a link that is there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name must reach the disk too
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, indented, with lists of numbers on one line."""
    text = json.dumps(values, indent=2, allow_nan=False)
    text = re.sub(r"\[[^][{}\"]*\]", lambda numbers: re.sub(r"\s*\n\s*", " ", numbers[0]), text)
    write_atomically(path, f"{text}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ValueError if the file is missing or holds something else."""
    content = read_file(path)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{str(path)!r} cannot be read: damaged JSON") from None
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} does not hold a JSON object")
    return values


def metrics_until(
    folder: Path, last: float = math.inf, schema: type = MetricsLine
) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl up to a step; a half-written last line is skipped.

    Raises:
        ValueError: another line is damaged, or its step is not greater than the one before.
    """
    path = folder / METRICS_FILE
    lines = read_file(path).splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    metrics, step = [], 0
    for number, line in enumerate(lines, start=1):
        place = f"{str(path)!r}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"{place} is damaged: it is not JSON") from None
        check_record(values, schema, place)
        if values.get("step", 0) <= step:
            raise ValueError(f"{place}: it needs a step greater than {step}")
        step = values["step"]
        if step <= last:
            metrics.append(values)
    return metrics


class MetricsFile:
    """metrics.jsonl: one JSON object a line, steps increasing, never one step twice.

    Args:
        folder: the run's folder.
        step: the step that training starts from. Lines beyond it, which a killed process wrote
            after its last checkpoint, are dropped, and so is a half-written last line.
        schema: what a line may hold.
    """

    def __init__(self, folder: Path, step: int, schema: type = MetricsLine) -> None:
        path = folder / METRICS_FILE
        if os.path.lexists(path):
            lines = read_file(path).splitlines(keepends=True)
            kept = lines[: len(metrics_until(folder, step, schema))]
            if kept != lines:
                write_atomically(path, b"".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line that survives the death of the process."""
        self._file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Let the lines reach the disk, so that they survive a power cut too."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
