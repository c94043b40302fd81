"""The run that a folder holds: its files are read together, and refused if they do not fit.

Whoever asks, evaluates, proves, diagnoses or resumes a run reads it here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from rnn_tutorial.runs.archive import DamagedArchive, weights_hash
from rnn_tutorial.runs.checkpoint import Checkpoint, load_checkpoint
from rnn_tutorial.runs.files import check_regular, read_json
from rnn_tutorial.runs.folder import (
    BEST_FILE,
    CONFIG_FILE,
    RESULT_FILE,
    checkpoints,
    find_checkpoint,
    is_run_folder,
)
from rnn_tutorial.runs.metrics import METRICS_FILE, metrics_until
from rnn_tutorial.runs.schema import Count, NonNegative, Share, Size, check_record
from rnn_tutorial.settings.config import TrainConfig, config_from_dict, with_added
from rnn_tutorial.settings.fields import as_flag
from rnn_tutorial.settings.resume import may_change


class _Identity(TypedDict, total=False):
    run_id: str


class _Added(_Identity, total=False):
    proof: dict[str, Any] | None
    best_accuracy: float  # before there was --monitor
    best_score: float


class _Result(_Added):
    """What result.json holds."""

    config: dict[str, Any]
    seed: Count
    steps: Size
    model_parameters: Size
    elapsed_seconds: NonNegative
    checkpoint: str
    best_checkpoint: str | None
    best_step: Count
    accuracy: Share
    wrong_inputs: Count
    evaluation: dict[str, Any]
    weights_hash: str
    versions: dict[str, Any]


def read_config(folder: Path) -> tuple[str | None, TrainConfig]:
    """The identity of a run, None if it was begun before runs had one, and its configuration.

    Raises:
        ValueError: config.json is missing or damaged, or a setting is not allowed.
    """
    path = folder / CONFIG_FILE
    settings = read_json(path)
    identity = {"run_id": settings.pop("run_id")} if "run_id" in settings else {}
    check_record(identity, _Identity, repr(str(path)))
    return identity.get("run_id"), config_from_dict(settings, repr(str(path)))


def load_run(run: str) -> Checkpoint:
    """The checkpoint that RUN means: a file, or what `find_checkpoint` finds in a folder.

    Raises:
        ValueError: there is none, or it is refused; see `load_checked`.
    """
    path = Path(run)
    is_file = os.path.lexists(path) and not path.is_dir()
    return load_checked(path if is_file else find_checkpoint(run, flag="RUN"))


def load_checked(path: str | Path) -> Checkpoint:
    """A checkpoint that fits the configuration beside it.

    Raises:
        ValueError: it is damaged (the message names the last good one beside it), or not of the
            run in whose folder it lies.
    """
    path = Path(path)
    try:
        checkpoint = load_checkpoint(path)
    except DamagedArchive as error:
        others = (other for other in checkpoints(path.parent) if other != path)
        good = next((other for other in others if _is_good(other)), None)
        hint = f"; the last good checkpoint is {str(good)!r}" if good else ""
        raise ValueError(f"{error}{hint}") from None
    check_belongs(checkpoint)
    return checkpoint


def _is_good(path: Path) -> bool:
    try:
        check_belongs(load_checkpoint(path))
    except ValueError:
        return False
    return True


def find_resume_point(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The last good checkpoint of a run, and why each one after it cannot be used.

    Raises:
        ValueError: none of the checkpoints is good, or the files do not fit together.
    """
    for path in (*(folder / name for name in (METRICS_FILE, BEST_FILE)), *checkpoints(folder)):
        if os.path.lexists(path):
            check_regular(path)
    checkpoint, damage = last_good(folder, load_checkpoint)
    if checkpoint is not None:
        check_belongs(checkpoint)
    return checkpoint, damage


def last_good(folder: Path, load: Callable[[Path], Any]) -> tuple[Any, list[str]]:
    """The last checkpoint that `load` finds undamaged, and what is wrong with each one after it.

    None if there are no checkpoints; ValueError if all are damaged or `load` refuses one.
    """
    damage = []
    for path in checkpoints(folder):
        try:
            return load(path), damage
        except DamagedArchive as error:
            damage.append(str(error))
    if damage:
        raise ValueError(f"{damage[0]}; there is no good checkpoint to go on from")
    return None, []


def check_belongs(checkpoint: Checkpoint) -> None:
    """Raise ValueError if a checkpoint is not of the run whose config.json lies beside it."""
    path = checkpoint.path
    if not is_run_folder(path.parent):
        return
    run_id, config = read_config(path.parent)
    if checkpoint.optimizer is None or checkpoint.evaluation is None:
        raise ValueError(
            f"{str(path)!r} is not of the run {config.run_name!r} in its folder: it has no state "
            "of an optimizer or no evaluation"
        )
    _check_same_run(run_id, config, checkpoint.run_id, checkpoint.config, path)
    if checkpoint.step > config.total_steps:
        raise ValueError(
            f"{str(path)!r} is at step {checkpoint.step}, beyond --total_steps {config.total_steps}"
        )


def _check_same_run(
    run_id: str | None,
    config: TrainConfig,
    other_id: str | None,
    others: Mapping[str, Any],
    path: Path,
) -> None:
    """Compare a run with what another file of its folder says about its run."""
    others = with_added(others)
    if run_id and other_id and run_id != other_id:
        raise ValueError(
            f"{str(path)!r} is of the run {others.get('run_name')!r} with seed "
            f"{others.get('seed')} ({other_id}), but {str(path.with_name(CONFIG_FILE))!r} is of "
            f"another, {config.run_name!r} with seed {config.seed} ({run_id})"
        )
    if other_id and (lacking := vars(config).keys() - others.keys()):
        raise ValueError(f"{str(path)!r} is damaged: config lacks {', '.join(sorted(lacking)[:8])}")
    check_same_settings(vars(config), others, path)


def check_same_settings(settings: Mapping[str, Any], others: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if config.json has other settings than a file beside it records.

    Args:
        settings: those of config.json.
        others: those of the file.
        path: of the file.
    """
    for name, value in settings.items():
        other = others.get(name, value)
        if other != value and name != "save_dir" and not may_change(name, other):
            raise ValueError(
                f"{str(path.with_name(CONFIG_FILE))!r} has {as_flag(name, value)}, but "
                f"{str(path)!r} was written with {as_flag(name, other)}: one of them "
                "was edited or belongs to another run"
            )


def read_result(folder: Path, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """What result.json holds; None if there is none, because the run is not finished.

    Raises:
        ValueError: it is damaged, or not of the run and its last checkpoint.
    """
    path = folder / RESULT_FILE
    if not os.path.lexists(path):
        return None
    result = read_json(path)
    check_record(result, _Result, repr(str(path)))
    _check_same_run(*read_config(folder), result.get("run_id"), result["config"], path)
    is_last = checkpoint is not None and checkpoint.path.name == result["checkpoint"]
    if is_last and result["weights_hash"] != weights_hash(checkpoint.weights):
        raise ValueError(f"{str(path)!r} is of other weights than {str(checkpoint.path)!r}")
    return result


def read_metrics(folder: Path, checkpoint: Checkpoint | None) -> list[dict[str, Any]]:
    """The metrics of a run up to a checkpoint, or all of them if there is none.

    Raises:
        ValueError: a line is damaged, or they are not those of the checkpoint's run.
    """
    shown, (_, config) = repr(str(folder / METRICS_FILE)), read_config(folder)
    metrics = metrics_until(folder, checkpoint.step) if checkpoint else metrics_until(folder)
    if metrics and metrics[-1]["step"] > config.total_steps:
        raise ValueError(f"{shown} has steps beyond --total_steps {config.total_steps}")
    if checkpoint and checkpoint.evaluation and metrics and metrics[-1]["step"] == checkpoint.step:
        saved, logged = checkpoint.evaluation.get("accuracy"), metrics[-1].get("accuracy")
        if logged not in (None, saved):
            raise ValueError(
                f"{shown} has the accuracy {logged} at step "
                f"{checkpoint.step}, and {str(checkpoint.path)!r} has {saved}: they come from "
                "different runs, or one was edited"
            )
    return metrics
