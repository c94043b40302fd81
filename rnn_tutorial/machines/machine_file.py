"""A person's own machine, read from a JSON file:

    {"tokens": ["0", "1"], "classes": ["even", "odd"], "start": "e",
     "states": {"e": {"class": "even", "next": {"0": "e", "1": "o"}},
                "o": {"class": "odd", "next": {"0": "o", "1": "e"}}}}

The classes and tokens get their numbers in this order; the start becomes state 0.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.unfold import MAX_STATES
from rnn_tutorial.runs.files import check_regular
from rnn_tutorial.runs.schema import check_record

MAX_NAMES = 1_000
MAX_NAME_LENGTH = 100
MAX_BYTES = 16 * 2**20
_PLURALS = {"token": "tokens", "class": "classes"}

StateRecord = TypedDict("StateRecord", {"class": str, "next": dict[str, str]})


class MachineRecord(TypedDict):
    """What the file holds."""

    tokens: list[str]
    classes: list[str]
    start: str
    states: dict[str, StateRecord]


def read_machine(path: Path) -> Machine:
    """Read a machine.

    Raises:
        ValueError: the file is no regular file, is too large or does not describe a machine; names
            the file and the place in it.
    """
    record = _read_json(path)
    source = repr(str(path))
    check_record(record, MachineRecord, source)
    try:
        return _build(record)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def check_name(name: str) -> None:
    """Raise ValueError if a token or class has a name that cannot be typed and shown in a line."""
    if not name:
        raise ValueError("it is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"it has more than {MAX_NAME_LENGTH} characters")
    if not name.isprintable() or " " in name or "," in name:
        raise ValueError("it has a space, a comma or a control character")


def _read_json(path: Path) -> Any:
    shown = repr(str(path))
    check_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{shown} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"{shown} is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError(f"{shown} is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError(f"{shown} is not JSON: it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{shown} is not JSON: {error.msg} at {place}") from None
    except ValueError as error:  # a key that occurs twice, or a number of thousands of digits
        raise ValueError(f"{shown}: {error}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"the key {reprlib.repr(key)} occurs twice in one object")
    return dict(pairs)


def _build(record: MachineRecord) -> Machine:
    tokens, classes, states = record["tokens"], record["classes"], record["states"]
    check_names("token", tokens, at_least=1)
    check_names("class", classes, at_least=2)
    if not states:
        raise ValueError("states is empty")
    if len(states) > MAX_STATES:
        raise ValueError(f"it has {len(states):,} states; at most {MAX_STATES:,} are allowed")
    start = record["start"]
    if start not in states:
        raise ValueError(f"start {reprlib.repr(start)} is not one of its states")
    numbers = {state: number for number, state in enumerate(dict.fromkeys([start, *states]))}
    class_ids = {name: number for number, name in enumerate(classes)}
    successors, outputs = [], []
    for state in numbers:
        place = f"state {reprlib.repr(state)}"
        name, following = states[state]["class"], states[state]["next"]
        if not state:
            raise ValueError("a state has an empty name")
        if name not in class_ids:
            raise ValueError(f"{place} has the class {reprlib.repr(name)}, not one of its classes")
        outputs.append(class_ids[name])
        successors.append(_read_successors(place, following, tokens, numbers))
    return Machine(tokens, classes, successors, outputs)


def check_names(kind: str, names: Sequence[str], at_least: int) -> None:
    """Raise ValueError if there are too few or too many names, or one is refused or occurs twice.

    Args:
        kind: what has these names, for the message: "token" or "class".
        names: each is checked by `check_name`.
        at_least: how many there must be.
    """
    if not at_least <= len(names) <= MAX_NAMES:
        raise ValueError(
            f"it has {len(names):,} {_PLURALS[kind]}; {at_least} to {MAX_NAMES:,} are allowed"
        )
    seen = set()
    for name in names:
        try:
            check_name(name)
        except ValueError as error:
            raise ValueError(f"a {kind} has the name {reprlib.repr(name)}: {error}") from None
        if name in seen:
            raise ValueError(f"two {_PLURALS[kind]} have the name {reprlib.repr(name)}")
        seen.add(name)


def _read_successors(
    place: str, following: dict[str, str], tokens: Sequence[str], numbers: dict[str, int]
) -> list[int]:
    """The number of the state that follows on each token."""
    row = []
    for token in tokens:
        if token not in following:
            raise ValueError(f"{place} has no successor for the token {reprlib.repr(token)}")
        if following[token] not in numbers:
            successor = reprlib.repr(following[token])
            raise ValueError(
                f"{place} goes on to {successor} with the token {reprlib.repr(token)}, "
                "which is not one of its states"
            )
        row.append(numbers[following[token]])
    if len(following) > len(tokens):
        unknown = next(token for token in following if token not in set(tokens))
        raise ValueError(f"{place} has a successor for {reprlib.repr(unknown)}, which is no token")
    return row
