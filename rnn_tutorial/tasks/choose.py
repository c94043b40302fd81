"""Which task a configuration or a checkpoint means: the one place that knows them all."""

from __future__ import annotations

from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.digit_sum import DigitSum
from rnn_tutorial.tasks.labelled_files import LabelledFiles
from rnn_tutorial.tasks.task import Task

_KINDS = {task.kind: task for task in (DigitSum, LabelledFiles)}


def make_task(config: TrainConfig) -> Task:
    """The task that the flags describe; ValueError if its files are refused."""
    return (LabelledFiles if config.train_file else DigitSum).from_config(config)


def load_task(checkpoint: Checkpoint) -> Task:
    """The task that a checkpoint has learned; ValueError if its record does not fit the model."""
    try:
        task = _KINDS[checkpoint.task["kind"]].from_record(checkpoint.task, checkpoint.config)
        sizes = checkpoint.model["vocab_size"], checkpoint.model["cls_num"]
        if sizes != (len(task.tokens), len(task.classes)):
            raise ValueError(f"{sizes} tokens and classes")
    except (LookupError, TypeError, AttributeError, ValueError):
        raise ValueError(
            f"{str(checkpoint.path)!r}: the recorded settings do not fit its weights"
        ) from None
    return task
