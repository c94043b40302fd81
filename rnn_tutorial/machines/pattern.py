"""Reading a regular expression: from its text to a tree.

A pattern has letters, brackets, | for "or", and after a letter or a bracket one of * + ? {m} {m,}
{m,n}; [abc] and [a-c] are one of some letters, and . is any letter that occurs in the pattern. A
backslash makes a special character a letter.

    (ab|c)*   ->   Repeat(Choice([Concatenation([a, b]), Concatenation([c])]), least=0, most=None)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rnn_tutorial.machines.machine_file import check_name

MAX_LETTERS = 100
MAX_CHARACTERS = 2_000
MAX_DEPTH = 50

_SPECIAL = frozenset("()|*+?{}[].^$\\")
_COUNTS = re.compile(r"\{([0-9]{1,9})(,([0-9]{1,9})?)?\}")
_NOT_SUPPORTED = {
    "^": "the anchor ^ is not needed: the whole sequence is matched",
    "$": "the anchor $ is not needed: the whole sequence is matched",
    "{": "{ needs a letter or a bracket before it, and the form {m}, {m,} or {m,n}",
    "}": "} has no { before it",
    "]": "] has no [ before it",
}


@dataclass(frozen=True)
class OneOf:
    """One letter of some; of all, if letters is None."""

    letters: frozenset[str] | None


@dataclass(frozen=True)
class Concatenation:
    parts: list[Tree]


@dataclass(frozen=True)
class Choice:
    parts: list[Tree]


@dataclass(frozen=True)
class Repeat:
    """A part, least to most times; any number of times from least on, if most is None."""

    part: Tree
    least: int
    most: int | None


Tree = OneOf | Concatenation | Choice | Repeat


def parse_pattern(pattern: str) -> tuple[Tree, list[str]]:
    """The tree of a pattern, and the letters that occur in it, sorted.

    Raises:
        ValueError: it is not a pattern of this syntax, or has no letters or too many; names the
            place in it, counted from 1.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise ValueError(f"the pattern has more than {MAX_CHARACTERS:,} characters")
    parser = _Parser(pattern)
    tree = parser.parse()
    letters = sorted(parser.letters)
    if not letters:
        raise ValueError("the pattern has no letters")
    if len(letters) > MAX_LETTERS:
        raise ValueError(
            f"the pattern has {len(letters):,} letters; at most {MAX_LETTERS} are allowed"
        )
    return tree, letters


class _Parser:
    """Reads a pattern; `letters` are those that occur in it."""

    def __init__(self, pattern: str) -> None:
        self.letters: set[str] = set()
        self._pattern = pattern
        self._place = 0
        self._depth = 0

    def parse(self) -> Tree:
        tree = self._choice()
        if self._place < len(self._pattern):  # only a closing bracket ends a choice
            raise self._error("the bracket ) has no ( before it")
        return tree

    def _choice(self) -> Tree:
        parts = [self._sequence()]
        while self._accept("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(parts)

    def _sequence(self) -> Tree:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeat())
        return Concatenation(parts)

    def _repeat(self) -> Tree:
        part = self._atom()
        start = self._place
        if not (counts := self._counts()):
            return part
        if self._next() and self._next() in "*+?{":
            raise self._error(f"{self._next()} directly after another repetition")
        least, most = counts
        if most is not None and most < least:
            raise self._error(f"{most} is less than {least}", start)
        return Repeat(part, least, most)

    def _counts(self) -> tuple[int, int | None] | None:
        """How often the part before this place is repeated; None if nothing says so."""
        for operator, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._accept(operator):
                return counts
        if self._next() != "{":
            return None
        match = _COUNTS.match(self._pattern, self._place)
        if not match:
            raise self._error(_NOT_SUPPORTED["{"])
        self._place = match.end()
        least, has_comma, most = match.groups()
        return int(least), int(most) if most else None if has_comma else int(least)

    def _atom(self) -> Tree:
        start = self._place
        if self._accept("("):
            return self._group(start)
        if self._accept("["):
            return OneOf(self._set(start))
        if self._accept("."):
            return OneOf(None)
        if self._next() in _NOT_SUPPORTED:
            raise self._error(_NOT_SUPPORTED[self._next()])
        if self._next() in "*+?":
            raise self._error(f"{self._next()} has nothing before it to repeat")
        return OneOf(frozenset(self._letter()))

    def _group(self, start: int) -> Tree:
        if self._accept("?") and not self._accept(":"):
            raise self._error("of what begins with (? only the group (?: is supported", start)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} brackets inside each other", start)
        tree = self._choice()
        self._depth -= 1
        if not self._accept(")"):
            raise self._error("the bracket ( is not closed", start)
        return tree

    def _set(self, start: int) -> frozenset[str]:
        if self._next() == "^":
            raise self._error("[^ is not supported: name the letters", start)
        found: set[str] = set()
        while not self._accept("]"):
            if not self._next():
                raise self._error("the bracket [ is not closed", start)
            place = self._place
            first = last = self._letter()
            if self._next() == "-" and self._pattern[self._place + 1 : self._place + 2] != "]":
                self._place += 1
                last = self._letter()
            num_letters = ord(last) - ord(first) + 1
            if not 1 <= num_letters <= MAX_LETTERS:
                raise self._error(
                    f"{first}-{last} is not a range of 1 to {MAX_LETTERS} letters", place
                )
            for code in range(ord(first), ord(last) + 1):
                found.add(self._checked(chr(code), place))
        if not found:
            raise self._error("the brackets [] hold no letter", start)
        return frozenset(found)

    def _letter(self) -> str:
        """One letter, after a backslash if it is a special character."""
        start = self._place
        is_escaped = self._accept("\\")
        letter = self._next()
        if not letter:
            raise self._error("a letter is missing at the end", start)
        self._place += 1
        if is_escaped and letter.isdigit():
            raise self._error(f"\\{letter} refers back to a group: that is not regular", start)
        if is_escaped and letter not in _SPECIAL and letter != "-":
            raise self._error(
                f"\\{letter} is not supported: \\ makes a special character ordinary, as in \\+",
                start,
            )
        return self._checked(letter, start)

    def _checked(self, letter: str, place: int) -> str:
        try:
            check_name(letter)
        except ValueError:
            raise self._error(f"{letter!r} cannot be a letter", place) from None
        self.letters.add(letter)
        return letter

    def _next(self) -> str:
        """The character at this place; "" at the end."""
        return self._pattern[self._place : self._place + 1]

    def _accept(self, character: str) -> bool:
        """Go on if this character is next."""
        is_next = self._next() == character
        self._place += is_next
        return is_next

    def _error(self, problem: str, place: int | None = None) -> ValueError:
        place = self._place if place is None else place
        return ValueError(f"at character {place + 1} of the pattern, {problem}")
