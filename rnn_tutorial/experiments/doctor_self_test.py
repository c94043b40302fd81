"""Faults put into healthy training on purpose, to see what the doctor says of each.

    python -m rnn_tutorial.experiments.doctor_self_test

A fault of a run is a recipe spoiled by a flag or by its first weights; a fault of code is the code
as people write it. Every case is tried with several seeds. Runs are trained, and kept. Writes
results/doctor.json; then `python -m rnn_tutorial.experiments render` writes the counts.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from rnn_tutorial.data.batches import Sample, pad_and_tensor
from rnn_tutorial.data.streams import EVAL_STREAM, SeqSumModDataset
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.experiments.healthy_modules import HEALTHY_MODULES, VOCAB_SIZE
from rnn_tutorial.experiments.kept import DOCTOR_CODE, RESULTS, make_all, result_head
from rnn_tutorial.experiments.module_faults import MODULE_FAULTS
from rnn_tutorial.experiments.run_faults import HEALTHY_RUNS, RUN_FAULTS, RunCase, train_case
from rnn_tutorial.runs.files import check_place, write_json
from rnn_tutorial.runs.machine import choose_num_threads, count_cores
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, whole_number

COMMAND = "python -m rnn_tutorial.experiments.doctor_self_test"
NUM_SEEDS = 5  # of the committed result, at least
GOOD_MODULES = ("RnnClsNet", "a GRU", "an LSTM")  # of HEALTHY_MODULES; the tests try all of them


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
        cases[name] = Trial(
            "loop", expected, lambda seed, make=make: check_step(make(seed)).findings
        )
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


def run_self_test(cases: dict[str, Trial], num_seeds: int, jobs: int) -> dict[str, Any]:
    """Diagnose every case with every seed; the confusion matrix as plain values."""
    runs = dict.fromkeys(case.trains for case in cases.values() if case.trains)
    needed = itertools.product(runs, range(num_seeds))
    make_all({job: partial(train_case, *job) for job in needed}, jobs)
    # All runs are trained now, and nothing below runs beside other threads.
    rows = {}
    for name, case in cases.items():
        found = Counter(f.name for seed in range(num_seeds) for f in case.diagnose(seed))
        rows[name] = {"what": case.what, "expected": case.expected, "found": dict(found)}
    return {"num_seeds": num_seeds, "rows": rows}


def is_as_expected(row: dict[str, Any], num_seeds: int) -> bool:
    """True if the expected finding, and no other, was made with every seed."""
    return row["found"] == ({row["expected"]: num_seeds} if row["expected"] else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every case and write the result; returns the exit status, 1 unless all is as expected."""
    parser = CommandLineParser(prog=COMMAND, description=__doc__)
    number = {"type": whole_number(1), "metavar": "N"}
    parser.add_argument(
        "--num_seeds", default=NUM_SEEDS, help="of each case (default: %(default)s)", **number
    )
    parser.add_argument(
        "--jobs", default=count_cores(), help="runs at a time (default: one per core)", **number
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help=f"write the result here (default: results/doctor.json; with fewer than {NUM_SEEDS} "
        "seeds, nowhere)",
    )
    flags = parser.parse_args(arguments)
    torch.set_num_threads(choose_num_threads())
    num_seeds = flags.num_seeds
    with parser.exit_on_bad_input(RuntimeError):
        if flags.json is None and num_seeds >= NUM_SEEDS:
            flags.json = RESULTS / "doctor.json"
        if flags.json:
            check_place(flags.json, "--json")
        head = result_head(f"{COMMAND} --num_seeds {num_seeds}", DOCTOR_CODE)
        result = run_self_test(all_cases(), num_seeds, flags.jobs)
        if flags.json:
            write_json(flags.json, {**head, **result})
    are_right = []
    for name, row in result["rows"].items():
        are_right.append(is_as_expected(row, num_seeds))
        found = ", ".join(f"{finding} {n}/{num_seeds}" for finding, n in row["found"].items())
        mark = "ok " if are_right[-1] else "BAD"
        print(f"{mark} {name} ({row['what']}) -> {found or 'no finding'}")
    return 0 if all(are_right) else 1


if __name__ == "__main__":
    run_command(main)
