"""A training run: everything around the loop, so that the loop itself can be read.

A run knows where it stands and when something is due; it writes metrics and checkpoints, shows
progress, and turns Ctrl-C into an orderly end. It never calls the model.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.data.batches import Batches, padding_share
from rnn_tutorial.evaluation.result import Evaluation, recorded_evaluation
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof.certificate import certificate_path, save_certificate
from rnn_tutorial.proof.explore import NotProved
from rnn_tutorial.proof.prove import Proof
from rnn_tutorial.runs.checkpoint import save_checkpoint
from rnn_tutorial.runs.folder import checkpoint_path
from rnn_tutorial.runs.metrics import METRICS_FILE
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.saved_run import find_resume_point, read_config, read_metrics, read_result
from rnn_tutorial.runs.terminal import say, shown
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.task import Task
from rnn_tutorial.training.base_run import BaseRun
from rnn_tutorial.training.optimizer import update_ratio
from rnn_tutorial.training.schedule import learning_rate


class Run(BaseRun):
    """A run of train_cls_rnn.py, new or resumed; the configuration keeps its folder's first name.

    Args:
        task: what is learned; the others as in BaseRun.

    Attributes:
        evaluation: the latest, or None.
        proof: that the network is right for every length; None as long as there is none.
        proof_failure: why the latest attempt to prove it failed; "" before the first.
        padding_shares: of the logged batches.
    """

    def __init__(self, config: TrainConfig, task: Task, world: World, resume: str | None) -> None:
        self.task = task
        self.evaluation: Evaluation | None = None
        self.proof: Proof | None = None
        self.proof_failure = ""
        self.padding_shares: list[float] = []
        self._steps_since_log, self._seconds_since_log = 0, 0.0
        super().__init__(config, resume, world)
        if resume is None:
            self.config = replace(config, run_name=self.folder.name)
        self.tracked_name = self.config.run_name

    def _read_folder(self) -> str | None:
        run_id, _ = read_config(self.folder)
        checkpoint, self.damage = find_resume_point(self.folder)
        if os.path.lexists(self.folder / METRICS_FILE):
            read_metrics(self.folder, checkpoint)
        result = read_result(self.folder, checkpoint)
        # A result without its last checkpoint is that of a training whose end was lost.
        last = checkpoint and checkpoint.path.name
        self.is_finished = result is not None and result["checkpoint"] == last
        if checkpoint and checkpoint.task != self.task.record:
            raise ValueError(
                f"{self.task.source} has changed since {str(checkpoint.path)!r} was written; a run "
                "goes on with what it began with"
            )
        self._checkpoint = checkpoint
        return run_id

    def restore(self, model: RnnClsNet, optimizer: torch.optim.Optimizer) -> None:
        """Go on from the latest checkpoint, if there is one; ValueError if it does not fit.

        The configuration is recorded then; OSError if that is not possible.
        """
        if self._checkpoint is not None and not self.is_finished:
            self.evaluation = recorded_evaluation(self._checkpoint)
        self._load(model, optimizer)
        if not self.is_finished:
            self._write_config()

    # ---- the loop ----

    def close(self) -> None:
        """Wait until SwanLab has saved its records, after everything else is done and said."""
        with self.stop if self._is_stopping else contextlib.nullcontext():
            self._tracker.finish()

    def spans(self) -> Iterator[range]:
        """The updates up to the next log, evaluation or checkpoint, until the run is over.

        Fewer may be made: the next span begins where `record_updates` says that the last one ended.
        """
        while not (self.is_over or self._is_stopping):
            self._span_started = time.perf_counter()
            yield range(self.step, self._next_due())

    def _next_due(self) -> int:
        config = self.config
        if self.step == 0:
            return 1  # the first update is logged
        intervals = config.log_every, config.eval_every, config.save_every or config.total_steps
        next_multiples = (self.step + every - self.step % every for every in intervals)
        return min(config.total_steps, *next_multiples)

    def learning_rates(self, steps: range) -> list[float]:
        """The learning rate of each update."""
        return [learning_rate(self.config, step, self.history) for step in steps]

    def must_stop(self) -> bool:
        """True if Ctrl-C or SIGTERM came; several processes stop together, between two spans."""
        return self.stop.signum is not None and self.world.size == 1

    def record_updates(self, losses: Tensor, grad_norm: Tensor, batches: Batches) -> None:
        """Take in the updates that were made.

        Args:
            losses: of each, (K,).
            grad_norm: the gradient's 2-norm at the last, a scalar.
            batches: K of them or more.
        """
        self._grad_norm = grad_norm.item()  # waits for a GPU
        self._is_stopping = self.world.any(self.stop.signum is not None, self.config.device)
        self._seconds_since_log += time.perf_counter() - self._span_started
        self._steps_since_log += len(losses)
        bad = (~losses.isfinite()).nonzero()
        if len(bad) or not math.isfinite(self._grad_norm):
            self.step += int(bad[0]) + 1 if len(bad) else len(losses)
            self._diverge()
        self.step += len(losses)
        if self.needs_evaluation and not self._weights_are_finite:
            self._diverge()
        self._loss = losses[-1].item()
        self._padding_share = padding_share(batches.seq_lengths[len(losses) - 1])
        if self.world.is_main:
            self._progress.advance(self.step)

    # ---- what is due after a span ----

    @property
    def is_over(self) -> bool:
        """True if all updates are made, or the evaluations say that no more are needed."""
        return super().is_over or self.history.ends(self.config)

    @property
    def proof_is_due(self) -> bool:
        """True if a proof is to be tried: the evaluation that was due found nothing wrong."""
        is_wanted = self.config.stop_when_proved and self.evaluation_is_due
        return is_wanted and self.evaluation.num_wrong == 0

    def record_evaluation(self, evaluation: Evaluation) -> None:
        """Take in an evaluation; only those that are due decide about the rest of the run."""
        self.evaluation = evaluation
        if self.evaluation_is_due:
            is_exact = evaluation.num_wrong == 0
            score = evaluation.score(self.config.monitor)
            self.history.observe(self.config, self.step, score, is_exact)

    def record_proof(self, attempt: Proof | NotProved) -> None:
        """Take in an attempt to prove the network right, and say why it failed if it did."""
        if isinstance(attempt, NotProved):
            self.proof_failure = str(attempt)
            if self.world.is_main:
                say(f"step {self.step:,}: not proved yet: {shown(self.proof_failure)}")
        else:
            self.proof, self.history.proved = attempt, True
            if self.world.is_main:
                say(f"step {self.step:,}: proved")

    @property
    def lacks_proof(self) -> bool:
        """True if an earlier process brought the run to its end, but not to its result."""
        is_over = self.config.stop_when_proved and self.is_over
        was_tried = self.proof is not None or self.proof_failure
        return is_over and not was_tried and self.evaluation.num_wrong == 0

    def recover_proof(self, attempt: Proof | NotProved, model: RnnClsNet) -> None:
        """Take in the proof that an earlier process found, or did not find, at the end."""
        self.record_proof(attempt)
        if self.world.is_main:
            self._save_proof(model.state_dict())

    def _save_proof(self, weights: Mapping[str, Tensor]) -> None:
        """Write the certificate of the current step, if there is a proof."""
        if self.proof is not None:
            path = certificate_path(checkpoint_path(self.folder, self.step))
            save_certificate(path, self.proof, weights, self.task.machine)

    def log(self, optimizer: torch.optim.Optimizer) -> None:
        """Write and show the metrics that are due."""
        if not self.world.is_main:
            return
        metrics: dict[str, Any] = {}
        if self._log_is_due:
            metrics["loss"] = self._loss
            metrics["current_lr"] = self.learning_rate
            metrics["grad_norm"] = self._grad_norm
            metrics["padding_share"] = self._padding_share
            metrics["update_ratio"] = update_ratio(optimizer)
            metrics["steps_per_second"] = self._steps_since_log / self._seconds_since_log
            self.padding_shares.append(self._padding_share)
            self._steps_since_log, self._seconds_since_log = 0, 0.0
        if self.proof_is_due:
            metrics["proved"] = self.proof is not None
        if self.evaluation_is_due:
            metrics["accuracy"] = self.evaluation.accuracy
            metrics["wrong_inputs"] = self.evaluation.num_wrong
            if self.evaluation.balanced_accuracy is not None:
                metrics["balanced_accuracy"] = self.evaluation.balanced_accuracy
            if self.evaluation.loss is not None:
                metrics["eval_loss"] = self.evaluation.loss
            metrics["accuracy_by_length"] = self.evaluation.accuracy_by_length
        self._record(metrics)

    def save(self, model: RnnClsNet, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoints that are due."""
        if not self.world.is_main:
            return
        content = {
            "step": self.step,
            "task": self.task.record,
            "model": model.arguments,
            "weights": model.state_dict(),
            "config": asdict(self.config),
            "run_id": self.run_id,
            "optimizer": optimizer.state_dict(),
            "evaluation": asdict(self.evaluation),
            "history": asdict(self.history),
            "elapsed_seconds": self.elapsed_seconds,
        }

        def write(path: Path) -> None:
            self._save_proof(content["weights"])  # first: a checkpoint says that it exists
            save_checkpoint(path, **content)

        self._save(write)
