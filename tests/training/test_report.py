"""What a training says in the end: hints that can be typed, and promises only where measured."""

from pathlib import PureWindowsPath

import pytest
import torch

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.training.report import prediction_hint, print_summary
from rnn_tutorial.training.run import Run


@pytest.mark.parametrize(
    ("folder", "as_typed"),
    [(r"output\solved", " output/solved"), (r"C:\my runs\solved", ' "C:/my runs/solved"')],
)
def test_a_hint_can_be_typed_on_windows_too(folder, as_typed, tmp_path):
    config = TrainConfig(save_dir=str(tmp_path))
    run = Run(config, make_task(config), World(), resume=None)
    run.folder = PureWindowsPath(folder)
    assert run.resume_hint.endswith(as_typed)
    assert prediction_hint(run.folder).endswith(as_typed)


@pytest.mark.parametrize(
    ("max_number", "max_seq_len", "is_measured"), [(9, 5, True), (9, 6, False), (3, 5, False)]
)
def test_the_recipe_that_is_right_is_named_where_it_was_measured(
    max_number, max_seq_len, is_measured, tmp_path, capsys
):
    config = TrainConfig(max_seq_len=max_seq_len, max_number=max_number, save_dir=str(tmp_path))
    task = make_task(config)
    torch.manual_seed(0)
    model = RnnClsNet(len(task.tokens), 2, 2, 1, len(task.classes))
    run = Run(config, task, World(), resume=None)
    run.record_evaluation(task.evaluate(model))
    print_summary(run, model, 1.0)
    assert run.evaluation.num_wrong
    assert ("--recipe solved gets none wrong" in capsys.readouterr().out) == is_measured
