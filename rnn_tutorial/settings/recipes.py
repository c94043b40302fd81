"""The recipes: named settings to start from, which explicit flags override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rnn_tutorial.settings.fields import as_flag
from rnn_tutorial.settings.task_names import DIGIT_SUM, choose_sampling, short_name


@dataclass(frozen=True)
class Recipe:
    """Settings that differ from the defaults, and what they teach.

    Args:
        lesson: what they teach, in a sentence.
        settings: name to value.
        of_machines: those that differ from `settings` where the task is not the digit sum.
    """

    lesson: str
    settings: Mapping[str, Any]
    of_machines: Mapping[str, Any] = field(default_factory=dict)

    def settings_for(self, task: str) -> dict[str, Any]:
        """The settings for what --task means."""
        return {**self.settings, **({} if task == DIGIT_SUM else self.of_machines)}


_FASTER = {"batch_size": 64, "lr": 0.005}
_DEEPER = {"hidden_dim": 32, "num_layers": 3}
_SOLVED = {
    "min_seq_len": 1,
    "embed_dim": 32,
    "hidden_dim": 128,
    "init": "orthogonal",
    "total_steps": 8500,
    "batch_size": 128,
    "lr": 0.005,
    "min_lr": 0.0,
    "warmup_step": 500,
    "optimizer": "adamw",
    "weight_decay": 0.5,
    "max_grad_norm": 1.0,
    "embed_noise": 0.3,
}

RECIPES = {
    "baseline": Recipe("the published baseline: a small network learns part of the task", {}),
    "large_batch": Recipe("a batch four times as large: a less noisy gradient", {"batch_size": 64}),
    "large_batch_lr5e-3": Recipe("a larger batch tolerates a higher learning rate", _FASTER),
    "deeper_rnn": Recipe("twice the width and three layers: more capacity", _DEEPER),
    "sota": Recipe("all of these together: fast but fragile training", _DEEPER | _FASTER),
    "sota_warmup": Recipe(
        "the same with a warmup, which deep networks need",
        _DEEPER | _FASTER | {"warmup_step": 2000},
    ),
    "solved": Recipe(
        "single digits name the ten states; weight decay and noise make them stable, so every "
        "input is answered correctly",
        _SOLVED,
    ),
    "certified": Recipe(
        "states that should be alike are brought together, so the network can be proved correct "
        "for every length",
        _SOLVED
        | {
            "sampling": "varied",
            "batch_size": 256,
            "total_steps": 12_000,
            "contraction": 1.0,
            "center_loss": 100.0,
            "stop_when_proved": True,
            "eval_every": 250,
        },
        # Five tokens may not show what a machine does, such as going round fifteen states.
        of_machines={"max_seq_len": 20},
    ),
}


def describe_recipes() -> str:
    """Name and lesson of each recipe, and on a second line its flags."""
    lines = []
    for name, recipe in RECIPES.items():
        flags = _as_flags(recipe.settings) or "(the defaults)"
        if recipe.of_machines:
            flags += f"; other tasks than the sum: {_as_flags(recipe.of_machines)}"
        lines.append(f"{name}: {recipe.lesson}\n    {flags}")
    return "\n".join(lines)


def _as_flags(settings: Mapping[str, Any]) -> str:
    return " ".join(as_flag(name, value) for name, value in settings.items())


def settings_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that flags stand for: those of the recipe, overridden by the flags themselves.

    Args:
        flags: name to value of the flags that the user gave, and of no other.

    Raises:
        ValueError: the recipe does not exist, or a flag has no effect with the others.
    """
    name = flags.get("recipe", "baseline")
    if name not in RECIPES:
        raise ValueError(f"--recipe {name!r} is not one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    task, train_file = flags.get("task", DIGIT_SUM), flags.get("train_file")
    if train_file:
        if recipe.settings.get("stop_when_proved"):
            raise ValueError(
                f"--recipe {name} proves a network right, which needs a rule; with --train_file, "
                "take another, such as --recipe solved"
            )
        for flag in ("task", "sampling", "min_seq_len", "max_seq_len", "max_number"):
            if flag in flags:
                raise ValueError(
                    f"--{flag} {flags[flag]} cannot be combined with --train_file: "
                    "the file brings its own sequences"
                )
    if flags.get("scheduler") == "constant" and "min_lr" in flags:
        raise ValueError(
            f"--min_lr {flags['min_lr']:g} cannot be combined with --scheduler constant, "
            "which keeps the learning rate at --lr"
        )
    learned = train_file or (task if task != DIGIT_SUM else "")
    run_name = f"{short_name(learned)}-{name}" if learned else name
    return {"run_name": run_name, **recipe.settings_for(task), **flags}


def overrides_recipe(config: Any) -> bool:
    """True if a configured TrainConfig departs from its recipe in data, model or updates."""
    chosen = {"sampling": choose_sampling("auto", config.task)}  # as `configure` does
    recipe = chosen | RECIPES[config.recipe].settings_for(config.task)
    return any(
        getattr(config, setting.name) != recipe.get(setting.name, setting.default)
        for setting in fields(config)
        if setting.metadata["group"] in ("data", "model", "optimization", "schedule")
        and setting.name not in ("seed", "num_workers")
    )
