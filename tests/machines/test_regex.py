"""Regular expressions against Python's own, on all short sequences."""

import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_machines import run, sequences_up_to

from rnn_tutorial.machines.regex import MAX_POSITIONS, machine_of_pattern

REPETITIONS = ("*", "+", "?", "{2}", "{0}", "{1,}", "{0,2}", "{1,3}", "{2,}")
letters = st.sampled_from(["a", "b", "c", ".", "[ab]", "[a-c]", "[bc]", r"\."])
patterns = st.recursive(
    letters,
    lambda parts: st.one_of(
        st.tuples(parts, parts).map("".join),
        st.tuples(parts, parts).map("({0[0]}|{0[1]})".format),
        st.tuples(parts, parts).map("(?:{0[0]}|{0[1]}|)".format),
        st.tuples(parts, st.sampled_from(REPETITIONS)).map("({0[0]}){0[1]}".format),
    ),
    max_leaves=7,
)


@given(patterns)
def test_a_pattern_matches_the_sequences_that_python_matches(pattern):
    if not set("abc") & set(pattern) and r"\." not in pattern:
        pattern = f"{pattern}a"
    machine = machine_of_pattern(pattern)
    compiled = re.compile(pattern)
    length = 5 if len(machine.tokens) < 4 else 4
    for sequence in sequences_up_to(range(len(machine.tokens)), length):
        text = "".join(machine.tokens[token] for token in sequence)
        assert run(machine, sequence) == bool(compiled.fullmatch(text)), text


@pytest.mark.parametrize(
    ("pattern", "tokens"),
    [
        ("(ab|ba)*", "ab"),
        ("ba", "ab"),
        ("[c-e]x?", "cdex"),
        (r"\*\+\?\(\)\[\]\{\}\|\.\\\^\$\-", r"$()*+-.?[\]^{|}"),
        (r"a-b[-z][c-]", "-abcz"),
        (r"[\]\-*.]", "*-.]"),
        ("1×2", "12×"),
        ("(a)" * 60, "a"),  # one after the other, not inside each other
    ],
)
def test_the_tokens_are_the_letters_of_the_pattern(pattern, tokens):
    machine = machine_of_pattern(pattern)
    assert machine.tokens == tuple(tokens)
    assert machine.classes == ("rejected", "accepted")


@given(st.text(alphabet="ab01()|*+?{},[]-.^$\\: é", max_size=12))
def test_any_text_is_read_as_python_reads_it_or_refused(pattern):
    try:
        machine = machine_of_pattern(pattern)
    except ValueError as error:
        assert str(error)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Python may one day read [[ otherwise
        expected = re.compile(pattern)
    for sequence in sequences_up_to(range(len(machine.tokens)), 2):
        text = "".join(machine.tokens[token] for token in sequence)
        assert run(machine, sequence) == bool(expected.fullmatch(text)), text


@pytest.mark.parametrize(
    ("pattern", "place", "named"),
    [
        ("", None, "no letters"),
        ("()", None, "no letters"),
        (".", None, "no letters"),
        ("a(b", 2, "not closed"),
        ("a)b", 2, "no ( before"),
        ("ab[cd", 3, "not closed"),
        ("a]", 2, "no [ before"),
        ("a[]", 2, "no letter"),
        ("a}", 2, "no { before"),
        ("*a", 1, "nothing before"),
        ("a|+", 3, "nothing before"),
        ("(?)", 1, "(?"),
        ("a**", 3, "another repetition"),
        ("a*?", 3, "another repetition"),
        ("a{2}{3}", 5, "another repetition"),
        ("a{", 2, "{m}"),
        ("a{,2}", 2, "{m}"),
        ("{2}", 1, "{m}"),
        ("a{1000000000}", 2, "{m}"),
        ("a{3,2}", 2, "less than"),
        (r"(a)\1", 4, "not regular"),
        ("a(?=b)", 2, "(?"),
        ("(?!b)a", 1, "(?"),
        ("(?P<x>a)", 1, "(?"),
        ("^a", 1, "whole sequence"),
        ("a$", 2, "whole sequence"),
        (r"a\d", 2, "not supported"),
        ("a\\", 2, "missing"),
        ("a b", 2, "cannot be a letter"),
        ("a,b", 2, "cannot be a letter"),
        ("a\nb", 2, "cannot be a letter"),
        ("a\ud800", 2, "cannot be a letter"),
        ("[+-/]", 2, "cannot be a letter"),  # the comma is between them
        ("[z-a]", 2, "range"),
        ("[!-\uffee]", 2, "range"),
        ("[^a]", 1, "[^"),
        ("(" * 5_000 + "a" + ")" * 5_000, None, "characters"),
        ("(" * 500 + "a" + ")" * 500, 51, "inside each other"),
        ("a" * (MAX_POSITIONS + 1), None, "letters"),
        ("a" * 2_001, None, "2,000 characters"),
        ("a{100000}", None, "letters"),
        ("((a{999}){999}){999}", None, "letters"),
        ("((((){99999999}){99999999}){99999999}a){99999999}", None, "letters"),
        ("[!-+][--Z][_-z][À-ý]", None, "letters"),
        ("(a|b)*a(a|b){20}", None, "10,000 states"),
    ],
)
def test_what_is_no_pattern_is_refused_at_once(pattern, place, named):
    start = time.process_time()
    with pytest.raises(ValueError, match=re.escape(named)) as refused:
        machine_of_pattern(pattern)
    assert time.process_time() - start < 2
    assert "\n" not in str(refused.value)
    if place is not None:
        assert f"at character {place} " in str(refused.value)


@pytest.mark.parametrize("pattern", ["(a?){1000}", "a{1000}", "(a*b?){500}"])
def test_the_longest_patterns_take_a_moment(pattern):
    start = time.process_time()
    machine_of_pattern(pattern)
    assert time.process_time() - start < 3
