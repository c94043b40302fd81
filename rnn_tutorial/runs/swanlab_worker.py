"""The process in which SwanLab runs; tracking.py starts it, sends it metrics and ends it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import swanlab

_PROBE_SECONDS = 3.0  # for the cloud to answer


class _SwanLabOutput(io.TextIOBase):
    """Replaces stdout and stderr: keeps the errors that SwanLab prints, drops everything else."""

    def __init__(self):
        self._errors: list[str] = []

    def write(self, text: str) -> int:
        if "| ERROR" in text:  # time | ERROR | place - message: frames -> exception
            self._errors.append(text.split(" - ", 1)[-1].rsplit(" -> ", 1)[-1])
        return len(text)

    def check(self) -> None:
        """Raise RuntimeError if SwanLab has printed an error."""
        if self._errors:
            raise RuntimeError(self._errors[0])


def _serve() -> None:
    """Do what the lines on stdin say, answer in lines on stdout, and exit without waiting."""
    lines, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.environ["COLUMNS"] = "10000"  # an error is one line
    sys.stdout = sys.stderr = output = _SwanLabOutput()
    try:
        training = json.loads(lines.readline())
        sys.path[:] = training["path"]
        threading.Thread(
            target=_exit_after_training,
            args=(training["pid"], training["orphan_seconds"]),
            daemon=True,
        ).start()
        importlib.import_module("swanlab")
        _answer(replies, {})
        run, reply = _start_run(output, **json.loads(lines.readline()))
        _answer(replies, reply)
        if run is not None:
            _record(run, lines, output)
        _answer(replies, {})
    except BaseException as error:
        _answer(replies, {"error": str(error) or type(error).__name__})
    finally:
        os._exit(0)


def _answer(replies: io.TextIOBase, reply: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the training may be dead; what it sent is recorded
        print(json.dumps(reply), file=replies)


def _exit_after_training(training_pid: int, orphan_seconds: float) -> None:
    """Wait until the training has ended, leave the run time to close, and end this process."""
    # On Windows, a virtual environment's Python starts the real one, which is then the parent.
    parent = training_pid if os.name == "posix" else os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(orphan_seconds)
    os._exit(1)


def _start_run(
    output: _SwanLabOutput,
    choice: str,
    run_name: str,
    config: dict[str, Any],
    run_id: str,
    is_resumed: bool,
) -> tuple[swanlab.Run | None, dict[str, Any]]:
    """Choose the mode and start the run; returns it and the answer that `Tracker` reads."""
    import swanlab

    settings = swanlab.Settings()
    mode, reasons = _choose_mode(choice, settings)
    if mode == "disabled":
        return None, {"mode": mode, "reasons": reasons}
    init = functools.partial(
        swanlab.init,
        mode=mode,
        # SwanLab may refuse its default project, which is named after the directory
        project=settings.project.name or "rnn_tutorial",
        name=run_name,
        config=config,
        id=run_id or None,
        settings=swanlab.Settings(
            interactive=False,
            terminal={"proxy_type": "none"},
            # These cost half a second at the start and a thread, and nobody asked for them.
            probe=dict.fromkeys(("hardware", "monitor", "requirements", "conda", "git"), False),
        ),
    )
    try:
        run, reason = _resume(init, mode) if is_resumed else (init(resume="allow"), None)
        if mode != "online":
            output.check()
    except Exception as error:
        raise RuntimeError(f"{mode} failed: {error}") from error
    upload = shlex.join(["swanlab", "sync", *(["--id", run_id] if run_id else []), str(run.dir)])
    views = {
        "online": lambda: run.url,
        "local": lambda: f"`{_watch_command(settings.log_dir)}` shows the curves",
        "offline": lambda: f"`{upload}` uploads it later",
    }
    reasons += [reason] if reason else []
    return run, {"mode": mode, "reasons": reasons, "view": views[mode](), "run_dir": str(run.dir)}


def _resume(init: Callable[..., swanlab.Run], mode: str) -> tuple[swanlab.Run, str]:
    """Go on with the experiment of a run that is resumed, where SwanLab can; and what it did."""
    if mode == "online":
        with contextlib.suppress(RuntimeError):  # there is none of this identity
            return init(resume="must"), "the same experiment goes on"
        return init(resume="allow"), "a new experiment: there is no earlier one here"
    run = init(resume="allow")
    if mode == "offline":
        return run, "the same experiment once it is uploaded"
    return run, "a new experiment: this mode cannot go on with an earlier one"


def _choose_mode(choice: str, settings: swanlab.Settings) -> tuple[str, list[str]]:
    """The mode to start with, and the reasons if it is not simply `choice`."""
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
    """The command that shows the runs in `log_dir`; ./swanlog is its default."""
    default = Path.cwd() / "swanlog"
    return "swanlab watch" if log_dir == default else f"swanlab watch {shlex.quote(str(log_dir))}"


def _record(run: swanlab.Run, lines: io.TextIOBase, output: _SwanLabOutput) -> None:
    """Log what the training sends, until it says that it has finished or ends without a word."""
    for line in lines:
        message = json.loads(line)
        if message is None:
            run.finish()
            break
        step, values = message
        run.log(values, step=step)
        if run.mode != "online":  # which retries by itself
            output.check()
    else:
        run.finish(state="aborted", error="the training ended without finishing the run")
    if run.mode != "online":
        output.check()


if __name__ == "__main__":
    _serve()
