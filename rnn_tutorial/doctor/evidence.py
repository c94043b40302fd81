"""What is known of a training run: its settings, its metrics, and a look into its network.

Shapes: N sequences, T steps.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.data.examples import guessing_loss, label_shares, read_split
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.probe import Probe, probe
from rnn_tutorial.machines.digit_sum import label
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.steps import advance, empty_state
from rnn_tutorial.model.transformer import TransformerLayers
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.runs.folder import (
    CONFIG_FILE,
    METRICS_FILE,
    find_checkpoint,
    latest_checkpoint,
    read_json,
)

LEARNED = 0.4  # skill; the worst of 20 seeds of sota_warmup has 0.47, chance 0
ENOUGH_STEPS = 1000  # updates after the warmup; half of the seeds of `solved` then know everything
PROBE_SEQUENCES, PROBE_STEPS = 64, 200  # the probe's batch, and its greatest length
LONG_SEQUENCES = 200  # at the asked length: when all are right the 95 % interval begins at 98 %
MAX_LENGTH = 100_000  # that may be asked: the sequences are 160 MB, and are read in seconds
_STRETCH_TOKENS = 2**14  # read at once: bounds the memory of what a network makes of them


@dataclass(frozen=True)
class Files:
    """What the files of a run on labelled examples show.

    Args:
        label_shares: how frequent each class is in training.
        findings: what is wrong with the examples.
    """

    label_shares: Sequence[float]
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Evidence:
    """What is known of a run.

    Args:
        config: the settings by name.
        metrics: the lines of metrics.jsonl.
        model: the last network, or None if none was saved.
        evaluation: the fields of exact.Evaluation of the last evaluation, or None.
        asked_length: a length at which answers are wanted too, or None.
        files: what the run's files show, or None if it has none or they are no longer there.
    """

    config: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    model: RnnClsNet | None = None
    evaluation: Mapping[str, Any] | None = None
    asked_length: int | None = None
    files: Files | None = None

    @cached_property
    def logged(self) -> list[Mapping[str, Any]]:
        """The lines with a loss that is a number."""
        return [line for line in self.metrics if line.get("loss") is not None]

    @property
    def steps(self) -> int:
        """Updates made."""
        return self.metrics[-1]["step"]

    @property
    def is_about_digits(self) -> bool:
        """True for the digit task, False for labelled examples from files."""
        return not self.config.get("train_file")

    @property
    def label_shares(self) -> Sequence[float]:
        """How frequent each class is in training: all alike with the digits.

        If the files are no longer there, those of the last evaluation stand for them.
        """
        if self.files:
            return self.files.label_shares
        by_label = (self.evaluation or {}).get("answers_by_label")
        if by_label:
            counts = [sum(answers.values()) for answers in by_label.values()]
            return [count / sum(counts) for count in counts]
        classes = self.model.arguments["cls_num"] if self.model else self.config["max_number"] + 1
        return [1 / classes] * classes

    @property
    def chance_loss(self) -> float:
        """The loss of a network that only guesses."""
        return guessing_loss(self.label_shares)

    @property
    def final_loss(self) -> float:
        """Mean of the last tenth of the logged losses."""
        return statistics.fmean(self.of("loss")[-max(1, len(self.logged) // 10) :])

    @property
    def accuracies(self) -> list[float]:
        """Those of the evaluations, in order."""
        return [line["accuracy"] for line in self.metrics if "accuracy" in line]

    @property
    def skill(self) -> float:
        """Accuracy on the scale from the most frequent class always, 0, to all right, 1."""
        chance = max(self.label_shares)
        return max(0.0, (self.accuracies[-1] - chance) / max(1 - chance, 1e-9))

    @property
    def enough_steps(self) -> int:
        """Updates before which nothing is said of what was not learned."""
        return ENOUGH_STEPS + self.config["warmup_step"]

    @property
    def has_learned(self) -> bool:
        """True if the last evaluation says so."""
        return bool(self.accuracies) and self.skill >= LEARNED

    @property
    def is_stuck(self) -> bool:
        """True if it had enough updates, and did not learn."""
        enough = self.steps >= self.enough_steps
        return bool(self.accuracies) and enough and not self.has_learned

    def of(self, name: str) -> list[float]:
        """The values of a metric that are numbers, in order."""
        return [line[name] for line in self.logged if line.get(name) is not None]

    @property
    def fastest_update(self) -> float | None:
        """The largest logged update_ratio, or None if the run has logged none."""
        return max(self.of("update_ratio"), default=None)

    @cached_property
    def probe(self) -> Probe | None:
        """The network's inside at the longest trained length, or None if it has no states.

        The classes of files follow no rule; any will do to see how far a gradient reaches.
        """
        if self.model is None or isinstance(self.model.rnn, TransformerLayers):
            return None
        length = min(self.config["max_seq_len"], PROBE_STEPS)
        x = _random_digits(PROBE_SEQUENCES, length, self.config["max_number"])
        targets = label(x, self.config["max_number"]) % self.model.arguments["cls_num"]
        return probe(self.model, torch.from_numpy(x), torch.from_numpy(targets))

    @cached_property
    def margins(self) -> list[tuple[int, float, float]]:
        """Length, accuracy and smallest margin at doubling lengths up to the asked one."""
        longest, max_number = self.asked_length, self.config["max_number"]
        lengths = [min(self.config["max_seq_len"], longest)]
        while lengths[-1] < longest:
            lengths.append(min(2 * lengths[-1], longest))
        x = _random_digits(LONG_SEQUENCES, longest, max_number)
        score = _scores_by_states if self.model.has_state else _scores_from_the_beginning
        with torch.no_grad():
            scores = zip(lengths, score(self.model, x, lengths), strict=True)
            return [(n, *_margin(own, label(x[:, :n], max_number))) for n, own in scores]


def _random_digits(count: int, length: int, max_number: int) -> np.ndarray:
    """The same random digits for every network, (count, length)."""
    return np.random.default_rng(0).integers(0, max_number + 1, (count, length))


def _scores_by_states(model: RnnClsNet, x: np.ndarray, lengths: Sequence[int]) -> Iterator[Tensor]:
    """The scores, (N, C), at each of the ascending lengths, in one reading of x, (N, T)."""
    state, t = empty_state(model).repeat(1, len(x), 1), 0
    for length in lengths:
        while t < length:
            stop = min(t + max(1, _STRETCH_TOKENS // len(x)), length)
            state = advance(model, state, torch.from_numpy(x[:, t:stop].T))
            t = stop
        yield model.fc(state[-1])


def _scores_from_the_beginning(
    model: RnnClsNet, x: np.ndarray, lengths: Sequence[int]
) -> Iterator[Tensor]:
    """As `_scores_by_states`, for networks without a state to go on from."""
    for length in lengths:
        parts = torch.from_numpy(x[:, :length]).split(max(1, _STRETCH_TOKENS // length))
        yield torch.cat([model(part, torch.full((len(part),), length)) for part in parts])


def _margin(scores: Tensor, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy, and the smallest score of a right class minus the best other one."""
    right = torch.from_numpy(labels).unsqueeze(1)
    margins = scores.gather(1, right).squeeze(1)
    margins = margins - scores.scatter(1, right, -math.inf).amax(dim=1)
    return (margins > 0).double().mean().item(), margins.min().item()


def read_evidence(
    run: str,
    asked_length: int | None = None,
    with_network: bool = True,
    files: Files | None = None,
) -> Evidence:
    """Read what a run has left.

    Args:
        run: the folder of a run, a folder of runs (the newest is taken), or a checkpoint: what
            came after that is left out.
        asked_length: a length at which answers are wanted too, or None.
        with_network: False leaves the checkpoint of a folder alone.
        files: what the run's files show if it is known already; None looks at them.

    Raises:
        ValueError: there is no run, or one without metrics, or a damaged one; or asked_length
            cannot be asked.
    """
    folder, checkpoint = Path(run), None
    if folder.is_file():
        checkpoint = load_checkpoint(folder)
        folder = folder.parent
    elif not (folder / CONFIG_FILE).is_file():
        folder = find_checkpoint(run, flag="RUN").parent
    config = read_json(folder / CONFIG_FILE)
    missing = [name for name in _SETTINGS if name not in config]
    if missing:
        raise ValueError(f"{str(folder / CONFIG_FILE)!r} lacks the settings {', '.join(missing)}")
    if asked_length and config.get("train_file"):
        raise ValueError(
            f"--length {asked_length} needs a label rule for any length: it is of the digit task "
            f"only, and this run learned from {config['train_file']!r}"
        )
    if asked_length and asked_length > MAX_LENGTH:
        raise ValueError(
            f"--length {asked_length} is too long to try; allowed is up to {MAX_LENGTH:,}; "
            "python -m rnn_tutorial.certify proves what holds at every length"
        )
    metrics = read_metrics(folder, checkpoint.step if checkpoint else math.inf)
    if with_network and not checkpoint and (path := latest_checkpoint(folder)):
        checkpoint = load_checkpoint(path)
    return Evidence(
        config,
        metrics,
        checkpoint and checkpoint.build_model().eval(),
        checkpoint and checkpoint.evaluation,
        asked_length,
        files or read_files(config),
    )


def read_files(config: Mapping[str, Any]) -> Files | None:
    """Look at a run's examples; None if it has none, or they are no longer there."""
    if not config.get("train_file"):
        return None
    try:
        split = read_split(config["train_file"], config["eval_file"], config["seed"])
    except ValueError:
        return None
    classes = {name: i for i, name in enumerate({*split[0].labels, *split[1].labels})}
    samples = (
        [
            (tokens, len(tokens), classes[text])
            for tokens, text in zip(examples.tokens, examples.labels, strict=True)
        ]
        for examples in split
    )
    # No worker reads a file: lines that repeat in order are its own.
    findings = [finding for finding in check_data(*samples) if finding.name != "duplicated-workers"]
    return Files([*label_shares(split[0]).values()], findings)


_SETTINGS = (
    "min_seq_len", "max_seq_len", "max_number", "num_layers", "lr", "min_lr", "warmup_step",
    "total_steps", "max_grad_norm",
)  # fmt: skip


def read_metrics(folder: Path, until: float = math.inf) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl up to a step; a half-written last one is left out.

    Raises:
        ValueError: there are none, or another line is damaged.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is missing: there is nothing to diagnose before training")
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    metrics = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            if values["step"] <= until:
                metrics.append(values)
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{str(path)!r}: line {number} is damaged") from None
    if not metrics:
        before = f" up to step {until}" if lines else ""
        raise ValueError(f"{str(path)!r} is empty{before}: there is nothing to diagnose yet")
    return metrics
