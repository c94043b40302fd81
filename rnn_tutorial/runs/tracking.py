"""Metrics go to SwanLab, which can neither stop nor delay the training.

SwanLab may prompt, print, replace signal handlers, wait for a network that is down and leave
threads behind. So it runs in a separate process, the worker (swanlab_worker.py), to which the
training only writes lines:

    training                              worker
    start_tracker  -- settings ------->   swanlab.init
                   <- mode, view ------
    Tracker.log    -- step, values --->   run.log
    Tracker.finish -- null ----------->   run.finish
                   <- {}: everything is saved

A worker that fails answers with the error, and one that hangs is killed; the training continues in
both cases. A worker whose training died sees the end of its input and closes the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import operator
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_WORKER_SCRIPT = Path(__file__).with_name("swanlab_worker.py")
_FALLBACK = {"auto": "local", "online": "local", "local": "offline", "offline": "disabled"}
_START_SECONDS = 20.0  # for all that happens before the first step
_FINISH_SECONDS = {"online": 10.0, "local": 60.0, "offline": 60.0}  # a disk does finish
_ORPHAN_SECONDS = 60.0  # for the worker to close the run if the training died


class Tracker:
    """Records the metrics of a run; `Tracker()` records nothing.

    Attributes:
        mode: "online", "local" or "offline"; "disabled" if nothing is recorded.
        notice: one line for the screen: the mode, why it was chosen, and how to view the run.
    """

    def __init__(
        self,
        mode: str = "disabled",
        notice: str = "SwanLab: disabled",
        worker: _Worker | None = None,
        run_dir: str = "",
    ):
        self.mode = mode
        self.notice = notice
        self._worker = worker
        self._run_dir = run_dir

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Record metrics without waiting; the first failure prints a warning and ends recording.

        Args:
            values: name to number, or to a tensor of one element. Values that are not finite are
                left out, because they break SwanLab's chart.
            step: optimizer updates so far.
        """
        if self._worker is None:
            return
        try:
            numbers = {name: float(value) for name, value in values.items()}
            finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
            self._worker.check()
            self._worker.send([operator.index(step), finite])
        except Exception as error:
            self._worker.close()
            self.mode, self._worker = "disabled", None
            _warn(f"SwanLab stopped ({_one_line(error)}); training continues without it")

    def finish(self) -> None:
        """Save what was recorded, within a time limit; further calls do nothing."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            worker.send(None)
            worker.receive(_FINISH_SECONDS[self.mode])
        except Exception as error:
            _warn(f"SwanLab did not finish ({_one_line(error)}); records so far: {self._run_dir}")
        finally:
            worker.close()


def start_tracker(choice: str, *, run_name: str, config: Mapping[str, Any]) -> Tracker:
    """Start recording a run, in the best mode that works here.

    Args:
        choice: "online", "local", "offline", "disabled" or "auto". "auto" follows SwanLab's
            settings (environment, files) if they name a mode; otherwise it is online if you are
            logged in and the cloud answers, else local. A mode that does not work is replaced:
            online by local, local (which needs the dashboard package) by offline, offline by
            disabled.
        run_name: the run's name in SwanLab.
        config: plain values to keep with the run, including the seed.

    Returns:
        A tracker whose `mode` and `notice` say what was chosen and why.
    """
    reasons = []
    if choice != "disabled" and importlib.util.find_spec("swanlab") is None:
        reasons.append("not installed: pip install 'swanlab[dashboard]'")
        choice = "disabled"
    while choice != "disabled":
        try:
            worker, reply = _start_worker(choice, run_name, config)
        except Exception as error:
            reasons.append(_one_line(error))
            choice = _FALLBACK[choice]
            continue
        choice = reply["mode"]
        reasons += reply["reasons"]
        if choice != "disabled":
            notice = f"SwanLab: {choice}{_because(reasons)}: {reply['view']}"
            return Tracker(choice, notice, worker, reply["run_dir"])
        worker.close()
    return Tracker(notice=f"SwanLab: disabled{_because(reasons)}")


def _start_worker(
    choice: str, run_name: str, config: Mapping[str, Any]
) -> tuple[_Worker, dict[str, Any]]:
    """A worker that has started the run, and its answer."""
    worker = _Worker()
    try:
        worker.send({"choice": choice, "run_name": run_name, "config": dict(config)})
        return worker, worker.receive(_START_SECONDS)
    except BaseException:
        worker.close()
        raise


class _Worker:
    """The process in which SwanLab runs, as seen by the training. Only `receive` ever waits."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, _WORKER_SCRIPT, *sys.argv],  # SwanLab keeps the command line
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # no terminal to prompt on; Ctrl-C reaches only the training
        )
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()
        self.send({"path": sys.path, "orphan_seconds": _ORPHAN_SECONDS})

    def send(self, message: Any) -> None:
        self._outbox.put(json.dumps(message, default=str))

    def receive(self, timeout: float) -> dict[str, Any]:
        """The worker's next answer.

        Raises:
            RuntimeError: the worker failed or did not answer in time.
        """
        try:
            reply = self._inbox.get(timeout=timeout)
        except queue.Empty:
            raise RuntimeError(f"no answer within {timeout:g} s") from None
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def check(self) -> None:
        """Raise RuntimeError if the worker has failed since its last answer."""
        if not self._inbox.empty():
            self.receive(0)

    def close(self) -> None:
        """Kill the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join(timeout=1)

    def _write(self) -> None:
        with contextlib.suppress(OSError), self._process.stdin as pipe:
            for line in iter(self._outbox.get, None):
                pipe.write(line + "\n")
                pipe.flush()

    def _read(self) -> None:
        with self._process.stdout as pipe:
            for line in pipe:
                self._inbox.put(json.loads(line))
        self._inbox.put({"error": "its process ended"})


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def _because(reasons: list[str]) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
