"""Pairs, their units, the sums that are drawn, and files of one's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_tutorial.gallery import sums
from rnn_tutorial.gallery.attention_picture import draw_in_text
from rnn_tutorial.gallery.pairs import Pairs, Units, hold_out, read_pairs
from rnn_tutorial.gallery.sums import all_sums, draw_long_sums, draw_sums, is_sum, solve


@settings(max_examples=30)
@given(texts=st.lists(st.text(alphabet="0123456789+ü", min_size=1), min_size=1))
def test_characters_survive_as_ids(texts):
    units = Units.of(texts, "characters")
    ids, lengths = units.encode(texts)
    assert [units.decode(row) for row in ids.tolist()] == texts
    assert lengths.tolist() == [len(text) for text in texts]


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_reversed_units_are_written_from_the_last_on(kind):
    units = Units(["1", "2", "3"], kind, is_reversed=True)
    text = "123" if kind == "characters" else "1 2 3"
    assert units.encode([text])[0].tolist() == [[3, 2, 1]] and units.split(text) == ["3", "2", "1"]
    assert units.decode([3, 2, 1, 0]) == text


def test_words_survive_as_ids_and_unknown_ones_are_0():
    units = Units.of(["the old cat", "the dog"], "words")
    assert units.names == ["cat", "dog", "old", "the"]
    ids, lengths = units.encode(["the  dog", "a cat"])
    assert ids.tolist() == [[4, 2], [0, 1]] and lengths.tolist() == [2, 2]
    assert units.decode([4, 2, 0, 1]) == "the dog"


@settings(max_examples=30)
@given(a=st.integers(0, 10**18), b=st.integers(0, 10**18))
def test_sums_are_right(a, b):
    question = f"{a}+{b}"
    assert is_sum(question)
    assert solve(question) == str(a + b)


@pytest.mark.parametrize("text", ["", "+", "1+", "+1", "1+2+3", "1-2", "1 + 2", "١+1", "1+2\n"])
def test_other_texts_are_no_sums(text):
    assert not is_sum(text)


def test_all_sums_are_asked_and_may_all_be_trained(monkeypatch):
    monkeypatch.setattr(sums, "LIMIT", 20)
    monkeypatch.setattr(sums, "NUM_SUMS", 400)
    asked = [source for part in all_sums() for source in part.sources]
    assert sorted(asked) == sorted(f"{a}+{b}" for a in range(20) for b in range(20))
    trained, checked = draw_sums(0, 400, 0.1)
    assert sorted(trained.sources) == sorted(checked.sources) == sorted(asked)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_trained_sums_are_drawn_without_repetition(share):
    trained, others = draw_sums(3, 2000, share)
    assert len(set(trained.sources)) == 2000
    assert len(others) == 5000 and not set(others.sources) & set(trained.sources)
    assert trained.fingerprint() == draw_sums(3, 2000, share)[0].fingerprint()
    assert trained.fingerprint() != draw_sums(4, 2000, share)[0].fingerprint()


def test_numbers_of_one_digit_are_a_hundredth_or_a_third():
    for share, expected in ((0.0, 0.01), (1.0, 1 / 3), (0.5, 0.17)):
        trained = draw_sums(0, 600, share)[0]
        lengths = [len(source.split("+")[0]) for source in trained.sources]
        assert np.mean(np.array(lengths) == 1) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("digits", [1, 4, 18])
def test_long_sums_have_the_digits_that_were_asked_for(digits):
    pairs = draw_long_sums(digits, 20)
    assert {len(number) for source in pairs.sources for number in source.split("+")} == {digits}
    assert pairs == draw_long_sums(digits, 20)
    assert len(set(pairs.sources)) == 20


def test_all_sums_of_few_digits_are_asked_once():
    pairs = draw_long_sums(1, 10_000)
    assert sorted(pairs.sources) == sorted(f"{a}+{b}" for a in range(10) for b in range(10))


# ---- files ----


def test_a_file_is_read_and_a_tenth_held_out(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes("\ufeffa b\tx  y\r\n\n c\tz\n".encode() + b"d\te\n" * 18)
    pairs = read_pairs(str(path), "words")
    assert pairs.sources[:2] == ["a b", "c"] and pairs.targets[:2] == ["x y", "z"]
    trained, held_out = hold_out(pairs, 0)
    assert {"a b", "c", "d"} == {*trained.sources, *held_out.sources}
    assert sorted((trained + held_out).sources) == sorted(pairs.sources)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=2), st.integers(0, 5))
def test_no_source_is_both_trained_and_held_out_however_often_it_occurs(numbers, seed):
    if len(set(numbers)) < 2:
        numbers = [*numbers, 31]
    pairs = Pairs([str(number) for number in numbers], ["x"] * len(numbers))
    trained, held_out = hold_out(pairs, seed)
    assert len(trained) + len(held_out) == len(pairs)
    assert set(trained.sources).isdisjoint(held_out.sources)
    assert len(set(held_out.sources)) == max(1, len(set(numbers)) // 10)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "has 0 different sources; at least 2"),
        (b"a\tb\na\tc\n", "has 1 different sources; at least 2"),
        (b"a\tb\nc d\n", "line 2: expected source<TAB>target"),
        (b"a\tb\tc\n", "line 1: expected source<TAB>target"),
        (b"a\t \n", "line 1: expected source<TAB>target"),
        (b"a\tb\n" + b"x" * 1001 + b"\ty\n", "line 2: 1,001 characters; at most 1,000"),
        (b"a\tb\n\xff\tc\n", "not UTF-8"),
        (b"a\tb\n\0\tc\n", "NUL"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_pairs(str(path), "characters")


# ---- the picture ----


def test_attention_as_blocks():
    weights = np.array([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25], [0.0, 0.25, 0.75]])
    lines = draw_in_text(weights, ["5", "9", "6"], ["a", "+", "b"])
    assert [line[:2].strip() for line in lines] == ["", "5", "9", "6"]
    assert ["".join(line[2:].split()) for line in lines] == ["a+b", "██", "░░▒▒░░", "░░▓▓"]


def test_pairs_are_cut_into_parts():
    pairs = Pairs(list("abcde"), list("vwxyz"))
    assert [part.sources for part in pairs.parts(2)] == [["a", "b"], ["c", "d"], ["e"]]
