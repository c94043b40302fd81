"""Metrics go to SwanLab, which can neither stop nor delay the training.

SwanLab may prompt, print, replace signal handlers, wait for a network that is down and leave
threads behind. So it runs in a separate process, the worker (swanlab_worker.py), to which the
training only writes lines:

    training                              worker
    start_tracker  -- settings ------->   swanlab.init, beside the training
    Tracker.log    -- step, values --->   run.log
                   <- {}: imported ----   at any time in between
                   <- mode, view ------
    Tracker.finish -- null ----------->   run.finish
                   <- {}: everything is saved

The training looks for answers whenever it logs, and waits for them only in `finish`. A worker that
fails answers with the error, and one that hangs is killed; the training continues in both cases.
The worker of a mode that does not start is replaced by that of the next mode, which gets everything
that was logged so far. A worker whose training died sees the end of its input and closes the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import operator
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_WORKER_SCRIPT = Path(__file__).with_name("swanlab_worker.py")
_FALLBACK = {"auto": "local", "online": "local", "local": "offline", "offline": "disabled"}
_IMPORT_SECONDS = 120.0  # for SwanLab to be imported, which a busy machine does slowly
_START_SECONDS = 20.0  # for a mode to start after that
_FINISH_SECONDS = {"online": 10.0, "local": 60.0, "offline": 60.0}  # a disk does finish
_ORPHAN_SECONDS = 60.0  # for the worker to close the run if the training has ended
_SILENT_SECONDS = 2.0  # until a wait is explained


def start_tracker(
    choice: str,
    *,
    run_name: str,
    config: Mapping[str, Any],
    run_id: str = "",
    is_resumed: bool = False,
    say: Callable[[str], object] = print,
) -> Tracker:
    """Start recording a run, in the best mode that works here; does not wait for it.

    Args:
        choice: "online", "local", "offline", "disabled" or "auto". "auto" follows SwanLab's
            settings (environment, files) if they name a mode; otherwise it is online if you are
            logged in and the cloud answers, else local. A mode that does not work is replaced:
            online by local, local (which needs the dashboard package) by offline, offline by
            disabled.
        run_name: the run's name in SwanLab.
        config: plain values to keep with the run, including the seed.
        run_id: the run's identity; its experiment in SwanLab gets it too.
        is_resumed: True if an earlier process has begun the run. It goes on in the same
            experiment where SwanLab can.
        say: gets one line when the mode is known: the mode, why it was chosen, and how to view
            the run.
    """
    run = {"run_name": run_name, "config": dict(config), "run_id": run_id, "is_resumed": is_resumed}
    tracker = Tracker(run, say)
    if choice != "disabled" and importlib.util.find_spec("swanlab") is None:
        tracker.start("disabled", "not installed: pip install 'swanlab[dashboard]'")
    else:
        tracker.start(choice)
    return tracker


class Tracker:
    """Records the metrics of a run; `Tracker()` records nothing.

    Attributes:
        mode: "online", "local" or "offline"; "starting" until it is known, "disabled" if nothing is
            recorded.
    """

    def __init__(
        self, run: Mapping[str, Any] | None = None, say: Callable[[str], object] = print
    ) -> None:
        self.mode = "disabled"
        self._run, self._say = run, say
        self._reasons: list[str] = []
        self._worker: _Worker | None = None
        self._unconfirmed: list[Any] = []  # what was sent to a worker that may not start
        self._run_dir = "unknown"

    def start(self, choice: str, *reasons: str) -> None:
        """Start a worker for this mode, or for the next one that works; do not wait for it."""
        self._reasons += reasons
        self._choice = choice
        if choice == "disabled":
            self._begin("disabled", [])
            return
        try:
            self._worker = _Worker()
        except OSError as error:
            self.start(_FALLBACK[choice], _one_line(error))
            return
        self.mode = "starting"
        self._is_imported = False
        self._worker.expect(_IMPORT_SECONDS)
        for message in ({"choice": choice, **self._run}, *self._unconfirmed):
            self._worker.send(message)

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
            self._send([operator.index(step), finite])
            while self._worker is not None and self._take_answer(wait=False):
                pass
        except Exception as error:
            self._close("disabled")
            _warn(f"SwanLab stopped ({_one_line(error)}); training continues without it")

    def end(self) -> None:
        """Tell SwanLab that nothing more will be logged, so that it can begin to finish."""
        if self._worker is not None:
            self._send(None)

    def finish(self) -> None:
        """Wait until everything is saved, within a time limit, or until Ctrl-C."""
        if self._worker is None:
            return
        self.end()
        sentence = "Waiting for SwanLab; Ctrl-C ends the wait"
        explain = threading.Timer(_SILENT_SECONDS, _warn, [sentence])
        explain.start()
        try:
            while self.mode == "starting":
                self._take_answer(wait=True)
            if self._worker is not None:
                self._worker.expect(_FINISH_SECONDS[self.mode])
                self._take_answer(wait=True)
        except (KeyboardInterrupt, SystemExit):  # of a second signal; the worker finishes by itself
            self._worker = None
            _warn("Stopped waiting for SwanLab: its last curves may be missing; the run is saved")
        except Exception as error:
            _warn(f"SwanLab did not finish ({_one_line(error)}); records so far: {self._run_dir}")
        finally:
            explain.cancel()
            explain.join()
            self._close(self.mode)

    def _send(self, message: Any) -> None:
        if self.mode == "starting":
            self._unconfirmed.append(message)
        self._worker.send(message)

    def _take_answer(self, wait: bool) -> bool:
        """Take in what the worker answers, if it does; if it fails at the start, try the next mode.

        Returns:
            True if there was an answer.

        Raises:
            RuntimeError: the worker failed later.
        """
        try:
            reply = self._worker.receive(wait)
        except RuntimeError as error:
            if self.mode != "starting":
                raise
            self._close("disabled")
            # (Another mode would have to import it, too.)
            choice = _FALLBACK[self._choice] if self._is_imported else "disabled"
            self.start(choice, _one_line(error))
            return False
        if reply and self.mode == "starting":
            self._begin(**reply)
        elif reply is not None and self.mode == "starting":
            self._is_imported = True
            self._worker.expect(_START_SECONDS)
        return reply is not None

    def _begin(self, mode: str, reasons: list[str], view: str = "", run_dir: str = "") -> None:
        """The mode is known now."""
        self.mode, self._run_dir = mode, run_dir
        self._unconfirmed.clear()
        reasons = self._reasons + reasons
        because = f" ({'; '.join(reasons)})" if reasons else ""
        self._say(f"SwanLab: {mode}{because}" + (f": {view}" if view else ""))
        if mode == "disabled":
            self._close(mode)
        else:
            self._worker.expect(math.inf)

    def _close(self, mode: str) -> None:
        worker, self._worker, self.mode = self._worker, None, mode
        if worker is not None:
            worker.close()


class _Worker:
    """The process in which SwanLab runs, as seen by the training. Only `receive` ever waits."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, _WORKER_SCRIPT, *sys.argv],  # SwanLab keeps the command line
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # no terminal to prompt on; Ctrl-C reaches only the training
        )
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # (On Python 3.10, a SimpleQueue that is asked not to wait may wait for ever.)
        self._inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()
        self.send({"path": sys.path, "pid": os.getpid(), "orphan_seconds": _ORPHAN_SECONDS})

    def send(self, message: Any) -> None:
        self._outbox.put(json.dumps(message, default=str))

    def expect(self, seconds: float) -> None:
        """From now on, the next answer is due within this time."""
        self._seconds, self._deadline = seconds, time.monotonic() + seconds

    def receive(self, wait: bool) -> dict[str, Any] | None:
        """The worker's next answer; None if there is none yet and it is not waited for.

        Raises:
            RuntimeError: the worker failed or did not answer in time.
        """
        left = max(0.0, self._deadline - time.monotonic())
        try:
            reply = self._inbox.get(timeout=left if wait else 0)
        except queue.Empty:
            if left and not wait:
                return None
            raise RuntimeError(f"no answer within {self._seconds:g} s") from None
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

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


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
