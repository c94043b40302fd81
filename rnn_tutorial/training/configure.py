"""From flags to a configuration without open choices: what was recorded, what the machine has."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.runs.folder import CONFIG_FILE, is_run_folder
from rnn_tutorial.runs.machine import choose_device, choose_num_threads, has_bfloat16_lstm
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.saved_run import find_resume_point, read_config
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.fields import refuse_empty
from rnn_tutorial.settings.resume import may_change, refuse_changes
from rnn_tutorial.settings.task_names import choose_sampling
from rnn_tutorial.training.support import able_engines, unsupported_reason

_MOST_PAIRS = 2**22  # 32 MiB for a table


def configure(flags: dict[str, Any], resume: str | None, world: World) -> TrainConfig:
    """The configuration of a run, with every `auto` replaced by what it means on this machine.

    Args:
        flags: the settings that the user gave.
        resume: the folder of the run to go on with, or None.
        world: the processes of the training.

    Raises:
        ValueError: a setting that is not allowed, alone, with others, for this run or machine.
    """
    refuse_empty(flags)
    if resume is None:
        config = TrainConfig.from_flags(flags)
    else:
        config = _resumed_config(Path(resume), flags)
    if config.batch_size % world.size:
        raise ValueError(
            f"--batch_size {config.batch_size} is not a multiple of the {world.size} processes"
        )
    for name in config.penalties:
        if world.size > 1:
            raise ValueError(f"--{name} needs all states of a batch: it trains in one process only")
    config = replace(
        config,
        device=choose_device(config.device, world),
        num_threads=config.num_threads or choose_num_threads(),
        sampling=choose_sampling(config.sampling, config.task),
    )
    is_recurrent_on_gpu = config.device.startswith("cuda") and config.cell != "transformer"
    if config.precision == "bfloat16" and is_recurrent_on_gpu:
        raise ValueError(
            f"--precision bfloat16 cannot be used with --cell {config.cell} on --device "
            f"{config.device}: PyTorch's autocast takes float16 for cuDNN's recurrent layers, "
            "whose gradients vanish unscaled; use --device cpu or --cell transformer"
        )
    is_lstm_on_cpu = config.device == "cpu" and config.cell == "lstm"
    if config.precision == "bfloat16" and is_lstm_on_cpu and not has_bfloat16_lstm():
        raise ValueError(
            "--precision bfloat16 cannot be used with --cell lstm on this processor: PyTorch "
            "computes LSTMs in bfloat16 with AVX-512 only"
        )
    if config.engine == "auto":
        return replace(config, engine=able_engines(config, world)[0])
    if reason := unsupported_reason(config.engine, config, world):
        raise ValueError(
            f"--engine {config.engine!r} cannot be used: {reason}; autograd always can"
        )
    return config


def _resumed_config(folder: Path, flags: dict[str, Any]) -> TrainConfig:
    """The recorded configuration of an interrupted run, with what may change as the flags say.

    Raises:
        ValueError: no such run, a damaged one, or a flag that may not change.
    """
    if not is_run_folder(folder):
        raise ValueError(f"--resume {str(folder)!r} is not the folder of a run: no {CONFIG_FILE}")
    _, config = read_config(folder)
    find_resume_point(folder)  # refuses a configuration that is not that of the checkpoints
    recorded = asdict(config)
    refuse_changes(recorded, flags)
    config = replace(config, **flags)
    for flag in ("task", "train_file", "eval_file"):
        path = getattr(config, flag)
        if may_change(flag, recorded[flag]) and not Path(path).exists():
            if flag in flags:
                raise ValueError(f"--{flag} {path!r}: there is no such file")
            raise ValueError(
                f"--{flag} {path!r}, which the run uses, is not there any more; if the file has "
                f"moved, give its new place: --resume RUN_DIR --{flag} FILE"
            )
    return config


def check_center_loss(config: TrainConfig, machine: Machine | None) -> None:
    """Raise ValueError if --center_loss would need a table of the machine that is too large."""
    if config.center_loss and machine.num_states * len(machine.tokens) > _MOST_PAIRS:
        raise ValueError(
            f"--center_loss {config.center_loss:g} groups hidden states by the machine's state and "
            f"the token; {machine.num_states:,} states with {len(machine.tokens):,} tokens are "
            f"more than {_MOST_PAIRS:,} pairs; --center_loss 0 trains without it"
        )


def prepare_torch(config: TrainConfig) -> None:
    """Global settings of PyTorch for a training."""
    torch.set_num_threads(config.num_threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 on a GPU too
    torch.backends.cudnn.enabled = not config.dropout  # its dropout cannot be seeded anew
