"""The terminal: flags and their errors, the progress of a training, Ctrl-C."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

# Control characters, marks that reorder text, line separators, half characters.
_UNSHOWN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: object) -> str:
    """A line of text in which what a terminal would obey, such as an escape, is only visible."""
    return _UNSHOWN.sub(lambda match: repr(match[0])[1:-1], str(text))


def shortened(text: str, at_most: int = 20) -> str:
    """The first characters of a text that is refused, and "…" if there are more."""
    return text[:at_most] + "…" * (len(text) > at_most)


def typed(folder: Path) -> str:
    """A folder as a shell takes it; Windows' shells have double quotes in common."""
    if isinstance(folder, PureWindowsPath):
        return subprocess.list2cmdline([folder.as_posix()])
    return shlex.quote(str(folder))


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers for argparse: ASCII digits, and a number from `low` on."""
    digits = "-?[0-9]{1,18}" if low < 0 else "[0-9]{1,18}"
    bounds = f"of at least {low}" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        if re.fullmatch(digits, text) and low <= int(text) <= (high or sys.maxsize):
            return int(text)
        raise argparse.ArgumentTypeError(f"{shortened(text)!r} is not a whole number {bounds}")

    return read


def _in_a_line(message: object) -> str:
    """A message as it is shown: one line, in which nothing that was given goes on for pages."""
    return re.sub(r"\S{500,}", lambda word: shortened(word[0], 100), shown(message))


class CommandLineParser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error in one line on stderr, without the usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == ["--"]:  # which argparse makes an empty list
            self.error(f"argument {action.option_strings[0]}: expected a value, not '--'")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_in_a_line(' '.join(message.split()))} (see --help)\n")

    @contextlib.contextmanager
    def exit_on_bad_input(self, *also: type[Exception]) -> Iterator[None]:
        """Turn a ValueError or an OSError, or others, into one line on stderr and exit status 2.

        A reader of the output that leaves is no bad input, and for `run_command` to handle.
        """
        try:
            yield
        except BrokenPipeError:
            raise
        except (ValueError, OSError, *also) as error:
            print_error(self.prog, error)
            sys.exit(2)


def spare_the_garbage_collector() -> None:
    """Let it pass over what is imported by now, and at exit over everything.

    Python searches all objects for garbage before it ends, and PyTorch has so many that this takes
    half a second.
    """
    gc.freeze()
    atexit.register(gc.freeze)


def run_command(main: Callable[[], int], if_unread: int = 1) -> NoReturn:
    """Run a command and exit with its status; no traceback if its reader leaves or Ctrl-C ends it.

    A reader such as `head` closes the pipe when it has seen enough; the status is `if_unread` then.
    """
    spare_the_garbage_collector()
    if sys.stderr is None:  # it is closed, and print would take standard output instead
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if os.name == "posix":
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):  # it may be no file
                # What else writes there may have set it so that it fails instead of waiting.
                os.set_blocking(stream.fileno(), True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Without a buffer, as with PYTHONUNBUFFERED, it may write a part only.
        if isinstance(sys.stdout.buffer, io.RawIOBase):
            buffer, encoding = io.BufferedWriter(sys.stdout.buffer), sys.stdout.encoding
            sys.stdout = io.TextIOWrapper(buffer, encoding, line_buffering=True)
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that it does not have
    try:
        try:
            status = main()
        except SystemExit as end:  # of --help, or of bad input
            status = end.code
        if sys.stdout:  # None is one that is closed
            sys.stdout.flush()
    except BrokenPipeError:
        _flush_or_discard()
        status = if_unread
    except OSError as error:  # such as a full disk where the output goes
        print_error(Path(sys.argv[0]).name, error)
        status = 1
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    sys.exit(status)


def _flush_or_discard() -> None:
    """Write what is left of the output; if that fails, let Python's own try at its end succeed."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(program: str, reason: object) -> None:
    """Say in one line on stderr why a program ends, after what it has printed so far."""
    _flush_or_discard()
    print(f"{program}: error: {_in_a_line(reason)}", file=sys.stderr)


def say(sentence: str) -> None:
    """Print a line at once, above the progress bar if one is shown."""
    if sys.stdout:
        tqdm.write(sentence)
        sys.stdout.flush()


class Progress:
    """A progress bar with the latest metrics on a terminal; elsewhere one plain line per report.

    Args:
        first_step: where it begins.
        total_steps: where it ends.
        score: metric to displayed name and format, of what an evaluation finds.
    """

    def __init__(
        self, first_step: int, total_steps: int, score: Mapping[str, tuple[str, str]]
    ) -> None:
        self._shown = {
            "loss": ("loss", ".4f"),
            **score,
            "current_lr": ("lr", ".2e"),
            "steps_per_second": ("steps/s", ",.0f"),
        }
        self._step, self._total_steps = first_step, total_steps
        self._figures: dict[str, str] = {}
        self._bar = None
        if sys.stdout and sys.stdout.isatty():
            self._bar = tqdm(
                initial=first_step,
                total=total_steps,
                unit=" steps",
                file=sys.stdout,
                dynamic_ncols=True,
            )

    def advance(self, step: int) -> None:
        """Move on to this step."""
        self._step = step
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Show metrics of the current step; the bar also keeps those of earlier steps."""
        figures = {
            name: f"{metrics[key]:{form}}"
            for key, (name, form) in self._shown.items()
            if key in metrics
        }
        if self._bar is not None:
            self._figures |= figures
            self._figures.pop("steps/s", None)  # the bar shows its speed already
            self._bar.set_postfix(self._figures)
        else:
            shown = "  ".join(f"{name} {figure}" for name, figure in figures.items())
            print(f"step {self._step}/{self._total_steps}  {shown}", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class StopSignals:
    """While active, Ctrl-C and SIGTERM request a stop at the next step; a second one stops at once.

    The second one counts only if it comes more than a second later, because the same signal may
    arrive twice.

    Attributes:
        signum: the number of the signal that requested the stop, or None.
    """

    _HANDLED = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signum: int | None = None

    def __enter__(self) -> StopSignals:
        self._previous = {
            number: signal.signal(number, self._request_stop) for number in self._HANDLED
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum is None:
            self.signum, self._requested_at = signum, now
        elif now - self._requested_at > 1:  # torchrun repeats a Ctrl-C that the terminal sent too
            sys.exit(128 + signum)
