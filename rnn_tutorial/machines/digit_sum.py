"""The task: read a sequence of digits 0..max_number, answer their sum modulo (max_number + 1).

    1 2 3    ->  6
    9 9 9 9  ->  36 mod 10 = 6

What must agree about the task is defined here once: the label rule, the padding id, what a user may
type, and the list of all possible inputs.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def num_classes(max_number: int) -> int:
    """Number of digits, hence of possible answers: 0..max_number."""
    return max_number + 1


def padding_id(max_number: int) -> int:
    """Token id that fills the end of short rows: the first id that is no digit."""
    return max_number + 1


def label(digits: ArrayLike, max_number: int) -> np.ndarray | np.int64:
    """The label rule: sum of the digits modulo (max_number + 1), over the last axis.

    Rows may be padded: the padding id is max_number + 1, which counts as 0 modulo (max_number + 1).

    Args:
        digits: digits or padding ids, (..., T).
        max_number: largest digit.

    Returns:
        The labels, int64, (...), each in 0..max_number.
    """
    return np.asarray(digits, dtype=np.int64).sum(axis=-1) % num_classes(max_number)


def labels(digits: np.ndarray, lengths: np.ndarray, max_number: int) -> np.ndarray:
    """The label rule for sequences that lie one after the other in one array.

    Args:
        digits: (M,).
        lengths: digits of each sequence, (N,), each at least 1; they sum to M.
        max_number: largest digit.

    Returns:
        The labels, int64, (N,), each in 0..max_number.
    """
    starts = np.cumsum(lengths) - lengths
    return np.add.reduceat(digits, starts, dtype=np.int64) % num_classes(max_number)


def add_digit(prefix_label: Any, digit: Any, max_number: int) -> Any:
    """Label of a sequence that is one digit longer; for whole numbers, arrays and tensors alike."""
    return (prefix_label + digit) % num_classes(max_number)


def parse_sequence(text: str, max_number: int) -> list[int]:
    """Read the digits that a user typed, separated by spaces or commas.

    Args:
        text: for example "1 2 3" or "1,2,3".
        max_number: largest digit allowed.

    Returns:
        The digits, at least one, each in 0..max_number.

    Raises:
        ValueError: the text is empty, or a token is not a whole number in 0..max_number.
    """
    tokens = text.replace(",", " ").split()
    if not tokens:
        raise ValueError(
            f"the input is empty; give at least one digit from 0 to {max_number}, such as 1 2 3"
        )
    return [_parse_digit(token, max_number) for token in tokens]


def _parse_digit(token: str, max_number: int) -> int:
    shown = token if len(token) <= 20 else token[:20] + "…"
    if not re.fullmatch(r"[+-]?[0-9]+", token):
        raise ValueError(
            f"{shown!r} is not a whole number; allowed are 0 to {max_number}, "
            "separated by spaces or commas"
        )
    significant = token.lstrip("+-").lstrip("0") or "0"
    is_small = len(significant) <= len(str(max_number)) and int(significant) <= max_number
    if token.startswith("-") or not is_small:
        raise ValueError(
            f"{shown} is out of range; allowed are 0 to {max_number}, separated by spaces or commas"
        )
    return int(significant)


_IS_ODD = bytes(byte not in b"0123456789, \t\r\n" for byte in range(256))


def parse_lines(text: str, max_number: int) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Read many lines at once; each line as `parse_sequence` reads it.

    Lines of plain numbers between separators are read by whole-array operations, any others one
    by one.

    Args:
        text: lines that end in a newline; the last need not.
        max_number: largest digit allowed.

    Returns:
        The digits of all lines one after the other, (M,), as small integers; the number of digits
        in each line, int64, (N,), 0 in refused lines; and the refusals by the index of their line.
    """
    text += "" if text.endswith("\n") else "\n"
    encoded = text.encode("utf-8", "surrogatepass")
    byte = np.frombuffer(encoded, np.uint8)
    ends = np.flatnonzero(byte == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])

    value = byte - ord("0")  # of digits; other bytes wrap around to 10 or more
    is_digit = value < 10
    continues = np.zeros_like(is_digit)  # a digit right after a digit
    continues[1:] = is_digit[1:] & is_digit[:-1]
    is_number = is_digit.copy()  # where a number ends, `value` becomes that of the number
    is_number[:-1] &= ~continues[1:]
    too_long = continues
    for _ in str(max_number)[1:]:
        value = value.astype(np.int32)
        value[1:] = (byte[1:] - ord("0")) + 10 * value[:-1] * continues[1:]
        too_long = np.append(False, too_long[:-1] & continues[1:])

    odd = too_long | (is_number & (value > max_number))
    odd |= np.frombuffer(encoded.translate(_IS_ODD), bool)
    digits = np.compress(is_number, value)
    lengths = np.add.reduceat(is_number, starts, dtype=np.int64)
    is_plain = lengths > 0
    is_plain[np.searchsorted(ends, np.flatnonzero(odd))] = False
    if is_plain.all():
        return digits, lengths, {}

    digits = digits[np.repeat(is_plain, lengths)]
    others, refusals = [], {}
    for line in np.flatnonzero(~is_plain).tolist():
        own = byte[starts[line] : ends[line]].tobytes().decode("utf-8", "surrogatepass")
        before = len(others)
        try:
            others += parse_sequence(own, max_number)
        except ValueError as error:
            refusals[line] = str(error)
        lengths[line] = len(others) - before
    from_plain = np.repeat(is_plain, lengths)
    merged = np.empty(len(from_plain), digits.dtype)
    merged[from_plain] = digits
    merged[~from_plain] = others
    return merged, lengths, refusals


def count_inputs(min_seq_len: int, max_seq_len: int, max_number: int) -> int:
    """Number of different inputs: 111,100 for lengths 2 to 5 of digits 0 to 9."""
    return sum(num_classes(max_number) ** n for n in range(min_seq_len, max_seq_len + 1))


def input_at(index: int, length: int, max_number: int) -> list[int]:
    """The input of this length at a place of the lexicographic order.

    Place i of the inputs of length n is the number i written with n digits in base max_number + 1:
    place 42 of length 3 is [0, 4, 2] for digits 0 to 9.
    """
    digits = []
    for _ in range(length):
        index, digit = divmod(index, num_classes(max_number))
        digits.append(digit)
    return digits[::-1]
