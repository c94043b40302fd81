"""A finding: what the doctor saw, what it means, what to try, and how sure it is."""

from __future__ import annotations

import sysconfig
import textwrap
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rnn_tutorial.runs.terminal import shown


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a training run, a module, data or a training step.

    Args:
        name: of the fault, in kebab-case: "vanishing-gradient".
        seen: what was measured, with the number.
        meaning: what follows from it.
        advice: what to try: a flag, or a change of the code.
        confidence: "certain", "likely" or "possible".
    """

    name: str
    seen: str
    meaning: str
    advice: str
    confidence: str = "certain"


def describe(findings: Sequence[Finding]) -> str:
    """The findings for a person, a paragraph each, or a sentence if there are none."""
    if not findings:
        return "No findings."
    return "\n".join(
        f"{finding.name} ({finding.confidence})\n"
        f"  seen: {shown(finding.seen)}\n"
        f"  means: {finding.meaning}\n"
        f"  try: {shown(finding.advice)}"
        for finding in findings
    )


def user_error(error: BaseException) -> ValueError:
    """One sentence of an exception in the user's code: file, line and what was raised."""
    foreign = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    foreign += [str(Path(torch.__file__).parent), str(Path(__file__).parent), "<frozen"]
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(tuple(foreign))]
    where = f"{users[-1].filename}:{users[-1].lineno}: " if users else ""
    return ValueError(f"{where}{type(error).__name__}: {textwrap.shorten(str(error), 200)}")
