"""Very many questions, line by line: read in blocks, answered by several threads, in order."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

import torch

from rnn_tutorial.prediction.answers import Writer, make_writer
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.runs.machine import choose_num_threads, count_cores

BLOCK_CHARACTERS = 2**18  # read at once
MAX_THREADS = 4  # unless more are asked for: part of the work holds Python's GIL


def choose_stream_threads() -> int:
    """OMP_NUM_THREADS if it is set, else one thread a core; at most MAX_THREADS."""
    return min(choose_num_threads(default=count_cores()), MAX_THREADS)


def read_blocks(stream: TextIO) -> Iterator[tuple[int, str]]:
    """Blocks of whole lines, each with the number of its first line."""
    number = 1
    while text := stream.read(BLOCK_CHARACTERS) + stream.readline():
        if number == 1:
            text = text.removeprefix("\ufeff")  # the byte order mark of some editors
        yield number, text
        number += text.count("\n")


def answer_blocks(
    predictor: Predictor, blocks: Iterable[tuple[int, str]], as_json: bool, num_threads: int = 1
) -> Iterator[tuple[bytes, dict[int, str]]]:
    """Answer blocks of lines, one for each thread at a time.

    A thread is kept busier by a block of its own than by its share of every small product. The
    answers are the same, to the last bit, with any number of threads.

    Yields:
        The answers in a block, as lines; and by the number of each other line, why it has none.
    """
    writer = make_writer(predictor.task, as_json)
    with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        answers = deque()
        for number, text in blocks:
            answers.append(pool.submit(_answer_block, predictor, writer, number, text))
            if len(answers) > num_threads:
                yield answers.popleft().result()
        while answers:
            yield answers.popleft().result()


def _answer_block(
    predictor: Predictor, writer: Writer, first_number: int, text: str
) -> tuple[bytes, dict[int, str]]:
    questions, answered = predictor.task.reader.read_lines(text), b""
    if questions:
        answered = writer.write(predictor.answer(questions, first_number - 1), first_number)
    return answered, {first_number + line: why for line, why in questions.refusals.items()}


def show(answered: bytes) -> None:
    """Print answers; as the bytes that they are if standard output is in UTF-8 too."""
    if sys.stdout.encoding == "utf-8":
        sys.stdout.flush()
        sys.stdout.buffer.write(answered)
    else:
        sys.stdout.write(answered.decode())
