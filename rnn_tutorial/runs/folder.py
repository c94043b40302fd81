"""The folder of one run: its files, written so that a kill at any moment leaves them whole.

README.md says what is promised after a crash, a damaged file, a hostile file.

output/baseline/config.json            the run's identity and its configuration
output/baseline/metrics.jsonl          every logged value, one JSON object per step
output/baseline/model_step_20000.pt    checkpoints
output/baseline/model_best.pt          the best checkpoint, with --early_stopping_patience
output/baseline/result.json            the final figures
"""

from __future__ import annotations

import itertools
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from rnn_tutorial.runs.files import LONGEST_NAME

CONFIG_FILE, RESULT_FILE, BEST_FILE = "config.json", "result.json", "model_best.pt"
_TEMPORARY = re.compile(
    r"\.(config\.json|metrics\.jsonl|result\.json|model_\w+(\.certificate\.npz|\.pt))\.\w*\.?tmp"
)


def claim_run_folder(save_dir: str, run_name: str) -> Path:
    """Make a new folder save_dir/run_name, or run_name-2, run_name-3, … where names are taken.

    Raises:
        ValueError: the folder cannot be made, or the name is too long.
    """
    if len(os.fsencode(run_name)) > LONGEST_NAME:
        raise ValueError(f"--run_name {run_name!r} is longer than {LONGEST_NAME} bytes")
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


def of_newest_run(runs: Iterable[Path]) -> Path | None:
    """The checkpoint that speaks for that of some runs which wrote one last; None without any."""
    found = [path for run in runs if (path := latest_checkpoint(run) or best_or_latest(run))]
    if not found:
        return None
    newest = max(found, key=lambda path: (path.lstat().st_mtime_ns, path.parent.name))
    return best_or_latest(newest.parent)


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
    found = best_or_latest(folder)
    if not found and run_name is None:
        found = of_newest_run(run for run in folder.iterdir() if run.is_dir())
    if not found:
        raise ValueError(
            f"{flag}: no checkpoint (model_step_N.pt) in {str(folder)!r}; "
            f"train a model first: {train}"
        )
    return found


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in the folder of a run."""
    for path in list(folder.iterdir()):
        if _TEMPORARY.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            path.unlink(missing_ok=True)
