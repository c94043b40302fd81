"""From flags to a run that can start: what was recorded, what the machine has, which folder."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rnn_tutorial.runs.checkpoint import Checkpoint, load_checkpoint
from rnn_tutorial.runs.folder import (
    CONFIG_FILE,
    RESULT_FILE,
    claim_run_folder,
    latest_checkpoint,
    read_json,
    write_json,
)
from rnn_tutorial.runs.processes import World, choose_device, choose_num_threads
from rnn_tutorial.settings.config import ENGINES, TrainConfig, config_from_dict
from rnn_tutorial.settings.fields import as_flag
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS
from rnn_tutorial.settings.recipes import settings_of
from rnn_tutorial.training.optimizer import is_adamw

# What may differ when a run is resumed: nothing here changes the weights but for rounding.
# (Files may have moved; that their examples are the same is checked.)
RESUME_FLAGS = (
    "log_every", "eval_every", "save_every", "num_workers", "tracker", "device", "num_threads",
    "train_file", "eval_file",
)  # fmt: skip


def configure(flags: dict[str, Any], resume: str | None, world: World) -> TrainConfig:
    """The configuration of a run, with every `auto` replaced by what it means on this machine.

    Args:
        flags: the settings that the user gave.
        resume: the folder of the run to go on with, or None.
        world: the processes of the training.

    Raises:
        ValueError: a setting that is not allowed, alone, with others, for this run or machine.
    """
    config = _resumed_config(Path(resume), flags) if resume else TrainConfig(**settings_of(flags))
    if config.batch_size % world.size:
        raise ValueError(
            f"--batch_size {config.batch_size} is not a multiple of the {world.size} processes"
        )
    if config.contraction and world.size > 1:
        raise ValueError("--contraction needs all states of a batch: it trains in one process only")
    config = replace(
        config,
        device=choose_device(config.device, world),
        num_threads=config.num_threads or choose_num_threads(),
    )
    is_recurrent_on_gpu = config.device.startswith("cuda") and config.cell != "transformer"
    if config.precision == "bfloat16" and is_recurrent_on_gpu:
        raise ValueError(
            f"--precision bfloat16 cannot be used with --cell {config.cell} on --device "
            f"{config.device}: PyTorch's autocast takes float16 for cuDNN's recurrent layers, "
            "whose gradients vanish unscaled; cpu and --cell transformer can"
        )
    if config.engine == "auto":
        able = [name for name in ENGINES[1:] if impediment(name, config, world) is None]
        return replace(config, engine=able[0])
    if reason := impediment(config.engine, config, world):
        raise ValueError(
            f"--engine {config.engine!r} cannot be used: {reason}; autograd always can"
        )
    return config


def impediment(engine: str, config: TrainConfig, world: World) -> str | None:
    """Why an engine cannot train this, or None. The engines are in order of speed."""
    if engine == "autograd":
        return None
    if world.size > 1:
        return "it trains in one process only"
    if config.accumulate_steps > 1:
        return "it takes a batch in one pass, without --accumulate_steps"
    if config.precision != "float32":
        return "it computes in float32"
    if not is_adamw(config):
        return "its optimizer is adamw, or adam without --weight_decay"
    if not config.is_plain:
        return f"it trains only {PLAIN_IN_WORDS}"
    if config.bptt_steps:
        return "it has no truncated backpropagation"
    if engine == "compiled":
        if config.device != "cpu":
            return "it computes on the CPU only"
        absent = [module for module in ("numba", "scipy") if find_spec(module) is None]
        return f"{' and '.join(absent)} not installed" if absent else None
    if not config.device.startswith("cuda"):
        return "it needs a CUDA GPU"
    if config.bucket_by_length:
        return "it pads every batch to --max_seq_len, whatever --bucket_by_length sorts"
    return "it has no contraction penalty" if config.contraction else None


def _resumed_config(folder: Path, flags: dict[str, Any]) -> TrainConfig:
    """The recorded configuration of an interrupted run, with what may change as the flags say.

    Raises:
        ValueError: no such run, a damaged one, or a flag that may not change.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"--resume {str(folder)!r} is no folder of a run: it has no {CONFIG_FILE}")
    recorded = read_json(folder / CONFIG_FILE)
    config = config_from_dict(recorded, str(folder / CONFIG_FILE))
    evaluations_count = (
        config.scheduler == "plateau" or config.early_stopping_patience or config.stop_when_exact
    )
    for name, value in flags.items():
        if name == "eval_every" and evaluations_count and value != recorded[name]:
            raise ValueError(
                f"--eval_every {value} differs from the resumed run's {recorded[name] or 'none'}; "
                "--scheduler plateau, --early_stopping_patience and --stop_when_exact count "
                "evaluations"
            )
        may_change = name in RESUME_FLAGS and recorded[name] != ""  # no file stays no file
        if not may_change and value != recorded[name]:
            raise ValueError(
                f"{as_flag(name, value)} differs from the resumed run's "
                f"{as_flag(name, recorded[name]).removeprefix(f'--{name} ') or 'none'}; "
                f"with --resume only --{', --'.join(RESUME_FLAGS)} may change"
            )
    return replace(config, **flags)


def open_run(
    config: TrainConfig, resume: str | None, world: World, examples: dict[str, Any] | None = None
) -> tuple[TrainConfig, Path, Checkpoint | None]:
    """The folder of the run, new or resumed, and its latest checkpoint, if it has one.

    Raises:
        ValueError: the folder cannot be made, or the checkpoint is damaged or did not learn from
            these examples (see `Checkpoint`).
    """
    if resume:
        folder = Path(resume)
    else:
        folder = world.from_main(lambda: claim_run_folder(config.save_dir, config.run_name))
        config = replace(config, run_name=folder.name)
    path = latest_checkpoint(folder)
    checkpoint = load_checkpoint(path) if path else None
    if checkpoint is not None:
        checkpoint.build_model()  # refuses weights that do not fit
        if checkpoint.examples != examples:
            raise ValueError(
                f"--train_file {config.train_file!r} or --eval_file {config.eval_file!r} has "
                f"changed since {str(path)!r} was written; a run goes on with the same examples"
            )
    if world.is_main and not (folder / RESULT_FILE).exists():
        write_json(folder / CONFIG_FILE, asdict(config))
    return config, folder, checkpoint
