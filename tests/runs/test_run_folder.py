"""The run folder: names are never taken twice, files are whole, the newest run is found."""

import errno
import json
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from rnn_tutorial.runs import folder as run_folder
from rnn_tutorial.runs.files import (
    check_place,
    given_by,
    read_file,
    write_atomically,
)
from rnn_tutorial.runs.folder import claim_run_folder, find_checkpoint
from rnn_tutorial.runs.lock import FolderLock
from rnn_tutorial.runs.metrics import MetricsFile


def test_taken_names_get_numbers(tmp_path):
    claimed = [claim_run_folder(str(tmp_path / "new" / "output"), "run") for _ in range(3)]
    assert [folder.name for folder in claimed] == ["run", "run-2", "run-3"]


@pytest.mark.parametrize("save_dir", ["file", "file/below"])
def test_a_save_dir_that_is_a_file_is_refused(tmp_path, save_dir):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ValueError, match=r"--save_dir .*file.* is not a folder"):
        claim_run_folder(str(tmp_path / save_dir), "run")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, failing):
    path = tmp_path / "kept"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    target = (run_folder.os, "fsync") if failing == "fsync" else (run_folder.Path, "replace")
    monkeypatch.setattr(*target, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def touch(path, age):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def test_a_best_checkpoint_speaks_for_its_run_and_only_for_it(tmp_path):
    touch(tmp_path / "old" / "model_step_9.pt", age=50)
    best = touch(tmp_path / "new" / "model_best.pt", age=90)
    touch(tmp_path / "new" / "model_step_9.pt", age=10)
    assert find_checkpoint(str(tmp_path)) == best == find_checkpoint(str(tmp_path), "new")
    touch(tmp_path / "old" / "model_step_9.pt", age=0)
    assert find_checkpoint(str(tmp_path)) == tmp_path / "old" / "model_step_9.pt"


def test_the_newest_run_is_found_and_its_highest_step(tmp_path):
    touch(tmp_path / "old" / "model_step_9000.pt", age=50)
    touch(tmp_path / "new" / "config.json", age=20)
    touch(tmp_path / "new" / "model_step_900.pt", age=5)
    last = touch(tmp_path / "new" / "model_step_1000.pt", age=10)
    touch(tmp_path / "new" / ".model_step_2000.pt.tmp", age=0)
    (tmp_path / "empty").mkdir()
    assert find_checkpoint(str(tmp_path)) == last
    assert find_checkpoint(str(tmp_path / "new")) == last
    assert find_checkpoint(str(tmp_path), "new") == last
    assert find_checkpoint(str(tmp_path), "old").name == "model_step_9000.pt"


def test_in_a_folder_of_mixed_runs_the_file_written_last_is_found(tmp_path):
    touch(tmp_path / "model_step_40.pt", age=50)
    last = touch(tmp_path / "model_step_20.pt", age=10)
    assert find_checkpoint(str(tmp_path)) == last


def test_a_run_that_has_its_best_checkpoint_only_is_found_among_runs(tmp_path):
    touch(tmp_path / "old" / "model_step_40.pt", age=50)
    best = touch(tmp_path / "new" / "model_best.pt", age=10)
    assert find_checkpoint(str(tmp_path)) == best


def test_a_missing_checkpoint_is_refused_by_flag_and_folder(tmp_path):
    with pytest.raises(ValueError, match=r"--save_dir.*nowhere"):
        find_checkpoint(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"--save_dir.*no checkpoint"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(ValueError, match=r"--run_name.*absent"):
        find_checkpoint(str(tmp_path), "absent")


def test_metrics_after_the_checkpoint_and_a_half_line_are_dropped(tmp_path):
    metrics = MetricsFile(tmp_path, 0)
    for step in (100, 200, 300):
        metrics.write(step, {"loss": 1 / step})
    metrics.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 150, "lo')
    metrics = MetricsFile(tmp_path, 200)
    metrics.write(300, {"loss": 0.0})
    metrics.close()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in records] == [(100, 0.01), (200, 0.005), (300, 0.0)]


def test_a_file_that_memory_does_not_hold_is_refused(tmp_path, monkeypatch):
    def fail(path):
        raise MemoryError

    (tmp_path / "large").write_text("1234")
    monkeypatch.setattr(Path, "read_bytes", fail)
    sentence = r"^--csv '.*large' cannot be read: 4 bytes are too many$"
    with pytest.raises(ValueError, match=sentence), given_by("--csv"):
        read_file(tmp_path / "large")


def test_a_file_reaches_the_disk_before_its_name_and_then_its_folder(tmp_path, monkeypatch):
    done, replace = [], Path.replace

    def fsync(descriptor):
        found = os.fstat(descriptor)
        done.append("folder" if stat.S_ISDIR(found.st_mode) else found.st_size)

    def rename(path, target):
        done.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_atomically(tmp_path / "file", b"1234")
    assert done == [4, "renamed", "folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_folder_need_not_be_synchronized_where_that_does_not_exist(number, tmp_path, monkeypatch):
    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    exists = number == errno.EIO  # and the disk fails
    with pytest.raises(OSError, match="error") if exists else nullcontext():
        write_atomically(tmp_path / "file", b"1234")
    assert (tmp_path / "file").read_bytes() == b"1234"


def test_a_lock_is_lost_where_its_folder_cannot_be_reached(tmp_path):
    folder = tmp_path / "output" / "run"
    folder.mkdir(parents=True)
    lock = FolderLock(folder)
    assert not lock.is_lost
    folder.parent.rename(tmp_path / "moved")
    assert lock.is_lost
    folder.parent.write_text("a file in the place of the folder")
    assert lock.is_lost
    lock.release()


def test_a_full_disk_is_said_with_the_file(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*kept'$"):
        write_atomically(tmp_path / "kept", b"1234")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_refused_by_its_flag(tmp_path, monkeypatch):
    (tmp_path / "there").write_text("kept")
    for name in ("new", "there"):
        check_place(tmp_path / name, "--figure")
    for name, reason in (
        ("no/where", "--figure '.*where': there is no folder '.*no'"),
        (".", "--figure .* is a folder"),
        *((name, "the name is longer than 200 bytes") for name in ("n" * 201, "n" * 300)),
    ):
        with pytest.raises(ValueError, match=reason):
            check_place(tmp_path / name, "--figure")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ValueError, match=r"the folder '.*' cannot be written to"):
        check_place(tmp_path / "new", "--figure")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
