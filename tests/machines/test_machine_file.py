"""A person's own machine: what is read, and what is refused in one sentence."""

import copy
import itertools
import json
import os
import time

import pytest
from random_machines import run, sequences_up_to

from rnn_tutorial.machines.machine_file import MAX_BYTES, read_machine

PARITY = {
    "tokens": ["0", "1"],
    "classes": ["even", "odd"],
    "start": "e",
    "states": {
        "o": {"class": "odd", "next": {"0": "o", "1": "e"}},
        "e": {"class": "even", "next": {"0": "e", "1": "o"}},
    },
}


def write(tmp_path, content):
    path = tmp_path / "own.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def refusal(path):
    """The sentence that refuses a file; it names the file first."""
    with pytest.raises(ValueError) as refused:
        read_machine(path)
    sentence = str(refused.value)
    assert sentence.startswith(repr(str(path))) and "\n" not in sentence and len(sentence) < 400
    assert sentence.encode()
    return sentence.removeprefix(repr(str(path)))


def test_a_machine_is_read_with_its_start_as_state_0(tmp_path):
    machine = read_machine(write(tmp_path, PARITY))
    assert (machine.tokens, machine.classes) == (("0", "1"), ("even", "odd"))
    for sequence in sequences_up_to(range(2), 6):
        assert run(machine, sequence) == sum(sequence) % 2


def changed(*place_and_value):
    """PARITY with another value at a place; without the place, if the value is ..."""
    *place, last, value = place_and_value
    record = copy.deepcopy(PARITY)
    inside = record
    for key in place:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return record


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", ["not JSON", "line 1"]),
        (b'{"tokens": [', ["not JSON", "line 1"]),
        (b"\xff\xfe\x00", ["UTF-8"]),
        (b"[" * 100_000, ["nested too deeply"]),
        (b'{"a":' * 100_000, ["nested too deeply"]),
        (b"9" * 5_000, ["digit"]),
        ([], ["an object"]),
        (None, ["an object"]),
        (changed("start", ...), ["lacks start"]),
        (changed("colour", 1), ["colour"]),
        (changed("tokens", "01"), ["tokens", "a list"]),
        (changed("tokens", 0, 0), ["tokens[0]", "text"]),
        (changed("tokens", []), ["0 tokens"]),
        (changed("tokens", [str(i) for i in range(1_001)]), ["1,001 tokens"]),
        (changed("tokens", ["0", "0"]), ["two tokens", "have the name '0'"]),
        (changed("tokens", ["0", ""]), ["token", "empty"]),
        (changed("tokens", ["0", "a b"]), ["'a b'", "space"]),
        (changed("tokens", ["0", "a,b"]), ["'a,b'", "comma"]),
        (changed("tokens", ["0", "\t"]), [r"'\t'", "control"]),
        (changed("tokens", ["0", "\x1b[2J"]), [r"'\x1b[2J'", "control"]),
        (changed("tokens", ["0", "\u202e1"]), [r"'\u202e1'", "control"]),
        (changed("tokens", ["0", "\ud800"]), [r"'\ud800'", "control"]),
        (changed("tokens", ["0", "1" * 101]), ["100 characters"]),
        (changed("classes", []), ["0 classes"]),
        (changed("classes", ["even"]), ["1 classes; 2 to 1,000"]),
        (changed("classes", ["even", "odd\n"]), ["class", r"'odd\n'"]),
        (changed("classes", ["odd", "odd"]), ["classes", "have the name 'odd'"]),
        (changed("classes", [str(i) for i in range(1_001)]), ["1,001 classes"]),
        (changed("start", "x"), ["start", "'x'"]),
        (changed("start", 1), ["start", "text"]),
        (changed("states", {}), ["states is empty"]),
        (changed("states", []), ["states", "an object"]),
        (changed("states", "", PARITY["states"]["o"]), ["empty name"]),
        (changed("states", "o", "odd"), ["states['o']", "an object"]),
        (changed("states", "o", "class", ...), ["states['o']", "lacks class"]),
        (changed("states", "o", "next", ...), ["states['o']", "lacks next"]),
        (changed("states", "o", "color", 1), ["states['o']", "color"]),
        (changed("states", "o", "class", "odds"), ["state 'o'", "class 'odds'"]),
        (changed("states", "o", "class", 1), ["states['o']", "class", "text"]),
        (changed("states", "o", "next", "1", ...), ["state 'o'", "no successor", "'1'"]),
        (changed("states", "o", "next", "1", "x"), ["state 'o'", "'x'", "'1'"]),
        (changed("states", "o", "next", "1", None), ["states['o']", "next['1']", "text"]),
        (changed("states", "o", "next", "2", "e"), ["state 'o'", "'2'", "no token"]),
    ],
)
def test_what_is_no_machine_is_refused(tmp_path, content, named):
    sentence = refusal(write(tmp_path, content))
    for part in named:
        assert part in sentence, sentence


@pytest.mark.parametrize("field", ["tokens", "e", "class", "0"])
def test_a_key_that_stands_twice_is_refused(tmp_path, field):
    text = json.dumps(PARITY)
    again = {"tokens": '"tokens": ["0", "1"]', "e": '"e": {"class": "even", "next": {}}'}
    member = again.get(field, f'"{field}": "e"')
    content = text.replace(f'"{field}": ', f'{member}, "{field}": ', 1)
    assert f"'{field}' occurs twice" in refusal(write(tmp_path, content.encode()))


def large(num_states, num_tokens=2):
    """A file with very many states."""
    tokens = [str(token) for token in range(num_tokens)]
    row = [f"{token}" for token in range(num_tokens)]
    states = {
        str(s): {"class": "odd", "next": {t: str((s + int(t)) % num_states) for t in row}}
        for s in range(num_states)
    }
    return {"tokens": tokens, "classes": ["even", "odd"], "start": "0", "states": states}


def test_ten_thousand_states_are_read_in_a_moment_and_no_more(tmp_path):
    start = time.process_time()
    machine = read_machine(write(tmp_path, large(10_000, 10)))
    assert machine.tables()[0][9_999].tolist() == [9_999, *range(9)]
    assert "10,001 states" in refusal(write(tmp_path, large(10_001)))
    assert time.process_time() - start < 10


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "own.json"
    with path.open("wb") as file:
        file.truncate(200 * MAX_BYTES)  # a hole, 3 GB on paper
    assert "larger than 16 MiB" in refusal(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    assert "not a regular file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing.json")
    assert "null" in refusal(tmp_path / "a\0b.json")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo.json")
        assert "not a regular file" in refusal(tmp_path / "fifo.json")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    text = json.dumps(PARITY).encode()
    for length in range(len(text)):
        refusal(write(tmp_path, text[:length]))


def test_any_value_in_any_place_is_refused_or_read(tmp_path):
    """Every place of the file holds something else in turn."""

    def places(value, place=()):
        yield place
        items = value.items() if isinstance(value, dict) else enumerate(value)
        if not isinstance(value, str):
            for key, item in items:
                yield from places(item, (*place, key))

    values = [None, True, 0, -1.5, float("inf"), "", "x", [], [[]], {}, {"x": {}}]
    for place, value in itertools.product([p for p in places(PARITY) if p], values):
        refusal(write(tmp_path, changed(*place, value)))
