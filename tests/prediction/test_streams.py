"""Streams of any bytes and of any machine's tokens: every line is answered or refused, in order."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.prediction import streams
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.streams import answer_blocks, read_blocks
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.tasks.digit_lines import parse_sequence
from rnn_tutorial.tasks.reading import NameReader

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


def answer_all(predictor, blocks, as_json=True):
    """All answers, and all refusals by the number of their line."""
    answered, refusals = b"", {}
    for text, refusals_of_block in answer_blocks(predictor, blocks, as_json):
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


def test_any_machine_is_answered_by_the_names_of_its_tokens_and_classes():
    moves = ("stay", "right", "left")
    places = ("at home", "east", "west")
    machine = Machine(moves, places, [[0, 1, 2], [1, 2, 0], [2, 0, 1]], [0, 1, 2])
    predictor, reader = make_predictor(2), NameReader(moves)
    predictor.task = SimpleNamespace(
        machine=machine,
        tokens=moves,
        classes=places,
        trained_lengths=range(2, 4),
        read_lines=reader.read_lines,
    )
    text = "right, stay\nup\n\nleft left left\nright\n"
    answered, refusals = answer_all(predictor, [(1, text)], as_json=False)
    rights = ["right is east", "right is at home", "right is east"]
    for line, start, right in zip(
        answered, ("right stay", "left left left", "right"), rights, strict=True
    ):
        prediction = line.removeprefix(f"{start} -> ").partition(" with probability ")[0]
        assert prediction in places
        assert right in line and ("✓" in line) == (prediction == right.removeprefix("right is "))
    assert answered[2].endswith("  (never trained on length 1)")
    assert refusals == {
        2: "'up' is not a token; allowed are stay, right, left, separated by spaces or commas",
        3: "the input is empty; give at least one of stay, right, left",
    }
    answered, _ = answer_all(predictor, [(1, text)])
    answers = [json.loads(line) for line in answered]
    assert [(answer["line"], answer["input"], answer["target"]) for answer in answers] == [
        (1, ["right", "stay"], "east"),
        (4, ["left", "left", "left"], "at home"),
        (5, ["right"], "east"),
    ]
    for answer in answers:
        ids = [moves.index(move) for move in answer["input"]]
        probabilities = predictor.model.score(ids)[0].softmax(dim=-1)
        assert answer["prediction"] == places[probabilities.argmax()]
        assert answer["probability"] == pytest.approx(float(probabilities.max()), abs=1e-5)
