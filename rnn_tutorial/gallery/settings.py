"""The settings that all tasks of the gallery share, defined where train_cls_rnn.py defines them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rnn_tutorial.runs.files import read_json
from rnn_tutorial.runs.folder import CONFIG_FILE, is_run_folder
from rnn_tutorial.runs.machine import choose_device, choose_num_threads
from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.conflicts import find_general_conflicts
from rnn_tutorial.settings.fields import check_bounds, refuse_empty
from rnn_tutorial.settings.flags import add_config_flags
from rnn_tutorial.settings.resume import RESUME_FLAGS, refuse_changes

SAVE_DIR = "./output/gallery/"


def program_of(task: str) -> str:
    """The command of a task, as it is typed; its subcommands follow."""
    return f"python -m rnn_tutorial.gallery.{task}"


def _setting_like(
    settings: Mapping[str, Field], name: str, default: Any = MISSING, **changes: Any
) -> Any:
    """A dataclass field like one of these settings, with another default or other bounds."""
    setting = settings[name]
    default = setting.default if default is MISSING else default
    return field(default=default, metadata={**setting.metadata, **changes})


_of_training = partial(_setting_like, TrainConfig.__dataclass_fields__)


@dataclass(frozen=True)
class GalleryConfig:
    """Everything that determines a training of the gallery; each task adds settings of its own.

    Raises:
        ValueError: a setting is out of bounds, or some do not go together; names their flags.
    """

    seed: int = _of_training("seed")

    cell: str = _of_training(
        "cell", "lstm", choices=("rnn", "gru", "lstm"), help="type of the recurrent layers"
    )
    hidden_dim: int = _of_training("hidden_dim", 128)
    num_layers: int = _of_training("num_layers")
    dropout: float = _of_training(
        "dropout", help="probability of zeroing a value in training, between layers and before fc"
    )

    batch_size: int = _of_training("batch_size", 32, help="sequences per update")
    optimizer: str = _of_training("optimizer", "adamw")
    momentum: float = _of_training("momentum")
    weight_decay: float = _of_training("weight_decay")
    max_grad_norm: float = _of_training("max_grad_norm", 1.0)

    total_steps: int = _of_training("total_steps", 5000)
    lr: float = _of_training("lr", 0.004)
    min_lr: float = _of_training("min_lr", 0.0)
    warmup_step: int = _of_training("warmup_step", 100)
    scheduler: str = _of_training("scheduler")
    lr_factor: float = _of_training("lr_factor")
    lr_step_every: int = _of_training("lr_step_every")
    plateau_patience: int = _of_training("plateau_patience")
    early_stopping_patience: int = _of_training("early_stopping_patience")

    log_every: int = _of_training("log_every")
    eval_every: int = _of_training("eval_every")
    save_every: int = _of_training("save_every")
    save_dir: str = _of_training("save_dir", SAVE_DIR)
    run_name: str = _of_training("run_name")
    tracker: str = _of_training("tracker")

    device: str = _of_training("device")
    num_threads: int = _of_training("num_threads")

    def __post_init__(self) -> None:
        for setting in fields(self):
            check_bounds(setting, getattr(self, setting.name))
        if conflict := next(self.find_conflicts(), None):
            raise ValueError(conflict)

    def find_conflicts(self) -> Iterator[str]:
        """Why settings do not go together, one sentence each; a task may add its own."""
        return find_general_conflicts(self)


# For the tasks: a setting like that of GalleryConfig, or else of TrainConfig.
same_setting = partial(
    _setting_like, TrainConfig.__dataclass_fields__ | GalleryConfig.__dataclass_fields__
)
Config = TypeVar("Config", bound=GalleryConfig)


def add_train_flags(parser: argparse.ArgumentParser, schema: type[GalleryConfig]) -> None:
    """The flags of a training: every setting, `--quick` and `--resume`."""
    able = [setting.name for setting in fields(schema) if setting.name in RESUME_FLAGS]
    parser.add_argument(
        "--quick", action="store_true", help="a short training run of less than a minute"
    )
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help=f"continue an interrupted run; only --{', --'.join(able)} may change",
    )
    add_config_flags(parser, schema)


def configure(
    schema: type[Config], flags: Mapping[str, Any], quick: Mapping[str, Any]
) -> tuple[Config, str | None]:
    """The configuration of a run, every choice made, and the folder to resume or None.

    Args:
        schema: that of the task.
        flags: what the user gave, `quick` and `resume` among it.
        quick: the settings that --quick stands for; other flags override them.

    Raises:
        ValueError: a setting is not allowed, alone, with others, for this run or machine.
    """
    refuse_empty(flags)
    flags = dict(flags)
    resume, is_quick = flags.pop("resume"), flags.pop("quick")
    if resume:
        if is_quick:
            raise ValueError("--quick cannot be combined with --resume, which keeps its settings")
        config = _resumed(schema, Path(resume), flags)
    else:
        chosen = {**(quick if is_quick else {}), **flags}
        if "warmup_step" not in chosen:  # the default suits a training of the default's length
            total_steps = chosen.get("total_steps", schema.total_steps)
            chosen["warmup_step"] = min(schema.warmup_step, total_steps // 10)
        config = schema(**chosen)
    return (
        replace(
            config,
            device=choose_device(config.device, World()),
            num_threads=config.num_threads or choose_num_threads(),
        ),
        resume,
    )


def _resumed(schema: type[Config], folder: Path, flags: Mapping[str, Any]) -> Config:
    if not is_run_folder(folder):
        raise ValueError(f"--resume {str(folder)!r} is not the folder of a run: no {CONFIG_FILE}")
    config = recorded_config(schema, read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
    refuse_changes(asdict(config), flags)
    return replace(config, **flags)


def recorded_config(schema: type[Config], content: Mapping[str, Any], path: Path) -> Config:
    """The configuration in a config.json or a checkpoint.

    Raises:
        ValueError: it is that of another task or version, or a setting is not allowed.
    """
    settings = {
        name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for name, value in content.items()
        if name not in ("task", "run_id")
    }
    names = {setting.name for setting in fields(schema)}
    if odd := sorted(names.symmetric_difference(settings)):
        named = f" (it names the task {content['task']!r})" if "task" in content else ""
        raise ValueError(
            f"{str(path)!r} is not of this task and version{named}; missing or unknown settings: "
            f"{', '.join(odd[:8])}"
        )
    try:
        return schema(**settings)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from None
