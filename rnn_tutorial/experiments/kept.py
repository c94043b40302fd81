"""What every experiment does around its measurement: keep runs, make many, record how.

A finished run is kept in a folder under output/experiments that is named by what determines it:
flags, code, libraries, variables. So a killed experiment goes on where it was, and what has changed
is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from rnn_tutorial.runs.files import read_json, write_json
from rnn_tutorial.runs.lock import FolderLock
from rnn_tutorial.runs.provenance import (
    REPOSITORY,
    TRAINING_CODE,
    code_version,
    describe_machine,
    versions,
)

RESULTS = REPOSITORY / "rnn_tutorial" / "results"  # the result files, which are committed
DOCTOR_CODE = (*TRAINING_CODE, "rnn_tutorial/doctor")  # what the doctor's figures depend on
_RUNS = Path("output", "experiments")
_FIGURES_FILE = "figures.json"

Key, Made = TypeVar("Key"), TypeVar("Made")


def run_folder(*determined_by: Any, variables: Mapping[str, str] = os.environ) -> Path:
    """Where a run belongs, whether or not it exists yet.

    Args:
        determined_by: plain values such as flags, seed and code version. Versions of libraries and
            the number of threads are added.
        variables: of its environment.
    """
    threads = [variables.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    key = json.dumps([*determined_by, versions(variables), threads])
    return _RUNS / hashlib.sha256(key.encode()).hexdigest()[:16]


def make_once(folder: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a finished run; if there is none, those that `make` returns, which are kept.

    What a killed run has left in the folder is deleted first.

    Raises:
        ValueError: another process is making it.
    """
    path = folder / _FIGURES_FILE
    if path.exists():
        return read_json(path)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        if not path.exists():  # another process may just have finished it
            for left in folder.iterdir():
                if left.is_dir() and not left.is_symlink():
                    FolderLock(left).release()  # a training may outlive its experiment
                    shutil.rmtree(left)
                else:
                    left.unlink()
            write_json(path, make())
        return read_json(path)
    finally:
        lock.release()


def flags_of(run: Path) -> tuple[str, ...]:
    """Flags of a training into this folder, on the CPU and without a tracker."""
    place = ("--save_dir", str(run.parent), "--run_name", run.name)
    return ("--tracker", "disabled", "--device", "cpu", *place)


def train(run: Path, *command: str, variables: Mapping[str, str] = os.environ) -> float:
    """Launch a training into this folder; returns the seconds from start to exit."""
    started = time.perf_counter()
    launch(*command, *flags_of(run), variables=variables)
    return time.perf_counter() - started


def launch(
    program: str,
    *arguments: str,
    ok: Sequence[int] = (0,),
    variables: Mapping[str, str] = os.environ,
    folder: str | None = None,
) -> str:
    """Run a script of the project, such as train_cls_rnn.py, or a module; returns what it prints.

    Args:
        ok: exit statuses that are no failure.
        variables: its environment.
        folder: the working directory; None is this process's own.

    Raises:
        RuntimeError: its exit status is not one of `ok`, or it printed nothing.
    """
    is_script = program.endswith(".py")
    command = [sys.executable, *([REPOSITORY / program] if is_script else ["-m", program])]
    how = {"cwd": folder, "env": {**variables, "PYTHONUTF8": "1"}, "encoding": "utf-8"}
    done = subprocess.run([*command, *arguments], capture_output=True, check=False, **how)
    # A crash has the status of a proof that was not found; but it prints nothing.
    if done.returncode not in ok or not done.stdout:
        raise RuntimeError(f"{' '.join([program, *arguments])} failed: {done.stderr.strip()}")
    return done.stdout


def make_all(
    work: Mapping[Key, Callable[[], Made]], jobs: int, code: Sequence[str] = TRAINING_CODE
) -> dict[Key, Made]:
    """Make everything, `jobs` at a time, with a progress bar; a failure cancels what waits.

    Raises:
        RuntimeError: the code was changed meanwhile.
    """
    version = code_version(code)
    with ThreadPoolExecutor(jobs) as pool:
        made = {key: pool.submit(make) for key, make in work.items()}
        try:
            for done in tqdm(as_completed(made.values()), total=len(made), unit=" runs"):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if version != code_version(code):
        raise RuntimeError("the code was changed while the experiment ran; run it again")
    return {key: done.result() for key, done in made.items()}


def result_head(
    command: str,
    code: Sequence[str] = TRAINING_CODE,
    variables: Mapping[str, str] = os.environ,
    **asked: Any,
) -> dict[str, Any]:
    """What a result file begins with: how it was made, by which code, on which machine.

    Args:
        code: files and folders that determine the results.
        variables: of the environment in which they were made.
        asked: more to say of how, such as the question and the number of jobs.
    """
    return {
        "command": command,
        **asked,
        "code_version": code_version(code),
        **describe_machine(variables),
    }
