"""Whether what a file holds is what its schema describes.

A schema is a dataclass or a TypedDict: its annotations say what each field may be, and whatever
has no default must be there. For example, of a line of metrics.jsonl:

    {"step": 100, "loss": "low"}   ->   ValueError: …, line 3: loss 'low' is not a finite number

Plain code: importing pydantic and building such schemas takes 0.17 s, more than half of the time
that predict_cls_rnn.py may take to start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import reprlib
import sys
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Count = Annotated[int, (0, math.inf)]
Size = Annotated[int, (1, math.inf)]
Share = Annotated[float, (0, 1)]
NonNegative = Annotated[float, (0, math.inf)]  # or 0, and finite as every number

_Record = TypeVar("_Record")
_WORDS = {
    int: "a whole number", float: "a finite number", str: "text", bool: "true or false",
    list: "a list", dict: "an object", NoneType: "null",
}  # fmt: skip


def build(schema: type[_Record], values: Any, source: str) -> _Record:
    """The dataclass whose fields a file holds; ValueError as `check_record`."""
    check_record(values, schema, source)
    return schema(**values)


def check_record(values: Any, schema: type, source: str) -> None:
    """Check the fields of an object in a file.

    Args:
        values: what the file holds.
        schema: a dataclass or a TypedDict.
        source: the file, and the place in it, for the message.

    Raises:
        ValueError: a field is missing, unknown, or not what it may be; names source and field.
    """
    try:
        _checker(schema)(values, "")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


@functools.cache
def _checker(kind: Any) -> Callable[[Any, str], None]:
    """A function that raises ValueError if a value is not of a kind; it gets the value's name."""
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return functools.partial(_check_fields, _kinds(kind), _required(kind))
    if get_origin(kind) is Annotated:
        return functools.partial(_check_bounds, *get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return functools.partial(_check_options, kind)
    if get_origin(kind) in (list, dict):
        return functools.partial(_check_items, kind)
    return functools.partial(_check_plain, kind)


def _check_fields(kinds: Mapping[str, Any], required: set[str], values: Any, name: str) -> None:
    _check_plain(dict, values, name)
    inside = f"{name}: " if name else ""
    if not required <= values.keys() <= kinds.keys():
        missing = ", ".join(sorted(required - values.keys()))
        unknown = ", ".join(reprlib.repr(field) for field in values if field not in kinds)
        raise ValueError(
            inside + (f"it lacks {missing}" if missing else f"it has the unknown {unknown}")
        )
    for field, value in values.items():
        _checker(kinds[field])(value, f"{inside}{field}")


def _check_bounds(kind: Any, bounds: tuple[float, float], value: Any, name: str) -> None:
    _checker(kind)(value, name)
    low, high = bounds
    if not low <= value <= high:
        words = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} {value!r} is not {words}")


def _check_options(kind: Any, value: Any, name: str) -> None:
    for option in get_args(kind):
        with contextlib.suppress(ValueError):
            return _checker(option)(value, name)
    words = " or ".join(dict.fromkeys(map(_in_words, get_args(kind))))
    raise ValueError(f"{name} {reprlib.repr(value)} is not {words}")


def _check_items(kind: Any, value: Any, name: str) -> None:
    _check_plain(get_origin(kind), value, name)
    *of_keys, of_values = map(_checker, get_args(kind))
    for key, item in value.items() if of_keys else enumerate(value):
        place = f"{name}[{reprlib.repr(key)}]"
        if of_keys:
            of_keys[0](key, f"a key of {name},")
        of_values(item, place)


def _check_plain(kind: Any, value: Any, name: str) -> None:
    if kind is Any:
        return
    if kind is float:
        is_right = type(value) in (float, int) and abs(value) <= sys.float_info.max
    else:  # True is no number; a state_dict may be an OrderedDict
        is_right = type(value) is kind or (kind not in (int, list) and isinstance(value, kind))
    if not is_right:
        raise ValueError(f"{name or 'it'} {reprlib.repr(value)} is not {_in_words(kind)}")


def _kinds(schema: type) -> dict[str, Any]:
    """What each field of a schema may be."""
    return get_type_hints(schema, include_extras=True)


def _required(schema: type) -> set[str]:
    """The fields that must be there."""
    if is_typeddict(schema):
        return set(schema.__required_keys__)
    missing = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(schema)
        if field.default is missing and field.default_factory is missing
    }


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _in_words(get_args(kind)[0])
    plain = get_origin(kind) or kind
    return _WORDS.get(plain) or f"a {plain.__name__}"
