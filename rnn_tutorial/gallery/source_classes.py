"""The class of every character of Python source, as the standard library's tokenize has it.

    if x:  # why        text
    kk_n:__#######      k keyword, n name, : operator, # comment, _ space

space      what is in no token: blanks, line ends, a backslash that continues a line
name       identifiers; so are soft keywords such as match, which only a parser can tell from names
keyword    the words of keyword.kwlist, with True, False and None
string     with its prefix and quotes; an f-string as a whole, with all that is in its braces
comment    from # to the end of the line
number     1_000, 0xff, 1e-5, 2j
operator   operators and delimiters: + == := ( ) [ ] { } , : . ; @ -> ...

An f-string is one class because it is one token before Python 3.12 and many since: so the truth is
the same in all versions.
"""

from __future__ import annotations

import io
import keyword
import tokenize
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnn_tutorial.gallery.corpus import Alphabet, Corpus, TextFile

CLASSES = ("space", "name", "keyword", "string", "comment", "number", "operator")
_, _NAME, _KEYWORD, _STRING, _COMMENT, _NUMBER, _OPERATOR = range(len(CLASSES))
_CLASS_OF_TYPE = {
    tokenize.NAME: _NAME,
    tokenize.STRING: _STRING,
    tokenize.COMMENT: _COMMENT,
    tokenize.NUMBER: _NUMBER,
    tokenize.OP: _OPERATOR,
}
_OPERATORS = tokenize.EXACT_TOKEN_TYPES.keys() - {"!"}  # which is one only within an f-string
# Since Python 3.12 an f-string is many tokens, from FSTRING_START to FSTRING_END.
_BEGIN_STRING, _END_STRING = (
    {number for number, name in tokenize.tok_name.items() if name.endswith(ending)}
    for ending in ("STRING_START", "STRING_END")
)


class TokenizeGaveUp(ValueError):
    """tokenize does not accept a text; the message says where and why."""


def label_source(text: str) -> np.ndarray:
    """The class of each character, an index of CLASSES, uint8, (T,).

    Raises:
        TokenizeGaveUp: the text is not Python that tokenize accepts.
    """
    lines = text.split("\n")
    begin = np.cumsum([0] + [len(line) + 1 for line in lines]).tolist()  # of each line
    classes = bytearray(len(text))  # all are space
    open_strings: list[int] = []  # where each f-string begins that has not ended
    for token in _tokens(text):
        start = begin[token.start[0] - 1] + token.start[1]
        kind = _CLASS_OF_TYPE.get(token.type)
        is_odd = kind == _OPERATOR and token.string not in _OPERATORS and not open_strings
        if is_odd or token.type == tokenize.ERRORTOKEN:  # such as $
            raise TokenizeGaveUp(f"line {token.start[0]}: {token.string!r} begins no token")
        if token.type in _BEGIN_STRING:
            open_strings.append(start)
        elif token.type in _END_STRING:
            start, kind = open_strings.pop(), _STRING
        elif kind == _NAME and keyword.iskeyword(token.string):
            kind = _KEYWORD
        if kind is not None:
            end = begin[token.end[0] - 1] + token.end[1]
            classes[start:end] = bytes((kind,)) * (end - start)
    return np.frombuffer(classes, np.uint8)


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    """The tokens of a text; TokenizeGaveUp where tokenize ends with an exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of "1if", which is two tokens all the same
            return list(tokenize.generate_tokens(io.StringIO(text).readline))
    except tokenize.TokenError as error:
        message, (row, _) = error.args
        raise TokenizeGaveUp(f"line {row}: {message}") from None
    except SyntaxError as error:
        raise TokenizeGaveUp(f"line {error.lineno}: {error.msg}") from None


@dataclass(frozen=True)
class LabelledFile(TextFile):
    """A file of the corpus, and the class of each of its characters, uint8, (T,)."""

    classes: np.ndarray


def label_corpus(corpus: Corpus) -> tuple[list[LabelledFile], list[LabelledFile], list[str]]:
    """The files to learn from, those held out, and why each of the others is neither.

    Raises:
        ValueError: nothing is left to learn from or to be tested on.
    """
    train, held_out, refused = [], [], []
    if [file.name for file in corpus.train] == [file.name for file in corpus.held_out]:
        for begin, end in zip(corpus.train, corpus.held_out, strict=True):  # of the same file
            whole = _label_files([TextFile(begin.name, begin.text + end.text)], refused)
            for file in whole:  # labelled as one: its end alone may begin within a string
                cut = len(begin.text)
                train.append(LabelledFile(file.name, file.text[:cut], file.classes[:cut]))
                held_out.append(LabelledFile(file.name, file.text[cut:], file.classes[cut:]))
    else:
        train = _label_files(corpus.train, refused)
        held_out = _label_files(corpus.held_out, refused)
    for files, purpose in ((train, "learn from"), (held_out, "be tested on")):
        if not any(file.text for file in files):
            reason = f"; {refused[0]}" if refused else ""
            raise ValueError(f"{corpus.source}: there is no Python source to {purpose}{reason}")
    return train, held_out, refused


def _label_files(files: Sequence[TextFile], refused: list[str]) -> list[LabelledFile]:
    """The files that tokenize accepts, labelled; why not, of the others, is added to `refused`."""
    labelled = []
    for file in files:
        try:
            labelled.append(LabelledFile(file.name, file.text, label_source(file.text)))
        except TokenizeGaveUp as error:
            refused.append(f"tokenize gives up on {file.name!r} in {error}")
    return labelled


def likeliest_classes(files: Sequence[LabelledFile], alphabet: Alphabet) -> list[int]:
    """The baseline: the class that each character of an alphabet, by its id, has most often."""
    counts = np.zeros((len(alphabet), len(CLASSES)), np.int64)
    for file in files:
        pairs = alphabet.encode(file.text) * len(CLASSES) + file.classes
        counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    return counts.argmax(1).tolist()
