"""A finding: what the doctor saw, what it means, what to try, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
