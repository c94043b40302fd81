"""What every run has: its folder, the step that it has reached, what is due, and its records.

`Run` of train_cls_rnn.py and `GalleryRun` of the gallery add what is learned and evaluated.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from rnn_tutorial.model.classifier import count_parameters
from rnn_tutorial.model.saved import load_weights
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.folder import (
    BEST_FILE,
    CONFIG_FILE,
    best_or_latest,
    checkpoint_path,
    claim_run_folder,
    latest_checkpoint,
    new_run_id,
    remove_leftovers,
)
from rnn_tutorial.runs.lock import FolderLock
from rnn_tutorial.runs.machine import describe_threads
from rnn_tutorial.runs.metrics import MetricsFile, MetricsLine
from rnn_tutorial.runs.processes import World, no_endless_wait
from rnn_tutorial.runs.schema import build
from rnn_tutorial.runs.terminal import Progress, StopSignals, print_error, say, shown, typed
from rnn_tutorial.runs.tracking import Tracker, start_tracker
from rnn_tutorial.training.optimizer import load_state
from rnn_tutorial.training.schedule import EvaluationHistory, learning_rate


class BaseRun:
    """A run, new or resumed; it never calls the model.

    For a resumed run, `_read_folder` of the subclass, called here, sets `_checkpoint` to the one to
    go on from, and returns the identity that the run has, or None.

    Args:
        config: every setting, none of them "auto".
        resume: the folder of the run to go on with; None makes a new one.
        world: the processes of the training; rank 0 alone writes and prints.

    Attributes:
        folder: of the run.
        run_id: its identity, which config.json and every checkpoint record, and which stays the
            same when it is resumed. A run that has none, because it was begun before runs had
            one, gets it when it is resumed.
        tracked_name: the name of the run in SwanLab.
        step: updates made so far.
        history: what the evaluations have shown.
        diverged: True if a loss, a gradient, a weight or a score was not a finite number.
        stop: knows the signal that asked for the end, if one came.
        damage: a sentence for each damaged checkpoint that was passed over for one before it.
        is_finished: True if an earlier process has brought the run to its end.

    Raises:
        ValueError: the folder cannot be made, another process trains the run, its files are damaged
            or do not fit together, or what it learns has changed.
    """

    program, train_command = "train_cls_rnn.py", "python train_cls_rnn.py"
    metrics_schema: type = MetricsLine
    shown_score: Mapping[str, tuple[str, str]] = {"accuracy": ("accuracy", ".2%")}  # see Progress

    def __init__(self, config: Any, resume: str | None, world: World) -> None:
        self.config, self.world, self.step = config, world, 0
        self._is_resumed = resume is not None
        if resume is None:
            resume = world.from_main(lambda: claim_run_folder(config.save_dir, config.run_name))
        self.folder = Path(resume)
        self.tracked_name = self.folder.resolve().name
        self.history, self.stop = EvaluationHistory(), StopSignals()
        self.damage: list[str] = []
        self.diverged = self.is_finished = self._is_stopping = False
        self._checkpoint, self._tracker = None, Tracker()
        self._seconds_before = 0.0  # of training, in earlier processes
        self._started = time.perf_counter()
        self._lock: FolderLock | None = None
        world.from_main(self._take_lock)
        try:
            recorded = self._read_folder() if self._is_resumed else None
        except BaseException:
            self.release()
            raise
        self.run_id: str = world.from_main(lambda: recorded or new_run_id())

    def _take_lock(self) -> None:
        self._lock = FolderLock(self.folder)

    def release(self) -> None:
        """Let another process train the run."""
        if self._lock is not None:
            self._lock.release()

    def _load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Go on from the checkpoint, if there is one; ValueError if it does not fit."""
        if checkpoint := self._checkpoint:
            load_weights(model, checkpoint.weights, checkpoint.path)
        if checkpoint and not self.is_finished:
            path = repr(str(checkpoint.path))
            load_state(optimizer, checkpoint.optimizer, path)
            self.step, self._seconds_before = checkpoint.step, checkpoint.elapsed_seconds
            damaged = f"{path} is damaged: history"
            history = dict(checkpoint.history)
            if "best_accuracy" in history:  # its name before there was --monitor
                history["best_score"] = history.pop("best_accuracy")
            self.history = build(EvaluationHistory, history, damaged)
        if self.world.is_main:  # last: what is refused leaves the folder as it was
            remove_leftovers(self.folder)

    def _write_config(self, **more: Any) -> None:
        """Record the identity of the run and its configuration."""
        if self.world.is_main:
            settings = {**more, "run_id": self.run_id, **asdict(self.config)}
            write_json(self.folder / CONFIG_FILE, settings)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def learning_rate(self) -> float:
        """That of the update that follows."""
        return learning_rate(self.config, self.step, self.history)

    @property
    def resume_hint(self) -> str:
        """What to do to resume the run: the command, in words that follow a semicolon."""
        if self._lock is not None and self._lock.is_lost:
            return "if it was moved, resume it in its new place"
        return f"go on with: {self.train_command} --resume {shown(typed(self.folder))}"

    # ---- what is due after an update ----

    def _is_due(self, every: int) -> bool:
        is_multiple = every > 0 and self.step % every == 0
        return is_multiple or self.step == self.config.total_steps

    @property
    def is_over(self) -> bool:
        """True if all updates are made, or the evaluations say that no more are needed."""
        return self.step >= self.config.total_steps or self.history.stops_early(self.config)

    @property
    def evaluation_is_due(self) -> bool:
        """True if an evaluation is due for its own sake."""
        return self._is_due(self.config.eval_every)

    @property
    def needs_evaluation(self) -> bool:
        """True if an evaluation is due, or a checkpoint, which holds one."""
        return self.evaluation_is_due or self._is_saved_by_step

    @property
    def checkpoint_is_due(self) -> bool:
        """True if a checkpoint is due."""
        return self._is_saved_by_step or self._is_best

    @property
    def _is_saved_by_step(self) -> bool:
        return self._is_due(self.config.save_every) or self._is_stopping or self.is_over

    @property
    def has_best(self) -> bool:
        """True if a best checkpoint is kept; none is while every evaluation's score is infinite."""
        return self.config.early_stopping_patience > 0 and self.history.best_step > 0

    @property
    def _is_best(self) -> bool:
        return self.has_best and self.history.best_step == self.step

    @property
    def _log_is_due(self) -> bool:
        return self.step == 1 or self._is_due(self.config.log_every) or self.is_over

    # ---- what is recorded and shown ----

    def print_start(self, ending: str) -> None:
        """Say what is trained, where and how, and which checkpoints were passed over."""
        for sentence in self.damage:
            print(f"{shown(sentence)}; the run goes on from step {self.step:,}")
        config = self.config
        start = f"resumed at step {self.step:,}" if self.step else "new run"
        print(
            f"Run {shown(self.folder)} ({start}), seed {config.seed}, device {config.device}, "
            f"{describe_threads(config.num_threads)}{ending}"
        )

    def print_stop(self) -> int:
        """Say how to go on after Ctrl-C or SIGTERM; returns the exit status."""
        if self.world.is_main:
            print(f"Stopped after {self.step:,} updates; {self.resume_hint}")
        return 128 + (self.stop.signum or signal.SIGTERM)

    def _report_endless_wait(self) -> None:
        reason = "stopped while it waited for another process"
        print_error(self.program, f"{reason}; {self.resume_hint}")

    def report_divergence(self) -> int:
        """Say that a number is not finite, and what to try; returns the exit status."""
        if self.world.is_main:
            checkpoint = latest_checkpoint(self.folder) or best_or_latest(self.folder)
            print_error(
                self.program,
                "a loss, a gradient, a weight or a score is not a finite number at step "
                f"{self.step:,}; last good checkpoint: {checkpoint or 'none yet'}. Try a lower "
                "--lr, --max_grad_norm 1, or a --warmup_step.",
            )
        return 1

    @contextlib.contextmanager
    def recording(self, model: nn.Module) -> Iterator[None]:
        """While the loop runs: Ctrl-C is an orderly stop, and rank 0 records and shows progress.

        A loss, a gradient, a weight or a score that is not a finite number ends the loop here.
        """
        self._weights = list(model.parameters())
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.stop)
            stack.enter_context(no_endless_wait(self.world, self._report_endless_wait))
            if self.world.is_main:
                self._tracker = start_tracker(
                    self.config.tracker,
                    run_name=self.tracked_name,
                    config={**asdict(self.config), "model_parameters": count_parameters(model)},
                    run_id=self.run_id,
                    is_resumed=self._is_resumed,
                    say=say,
                )
                stack.callback(self._tracker.end)
                self._metrics_file = MetricsFile(self.folder, self.step, self.metrics_schema)
                stack.callback(self._metrics_file.close)
                total_steps = self.config.total_steps
                self._progress = Progress(self.step, total_steps, self.shown_score)
                stack.callback(self._progress.close)
            with contextlib.suppress(_Diverged):
                yield

    @property
    def _weights_are_finite(self) -> bool:
        """False if the last update has overflowed, which no loss or gradient shows before the next.

        What is not finite must not be saved: a resumed run could not go on from it.
        """
        return all(weights.isfinite().all() for weights in self._weights)

    def _diverge(self) -> NoReturn:
        """End the loop, because a number is not finite."""
        self.diverged = True
        if self.world.is_main:
            self._metrics_file.write(self.step, {"loss": None})
        raise _Diverged

    def _record(self, metrics: Mapping[str, Any], **figures: float) -> None:
        """Write the metrics of this step, if there are any; track and show them and the figures."""
        if metrics:
            self._metrics_file.write(self.step, metrics)
            numbers = {k: v for k, v in metrics.items() if not isinstance(v, dict)} | figures
            self._tracker.log(numbers, self.step)
            self._progress.report(numbers)

    def _save(self, write: Callable[[Path], None]) -> None:
        """Write the checkpoints that are due, each to its path; OSError if the folder is lost."""
        if self._lock.is_lost:
            raise OSError(f"{str(self.folder)!r} was moved or removed during the training")
        self._metrics_file.sync()  # a checkpoint is never ahead of them
        if self._is_best:  # first: a later checkpoint says that it exists
            write(self.folder / BEST_FILE)
        if self._is_saved_by_step:
            write(checkpoint_path(self.folder, self.step))


class _Diverged(Exception):
    """A loss, a gradient, a weight or a score is not a finite number."""
