"""The task of a finite-state machine: read tokens, answer as the machine does.

Training sequences are random, and every possible input is scored. The digit sum is such a task too;
digit_sum.py says what it has of its own.

Shapes: S states of the machine, V tokens, C classes.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, TypedDict

import numpy as np

from rnn_tutorial.data.streams import TRAIN_STREAM, BatchStream, RandomSequences
from rnn_tutorial.data.walks import LabelledStream, Walks
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.machines.choose import find_machine
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.machine_file import MAX_NAMES, check_names
from rnn_tutorial.machines.unfold import MAX_STATES
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.schema import Size
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.task_names import MACHINE_FILE, is_machine_file
from rnn_tutorial.tasks.reading import NameReader, QuestionReader
from rnn_tutorial.tasks.task import (
    describe_accuracy_by_class,
    describe_accuracy_by_length,
    describe_wrong,
    join_first,
)


class MachineTask:
    """Endless random sequences to train on, every possible input to evaluate on; see `Task`.

    Args:
        name: as --task gives it.
        machine: the rule.
        trained_lengths: of the training sequences.
        sampling: "uniform" or "varied"; see data/walks.py.
        seed: of the training sequences.
        note: on how the machine was simplified; "" if it was not.
    """

    class Record(TypedDict):
        """What a checkpoint records of the task."""

        kind: str
        tokens: list[str]
        classes: list[str]
        successors: list[list[Annotated[int, (0, MAX_STATES)]]]
        outputs: list[Annotated[int, (0, MAX_NAMES)]]
        min_seq_len: Size
        max_seq_len: Size

    kind = "machine"

    def __init__(
        self,
        name: str,
        machine: Machine,
        trained_lengths: range,
        sampling: str,
        seed: int,
        note: str = "",
    ) -> None:
        self.machine, self.trained_lengths = machine, trained_lengths
        self.tokens, self.classes = machine.tokens, machine.classes
        self.source = f"--task {name!r}"
        self.trained_on = f"{name}, lengths {trained_lengths[0]} to {trained_lengths[-1]}"
        tokens = join_first(self.tokens, ", ")
        self.claim = f"right by the rule of {name} for every sequence of {tokens}, of every length"
        self.reader: QuestionReader = NameReader(self.tokens)
        self._name, self._sampling, self._seed, self._note = name, sampling, seed, note

    @classmethod
    def from_config(cls, config: TrainConfig) -> MachineTask:
        """The task that the flags describe; ValueError if --task names no machine."""
        machine, note = find_machine(config.task)
        lengths = range(config.min_seq_len, config.max_seq_len + 1)
        return cls(config.task, machine, lengths, config.sampling, config.seed, note)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], config: Mapping[str, Any]) -> MachineTask:
        """The task of a checkpoint, whose `record` is a Record.

        Raises:
            ValueError: it is no machine, or another than the one that --task named.
        """
        check_names("token", record["tokens"], at_least=1)
        check_names("class", record["classes"], at_least=2)
        if any(len(row) != len(record["tokens"]) for row in record["successors"]):
            raise ValueError("a state needs a successor for each token")
        machine = Machine(*(record[key] for key in ("tokens", "classes", "successors", "outputs")))
        lengths = range(record["min_seq_len"], record["max_seq_len"] + 1)
        name, sampling = config.get("task", MACHINE_FILE), config.get("sampling", "varied")
        task = cls(name, machine, lengths, sampling, config.get("seed", 0))
        if is_machine_file(name):
            task._note_change()
        elif not task._is_of(find_machine(name)[0]):
            raise ValueError(f"its machine is not that of --task {name!r}")
        return task

    def _is_of(self, machine: Machine) -> bool:
        same_names = (machine.tokens, machine.classes) == (self.tokens, self.classes)
        tables = zip(machine.tables(), self.machine.tables(), strict=True)
        return same_names and all(np.array_equal(theirs, own) for theirs, own in tables)

    def _note_change(self) -> None:
        """If the file of the machine is there and holds another one now, say so."""
        with contextlib.suppress(ValueError):  # it is gone, or no machine any more
            if not self._is_of(find_machine(self._name)[0]):
                since = f"; {self._name} has changed since"
                self.claim, self.trained_on = self.claim + since, self.trained_on + since

    @cached_property
    def record(self) -> dict[str, Any]:
        """Plain values that describe the task: a Record."""
        successors, outputs = self.machine.tables()
        return {
            "kind": self.kind,
            "tokens": list(self.tokens),
            "classes": list(self.classes),
            "successors": successors.tolist(),
            "outputs": outputs.tolist(),
            "min_seq_len": self.trained_lengths[0],
            "max_seq_len": self.trained_lengths[-1],
        }

    @cached_property
    def dataset(self) -> BatchStream:
        """The endless stream of training samples."""
        limits = self.trained_lengths[0], self.trained_lengths[-1], self._seed, TRAIN_STREAM
        if self._sampling == "uniform":
            return LabelledStream(RandomSequences(len(self.tokens), *limits), self.machine)
        return LabelledStream(Walks(self.machine, *limits), self.machine)

    def evaluate(self, model: RnnClsNet) -> Evaluation:
        """Accuracy over all inputs, or a sample of them; see `exact.evaluate`."""
        return evaluate(model, self.machine, self.trained_lengths[0], self.trained_lengths[-1])

    def introduce(self) -> str:
        """What is learned, and what a network that always gives the same answer would score."""
        machine, num_states = self.machine, self.machine.num_states
        shares = machine.class_shares(self.trained_lengths)  # (C,)
        likely = shares.argmax()
        absent = [name for name, share in zip(self.classes, shares, strict=True) if not share]
        note = f". {self._note}" if self._note else ""
        return (
            f"chance is an accuracy of {shares[likely]:.1%} (always {self.classes[likely]!r})\n"
            f"Task: {self._name}, a machine of {num_states:,} state{'s' * (num_states > 1)}"
            f", {len(self.tokens):,} token{'s' * (len(self.tokens) > 1)}"
            f", {len(self.classes):,} classes{note}"
            + (f"\nNo sequence of these lengths is {' or '.join(absent)}." if absent else "")
        )

    def describe_results(self, model: RnnClsNet, evaluation: Evaluation) -> list[str]:
        """Accuracy by length and by class, and wrong inputs, as lines."""
        lines = describe_accuracy_by_length(evaluation)
        if not self.machine.is_sum:  # whose classes are alike
            lines += describe_accuracy_by_class(evaluation, self.classes)
        wrong = evaluation.wrong_examples
        return lines + [describe_wrong_input(model, self.machine, ids, join_first) for ids in wrong]

    def advise(self, config: TrainConfig) -> str:
        """Suggest the recipe `certified`, which trains until a proof holds or its updates end."""
        if config.recipe == "certified":
            return ""
        command = f"python train_cls_rnn.py --task {shlex.quote(self._name)} --recipe certified"
        return f"This is the recipe {config.recipe!r}; {command} trains for a proof."


def describe_wrong_input(
    model: RnnClsNet, machine: Machine, ids: Sequence[int], join: Callable = " ".join
) -> str:
    """A line that shows an input, of which `join` makes a text, the answer, and the right one."""
    answers = model.predict(ids).item(), machine.answer_one(ids)
    tokens = join([machine.tokens[token] for token in ids])
    return describe_wrong(tokens, *(machine.classes[answer] for answer in answers))
