"""What is known about a training run: its settings, its metrics, and a look into its network.

Shapes: N sequences, T steps, C classes.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_tutorial.data.examples import guessing_loss, label_shares
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.data_rows import LARGE_MAJORITY
from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.states import StateSummary, summarize_states
from rnn_tutorial.evaluation.lengths import sample_sequences
from rnn_tutorial.evaluation.result import recorded_evaluation
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.model.transformer import TransformerLayers
from rnn_tutorial.runs.folder import find_checkpoint, is_run_folder, latest_checkpoint
from rnn_tutorial.runs.metrics import METRICS_FILE
from rnn_tutorial.runs.saved_run import load_checked, read_config, read_metrics
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.choose import load_task, make_task
from rnn_tutorial.tasks.task import Task

LEARNED = 0.4  # skill; the worst of 20 seeds of sota_warmup has 0.45, chance 0
SOME_SKILL = 0.15  # below it, what was learned by heart has taught nothing about others
FITS = 0.3  # of the loss of guessing; a network with a skill of LEARNED has about 0.6
FITS_MORE = 0.7  # of the same, where the answers to other examples are hardly better than guesses
ENOUGH_STEPS = 1000  # updates after the warmup; by then all 20 seeds of `solved` are perfect
LONG_SEQUENCES = 200  # at the asked length: when all are right the 95% interval begins at 98%
MAX_LENGTH = 100_000  # the longest that may be asked: 20 MB of sequences
_BATCH_SIZE, _MAX_STEPS = 64, 200  # sequences that the states are looked at with; their longest


@dataclass(eq=False)
class Evidence:
    """What is known about a run: what was read, and the facts that follow from it."""

    config: Mapping[str, Any]  # the settings by name
    metrics: Sequence[Mapping[str, Any]]  # the lines of metrics.jsonl, at least one
    task: Task | None  # None if its files are gone and no checkpoint describes them
    model: RnnClsNet | None = None  # the last network, or None if none was saved
    evaluation: Mapping[str, Any] | None = None  # the fields of the last Evaluation
    asked_length: int | None = None  # at which the answers must be right too
    files: tuple[Sequence[float], Sequence[Finding]] | None = None  # see `read_files`

    def __post_init__(self) -> None:
        self.steps = self.metrics[-1]["step"]  # number of updates made
        # Does a rule label sequences of any length?
        self.has_rule = self.task is not None and self.task.machine is not None
        self.accuracies = [line["accuracy"] for line in self.metrics if "accuracy" in line]
        # The mean of the logged losses in each tenth of the run; fewer parts of a short one.
        losses = self.of("loss")
        count = min(10, len(losses))
        edges = [len(losses) * i // max(1, count) for i in range(count + 1)]
        self.loss_by_part = [statistics.fmean(losses[a:b]) for a, b in itertools.pairwise(edges)]
        self.final_loss = self.loss_by_part[-1] if losses else math.inf
        # By class of the last evaluation: how often each answer was given.
        self.answers = (self.evaluation or {}).get("answers_by_label") or {}
        self.label_shares = self._label_shares()
        shares = self.label_shares
        drawn = [1 / len(shares)] * len(shares) if self.config["balance_classes"] else shares
        self.chance_loss = guessing_loss(drawn)  # of a network that only guesses
        # The score rescaled: 0 for always naming the most frequent class, 1 for all right.
        if self.has_rule:  # evaluation asks all inputs, or a uniform sample of them
            shares = self.task.machine.class_shares(self.task.trained_lengths)
        self.score, self.chance = (self.accuracies or [0.0])[-1], float(max(shares))
        # Noise hides what was learned beside a large class, unless each class counts the same.
        key = "balanced_accuracy"
        balanced = [line[key] for line in self.metrics if key in line]
        is_whole = bool(balanced) and len(self.answers or shares) == len(shares)
        is_asked = self.config["balance_classes"] or self.chance >= LARGE_MAJORITY
        self.is_balanced = is_whole and is_asked and not self.has_rule
        if self.is_balanced:
            self.score, self.chance = balanced[-1], 1 / len(shares)
        self.skill = max(0.0, (self.score - self.chance) / max(1 - self.chance, 1e-9))
        self.has_learned = self.skill >= LEARNED
        self.falls_short = bool(self.accuracies) and not self.has_learned
        # A run with fewer updates is not called a failure.
        self.enough_steps = ENOUGH_STEPS + self.config["warmup_step"]
        self.failed_to_learn = self.falls_short and self.steps >= self.enough_steps
        # Was it meant to end before it can be judged?
        ends_early = self.config["total_steps"] <= self.steps < self.enough_steps
        self.is_unfinished = self.falls_short and ends_early
        # Is the loss of training far below guessing, whatever evaluation says?
        is_guessing = bool(self.files and self.accuracies) and self.skill < SOME_SKILL
        share = FITS_MORE if is_guessing else FITS
        self.fits_training = self.final_loss < share * self.chance_loss
        # It learned neither its training examples nor others.
        self.is_stuck = self.failed_to_learn and not self.fits_training

    def of(self, name: str) -> list[float]:
        """The values of a metric in the lines with a finite loss, in order."""
        lines = (line for line in self.metrics if line.get("loss") is not None)
        return [line[name] for line in lines if line.get(name) is not None]

    def _label_shares(self) -> Sequence[float]:
        """How frequent each class is in training: equally, if a rule labels random sequences.

        If the files are gone, the labels of the last evaluation are counted instead, or else the
        first loss tells their number: that of a network before its training is about ln C.
        """
        if self.files:
            return self.files[0]
        if self.answers:
            counts = [sum(answers.values()) for answers in self.answers.values()]
            return [count / sum(counts) for count in counts]
        first_loss = next(iter(self.of("loss")), 0.0)
        guessed = max(2, round(math.exp(min(first_loss, 10.0))))
        num_classes = len(self.task.classes) if self.task else guessed
        return [1 / num_classes] * num_classes

    @cached_property
    def states(self) -> StateSummary | None:
        """The states at the longest trained length, or None if the network has none.

        To see how far a gradient reaches, any rule for the classes will do: here it is the sum.
        """
        if self.model is None or isinstance(self.model.rnn, TransformerLayers):
            return None
        length, arguments = min(self.config["max_seq_len"], _MAX_STEPS), self.model.arguments
        size = _BATCH_SIZE, length
        x = np.random.default_rng(0).integers(0, arguments["vocab_size"], size)
        targets = x.sum(axis=1) % arguments["cls_num"]
        return summarize_states(self.model, torch.from_numpy(x), torch.from_numpy(targets))

    @cached_property
    @torch.no_grad()
    def margins(self) -> list[tuple[int, float, float]]:
        """Length, accuracy and smallest margin at doubling lengths up to the asked one.

        A margin is the score of the right class minus the best score of another class. The
        shorter of the LONG_SEQUENCES sequences are the beginnings of the longer ones.
        Half of those of a machine that is no sum stay out of its traps; see `sample_sequences`.
        """
        lengths = [min(self.config["max_seq_len"], self.asked_length)]
        while lengths[-1] < self.asked_length:
            lengths.append(min(2 * lengths[-1], self.asked_length))
        machine, scorer, found = self.task.machine, Scorer(self.model), []
        x = sample_sequences(machine, lengths[-1], LONG_SEQUENCES)  # (N, T)
        for length in lengths:
            tokens, sizes = x[:, :length].ravel(), np.full(len(x), length)
            scores = scorer.scores(tokens, sizes)  # (N, C)
            right = torch.from_numpy(machine.answer(tokens, sizes)).unsqueeze(1)
            best_other = scores.scatter(1, right, -math.inf).amax(dim=1)
            margin = scores.gather(1, right).squeeze(1) - best_other
            found.append((length, (margin > 0).double().mean().item(), margin.min().item()))
        return found


def read_evidence(
    run: str,
    asked_length: int | None = None,
    with_network: bool = True,
    before: Evidence | None = None,
) -> Evidence:
    """Read the files of a run.

    Args:
        run: the folder of a run, a folder of runs (the newest is taken), or a checkpoint, for the
            run up to its step.
        asked_length: see Evidence.
        with_network: False skips the checkpoint of a folder.
        before: an earlier look at the same run, whose files are not read again.

    Raises:
        ValueError: there is no run, it has no metrics, or it is damaged; or asked_length is not
            allowed.
    """
    folder, checkpoint = Path(run), None
    if os.path.lexists(folder) and not folder.is_dir():
        checkpoint = load_checked(folder)
        folder = folder.parent
    elif not is_run_folder(folder):
        folder = find_checkpoint(run, flag="RUN").parent
    _, settings = read_config(folder)
    if asked_length and asked_length > MAX_LENGTH:
        raise ValueError(
            f"--length {asked_length} is too long to try; allowed is up to {MAX_LENGTH:,}; "
            "python -m rnn_tutorial.certify proves what holds at every length"
        )
    path = folder / METRICS_FILE
    if not os.path.lexists(path):
        raise ValueError(f"{str(path)!r} is missing: there is nothing to diagnose before training")
    metrics = read_metrics(folder, checkpoint)
    if not metrics:
        so_far = f" up to step {checkpoint.step}" if checkpoint else ""
        raise ValueError(f"{str(path)!r} is empty{so_far}: there is nothing to diagnose yet")
    if with_network and not checkpoint and (path := latest_checkpoint(folder)):
        checkpoint = load_checked(path)
        read_metrics(folder, checkpoint)
    if before:
        task, files = before.task, before.files
    else:
        task = load_task(checkpoint) if checkpoint else read_task(settings)
        files = read_files(task)
    if asked_length and (task is None or task.machine is None):
        source = "labelled examples, " + repr(settings.train_file)
        if not settings.train_file:
            source = f"--task {settings.task!r}, which cannot be read any more"
        raise ValueError(
            f"--length {asked_length} needs a rule that labels sequences of any length; this run "
            f"learned from {source}"
        )
    model = checkpoint and load_model(checkpoint)
    evaluation = checkpoint and recorded_evaluation(checkpoint)
    evaluation = evaluation and asdict(evaluation)
    return Evidence(asdict(settings), metrics, task, model, evaluation, asked_length, files)


def read_task(config: TrainConfig) -> Task | None:
    """The task that recorded settings describe; None if its files are gone."""
    try:
        return make_task(config)
    except ValueError:
        return None


def read_files(task: Task | None) -> tuple[Sequence[float], Sequence[Finding]] | None:
    """How frequent each class is in a run's examples, and what is wrong with them.

    None if it has none, or they are gone.
    """
    if task is None or task.machine is not None:
        return None
    try:
        split = task.reread_split()
    except ValueError:
        return None
    # Training shuffles the lines, and the run's own accuracy has a known interval.
    no_faults = {"sorted-by-class", "small-evaluation"}
    if split[0].path == split[1].path and split[0].tokens == split[1].tokens:
        no_faults.add("shared-stream")  # one file for both: can it be learned by heart?
    findings = [f for f in check_data(*split).findings if f.name not in no_faults]
    return [*label_shares(split[0]).values()], findings
