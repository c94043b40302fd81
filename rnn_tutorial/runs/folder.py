"""The folder of one run: its files, written so that a kill at any moment leaves them whole.

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
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG_FILE, METRICS_FILE, RESULT_FILE = "config.json", "metrics.jsonl", "result.json"
BEST_FILE = "model_best.pt"


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


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run wrote last, or None.

    One folder of this project holds one run, so the highest step is the last. A folder of the
    published scripts may mix several runs, so there it is the file written last.
    """
    found = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := re.fullmatch(r"model_step_([0-9]+)\.pt", path.name))
    }
    if not found:
        return None
    if (folder / CONFIG_FILE).exists():
        return found[max(found)]
    return found[max(found, key=lambda step: (found[step].stat().st_mtime_ns, step))]


def best_or_latest(folder: Path) -> Path | None:
    """The checkpoint that speaks for a run: the best if the run keeps it, else the latest."""
    best = folder / BEST_FILE
    return best if best.is_file() else latest_checkpoint(folder)


def find_checkpoint(save_dir: str, run_name: str | None = None, flag: str = "--save_dir") -> Path:
    """The checkpoint that speaks for the named run, or for the newest run in a folder of runs.

    Args:
        save_dir: a folder of runs, or the folder of a run.
        run_name: the run in it; None takes the run whose checkpoint was written last.
        flag: what the user gave save_dir with, for the refusal.

    Raises:
        ValueError: there is no such folder, or no checkpoint in it.
    """
    folder = Path(save_dir) if run_name is None else Path(save_dir, run_name)
    flag = flag if run_name is None else "--run_name"
    if not folder.is_dir():
        raise ValueError(
            f"{flag}: there is no folder {str(folder)!r}; train first: python train_cls_rnn.py"
        )
    if found := best_or_latest(folder):
        return found
    runs = [] if run_name else [run for run in folder.iterdir() if run.is_dir()]
    checkpoints = [path for run in runs if (path := latest_checkpoint(run) or best_or_latest(run))]
    if not checkpoints:
        raise ValueError(
            f"{flag}: no checkpoint (model_step_N.pt) in {str(folder)!r}; "
            "train a model first: python train_cls_rnn.py"
        )
    newest = max(checkpoints, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))
    return best_or_latest(newest.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process dies."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
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
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged JSON"
        raise ValueError(f"{str(path)!r} cannot be read: {reason}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} holds no JSON object")
    return values


class MetricsFile:
    """metrics.jsonl: one JSON object a line, steps increasing, never one step twice.

    Args:
        folder: the run's folder.
        step: the step that training starts from. Lines beyond it, which a killed process wrote
            after its last checkpoint, are dropped, and so is a half-written last line.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / METRICS_FILE
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if (s := _step_of(line)) is not None and s <= step]
            if kept != lines:
                write_atomically(path, b"".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line that survives the death of the process."""
        self._file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _step_of(line: bytes) -> int | None:
    """The step of a whole metrics line, or None."""
    try:
        return json.loads(line)["step"] if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None
