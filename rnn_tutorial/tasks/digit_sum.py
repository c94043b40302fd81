"""The task of the tutorial: read digits, answer their sum modulo 10 (or max_number + 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, TypedDict

from rnn_tutorial.data.streams import BatchStream, SeqSumModDataset
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.runs.schema import Size
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.recipes import overrides_recipe
from rnn_tutorial.settings.task_names import DIGIT_SUM
from rnn_tutorial.tasks.digit_lines import DigitReader
from rnn_tutorial.tasks.machine_task import MachineTask


class DigitSum(MachineTask):
    """The sum of digits: its machine needs no table, its digits are read many at once."""

    class Record(TypedDict):
        """What a checkpoint records of the task."""

        kind: str
        max_number: Annotated[int, (1, 65_535)]
        min_seq_len: Size
        max_seq_len: Size

    kind = "digit sum"

    def __init__(self, trained_lengths: range, max_number: int, sampling: str, seed: int) -> None:
        super().__init__(DIGIT_SUM, SumModulo(max_number), trained_lengths, sampling, seed)
        self.source = "the range of the lengths or digits"
        self.trained_on = f"lengths {trained_lengths[0]} to {trained_lengths[-1]}"
        self.claim = f"right for every sequence of digits 0–{max_number}, of every length"
        self.reader = DigitReader(max_number)
        self._max_number = max_number

    @classmethod
    def from_config(cls, config: TrainConfig) -> DigitSum:
        """The task that the flags describe."""
        lengths = range(config.min_seq_len, config.max_seq_len + 1)
        return cls(lengths, config.max_number, config.sampling, config.seed)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], config: Mapping[str, Any]) -> DigitSum:
        """The task of a checkpoint, whose `record` is a Record."""
        lengths = range(record["min_seq_len"], record["max_seq_len"] + 1)
        sampling, seed = config.get("sampling", "uniform"), config.get("seed", 0)
        return cls(lengths, record["max_number"], sampling, seed)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Plain values that describe the task: a Record."""
        return {
            "kind": self.kind,
            "max_number": self._max_number,
            "min_seq_len": self.trained_lengths[0],
            "max_seq_len": self.trained_lengths[-1],
        }

    @cached_property
    def dataset(self) -> BatchStream:
        """The endless stream of training samples."""
        if self._sampling == "varied":
            return super().dataset
        lengths = self.trained_lengths[0], self.trained_lengths[-1]
        return SeqSumModDataset(None, *lengths, self._max_number, seed=self._seed)

    def introduce(self) -> str:
        """What a network that only guesses would score."""
        num_classes = len(self.classes)
        return (
            f"chance is a loss of ln {num_classes} = {math.log(num_classes):.3f}, "
            f"accuracy {1 / num_classes:.1%}"
        )

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
