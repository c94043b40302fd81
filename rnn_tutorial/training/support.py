"""What each engine can train, asked before it is made."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import ENGINES, TrainConfig
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS, STACK_IN_WORDS
from rnn_tutorial.training.optimizer import is_adamw


def able_engines(config: TrainConfig, world: World) -> list[str]:
    """The engines that can train this, the fastest first."""
    return [name for name in ENGINES[1:] if unsupported_reason(name, config, world) is None]


def unsupported_reason(engine: str, config: TrainConfig, world: World) -> str | None:
    """Why an engine cannot train this, or None if it can."""
    if engine == "autograd":
        return None
    penalties = " or ".join(f"--{name}" for name in config.penalties)
    if world.size > 1:
        return "it trains in one process only"
    if config.accumulate_steps > 1:
        return "it takes a batch in one pass, without --accumulate_steps"
    if config.precision != "float32":
        return "it computes in float32"
    if not is_adamw(config):
        return "its optimizer is adamw, or adam without --weight_decay"
    if config.bptt_steps:
        return "it has no truncated backpropagation"
    if engine == "compiled":
        if not config.is_stack:
            return f"it trains only {STACK_IN_WORDS}"
        if penalties and config.cell != "rnn":
            return f"it has {penalties} for --cell rnn only"
        if config.device != "cpu":
            return "it computes on the CPU only"
        return missing_libraries()
    if not config.device.startswith("cuda"):
        return "it needs a CUDA GPU"
    if not config.is_plain:
        return f"it trains only {PLAIN_IN_WORDS}"
    if config.bucket_by_length:
        return "it pads every batch to --max_seq_len, whatever --bucket_by_length sorts"
    return f"it has no {penalties}" if penalties else None


def missing_libraries() -> str | None:
    """Which libraries of the compiled engine are not installed, in words; None if all are."""
    absent = [module for module in ("numba", "scipy") if find_spec(module) is None]
    return f"{' and '.join(absent)} not installed" if absent else None


def check_supported(model: RnnClsNet, optimizer: torch.optim.Optimizer, engine: str) -> None:
    """Raise ValueError if one of the fast engines cannot train the model with the optimizer."""
    if engine == "compiled" and not model.is_stack:
        raise ValueError(f"the compiled engine trains only {STACK_IN_WORDS}")
    if engine == "graph" and not model.is_plain:
        raise ValueError(f"the graph engine trains only {PLAIN_IN_WORDS}")
    if not isinstance(optimizer, torch.optim.AdamW) or len(optimizer.param_groups) != 1:
        raise ValueError(f"the {engine} engine needs an AdamW with one group of parameters")
    if optimizer.defaults["amsgrad"] or optimizer.defaults["maximize"]:
        raise ValueError(f"the {engine} engine does not know amsgrad and maximize")
