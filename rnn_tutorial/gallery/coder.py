"""Compress a file without loss, with a network that says how likely each next character is.

An arithmetic coder spends -log2(p) bits on a character of probability p, so the size of a file is
what the network's perplexity says, and the claim can be checked byte for byte.

Encoder and decoder must see the very same probabilities: one different bit, and all that follows is
noise. So both are one function, `_walk`, and it goes one character at a time on one thread. A long
text is read by up to 32 lanes side by side, as one batch; all of them start from the state that the
first 1,000 characters left.

What the alphabet does not have (a rare letter, a carriage return, a byte that is no UTF-8) is coded
as the class of unknown characters; a list of them, compressed by zlib, lies beside.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rnn_tutorial.gallery.corpus import MAX_BYTES, Alphabet
from rnn_tutorial.runs.archive import weights_hash

FIRST_CHARACTERS = 1_000  # read by one lane, before the others start
CHARACTERS_PER_LANE, MAX_LANES = 4_096, 32
PRECISION = 22  # of a probability, in bits: float32 adds such whole numbers without rounding

_MAGIC = b"rnnText1"
# magic, network, characters, bytes of the unknown ones, CRC-32 of the content, of all the rest
_HEAD = struct.Struct("<8s16sIIII")
_Code = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Network:
    """What predicts the characters.

    Args:
        model: from ids, int64, (N, T), and a state, None at the beginning, to logits, float32,
            (N, T, C), and the next state, (…, N, H); in evaluation mode, on the CPU.
        alphabet: the characters that it knows.

    Attributes:
        identity: 16 bytes that no other network has.
    """

    def __init__(self, model: nn.Module, alphabet: Alphabet) -> None:
        self.model, self.alphabet = model, alphabet
        determines = weights_hash(model.state_dict()) + alphabet.characters
        self.identity = hashlib.sha256(determines.encode()).digest()[:16]


def compress(content: bytes, network: Network) -> bytes:
    """The content of a file, in fewer bytes if it resembles what the network has learned."""
    from constriction import stream

    text = content.decode("utf-8", "surrogateescape")
    ids = network.alphabet.encode(text)
    unknown = "".join(text[place] for place in np.flatnonzero(ids == 0))
    beside = zlib.compress(unknown.encode("utf-8", "surrogatepass"), 9) if unknown else b""
    encoder, family = stream.queue.RangeEncoder(), stream.model.Categorical(perfect=False)

    def encode(frequencies: np.ndarray, places: np.ndarray) -> np.ndarray:
        encoder.encode(ids[places].astype(np.int32), family, frequencies)
        return ids[places]

    _walk(network, len(ids), encode)
    body = beside + encoder.get_compressed().astype("<u4").tobytes()
    fields = (_MAGIC, network.identity, len(ids), len(beside), zlib.crc32(content))
    return _HEAD.pack(*fields, _checksum(fields, body)) + body


def decompress(packed: bytes, network: Network) -> bytes:
    """The original content.

    Raises:
        ValueError: the file is foreign, damaged or cut off, is of another network, or was written
            where a product is rounded differently.
    """
    from constriction import stream

    if not packed.startswith(_MAGIC):
        raise ValueError("it was not written by the command compress")
    if len(packed) < _HEAD.size:
        raise ValueError("it is damaged: its end is missing")
    *fields, checksum = _HEAD.unpack_from(packed)
    _, identity, count, bytes_beside, crc = fields
    body = packed[_HEAD.size :]
    if _checksum(fields, body) != checksum or count > MAX_BYTES:
        raise ValueError("it is damaged: its CRC-32 does not match")
    if identity != network.identity:
        raise ValueError(
            f"it was compressed with another network ({identity.hex()[:8]}…) than this one "
            f"({network.identity.hex()[:8]}…); name that with --run"
        )
    words = np.frombuffer(body[bytes_beside:], "<u4").astype(np.uint32)
    decoder, family = stream.queue.RangeDecoder(words), stream.model.Categorical(perfect=False)
    ids = np.zeros(count, np.int64)

    def decode(frequencies: np.ndarray, places: np.ndarray) -> np.ndarray:
        ids[places] = decoder.decode(family, frequencies)
        return ids[places]

    # An AssertionError of the decoder: it has met bits that no text has.
    with contextlib.suppress(AssertionError, zlib.error, UnicodeError):
        _walk(network, count, decode)
        unknown = zlib.decompressobj().decompress(body[:bytes_beside], 4 * count)
        content = _join(network.alphabet, ids, unknown.decode("utf-8", "surrogatepass"))
        if zlib.crc32(content) == crc:
            return content
    raise ValueError(
        "it cannot be decompressed here: this machine or its PyTorch rounds differently from those "
        "that compressed it"
    )


def _checksum(fields: tuple | list, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(_HEAD.pack(*fields, 0)))


def _join(alphabet: Alphabet, ids: np.ndarray, unknown: str) -> bytes:
    """The file of a text, its unknown characters put in at their places."""
    characters = list(alphabet.decode(ids, "?"))
    for place, character in zip(np.flatnonzero(ids == 0), unknown, strict=False):
        characters[place] = character
    return "".join(characters).encode("utf-8", "surrogateescape")


@torch.inference_mode()
def _walk(network: Network, count: int, code: _Code) -> None:
    """Go through a text of `count` characters as encoder and decoder must: alike.

    Args:
        network: predicts each character from those before it in its lane.
        count: how many there are.
        code: encodes or decodes characters, given their frequencies, float32, (N, C), and their
            places in the text, (N,); returns their ids.
    """
    first = min(count, FIRST_CHARACTERS)
    last, state = np.zeros(1, np.int64), None  # before the first character: unknown
    with _one_thread(), tqdm(total=count, unit=" chars", disable=None) as progress:
        for place in range(first):
            logits, state = network.model(torch.from_numpy(last)[:, None], state)
            last = code(_frequencies(logits), np.array([place]))
            progress.update()
        if first == count:
            return
        starts, lengths = _lanes(first, count)
        last = last.repeat(len(starts))
        state = state.repeat_interleave(len(starts), dim=-2)
        for step in range(lengths[0]):
            logits, state = network.model(torch.from_numpy(last)[:, None], state)
            active = int((lengths > step).sum())  # the last step may have fewer
            last[:active] = code(_frequencies(logits)[:active], starts[:active] + step)
            progress.update(active)


def _lanes(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each lane starts and how long it is, the longer ones before the others."""
    number = min(MAX_LANES, max(1, (count - first) // CHARACTERS_PER_LANE))
    length, longer = divmod(count - first, number)
    lengths = length + (np.arange(number) < longer)
    return first + np.cumsum(lengths) - lengths, lengths


def _frequencies(logits: Tensor) -> np.ndarray:
    """The next character's probabilities as whole numbers of at least 1, float32, (N, C)."""
    shares = logits[:, -1].double().softmax(dim=-1)
    return (shares * 2**PRECISION).floor().add(1).float().numpy()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Several threads would add up a product's parts in an order that depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
