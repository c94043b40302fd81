"""Files of labelled examples, one per line: `label<TAB>tokens`.

    cat<TAB>the cat chased the old dog        words
    6<TAB>1 2 3                               or digits, separated by spaces

Training draws its batches from them; see example_stream.py.

Shapes: N examples.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from rnn_tutorial.data.streams import EVAL_STREAM
from rnn_tutorial.runs.files import given_by, read_file

UNKNOWN = "<unk>"  # stands for every token that does not occur in training; its id is 0
MAX_TOKENS = 65_536  # different tokens; as many as --max_number allows
_EXPECTED = "expected lines of the form label<TAB>tokens"
# How files begin that are no text in UTF-8, and what to do with them.
_OTHER_FILES = {
    b"\x1f\x8b": "is compressed; unpack it first",
    b"PK\x03\x04": "is an archive; unpack it first",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
}


@dataclass(frozen=True)
class Examples:
    """Labelled token sequences of one file.

    Args:
        path: of the file.
        lines: line number of each example in the file, from 1 on, (N,).
        labels: (N,).
        tokens: at least one for each example, (N,).
    """

    path: str
    lines: list[int]
    labels: list[str]
    tokens: list[list[str]]

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, indices: Iterable[int]) -> Examples:
        """The examples at these indices."""
        kept = list(indices)
        columns = (self.lines, self.labels, self.tokens)
        return Examples(self.path, *([column[i] for i in kept] for column in columns))


def read_examples(path: str, flag: str) -> Examples:
    """Read a file of examples and check every line; blank lines are skipped.

    Args:
        path: of a UTF-8 file.
        flag: the flag that named the file, for the error message.

    Raises:
        ValueError: the file cannot be read or has no examples; or a line is malformed: names its
            number.
    """
    with given_by(flag):
        content = read_file(Path(path))
    for beginning, what in _OTHER_FILES.items():
        if content.startswith(beginning):
            raise ValueError(f"{flag} {path!r} {what}")
    examples = Examples(path, [], [], [])
    lines = re.split(rb"\r\n|\r|\n", content.removeprefix(b"\xef\xbb\xbf"))
    for number, line in enumerate(lines, start=1):
        if not line.strip(b" "):
            continue
        try:
            label, tokens = _parse_line(line)
        except ValueError as error:
            raise ValueError(f"{flag} {path!r}, line {number}: {error}") from None
        examples.lines.append(number)
        examples.labels.append(label)
        examples.tokens.append(tokens)
    if not examples.lines:
        raise ValueError(f"{flag} {path!r} is empty; {_EXPECTED}")
    return examples


def _parse_line(line: bytes) -> tuple[str, list[str]]:
    """Label and tokens of a line; raises ValueError that says what is wrong with it."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    tabs = text.count("\t")
    if tabs != 1:
        hint = " (commas do not separate)" if not tabs and "," in text else ""
        hint = " (the last one ends the line)" if tabs > 1 and text.endswith("\t") else hint
        raise ValueError(f"{tabs} tabs instead of one{hint}; {_EXPECTED}")
    label, _, rest = text.partition("\t")
    label, tokens = label.strip(), rest.split()
    if not label:
        raise ValueError(f"no label before the tab; {_EXPECTED}")
    if not tokens:
        raise ValueError(f"no tokens after the tab; {_EXPECTED}")
    return label, tokens


class Vocabulary:
    """The names of the token ids and of the classes.

    Args:
        tokens: token i has id i; the first is UNKNOWN.
        class_names: class i has the name class_names[i].
    """

    def __init__(self, tokens: Sequence[str], class_names: Sequence[str]) -> None:
        self.tokens, self.class_names = list(tokens), list(class_names)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._classes = {name: i for i, name in enumerate(self.class_names)}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The ids of tokens; 0 for those that do not occur in training."""
        return [self._ids.get(token, 0) for token in tokens]

    def encode_labels(self, labels: Sequence[str]) -> np.ndarray:
        """The classes with these names, int64, (N,)."""
        return np.array([self._classes[label] for label in labels], np.int64)

    def check_labels(self, examples: Examples) -> None:
        """Raise ValueError if a label does not occur in training; names the line."""
        more = ", …" if len(self.class_names) > 10 else ""
        shown = ", ".join(map(repr, self.class_names[:10])) + more
        for line, label in zip(examples.lines, examples.labels, strict=True):
            if label not in self._classes:
                raise ValueError(
                    f"--eval_file {examples.path!r}, line {line}: label {label!r} does not occur "
                    f"in training; the labels there are {shown}"
                )


def build_vocabulary(examples: Examples) -> Vocabulary:
    """All tokens and all labels of the training examples, sorted.

    Raises:
        ValueError: there is only one label, no token, or too many different tokens.
    """
    class_names = sorted(set(examples.labels))
    if len(class_names) < 2:
        raise ValueError(
            f"--train_file {examples.path!r} has only the label {class_names[0]!r}; "
            "training needs at least two"
        )
    tokens = sorted(set(chain.from_iterable(examples.tokens)) - {UNKNOWN})
    if not tokens:
        raise ValueError(f"--train_file {examples.path!r} has no tokens other than {UNKNOWN}")
    if len(tokens) >= MAX_TOKENS:
        raise ValueError(
            f"--train_file {examples.path!r} has {len(tokens):,} different tokens; "
            f"at most {MAX_TOKENS - 1:,} are allowed"
        )
    return Vocabulary([UNKNOWN, *tokens], class_names)


def hold_out(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Hold out a random tenth of the examples, at least one, for evaluation.

    Returns:
        The examples to train on, at least one of every class, and those held out, both in the order
        of the file.

    Raises:
        ValueError: there are no more examples than classes.
    """
    order = np.random.default_rng([seed, EVAL_STREAM]).permutation(len(examples))
    _, first_of_class = np.unique(np.array(examples.labels)[order], return_index=True)
    spare = np.delete(order, first_of_class)
    if not len(spare):
        raise ValueError(
            f"--train_file {examples.path!r} has no label twice, so no example can be held out for "
            "evaluation; give --eval_file (or do the labels stand after the tab?)"
        )
    held_out = set(spare[: max(1, len(examples) // 10)].tolist())
    trained = (i for i in range(len(examples)) if i not in held_out)
    return examples.take(trained), examples.take(sorted(held_out))


def read_split(train_file: str, eval_file: str, seed: int) -> tuple[Examples, Examples]:
    """The examples that a run trains on, and those that it evaluates on.

    Args:
        train_file: the examples to train on.
        eval_file: the examples to evaluate on; "" holds out a tenth of train_file.
        seed: of the run; it determines the tenth.

    Raises:
        ValueError: a file is refused; see `read_examples` and `hold_out`.
    """
    trained = read_examples(train_file, "--train_file")
    if eval_file:
        return trained, read_examples(eval_file, "--eval_file")
    return hold_out(trained, seed)


def label_shares(examples: Examples) -> dict[str, float]:
    """The share of each label, the most frequent first."""
    counts = Counter(examples.labels).most_common()
    return {label: count / len(examples) for label, count in counts}


def guessing_loss(shares: Iterable[float]) -> float:
    """The loss of a network that always predicts these shares of the classes: ln C if equal."""
    return -sum(share * math.log(share) for share in shares)
