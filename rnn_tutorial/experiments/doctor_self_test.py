"""Faults put into healthy training on purpose, to see what the doctor says of each.

A fault of a run is a recipe spoiled by a flag or by its first weights; a fault of code is the code
as people write it. Every case is tried with several seeds. A finished run is kept under
output/doctor, named by its flags and the code that determines it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from rnn_tutorial.data.batches import Sample, pad_and_tensor
from rnn_tutorial.data.streams import EVAL_STREAM, SeqSumModDataset
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.experiments.module_faults import HEALTHY_MODULES, MODULE_FAULTS, VOCAB_SIZE
from rnn_tutorial.model.classifier import make_model
from rnn_tutorial.runs.checkpoint import save_checkpoint
from rnn_tutorial.runs.folder import CONFIG_FILE, claim_run_folder, new_run_id, write_json
from rnn_tutorial.runs.provenance import REPOSITORY, code_version
from rnn_tutorial.runs.terminal import CommandLineParser
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.flags import add_config_flags
from rnn_tutorial.settings.recipes import settings_of
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.training.optimizer import make_optimizer
from rnn_tutorial.training.schedule import EvaluationHistory

CACHE = Path("output", "doctor")
_DONE_FILE = "done"
GOOD_MODULES = ("RnnClsNet", "a GRU", "an LSTM")  # of HEALTHY_MODULES; the tests try all of them


@dataclass(frozen=True)
class RunCase:
    """A training run to diagnose.

    Args:
        flags: of train_cls_rnn.py.
        scale: factor on the first recurrent weights; 1 leaves them as they are.
        shift: added to the first recurrent biases.
        asked_length: for `read_evidence`.
    """

    flags: str
    scale: float = 1.0
    shift: float = 0.0
    asked_length: int | None = None

    def describe(self) -> str:
        """The flags, and what else was changed."""
        parts = [self.flags]
        if self.scale != 1:
            parts.append(f"first recurrent weights × {self.scale:g}")
        if self.shift:
            parts.append(f"first biases {self.shift:+g}")
        if self.asked_length:
            parts.append(f"diagnosed with --length {self.asked_length}")
        return "; ".join(parts)


_SHORT = "--recipe solved --total_steps 2000"
_FAR = (
    "--recipe solved --total_steps 1600 --hidden_dim 64 --batch_size 64 --init default "
    "--weight_decay 0 --embed_noise 0 --min_seq_len 30 --max_seq_len 30"
)
_GATED = "--min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.01 --min_lr 0 --total_steps 3000"

HEALTHY_RUNS = {
    "solved": RunCase("--recipe solved"),
    "solved, asked for length 1000": RunCase("--recipe solved", asked_length=1000),
    "sota_warmup": RunCase("--recipe sota_warmup"),
    "GRU": RunCase(f"--cell gru {_GATED}"),
    "LSTM": RunCase(f"--cell lstm {_GATED}"),
}

# By the name of the expected finding.
RUN_FAULTS = {
    "not-finite-loss": RunCase(f"{_SHORT} --lr 10"),
    "missing-warmup": RunCase(
        "--recipe solved --total_steps 2500 --hidden_dim 32 --num_layers 8 --batch_size 64 "
        "--weight_decay 0 --embed_noise 0 --max_grad_norm 0 --warmup_step 0 --lr 0.01"
    ),
    "learning-rate-too-high": RunCase(f"{_SHORT} --lr 3"),
    "learning-rate-too-low": RunCase(f"{_SHORT} --lr 1e-5"),
    "saturated-units": RunCase(f"{_SHORT} --lr 0.0005", scale=300),
    "dead-units": RunCase(
        "--nonlinearity relu --min_seq_len 1 --hidden_dim 32 --batch_size 64 --total_steps 1600",
        shift=-10,
    ),
    "exploding-gradient": RunCase(f"{_FAR} --lr 0.0003", scale=8),
    "gradient-always-clipped": RunCase(f"{_SHORT} --max_grad_norm 1e-6"),
    "vanishing-gradient": RunCase(f"{_FAR} --lr 0.001"),
    "missing-short-lengths": RunCase(f"{_SHORT} --min_seq_len 2"),
    "oscillating-loss": RunCase(
        "--recipe solved --total_steps 5000 --lr 0.03 --scheduler constant --max_grad_norm 0 "
        "--eval_every 25"
    ),
    "loss-spikes": RunCase(
        "--recipe solved --total_steps 3000 --lr 0.2 --max_grad_norm 0 --weight_decay 0.1 "
        "--embed_noise 0 --log_every 5"
    ),
    "gradient-never-clipped": RunCase(f"{_SHORT} --max_grad_norm 1000"),
    "unstable-at-length": RunCase(f"{_SHORT} --weight_decay 0 --embed_noise 0", asked_length=1000),
}


def train_case(case: RunCase, seed: int) -> Path:
    """The folder of the case's run, trained now unless an earlier, equal run is kept."""
    key = json.dumps([case.flags, case.scale, case.shift, seed, code_version()])
    parent = CACHE / hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = parent / "run"
    if (parent / _DONE_FILE).exists():
        return folder
    shutil.rmtree(parent, ignore_errors=True)  # of a run that was killed
    flags = [
        *case.flags.split(),
        *("--seed", str(seed), "--tracker", "disabled", "--device", "cpu", "--save_every", "0"),
        *("--save_dir", str(parent), "--run_name", "run"),
    ]
    if case.scale != 1 or case.shift:
        _begin_with_spoiled_weights(flags, case)
        flags = ["--resume", str(folder)]
    command = [sys.executable, str(REPOSITORY / "train_cls_rnn.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode > 1 or not folder.is_dir():  # 1 is a divergence
        raise RuntimeError(f"train_cls_rnn.py {' '.join(flags)} failed: {done.stderr.strip()}")
    (parent / _DONE_FILE).touch()
    return folder


def _begin_with_spoiled_weights(flags: Sequence[str], case: RunCase) -> None:
    """Write a run before its first update, with worse recurrent weights."""
    parser = CommandLineParser()
    add_config_flags(parser)
    config = TrainConfig(**settings_of(vars(parser.parse_args(flags))))
    task = make_task(config)
    model = make_model(config, len(task.tokens), len(task.classes))
    with torch.no_grad():
        for name, parameter in model.rnn.named_parameters():
            parameter.mul_(case.scale if "weight" in name else 1)
            parameter.add_(case.shift if "bias" in name else 0)
    folder, run_id = claim_run_folder(config.save_dir, config.run_name), new_run_id()
    write_json(folder / CONFIG_FILE, {"run_id": run_id, **asdict(config)})
    save_checkpoint(
        folder,
        0,
        task=task.record,
        model=model.arguments,
        weights=model.state_dict(),
        config=asdict(config),
        run_id=run_id,
        optimizer=make_optimizer(model.parameters(), config).state_dict(),
        evaluation=asdict(task.evaluate(model)),
        history=asdict(EvaluationHistory()),
        elapsed_seconds=0.0,
    )


def _diagnose_run(case: RunCase, seed: int) -> list[Finding]:
    return check_run(read_evidence(str(train_case(case, seed)), case.asked_length)).findings


def _late_labels(dataset: SeqSumModDataset) -> Iterator[Sample]:
    """The label is read one line too late."""
    for (x, length, _), (_, _, target) in itertools.pairwise(dataset):
        yield x, length, target


def _sort_only_inputs(samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """A collate function that sorts the inputs by length for packing, but not the labels."""
    x, lengths, targets = pad_and_tensor(samples, 10)
    order = lengths.argsort(descending=True)
    return x[order], lengths[order], targets


class _EveryWorkerAll(IterableDataset):
    """Every worker draws with the same seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[Sample]:
        generator = random.Random(self.seed)
        while True:
            digits = [generator.randint(0, 9) for _ in range(generator.randint(1, 5))]
            yield digits, len(digits), sum(digits) % 10


def _digits(seed: int, longest: int = 5, total: int | None = None, stream: int = 0):
    return SeqSumModDataset(total, 1, longest, 9, seed, stream)


def _loader(dataset: IterableDataset, num_workers: int = 0, collate: Any = None) -> DataLoader:
    collate = collate or partial(pad_and_tensor, padding_value=10)
    return DataLoader(dataset, batch_size=16, num_workers=num_workers, collate_fn=collate)


# By name: the expected finding or None, and training and evaluation data of a seed.
DATA_CASES: dict[str, tuple[str | None, Callable[[int], tuple[Iterable, Iterable | None]]]] = {
    "label of the next sample": (
        "shifted-labels",
        lambda s: (_late_labels(_digits(s)), None),
    ),
    "only the inputs are sorted": (
        "contradicting-labels",
        lambda s: (_loader(_digits(s), collate=_sort_only_inputs), None),
    ),
    "two workers draw the same": (
        "duplicated-workers",
        lambda s: (_loader(_EveryWorkerAll(s), num_workers=2), None),
    ),
    "evaluation draws as training": ("shared-stream", lambda s: (_digits(s), _digits(s))),
    "evaluation on lengths 1 to 20": (
        "length-mismatch",
        lambda s: (_digits(s), _digits(s, 20, stream=EVAL_STREAM)),
    ),
    "evaluation of 100 samples": (
        "small-evaluation",
        lambda s: (_digits(s), _digits(s, total=100, stream=EVAL_STREAM)),
    ),
    "a loader of two workers": (
        None,
        lambda s: (_loader(_digits(s), num_workers=2), _digits(s, stream=EVAL_STREAM)),
    ),
}


def _carrying_loop(seed: int, detach: bool, num_backward: int = 1) -> Callable[[], Tensor]:
    """A training step whose hidden state goes on from batch to batch.

    Args:
        detach: carry the state on without its history, as is right.
        num_backward: batches whose gradients are summed for one update.
    """
    torch.manual_seed(seed)
    rnn, fc = nn.RNN(10, 16, batch_first=True), nn.Linear(16, 10)
    optimizer = torch.optim.SGD([*rnn.parameters(), *fc.parameters()], lr=0.01)
    hidden, calls = torch.zeros(1, 8, 16), 0

    def step() -> Tensor:
        nonlocal hidden, calls
        output, hidden = rnn(torch.randn(8, 5, 10), hidden.detach() if detach else hidden)
        loss = nn.functional.cross_entropy(fc(output[:, -1]), torch.randint(10, (8,)))
        loss.backward(retain_graph=num_backward > 1)
        calls += 1
        if calls % num_backward == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return step


# By name: the expected finding or None, and the step of a seed.
LOOP_CASES: dict[str, tuple[str | None, Callable[[int], Callable[[], Tensor]]]] = {
    "state carried on": ("state-not-detached", lambda s: _carrying_loop(s, detach=False)),
    "state carried on, retain_graph": (
        "state-not-detached",
        lambda s: _carrying_loop(s, detach=False, num_backward=8),
    ),
    "state detached": (None, lambda s: _carrying_loop(s, detach=True)),
    "state detached, gradients summed": (None, lambda s: _carrying_loop(s, True, num_backward=4)),
}


@dataclass(frozen=True)
class Trial:
    """Something to diagnose.

    Args:
        what: in words, or the flags.
        expected: the finding that must be made, or None if nothing is wrong.
        diagnose: gives the findings with a seed.
        trains: the run that it needs, or None.
    """

    what: str
    expected: str | None
    diagnose: Callable[[int], list[Finding]]
    trains: RunCase | None = None


def all_cases() -> dict[str, Trial]:
    """Every fault and every healthy thing, by name."""
    cases = {}
    for runs, is_fault in [(RUN_FAULTS, True), (HEALTHY_RUNS, False)]:
        for name, run in runs.items():
            expected = name if is_fault else None
            trains = replace(run, asked_length=None)  # one training serves every question
            cases[name] = Trial(run.describe(), expected, partial(_diagnose_run, run), trains)
    for name, (expected, make) in DATA_CASES.items():
        cases[name] = Trial("data", expected, partial(_check_data_of, make))
    for name, (expected, make) in LOOP_CASES.items():
        cases[name] = Trial("loop", expected, lambda seed, make=make: check_step(make(seed))[0])
    modules = [(name, name, make) for name, make in MODULE_FAULTS.items()]
    modules += [(name, None, HEALTHY_MODULES[name]) for name in GOOD_MODULES]
    for name, expected, make in modules:
        cases[name] = Trial("module", expected, partial(_check_module_of, make))
    return cases


def _check_data_of(make: Callable[[int], tuple[Any, Any]], seed: int) -> list[Finding]:
    return check_data(*make(seed)).findings


def _check_module_of(make: Callable[[], nn.Module], seed: int) -> list[Finding]:
    torch.manual_seed(seed)
    return check_module(make(), VOCAB_SIZE, seed=seed).findings


def run_self_test(cases: dict[str, Trial], num_seeds: int, num_threads: int) -> dict[str, Any]:
    """Diagnose every case with every seed; the confusion matrix as plain values."""
    with ThreadPoolExecutor(num_threads) as pool:
        runs = dict.fromkeys(case.trains for case in cases.values() if case.trains)
        jobs = [pool.submit(train_case, run, seed) for run in runs for seed in range(num_seeds)]
        bar = {"total": len(jobs), "unit": " runs", "disable": not sys.stderr.isatty()}
        try:
            for job in tqdm(as_completed(jobs), **bar):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    # All runs are trained now, and nothing below runs beside other threads.
    rows = {}
    for name, case in cases.items():
        found = Counter(f.name for seed in range(num_seeds) for f in case.diagnose(seed))
        rows[name] = {"what": case.what, "expected": case.expected, "found": dict(found)}
    return {"num_seeds": num_seeds, "rows": rows}


def is_as_expected(row: dict[str, Any], num_seeds: int) -> bool:
    """True if the expected finding, and no other, was made with every seed."""
    return row["found"] == ({row["expected"]: num_seeds} if row["expected"] else {})
