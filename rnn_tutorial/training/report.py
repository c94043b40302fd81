"""What a training says at its start and at its end, on the screen and in result.json."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.provenance import versions
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.task import Task
from rnn_tutorial.training.schedule import EvaluationHistory
from rnn_tutorial.training.support import unsupported_reason


@dataclass(frozen=True)
class Outcome:
    """What a finished run says of itself.

    Args:
        config: of the run.
        task: what it learned.
        folder: of the run.
        step: updates made.
        evaluation: the last one.
        history: what all evaluations have shown.
        elapsed_seconds: of training.
        padding_shares: of the logged batches.
    """

    config: TrainConfig
    task: Task
    folder: Path
    step: int
    evaluation: Evaluation
    history: EvaluationHistory
    elapsed_seconds: float
    padding_shares: Sequence[float]


def count_parameters(model: RnnClsNet) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def print_opening(
    config: TrainConfig, task: Task, folder: Path, model: RnnClsNet, step: int, world: World
) -> None:
    """Say what is trained, where and how, and what a network that only guesses would score."""
    threads = "1 thread" if config.num_threads == 1 else f"{config.num_threads} threads"
    start = f"resumed at step {step:,}" if step else "new run"
    engine = config.engine
    if engine == "autograd" and (reason := unsupported_reason("compiled", config, world)):
        engine += f" (compiled would be faster, but {reason})"
    print(
        f"Run {folder} ({start}), seed {config.seed}, device {config.device}, {threads}, "
        f"engine {engine}"
    )
    print(f"Model of {count_parameters(model):,} parameters; {task.introduce()}")


def print_summary(outcome: Outcome, model: RnnClsNet) -> None:
    """Say what came out, what is wrong with it, where it is, and what to type next."""
    config, history, evaluation = outcome.config, outcome.history, outcome.evaluation
    print(f"\nTrained {outcome.step:,} updates in {outcome.elapsed_seconds:.1f} s.")
    if history.stops_early(config) and outcome.step < config.total_steps:
        print(f"Stopped early: {history.since_best} evaluations in a row without improvement.")
    if any(outcome.padding_shares):
        mean = sum(outcome.padding_shares) / len(outcome.padding_shares)
        print(f"Padding: {mean:.1%} of the logged batches.")
    print(f"In the end: {evaluation.describe()}")
    for line in outcome.task.describe_results(model, evaluation):
        print(line)
    if evaluation.num_wrong and (advice := outcome.task.advise(config)):
        print(advice)
    print(f"Checkpoint: {checkpoint_path(outcome.folder, outcome.step)}")
    if config.early_stopping_patience:
        print(
            f"Best checkpoint: {outcome.folder / BEST_FILE}, accuracy {history.best_accuracy:.4%} "
            f"at step {history.best_step:,}; predictions use it"
        )
    print(prediction_hint(outcome.folder))


def write_result(outcome: Outcome, model: RnnClsNet) -> None:
    """Write result.json: the final figures and what they were measured on."""
    config, history, evaluation = outcome.config, outcome.history, outcome.evaluation
    write_json(
        outcome.folder / RESULT_FILE,
        {
            "config": asdict(config),
            "seed": config.seed,
            "steps": outcome.step,
            "model_parameters": count_parameters(model),
            "elapsed_seconds": outcome.elapsed_seconds,
            "checkpoint": checkpoint_path(outcome.folder, outcome.step).name,
            "best_checkpoint": BEST_FILE if config.early_stopping_patience else None,
            "best_step": history.best_step,
            "best_accuracy": history.best_accuracy,
            "accuracy": evaluation.accuracy,
            "wrong_inputs": evaluation.num_wrong,
            "evaluation": asdict(evaluation),
            "weights_hash": weights_hash(model.state_dict()),
            "versions": versions(),
        },
    )


def report_divergence(folder: Path, step: int) -> None:
    """Say that the loss is not a finite number any more, and what to try."""
    checkpoint = latest_checkpoint(folder) or best_or_latest(folder)
    print(
        f"train_cls_rnn.py: the loss or its gradient is not a finite number at step {step:,}; "
        f"last good checkpoint: {checkpoint or 'none yet'}. "
        "Try a lower --lr, --max_grad_norm 1, or a --warmup_step.",
        file=sys.stderr,
    )


def prediction_hint(folder: Path) -> str:
    """The command that asks a trained network."""
    return f"Ask it: python predict_cls_rnn.py --save_dir {_typed(folder)}"


def resume_hint(folder: Path) -> str:
    """The command that resumes a run."""
    return f"go on with: python train_cls_rnn.py --resume {_typed(folder)}"


def _typed(folder: Path) -> str:
    """A folder as a shell takes it; Windows' shells have double quotes in common."""
    if isinstance(folder, PureWindowsPath):
        return subprocess.list2cmdline([folder.as_posix()])
    return shlex.quote(str(folder))
