"""The process that SwanLab lives in: tracking.py starts it, tells it what to record, ends it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import swanlab

_PROBE_SECONDS = 3.0  # for the cloud to answer at all


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
            print(json.dumps({"error": str(error) or type(error).__name__}), file=replies)
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
