"""Which settings do not go together, and why: a sentence for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from rnn_tutorial.settings.model_options import PROVABLE_IN_WORDS
from rnn_tutorial.settings.recipes import RECIPES
from rnn_tutorial.settings.task_names import DIGIT_SUM


def find_general_conflicts(config: Any) -> Iterator[str]:
    """Why settings that every training has do not go together, one sentence each."""
    for setting in fields(config):
        value = getattr(config, setting.name)
        if value == setting.default or "needs" not in setting.metadata:
            continue
        needed, allowed = setting.metadata["needs"]
        if getattr(config, needed) not in allowed:
            yield (
                f"--{setting.name} {value} applies only to --{needed} {' or '.join(allowed)}, "
                f"not to {getattr(config, needed)}"
            )
    if config.min_lr > config.lr and config.scheduler != "constant":
        yield f"--min_lr {config.min_lr:g} must not be greater than --lr {config.lr:g}"
    if config.warmup_step >= config.total_steps:
        yield (
            f"--warmup_step {config.warmup_step} must be smaller than "
            f"--total_steps {config.total_steps}"
        )
    if not config.run_name.strip(". ") or set(config.run_name) & set('/\\\0:*?"<>|\n\r\t'):
        yield f"--run_name {config.run_name!r} is not a folder name; use letters, digits, . _ -"
    if not config.save_dir or "\0" in config.save_dir:
        yield f"--save_dir {config.save_dir!r} is not a folder name"


def find_conflicts(config: Any) -> Iterator[str]:
    """Why settings of a TrainConfig do not go together, one sentence each."""
    yield from find_general_conflicts(config)
    if config.min_seq_len > config.max_seq_len:
        yield (
            f"--min_seq_len {config.min_seq_len} must not be greater than "
            f"--max_seq_len {config.max_seq_len}"
        )
    if config.eval_file and not config.train_file:
        yield f"--eval_file {config.eval_file!r} needs a --train_file to learn from"
    if config.train_file and config.task != DIGIT_SUM:
        yield f"--task {config.task} cannot be combined with --train_file {config.train_file!r}"
    if config.train_file and config.sampling == "varied":
        yield "--sampling varied walks through a machine; --train_file brings its sequences"
    if config.balance_classes and not config.train_file:
        yield "--balance_classes draws examples of a file: it needs a --train_file"
    yield from _monitor_conflicts(config)
    yield from _proof_conflicts(config)
    yield from _init_conflicts(config)
    yield from _penalty_conflicts(config)
    yield from _bptt_conflicts(config)


def _monitor_conflicts(config: Any) -> Iterator[str]:
    if config.monitor == "accuracy":
        return
    if not config.train_file:
        yield f"--monitor {config.monitor} is measured on examples: it needs a --train_file"
    if not config.early_stopping_patience and config.scheduler != "plateau":
        yield (
            f"--monitor {config.monitor} decides about early stopping and the plateau scheduler: "
            "it needs --early_stopping_patience N or --scheduler plateau"
        )


def _init_conflicts(config: Any) -> Iterator[str]:
    if config.init == "identity" and (config.cell, config.nonlinearity) != ("rnn", "relu"):
        yield (
            "--init identity preserves the state of ReLU units only: "
            "it needs --cell rnn --nonlinearity relu"
        )
    if config.init != "default" and config.cell == "transformer":
        yield f"--init {config.init} needs recurrent matrices; --cell transformer has none"


def _penalty_conflicts(config: Any) -> Iterator[str]:
    for name, factor in config.penalties.items():
        sets_in = f"--{name} {factor:g} sets in once two evaluations in a row find nothing wrong"
        if config.early_stopping_patience and config.monitor != "eval_loss":
            yield (
                f"{sets_in}; by then --early_stopping_patience {config.early_stopping_patience} "
                f"has its best checkpoint: add --{name} 0, or leave early stopping out"
            )
        if 0 < config.stop_when_exact <= 2:
            yield (
                f"{sets_in}; --stop_when_exact {config.stop_when_exact} ends the run by then: "
                "take 3 or more"
            )
        if config.accumulate_steps > 1:
            yield (
                f"--{name} needs --accumulate_steps 1, not {config.accumulate_steps}: "
                "it averages over the states of a whole batch"
            )
        if config.precision != "float32":
            yield (
                f"--{name} needs --precision float32, not {config.precision}: "
                "the proofs that it serves are about float32"
            )
        if not config.is_provable:
            yield f"--{name} {factor:g} needs {PROVABLE_IN_WORDS}"
    if config.center_loss and config.train_file:
        yield (
            "--center_loss groups hidden states by the states of a rule; --train_file has only "
            "examples"
        )


def _bptt_conflicts(config: Any) -> Iterator[str]:
    reasons = {
        "--cell transformer has no state to carry over": config.cell == "transformer",
        "--bidirectional also reads from the end": config.bidirectional,
        f"--pooling {config.pooling} needs the gradient of every step": config.pooling != "last",
        **{f"--{name} needs whole sequences": True for name in config.penalties},
    }
    for reason, applies in reasons.items():
        if config.bptt_steps and applies:
            yield (
                f"--bptt_steps {config.bptt_steps} reads a sequence segment by segment from its "
                f"beginning, but {reason}"
            )


def _proof_conflicts(config: Any) -> Iterator[str]:
    if not config.stop_when_proved:
        return
    if config.train_file:
        yield "--stop_when_proved needs a rule to prove; --train_file has only examples"
    if config.early_stopping_patience:
        yield (
            f"--early_stopping_patience {config.early_stopping_patience} cannot be combined with "
            "--stop_when_proved: a network is proved after its accuracy can improve no more"
        )
    if not config.is_provable:
        asked = "--stop_when_proved"
        if RECIPES[config.recipe].settings.get("stop_when_proved"):
            asked = f"--recipe {config.recipe} trains until the network is proved, which"
        yield f"{asked} needs {PROVABLE_IN_WORDS}"
