"""What --task means."""

import json

import pytest

from rnn_tutorial.machines.choose import describe_machines, find_machine
from rnn_tutorial.machines.library import LIBRARY
from rnn_tutorial.machines.minimize import minimize


@pytest.mark.parametrize("name", LIBRARY)
def test_a_name_means_the_machine_of_the_library(name):
    machine, sentence = find_machine(name)
    assert machine.num_states == LIBRARY[name].make().num_states
    assert sentence == ""


def own_machine(tmp_path, successors, outputs):
    """A file with two tokens and two classes."""
    states = {
        str(state): {"class": "xy"[output], "next": {"a": str(row[0]), "b": str(row[1])}}
        for state, (row, output) in enumerate(zip(successors, outputs, strict=True))
    }
    record = {"tokens": ["a", "b"], "classes": ["x", "y"], "start": "0", "states": states}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(record))
    return str(path)


@pytest.mark.parametrize(
    ("successors", "outputs", "num_states", "sentence"),
    [
        ([[0, 1], [1, 0]], [0, 1], 2, ""),
        (
            [[0, 1], [1, 0], [0, 1]],
            [0, 1, 1],
            2,
            "Of 3 states, 1 cannot be reached and is dropped.",
        ),
        (
            [[1, 2], [1, 2], [2, 1]],
            [0, 0, 1],
            2,
            "3 states are merged into 2 that give the same answers.",
        ),
        (
            [[1, 2], [1, 2], [2, 1], [4, 0], [3, 0]],
            [0, 0, 1, 0, 0],
            2,
            "Of 5 states, 2 cannot be reached and are dropped; "
            "3 states are merged into 2 that give the same answers.",
        ),
    ],
)
def test_a_file_is_simplified_and_it_is_said(tmp_path, successors, outputs, num_states, sentence):
    machine, said = find_machine(own_machine(tmp_path, successors, outputs))
    assert (machine.num_states, said) == (num_states, sentence)


def test_a_pattern_is_minimal():
    machine, sentence = find_machine("regex:(ab|ba)*")
    assert machine.num_states == minimize(machine).num_states == 4
    assert "merged into 4" in sentence


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("xyz", ["'xyz'", "sum", "parity", "contains_abba", "FILE.json", "regex:PATTERN"]),
        ("", ["''", "parity"]),
        ("Parity", ["'Parity'"]),
        ("x" * 10_000, ["'xxxx", "…'", "parity"]),
        ("regex:a(b", ["'regex:a(b'", "character 2"]),
        ("regex:", ["'regex:'", "no letters"]),
        ("missing.json", ["'missing.json'", "No such file"]),
    ],
)
def test_what_is_no_task_is_refused_in_a_sentence(name, named):
    with pytest.raises(ValueError) as refused:
        find_machine(name)
    sentence = str(refused.value)
    assert sentence.startswith("--task ") and "\n" not in sentence and len(sentence) < 400
    for part in named:
        assert part in sentence


def test_the_list_names_every_machine_with_two_different_examples():
    *paragraphs, others = describe_machines().split("\n\n")
    assert "FILE.json " in others and "regex:PATTERN " in others
    assert [paragraph.split()[0] for paragraph in paragraphs] == ["sum", *LIBRARY]
    for paragraph in paragraphs:
        assert max(map(len, paragraph.split("\n"))) <= 100
        name, states, _, examples = paragraph.split("\n")
        assert name.endswith("?") or "(see --max_number)" in name
        assert states.split()[:2][0].isdigit() and " tokens " in states
        answers = [part.split("->")[1].strip() for part in examples.split(",   ")]
        assert len(set(answers)) == 2


def test_the_list_shows_what_is_asked_and_answered():
    paragraph = next(p for p in describe_machines().split("\n\n") if p.startswith("cycle"))
    assert [" ".join(line.split()) for line in paragraph.split("\n")] == [
        "cycle_navigation at which of 5 places on a circle does the walk end?",
        "5 states tokens stay right left",
        "classes 0 1 2 3 4",
        "examples right right stay -> 2, left -> 4",
    ]
