"""Files of tensors and plain values: saved atomically, loaded without executing anything.

Each holds a SHA-256 over all of its content: PyTorch does not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.runs.files import write_atomically


class DamagedArchive(ValueError):
    """A file that is not what was once written, or nothing that this project writes."""


_MAX_VALUES = 10**8  # in lists and the like; a checkpoint of the largest machine has some 10**7
DAMAGED = (
    RuntimeError, pickle.UnpicklingError, EOFError, LookupError, ValueError, AttributeError,
    TypeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the weights, by name: name, type, shape, and the numbers as little-endian."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 over all that a checkpoint holds, as JSON with a hash for each tensor."""
    text = json.dumps(content, sort_keys=True, default=_tensor_hash)
    return hashlib.sha256(text.encode()).hexdigest()


def _tensor_hash(tensor: Tensor) -> str:
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("a tensor of more numbers than memory holds")
    return weights_hash({"": tensor})


def save_archive(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values with their SHA-256."""
    buffer = io.BytesIO()
    torch.save({**content, "sha256": content_hash(content)}, buffer)
    write_atomically(path, buffer.getvalue())


def check_hash(content: Mapping[str, Any], shown: str) -> None:
    """Raise DamagedArchive unless the content of a file is what its SHA-256 says."""
    hashed = {name: value for name, value in content.items() if name != "sha256"}
    try:
        is_whole = content_hash(hashed) == content.get("sha256")
    except DAMAGED:  # RecursionError, too, is a RuntimeError
        is_whole = False
    if not is_whole:
        raise DamagedArchive(f"{shown} is damaged: its SHA-256 checksum does not match")


def load_plain(file: bytes, shown: str, allowed: Sequence[type] = ()) -> Any:
    """Load tensors, plain values and the allowed classes; refuse everything else."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.simplefilter("ignore")  # of foreign formats; they are refused anyway
            content = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
        if _num_values(content, {}) > _MAX_VALUES:
            raise ValueError("too many values")
        return content
    except DAMAGED as error:
        asked = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if not asked:
            raise DamagedArchive(f"{shown} is damaged or not a checkpoint") from None
        raise DamagedArchive(
            f"{shown} is refused: loading it would call {asked[1]}, "
            "and a checkpoint needs tensors and plain values only"
        ) from None


def _num_values(content: Any, known: dict[int, float]) -> float:
    """How many values something holds, written out: what it holds twice counts twice.

    A few lists that hold each other can stand for more values than there is time for.
    """
    if not isinstance(content, list | tuple | dict):
        return 1
    if id(content) not in known:
        known[id(content)] = math.inf  # of what holds itself
        values = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_num_values(value, known) for value in values)
    return known[id(content)]


def check_parts(file: bytes, shown: str) -> None:
    """Check the CRC of each part of an archive, which PyTorch writes but does not check."""
    if not zipfile.is_zipfile(io.BytesIO(file)):
        return  # of an old PyTorch
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            is_whole = archive.testzip() is None
    except DAMAGED:
        is_whole = False
    if not is_whole:
        raise DamagedArchive(f"{shown} is damaged: a part of it does not have its CRC-32")
