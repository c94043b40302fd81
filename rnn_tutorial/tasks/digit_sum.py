"""The task of the tutorial: read digits, answer their sum modulo 10 (or max_number + 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, TypedDict

from rnn_tutorial.data.streams import SeqSumModDataset
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.schema import Size
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.recipes import overrides_recipe
from rnn_tutorial.tasks.digit_lines import DigitReader, describe_digits
from rnn_tutorial.tasks.task import accuracy_by_length, shorten


class DigitSum:
    """Endless random digits to train on, every possible input to evaluate on; see `Task`."""

    class Record(TypedDict):
        """What a checkpoint records of the task."""

        kind: str
        max_number: Annotated[int, (1, 65_535)]
        min_seq_len: Size
        max_seq_len: Size

    kind = "digit sum"
    source = "the range of the lengths or digits"

    def __init__(self, min_seq_len: int, max_seq_len: int, max_number: int, seed: int) -> None:
        self.machine = SumModulo(max_number)
        self.tokens, self.classes = self.machine.tokens, self.machine.classes
        self.trained_lengths = range(min_seq_len, max_seq_len + 1)
        self.record = {
            "kind": self.kind,
            "max_number": max_number,
            "min_seq_len": min_seq_len,
            "max_seq_len": max_seq_len,
        }
        self.inputs = f"digits 0–{max_number}"
        self.instruction = f"Type digits {describe_digits(max_number)}; quit ends."
        reader = DigitReader(max_number)
        self.read, self.read_lines = reader.read, reader.read_lines
        self._seed = seed

    @classmethod
    def from_config(cls, config: TrainConfig) -> DigitSum:
        """The task that the flags describe."""
        return cls(config.min_seq_len, config.max_seq_len, config.max_number, config.seed)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], config: Mapping[str, Any]) -> DigitSum:
        """The task of a checkpoint, whose `record` is a Record."""
        sizes = [record[name] for name in ("min_seq_len", "max_seq_len", "max_number")]
        return cls(*sizes, config.get("seed", 0))

    @cached_property
    def dataset(self) -> SeqSumModDataset:
        """The endless stream of training samples."""
        lengths, max_number = self.trained_lengths, self.record["max_number"]
        return SeqSumModDataset(None, lengths[0], lengths[-1], max_number, seed=self._seed)

    def evaluate(self, model: RnnClsNet) -> Evaluation:
        """Accuracy over all inputs, or a sample of them; see `exact.evaluate`."""
        return evaluate(model, self.machine, self.trained_lengths[0], self.trained_lengths[-1])

    def evaluate_file(self, model: RnnClsNet, path: str, max_examples: int) -> Evaluation:
        """Refused: there are no labelled examples."""
        raise ValueError(f"--eval_file {path!r} is for runs that were trained with --train_file")

    def introduce(self) -> str:
        """What a network that only guesses would score."""
        num_classes = len(self.classes)
        return (
            f"chance is a loss of ln {num_classes} = {math.log(num_classes):.3f}, "
            f"accuracy {1 / num_classes:.1%}"
        )

    def describe_results(self, model: RnnClsNet, evaluation: Evaluation) -> list[str]:
        """Accuracy by length and wrong inputs, as lines."""
        lines = accuracy_by_length(evaluation)
        for digits in evaluation.wrong_examples:
            answer, right = model.predict(digits).item(), self.machine.answer_one(digits)
            lines.append(f"  wrong: {shorten(digits)} -> {answer}, right is {right}")
        return lines

    def advise(self, config: TrainConfig) -> str:
        """Suggest the recipe `solved` where it was measured to answer every input right."""
        is_measured = len(self.classes) == 10 and self.trained_lengths[-1] <= 5
        if config.recipe == "solved" or not is_measured:
            return ""
        changed = " with other flags" if overrides_recipe(config) else ""
        return (
            f"This is the recipe {config.recipe!r}{changed}; "
            "python train_cls_rnn.py --recipe solved gets none wrong."
        )
