"""What --task may name, and what follows from the name alone."""

from __future__ import annotations

import re
from pathlib import PurePath

# What --task may be: the task of the tutorial, another machine's name, a file, or a pattern.
DIGIT_SUM, MACHINE_FILE, PATTERN = "sum", ".json", "regex:"
_MAX_LETTERS = 40  # letters of a file's name, of at most 4 bytes each


def is_machine_file(task: str) -> bool:
    """True if --task names a file, which may move or change."""
    return task.endswith(MACHINE_FILE) and not task.startswith(PATTERN)


def short_name(task: str) -> str:
    """What --task or --train_file names, as a part of the run's name: no folder, no ending."""
    if task.startswith(PATTERN):
        letters = re.sub(r"\W+", "_", task.removeprefix(PATTERN)).strip("_")
        return f"regex-{letters[:_MAX_LETTERS]}".rstrip("-")
    return re.sub(r"[^\w.-]", "_", PurePath(task).stem)[:_MAX_LETTERS] or "machine"


def choose_sampling(sampling: str, task: str) -> str:
    """What --sampling means for a task, "auto" among them: "uniform" or "varied"."""
    if sampling != "auto":
        return sampling
    return "uniform" if task == DIGIT_SUM else "varied"
