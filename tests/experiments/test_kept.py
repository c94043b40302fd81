"""What experiments share: kept runs, many of them at a time, commands that fail."""

import json
import os
import time
from functools import partial

import pytest

from rnn_tutorial.experiments import kept
from rnn_tutorial.experiments.kept import launch, make_all, make_once, result_head, run_folder
from rnn_tutorial.runs.lock import FolderLock


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_a_folder_is_that_of_one_run_on_one_machine():
    folder = run_folder(("--lr", "0.1"), 0)
    assert folder == run_folder(["--lr", "0.1"], 0)
    others = [("OMP_NUM_THREADS", "7"), ("OPENBLAS_CORETYPE", "Prescott")]
    folders = {run_folder(("--lr", "0.1"), 0, variables={**os.environ, k: v}) for k, v in others}
    assert len({folder, *folders, run_folder(("--lr", "0.1"), 1)}) == 4


def test_a_finished_run_is_made_once_and_what_a_killed_one_left_is_removed(tmp_path):
    folder = tmp_path / "run"
    (folder / "killed").mkdir(parents=True)
    (folder / "figures.json.tmp").touch()

    def make():
        assert list(folder.iterdir()) == []
        (folder / "weights").touch()
        return {"seed": 1}

    assert make_once(folder, make) == {"seed": 1} == make_once(folder, pytest.fail)
    assert (folder / "weights").exists()


@pytest.mark.parametrize("held", [".", "run"])  # an experiment, or a training that outlived it
def test_what_another_process_makes_is_left_to_it(held, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights").touch()
    lock = FolderLock(tmp_path / held)
    with pytest.raises(ValueError, match="is being trained by another process"):
        make_once(tmp_path, pytest.fail)
    assert (tmp_path / "run" / "weights").exists()
    lock.release()
    assert make_once(tmp_path, dict) == {}


def test_what_another_process_finishes_meanwhile_is_not_made_again(tmp_path, monkeypatch):
    def wait_for_the_lock(folder):
        (folder / "figures.json").write_text('{"seed": 3}')
        return FolderLock(folder)

    monkeypatch.setattr(kept, "FolderLock", wait_for_the_lock)
    assert make_once(tmp_path, pytest.fail) == {"seed": 3}


def test_a_run_that_fails_is_made_anew(tmp_path):
    with pytest.raises(ZeroDivisionError):
        make_once(tmp_path, lambda: {"seed": 1 / 0})
    assert make_once(tmp_path, lambda: {"seed": 2}) == {"seed": 2}


def test_everything_is_made_and_named():
    assert make_all({n: partial(pow, n, 2) for n in (3, 1, 2)}, jobs=2) == {3: 9, 1: 1, 2: 4}


def test_a_failure_cancels_what_waits():
    begun = []

    def train(seed):
        begun.append(seed)
        if seed == 0:
            raise RuntimeError("it diverged")
        time.sleep(0.1)

    with pytest.raises(RuntimeError, match="it diverged"):
        make_all({seed: partial(train, seed) for seed in range(50)}, jobs=1)
    assert len(begun) < 50


def test_runs_of_changing_code_are_refused(monkeypatch):
    versions = iter(["before", "after"])
    monkeypatch.setattr(kept, "code_version", lambda code: next(versions))
    with pytest.raises(RuntimeError, match="changed while the experiment ran"):
        make_all({"one": dict}, jobs=1)


def test_a_command_that_fails_or_says_nothing_is_named(tmp_path):
    (tmp_path / "é.json").write_text('["é"]', encoding="utf-8")
    assert json.loads(launch("json.tool", "é.json", folder=tmp_path)) == ["é"]
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.argv[2] and print(sys.argv[2]); sys.exit(int(sys.argv[1]))")
    assert launch(str(script), "1", "proof", ok=(0, 1)) == "proof\n"
    for status, printed in (("2", "proof"), ("1", "")):
        with pytest.raises(RuntimeError, match=f"script.py {status} {printed} failed: "):
            launch(str(script), status, printed, ok=(0, 1))


def test_a_result_file_begins_with_where_it_comes_from():
    variables = {"OPENBLAS_CORETYPE": "Haswell"}
    head = result_head("python -m some", variables=variables, question="Why?", jobs=2)
    assert list(head)[:5] == ["command", "question", "jobs", "code_version", "cpu"]
    assert head["versions"]["openblas_coretype"] == "Haswell"
