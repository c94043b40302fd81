"""The speed of training: the textbook loop against every engine, whole runs, processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from rnn_tutorial.data.streams import BatchLoader, training_stream
from rnn_tutorial.measure.textbook import textbook_loop
from rnn_tutorial.measure.timing import against, in_fresh_process, spread, stopwatch, timed, updates
from rnn_tutorial.model.classifier import make_model
from rnn_tutorial.runs.processes import World, choose_device
from rnn_tutorial.runs.provenance import REPOSITORY
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.recipes import settings_of
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.training.engines import make_engine
from rnn_tutorial.training.optimizer import make_optimizer
from rnn_tutorial.training.schedule import EvaluationHistory, learning_rate
from rnn_tutorial.training.support import able_engines

SIZES = {
    "A": TrainConfig(),
    "B": TrainConfig(**settings_of({"recipe": "sota"})),
    "C": TrainConfig(  # a net of the size of solved, with weight decay, clipping and noise
        min_seq_len=1,
        hidden_dim=128,
        batch_size=256,
        lr=0.003,
        optimizer="adamw",
        weight_decay=0.3,
        max_grad_norm=1.0,
        embed_noise=0.3,
    ),
}


@dataclass(frozen=True)
class Budget:
    """How long to measure: rounds, and the seconds that one candidate gets in a round."""

    rounds: int
    seconds: float


def engine_steps(config: TrainConfig, engine: str, at_once: int = 100) -> Iterator[int]:
    """The training script's updates without its logging; yields the number of updates made."""
    config = replace(config, engine=engine, device=choose_device(config.device, World()))
    task = make_task(config)
    model = make_model(config, len(task.tokens), len(task.classes))
    optimizer = make_optimizer(model.parameters(), config)
    make_updates = make_engine(model, optimizer, config, World())
    stream = training_stream(task.dataset, config)
    loader = BatchLoader(stream, config.sequences_per_update, 0, 10**9)
    history = EvaluationHistory()
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


def compare_training(budget: Budget) -> dict[str, Any]:
    """The textbook loop against each engine on A, B and C."""
    results = {}
    for name, config in SIZES.items():
        config = replace(config, device=choose_device("auto", World()))
        candidates = {"textbook": updates(textbook_loop(config), budget.seconds)}
        for engine in able_engines(config, World()):
            steps = engine_steps(config, engine)
            candidates[engine] = updates(steps, budget.seconds)
        results[name] = against(timed(budget.rounds, candidates), "textbook")
    return results


def measure_compilation() -> dict[str, float]:
    """Seconds until the compiled engine has made its first update: nothing cached, then cached."""
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, NUMBA_CACHE_DIR=cache):
        cold, cached = (in_fresh_process(_first_update) for _ in range(2))
    return {"cold_seconds": cold, "cached_seconds": cached}


def _first_update() -> float:
    return stopwatch(lambda: next(engine_steps(TrainConfig(device="cpu"), "compiled", 1)))()


def compare_whole_runs(rounds: int) -> dict[str, Any]:
    """From start to exit: the textbook loop on the tutorial's baseline, against the script."""

    def run(*command: str) -> Callable[[], float]:
        def measure() -> float:
            with tempfile.TemporaryDirectory() as folder:
                environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, *command],
                    cwd=folder,
                    env=environment,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                return time.perf_counter() - started

        return measure

    candidates = {"textbook": run("-m", "rnn_tutorial.measure.textbook")}
    script = str(REPOSITORY / "train_cls_rnn.py")
    for flags in ("--tracker local", "--tracker disabled", "--tracker disabled --recipe solved"):
        candidates[f"train_cls_rnn.py {flags}"] = run(script, "--device", "cpu", *flags.split())
    return against(timed(rounds, candidates), "textbook")


def measure_processes(hidden_dims: Sequence[int], num_steps: int) -> dict[str, Any]:
    """Updates per second of one process and of two that divide each batch, one thread each."""
    results = {}
    for hidden_dim in hidden_dims:
        flags = {
            **{"hidden_dim": hidden_dim, "batch_size": 256, "max_seq_len": 3, "engine": "autograd"},
            **{"total_steps": num_steps, "log_every": num_steps // 8, "tracker": "disabled"},
            **{"eval_every": num_steps, "save_every": 0, "device": "cpu", "num_threads": 1},
        }
        arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        rates = {}
        for processes in (1, 2):
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(
                    [
                        sys.executable,
                        *(launcher if processes == 2 else []),
                        *(str(REPOSITORY / "train_cls_rnn.py"), *arguments, "--save_dir", folder),
                    ],
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    check=True,
                    capture_output=True,
                )
                metrics = Path(folder, "baseline", "metrics.jsonl").read_text().splitlines()
            rates[processes] = spread([json.loads(m)["steps_per_second"] for m in metrics[2:]])
        results[str(hidden_dim)] = {"one": rates[1], "two": rates[2]}
    return results
