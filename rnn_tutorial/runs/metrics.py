"""metrics.jsonl: every logged value, one JSON object a line, steps increasing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from rnn_tutorial.runs.files import read_file, write_atomically
from rnn_tutorial.runs.schema import Count, NonNegative, Share, Size, check_record

METRICS_FILE = "metrics.jsonl"


class MetricsLine(TypedDict, total=False):
    """What a line of metrics.jsonl may hold; `step` must be there."""

    step: Size
    loss: float | None  # None: not a finite number
    current_lr: NonNegative
    grad_norm: NonNegative
    padding_share: Share
    update_ratio: NonNegative
    steps_per_second: NonNegative
    accuracy: Share
    wrong_inputs: Count
    balanced_accuracy: Share
    eval_loss: NonNegative
    proved: bool
    accuracy_by_length: dict[str, Share]


def metrics_until(
    folder: Path, last: float = math.inf, schema: type = MetricsLine
) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl up to a step; a half-written last line is skipped.

    Raises:
        ValueError: another line is damaged, or its step is not greater than the one before.
    """
    path = folder / METRICS_FILE
    lines = read_file(path).splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    metrics, step = [], 0
    for number, line in enumerate(lines, start=1):
        place = f"{str(path)!r}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"{place} is damaged: it is not JSON") from None
        check_record(values, schema, place)
        if values.get("step", 0) <= step:
            raise ValueError(f"{place}: it needs a step greater than {step}")
        step = values["step"]
        if step <= last:
            metrics.append(values)
    return metrics


class MetricsFile:
    """metrics.jsonl: one JSON object a line, steps increasing, never one step twice.

    Args:
        folder: the run's folder.
        step: the step that training starts from. Lines beyond it, which a killed process wrote
            after its last checkpoint, are dropped, and so is a half-written last line.
        schema: what a line may hold.
    """

    def __init__(self, folder: Path, step: int, schema: type = MetricsLine) -> None:
        path = folder / METRICS_FILE
        if os.path.lexists(path):
            lines = read_file(path).splitlines(keepends=True)
            kept = lines[: len(metrics_until(folder, step, schema))]
            if kept != lines:
                write_atomically(path, b"".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line that survives the death of the process."""
        self._file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Let the lines reach the disk, so that they survive a power cut too."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
