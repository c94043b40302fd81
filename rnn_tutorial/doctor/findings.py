"""A finding: what the doctor saw, what it means, what to try, where to read on, how sure it is.

Every area (runs, modules, data, loops) has a `FindingTable` with the words for its findings, ranks
what it found by `rank`, and returns a `Report`.
"""

from __future__ import annotations

import re
import sysconfig
import textwrap
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import torch

from rnn_tutorial.runs.terminal import shown

CONFIDENCES = ("certain", "likely", "possible")  # the surest first
_PARAGRAPH = re.compile(r"^(\S+): (.+)\n  (.+)(?:\n  explains: (.+))?", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a training run, a module, data or a training loop."""

    name: str  # of the fault, in kebab-case: "vanishing-gradient"
    seen: str  # what was measured, with the number
    meaning: str  # what follows from it
    advice: str  # what to try: a flag, or a change of the code
    confidence: str = "certain"  # one of CONFIDENCES
    lesson: str = ""  # the section that teaches it, as "README.md#8-packing"
    explains: tuple[str, ...] = ()  # names of what follows from it, or patterns as "leaking-*"


class Report(NamedTuple):
    """What a check returns; `describe(*report)` is its text."""

    findings: list[Finding]  # as `rank` leaves them
    looked_at: list[str]  # a phrase each: "the gradients of 12 tensors"
    not_asked: list[str]  # what was not looked at, and why: "the largest token: needs --vocab_size"


class FindingTable(dict[str, Finding]):
    """What the findings of one area mean, what to try, and what they explain, by name.

    Args:
        text: a heading in brackets for each lesson; below it a paragraph for each finding, whose
            longer lines go on with four spaces. Words in braces are filled in by `found`.

            [README.md#8-packing]
            padding-counted: padding enters as zeros, so that a mean divides by T
              divide by seq_lengths; fill the padding with -inf before a maximum
              explains: batch-of-one-differs, order-*
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        for section in text.replace("\n    ", " ").split("\n[")[1:]:
            lesson, _, paragraphs = section.partition("]")
            for name, meaning, advice, explains in _PARAGRAPH.findall(paragraphs):
                patterns = tuple(explains.split(", ")) if explains else ()
                self[name] = Finding(name, "", meaning, advice, lesson=lesson, explains=patterns)

    def found(self, name: str, seen: str, confidence: str = "certain", **words: object) -> Finding:
        """The finding of this name, with what was seen, and with words for those in braces."""
        finding = replace(self[name], seen=seen, confidence=confidence)
        if not words:
            return finding
        meaning, advice = (text.format(**words) for text in (finding.meaning, finding.advice))
        return replace(finding, meaning=meaning, advice=advice)


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """The surest first, one of each name, without those that another one explains.

    A cause hides what follows from it only if it is at least as sure: a possible cause never hides
    a likely finding.
    """

    def is_hidden(finding: Finding, cause: Finding) -> bool:
        is_named = any(fnmatchcase(finding.name, pattern) for pattern in cause.explains)
        return is_named and place(cause) <= place(finding)

    def place(finding: Finding) -> int:
        return CONFIDENCES.index(finding.confidence)

    kept: list[Finding] = []
    for finding in sorted(findings, key=place):
        if any(finding.name == other.name or is_hidden(finding, other) for other in kept):
            continue  # of two that explain each other, the first stays
        kept = [*(other for other in kept if not is_hidden(other, finding)), finding]
    return kept


def describe(
    findings: Sequence[Finding], looked_at: Sequence[str] = (), not_asked: Sequence[str] = ()
) -> str:
    """A report for a person: findings, or what was looked at without one; and what was not."""
    lines = [
        f"{f.name} ({f.confidence})\n  seen: {shown(f.seen)}\n  means: {f.meaning}\n"
        f"  try: {shown(f.advice)}" + f"\n  see: {f.lesson}" * bool(f.lesson)
        for f in findings
    ]
    lines = lines or ["No findings."]
    for words, things in (("Looked at", looked_at), ("Not asked", not_asked)):
        if things and (words == "Not asked" or not findings):
            lines += [f"{words}:", *(f"  {shown(thing)}" for thing in things)]
    return "\n".join(lines)


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
