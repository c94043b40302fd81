"""Files that are written whole or not at all, and read only if they are regular."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LONGEST_NAME = 200  # bytes; file systems allow 255, and write_atomically adds some


def check_regular(path: Path) -> None:
    """Raise ValueError unless a path is that of a regular file, or of a link to one.

    Asked before a file is opened: opening a FIFO waits for its writer, and a device may never end.
    """
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    if not is_regular:
        raise ValueError(f"{str(path)!r} is not a regular file")


def read_file(path: Path) -> bytes:
    """The content of a regular file; ValueError if it is none or cannot be read."""
    check_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except MemoryError:
        size = f"{path.stat().st_size:,} bytes"
        raise ValueError(f"{str(path)!r} cannot be read: {size} are too many") from None


@contextlib.contextmanager
def given_by(flag: str) -> Iterator[None]:
    """Put the flag that named a file in front of what a ValueError says of the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{flag} {error}") from None


def check_place(path: Path, flag: str) -> None:
    """Raise ValueError if no file can be written at a path, before the work that fills it.

    Args:
        path: of a file that is there or not.
        flag: what the user gave it with, or what the file is, for the message.
    """
    shown = f"{flag} {str(path)!r}"
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ValueError(f"{shown}: the name is longer than {LONGEST_NAME} bytes")
    if not path.parent.is_dir():
        raise ValueError(f"{shown}: there is no folder {str(path.parent)!r}")
    if path.exists() and not path.is_file():
        raise ValueError(f"{shown} is {'a folder' if path.is_dir() else 'not a regular file'}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{shown}: the folder {str(path.parent)!r} cannot be written to")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process dies."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:  # x: never into a file or a link that is there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:  # such as a full disk
            error.filename = str(path)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name must reach the disk too
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # as shared folders answer
                raise
        finally:
            os.close(directory)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, indented, with lists of numbers on one line."""
    text = json.dumps(values, indent=2, allow_nan=False)
    text = re.sub(r"\[[^][{}\"]*\]", lambda numbers: re.sub(r"\s*\n\s*", " ", numbers[0]), text)
    write_atomically(path, f"{text}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ValueError if the file is missing or holds something else."""
    content = read_file(path)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{str(path)!r} cannot be read: damaged JSON") from None
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} does not hold a JSON object")
    return values
