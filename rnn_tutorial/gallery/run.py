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
    return finish(run, model, "evaluate")
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from rnn_tutorial.gallery.checkpoint import FORMAT, load_gallery_checkpoint
from rnn_tutorial.gallery.settings import GalleryConfig, program_of, recorded_config
from rnn_tutorial.model.classifier import count_parameters
from rnn_tutorial.runs.archive import save_archive
from rnn_tutorial.runs.files import read_json
from rnn_tutorial.runs.folder import CONFIG_FILE, RESULT_FILE
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.saved_run import check_same_settings, last_good
from rnn_tutorial.runs.schema import NonNegative, Size
from rnn_tutorial.runs.terminal import print_error
from rnn_tutorial.training.base_run import BaseRun


class GalleryLine(TypedDict, total=False):
    """What a line of metrics.jsonl may hold; `step` must be there."""

    step: Size
    loss: float | None  # None: not a finite number
    current_lr: NonNegative
    grad_norm: NonNegative
    steps_per_second: NonNegative
    score: float
    figures: dict[str, float]


class GalleryRun(BaseRun):
    """A run of a task, new or resumed; use it in a `with` statement.

    Args:
        task: its name, as in the command: "text".
        data: plain values that say which data are learned; see GalleryCheckpoint.
        score: name and format of the figure that progress lines show: ("bits", ".3f").

    Attributes:
        score: of the latest evaluation, or None.
        figures: of the latest evaluation.
        program: the command of the task, without its subcommand.
    """

    metrics_schema = GalleryLine

    def __init__(
        self,
        task: str,
        config: GalleryConfig,
        data: Mapping[str, Any],
        resume: str | None,
        score: tuple[str, str],
    ) -> None:
        self.task, self.data, self.shown_score = task, dict(data), {score[0]: score}
        self.score: float | None = None
        self.figures: dict[str, Any] = {}
        self.program = program_of(task)
        self.train_command = f"{self.program} train"
        super().__init__(config, resume, World())
        torch.set_num_threads(config.num_threads)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True

    def _read_folder(self) -> str:
        recorded = read_json(self.folder / CONFIG_FILE)
        if recorded.get("task") != self.task or not isinstance(recorded.get("run_id"), str):
            raise ValueError(f"{str(self.folder)!r} is not a run of {self.task!r}")
        checkpoint, self.damage = last_good(
            self.folder, lambda path: load_gallery_checkpoint(path, self.task)
        )
        if checkpoint and checkpoint.run_id != recorded["run_id"]:
            raise ValueError(f"{str(checkpoint.path)!r} is not of the run in its folder")
        if checkpoint:
            schema, path = type(self.config), checkpoint.path
            edited = recorded_config(schema, recorded, self.folder / CONFIG_FILE)
            written = recorded_config(schema, checkpoint.config, path)
            check_same_settings(vars(edited), vars(written), path)
        if checkpoint and checkpoint.data != self.data:
            raise ValueError(
                f"the data have changed since {str(checkpoint.path)!r} was written; a run must "
                "continue with the data that it began with"
            )
        self._checkpoint = checkpoint
        return recorded["run_id"]

    def __enter__(self) -> GalleryRun:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tracker.finish()
        self.release()
        if isinstance(error, OSError):  # a full disk, or nobody reads the output any more
            print_error(self.program, f"{error}; {self.resume_hint}")
            raise SystemExit(1) from error

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Go on from the latest checkpoint, if there is one, and record the configuration.

        Returns:
            What the loop carried; empty in a new run.

        Raises:
            ValueError: the checkpoint does not fit the model or the optimizer.
        """
        self._load(model, optimizer)
        if checkpoint := self._checkpoint:
            torch.set_rng_state(checkpoint.random_state["cpu"])
            if "gpu" in checkpoint.random_state and self.config.device.startswith("cuda"):
                torch.cuda.set_rng_state(checkpoint.random_state["gpu"], self.config.device)
            self.score, self.figures = checkpoint.score, checkpoint.figures
            self.is_finished = self.is_over and os.path.lexists(self.folder / RESULT_FILE)
        if not self.is_finished:
            self._write_config(task=self.task)
        return checkpoint.carried if checkpoint else {}

    # ---- the loop ----

    @contextlib.contextmanager
    def recording(self, model: nn.Module) -> Iterator[None]:
        """As in BaseRun; of a finished run there is nothing left to record."""
        if self.is_finished:
            yield
            return
        self.print_start(f"; {count_parameters(model):,} parameters")
        self._losses: list[Tensor] = []
        self._seconds = 0.0  # of the updates since the last log
        with super().recording(model):
            yield

    def steps(self) -> Iterator[int]:
        """The updates that are left: for each, how many were made before it."""
        while not (self.is_over or self._is_stopping):
            self._began = time.perf_counter()
            yield self.step

    def record_update(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Take in an update that was made: its loss, and its gradient's 2-norm before clipping."""
        self.step += 1
        self._losses.append(loss.detach())
        self._grad_norm = grad_norm.item()  # waits for a GPU
        self._seconds += time.perf_counter() - self._began
        self._is_stopping = self.stop.signum is not None  # for all that is due after this update
        self._progress.advance(self.step)

    def record_evaluation(self, score: float, figures: Mapping[str, Any]) -> None:
        """Take in an evaluation; only those that are due decide about the rest of the run.

        Args:
            score: higher is better.
            figures: plain values; the one that the progress shows is among them.
        """
        losses_are_finite = bool(torch.stack(self._losses).isfinite().all())
        numbers_are_finite = math.isfinite(score) and math.isfinite(self._grad_norm)
        if not (losses_are_finite and numbers_are_finite and self._weights_are_finite):
            self._diverge()
        self.score, self.figures = score, dict(figures)
        if self.evaluation_is_due:
            self.history.observe(self.config, self.step, score)

    def log(self) -> None:
        """Write and show the metrics that are due; a number that is not finite ends the run."""
        metrics: dict[str, Any] = {}
        if self._log_is_due:
            metrics["loss"] = torch.stack(self._losses).mean().item()
            metrics["current_lr"] = self.learning_rate
            metrics["grad_norm"] = self._grad_norm
            metrics["steps_per_second"] = len(self._losses) / self._seconds
            self._losses.clear()
            self._seconds = 0.0
            if not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"])):
                self._diverge()
        figures = {}
        if self.needs_evaluation:
            figures = {name: x for name, x in self.figures.items() if isinstance(x, float)}
            metrics |= {"score": self.score, "figures": figures}
        self._record(metrics, **figures)

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        carried: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the checkpoints that are due, with what the loop carries to its next update."""
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
        self._save(lambda path: save_archive(path, content))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next updates have this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
