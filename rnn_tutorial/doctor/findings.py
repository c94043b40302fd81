"""A finding: what the doctor saw, what it means, what to try, where to read on, how sure it is.

Every area (runs, modules, data, loops) has a `FindingTable` with the words for its findings, ranks
what it found by `rank`, and returns a `Report`.
"""

from __future__ import annotations

import re
import sysconfig
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import torch

from rnn_tutorial.runs.terminal import shown

CONFIDENCES = ("certain", "likely", "possible")  # the surest first


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a training run, a module, data or a training loop.

    Args:
        name: of the fault, in kebab-case: "vanishing-gradient".
        seen: what was measured, with the number.
        meaning: what follows from it.
        advice: what to try: a flag, or a change of the code.
        confidence: one of CONFIDENCES.
        lesson: the section that teaches it, as "README.md#8-packing".
        explains: names of findings that follow from this one, or patterns such as "leaking-*".
    """

    name: str
    seen: str
    meaning: str
    advice: str
    confidence: str = "certain"
    lesson: str = ""
    explains: tuple[str, ...] = ()


class Report(NamedTuple):
    """What a check returns.

    Attributes:
        findings: as `rank` leaves them; `describe(*report)` is its text.
        looked_at: what was looked at, a phrase each: "the gradients of 12 tensors".
        not_asked: what was not, and why: "the largest token: needs --vocab_size".
    """

    findings: list[Finding]
    looked_at: list[str]
    not_asked: list[str]


class FindingTable:
    """What the findings of one area mean, what to try, and what they explain.

    Args:
        text: a heading in brackets for each lesson; below it a paragraph for each finding, whose
            longer lines go on with four spaces. Words in braces are filled in by `found`.

            [README.md#8-packing]
            padding-counted: padding enters as zeros, so that a mean divides by T
              divide by seq_lengths; fill the padding with -inf before a maximum
              explains: batch-of-one-differs, order-*
    """

    def __init__(self, text: str) -> None:
        self._findings: dict[str, Finding] = {}
        lesson = ""
        for line in text.strip().replace("\n    ", " ").splitlines():
            if line.startswith("["):
                lesson = line.strip("[]")
            elif not line.startswith(" "):
                name, _, meaning = line.partition(": ")
                self._findings[name] = Finding(name, "", meaning, "", lesson=lesson)
            elif line.startswith("  explains: "):
                explains = tuple(line.removeprefix("  explains: ").split(", "))
                self._findings[name] = replace(self._findings[name], explains=explains)
            else:
                self._findings[name] = replace(self._findings[name], advice=line.strip())

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings.values())

    def found(self, name: str, seen: str, confidence: str = "certain", **words: object) -> Finding:
        """The finding of this name, with what was seen, and with words for those in braces."""
        finding = replace(self._findings[name], seen=seen, confidence=confidence)
        if not words:
            return finding
        meaning, advice = (text.format(**words) for text in (finding.meaning, finding.advice))
        return replace(finding, meaning=meaning, advice=advice)


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """The surest first, one of each name, without those that another one explains.

    A cause hides what follows from it only if it is at least as sure: a possible cause never hides
    a likely finding.
    """
    kept: list[Finding] = []
    for finding in sorted(findings, key=_place):
        is_known = any(finding.name == other.name for other in kept)
        if is_known or any(_is_explained(finding, cause) for cause in kept):
            continue  # of two that explain each other, the first stays
        kept = [other for other in kept if not _is_explained(other, finding)]
        kept.append(finding)
    return kept


def _place(finding: Finding) -> int:
    return CONFIDENCES.index(finding.confidence)


def _is_explained(finding: Finding, cause: Finding) -> bool:
    is_named = any(fnmatchcase(finding.name, pattern) for pattern in cause.explains)
    return is_named and _place(cause) <= _place(finding)


def describe(
    findings: Sequence[Finding], looked_at: Sequence[str] = (), not_asked: Sequence[str] = ()
) -> str:
    """A report for a person: a paragraph for each finding, or what was looked at without one."""
    if findings:
        return "\n".join(map(_paragraph, findings))
    lines = ["No findings."]
    for words, things in (("Looked at", looked_at), ("Not asked", not_asked)):
        lines += [f"{words}:"] if things else []
        lines += [f"  {shown(thing)}" for thing in things]
    return "\n".join(lines)


def _paragraph(finding: Finding) -> str:
    return (
        f"{finding.name} ({finding.confidence})\n"
        f"  seen: {shown(finding.seen)}\n"
        f"  means: {finding.meaning}\n"
        f"  try: {shown(finding.advice)}" + f"\n  see: {finding.lesson}" * bool(finding.lesson)
    )


def user_error(error: BaseException) -> ValueError:
    """One sentence of an exception in the user's code: file, line and what was raised."""
    places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    if "Original Traceback" in message:  # of a worker of a DataLoader, as a text
        places += re.findall(r'File "(.+?)", line (\d+)', message)
        message = message.strip().splitlines()[-1].partition(": ")[2]
    house = Path(__file__).parent
    foreign = [sysconfig.get_path("stdlib"), str(Path(torch.__file__).parent), "<frozen"]
    foreign += [str(house), str(house.parent / "diagnose.py")]
    users = [
        f"{file}:{line}: "
        for file, line in places
        if not file.startswith(tuple(foreign)) and "site-packages" not in file
    ]
    where = users[-1] if users else ""
    return ValueError(f"{where}{type(error).__name__}: {textwrap.shorten(message, 200)}")
