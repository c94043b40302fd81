"""Streams of any bytes: every line is answered or refused, in order, by any number of threads."""

import io
import json
import random
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.prediction import streams
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.streams import (
    MAX_THREADS,
    answer_blocks,
    choose_stream_threads,
    read_blocks,
)
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.tasks.digit_lines import parse_sequence

MARK = "\ufeff"  # that some editors put at the beginning of a file

some_numbers = st.lists(st.integers(0, 12).map(str), min_size=1, max_size=30).map(" ".join)
nearly_numbers = st.sampled_from("+-x\t\r\0\v\x1c\x85\xa0\u2003٣").flatmap(
    lambda odd: st.text("012 ," + odd, max_size=8)
)
lines_of_bytes = st.lists(
    (some_numbers | nearly_numbers).map(str.encode) | st.binary(max_size=12), max_size=12
)


def make_predictor(max_number):
    torch.manual_seed(0)
    model = RnnClsNet(max_number + 1, 4, 6, 2, max_number + 1)
    config = {"min_seq_len": 2, "max_seq_len": 5, "max_number": max_number}
    task = {"kind": "digit sum", **config}
    path, weights = Path("run/model_step_1.pt"), model.state_dict()
    return Predictor(Checkpoint(path, 1, task, model.arguments, weights, config))


PREDICTORS = {max_number: make_predictor(max_number) for max_number in (3, 9, 12, 255)}


def open_as_stdin(content):
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="replace")


def answer_all(predictor, blocks):
    """All answers, and all refusals by the number of their line."""
    answered, refusals = b"", {}
    for text, refusals_of_block in answer_blocks(predictor, blocks, as_json=True):
        answered += text
        refusals |= refusals_of_block
    return answered.decode().splitlines(), refusals


@pytest.mark.parametrize("max_number", PREDICTORS)
@given(
    st.sampled_from([b"", MARK.encode()]),
    lines_of_bytes,
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_any_bytes_are_answered_or_refused_as_one_by_one(
    max_number, mark, lines, line_end, ends, block_characters
):
    content = mark + line_end.join(lines) + (line_end if ends else b"")
    expected, refused = {}, {}
    for number, line in enumerate(open_as_stdin(content), start=1):
        text = line.removeprefix(MARK) if number == 1 else line
        try:
            expected[number] = parse_sequence(text, max_number)
        except ValueError as error:
            refused[number] = str(error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK_CHARACTERS", block_characters)
        answered, refusals = answer_all(PREDICTORS[max_number], read_blocks(open_as_stdin(content)))
    answers = [json.loads(line) for line in answered]
    assert {answer["line"]: answer["input"] for answer in answers} == expected
    assert [answer["target"] for answer in answers] == [
        sum(digits) % (max_number + 1) for digits in expected.values()
    ]
    assert refusals == refused


def test_any_number_of_threads_gives_the_same_bytes():
    dice = random.Random(0)
    lines = [" ".join(dice.choices("0123456789", k=dice.randint(1, 9))) for _ in range(3000)]
    blocks = [
        (n + 1, "".join(f"{line}\n" for line in lines[n : n + 500])) for n in range(0, 3000, 500)
    ]
    answered = [
        list(answer_blocks(make_predictor(9), blocks, as_json=True, num_threads=num_threads))
        for num_threads in (1, 2, 5)
    ]
    assert len(answered[0]) == len(blocks)
    assert answered[0] == answered[1] == answered[2]


def test_as_many_blocks_are_answered_at_a_time_as_there_are_threads():
    predictor, meeting = make_predictor(9), threading.Barrier(3)
    read_lines = predictor.task.reader.read_lines

    def meet(text):
        meeting.wait(timeout=10)  # raises if not three come
        return read_lines(text)

    predictor.task.reader.read_lines = meet
    blocks = [(number, "1 2\n") for number in range(1, 7)]
    assert len(list(answer_blocks(predictor, blocks, as_json=False, num_threads=3))) == 6


def test_a_stream_has_a_thread_for_each_core_unless_it_is_told_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cores, expected in ((1, 1), (3, 3), (64, MAX_THREADS)):
        monkeypatch.setattr(streams, "count_cores", lambda cores=cores: cores)
        assert choose_stream_threads() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # which torch reads when it starts
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert choose_stream_threads() == 2
