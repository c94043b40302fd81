"""A second signal stops at once only if it comes clearly later; names are shown, not obeyed; a
reader that has seen enough is no error."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from rnn_tutorial.runs.provenance import REPOSITORY
from rnn_tutorial.runs.terminal import (
    CommandLineParser,
    Progress,
    StopSignals,
    print_error,
    shortened,
    shown,
    whole_number,
)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once_unless_it_is_an_echo(signum, monkeypatch):
    before = signal.getsignal(signum)
    with StopSignals() as stop:
        assert stop.signum is None
        signal.raise_signal(signum)
        signal.raise_signal(signum)
        assert stop.signum == signum
        later = time.monotonic() + 2
        monkeypatch.setattr(time, "monotonic", lambda: later)
        with pytest.raises(SystemExit) as stopped:
            signal.raise_signal(signum)
        assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) == before


def test_on_a_terminal_a_bar_shows_the_latest_of_each_metric(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", screen)
    progress = Progress(0, 40, {"accuracy": ("accuracy", ".2%")})
    progress.advance(20)
    progress.report({"loss": 0.5, "accuracy": 0.25, "steps_per_second": 3.0})
    progress.report({"loss": 0.125, "steps_per_second": 3.0})
    progress.close()
    last = screen.getvalue().strip().rpartition("\r")[2]
    assert "20/40" in last and "loss=0.1250" in last and "accuracy=25.00%" in last
    assert "steps/s=" not in last


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain, é, 数, 🙂", "plain, é, 数, 🙂"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\nb\tc\x7f\x9b", r"a\nb\tc\x7f\x9b"),
        ("\u202eabc\u2066\u2028", r"\u202eabc\u2066\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_only_shown(text, visible):
    assert shown(text) == visible


def test_a_whole_number_has_ascii_digits_and_is_within_its_bounds():
    assert [whole_number(0)(text) for text in ("0", "007", "123456789")] == [0, 7, 123456789]
    assert [whole_number(1, 99)(text) for text in ("1", "99")] == [1, 99]
    for text in ("0", "-1", "+1", "1.0", " 1", "1_0", "\N{SUPERSCRIPT TWO}", "٣", "", "9" * 5000):
        refusal = f"'{shortened(text)}' is not a whole number of at least 1"
        with pytest.raises(ArgumentTypeError, match=re.escape(refusal)):
            whole_number(1)(text)
    with pytest.raises(ArgumentTypeError, match="'100' is not a whole number from 1 to 99"):
        whole_number(1, 99)("100")
    assert [whole_number(-5)(text) for text in ("-5", "0", "7")] == [-5, 0, 7]
    with pytest.raises(ArgumentTypeError, match="'-6' is not a whole number of at least -5"):
        whole_number(-5)("-6")


@pytest.mark.parametrize(
    "body, status", [("print('line\\n' * 100_000)", 1), ("raise KeyboardInterrupt", 130)]
)
def test_a_command_whose_reader_leaves_or_that_is_interrupted_ends_without_a_traceback(
    body, status
):
    program = (
        "from rnn_tutorial.runs.terminal import run_command\n"
        f"def main():\n    {body}\n    return 0\n"
        "run_command(main)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.read(1 if status == 1 else 0)
        process.stdout.close()
        assert process.wait(timeout=60) == status and process.stderr.read() == ""


@pytest.mark.skipif(os.name != "posix", reason="descriptors as POSIX has them")
def test_what_goes_to_a_closed_standard_error_does_not_go_to_the_output():
    program = (
        "import sys\nfrom rnn_tutorial.runs.terminal import run_command, say\n"
        "def main():\n    print('lost', file=sys.stderr)\n    say('kept')\n    return 0\n"
        "run_command(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "kept\n")


def test_two_dashes_are_no_value_of_a_flag(capsys):
    parser = CommandLineParser(prog="p")
    parser.add_argument("--name")
    parser.add_argument("place", nargs="?")
    assert parser.parse_args(["--name=-", "--", "--name"]).place == "--name"
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--name=--"])
    sentence = "p: error: argument --name: expected a value, not '--' (see --help)\n"
    assert (stopped.value.code, capsys.readouterr().err) == (2, sentence)


def test_what_was_given_is_not_repeated_for_pages(capsys):
    parser = CommandLineParser(prog="p")
    parser.add_argument("--size", choices=["small"])
    for arguments in (["--size", "x" * 5000], ["y" * 5000]):
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
        error = capsys.readouterr().err
        assert "…" in error and len(error) < 300 and error.count("\n") == 1
    print_error("p", "z" * 5000)
    assert len(capsys.readouterr().err) < 300


def test_letters_that_the_output_does_not_have_are_escaped():
    program = "from rnn_tutorial.runs.terminal import run_command; run_command(lambda: print('é✓'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True,
        env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout.rstrip(), done.stderr) == (0, b"\xe9\\u2713", b"")


@pytest.mark.skipif(os.name != "posix", reason="files have no limit there")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_cut_off_is_an_error_also_if_python_does_not_buffer(unbuffered, tmp_path):
    import resource

    program = (
        "from rnn_tutorial.runs.terminal import run_command\n"
        "run_command(lambda: print('line\\n' * 10_000, end=''))"
    )
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, stdout=out, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "-c: error: [Errno 27] File too large\n")


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_output_that_would_not_wait_for_its_reader_does():
    """What else writes to a terminal or a pipe may have set it so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    program = "from rnn_tutorial.runs.terminal import run_command\n"
    program += "run_command(lambda: print(*range(100_000), sep='\\n'))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as reader:
        first = reader.readline()
        time.sleep(0.5)  # the pipe is full by now
        lines = [first, *reader]
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, len(lines)) == (0, b"", 100_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("body", ["print()", "print() or sys.exit(0)"])  # as --help ends
def test_a_full_disk_under_the_output_is_one_line(body):
    program = "import sys\nfrom rnn_tutorial.runs.terminal import run_command\n"
    program += f"run_command(lambda: {body})"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # what is buffered fails at the end only
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"-c: error: [Errno 28] No space left on device\n"
