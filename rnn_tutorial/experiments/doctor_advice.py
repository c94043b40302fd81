"""Is the doctor's advice good? Runs with one fault each, trained as they are and as it advises.

    python -m rnn_tutorial.experiments.doctor_advice                       all of them
    python -m rnn_tutorial.experiments.doctor_advice too-much-dropout      some; writes nothing

Advice that begins with flags is followed to the letter: they are added to those of the run. Runs
are kept, so a stopped experiment goes on where it was. Writes results/doctor_advice.json; then
`python -m rnn_tutorial.experiments render` writes the table.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from rnn_tutorial.doctor.evidence import Evidence, read_evidence
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.experiments.kept import DOCTOR_CODE, RESULTS, result_head
from rnn_tutorial.experiments.markdown import markdown
from rnn_tutorial.experiments.run_faults import RUN_FAULTS, RunCase, train_case
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

RESULT = RESULTS / "doctor_advice.json"
COMMAND = "python -m rnn_tutorial.experiments.doctor_advice"
NUM_SEEDS = 5
_SUM = (
    "--max_number 4 --min_seq_len 1 --max_seq_len 3 --hidden_dim 32 --batch_size 32 --lr 0.005 "
    "--total_steps 1200 --eval_every 300"
)
_PARITY = "--max_number 1 --hidden_dim 32 --batch_size 32 --eval_every 300"
FAULTS = {
    "not-finite-loss": RunCase(f"{_SUM} --nonlinearity relu --optimizer sgd --lr 90"),
    "learning-rate-too-high": RunCase(f"{_SUM} --lr 1"),
    "learning-rate-too-low": RunCase(f"{_SUM} --lr 1e-5 --min_lr 0"),
    "learning-rate-falls-too-early": RunCase(
        f"{_SUM} --scheduler step --lr_step_every 10 --lr_factor 0.1 --min_lr 0"
    ),
    "warmup-too-long": RunCase(f"{_SUM} --lr 0.0007 --scheduler constant --warmup_step 1190"),
    "stopped-too-early": RunCase(f"{_SUM} --early_stopping_patience 1 --eval_every 20 --lr 0.002"),
    "too-few-steps": RunCase(
        f"{_SUM} --lr 0.0005 --scheduler constant --total_steps 1000 --log_every 10"
    ),
    "batch-too-small": RunCase(
        f"{_SUM} --batch_size 1 --lr 0.05 --scheduler constant --log_every 10"
    ),
    "truncated-too-short": RunCase(
        f"{_PARITY} --min_seq_len 4 --max_seq_len 4 --lr 0.005 --total_steps 1200 --bptt_steps 1"
    ),
    "missing-warmup": RunCase(f"{_SUM} --num_layers 8 --lr 0.01"),
    "network-too-small": RunCase(f"{_SUM} --hidden_dim 1"),
    "too-much-dropout": RunCase(f"{_SUM} --num_layers 2 --dropout 0.99"),
    "too-much-weight-decay": RunCase(f"{_SUM} --optimizer adam --weight_decay 0.5"),
    "too-much-noise": RunCase(f"{_SUM} --embed_noise 5"),
    "shut-gates": RunCase(f"{_SUM} --min_seq_len 3 --cell lstm --forget_bias -20"),
    "saturated-units": RunCase(f"{_SUM} --max_seq_len 6", scale=300),
    "dead-units": RunCase(f"{_SUM} --nonlinearity relu --lr 0.001", shift=-10),
    "exploding-gradient": RunCase(
        f"{_PARITY} --min_seq_len 1 --max_seq_len 30 --hidden_dim 64 --lr 0.005 --total_steps 2500",
        scale=8,
    ),
    "vanishing-gradient": RunCase(f"{_SUM} --max_seq_len 20 --total_steps 2000"),
    "gradient-always-clipped": RunCase(f"{_SUM} --max_grad_norm 1e-7 --optimizer sgd --lr 0.3"),
    "missing-short-lengths": RunCase(f"{_SUM} --min_seq_len 4 --max_seq_len 4"),
    "loss-spikes": RUN_FAULTS["loss-spikes"],
    "oscillating-loss": RunCase(
        "--recipe solved --total_steps 3000 --lr 0.03 --scheduler constant --max_grad_norm 0 "
        "--eval_every 25"
    ),
    "unstable-at-length": RunCase(
        "--recipe solved --total_steps 3000 --weight_decay 0 --embed_noise 0", asked_length=1000
    ),
}


def advised_flags(advice: str) -> str:
    """The flags that advice begins with: all that it says up to the first semicolon."""
    flags, _, _ = advice.partition(";")
    return flags if re.fullmatch(r"(--\w+ \S+ ?)+", flags) else ""


def follow(name: str, seed: int) -> dict[str, Any]:
    """Train a run with a fault, and once more as the finding of this name advises.

    First weights that were spoiled are good ones the second time: those of --init.
    """
    case = FAULTS[name]
    evidence = _evidence(case, seed)
    findings = {finding.name: finding for finding in check_run(evidence).findings}
    if name not in findings:
        return {"found": list(findings), "before": _score(evidence), "advice": "", "after": None}
    flags = advised_flags(findings[name].advice)
    better = RunCase(f"{case.flags} {flags}", asked_length=case.asked_length)
    after = _score(_evidence(better, seed))
    return {
        "found": list(findings), "before": _score(evidence), "advice": flags, "after": after,
    }  # fmt: skip


def _evidence(case: RunCase, seed: int) -> Evidence:
    return read_evidence(str(train_case(case, seed)), case.asked_length)


def _score(evidence: Evidence) -> float:
    """Accuracy of the last evaluation, or at the asked length; 0 if there was none."""
    if evidence.asked_length:
        return round(evidence.margins[-1][1], 4)
    return round(evidence.accuracies[-1], 4) if evidence.accuracies else 0.0


def advice_table(results: dict[str, Any]) -> str:
    """A row for each finding: its fault, the advice, and the accuracy before and after."""
    rows = []
    for name, row in results["rows"].items():
        seeds = [seed for seed in row["seeds"].values() if seed["after"] is not None]
        if seeds:
            before, after = ([seed[key] for seed in seeds] for key in ("before", "after"))
            better = sum(a > b for a, b in zip(after, before, strict=True))
            advice = statistics.mode(seed["advice"] for seed in seeds)
            shares = [f"{statistics.fmean(values):.0%}" for values in (before, after)]
            found = f"{len(seeds)} of {len(row['seeds'])}"
            rows.append([f"`{name}`", f"`{advice}`", found, *shares, f"{better} of {len(seeds)}"])
    header = ("finding", "advice", "found", "accuracy before", "after", "better")
    return markdown(list(header), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Follow the advice with every seed; returns the exit status."""
    parser = CommandLineParser(prog=COMMAND, description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="findings (default: all)")
    flags = parser.parse_args(arguments)
    if unknown := sorted(set(flags.names) - set(FAULTS)):
        parser.error(f"no such finding: {unknown[0]!r}; choose from {', '.join(FAULTS)}")
    torch.set_num_threads(1)
    head = result_head(COMMAND, DOCTOR_CODE, num_seeds=NUM_SEEDS)
    rows: dict[str, Any] = {}
    for seed, name in itertools.product(range(NUM_SEEDS), flags.names or FAULTS):
        row = rows.setdefault(name, {"flags": FAULTS[name].describe(), "seeds": {}})
        row["seeds"][str(seed)] = follow(name, seed)
        print(seed, name, *row["seeds"][str(seed)].values(), flush=True)
    if not flags.names:
        write_json(RESULT, {**head, "rows": rows})
    return 0


if __name__ == "__main__":
    run_command(main)
