"""One setting: a dataclass field with help and bounds, and how it is typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any


def setting_field(group: str, default: Any, help: str, **bounds: Any) -> Any:
    """A dataclass field that also knows what its flag needs.

    Args:
        group: title of the flag's group in --help.
        default: its type is the type of the setting; a tuple is text that may be repeated.
        help: a line for --help.
        bounds: `within`, the lowest and the highest value, or `choices`; `metavar` stands for the
            value in --help; `needs` is another setting and those of its values with which this
            one has an effect.
    """
    return field(default=default, metadata={"group": group, "help": help, **bounds})


def check_bounds(setting: Field, value: Any) -> None:
    """Raise ValueError if a value is not allowed; it names the flag, the value and the bounds."""
    kind, bounds = type(setting.default), setting.metadata
    is_allowed = type(value) is kind or (kind is float and type(value) is int)
    if is_allowed and "within" in bounds:
        low, high = bounds["within"]
        is_allowed = low <= value <= high  # False for NaN
    if is_allowed and "choices" in bounds:
        is_allowed = value in bounds["choices"]
    if not is_allowed:
        raise ValueError(f"--{setting.name} {value!r} is not {describe_bounds(setting)}")


def describe_bounds(setting: Field) -> str:
    """What a setting may be, in words: "a whole number from 1 to 1000"."""
    bounds = setting.metadata
    if "choices" in bounds:
        return f"one of {', '.join(bounds['choices'])}"
    kinds = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        tuple: "names",
    }
    kind = kinds[type(setting.default)]
    return "{} from {} to {}".format(kind, *bounds["within"]) if "within" in bounds else kind


def refuse_empty(flags: Mapping[str, Any]) -> None:
    """Raise ValueError if a flag was given an empty text, which must not stand for its default."""
    for name, value in flags.items():
        if value in ("", ("",)):
            raise ValueError(f"--{name} '' is empty; leave the flag out or give it a value")


def as_flag(name: str, value: Any) -> str:
    """A setting as typed on the command line: --lr 0.1, --residual or --no-residual."""
    if type(value) is bool:
        return f"--{name}" if value else f"--no-{name}"
    if type(value) is tuple:
        return " ".join(f"--{name} {item}" for item in value)
    return f"--{name} {value}"


def as_argument(name: str, value: Any) -> str:
    """A setting as typed in Python: lr=0.1, residual=True or cell='lstm'."""
    return f"{name}={value!r}"
