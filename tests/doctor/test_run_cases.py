"""Runs of other people: the open cases, from what was logged when they were trained."""

import itertools
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from rnn_tutorial.doctor.evidence import Evidence, read_files, read_task
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.experiments.doctor_cases.runs_open import CASES
from rnn_tutorial.settings.config import TrainConfig

RECORDED = json.loads(Path(__file__).with_name("open_runs.json").read_text(encoding="utf-8"))


def recorded(case, folder):
    """The evidence of a run without its network: the settings, the metrics and its files."""
    run, made = RECORDED["runs"][case.name], case.make(folder)
    words = made["flags"].split()
    files = {
        flag[2:]: value
        for flag, value in itertools.pairwise(words)
        if flag in ("--train_file", "--eval_file")
    }
    config = TrainConfig(**run["config"], **files)
    metrics = [
        {
            name: value
            for name, value in zip(RECORDED["columns"], row, strict=True)
            if value is not None or name == "loss"
        }
        for row in run["metrics"]
    ]
    task = read_task(config)
    return Evidence(
        asdict(config), metrics, task, evaluation=run["evaluation"], files=read_files(task)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_open_case_is_named_rightly(case, tmp_path):
    names = {f.name: f.confidence for f in check_run(recorded(case, tmp_path)).findings}
    if case.expected and "asked_length" not in case.make(tmp_path):
        assert names.keys() & case.expected, names
    else:  # nothing is wrong, unless a length is asked
        assert not names, names
