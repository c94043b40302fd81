"""What several test files need: the scripts as a user runs them, and one small trained run."""

import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy and SciPy read it when imported

import numpy as np
import pytest
import torch
from hypothesis import settings

from rnn_tutorial.model.classifier import make_model
from rnn_tutorial.runs.terminal import spare_the_garbage_collector

REPOSITORY = Path(__file__).parent.parent

# What the user has set for other programs.
for name in [*os.environ]:
    if name.startswith("SWANLAB") or name in ("OMP_NUM_THREADS", "PYTHONWARNINGS"):
        del os.environ[name]
# Where pytest is started with SIGINT ignored, its children would ignore Ctrl-C, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # small nets are slower with more, far slower on a busy machine
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")
# What a power cut would leave no test can see, and hundreds of small runs would wait for the disk.
# Started processes do wait.
os.fsync = lambda file: None


def pytest_collection_modifyitems(items):
    """What takes longest begins first: if it began last, one worker would wait for the other."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish():
    """Spend no time on PyTorch's own objects; what the tests make is collected as ever."""
    spare_the_garbage_collector()


RECORDED = json.loads((REPOSITORY / "tests/training/recorded_weights.json").read_text())


def recorded_hashes():
    """The hash of the weights that each recorded training ends with on such a machine, by name.

    The last bits of a matrix product depend on the processor and on the libraries that multiply.
    So a product of its own is recorded beside the weights: where none is the same, there are none.
    """
    return RECORDED["hashes"].get(hash_of_a_product(), {})


def hash_of_a_product():
    """SHA-256 of what PyTorch and SciPy's BLAS make of the same two matrices."""
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 96, 96), dtype=np.float32)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    halves = (x.bfloat16() @ y.bfloat16()).float()
    from scipy.linalg.blas import sgemm  # after the environment was set

    results = ((x @ y).numpy(), halves.numpy(), x.tanh().numpy(), sgemm(1.0, a, b))
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()


def status_of(main, *arguments):
    """The exit status of a command that is run in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        return stopped.code


def numbers_of(batches):
    """Token ids, lengths and targets of batches."""
    return batches.x, batches.seq_lengths, batches.targets


def make_digit_model(config):
    """The model of a configuration for the digit sum."""
    return make_model(config, config.max_number + 1, config.max_number + 1)


@pytest.fixture(scope="session")
def script_environment():
    """The environment of the scripts in tests: warnings are errors, texts are UTF-8."""
    warnings = "error,ignore:This DataLoader will create"  # on one core
    return os.environ | {"PYTHONWARNINGS": warnings, "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def start_script(script_environment):
    """Start a script of the repository: start_script("train_cls_rnn.py", "--seed", 1, cwd=...).

    Or one of its modules, as python -m does: start_script("rnn_tutorial.gallery.text", cwd=...).
    """

    def start(program, *arguments, cwd, **options):
        is_script = program.endswith(".py")
        environment = script_environment | ({} if is_script else {"PYTHONPATH": str(REPOSITORY)})
        command = [str(REPOSITORY / program)] if is_script else ["-m", program]
        return subprocess.Popen(
            [sys.executable, *command, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            **{"env": environment, **options},
        )

    return start


@pytest.fixture(scope="session")
def run_script(start_script):
    """Run a script or a module to its end, see `start_script`; returns its status and output."""

    def run(script, *arguments, cwd, text="", **options):
        process = start_script(script, *arguments, cwd=cwd, stdin=subprocess.PIPE, **options)
        try:
            stdout, stderr = process.communicate(text, timeout=120)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    return run


def wait_until(condition, process=None, seconds=120):
    """Wait for a condition; the test fails if it comes too late, or a process ends before it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process and (process.poll() is not None or time.monotonic() > deadline):
            process.kill()
            raise AssertionError(f"the process said: {process.communicate(timeout=30)}")
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.002)


def kill_when(condition, process):
    """Kill a process, as a power cut would, as soon as a condition holds."""
    wait_until(condition, process)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def cut_short(run, place):
    """A copy of a finished run as a kill would have left it after its first checkpoint."""
    shutil.copytree(run, place)
    _, *later = sorted(place.glob("model_step_*.pt"), key=lambda path: path.stat().st_mtime_ns)
    for path in (place / "result.json", *later):
        path.unlink()
    torch.manual_seed(99)  # a resumed run does not depend on it
    return place


def refusal(capsys, main, *arguments):
    """Run a main with arguments that it must refuse; returns the one sentence."""
    status = status_of(main, *arguments)
    printed = capsys.readouterr()
    (sentence,) = printed.err.splitlines()
    assert status == 2 and not printed.out
    return sentence


def run_here(script, *arguments, cwd, text=""):
    """The same as `run_script` in this process, which need not start Python and import PyTorch.

    For tests of what a script says and writes. Signals, pipes, encodings and whatever else belongs
    to a process are tested in one.
    """
    main = importlib.import_module(script.removesuffix(".py")).main
    before, stdin = Path.cwd(), sys.stdin
    with (
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
    ):
        try:
            os.chdir(cwd)
            sys.stdin = io.StringIO(text)
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            status = stopped.code
        finally:
            os.chdir(before)
            sys.stdin = stdin
    return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


TRAIN_IN_TURN = """
import json, os, sys, train_cls_rnn
from rnn_tutorial.runs.terminal import spare_the_garbage_collector
spare_the_garbage_collector()
for port, arguments in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    assert train_cls_rnn.main(arguments) == 0
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def train_in_two(script_environment):
    """Train in two processes that know of each other as torchrun's do, once for each list of flags.

    PyTorch is imported twice for all of it; with torchrun, three times for each.
    """

    def train(*runs, cwd):
        runs = json.dumps([(free_port(), [*map(str, flags)]) for flags in runs])
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        shared |= {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", TRAIN_IN_TURN, runs],
                cwd=cwd,
                env=script_environment | shared | {"RANK": rank, "LOCAL_RANK": rank},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in "01"
        ]
        try:
            for process in ranks:
                _, stderr = process.communicate(timeout=100)
                assert process.returncode == 0, stderr
        finally:
            for process in ranks:
                process.kill()
                process.communicate(timeout=30)

    return train


TRAIN_QUICKLY = (
    *("--engine", "autograd", "--embed_noise", 0.1),
    *("--total_steps", 40, "--hidden_dim", 8, "--log_every", 10, "--eval_every", 20),
    *("--save_every", 20, "--max_seq_len", 4, "--tracker", "disabled"),
)


@pytest.fixture(scope="session")
def trained_folder(run_script, tmp_path_factory):
    """A folder in which a small net was trained: output/baseline, and screen.txt. Read only."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script("train_cls_rnn.py", *TRAIN_QUICKLY, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "screen.txt").write_text(done.stdout, encoding="utf-8")
    before = sorted(folder.rglob("*"))
    yield folder
    assert sorted(folder.rglob("*")) == before, "a test left something in the trained folder"
