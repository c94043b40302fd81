"""What may differ when a run is resumed, and what must stay as it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnn_tutorial.settings.fields import as_flag
from rnn_tutorial.settings.task_names import is_machine_file

# What may differ when a run is resumed: these change the weights by rounding at most.
# (Files may have moved; that their examples are the same is checked.)
RESUME_FLAGS = (
    "log_every", "eval_every", "save_every", "num_workers", "tracker", "device", "engine",
    "num_threads", "train_file", "eval_file",
)  # fmt: skip
# Settings that act after evaluations, so that a resumed run keeps their steps.
_BY_EVALUATIONS = (
    "early_stopping_patience", "stop_when_exact", "stop_when_proved", "contraction", "center_loss",
)  # fmt: skip


def may_change(name: str, recorded: Any) -> bool:
    """True if a setting that a run has recorded may have another value when the run is resumed."""
    if name == "task":  # its file may have moved
        return isinstance(recorded, str) and is_machine_file(recorded)
    return name in RESUME_FLAGS and recorded != ""  # no file stays no file


def refuse_changes(recorded: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Raise ValueError if a flag would change what a resumed run must keep.

    Args:
        recorded: all settings of the run, of train_cls_rnn.py or of a task of the gallery.
        flags: the settings that the user gave.
    """
    deciding = [f"--{name}" for name in _BY_EVALUATIONS if recorded.get(name)]
    deciding += ["--scheduler plateau"] * (recorded["scheduler"] == "plateau")
    for name, value in flags.items():
        kept = recorded[name]
        if value == kept:
            continue
        differs = f"{as_flag(name, value)} differs from the resumed run's "
        differs += as_flag(name, kept).removeprefix(f"--{name} ") or "none"
        if not may_change(name, kept):
            able = ", --".join(key for key, old in recorded.items() if may_change(key, old))
            raise ValueError(f"{differs}; with --resume only --{able} may change")
        if name == "eval_every" and deciding:
            raise ValueError(f"{differs}, and evaluations decide about {' and '.join(deciding)}")
