"""Each named machine against a definition of its own, on all short sequences."""

import re
from itertools import groupby, pairwise

import pytest
from random_machines import run, sequences_up_to

from rnn_tutorial.machines.library import LIBRARY
from rnn_tutorial.machines.minimize import minimize
from rnn_tutorial.machines.regex import machine_of_pattern


def accepted_if(condition):
    return "accepted" if condition else "rejected"


def matches(pattern):
    return lambda text: accepted_if(re.fullmatch(pattern, text))


def even_if(condition):
    return "even" if condition else "odd"


def has_odd_runs(text):
    """Does an odd run of ones have an odd run of zeros directly after it?"""
    runs = [(bit, len(list(group))) for bit, group in groupby(text)]
    return any(
        bit == "1" and length % 2 and next_length % 2
        for (bit, length), (_, next_length) in pairwise(runs)
    )


def arithmetic(tokens):
    """By Python's own grammar and operators."""
    if re.fullmatch(r"([0-4][-+×])*", tokens):
        return "unfinished"
    if re.fullmatch(r"([0-4][-+×])*[0-4]", tokens):
        return str(eval(tokens.replace("×", "*")) % 5)
    return "malformed"


# For each machine: the answer to the tokens, joined without spaces, and the greatest length.
DEFINITIONS = {
    "parity": (lambda bits: even_if(bits.count("1") % 2 == 0), 8),
    "even_pairs": (lambda text: even_if(sum(a != b for a, b in pairwise(text)) % 2 == 0), 8),
    "modular_arithmetic": (arithmetic, 5),
    "tomita_1": (matches("1*"), 8),
    "tomita_2": (matches("(10)*"), 8),
    "tomita_3": (lambda bits: accepted_if(not has_odd_runs(bits)), 10),
    "tomita_4": (lambda bits: accepted_if("000" not in bits), 8),
    "tomita_5": (
        lambda bits: accepted_if(bits.count("0") % 2 == 0 and bits.count("1") % 2 == 0),
        8,
    ),
    "tomita_6": (lambda bits: accepted_if((bits.count("0") - bits.count("1")) % 3 == 0), 8),
    "tomita_7": (matches("0*1*0*1*"), 8),
    "divisible_by_3": (lambda bits: accepted_if(int(bits or "0", 2) % 3 == 0), 8),
    "contains_abba": (lambda text: accepted_if("abba" in text), 9),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_machine_answers_as_it_is_defined(name):
    machine = LIBRARY[name].make()
    define, length = DEFINITIONS[name]
    seen = set()
    for sequence in sequences_up_to(range(len(machine.tokens)), length):
        text = "".join(machine.tokens[token] for token in sequence)
        answer = machine.classes[run(machine, sequence)]
        assert answer == define(text), text
        seen.add(answer)
    assert seen == set(machine.classes)


def test_cycle_navigation_adds_the_moves():
    machine = LIBRARY["cycle_navigation"].make()
    assert machine.tokens == ("stay", "right", "left")
    for sequence in sequences_up_to(range(3), 7):
        place = (sequence.count(1) - sequence.count(2)) % 5
        assert machine.classes[run(machine, sequence)] == str(place)


def test_long_expressions_are_valued_as_by_python():
    machine = LIBRARY["modular_arithmetic"].make()
    for text in ("2+3×4", "4-3×2×4-1", "1-2×3+4×0×3-3×3", "0-4-4-4×4×4×2+1"):
        ids = [machine.tokens.index(token) for token in text]
        assert machine.classes[machine.answer_one(ids)] == str(eval(text.replace("×", "*")) % 5)


def test_every_machine_has_a_definition_here():
    assert set(DEFINITIONS) | {"cycle_navigation"} == set(LIBRARY)


@pytest.mark.parametrize("name", LIBRARY)
def test_the_machines_are_minimal_and_their_examples_differ(name):
    machine = LIBRARY[name].make()
    assert minimize(machine).num_states == machine.num_states
    answers = set()
    for example in LIBRARY[name].examples:
        answers.add(machine.answer_one([machine.tokens.index(t) for t in example.split()]))
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("tomita_2", "(10)*"),
        ("tomita_4", "(1|01|001)*0{0,2}"),
        ("tomita_5", "(00|11|(01|10)(00|11)*(01|10))*"),
        ("tomita_7", "0*1*0*1*"),
        ("divisible_by_3", "(0|1(01*0)*1)*"),
        ("contains_abba", ".*abba.*"),
    ],
)
def test_a_pattern_of_the_same_rule_has_the_same_minimal_machine(name, pattern):
    by_pattern, by_table = minimize(machine_of_pattern(pattern)), minimize(LIBRARY[name].make())
    assert (by_pattern.tokens, by_pattern.classes) == (by_table.tokens, by_table.classes)
    for one, other in zip(by_pattern.tables(), by_table.tables(), strict=True):
        assert one.tolist() == other.tolist()
