"""The prompt: a person types a question, the network answers at once."""

from __future__ import annotations

import contextlib
import importlib

from rnn_tutorial.prediction.answers import make_writer
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.streams import show
from rnn_tutorial.runs.terminal import shown


def answer_prompt(predictor: Predictor, as_json: bool) -> int:
    """Ask for sequences at a prompt until the user has enough; returns the exit status."""
    with contextlib.suppress(ImportError):  # Windows has none; its terminal edits by itself
        importlib.import_module("readline")  # gives input() line editing and history
    print(predictor.introduce())
    print(f"Type {predictor.task.reader.describe()}; quit ends.")
    writer = make_writer(predictor.task, as_json)
    while True:
        try:
            text = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        if text.lower() in ("quit", "exit", "q") and text not in predictor.task.tokens:
            return 0
        try:
            question = predictor.task.reader.read(text)
        except ValueError as error:
            print(shown(error))
        else:
            show(writer.write(predictor.answer(question)))
