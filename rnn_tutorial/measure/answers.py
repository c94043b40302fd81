"""The speed of answers: exact evaluation against packed batches, streams against one at a time."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rnn_tutorial.data.batches import pad_and_tensor
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.machines.digit_sum import SumModulo, label, padding_id
from rnn_tutorial.machines.machine import sequences_at
from rnn_tutorial.measure.timing import (
    compare_to,
    in_fresh_process,
    measure_in_turns,
    peak_mebibytes,
    seconds_per_unit,
)
from rnn_tutorial.measure.training import BENCHMARKS
from rnn_tutorial.model.classifier import RnnClsNet, make_model
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.streams import answer_blocks, choose_stream_threads, read_blocks
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.machine import choose_num_threads, describe_threads
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.choose import make_task


def _make_model(config: TrainConfig) -> RnnClsNet:
    """The network of a size, for ten digits, on the CPU, with its first weights."""
    return make_model(replace(config, device="cpu"), 10, 10)


def _make_predictor(config: TrainConfig) -> Predictor:
    """What answers with the first weights of a size."""
    model, record = _make_model(config), make_task(config).record
    settings = asdict(replace(config, device="cpu"))
    return Predictor(Checkpoint(Path(), 0, record, model.arguments, model.state_dict(), settings))


def compare_evaluation(rounds: int) -> dict[str, Any]:
    """Exact evaluation of all 111,110 inputs against scoring them in packed batches of 256."""
    samples = [
        (digits, length, int(label(digits, 9)))
        for length in range(1, 6)
        for digits in sequences_at(np.arange(10**length), length, 10).tolist()
    ]
    collate = partial(pad_and_tensor, padding_value=padding_id(9))
    loader = DataLoader(samples, batch_size=256, collate_fn=collate)
    batches = list(loader)
    results = {}
    for name in ("A", "C"):
        model = _make_model(BENCHMARKS[name])
        candidates = {
            "lists in packed batches": partial(_count_wrong, model, loader),
            "ready tensors in packed batches": partial(_count_wrong, model, batches),
            "exact evaluation": partial(evaluate, model, SumModulo(9), 1, 5),
        }
        times = measure_in_turns(rounds, {k: seconds_per_unit(w) for k, w in candidates.items()})
        results[name] = compare_to(times, "lists in packed batches")
    return results


@torch.no_grad()
def _count_wrong(model: RnnClsNet, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> int:
    return sum(
        int((model(x, seq_lengths).argmax(dim=-1) != targets).sum())
        for x, seq_lengths, targets in batches
    )


def measure_enumerations(longest: int) -> dict[str, Any]:
    """Seconds and added peak memory of exact evaluation to greater lengths, each in a process."""
    return {
        f"{name} to length {length}": in_fresh_process(
            _enumerate, BENCHMARKS[name].hidden_dim, length
        )
        for name in ("A", "C")
        for length in range(5, longest + 1)
    }


def _enumerate(hidden_dim: int, max_seq_len: int) -> dict[str, float | None]:
    torch.set_num_threads(choose_num_threads())
    model = _make_model(TrainConfig(hidden_dim=hidden_dim))
    before = peak_mebibytes()
    evaluation = evaluate(model, SumModulo(9), 1, max_seq_len, max_enumerated=10**9)
    return {
        "inputs": evaluation.num_inputs,
        "seconds": evaluation.elapsed_seconds,
        "added_peak_mebibytes": None if before is None else peak_mebibytes() - before,
    }


def compare_prediction(rounds: int, num_lines: int) -> dict[str, Any]:
    """Seconds a sequence of length 1 to 20: one at a time through the model, and as a stream.

    The stream is what predict_cls_rnn.py does with its standard input: read lines, parse them,
    answer, write lines; its start-up is not counted. It is answered by one thread, and by as many
    as the script takes of itself.
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
            model, predictor = _make_model(BENCHMARKS[name]), _make_predictor(BENCHMARKS[name])
            few = sequences[:2000]
            candidates = {
                "one at a time": seconds_per_unit(partial(_predict_each, model, few), len(few))
            }
            for threads in sorted({1, choose_stream_threads()}):
                for kind in ("text", "--json"):
                    work = partial(_stream, predictor, path, kind == "--json", threads)
                    described = f"stream, {kind}, {describe_threads(threads)}"
                    candidates[described] = seconds_per_unit(work, num_lines)
            results[name] = compare_to(measure_in_turns(rounds, candidates), "one at a time")
    return results


def _predict_each(model: RnnClsNet, sequences: Sequence[list[int]]) -> None:
    for digits in sequences:
        model.predict(digits)


def _stream(predictor: Predictor, path: Path, as_json: bool, num_threads: int) -> None:
    with path.open(encoding="utf-8") as lines, Path(os.devnull).open("wb") as sink:
        for answered, _ in answer_blocks(predictor, read_blocks(lines), as_json, num_threads):
            sink.write(answered)


def measure_stream_memory(numbers_of_lines: Sequence[int]) -> dict[str, float | None]:
    """Peak memory in MiB of a process that answers so many lines."""
    return {f"{n:,} lines": in_fresh_process(_stream_peak, n) for n in numbers_of_lines}


def _stream_peak(num_lines: int) -> float | None:
    predictor = _make_predictor(TrainConfig())
    line = "1 2 3 4 5 6 7 8 9 0\n"
    blocks = (
        (done + 1, line * min(10_000, num_lines - done)) for done in range(0, num_lines, 10_000)
    )
    for _ in answer_blocks(predictor, blocks, False, choose_stream_threads()):
        pass
    return peak_mebibytes()
