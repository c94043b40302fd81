"""Words of a vocabulary are read as ids; many lines are read as each of them alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.data.examples import UNKNOWN, Vocabulary
from rnn_tutorial.tasks.digit_lines import DigitReader
from rnn_tutorial.tasks.reading import WordReader

READERS = {
    "words": WordReader(Vocabulary([UNKNOWN, "cat", "the"], ["a", "b"])),
    "digits": DigitReader(12),
}


def test_unknown_words_are_kept_as_typed():
    questions = READERS["words"].read_lines("the cat\n\nthe zebra, cat\n")
    assert questions.ids.tolist() == [2, 1, 2, 0, 1] and questions.lengths.tolist() == [2, 3]
    assert questions.lines.tolist() == [0, 2]
    assert questions.typed == [["the", "cat"], ["the", "zebra,", "cat"]]
    assert questions.refusals == {1: "the input is empty; give at least one token"}


@pytest.mark.parametrize("text", ["", " \t", "a \ufffd", "a \udcff"])
def test_an_input_without_words_is_refused(text):
    with pytest.raises(ValueError, match="the input is"):
        READERS["words"].read(text)


@pytest.mark.parametrize("kind", READERS)
@given(st.lists(st.text("012 ,+-") | st.sampled_from(["cat", "the,cat", "cat the"])))
def test_many_lines_are_read_as_each_of_them_alone(kind, lines):
    reader = READERS[kind]
    together = reader.read_lines("".join(f"{line}\n" for line in lines) or "\n")
    starts = np.cumsum(together.lengths) - together.lengths
    for line, text in enumerate(lines):
        place = np.flatnonzero(together.lines == line)
        try:
            alone = reader.read(text)
        except ValueError as error:
            assert together.refusals[line] == str(error) and not len(place)
            continue
        (i,) = place
        ids = together.ids[starts[i] :][: together.lengths[i]]
        assert ids.tolist() == alone.ids.tolist() and line not in together.refusals
        assert (together.typed and together.typed[i]) == (alone.typed and alone.typed[0])
    assert len(together) + len(together.refusals) == max(1, len(lines))
