"""A training run of the gallery: everything around the loop, so that the loop can be read.

The loop of every task has this form:

    with run.recording(model):
        for step in run.steps():
            loss = ...                                    batch, forward
            optimizer.zero_grad()
            loss.backward()
            grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm or inf)
            set_learning_rate(optimizer, run.learning_rate)
            optimizer.step()
            run.record_update(loss, grad_norm)
            if run.needs_evaluation:
                run.record_evaluation(score, figures)
            run.log()
            if run.checkpoint_is_due:
                run.save(model, optimizer, carried)
    return finish(run, model)
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from rnn_tutorial.gallery.checkpoint import FORMAT, GalleryCheckpoint, load_gallery_checkpoint
from rnn_tutorial.gallery.settings import GalleryConfig
from rnn_tutorial.model.classifier import count_parameters, load_weights
from rnn_tutorial.runs.archive import DamagedArchive, save_archive
from rnn_tutorial.runs.folder import (
    BEST_FILE,
    CONFIG_FILE,
    RESULT_FILE,
    MetricsFile,
    checkpoint_path,
    checkpoints,
    claim_run_folder,
    new_run_id,
    read_json,
    remove_leftovers,
    write_json,
)
from rnn_tutorial.runs.lock import FolderLock
from rnn_tutorial.runs.processes import describe_threads
from rnn_tutorial.runs.schema import Positive, Size, build
from rnn_tutorial.runs.terminal import Progress, StopSignals, say, shown, typed
from rnn_tutorial.runs.tracking import Tracker, start_tracker
from rnn_tutorial.training.optimizer import load_state
from rnn_tutorial.training.schedule import EvaluationHistory, learning_rate


class GalleryLine(TypedDict, total=False):
    """What a line of metrics.jsonl may hold; `step` must be there."""

    step: Size
    loss: float | None  # None: not a finite number
    current_lr: Positive
    grad_norm: Positive
    steps_per_second: Positive
    score: float
    figures: dict[str, float]


class GalleryRun:
    """A run of a task, new or resumed; use it in a `with` statement.

    Args:
        task: its name, as in the command: "text".
        config: every setting.
        data: plain values that say which data are learned; see GalleryCheckpoint.
        resume: the folder of the run to go on with; None makes a new one.
        score: name and format of the figure that progress lines show: ("bits", ".3f").

    Attributes:
        folder: of the run.
        step: updates made so far.
        score: of the latest evaluation, or None.
        figures: of the latest evaluation.
        diverged: True if a loss or a gradient was not a finite number.
        is_finished: True if an earlier process has brought the run to its end.
        program: the command of the task, without its subcommand.

    Raises:
        ValueError: the folder cannot be made, another process trains the run, its files are
            damaged, or the data have changed.
    """

    def __init__(
        self,
        task: str,
        config: GalleryConfig,
        data: Mapping[str, Any],
        resume: str | None,
        score: tuple[str, str],
    ) -> None:
        self.task, self.config, self.data = task, config, dict(data)
        self._shown_score = score
        self.folder = Path(resume) if resume else claim_run_folder(config.save_dir, config.run_name)
        self.step, self._is_resumed = 0, resume is not None
        self.score: float | None = None
        self.figures: dict[str, Any] = {}
        self.diverged = self.is_finished = self._is_evaluated = self._is_stopping = False
        self.program = f"python -m rnn_tutorial.gallery.{task}"
        self.history = EvaluationHistory(best_accuracy=-sys.float_info.max)  # finite: it is saved
        self._tracker = Tracker()
        self.stop = StopSignals()
        self._seconds_before, self._started = 0.0, time.perf_counter()
        self._checkpoint: GalleryCheckpoint | None = None
        self._damage: list[str] = []  # of checkpoints that were passed over
        self._lock = FolderLock(self.folder)
        try:
            self.run_id = self._read_folder() if resume else new_run_id()
        except BaseException:
            self._lock.release()
            raise
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.num_threads)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True

    def _read_folder(self) -> str:
        """Find the checkpoint to go on from; returns the identity of the run."""
        recorded = read_json(self.folder / CONFIG_FILE)
        if recorded.get("task") != self.task or not isinstance(recorded.get("run_id"), str):
            raise ValueError(f"{str(self.folder)!r} is not a run of {self.task!r}")
        for path in checkpoints(self.folder):
            try:
                self._checkpoint = load_gallery_checkpoint(path, self.task)
                break
            except DamagedArchive as error:
                self._damage.append(str(error))
        if self._checkpoint is None and self._damage:
            raise ValueError(f"{self._damage[0]}; there is no good checkpoint to go on from")
        if self._checkpoint and self._checkpoint.run_id != recorded["run_id"]:
            raise ValueError(f"{str(self._checkpoint.path)!r} is not of the run in its folder")
        if self._checkpoint and self._checkpoint.data != self.data:
            raise ValueError(
                f"the data have changed since {str(self._checkpoint.path)!r} was written; a run "
                "goes on with what it began with"
            )
        return recorded["run_id"]

    def __enter__(self) -> GalleryRun:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tracker.finish()
        self._lock.release()
        if isinstance(error, OSError):  # a full disk, or nobody reads the output any more
            print(f"{self.program}: error: {shown(error)}; {self.resume_hint}", file=sys.stderr)
            with contextlib.suppress(OSError):  # Python flushes what is left when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from error

    @property
    def resume_hint(self) -> str:
        """The command that resumes the run."""
        return f"go on with: {self.program} train --resume {shown(typed(self.folder))}"

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Go on from the latest checkpoint, if there is one, and record the configuration.

        Returns:
            What the loop carried; empty in a new run.

        Raises:
            ValueError: the checkpoint does not fit the model or the optimizer.
        """
        remove_leftovers(self.folder)
        checkpoint, carried = self._checkpoint, {}
        if checkpoint is not None:
            path = repr(str(checkpoint.path))
            load_weights(model, checkpoint.weights, checkpoint.path)
            load_state(optimizer, checkpoint.optimizer, path)
            torch.set_rng_state(checkpoint.random_state["cpu"])
            if "gpu" in checkpoint.random_state and self.config.device.startswith("cuda"):
                torch.cuda.set_rng_state(checkpoint.random_state["gpu"], self.config.device)
            self.step, self._seconds_before = checkpoint.step, checkpoint.elapsed_seconds
            self.score, self.figures = checkpoint.score, checkpoint.figures
            self.history = build(EvaluationHistory, checkpoint.history, f"{path}: history")
            carried = checkpoint.carried
            self.is_finished = self.is_over and os.path.lexists(self.folder / RESULT_FILE)
        if not self.is_finished:
            settings = {"task": self.task, "run_id": self.run_id, **asdict(self.config)}
            write_json(self.folder / CONFIG_FILE, settings)
        return carried

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._started

    # ---- the loop ----

    @contextlib.contextmanager
    def recording(self, model: nn.Module) -> Iterator[None]:
        """While the loop runs: Ctrl-C is an orderly stop; metrics are recorded and shown.

        Of a finished run there is nothing left to record.
        """
        if self.is_finished:
            yield
            return
        config = self.config
        num_parameters = count_parameters(model)
        for sentence in self._damage:
            print(f"{shown(sentence)}; the run goes on from step {self.step:,}")
        start = f"resumed at step {self.step:,}" if self.step else "new run"
        print(
            f"Run {shown(self.folder)} ({start}), seed {config.seed}, device {config.device}, "
            f"{describe_threads(config.num_threads)}; {num_parameters:,} parameters"
        )
        self._losses: list[Tensor] = []
        self._logged_at = time.perf_counter()
        name, form = self._shown_score
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.stop)
            self._tracker = start_tracker(
                config.tracker,
                run_name=self.folder.name,
                config={**asdict(config), "model_parameters": num_parameters},
                run_id=self.run_id,
                is_resumed=self._is_resumed,
                say=say,
            )
            stack.callback(self._tracker.end)
            self._metrics_file = stack.enter_context(
                contextlib.closing(MetricsFile(self.folder, self.step, GalleryLine))
            )
            self._progress = stack.enter_context(
                contextlib.closing(Progress(self.step, config.total_steps, {name: (name, form)}))
            )
            yield

    def steps(self) -> Iterator[int]:
        """The updates that are left: for each, how many were made before it."""
        while not (self.is_over or self._is_stopping or self.diverged):
            self._is_evaluated = False
            yield self.step

    @property
    def learning_rate(self) -> float:
        """That of the update that follows."""
        return learning_rate(self.config, self.step, self.history)

    def record_update(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Take in an update that was made: its loss, and its gradient's 2-norm before clipping."""
        self.step += 1
        self._losses.append(loss.detach())
        self._grad_norm = grad_norm
        self._is_stopping = self.stop.signum is not None  # for all that is due after this update
        self._progress.advance(self.step)

    # ---- what is due after an update ----

    @property
    def is_over(self) -> bool:
        """True if all updates are made, or the score no longer improves."""
        return self.step >= self.config.total_steps or self.history.stops_early(self.config)

    def _is_due(self, every: int) -> bool:
        is_multiple = every > 0 and self.step % every == 0
        return is_multiple or self.step == self.config.total_steps

    @property
    def needs_evaluation(self) -> bool:
        """True if an evaluation is due, or a checkpoint, which holds one."""
        return self._is_due(self.config.eval_every) or self._is_saved_by_step

    @property
    def _is_saved_by_step(self) -> bool:
        return self._is_due(self.config.save_every) or self._is_stopping or self.is_over

    @property
    def _is_best(self) -> bool:
        return self.config.early_stopping_patience > 0 and self.history.best_step == self.step

    @property
    def checkpoint_is_due(self) -> bool:
        """True if a checkpoint is due."""
        return not self.diverged and (self._is_saved_by_step or self._is_best)

    def record_evaluation(self, score: float, figures: Mapping[str, Any]) -> None:
        """Take in an evaluation; only those that are due decide about the rest of the run.

        Args:
            score: higher is better.
            figures: plain values; the one that the progress shows is among them.
        """
        if not math.isfinite(score):
            self.diverged = True
            return
        self.score, self.figures, self._is_evaluated = score, dict(figures), True
        if self._is_due(self.config.eval_every):
            self.history.observe(self.config, self.step, score)

    def log(self) -> None:
        """Write and show the metrics that are due; a number that is not finite ends the run."""
        metrics: dict[str, Any] = {}
        if self.step == 1 or self._is_due(self.config.log_every) or self.is_over:
            losses = torch.stack(self._losses)
            now = time.perf_counter()
            metrics["loss"] = losses.mean().item()
            metrics["current_lr"] = self.learning_rate
            metrics["grad_norm"] = float(self._grad_norm)
            metrics["steps_per_second"] = len(losses) / (now - self._logged_at)
            self._losses.clear()
            self._logged_at = now
            self.diverged |= not all(map(math.isfinite, (metrics["loss"], metrics["grad_norm"])))
        if self.diverged:
            self._metrics_file.write(self.step, {"loss": None})
            return
        if self._is_evaluated:
            metrics["score"] = self.score
            metrics["figures"] = {
                name: value for name, value in self.figures.items() if isinstance(value, float)
            }
        if metrics:
            self._metrics_file.write(self.step, metrics)
            figures = metrics.pop("figures", {})
            numbers = metrics | figures
            self._tracker.log(numbers, self.step)
            self._progress.report(numbers)

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        carried: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the checkpoints that are due, with what the loop carries to its next update."""
        self._metrics_file.sync()  # a checkpoint is never ahead of them
        random_state = {"cpu": torch.get_rng_state()}
        if self.config.device.startswith("cuda"):
            random_state["gpu"] = torch.cuda.get_rng_state(self.config.device)
        content = {
            "format": FORMAT,
            "task": self.task,
            "run_id": self.run_id,
            "step": self.step,
            "config": asdict(self.config),
            "data": self.data,
            "weights": dict(model.state_dict()),
            "optimizer": optimizer.state_dict(),
            "random_state": random_state,
            "carried": dict(carried or {}),
            "score": self.score,
            "figures": self.figures,
            "history": asdict(self.history),
            "elapsed_seconds": self.elapsed_seconds,
        }
        if self._is_best:  # first: a later checkpoint says that it exists
            save_archive(self.folder / BEST_FILE, content)
        if self._is_saved_by_step:
            save_archive(checkpoint_path(self.folder, self.step), content)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next updates have this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
