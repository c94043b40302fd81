"""What a person types is read as digits or refused in a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.tasks import digit_lines
from rnn_tutorial.tasks.digit_lines import DigitReader, describe_digits, parse_sequence

digit_sequences = st.integers(1, 12).flatmap(
    lambda max_number: st.tuples(
        st.just(max_number), st.lists(st.integers(0, max_number), min_size=1, max_size=30)
    )
)


@given(digit_sequences, st.sampled_from([" ", ",", ", ", "  ", "\t", " , "]))
def test_what_a_user_types_is_read_back(task, separator):
    max_number, digits = task
    typed = separator.join(map(str, digits))
    assert parse_sequence(f" {typed}\n", max_number) == digits


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("10", "10"), ("-1", "-1"), ("-0", "-0"), ("1 2 99", "99"), ("123", "123"),
        ("9" * 10_000, "9" * 20 + "…"), ("1.5", "'1.5'"), ("one", "'one'"), ("1_0", "'1_0'"),
        ("２", "'２'"), ("0x1", "'0x1'"), ("1 --2", "'--2'"), ("nan", "'nan'"),
        ("", "empty"), ("  , ,", "empty"),
    ],
)  # fmt: skip
def test_refused_input_names_the_token_and_what_is_allowed(text, named):
    with pytest.raises(ValueError, match=r"0 to 9") as refused:
        parse_sequence(text, 9)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    ("max_number", "example"), [(1, "1 0 1"), (2, "1 2 0"), (3, "1 2 3"), (9, "1 2 3")]
)
def test_the_example_fits_the_digits(max_number, example):
    described = f"from 0 to {max_number}, such as {example}"
    assert describe_digits(max_number) == described
    with pytest.raises(ValueError, match=f"give at least one digit {described}$"):
        parse_sequence("", max_number)
    parse_sequence(example, max_number)


@given(st.text(max_size=20))
def test_any_text_is_either_digits_or_refused(text):
    try:
        digits = parse_sequence(text, 9)
    except ValueError:
        return
    assert digits and all(0 <= digit <= 9 for digit in digits)


@pytest.mark.parametrize("max_number", [9, 255])
def test_plain_lines_need_no_reading_one_by_one(max_number, monkeypatch):
    monkeypatch.setattr(digit_lines, "parse_sequence", None)
    text = f"0\n{max_number} , 0\t{max_number} \n1,2"
    questions = DigitReader(max_number).read_lines(text)
    assert questions.ids.tolist() == [0, max_number, 0, max_number, 1, 2]
    assert questions.lengths.tolist() == [1, 3, 2] and questions.lines.tolist() == [0, 1, 2]
    assert questions.refusals == {} and questions.typed is None
