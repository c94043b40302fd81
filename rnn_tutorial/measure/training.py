"""The speed of training: the textbook loop against every engine, whole runs, processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from rnn_tutorial.data.loader import make_loader
from rnn_tutorial.measure.textbook import textbook_loop
from rnn_tutorial.measure.timing import (
    compare_to,
    in_fresh_process,
    measure_in_turns,
    seconds_per_unit,
    seconds_per_update,
    summarize,
)
from rnn_tutorial.model.classifier import make_model
from rnn_tutorial.runs.machine import choose_device
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.provenance import REPOSITORY
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.training.engines import make_engine
from rnn_tutorial.training.optimizer import make_optimizer
from rnn_tutorial.training.schedule import EvaluationHistory, learning_rate
from rnn_tutorial.training.support import able_engines

_TRAIN, _PREDICT = (str(REPOSITORY / name) for name in ("train_cls_rnn.py", "predict_cls_rnn.py"))
BENCHMARKS = {
    "A": TrainConfig(),
    "B": TrainConfig.from_flags({"recipe": "sota"}),
    "C": TrainConfig(  # a net of the size of solved, with weight decay, clipping and noise
        min_seq_len=1, hidden_dim=128, batch_size=256, lr=0.003, optimizer="adamw",
        weight_decay=0.3, max_grad_norm=1.0, embed_noise=0.3,
    ),
}  # fmt: skip


def engine_steps(config: TrainConfig, engine: str, at_once: int = 100) -> Iterator[int]:
    """The training script's updates without its logging; yields the number of updates made."""
    config = replace(config, engine=engine, device=choose_device(config.device, World()))
    task = make_task(config)
    model = make_model(config, len(task.tokens), len(task.classes))
    optimizer = make_optimizer(model.parameters(), config)
    history = EvaluationHistory()
    make_updates = make_engine(model, optimizer, config, World(), history, task.machine)
    loader = make_loader(task.dataset, config, 0, 10**9)
    step = 0
    while True:
        until = step + at_once
        while step < until:
            batches = loader.take(until - step)
            steps = range(step, step + len(batches))
            rates = [learning_rate(config, k, history) for k in steps]
            losses, _ = make_updates(steps, rates, batches, lambda: False)
            step += len(losses)
        losses[-1].item()  # waits for a GPU, as logging does
        yield step


def candidate_engines(
    config: TrainConfig, seconds: float, at_once: int = 100
) -> dict[str, Callable[[], float]]:
    """The engines that can train like this, each as a candidate of `measure_in_turns`."""
    return {
        engine: seconds_per_update(engine_steps(config, engine, at_once), seconds)
        for engine in able_engines(config, World())
    }


def compare_training(rounds: int, seconds: float, cell: str = "rnn") -> dict[str, Any]:
    """The textbook loop against each engine on A, B and C; each has `seconds` in a round."""
    results = {}
    for name, config in BENCHMARKS.items():
        config = replace(config, cell=cell, device=choose_device("auto", World()))
        textbook = {"textbook": seconds_per_update(textbook_loop(config), seconds)}
        candidates = textbook | candidate_engines(config, seconds)
        results[name] = compare_to(measure_in_turns(rounds, candidates), "textbook")
    return results


def measure_compilation() -> dict[str, float]:
    """Seconds until the compiled engine has made its first update: nothing cached, then cached."""
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, NUMBA_CACHE_DIR=cache):
        cold, cached = (in_fresh_process(_first_update) for _ in range(2))
    return {"cold_seconds": cold, "cached_seconds": cached}


def _first_update() -> float:
    return seconds_per_unit(lambda: next(engine_steps(TrainConfig(device="cpu"), "compiled", 1)))()


def compare_whole_runs(rounds: int) -> dict[str, Any]:
    """From start to exit: the textbook loop on the tutorial's baseline, against the scripts.

    `import torch` is what no script can do without.
    """
    commands = {"textbook": ["-m", "rnn_tutorial.measure.textbook"]}
    for flags in ("--tracker local", "--tracker disabled", "--tracker disabled --recipe solved"):
        commands[f"train_cls_rnn.py {flags}"] = [_TRAIN, "--device", "cpu", *flags.split()]
    with tempfile.TemporaryDirectory() as folder:
        trained = ["--save_dir", folder]
        few = "--device cpu --total_steps 10 --tracker disabled"
        _run_command([_TRAIN, *few.split(), *trained])
        commands["predict_cls_rnn.py --input"] = [_PREDICT, *trained, "--input", "1 2 3"]
        commands["import torch"] = ["-c", "import torch"]
        candidates = {name: partial(_run_command, command) for name, command in commands.items()}
        return compare_to(measure_in_turns(rounds, candidates), "textbook")


def _run_command(arguments: Sequence[str]) -> float:
    """The seconds that Python takes with these arguments, in an empty folder."""
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with tempfile.TemporaryDirectory() as folder:
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        options = {"cwd": folder, "env": environment, **silent}
        return seconds_per_unit(partial(subprocess.run, command, check=True, **options))()


def measure_processes(hidden_dims: Sequence[int], num_steps: int) -> dict[str, Any]:
    """Updates per second of one process and of two that divide each batch, one thread each."""
    two_processes = "-m torch.distributed.run --standalone --nproc_per_node 2"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    results = {}
    for hidden_dim in hidden_dims:
        flags = (
            f"--hidden_dim {hidden_dim} --batch_size 256 --max_seq_len 3 --engine autograd "
            f"--total_steps {num_steps} --log_every {num_steps // 8} --eval_every {num_steps} "
            "--save_every 0 --tracker disabled --device cpu --num_threads 1"
        )
        rates = {}
        for name, launcher in (("one", ""), ("two", two_processes)):
            with tempfile.TemporaryDirectory() as folder:
                command = [*launcher.split(), _TRAIN, *flags.split(), "--save_dir", folder]
                subprocess.run(
                    [sys.executable, *command], env=environment, check=True, capture_output=True
                )
                metrics = Path(folder, "baseline", "metrics.jsonl").read_text().splitlines()
            rates[name] = summarize([json.loads(m)["steps_per_second"] for m in metrics[2:]])
        results[str(hidden_dim)] = rates
    return results
