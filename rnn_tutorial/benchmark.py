"""Speed, side by side: the textbook loop against every engine, in one process, in turns.

    python -m rnn_tutorial.benchmark                     everything, some minutes
    python -m rnn_tutorial.benchmark --quick             most of it in half a minute, less certain
    python -m rnn_tutorial.benchmark --json FILE         keep the figures

The candidates take turns, round after round (timing.py). Every cost of a step is counted: drawing
the batch, noise, learning rate, update.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils.data import DataLoader

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial.data.streams import BatchLoader, pad_and_tensor
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.evaluation.plots import check_picture
from rnn_tutorial.machines.digit_sum import SumModulo, label, padding_id
from rnn_tutorial.machines.machine import sequence_at
from rnn_tutorial.measure.plots import draw_growth
from rnn_tutorial.measure.textbook import textbook_loop
from rnn_tutorial.measure.timing import (
    against,
    in_fresh_process,
    peak_mebibytes,
    print_comparison,
    show_mebibytes,
    spread,
    stopwatch,
    timed,
    updates,
)
from rnn_tutorial.model.steps import add_product
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.folder import read_json, write_json
from rnn_tutorial.runs.processes import World, choose_device, choose_num_threads
from rnn_tutorial.runs.provenance import REPOSITORY, describe_machine
from rnn_tutorial.runs.terminal import OneSentenceParser, StopSignals
from rnn_tutorial.settings.config import ENGINES, TrainConfig, settings_of
from rnn_tutorial.training.launch import impediment
from rnn_tutorial.training.schedule import Standing

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


# ---- training ----


def engine_steps(config: TrainConfig, engine: str, at_once: int = 100) -> Iterator[int]:
    """The script's own updates without its logging; yields the number of updates made."""
    config = replace(config, engine=engine, device=choose_device(config.device, World()))
    world, stop = World(), StopSignals()
    model = train_cls_rnn.make_model(config)
    optimizer = train_cls_rnn.make_optimizer(model.parameters(), config)
    advance = train_cls_rnn.ENGINES[config.engine](model, optimizer, config, world)
    dataset = train_cls_rnn.make_dataset(config)
    loader = BatchLoader(dataset, config.sequences_per_update, 0, 10**9)
    step = 0
    while True:
        until = step + at_once
        losses, *_ = train_cls_rnn.make_updates(
            advance, loader, config, Standing(), world, stop, step, until
        )
        losses[-1].item()  # waits for a GPU, as logging does
        step += len(losses)
        yield step


def able_engines(config: TrainConfig) -> list[str]:
    """The engines that can train this on this machine."""
    return [e for e in ENGINES if e != "auto" and not impediment(e, config, World())]


def compare_training(budget: Budget) -> dict[str, Any]:
    """The textbook loop against each engine on A, B and C."""
    results = {}
    for name, config in SIZES.items():
        config = replace(config, device=choose_device("auto", World()))
        candidates = {"textbook": updates(textbook_loop(config), budget.seconds)}
        for engine in able_engines(config):
            steps = engine_steps(config, engine)
            candidates[engine] = updates(steps, budget.seconds)
        results[name] = against(timed(budget.rounds, candidates), "textbook")
    return results


def measure_compilation() -> dict[str, float]:
    """Seconds until the compiled engine has made its first update: nothing cached, then cached."""
    with (
        tempfile.TemporaryDirectory() as cache,
        mock.patch.dict(os.environ, NUMBA_CACHE_DIR=cache),
    ):
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


# ---- evaluation ----


def compare_evaluation(rounds: int) -> dict[str, Any]:
    """Exact evaluation of all 111,110 inputs against scoring them in packed batches of 256."""
    samples = [
        (digits, length, int(label(digits, 9)))
        for length in range(1, 6)
        for digits in (sequence_at(place, length, 10) for place in range(10**length))
    ]
    collate = partial(pad_and_tensor, padding_value=padding_id(9))
    batches = list(DataLoader(samples, batch_size=256, collate_fn=collate))
    results = {}
    for name in ("A", "C"):
        model = train_cls_rnn.make_model(replace(SIZES[name], device="cpu"))

        @torch.no_grad()
        def score(batches: Iterable[tuple[Tensor, Tensor, Tensor]], model=model) -> int:
            return sum(
                int((model(x, seq_lengths).argmax(dim=-1) != targets).sum())
                for x, seq_lengths, targets in batches
            )

        candidates = {
            "lists in packed batches": lambda score=score: score(
                DataLoader(samples, batch_size=256, collate_fn=collate)
            ),
            "ready tensors in packed batches": lambda score=score: score(batches),
            "exact evaluation": lambda model=model: evaluate(model, SumModulo(9), 1, 5),
        }
        times = timed(rounds, {k: stopwatch(work) for k, work in candidates.items()})
        results[name] = against(times, "lists in packed batches")
    return results


def measure_enumerations(longest: int) -> dict[str, Any]:
    """Seconds and added peak memory of exact evaluation to greater lengths, each in a process."""
    return {
        f"{name} to length {length}": in_fresh_process(_enumerate, SIZES[name].hidden_dim, length)
        for name in ("A", "C")
        for length in range(5, longest + 1)
    }


def _enumerate(hidden_dim: int, max_seq_len: int) -> dict[str, float | None]:
    torch.set_num_threads(choose_num_threads())
    model = train_cls_rnn.make_model(TrainConfig(hidden_dim=hidden_dim, device="cpu"))
    before = peak_mebibytes()
    evaluation = evaluate(model, SumModulo(9), 1, max_seq_len, max_enumerated=10**9)
    return {
        "inputs": evaluation.num_inputs,
        "seconds": evaluation.elapsed_seconds,
        "added_peak_mebibytes": None if before is None else peak_mebibytes() - before,
    }


# ---- prediction ----


def compare_prediction(rounds: int, num_lines: int) -> dict[str, Any]:
    """Seconds a sequence of length 1 to 20: one at a time through the model, and as a stream.

    The stream is what predict_cls_rnn.py does with its standard input: read lines, parse them,
    answer, write lines; its start-up is not counted.
    """
    generator = random.Random(0)
    sequences = [
        [generator.randrange(10) for _ in range(generator.randint(1, 20))] for _ in range(num_lines)
    ]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lines.txt")
        path.write_text("".join(" ".join(map(str, digits)) + "\n" for digits in sequences))
        for name in ("A", "C"):
            config = replace(SIZES[name], device="cpu")
            model = train_cls_rnn.make_model(config)
            checkpoint = Checkpoint(path, 0, model.arguments, model.state_dict(), asdict(config))
            predictor = predict_cls_rnn.DigitPredictor(checkpoint)
            few = sequences[:2000]

            def one_at_a_time(model=model, few=few) -> float:
                return stopwatch(lambda: [model.predict(digits) for digits in few])() / len(few)

            def stream(as_json: bool, predictor=predictor) -> float:
                def work() -> None:
                    with path.open(encoding="utf-8") as lines, Path(os.devnull).open("wb") as sink:
                        blocks = predict_cls_rnn.read_blocks(lines)
                        for answered, _ in predict_cls_rnn.answer_blocks(
                            predictor, blocks, as_json
                        ):
                            sink.write(answered)

                return stopwatch(work)() / num_lines

            candidates = {
                "one at a time": one_at_a_time,
                "stream, text": partial(stream, False),
                "stream, --json": partial(stream, True),
            }
            results[name] = against(timed(rounds, candidates), "one at a time")
    return results


def measure_stream_memory(numbers_of_lines: Sequence[int]) -> dict[str, float | None]:
    """Peak memory in MiB of a process that answers so many lines."""
    return {f"{n:,} lines": in_fresh_process(_stream_peak, n) for n in numbers_of_lines}


def _stream_peak(num_lines: int) -> float | None:
    config = TrainConfig(device="cpu")
    model = train_cls_rnn.make_model(config)
    checkpoint = Checkpoint(Path(), 0, model.arguments, model.state_dict(), asdict(config))
    predictor = predict_cls_rnn.DigitPredictor(checkpoint)
    line = "1 2 3 4 5 6 7 8 9 0\n"
    blocks = (
        (done + 1, line * min(10_000, num_lines - done)) for done in range(0, num_lines, 10_000)
    )
    for _ in predict_cls_rnn.answer_blocks(predictor, blocks, False):
        pass
    return peak_mebibytes()


# ---- several processes ----


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


# ---- growth ----

GROWTH = {
    "hidden_dim": (16, 32, 64, 128, 256, 512),
    "num_layers": (1, 2, 4, 8),
    "batch_size": (16, 64, 256, 1024),
    "max_seq_len": (5, 10, 20, 50, 100),
}


def measure_growth(budget: Budget) -> dict[str, Any]:
    """Updates per second of each engine as one setting grows and the others stay."""
    base = TrainConfig(hidden_dim=64, batch_size=64, device=choose_device("auto", World()))
    results: dict[str, Any] = {"matmul_gigaflops": measure_matmul(budget.rounds)}
    for setting, values in GROWTH.items():
        results[setting] = {}
        for value in values:
            config = replace(base, **{setting: value})
            candidates = {}
            for engine in able_engines(config):
                steps = engine_steps(config, engine, at_once=10)
                candidates[engine] = updates(steps, budget.seconds)
            times = timed(budget.rounds, candidates)
            results[setting][value] = {
                "flops_per_update": flops_per_update(config),
                **{engine: spread([1 / t for t in own]) for engine, own in times.items()},
            }
    return results


def flops_per_update(config: TrainConfig) -> float:
    """Multiplications and additions in the matrix products of an average update.

    Forward once and backward twice (for the inputs and for the weights), two operations for each
    weight, step and sequence.
    """
    H, E, L, C = config.hidden_dim, config.embed_dim, config.num_layers, config.max_number + 1
    steps = config.batch_size * (config.min_seq_len + config.max_seq_len) / 2
    weights_of_steps = H * (E + H) + (L - 1) * H * (H + H)
    return 3 * 2 * (steps * weights_of_steps + config.batch_size * H * C)


def measure_matmul(rounds: int) -> float:
    """The best rate of a large float32 matrix product in this process, in GFLOP/s.

    PyTorch brings two libraries that multiply, MKL and oneDNN; which is faster depends on the CPU.
    """
    a, b, c = torch.randn(3, 1024, 1024)
    products = (lambda: a @ b, lambda: add_product(c, a, b))
    fastest = min(stopwatch(product)() for product in products for _ in range(3 * rounds))
    return 2 * 1024**3 / fastest / 1e9


# ---- the command ----


def measure_training(quick: bool) -> dict[str, Any]:
    """The training step of A, B and C."""
    results = {"step": compare_training(Budget(3, 0.1) if quick else Budget(15, 0.4))}
    print_comparison("Training step", results["step"], "µs per update", 1e6)
    return results


def measure_runs() -> dict[str, Any]:
    """What a reader waits for: compilation, and whole runs from start to exit."""
    results: dict[str, Any] = {"compilation": measure_compilation()}
    text = "\nCompilation: {cold_seconds:.1f} s, cached {cached_seconds:.1f} s"
    print(text.format(**results["compilation"]))
    results["start to exit"] = {"whole run": compare_whole_runs(rounds=7)}
    print_comparison("From start to exit", results["start to exit"], "s", 1)
    return results


def measure_evaluation(quick: bool) -> dict[str, Any]:
    """Exact evaluation against packed batches, and to greater lengths."""
    results: dict[str, Any] = {"all 111,110 inputs": compare_evaluation(1 if quick else 7)}
    print_comparison("Evaluation", results["all 111,110 inputs"], "ms", 1e3)
    results["enumerations"] = measure_enumerations(longest=6 if quick else 7)
    print("\nExact evaluation to greater lengths")
    for name, row in results["enumerations"].items():
        print(
            f"  {name}: {row['inputs']:,} inputs in {row['seconds']:.2f} s, "
            f"{show_mebibytes(row['added_peak_mebibytes'])} MiB more"
        )
    return results


def measure_prediction(quick: bool) -> dict[str, Any]:
    """The prediction script on a stream against one sequence at a time."""
    num_lines = 20_000 if quick else 1_000_000
    results = {"lines": num_lines, "sequence": compare_prediction(1 if quick else 7, num_lines)}
    print_comparison(
        f"Prediction, {num_lines:,} lines", results["sequence"], "µs per sequence", 1e6
    )
    results["peak_mebibytes"] = measure_stream_memory([num_lines // 10, num_lines])
    for name, peak in results["peak_mebibytes"].items():
        print(f"  peak memory after {name}: {show_mebibytes(peak)} MiB")
    return results


def measure_several_processes() -> dict[str, Any]:
    """From which size on two processes are faster than one."""
    results = measure_processes((32, 128, 512, 1024), num_steps=80)
    print("\nUpdates per second, batch 256, one thread a process")
    for hidden_dim, rates in results.items():
        one, two = rates["one"]["median"], rates["two"]["median"]
        print(f"  hidden_dim {hidden_dim:>5}: one {one:,.0f}, two {two:,.0f}, x {two / one:.2f}")
    return results


def measure_growth_and_print(quick: bool) -> dict[str, Any]:
    """How updates per second fall as the net, the batch or the sequences grow."""
    results = measure_growth(Budget(1, 0.05) if quick else Budget(7, 0.2))
    print(f"\nUpdates per second (matrix products at {results['matmul_gigaflops']:.0f} GFLOP/s)")
    for setting in GROWTH:
        for value, point in results[setting].items():
            rates = "  ".join(
                f"{engine} {point[engine]['median']:>9,.0f}"
                for engine in ENGINES
                if engine in point
            )
            print(f"  {setting:<12} {value:>5}  {rates}")
    return results


# Sections that --quick shortens, and those that it leaves out.
SHORTENED: dict[str, Callable[[bool], dict[str, Any]]] = {
    "training": measure_training,
    "evaluation": measure_evaluation,
    "prediction": measure_prediction,
    "growth": measure_growth_and_print,
}
LEFT_OUT: dict[str, Callable[[], dict[str, Any]]] = {
    "runs": measure_runs,
    "processes": measure_several_processes,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = OneSentenceParser(prog="python -m rnn_tutorial.benchmark", description=__doc__)
    parser.add_argument(
        "--only",
        choices=[*SHORTENED, *LEFT_OUT],
        action="append",
        help="measure this part only; may be repeated",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"shorter and less certain, without {' and '.join(LEFT_OUT)}",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the figures to this file; with --only, the others in it stay",
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw how cost grows")
    flags = parser.parse_args(arguments)
    names = flags.only or ([*SHORTENED] if flags.quick else [*SHORTENED, *LEFT_OUT])
    results: dict[str, Any] = {"measured": {}}
    try:
        _check(flags, names)
        if flags.json and flags.only and flags.json.exists():
            results |= read_json(flags.json)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(choose_num_threads())
    command = " ".join([parser.prog, *(sys.argv[1:] if arguments is None else arguments)])
    for name in names:
        results[name] = SHORTENED[name](flags.quick) if name in SHORTENED else LEFT_OUT[name]()
        results["measured"][name] = {"command": command, **describe_machine()}
    try:
        if flags.json:
            write_json(flags.json, results)
        if flags.figure:
            draw_growth(results["growth"], list(GROWTH), flags.figure)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _check(flags: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise ValueError if flags do not go together, or a file cannot be written in the end."""
    for name in names:
        if flags.quick and name in LEFT_OUT:
            raise ValueError(f"--only {name} is what --quick leaves out")
    if flags.figure and "growth" not in names:
        raise ValueError(f"--figure {str(flags.figure)!r} draws growth, which --only leaves out")
    if flags.figure:
        check_picture(flags.figure)
    if flags.json and (flags.json.is_dir() or not flags.json.parent.is_dir()):
        raise ValueError(f"--json {str(flags.json)!r} is not a file in a folder that exists")


if __name__ == "__main__":
    sys.exit(main())
