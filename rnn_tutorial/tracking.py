"""SwanLab if it can, never in the way.

SwanLab may prompt, print, replace signal handlers, wait for a network that is down and leave
threads behind. So it lives in a process of its own, a worker, which is this file run as a script;
the training only writes lines to it:

    training                              worker
    start_tracker  -- settings ------->   swanlab.init
                   <- mode, view ------
    Tracker.log    -- step, values --->   run.log
    Tracker.finish -- null ----------->   run.finish
                   <- {}: all is saved

A worker that fails answers with the error, one that hangs is killed, one whose training died sees
the end of its input and closes the run. The training goes on in every case.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
import operator
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import swanlab

TRACKERS = ("auto", "online", "local", "offline", "disabled")

_FALLBACK = {"auto": "local", "online": "local", "local": "offline", "offline": "disabled"}
_PROBE_SECONDS = 3.0  # for the cloud to answer at all
_START_SECONDS = 20.0  # for everything before the first step
_FINISH_SECONDS = {
    "online": 10.0,
    "local": 60.0,
    "offline": 60.0,
}  # a disk is slow, a network is down
_ORPHAN_SECONDS = 60.0  # for a worker to close the run of a training that died


class Tracker:
    """Where the numbers of a run go; `Tracker()` sends them nowhere.

    Attributes:
        mode: "online", "local" or "offline"; "disabled" when nothing is recorded.
        notice: one line for the screen: the mode, why this one, and how to view the run.
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
        """Record numbers without waiting; the first failure is told once and ends the recording.

        Args:
            values: name to number, or to a tensor of one element. Values that are not finite are
                left out: they break SwanLab's chart.
            step: optimizer updates done.
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
            _warn(f"SwanLab stopped ({_one_line(error)}); training goes on without it")

    def finish(self) -> None:
        """Save what was recorded, in a bounded time; further calls do nothing."""
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
    """Start recording a run in the best way that works here.

    Args:
        choice: one of `TRACKERS`. "auto" is what SwanLab's own settings (environment, files) say;
            else online, with a login and a cloud that answers; else local. What does not work
            falls back: online to local, local (it needs the dashboard package) to offline, offline
            to nothing.
        run_name: the run's name in SwanLab.
        config: plain values to keep with the run, the seed among them.

    Returns:
        A tracker whose `mode` and `notice` say what was chosen and why; at worst it does nothing.

    Raises:
        ValueError: `choice` is not one of `TRACKERS`.
    """
    if choice not in TRACKERS:
        raise ValueError(f"tracker must be one of {', '.join(TRACKERS)}, not {choice!r}")
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
    """A worker whose run has started, and its answer."""
    worker = _Worker()
    try:
        worker.send({"choice": choice, "run_name": run_name, "config": dict(config)})
        return worker, worker.receive(_START_SECONDS)
    except BaseException:
        worker.close()
        raise


class _Worker:
    """The process that SwanLab lives in, as the training sees it. Only `receive` ever waits."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__, *sys.argv],  # SwanLab keeps the command line
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # no terminal to prompt on, and Ctrl-C is the training's alone
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
        """The next answer.

        Raises:
            RuntimeError: the worker failed, or did not answer in time.
        """
        try:
            reply = self._inbox.get(timeout=timeout)
        except queue.Empty:
            raise RuntimeError(f"no answer within {timeout:g} s") from None
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def check(self) -> None:
        """Raise RuntimeError if the worker failed since its last answer."""
        if not self._inbox.empty():
            self.receive(0)

    def close(self) -> None:
        """End the process, whatever it is doing."""
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


# ---- the worker's side ---------------------------------------------------------------------------


class _Screen(io.TextIOBase):
    """What SwanLab takes for the screen: forgets its chatter, keeps errors that it only prints."""

    def __init__(self):
        self._complaints: list[str] = []

    def write(self, text: str) -> int:
        if "| ERROR" in text:  # time | ERROR | place - message: frames -> exception
            self._complaints.append(text.split(" - ", 1)[-1].rsplit(" -> ", 1)[-1])
        return len(text)

    def check(self) -> None:
        if self._complaints:
            raise RuntimeError(self._complaints[0])


def _serve() -> None:
    """Do what the lines on stdin say, answer in lines on stdout, end without waiting for anyone."""
    lines, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.environ["COLUMNS"] = "10000"  # an error is one line
    sys.stdout = sys.stderr = screen = _Screen()
    try:
        training = json.loads(lines.readline())
        sys.path[:] = training["path"]
        threading.Thread(target=_outlive, args=(training["orphan_seconds"],), daemon=True).start()
        run, reply = _start_run(screen, **json.loads(lines.readline()))
        print(json.dumps(reply), file=replies)
        if run is not None:
            _record(run, lines, screen)
        print("{}", file=replies)
    except BaseException as error:
        with contextlib.suppress(OSError):
            print(json.dumps({"error": _one_line(error)}), file=replies)
    finally:
        os._exit(0)


def _outlive(orphan_seconds: float) -> None:
    """Wait until the training is gone, give the run its time to close, and end the worker."""
    training = os.getppid()
    while os.getppid() == training:
        time.sleep(1)
    time.sleep(orphan_seconds)
    os._exit(1)


def _start_run(
    screen: _Screen, choice: str, run_name: str, config: dict[str, Any]
) -> tuple[swanlab.Run | None, dict[str, Any]]:
    """Choose the mode, start the run, and say so in the form that `start_tracker` reads."""
    import swanlab

    settings = swanlab.Settings()
    mode, reasons = _choose_mode(choice, settings)
    if mode == "disabled":
        return None, {"mode": mode, "reasons": reasons}
    try:  # with a project: SwanLab's default, the directory's name, may be one that it refuses
        run = swanlab.init(
            mode=mode,
            project=settings.project.name or "rnn_tutorial",
            name=run_name,
            config=config,
            settings=swanlab.Settings(
                interactive=False,
                terminal={"proxy_type": "none"},
                # Half a second at the start, a thread that polls, and lists that nobody asked for.
                probe=dict.fromkeys(("hardware", "monitor", "requirements", "conda", "git"), False),
            ),
        )
        if mode != "online":
            screen.check()
    except Exception as error:
        raise RuntimeError(f"{mode} failed: {error}") from error
    views = {
        "online": lambda: run.url,
        "local": lambda: f"`{_watch_command(settings.log_dir)}` shows the curves",
        "offline": lambda: f"`swanlab sync {shlex.quote(str(run.dir))}` uploads it later",
    }
    return run, {"mode": mode, "reasons": reasons, "view": views[mode](), "run_dir": str(run.dir)}


def _choose_mode(choice: str, settings: swanlab.Settings) -> tuple[str, list[str]]:
    """The mode to start with, and the reasons why it is not simply `choice`."""
    reasons = []
    if choice == "auto" and "mode" in settings.model_fields_set:
        choice, reasons = settings.mode, ["as SwanLab's settings say"]
    if choice not in ("auto", "online"):
        return choice, reasons
    if not settings.api_key:
        return "local", [*reasons, "not logged in"]
    import requests  # comes with SwanLab

    try:
        requests.head(settings.api_host, timeout=_PROBE_SECONDS)
    except requests.RequestException:
        return "local", [*reasons, f"{settings.api_host} does not answer"]
    return "online", reasons


def _watch_command(log_dir: Path) -> str:
    """The command that shows the runs under `log_dir`; it finds ./swanlog by itself."""
    default = Path.cwd() / "swanlog"
    return "swanlab watch" if log_dir == default else f"swanlab watch {shlex.quote(str(log_dir))}"


def _record(run: swanlab.Run, lines: io.TextIOBase, screen: _Screen) -> None:
    """Log what comes until the training says that it is over, or ends without saying so."""
    for line in lines:
        message = json.loads(line)
        if message is None:
            run.finish()
            break
        step, values = message
        run.log(values, step=step)
        if run.mode != "online":  # which retries by itself
            screen.check()
    else:
        run.finish(state="aborted", error="the training ended without finishing the run")
    if run.mode != "online":
        screen.check()


if __name__ == "__main__":
    _serve()
