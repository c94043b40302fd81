"""The command-line flags: one for each field of a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.fields import describe_bounds


def add_config_flags(parser: argparse.ArgumentParser, schema: type = TrainConfig) -> None:
    """Give the parser one flag per field of a configuration, grouped, defaults in the help.

    A flag that the user does not give is absent from the namespace, so that the caller can tell
    which settings were chosen explicitly.
    """
    groups: dict[str, Any] = {}
    for setting in fields(schema):
        title = setting.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        if type(setting.default) is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        elif type(setting.default) is tuple:
            kind = {"action": _Add, "metavar": setting.metadata["metavar"]}
        else:
            kind = {"type": _reader(setting), "metavar": _metavar(setting)}
        groups[title].add_argument(
            f"--{setting.name}",
            default=argparse.SUPPRESS,
            help=f"{setting.metadata['help']} (default: {_shown_default(setting)})",
            **kind,
        )


class _Add(argparse.Action):
    """A flag that may be repeated: each value goes to the end of a tuple."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), value))


def _shown_default(setting: Field) -> Any:
    if type(setting.default) is bool:
        return "yes" if setting.default else "no"
    return "none" if setting.default in ("", ()) else setting.default


def _metavar(setting: Field) -> str:
    if "choices" in setting.metadata:
        return "|".join(setting.metadata["choices"])
    by_type = {int: "N", float: "X", str: "NAME"}
    return setting.metadata.get("metavar", by_type[type(setting.default)])


def _reader(setting: Field) -> Callable[[str], Any]:
    """The function with which argparse converts a flag's text."""

    def read(text: str) -> Any:
        try:
            return type(setting.default)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not {describe_bounds(setting)}"
            ) from None

    return read
