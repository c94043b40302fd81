"""Reading typed digits: one sequence with a clear refusal, or very many lines at once.

Python reads a number in about the time in which the network answers it. So the lines of a stream
are read as one array of characters, by operations on whole arrays:

    characters   1  2     3  1  \\n  7  \\n
    is_digit     1  1  0  1  1  0   1  0
    is_last      0  1  0  0  1  0   1  0       the last digit of each number
    ids            12       31      7
"""

from __future__ import annotations

import re
from itertools import chain

import numpy as np

from rnn_tutorial.runs.terminal import shortened
from rnn_tutorial.tasks.reading import QuestionReader, Questions, read_one_by_one

# By the value of a byte: is it neither a digit nor a separator?
_IS_OTHER = bytes(byte not in b"0123456789, \t\r\n" for byte in range(256))


def describe_digits(max_number: int) -> str:
    """The digits to type, with an example: "from 0 to 9, such as 1 2 3"."""
    example = " ".join(str(digit % (max_number + 1)) for digit in (1, 2, 3))
    return f"from 0 to {max_number}, such as {example}"


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
            f"the input is empty; give at least one digit {describe_digits(max_number)}"
        )
    return [_parse_digit(token, max_number) for token in tokens]


def _parse_digit(token: str, max_number: int) -> int:
    shown = shortened(token)
    allowed = f"allowed are 0 to {max_number}, separated by spaces or commas"
    if not re.fullmatch(r"[+-]?[0-9]+", token):
        raise ValueError(f"{shown!r} is not a whole number; {allowed}")
    significant = token.lstrip("+-").lstrip("0") or "0"
    is_small = len(significant) <= len(str(max_number)) and int(significant) <= max_number
    if token.startswith("-") or not is_small:
        raise ValueError(f"{shown} is out of range; {allowed}")
    return int(significant)


class DigitReader(QuestionReader):
    """Reads digits from 0 to max_number, separated by spaces or commas."""

    def __init__(self, max_number: int) -> None:
        self._max_number = max_number

    def describe(self) -> str:
        return f"digits {describe_digits(self._max_number)}"

    def read_lines(self, text: str) -> Questions:
        """Read many lines, each as `read` reads it.

        Plain lines, of short numbers between separators, are read all at once. The few others
        (a sign, leading zeros, anything to refuse) are read one by one and put in their places.
        """
        text += "" if text.endswith("\n") else "\n"
        encoded = text.encode("utf-8", "surrogatepass")
        characters = np.frombuffer(encoded, np.uint8)
        ends = np.flatnonzero(characters == ord("\n"))
        starts = np.append(0, ends[:-1] + 1)

        ids, is_last, is_odd = self._read_numbers(characters)
        is_odd |= np.frombuffer(encoded.translate(_IS_OTHER), bool)
        lengths = np.add.reduceat(is_last, starts, dtype=np.int64)  # numbers that end in each line
        is_plain = lengths > 0
        is_plain[np.searchsorted(ends, np.flatnonzero(is_odd))] = False
        if is_plain.all():
            return Questions(ids, lengths, np.arange(len(lengths)))

        ids = ids[np.repeat(is_plain, lengths)]
        lengths[~is_plain] = 0
        positions = np.cumsum(lengths)  # in ids, of what follows each line
        remaining = (
            (line, encoded[starts[line] : ends[line]].decode("utf-8", "surrogatepass"))
            for line in np.flatnonzero(~is_plain).tolist()
        )
        others, refusals = read_one_by_one(remaining, self._parse)
        lines = np.fromiter(others, np.int64)
        lengths[lines] = [len(digits) for digits in others.values()]
        places = np.repeat(positions[lines], lengths[lines])
        ids = np.insert(ids, places, list(chain.from_iterable(others.values())))
        lines = np.flatnonzero(lengths)
        return Questions(ids, lengths[lines], lines, refusals)

    def _parse(self, text: str) -> list[int]:
        return parse_sequence(text, self._max_number)

    def _read_numbers(self, characters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read all numbers among characters, uint8, (K,), of which the last is a newline.

        Returns:
            The numbers, (M,); whether a number ends at each character, (K,); and whether a number
            there is too large or has more digits than the largest, (K,).
        """
        digit = characters - ord("0")  # what is not a digit wraps around to 10 or more
        is_digit = digit < 10
        is_last = is_digit.copy()
        is_last[:-1] &= ~is_digit[1:]
        last = np.flatnonzero(is_last)
        numbers = digit.take(last)
        in_run = is_digit  # a digit is here and at the `place` characters before
        for place in range(1, len(str(self._max_number))):
            in_run = is_digit & np.append(False, in_run[:-1])
            tens = 10**place * digit.take(last - place, mode="clip").astype(np.int32)
            numbers = numbers + in_run.take(last) * tens
        is_odd = is_digit & np.append(False, in_run[:-1])
        is_odd[last[np.flatnonzero(numbers > self._max_number)]] = True
        return numbers, is_last, is_odd
