"""A task: what is learned, and all that training, checkpoints and prediction know of it.

A task ties together data and evaluation. Its record, plain values, lies in every checkpoint, so
that whoever loads one knows what the network was trained to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rnn_tutorial.data.streams import BatchStream
from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.terminal import shortened
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.reading import QuestionReader

_SHOWN_TOKENS, _SHOWN_CHARACTERS = 20, 300
MAX_ROWS = 10  # longer tables by length or by label are not printed


class Task(Protocol):
    """What is learned.

    Attributes:
        tokens: their names by id; the padding has the next id.
        classes: their names by number.
        machine: the rule that gives every sequence its right answer; None if none is known.
        trained_lengths: of the training sequences.
        dataset: the stream of training batches.
        record: plain values that describe the task, for the checkpoint; `kind` names it.
        source: what the training samples come from: the flags that say it.
        reader: reads what is typed.
        trained_on: what and on which lengths, in words.
        claim: what a proof says of a network; "" if no rule is known that could be proved.
    """

    tokens: Sequence[str]
    classes: Sequence[str]
    machine: Machine | None
    trained_lengths: range
    record: dict[str, Any]
    source: str
    reader: QuestionReader
    trained_on: str
    claim: str

    @property
    def dataset(self) -> BatchStream: ...

    def evaluate(self, model: RnnClsNet) -> Evaluation:
        """What the network gets right."""

    def introduce(self) -> str:
        """What is learned from, and what a network that only guesses would score."""

    def describe_results(self, model: RnnClsNet, evaluation: Evaluation) -> list[str]:
        """Lines on what the evaluation found."""

    def advise(self, config: TrainConfig) -> str:
        """What to try if some answers were wrong; empty where nothing is known to help."""


def require_machine(task: Task, wanted: str, path: Path) -> None:
    """Raise ValueError if no rule is known for a task; names what was wanted and the checkpoint."""
    if task.machine is None:
        raise ValueError(
            f"{wanted} needs a rule that gives every sequence its right answer, and {str(path)!r} "
            f"was trained on labelled examples: {task.source}"
        )


def describe_accuracy_by_length(evaluation: Evaluation) -> list[str]:
    """A line with the accuracy of each length; none if there are too many lengths."""
    by_length = evaluation.accuracy_by_length.items()
    if len(by_length) > MAX_ROWS:
        return []
    shown = ", ".join(f"{accuracy:.2%} at {length}" for length, accuracy in by_length)
    return [f"Accuracy by length: {shown}"]


def describe_accuracy_by_class(evaluation: Evaluation, classes: Sequence[str]) -> list[str]:
    """A line with the accuracy of each class and their mean; only that if there are too many.

    No line if the evaluation has not kept them.
    """
    by_class = evaluation.accuracy_by_class
    if by_class is None:
        return []
    shown = ", ".join(f"{accuracy:.2%} of {name}" for name, accuracy in by_class.items())
    few = f"{shown}; " if len(by_class) <= MAX_ROWS else ""
    lines = [f"Accuracy by class: {few}class-balanced {evaluation.balanced_accuracy:.2%}"]
    if absent := [name for name in classes if name not in by_class]:
        lines.append(
            f"Not judged, because none of their inputs was scored: {join_first(absent, ', ')}"
        )
    return lines


def describe_wrong(tokens: str, answer: str, right: str) -> str:
    """A line that shows an input, the model's wrong answer, and the right one."""
    return f"  wrong: {tokens} -> {answer}, right is {right}"


def join_first(tokens: Sequence[Any], separator: str = " ") -> str:
    """Tokens for the screen, the first of them if there are many or they are long."""
    rest = [] if len(tokens) <= _SHOWN_TOKENS else ["…"]
    shown = separator.join([*map(str, tokens[:_SHOWN_TOKENS]), *rest])
    return shortened(shown, _SHOWN_CHARACTERS)
