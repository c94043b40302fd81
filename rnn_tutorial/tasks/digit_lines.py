"""Reading typed digits: one sequence with a clear refusal, or very many lines at once."""

from __future__ import annotations

import re

import numpy as np


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
