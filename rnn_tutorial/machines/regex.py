"""The machine of a regular expression: does the whole sequence match?

    (ab|ba)*   ->   tokens a b, classes rejected accepted, four states

Each letter of the pattern is a position. A state is the set of the positions at which the letter
read last may stand: in (a|ab)*, after "a", the first and the second. A set is an integer with one
bit for each position; bit 0 is the place before the first letter.

Source: Glushkov, The Abstract Theory of Automata, 1961.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.pattern import Choice, Concatenation, OneOf, Repeat, Tree, parse_pattern
from rnn_tutorial.machines.unfold import unfold

MAX_POSITIONS = 1_000


def machine_of_pattern(pattern: str) -> Machine:
    """The machine that tells whether a whole sequence matches; it may not be the smallest.

    Args:
        pattern: for example "(ab|ba)*".

    Raises:
        ValueError: it is refused by `parse_pattern`, or has more than MAX_POSITIONS letters with
            its repetitions written out, or needs too many states.
    """
    tree, letters = parse_pattern(pattern)
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

    def place(self, tree: Tree) -> tuple[bool, int, int]:
        """Give each letter of a tree its position, and each copy of what is repeated."""
        match tree:
            case OneOf(letters):
                if len(self.follow) > MAX_POSITIONS:
                    raise ValueError(
                        f"with its repetitions written out, the pattern has more than "
                        f"{MAX_POSITIONS:,} letters"
                    )
                self.follow.append(0)
                self._letters.append(letters)
                position = 1 << (len(self.follow) - 1)
                return False, position, position
            case Choice(parts):
                nullable, first, last = False, 0, 0
                for part in parts:
                    part_nullable, part_first, part_last = self.place(part)
                    nullable |= part_nullable
                    first |= part_first
                    last |= part_last
                return nullable, first, last
            case Concatenation(parts):
                return self._chain(self.place(part) for part in parts)
            case Repeat(part, least, most):
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

    def _copies(self, part: Tree, least: int, most: int | None) -> Iterator[tuple[bool, int, int]]:
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
