"""The files of the commands `compress` and `decompress`."""

from __future__ import annotations

from pathlib import Path

from rnn_tutorial.gallery import coder
from rnn_tutorial.gallery.coder import Network
from rnn_tutorial.gallery.corpus import MAX_BYTES, read_bytes
from rnn_tutorial.runs.files import check_place, given_by, write_atomically
from rnn_tutorial.runs.terminal import shown
from rnn_tutorial.settings.fields import refuse_empty

ENDING = ".rnn"
_MAX_CODED = 8 * MAX_BYTES  # random bytes grow, but not as much


def compress_file(file: str, output: str | None, network: Network) -> str:
    """Write FILE.rnn, or output; returns what was done, in words.

    Raises:
        ValueError: the file cannot be read or is too large, or there is one to be written over.
    """
    content = read_bytes(Path(file))
    new = _new_file(file + ENDING if output is None else output)
    with given_by(f"{file!r}:"):
        packed = coder.compress(content, network)
    write_atomically(new, packed)
    share = f", {len(packed) / len(content):.1%} of its size" if content else ""
    return f"{shown(new)}: {len(packed):,} bytes for {len(content):,}{share}"


def decompress_file(file: str, output: str | None, network: Network) -> str:
    """Write what FILE.rnn was made of, as FILE or output; returns what was done, in words.

    Raises:
        ValueError: the file was not compressed by this network, or is damaged, or there is one
            to be written over.
    """
    if output is None and not file.endswith(ENDING):
        raise ValueError(f"{file!r} does not end in {ENDING}; name the file to write with --output")
    packed = read_bytes(Path(file), _MAX_CODED)
    new = _new_file(file.removesuffix(ENDING) if output is None else output)
    with given_by(f"{file!r}:"):
        content = coder.decompress(packed, network)
    write_atomically(new, content)
    return f"{shown(new)}: {len(content):,} bytes, as they were"


def _new_file(name: str) -> Path:
    """A path at which nothing is; ValueError if something is, or nothing can be written there."""
    refuse_empty({"output": name})
    path = Path(name)
    if path.exists() or path.is_symlink():
        raise ValueError(f"{name!r} exists; name another file with --output")
    check_place(path, "--output")
    return path
