"""The named machines: what --task NAME means.

Sources: `parity`, `even_pairs`, `cycle_navigation` and `modular_arithmetic` are the regular tasks
of Delétang et al., Neural Networks and the Chomsky Hierarchy, 2023; there, arithmetic has no class
for what is no expression. `tomita_1` to `tomita_7` are from Tomita, Dynamic Construction of Finite
Automata from Examples Using Hill-Climbing, 1982, with 0 and 1 for his two letters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.unfold import unfold

BITS, LETTERS, JUDGED = ("0", "1"), ("a", "b"), ("rejected", "accepted")


@dataclass(frozen=True)
class NamedMachine:
    """A machine of the library.

    Args:
        question: what it asks of a sequence.
        make: makes it.
        examples: two sequences with different answers, as a person types them.
    """

    question: str
    make: Callable[[], Machine]
    examples: tuple[str, str]


def parity() -> Machine:
    """Is the number of ones even?"""
    return unfold(BITS, ("even", "odd"), 0, lambda ones, bit: ones ^ bit, int)


def even_pairs() -> Machine:
    """Is the number of neighbours that differ, ab or ba, even?

    They are even exactly if the last letter is the first.
    """

    def step(ends: tuple[int, ...], letter: int) -> tuple[int, ...]:
        return (ends[0] if ends else letter, letter)

    return unfold(LETTERS, ("even", "odd"), (), step, lambda ends: int(len(set(ends)) == 2))


def cycle_navigation() -> Machine:
    """On which of five places in a circle does one stand? The start is place 0."""
    moves = {"stay": 0, "right": 1, "left": -1}
    by_token = list(moves.values())
    places = tuple(map(str, range(5)))
    return unfold(tuple(moves), places, 0, lambda place, move: (place + by_token[move]) % 5, int)


def modular_arithmetic() -> Machine:
    """What is the value modulo 5 of an expression in 0 to 4, +, - and ×, where × binds tighter?

    The state is (total, factor, is_number). Of "2 + 3 × 4": the finished terms give the total 2. At
    its end, the factor is that of the whole last term, 3 × 4, and the value is their sum. After an
    operator, the factor is what the next number is multiplied with: 3 after "2 + 3 ×", 1 after
    "2 +", -1 after "2 -". Only these remainders matter. None is the state of what is malformed.
    """
    tokens = ("0", "1", "2", "3", "4", "+", "-", "×")
    unfinished, malformed = 5, 6

    def step(state: tuple[int, int, bool] | None, token: int) -> tuple[int, int, bool] | None:
        is_digit = token < 5
        if state is None or is_digit == state[2]:
            return None
        total, factor, _ = state
        if is_digit:
            return total, factor * token % 5, True
        if tokens[token] == "×":
            return total, factor, False
        return (total + factor) % 5, 1 if tokens[token] == "+" else 4, False

    def classify(state: tuple[int, int, bool] | None) -> int:
        if state is None:
            return malformed
        total, factor, is_number = state
        return (total + factor) % 5 if is_number else unfinished

    classes = (*tokens[:5], "unfinished", "malformed")
    return unfold(tokens, classes, (0, 1, False), step, classify)


def tomita_1() -> Machine:
    """Are there only ones? 1*"""
    return Machine(BITS, JUDGED, [[1, 0], [1, 1]], [1, 0])


def tomita_2() -> Machine:
    """Is it 10 repeated? (10)*"""
    return Machine(BITS, JUDGED, [[2, 1], [0, 2], [2, 2]], [1, 0, 0])


def tomita_3() -> Machine:
    """Does no odd run of zeros stand directly after an odd run of ones?

    States: 0 an even run of ones, or zeros at the start or after one; 1 an odd run of ones; then 2
    an odd and 3 an even run of zeros; 4 a one after an odd run of both.

    The literature reads "after" in two ways. Here it is "directly after", as in the automaton of
    Bhattamishra et al., On the Ability and Limitations of Transformers to Recognize Formal
    Languages, 2020. Weiss et al., Extracting Automata from Recurrent Neural Networks, 2018, mean
    "anywhere after": they reject 1 00 11 0, too.
    """
    successors = [[0, 1], [2, 0], [3, 4], [2, 1], [4, 4]]
    return Machine(BITS, JUDGED, successors, [1, 1, 0, 1, 0])


def tomita_4() -> Machine:
    """Do three zeros never follow each other?"""
    return Machine(BITS, JUDGED, [[1, 0], [2, 0], [3, 0], [3, 3]], [1, 1, 1, 0])


def tomita_5() -> Machine:
    """Are the number of zeros and the number of ones both even?"""
    return unfold(BITS, JUDGED, 0, lambda odd, bit: odd ^ (1 << bit), lambda odd: int(odd == 0))


def tomita_6() -> Machine:
    """Is the number of zeros minus the number of ones divisible by 3?"""

    def step(difference: int, bit: int) -> int:
        return (difference + (-1 if bit else 1)) % 3

    return unfold(BITS, JUDGED, 0, step, lambda difference: int(difference == 0))


def tomita_7() -> Machine:
    """Is it zeros, ones, zeros, ones, any number of each? 0*1*0*1*"""
    return Machine(BITS, JUDGED, [[0, 1], [2, 1], [2, 3], [4, 3], [4, 4]], [1, 1, 1, 1, 0])


def divisible_by_3() -> Machine:
    """Is the binary number, its most significant bit first, divisible by 3?"""

    def step(remainder: int, bit: int) -> int:
        return (2 * remainder + bit) % 3

    return unfold(BITS, JUDGED, 0, step, lambda remainder: int(remainder == 0))


def contains_abba() -> Machine:
    """Do the letters a b b a stand somewhere, one directly after the other?

    The state is how many of them the sequence ends with; 4 once they were all there.
    """
    return Machine(LETTERS, JUDGED, [[1, 0], [1, 2], [1, 3], [4, 0], [4, 4]], [0, 0, 0, 0, 1])


LIBRARY = {
    "parity": NamedMachine("is the number of ones even?", parity, ("1 0 1", "1 1 1")),
    "even_pairs": NamedMachine(
        "is the number of neighbours that differ even?", even_pairs, ("a b b a", "a a b")
    ),
    "cycle_navigation": NamedMachine(
        "at which of 5 places on a circle does the walk end?",
        cycle_navigation,
        ("right right stay", "left"),
    ),
    "modular_arithmetic": NamedMachine(
        "what is the value modulo 5?", modular_arithmetic, ("2 + 3 × 4", "2 +")
    ),
    "tomita_1": NamedMachine("are there only ones?", tomita_1, ("1 1 1", "1 0 1")),
    "tomita_2": NamedMachine("is it 10 repeated?", tomita_2, ("1 0 1 0", "1 0 1")),
    "tomita_3": NamedMachine(
        "no odd run of zeros directly after an odd run of ones?", tomita_3, ("1 0 0 1", "1 1 1 0")
    ),
    "tomita_4": NamedMachine("no 000?", tomita_4, ("0 0 1 0", "1 0 0 0")),
    "tomita_5": NamedMachine("an even number of zeros and of ones?", tomita_5, ("0 1 0 1", "0 1")),
    "tomita_6": NamedMachine(
        "zeros minus ones divisible by 3?", tomita_6, ("0 0 0 1 0 1 1 1", "0 0 1")
    ),
    "tomita_7": NamedMachine("is it zeros, ones, zeros, ones?", tomita_7, ("0 1 1 0 1", "1 0 1 0")),
    "divisible_by_3": NamedMachine(
        "is the binary number divisible by 3?", divisible_by_3, ("1 1 0", "1 0 1")
    ),
    "contains_abba": NamedMachine("is abba in it?", contains_abba, ("b a b b a", "a b a b")),
}
