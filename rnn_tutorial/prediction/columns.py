"""Lines of text put together by column, for very many lines at once.

A column is an array of bytes (NumPy's type S): the text of each row in UTF-8, filled up with NUL
bytes to the width of the widest. Its texts are looked up in a table of all that it can hold:

    table                      classes      column
    " -> even", " -> odd"      1, 0, 1      " -> odd\\0", " -> even", " -> odd\\0"

The NUL bytes are dropped when the lines are joined.

Shapes: N rows, each a line; M tokens of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def make_table(texts: Iterable[str]) -> np.ndarray:
    """Texts as an array of bytes, to look up by number."""
    return np.array([text.encode() for text in texts])


def put_side_by_side(*columns: bytes | np.ndarray) -> np.ndarray:
    """Columns, (N,) each or one text for all rows, as one column, (N,)."""
    columns = {str(i): np.asarray(column) for i, column in enumerate(columns)}
    size = max(column.size for column in columns.values())
    rows = np.empty(size, [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    return rows.view(f"S{rows.itemsize}")


def join_lines(
    before: bytes | np.ndarray,
    ids: np.ndarray,
    lengths: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    after: np.ndarray,
) -> bytes:
    """Write each line: its text before the tokens, its tokens, and its text after them.

    Only the tokens differ in number from line to line, so the place of each column is known.

    Args:
        before: (N,), or one text for all lines.
        ids: of the tokens of all lines, one line after the other, (M,).
        lengths: tokens of each line, (N,).
        tables: texts by id, with the separator that follows, and those of a line's last token.
        after: (N,).
    """
    table, last_table = tables
    tokens, last = table.take(ids), np.cumsum(lengths) - 1
    tokens[last] = last_table.take(ids.take(last))
    before = np.broadcast_to(before, after.shape)
    around = before.itemsize + after.itemsize  # bytes of a line
    text = np.zeros(tokens.nbytes + len(lengths) * around, np.uint8)
    left = np.arange(len(lengths)) * around + before.itemsize  # such bytes, left of the tokens
    ends = np.cumsum(lengths) * tokens.itemsize  # of the tokens, without those bytes
    _write(text, np.append(0, ends[:-1]) + left - before.itemsize, before)
    _write(text, np.arange(len(ids)) * tokens.itemsize + np.repeat(left, lengths), tokens)
    _write(text, ends + left, after)
    return text[text != 0].tobytes()


def _write(text: np.ndarray, places: np.ndarray, column: np.ndarray) -> None:
    """Put each text of a column, (N,), at its place in a text, as many bytes as it is wide."""
    width = column.itemsize
    windows = np.ndarray(len(text) - width + 1, column.dtype, text, strides=(1,))
    windows[places] = column


def format_numbers(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 on in decimal, (N,)."""
    places = len(str(numbers.max()))
    digits = np.zeros((len(numbers), places), np.uint8)
    for place in range(places):
        power = 10**place
        digits[:, -1 - place] = numbers // power % 10 + ord("0")
        if place > 0:
            digits[numbers < power, -1 - place] = 0  # no leading zeros
    return digits.view(f"S{places}").ravel()
