"""The text that `text` and `highlight` learn from: Python's standard library, or one's own files.

Every machine that has Python has it: some nine million characters without the tests and without
what programs have written. It is split by whole files, so that the held-out text is really new.
"""

from __future__ import annotations

import hashlib
import io
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnn_tutorial.runs.files import check_regular, given_by, read_file

HELD_OUT_EVERY = 20  # of the files, in the order of their names, one in so many is held out
_NO_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_GENERATED = {"encodings", "pydoc_data"}  # by programs: tables of codes, the text of help()
MAX_BYTES = 200_000_000  # of a file, and of all files of a folder together


@dataclass(frozen=True)
class TextFile:
    """A file of the corpus.

    Args:
        name: its path, relative to where the corpus lies.
        text: its content, with line feeds as line ends.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Text files to learn from and to be tested on.

    Args:
        source: where they are from, in words: "the standard library of Python 3.11".
        train: to learn from.
        held_out: to be tested on.
        fingerprint: SHA-256 over all names and texts.
    """

    source: str
    train: list[TextFile]
    held_out: list[TextFile]
    fingerprint: str


def read_corpus(text_files: Sequence[str] = (), text_dir: str = "") -> Corpus:
    """The files of one's own, or the standard library if none are named.

    Args:
        text_files: paths of files.
        text_dir: a folder, all of whose *.py files or, if it has none, *.txt and *.md files are
            read, those of its subfolders too.

    Raises:
        ValueError: a file is missing, empty, binary, not UTF-8, or too large; or there are none.
    """
    if text_files and text_dir:
        raise ValueError("--text_file cannot be combined with --text_dir")
    if text_files:
        with given_by("--text_file"):
            texts = [TextFile(name, read_text(Path(name))) for name in text_files]
        asked = " ".join(f"--text_file {name!r}" for name in text_files)
        source = f"{len(texts)} file{'s' * (len(texts) > 1)}"
    elif text_dir:
        asked, source = f"--text_dir {text_dir!r}", f"the files in {text_dir!r}"
        texts = _read_folder(Path(text_dir))
    else:
        texts, source = _read_standard_library()
        asked = source
    if not any(file.text for file in texts):
        raise ValueError(f"{asked}: there is no text in it")
    digest = hashlib.sha256()
    for file in texts:
        content = f"{file.name}\0{file.text}\0"
        digest.update(content.encode("utf-8", "surrogatepass"))  # a name may be no UTF-8
    train, held_out = _split(texts)
    return Corpus(source, train, held_out, digest.hexdigest())


def read_bytes(path: Path, at_most: int = MAX_BYTES) -> bytes:
    """The content of a file; ValueError if it is missing, no regular file or too large."""
    check_regular(path)
    if (size := path.stat().st_size) > at_most:
        raise ValueError(f"{str(path)!r} has {size:,} bytes, more than {at_most:,}")
    return read_file(path)


def read_text(path: Path) -> str:
    """The content of a text file, with line feeds as line ends.

    It is in UTF-8, or, a Python file, in what its first lines declare.

    Raises:
        ValueError: it is missing, no regular file, larger than MAX_BYTES, or in another encoding;
            a NUL counts as binary.
    """
    content = read_bytes(path)
    encoding = _declared_encoding(content) if path.suffix == ".py" else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise ValueError(
            f"{str(path)!r} is not {name} text: byte {error.start} is 0x{content[error.start]:02x}"
        ) from None
    if "\0" in text:
        raise ValueError(f"{str(path)!r} is not a text file: it contains NUL characters")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _declared_encoding(content: bytes) -> str:
    """That of a Python file; UTF-8 where it declares none, or none that turns bytes into text."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        " ".encode(encoding)
    except (SyntaxError, LookupError):
        return "utf-8-sig"
    return encoding


def _read_folder(folder: Path) -> list[TextFile]:
    if not folder.is_dir():
        raise ValueError(f"--text_dir {str(folder)!r} is not a folder")
    endings = ("*.py",), ("*.txt", "*.md")
    for patterns in endings:
        found = (path for pattern in patterns for path in folder.rglob(pattern))
        paths = sorted(filter(Path.is_file, found))  # no folders, no broken links
        if paths:
            break
    if not paths:
        raise ValueError(f"--text_dir {str(folder)!r} has no *.py, *.txt or *.md files")
    if (size := sum(path.stat().st_size for path in paths)) > MAX_BYTES:
        raise ValueError(
            f"--text_dir {str(folder)!r} holds {size:,} bytes of text, more than {MAX_BYTES:,}"
        )
    with given_by("--text_dir"):
        return [TextFile(path.relative_to(folder).as_posix(), read_text(path)) for path in paths]


def _read_standard_library() -> tuple[list[TextFile], str]:
    """Every module that a person wrote, in the encoding that it declares."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = []
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if (_NO_SOURCE | _GENERATED).isdisjoint(name.parts[:-1]):
            files.append(TextFile(name.as_posix(), read_text(path)))
    if not files:
        raise ValueError(
            f"the standard library has no source files in {str(folder)!r}; name a --text_dir"
        )
    version = sysconfig.get_python_version()
    return files, f"the standard library of Python {version}"


def _split(files: list[TextFile]) -> tuple[list[TextFile], list[TextFile]]:
    """Those to learn from and those held out; of less than twenty files, the end of each."""
    if len(files) >= HELD_OUT_EVERY:
        held_out = files[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
        return [file for file in files if file not in held_out], held_out
    cuts = [len(file.text) - len(file.text) // HELD_OUT_EVERY for file in files]
    pairs = list(zip(files, cuts, strict=True))
    return (
        [TextFile(file.name, file.text[:cut]) for file, cut in pairs],
        [TextFile(file.name, file.text[cut:]) for file, cut in pairs],
    )


class Alphabet:
    """The characters that a network knows, each with an id; all others share the id 0.

    Args:
        characters: those with the ids 1, 2, …
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(characters)
        codes = [ord(character) for character in self.characters]
        self._ids = np.zeros(max(codes, default=0) + 2, np.int64)  # of each code point; the last: 0
        self._ids[codes] = np.arange(1, len(codes) + 1)

    @classmethod
    def of(cls, files: Iterable[TextFile], at_least: int = 20) -> Alphabet:
        """The characters that occur so often, or all if the text is short, in their order."""
        counts = Counter()
        for file in files:
            counts.update(file.text)
        at_least = min(at_least, 1 + counts.total() // 10_000)
        return cls(sorted(char for char, count in counts.items() if count >= at_least))

    def __len__(self) -> int:
        """How many ids there are, that of unknown characters included."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """The id of each character, int64, (T,)."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return self._ids[np.minimum(codes, len(self._ids) - 1)]

    def decode(self, ids: Iterable[int], unknown: str = "\N{REPLACEMENT CHARACTER}") -> str:
        """The characters of ids."""
        return "".join(self.characters[i - 1] if i else unknown for i in ids)
