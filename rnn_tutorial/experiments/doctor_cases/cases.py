"""A case: something that the doctor is shown, and what it must say of it.

Of each area the files end in _open, seen by those who write the checks, and in _held, set aside
before: sorted by the SHA-256 of their names, faults and healthy ones apart, every second case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ERROR = "error"  # expected where the user's own code raises: a sentence and exit status 2


@dataclass(frozen=True)
class Case:
    """Something to diagnose, as people write it.

    Args:
        name: in words, unique in its area.
        expected: the names of findings, any of which is right; empty if nothing is wrong.
        source: the address of the thread that it is taken from, or "common".
        make: gives what is diagnosed. Modules: (module, options of its conventions); loops: what
            the factory of --step returns; data: paths or loaders, from a folder; runs: flags and
            changes.
    """

    name: str
    expected: frozenset[str]
    source: str
    make: Callable[..., Any]

    @property
    def is_healthy(self) -> bool:
        """True if nothing is wrong, so that nothing may be found."""
        return not self.expected


def into(cases: list[Case]) -> Callable[..., Callable]:
    """The decorator `@case(name, *expected, source=...)`, which adds a case to a list."""

    def case(name: str, *expected: str, source: str = "common") -> Callable:
        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            cases.append(Case(name, frozenset(expected), source, make))
            return make

        return add

    return case
