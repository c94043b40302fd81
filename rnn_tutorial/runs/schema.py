"""Whether what a file holds is what its schema describes.

A schema is a dataclass or a TypedDict: its annotations say what each field may be, and whatever
has no default must be there. For example, of a line of metrics.jsonl:

    {"step": 100, "loss": "low"}   ->   ValueError: …, line 3: loss 'low' is not a finite number

Plain code: importing pydantic and building such schemas takes 0.17 s, more than half of the time
that predict_cls_rnn.py may take to start.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
from collections.abc import Mapping
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
Positive = Annotated[float, (0, math.inf)]  # or 0, and finite as every number

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
        _check(values, schema, "it")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _check(value: Any, kind: Any, name: str) -> None:
    """Raise ValueError if a value is not of this kind; `name` says where it stands."""
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        _check_fields(value, kind, name)
    elif get_origin(kind) is Annotated:
        plain, (low, high) = get_args(kind)
        _check(value, plain, name)
        if not low <= value <= high:
            bounds = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise ValueError(f"{name} {value!r} is not {bounds}")
    elif not _is(value, kind):
        raise ValueError(f"{name} {reprlib.repr(value)} is not {_in_words(kind)}")
    elif get_origin(kind) in (list, dict):
        *of_keys, of_values = get_args(kind)
        items = value.items() if of_keys else enumerate(value)
        for key, item in items:
            place = f"{name}[{reprlib.repr(key)}]"
            if of_keys:
                _check(key, of_keys[0], f"{place}: its key")
            _check(item, of_values, place)


def _check_fields(values: Any, schema: type, name: str) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} {reprlib.repr(values)} is not an object")
    kinds = _kinds(schema)
    if is_typeddict(schema):
        required = schema.__required_keys__
    else:
        missing = dataclasses.MISSING
        required = {
            field.name
            for field in dataclasses.fields(schema)
            if field.default is missing and field.default_factory is missing
        }
    inside = "" if name == "it" else f"{name}: "
    for odd, names in (
        ("lacks", [field for field in kinds if field in required and field not in values]),
        ("has the unknown", [field for field in values if field not in kinds]),
    ):
        if names:
            raise ValueError(f"{inside}it {odd} {', '.join(map(reprlib.repr, names[:5]))}")
    for field, value in values.items():
        _check(value, kinds[field], f"{inside}{field}")


@functools.cache
def _kinds(schema: type) -> dict[str, Any]:
    """What each field of a schema may be."""
    return get_type_hints(schema, include_extras=True)


def _is(value: Any, kind: Any) -> bool:
    """True if a value is of a kind, but for what lists and objects hold."""
    if kind is Any:
        return True
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(kind))
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    plain = get_origin(kind) or kind
    return type(value) is plain if plain in (int, bool, str, list) else isinstance(value, plain)


def _fits(value: Any, kind: Any) -> bool:
    try:
        _check(value, kind, "it")
    except ValueError:
        return False
    return True


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_in_words(option) for option in get_args(kind)))
    if get_origin(kind) is Annotated:
        return _in_words(get_args(kind)[0])
    plain = get_origin(kind) or kind
    return _WORDS.get(plain) or f"a {plain.__name__}"
