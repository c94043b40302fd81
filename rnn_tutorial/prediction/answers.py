"""The answers of a network, and how they are written: lines of text or of JSON, in UTF-8.

Formatting a million answers one by one in Python takes longer than computing them. So where every
token has a name that is known beforehand, the lines are written by column: each column has a table
of the few texts that it can hold, which are looked up for all lines at once.

Shapes: N answers, M tokens of all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rnn_tutorial.tasks.reading import Questions
from rnn_tutorial.tasks.task import Task


@dataclass(frozen=True)
class Answers:
    """Answers of the network beside the right ones.

    Args:
        questions: N of them, at least one.
        predictions: classes, (N,).
        probabilities: that the network gives to its predictions, (N,).
        targets: the right classes, (N,); None if no rule is known.
        trained_length: False if no training sequence was as short or as long, (N,).
    """

    questions: Questions
    predictions: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray | None
    trained_length: np.ndarray

    def known_probabilities(self) -> np.ndarray:
        """The probabilities, float64, (N,); 0 where a network that diverged gives no number."""
        return np.nan_to_num(self.probabilities.astype(np.float64))

    def probabilities_in(self, parts: int) -> np.ndarray:
        """The probabilities rounded to whole parts, exactly: float64 holds these products."""
        return np.rint(self.known_probabilities() * parts).astype(np.int64)


class Writer(Protocol):
    """Writes answers as lines."""

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """A line for each answer.

        Args:
            answers: of the questions in a block of lines.
            first_number: the number of the block's first line, at least 1; JSON then begins with
                the number of each answer's line.
        """


def make_writer(task: Task, as_json: bool) -> Writer:
    """The writer of the answers to a task's questions."""
    if task.machine is None:
        return WordWriter(task.classes, as_json)
    return (JsonWriter if as_json else TextWriter)(task.tokens, task.classes)


class TextWriter:
    """Writes lines such as `1 2 3 -> 6 with probability 99.9%; right is 6 ✓`.

    Args:
        tokens: their names by id.
        classes: their names by id.
    """

    def __init__(self, tokens: Sequence[str], classes: Sequence[str]) -> None:
        self._tokens = _table(f"{name} " for name in tokens)
        self._last_tokens = _table(tokens)
        self._predictions = _table(f" -> {name} with probability " for name in classes)
        self._probabilities = _table(f"{i / 10}%; right is " for i in range(1001))
        self._targets = _table(f"{name} " for name in classes)
        self._marks = _table("✗✓")
        self._notes = _table(("  (never trained on length ", ""))
        self._ends = _table((")\n", "\n"))

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """See `Writer`; the text does not show the number."""
        questions, is_trained = answers.questions, answers.trained_length
        after = _side_by_side(
            self._predictions.take(answers.predictions),
            self._probabilities.take(answers.probabilities_in(1000)),
            self._targets.take(answers.targets),
            self._marks.take(answers.predictions == answers.targets),
            self._notes.take(is_trained),
            np.where(is_trained, b"", _decimal(questions.lengths)),
            self._ends.take(is_trained),
        )
        tokens = _look_up_tokens(questions, self._tokens, self._last_tokens)
        return _join(np.full(len(questions), b""), tokens, questions.lengths, after)


class JsonWriter:
    """Writes a JSON object on each line; names that are the ids themselves become numbers.

    Probabilities have six decimals, about as many as float32 arithmetic gets right.

    Args:
        tokens: their names by id.
        classes: their names by id.
    """

    def __init__(self, tokens: Sequence[str], classes: Sequence[str]) -> None:
        tokens, classes = _json_values(tokens), _json_values(classes)
        self._tokens = _table(f"{value}, " for value in tokens)
        self._last_tokens = _table(tokens)
        self._predictions = _table(
            f'], "prediction": {value}, "probability": ' for value in classes
        )
        self._three_decimals = _table(f"{i / 1000:.3f}" for i in range(1001))
        self._next_decimals = _table(f"{i:03}" for i in range(1000))
        self._targets = _table(f', "target": {value}, "trained_length": ' for value in classes)
        self._ends = _table(("false}\n", "true}\n"))

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """See `Writer`."""
        questions = answers.questions
        before = np.full(len(questions), b'{"input": [')
        if first_number is not None:
            number = _decimal(questions.lines + first_number)
            before = _side_by_side(b'{"line": ', number, b', "input": [')
        thousandths, millionths = np.divmod(answers.probabilities_in(10**6), 1000)
        after = _side_by_side(
            self._predictions.take(answers.predictions),
            self._three_decimals.take(thousandths),
            self._next_decimals.take(millionths),
            self._targets.take(answers.targets),
            self._ends.take(answers.trained_length),
        )
        tokens = _look_up_tokens(questions, self._tokens, self._last_tokens)
        return _join(before, tokens, questions.lengths, after)


class WordWriter:
    """Writes answers to words as they were typed, one by one; there is no rule to check them by.

    the cat saw the zebra -> cat with probability 99.9%  (unknown: zebra)

    Args:
        classes: their names by id.
        as_json: write JSON objects, with the same keys as `JsonWriter`, but `unknown` for `target`.
    """

    def __init__(self, classes: Sequence[str], as_json: bool) -> None:
        self._classes, self._as_json = classes, as_json

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """See `Writer`; the text does not show the number."""
        lines = []
        for line, fields in zip(answers.questions.lines.tolist(), self._rows(answers), strict=True):
            if self._as_json:
                number = {} if first_number is None else {"line": first_number + line}
                lines.append(json.dumps(number | fields, ensure_ascii=False))
            else:
                lines.append(_sentence(**fields))
        return "\n".join([*lines, ""]).encode()

    def _rows(self, answers: Answers) -> Iterator[dict[str, Any]]:
        """Each answer by the keys of its JSON object."""
        questions = answers.questions
        start, ids = 0, questions.ids.tolist()
        for words, prediction, probability, is_trained in zip(
            questions.typed,
            answers.predictions.tolist(),
            answers.known_probabilities().tolist(),
            answers.trained_length.tolist(),
            strict=True,
        ):
            word_ids = ids[start : start + len(words)]
            start += len(words)
            yield {
                "input": words,
                "prediction": self._classes[prediction],
                "probability": round(probability, 6),
                "unknown": [word for word, i in zip(words, word_ids, strict=True) if i == 0],
                "trained_length": is_trained,
            }


def _sentence(
    input: list[str], prediction: str, probability: float, unknown: list[str], trained_length: bool
) -> str:
    notes = f"  (unknown: {' '.join(unknown)})" if unknown else ""
    if not trained_length:
        notes += f"  (never trained on length {len(input)})"
    return f"{' '.join(input)} -> {prediction} with probability {probability:.1%}{notes}"


# ---- writing by column ----


def _table(texts: Iterable[str]) -> np.ndarray:
    """Texts in UTF-8, to look up by number; each has the same width, with NUL bytes at its end."""
    return np.array([text.encode() for text in texts])


def _json_values(names: Sequence[str]) -> list[str]:
    """Names as JSON strings, or as numbers if name i is the number i."""
    are_numbers = all(name == str(i) for i, name in enumerate(names))
    return list(names) if are_numbers else [json.dumps(n, ensure_ascii=False) for n in names]


def _look_up_tokens(questions: Questions, table: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The texts of all tokens, (M,); of the last one of each sequence from a table of its own."""
    texts = table.take(questions.ids)
    ends = np.cumsum(questions.lengths) - 1
    texts[ends] = last.take(questions.ids.take(ends))
    return texts


def _side_by_side(*columns: bytes | np.ndarray) -> np.ndarray:
    """Texts of several columns, (N,) each or one for all rows, as one column of texts, (N,)."""
    columns = [np.asarray(column) for column in columns]
    rows = np.empty(
        max(column.size for column in columns),
        [(str(i), column.dtype) for i, column in enumerate(columns)],
    )
    for i, column in enumerate(columns):
        rows[str(i)] = column
    return rows.view(f"S{rows.itemsize}")


def _join(before: np.ndarray, tokens: np.ndarray, lengths: np.ndarray, after: np.ndarray) -> bytes:
    """Lines of text: what is before the tokens of a line, its tokens, and what is after them.

    The lines are put together with all NUL bytes that fill up shorter texts; these go at the end.

    Args:
        before: (N,).
        tokens: of all lines, (M,).
        lengths: tokens of each line, (N,).
        after: (N,).
    """
    sizes = np.broadcast_arrays(before.itemsize, lengths * tokens.itemsize, after.itemsize)
    is_token = np.repeat(
        np.tile([False, True, False], len(lengths)), np.column_stack(sizes).ravel()
    )  # by byte
    text = np.empty(len(is_token), np.uint8)
    text[is_token] = tokens.view(np.uint8)
    text[~is_token] = _side_by_side(before, after).view(np.uint8)
    return text[text != 0].tobytes()


def _decimal(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 on in decimal, (N,)."""
    places = len(str(numbers.max()))
    digits = np.zeros((len(numbers), places), np.uint8)
    for place in range(places):
        power = 10**place
        digits[:, -1 - place] = numbers // power % 10 + ord("0")
        if place > 0:
            digits[numbers < power, -1 - place] = 0  # no leading zeros
    return digits.view(f"S{places}").ravel()
