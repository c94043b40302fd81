"""The answers of a network, and how they are written: lines of text or of JSON, in UTF-8.

Formatting a million answers one by one in Python takes longer than computing them. So where the
name of every token is known, the lines are written by column; see columns.py.

Shapes: N answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rnn_tutorial.prediction.columns import (
    format_numbers,
    join_lines,
    make_table,
    put_side_by_side,
)
from rnn_tutorial.runs.terminal import shown
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
        by_class: the probabilities of all classes, (N, C), where no rule is known.
    """

    questions: Questions
    predictions: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray | None
    trained_length: np.ndarray
    by_class: np.ndarray | None = None

    def are_right(self) -> np.ndarray:
        """Bool, (N,); no answer is right of a network that diverged and gives no number."""
        return (self.predictions == self.targets) & ~np.isnan(self.probabilities)

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
            first_number: of the block's lines, from 1 on; JSON then begins with each line's number.
        """


def make_writer(task: Task, as_json: bool) -> Writer:
    """The writer of the answers to a task's questions."""
    if task.machine is None:
        return WordWriter(task.classes, as_json)
    if not as_json:
        return TextWriter(task.tokens, task.classes)
    if task.machine.is_sum:  # digits are numbers in JSON too
        return JsonWriter(task.tokens, task.classes)
    return JsonWriter(*(list(map(_quoted, names)) for names in (task.tokens, task.classes)))


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


class TextWriter:
    """Writes lines such as `1 2 3 -> 6 with probability 99.9%; right is 6 ✓`.

    Args:
        tokens, classes: their names by id.
    """

    def __init__(self, tokens: Sequence[str], classes: Sequence[str]) -> None:
        tokens, classes = (list(map(shown, names)) for names in (tokens, classes))
        self._tokens = make_table(f"{name} " for name in tokens), make_table(tokens)
        self._predictions = make_table(f" -> {name} with probability " for name in classes)
        self._probabilities = make_table(f"{i / 10}%; right is " for i in range(1001))
        self._targets = make_table(f"{name} " for name in classes)
        self._marks = make_table("✗✓")
        self._notes = make_table(("  (never trained on length ", ""))
        self._ends = make_table((")\n", "\n"))

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """See `Writer`; the text does not show the number."""
        questions, is_trained = answers.questions, answers.trained_length
        after = put_side_by_side(
            self._predictions.take(answers.predictions),
            self._probabilities.take(answers.probabilities_in(1000)),
            self._targets.take(answers.targets),
            self._marks.take(answers.are_right()),
            self._notes.take(is_trained),
            np.where(is_trained, b"", format_numbers(questions.lengths)),
            self._ends.take(is_trained),
        )
        return join_lines(b"", questions.ids, questions.lengths, self._tokens, after)


class JsonWriter:
    """Writes a JSON object on each line.

    Probabilities have six decimals, about as many as float32 arithmetic gets right.

    Args:
        tokens, classes: their names by id, as they stand in JSON: numbers or quoted.
    """

    def __init__(self, tokens: Sequence[str], classes: Sequence[str]) -> None:
        self._tokens = make_table(f"{name}, " for name in tokens), make_table(tokens)
        self._predictions = make_table(
            f'], "prediction": {name}, "probability": ' for name in classes
        )
        self._three_decimals = make_table(f"{i / 1000:.3f}" for i in range(1001))
        self._next_decimals = make_table(f"{i:03}" for i in range(1000))
        self._targets = make_table(f', "target": {name}, "trained_length": ' for name in classes)
        self._ends = make_table(("false}\n", "true}\n"))

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """See `Writer`."""
        questions = answers.questions
        before = b'{"input": ['
        if first_number is not None:
            number = format_numbers(questions.lines + first_number)
            before = put_side_by_side(b'{"line": ', number, b', "input": [')
        thousandths, millionths = np.divmod(answers.probabilities_in(10**6), 1000)
        after = put_side_by_side(
            self._predictions.take(answers.predictions),
            self._three_decimals.take(thousandths),
            self._next_decimals.take(millionths),
            self._targets.take(answers.targets),
            self._ends.take(answers.trained_length),
        )
        return join_lines(before, questions.ids, questions.lengths, self._tokens, after)


class WordWriter:
    """Writes answers to words as they were typed, one by one; there is no rule to check them by.

    the cat saw the zebra -> cat with probability 99.9%  (unknown: zebra)

    Args:
        classes: their names by id.
        as_json: write JSON objects, with the keys of `JsonWriter`, but `unknown` for `target`, and
            with the probabilities of all classes.
    """

    def __init__(self, classes: Sequence[str], as_json: bool) -> None:
        self._classes, self._as_json = classes, as_json

    def write(self, answers: Answers, first_number: int | None = None) -> bytes:
        """See `Writer`; the text does not show the number."""
        questions, ids = answers.questions, iter(answers.questions.ids.tolist())
        shares = [None] * len(questions)
        if self._as_json:
            shares = np.nan_to_num(answers.by_class.astype(np.float64)).round(6).tolist()
        columns = (
            questions.lines.tolist(),
            questions.typed,
            answers.predictions.tolist(),
            answers.known_probabilities().tolist(),
            answers.trained_length.tolist(),
            shares,
        )
        lines = []
        for line, words, prediction, probability, is_trained, row in zip(*columns, strict=True):
            name = self._classes[prediction]
            unknown = [word for word in words if next(ids) == 0]
            if self._as_json:
                fields = {} if first_number is None else {"line": first_number + line}
                fields |= {"input": words, "prediction": name, "probability": round(probability, 6)}
                fields["probabilities"] = dict(zip(self._classes, row, strict=True))
                fields |= {"unknown": unknown, "trained_length": is_trained}
                lines.append(json.dumps(fields, ensure_ascii=False))
            else:
                notes = f"  (unknown: {', '.join(unknown)})" if unknown else ""
                notes += "" if is_trained else f"  (never trained on length {len(words)})"
                text = " ".join(words)
                line = f"{text} -> {name} with probability {probability:.1%}{notes}"
                lines.append(shown(line))
        return "\n".join([*lines, ""]).encode()
