"""What a training says at its start and at its end, on the screen and in result.json."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PureWindowsPath

from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.checkpoint import weights_hash
from rnn_tutorial.runs.folder import (
    BEST_FILE,
    RESULT_FILE,
    best_or_latest,
    checkpoint_path,
    latest_checkpoint,
    write_json,
)
from rnn_tutorial.runs.provenance import versions
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.tasks import DigitTask, FileTask
from rnn_tutorial.training.schedule import Standing


def count_parameters(model: RnnClsNet) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def print_opening(
    config: TrainConfig,
    task: DigitTask | FileTask,
    folder: Path,
    model: RnnClsNet,
    step: int,
    slower_because: str | None,
) -> None:
    """Say what is trained, where and how, and what a net that only guesses would score."""
    threads = "1 thread" if config.num_threads == 1 else f"{config.num_threads} threads"
    start = f"resumed at step {step:,}" if step else "new run"
    engine = config.engine
    if engine == "autograd" and slower_because:
        engine += f" (compiled would be faster, but {slower_because})"
    print(
        f"Run {folder} ({start}), seed {config.seed}, device {config.device}, {threads}, "
        f"engine {engine}"
    )
    print(f"Model of {count_parameters(model):,} parameters; {task.introduce()}")


def print_summary(
    config: TrainConfig,
    task: DigitTask | FileTask,
    folder: Path,
    model: RnnClsNet,
    step: int,
    evaluation: Evaluation,
    standing: Standing,
    elapsed_seconds: float,
    paddings: Sequence[float],
) -> None:
    """Say what came out, what is wrong with it, where it is, and what to type next."""
    print(f"\nTrained {step:,} updates in {elapsed_seconds:.1f} s.")
    if standing.is_stuck(config) and step < config.total_steps:
        print(f"Stopped early: {standing.since_best} evaluations in a row without improvement.")
    if any(paddings):
        print(f"Padding: {sum(paddings) / len(paddings):.1%} of the logged batches.")
    print(f"In the end: {evaluation.describe()}")
    for line in task.describe_results(model, evaluation):
        print(line)
    is_measured = not config.train_file and config.max_number == 9 and config.max_seq_len <= 5
    if evaluation.num_wrong and config.recipe != "solved" and is_measured:
        changed = " with other flags" if config.overrides_recipe() else ""
        print(
            f"This is the recipe {config.recipe!r}{changed}; "
            "python train_cls_rnn.py --recipe solved gets none wrong."
        )
    print(f"Checkpoint: {checkpoint_path(folder, step)}")
    if config.early_stopping_patience:
        print(
            f"Best checkpoint: {folder / BEST_FILE}, accuracy {standing.best_accuracy:.4%} at step "
            f"{standing.best_step:,}; predictions use it"
        )
    print(prediction_hint(folder))


def write_result(
    config: TrainConfig,
    folder: Path,
    model: RnnClsNet,
    step: int,
    evaluation: Evaluation,
    standing: Standing,
    elapsed_seconds: float,
) -> None:
    """Write result.json: the final figures and what they were measured on."""
    write_json(
        folder / RESULT_FILE,
        {
            "config": asdict(config),
            "seed": config.seed,
            "steps": step,
            "model_parameters": count_parameters(model),
            "elapsed_seconds": elapsed_seconds,
            "checkpoint": checkpoint_path(folder, step).name,
            "best_checkpoint": BEST_FILE if config.early_stopping_patience else None,
            "best_step": standing.best_step,
            "best_accuracy": standing.best_accuracy,
            "accuracy": evaluation.accuracy,
            "wrong_inputs": evaluation.num_wrong,
            "evaluation": asdict(evaluation),
            "weights_hash": weights_hash(model.state_dict()),
            "versions": versions(),
        },
    )


def report_divergence(folder: Path, step: int) -> None:
    """Say that the loss is no number any more, and what to try."""
    checkpoint = latest_checkpoint(folder) or best_or_latest(folder)
    print(
        f"train_cls_rnn.py: the loss or its gradient is not a finite number at step {step:,}; "
        f"last good checkpoint: {checkpoint or 'none yet'}. "
        "Try a lower --lr, --max_grad_norm 1, or a --warmup_step.",
        file=sys.stderr,
    )


def prediction_hint(folder: Path) -> str:
    """The command that asks a trained net."""
    return f"Ask it: python predict_cls_rnn.py --save_dir {_typed(folder)}"


def resume_hint(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"go on with: python train_cls_rnn.py --resume {_typed(folder)}"


def _typed(folder: Path) -> str:
    """A folder as a shell takes it; Windows' shells have double quotes in common."""
    if isinstance(folder, PureWindowsPath):
        return subprocess.list2cmdline([folder.as_posix()])
    return shlex.quote(str(folder))
