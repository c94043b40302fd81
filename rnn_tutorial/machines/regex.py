"""The machine of a regular expression: does the whole sequence match?

    (ab|ba)*   ->   tokens a b, classes rejected accepted, four states

A pattern has letters, brackets, | for "or", and after a letter or a bracket one of * + ? {m} {m,}
{m,n}; [abc] and [a-c] are one of some letters, and . is any letter that occurs in the pattern. A
backslash makes a special character a letter. The tokens are the letters of the pattern, sorted.

Each letter of the pattern is a position. A state is the set of the positions at which the letter
read last may stand: in (ab|ba)*, after "a b a", the first and the fourth. A set is an integer with
one bit for each position; bit 0 is the place before the first letter.

Source: Glushkov, The Abstract Theory of Automata, 1961.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.machine_file import check_name
from rnn_tutorial.machines.unfold import unfold

MAX_POSITIONS = 1_000
MAX_LETTERS = 100
MAX_CHARACTERS = 10_000
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


def machine_of_pattern(pattern: str) -> Machine:
    """The machine that tells whether a whole sequence matches; it may not be the smallest.

    Args:
        pattern: for example "(ab|ba)*".

    Raises:
        ValueError: it is not a pattern of the syntax above, or needs too many states; names the
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
    positions = _Positions()
    is_nullable, first, last = positions.place(tree)
    positions.follow[0] = first
    accepting = last | is_nullable
    of_letter = [positions.of_letter(letter) for letter in letters]

    @lru_cache(maxsize=1)  # the letters after one state are asked one after the other
    def following(state: int) -> int:
        reached = 0
        for position in _members(state):
            reached |= positions.follow[position]
        return reached

    return unfold(
        letters,
        ("rejected", "accepted"),
        1,
        lambda state, letter: following(state) & of_letter[letter],
        lambda state: int(state & accepting != 0),
    )


@dataclass(frozen=True)
class _OneOf:
    """One letter of some; of all, if letters is None."""

    letters: frozenset[str] | None


@dataclass(frozen=True)
class _Sequence:
    parts: list[_Tree]


@dataclass(frozen=True)
class _Choice:
    parts: list[_Tree]


@dataclass(frozen=True)
class _Repeat:
    """A part, least to most times; any number of times from least on, if most is None."""

    part: _Tree
    least: int
    most: int | None


_Tree = _OneOf | _Sequence | _Choice | _Repeat


class _Parser:
    """Reads a pattern; `letters` are those that occur in it."""

    def __init__(self, pattern: str) -> None:
        self.letters: set[str] = set()
        self._pattern = pattern
        self._place = 0
        self._depth = 0

    def parse(self) -> _Tree:
        tree = self._choice()
        if self._place < len(self._pattern):  # only a closing bracket ends a choice
            raise self._error("the bracket ) has no ( before it")
        return tree

    def _choice(self) -> _Tree:
        parts = [self._sequence()]
        while self._accept("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(parts)

    def _sequence(self) -> _Tree:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeat())
        return _Sequence(parts)

    def _repeat(self) -> _Tree:
        part = self._atom()
        start = self._place
        if not (counts := self._counts()):
            return part
        if self._next() and self._next() in "*+?{":
            raise self._error(f"{self._next()} directly after another repetition")
        least, most = counts
        if most is not None and most < least:
            raise self._error(f"{most} is less than {least}", start)
        return _Repeat(part, least, most)

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

    def _atom(self) -> _Tree:
        start = self._place
        if self._accept("("):
            return self._group(start)
        if self._accept("["):
            return _OneOf(self._set(start))
        if self._accept("."):
            return _OneOf(None)
        if self._next() in _NOT_SUPPORTED:
            raise self._error(_NOT_SUPPORTED[self._next()])
        if self._next() in "*+?":
            raise self._error(f"{self._next()} has nothing before it to repeat")
        return _OneOf(frozenset(self._letter()))

    def _group(self, start: int) -> _Tree:
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
            first = last = self._letter(in_set=True)
            if self._next() == "-" and self._pattern[self._place + 1 : self._place + 2] != "]":
                self._place += 1
                last = self._letter(in_set=True)
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

    def _letter(self, in_set: bool = False) -> str:
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
                f"\\{letter} is not supported: \\ stands before a special character", start
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


class _Positions:
    """The positions of a pattern, from 1 on, and which may follow which.

    A fragment of the pattern is (does it match the empty sequence?, first positions, last ones).

    Attributes:
        follow: for each position, those that may come next.
    """

    def __init__(self) -> None:
        self.follow = [0]
        self._letters: list[frozenset[str] | None] = [frozenset()]

    def of_letter(self, letter: str) -> int:
        """The positions where a letter may stand."""
        return sum(
            1 << position
            for position, letters in enumerate(self._letters)
            if letters is None or letter in letters
        )

    def place(self, tree: _Tree) -> tuple[bool, int, int]:
        """Give each letter of a tree its position, and each copy of what is repeated."""
        match tree:
            case _OneOf(letters):
                if len(self.follow) > MAX_POSITIONS:
                    raise ValueError(
                        f"with its repetitions written out, the pattern has more than "
                        f"{MAX_POSITIONS:,} letters"
                    )
                self.follow.append(0)
                self._letters.append(letters)
                position = 1 << (len(self.follow) - 1)
                return False, position, position
            case _Choice(parts):
                nullable, first, last = False, 0, 0
                for part in parts:
                    part_nullable, part_first, part_last = self.place(part)
                    nullable |= part_nullable
                    first |= part_first
                    last |= part_last
                return nullable, first, last
            case _Sequence(parts):
                return self._chain(self.place(part) for part in parts)
            case _Repeat(part, least, most):
                return self._chain(self._copies(part, least, most))

    def _chain(self, fragments: Iterator[tuple[bool, int, int]]) -> tuple[bool, int, int]:
        """One fragment after the other."""
        nullable, first, last = True, 0, 0
        for next_nullable, next_first, next_last in fragments:
            self._connect(last, next_first)
            if nullable:
                first |= next_first
            last = next_last | (last if next_nullable else 0)
            nullable &= next_nullable
        return nullable, first, last

    def _copies(self, part: _Tree, least: int, most: int | None) -> Iterator[tuple[bool, int, int]]:
        """A part as often as it must be there, then as often as it may."""
        num_copies = max(least, 1) if most is None else most
        for copy in range(num_copies):
            nullable, first, last = self.place(part)
            if not first:  # nothing in it, however often
                return
            if most is None and copy == num_copies - 1:
                self._connect(last, first)
            yield nullable or copy >= least, first, last

    def _connect(self, before: int, after: int) -> None:
        for position in _members(before):
            self.follow[position] |= after


def _members(positions: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while positions:
        lowest = positions & -positions
        yield lowest.bit_length() - 1
        positions ^= lowest
