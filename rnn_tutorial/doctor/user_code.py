"""A user's own Python file: loaded as in its own project, once, and what is asked of it."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from rnn_tutorial.doctor.findings import user_error


def make_named(place: str, flag: str) -> Any:
    """What PATH:NAME names: a function or class is called without arguments, all else is taken.

    Args:
        place: a Python file and a name in it, such as "my_net.py:make_net".
        flag: where the user gave it, for the error message.

    Raises:
        ValueError: there is no such thing, it needs arguments or returns None, or its code fails.
    """
    made = find_named(place, flag)
    is_thing = isinstance(made, nn.Module) or hasattr(made, "__iter__")  # some can be called, too
    if inspect.isclass(made) or (callable(made) and not is_thing):
        path, _, name = place.rpartition(":")
        try:
            inspect.signature(made).bind()
        except TypeError as error:
            raise ValueError(
                f"{flag} {place!r}: {name!r} takes arguments ({error}); name a function that makes "
                "it without any, such as def make(): return …"
            ) from None
        with _as_script(path):
            made = made()
    if made is None:
        raise ValueError(f"{flag} {place!r} returns None; is a return or yield statement missing?")
    return made


def find_named(place: str, flag: str) -> Any:
    """The function, class or object that PATH:NAME names; ValueError if there is none."""
    path, _, name = place.rpartition(":")
    if not path.endswith(".py") or not Path(path).is_file():
        raise ValueError(
            f"{flag} {place!r} is not PATH:NAME, a Python file that exists and a name in it"
        )
    with _as_script(path):
        module = _load(Path(path).resolve())
    if not hasattr(module, name):
        raise ValueError(f"{flag} {place!r}: {path!r} has no function or object {name!r}")
    return getattr(module, name)


@contextlib.contextmanager
def without_flags(path: str) -> Iterator[None]:
    """As if a file were called without flags: what it makes may read them when it is used."""
    given, sys.argv = sys.argv, [path]
    try:
        yield
    finally:
        sys.argv = given


@contextlib.contextmanager
def _as_script(path: str) -> Iterator[None]:
    """As if the file were called without flags; its errors become one sentence."""
    with without_flags(path):
        try:
            yield
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise user_error(error) from error


def _load(path: Path) -> ModuleType:
    """Import a file, with its neighbours and its packages where it expects them."""
    for module in [*sys.modules.values()]:
        if getattr(module, "__file__", None) == str(path):
            return module
    tree = ast.parse(path.read_bytes(), str(path))
    dots = max((n.level for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)), default=0)
    parts, root = [path.stem], path.parent
    while (root / "__init__.py").is_file() or len(parts) <= dots:
        parts.insert(0, root.name)
        root = root.parent
    sys.path[:0] = [str(path.parent), str(root), str(Path.cwd())]
    if len(parts) > 1:
        return importlib.import_module(".".join(parts))
    # A file may be called random.py: it must not take the place of what others import.
    name = path.stem if path.stem not in sys.modules else f"user_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the names in annotations
    spec.loader.exec_module(module)
    return module
