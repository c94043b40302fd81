"""Which task a configuration or a checkpoint means: the one place that knows them all."""

from __future__ import annotations

from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.schema import check_record
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.task_names import DIGIT_SUM
from rnn_tutorial.tasks.digit_sum import DigitSum
from rnn_tutorial.tasks.labelled_files import LabelledFiles
from rnn_tutorial.tasks.machine_task import MachineTask
from rnn_tutorial.tasks.task import Task

_KINDS = {task.kind: task for task in (DigitSum, MachineTask, LabelledFiles)}


def make_task(config: TrainConfig) -> Task:
    """The task that the flags describe; ValueError if its file or name is refused."""
    if config.train_file:
        return LabelledFiles.from_config(config)
    return (DigitSum if config.task == DIGIT_SUM else MachineTask).from_config(config)


def load_task(checkpoint: Checkpoint) -> Task:
    """The task that a checkpoint has learned; ValueError if its record does not fit the model."""
    record, source = checkpoint.task, f"{str(checkpoint.path)!r} is damaged: task"
    kinds = [task for kind, task in _KINDS.items() if kind == record.get("kind")]
    if not kinds:
        raise ValueError(f"{source}: kind {record.get('kind')!r} is not one of {', '.join(_KINDS)}")
    check_record(record, kinds[0].Record, source)
    if record["min_seq_len"] > record["max_seq_len"]:
        raise ValueError(f"{source}: its shortest sequences are longer than its longest")
    try:
        task = kinds[0].from_record(record, checkpoint.config)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    sizes = checkpoint.model["vocab_size"], checkpoint.model["cls_num"]
    if sizes != (len(task.tokens), len(task.classes)):
        raise ValueError(f"{source}: its tokens and classes do not fit the weights")
    return task
