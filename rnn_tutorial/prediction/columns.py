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


def look_up_tokens(
    ids: np.ndarray, lengths: np.ndarray, table: np.ndarray, last_table: np.ndarray
) -> np.ndarray:
    """The texts of all tokens, (M,); the last one of each line has another table.

    Args:
        ids: of the tokens of all lines, one line after the other, (M,).
        lengths: tokens of each line, (N,).
        table: texts by id, with the separator that follows.
        last_table: texts by id, without it.
    """
    texts = table.take(ids)
    ends = np.cumsum(lengths) - 1
    texts[ends] = last_table.take(ids.take(ends))
    return texts


def put_side_by_side(*columns: bytes | np.ndarray) -> np.ndarray:
    """Columns, (N,) each or one text for all rows, as one column, (N,)."""
    columns = [np.asarray(column) for column in columns]
    rows = np.empty(
        max(column.size for column in columns),
        [(str(i), column.dtype) for i, column in enumerate(columns)],
    )
    for i, column in enumerate(columns):
        rows[str(i)] = column
    return rows.view(f"S{rows.itemsize}")


def join_lines(
    before: np.ndarray, tokens: np.ndarray, lengths: np.ndarray, after: np.ndarray
) -> bytes:
    """Write each line: its text before the tokens, its tokens, and its text after them.

    Only the tokens differ in number from line to line. So it is marked which bytes of the result
    they fill; those bytes and all others are then filled in order, each at once.

    Args:
        before: (N,).
        tokens: of all lines, one line after the other, (M,).
        lengths: tokens of each line, (N,).
        after: (N,).
    """
    widths = np.broadcast_arrays(before.itemsize, lengths * tokens.itemsize, after.itemsize)
    parts = np.tile([False, True, False], len(lengths))  # of each line: before, tokens, after
    is_token = np.repeat(parts, np.stack(widths, axis=1).ravel())
    text = np.empty(len(is_token), np.uint8)
    text[is_token] = tokens.view(np.uint8)
    text[~is_token] = put_side_by_side(before, after).view(np.uint8)
    return text[text != 0].tobytes()


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
