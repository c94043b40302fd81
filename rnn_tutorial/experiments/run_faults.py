"""Runs to diagnose: healthy ones, and recipes that a flag or the first weights have spoiled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.experiments.kept import flags_of, launch, make_once, run_folder
from rnn_tutorial.model.classifier import make_model
from rnn_tutorial.runs.checkpoint import save_checkpoint
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.folder import (
    CONFIG_FILE,
    RESULT_FILE,
    checkpoint_path,
    claim_run_folder,
    new_run_id,
)
from rnn_tutorial.runs.metrics import METRICS_FILE
from rnn_tutorial.runs.provenance import code_version
from rnn_tutorial.runs.terminal import CommandLineParser
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.flags import add_config_flags
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.training.optimizer import make_optimizer
from rnn_tutorial.training.schedule import EvaluationHistory


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
    determined_by = (case.flags, case.scale, case.shift, seed, code_version())
    run = run_folder(*determined_by) / "run"
    make_once(run.parent, lambda: _train_case(case, seed, run))
    return run


def _train_case(case: RunCase, seed: int, run: Path) -> dict[str, Any]:
    """Train it; returns what was trained."""
    flags = [*case.flags.split(), "--seed", str(seed), "--save_every", "0", *flags_of(run)]
    if case.scale != 1 or case.shift:
        _begin_with_spoiled_weights(flags, case)
        flags = ["--resume", str(run)]
    launch("train_cls_rnn.py", *flags, ok=(0, 1))  # 1 is a divergence, or a failure
    if not (run / RESULT_FILE).exists():
        lines = (run / METRICS_FILE).read_text().splitlines()
        if not lines or json.loads(lines[-1]).get("loss", 0.0) is not None:
            raise RuntimeError(f"train_cls_rnn.py {' '.join(flags)} failed")
    return {"run": case.describe(), "seed": seed}


def _begin_with_spoiled_weights(flags: Sequence[str], case: RunCase) -> None:
    """Write a run before its first update, with worse recurrent weights."""
    parser = CommandLineParser()
    add_config_flags(parser)
    config = TrainConfig.from_flags(vars(parser.parse_args(flags)))
    task = make_task(config)
    model = make_model(config, len(task.tokens), len(task.classes))
    with torch.no_grad():
        for name, parameter in model.rnn.named_parameters():
            parameter.mul_(case.scale if "weight" in name else 1)
            parameter.add_(case.shift if "bias" in name else 0)
    folder, run_id = claim_run_folder(config.save_dir, config.run_name), new_run_id()
    write_json(folder / CONFIG_FILE, {"run_id": run_id, **asdict(config)})
    save_checkpoint(
        checkpoint_path(folder, 0),
        step=0,
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
