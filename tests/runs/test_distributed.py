"""Two processes train as one: the same weights, one log, resumable by any number of processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch
from conftest import REPOSITORY, run_here, wait_until

import train_cls_rnn
from rnn_tutorial.data.streams import SeqSumModDataset, add_noise
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.runs import processes
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.runs.machine import choose_device
from rnn_tutorial.runs.processes import World, find_world
from rnn_tutorial.training.configure import configure

FLAGS = (
    *("--total_steps", 40, "--hidden_dim", 8, "--num_layers", 2, "--log_every", 10),
    *("--eval_every", 20, "--save_every", 20, "--max_seq_len", 4, "--tracker", "disabled"),
    *("--embed_noise", 0.2, "--max_grad_norm", 1, "--weight_decay", 0.1, "--engine", "autograd"),
)


@pytest.fixture
def start_two(script_environment):
    """Start the training script as torchrun does, in two processes on this machine."""

    def start(*arguments, cwd):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        script = [str(REPOSITORY / "train_cls_rnn.py"), *map(str, arguments)]
        return subprocess.Popen(
            [*torchrun, "--nproc_per_node", "2", *script],
            cwd=cwd,
            env=script_environment | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert run_here("train_cls_rnn.py", *FLAGS, cwd=folder).returncode == 0
    return folder / "output" / "baseline"


def assert_close_weights(run, reference):
    weights, expected = (load_checkpoint(r / "model_step_40.pt").weights for r in (run, reference))
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (
            {"RANK": "1"},
            "RANK=1 and LOCAL_RANK=0 in the environment must be smaller than WORLD_SIZE=1",
        ),
        ({"RANK": "abc"}, "RANK='abc'"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK=''"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "not all of RANK, MASTER_ADDR and MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "abc"}, "MASTER_PORT='abc'"),
    ],
)
def test_what_torchrun_would_not_set_is_refused(variables, named, monkeypatch, capsys, tmp_path):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        train_cls_rnn.main(["--save_dir", str(tmp_path / "output")])
    (sentence,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and named in sentence and not list(tmp_path.iterdir())


def test_what_torchrun_sets_is_taken(monkeypatch):
    assert find_world() == World()
    monkeypatch.setenv("RANK", "3")
    for name, value in {"WORLD_SIZE": 4, "LOCAL_RANK": 1, "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert find_world() == World(3, 4, 1)


def test_two_processes_train_as_one_and_rank_0_alone_writes(start_two, alone, tmp_path):
    process = start_two(*FLAGS, cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["baseline"]
    run = tmp_path / "output" / "baseline"
    assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in alone.iterdir())
    assert stdout.count("Ask it:") == 1 and stdout.count("step 20/40") == 1
    assert_close_weights(run, alone)
    for name in ("loss", "grad_norm"):
        logged, expected = (
            [json.loads(line)[name] for line in (r / "metrics.jsonl").read_text().splitlines()]
            for r in (run, alone)
        )
        assert logged == pytest.approx(expected, rel=1e-3)


CHOICES = (
    *(*FLAGS, "--optimizer", "sgd", "--momentum", 0.5, "--lr", 0.3, "--accumulate_steps", 2),
    *("--scheduler", "plateau", "--plateau_patience", 1, "--eval_every", 2, "--log_every", 2),
    *("--early_stopping_patience", 5, "--bucket_by_length", "--total_steps", 400),
)


@pytest.fixture(scope="module")
def by_two(train_in_two, alone, tmp_path_factory):
    """What two processes have made: of a run of one that they resumed, and with many choices."""
    folder = tmp_path_factory.mktemp("by_two")
    (folder / "resumed").mkdir()
    for name in ("config.json", "metrics.jsonl", "model_step_20.pt"):
        (folder / "resumed" / name).write_bytes((alone / name).read_bytes())
    choices = (*CHOICES, "--save_dir", folder, "--run_name", "choices")
    train_in_two(("--resume", folder / "resumed"), choices, cwd=folder)
    return folder


def test_a_run_of_one_process_is_resumed_by_two(by_two, alone):
    assert_close_weights(by_two / "resumed", alone)


def test_two_processes_make_the_same_choices_as_one(by_two, tmp_path):
    """The evaluations of rank 0 slow and stop every process; passes divide what processes share."""
    assert run_here("train_cls_rnn.py", *CHOICES, cwd=tmp_path).returncode == 0
    folders = tmp_path / "output" / "baseline", by_two / "choices"
    one, two = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in folders
    )
    assert len({record["current_lr"] for record in one}) > 2 and one[-1]["step"] < 400
    for record, expected in zip(two, one, strict=True):
        for name in ("step", "current_lr", "padding_share"):
            assert record[name] == expected[name]
        assert record["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    best = [load_checkpoint(run / "model_best.pt").step for run in folders]
    assert best[0] == best[1]


def test_a_dead_process_ends_the_job_and_leaves_the_last_checkpoint(start_two, tmp_path):
    flags = [*FLAGS, "--total_steps", 100_000, "--save_every", 50, "--eval_every", 100_000]
    process = start_two(*flags, cwd=tmp_path)
    run = tmp_path / "output" / "baseline"
    try:
        wait_until(lambda: list(run.glob("model_step_*.pt")), process)
        workers = psutil.Process(process.pid).children()  # psutil comes with SwanLab
        os.kill(max(worker.pid for worker in workers), signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert "--resume output/baseline" in stderr + stdout
    latest = max(run.glob("model_step_*.pt"), key=lambda path: path.stat().st_mtime_ns)
    load_model(load_checkpoint(latest))


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_each_process_has_a_gpu_even_where_a_run_names_that_of_rank_0(name, monkeypatch):
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.tensor([0.0]))
    assert choose_device(name, World(rank=1, size=2, local_rank=1)) == "cuda:1"
    assert choose_device("cuda:0", World()) == "cuda:0"


def test_there_is_one_name_for_the_cpu():
    assert choose_device("cpu", World()) == choose_device("cpu:0", World()) == "cpu"


WAITING = """
import ctypes, os, signal, time
from rnn_tutorial.runs.processes import World, no_endless_wait
from rnn_tutorial.runs.terminal import StopSignals

def last_words():
    print("last words", flush=True)

with StopSignals() as stop, no_endless_wait(World(size=2), last_words, grace={grace}):
    print("ready", flush=True)
    {waits}
print("stopped by", stop.signum)
"""
# A thread that locks a mutex twice waits for ever, in C, and takes the wait up after a signal.
IN_C = "lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)"
IN_C += "; lock(mutex); lock(mutex)"
IN_PYTHON = "while stop.signum is None: time.sleep(0.01)"
# The signal of a forked process is not its parent's.
OF_A_CHILD = "os.wait() if os.fork() else signal.raise_signal(15); time.sleep(0.8)"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    ("waits", "grace", "asked", "ending"),
    [
        (IN_C, 0.5, True, ("last words", 128 + signal.SIGTERM)),
        (IN_PYTHON, 60, True, ("stopped by 15", 0)),
        (OF_A_CHILD, 0.5, False, ("stopped by None", 0)),
    ],
)
def test_sigterm_ends_a_wait_that_does_not_end(script_environment, waits, grace, asked, ending):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(waits=waits, grace=grace)],
        env=script_environment | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        if asked:
            process.send_signal(signal.SIGTERM)
        printed = process.communicate(timeout=60)[0].splitlines()
    finally:
        process.kill()
    assert (printed[-1], process.returncode) == ending


def test_what_the_main_process_refuses_is_refused_in_all(monkeypatch):
    sent = []

    def broadcast(made):
        sent.append(made[0]) if made[0] is not None else made.__setitem__(0, sent[0])

    monkeypatch.setattr(processes.distributed, "broadcast_object_list", broadcast)
    for rank in (0, 1):
        with pytest.raises(ValueError, match="invalid literal"):
            World(rank, 2).from_main(lambda: int("no"))


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="--batch_size 15 is not a multiple of the 2 processes"):
        configure({"batch_size": 15}, None, World(0, 2))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_shares_are_a_partition_of_the_batch_and_its_noise(size):
    batches = add_noise(SeqSumModDataset(max_number=9).draw_batches(0, 3, 12), 0, 0, 2)
    shares = [batches.share(rank, size) for rank in range(size)]
    for name in ("x", "seq_lengths", "targets"):
        whole = sorted(str(row) for rows in getattr(batches, name).tolist() for row in rows)
        parts = [getattr(share, name).tolist() for share in shares]
        assert sorted(str(row) for rows in parts for own in rows for row in own) == whole
    seq_lengths = batches.seq_lengths[0]
    packed = torch.nn.utils.rnn.PackedSequence(
        batches.noise[0],
        torch.tensor([(seq_lengths > t).sum() for t in range(int(seq_lengths[0]))]),
    )
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    for rank, share in enumerate(shares):
        expected = torch.nn.utils.rnn.pack_padded_sequence(
            padded[rank::size], seq_lengths[rank::size], batch_first=True
        )
        assert torch.equal(share.noise[0], expected.data)
