"""Which machine --task means: a name of the library, a file, or a pattern.

The digit sum is not here: it needs no table, and its size is --max_number.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.library import LIBRARY, NamedMachine
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.machines.machine_file import read_machine
from rnn_tutorial.machines.minimize import minimize, reachable_states
from rnn_tutorial.machines.regex import machine_of_pattern
from rnn_tutorial.runs.files import given_by
from rnn_tutorial.runs.terminal import shortened
from rnn_tutorial.settings.task_names import DIGIT_SUM, PATTERN, is_machine_file

_NAME_WIDTH = 21
_OTHERS = """\
FILE.json            a machine of your own, and
regex:PATTERN        does the whole sequence match? Both: see rnn_tutorial/machines/README.md"""
_SUM = NamedMachine(
    "what is the sum modulo 10? (see --max_number)", lambda: SumModulo(9), ("1 2 3", "9 9 9")
)


def find_machine(name: str) -> tuple[Machine, str]:
    """The minimal machine of a task.

    Args:
        name: a NAME of the library, the path of a FILE.json, or regex:PATTERN.

    Returns:
        The machine, and a sentence on the states that were dropped and merged; "" if none were.

    Raises:
        ValueError: it is none of them, or the file or the pattern is refused.
    """
    return _simplify(_make(name))


def describe_machines() -> str:
    """What each named machine asks, its states, tokens, classes, and two examples."""
    entries = {DIGIT_SUM: _SUM, **LIBRARY}
    described = [_describe(name, entry) for name, entry in entries.items()]
    return "\n\n".join([*described, _OTHERS])


def _make(name: str) -> Machine:
    if name in LIBRARY:
        return LIBRARY[name].make()
    shown = repr(shortened(name, 60))
    if name.startswith(PATTERN):
        with given_by(f"--task {shown}:"):
            return machine_of_pattern(name.removeprefix(PATTERN))
    if is_machine_file(name):
        with given_by("--task"):
            return read_machine(Path(name))
    names = DIGIT_SUM, *LIBRARY
    near = get_close_matches(name.strip().lower(), names, 1)
    if not near and set(name) & set("()[]|*+?"):
        near = [PATTERN + name]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"--task {shown} is not one of {', '.join(names)}, a FILE.json, or regex:PATTERN{hint}"
    )


def _simplify(machine: Machine) -> tuple[Machine, str]:
    smallest = minimize(machine)
    num_reachable = len(reachable_states(machine.tables()[0]))
    num_dropped = machine.num_states - num_reachable
    parts = []
    if num_dropped:
        parts.append(
            f"of {machine.num_states:,} states, {num_dropped:,} cannot be reached and "
            f"{'is' if num_dropped == 1 else 'are'} dropped"
        )
    if smallest.num_states < num_reachable:
        parts.append(
            f"{num_reachable:,} states are merged into {smallest.num_states:,} "
            "that give the same answers"
        )
    sentence = "; ".join(parts)
    return smallest, sentence and f"{sentence[0].upper()}{sentence[1:]}."


def _describe(name: str, entry: NamedMachine) -> str:
    machine = entry.make()
    ids = {token: number for number, token in enumerate(machine.tokens)}
    answers = []
    for example in entry.examples:
        answer = machine.answer_one([ids[token] for token in example.split()])
        answers.append(f"{example}  ->  {machine.classes[answer]}")
    left = [name, f"  {machine.num_states} states", "", ""]
    right = [
        entry.question,
        f"tokens    {' '.join(machine.tokens)}",
        f"classes   {' '.join(machine.classes)}",
        f"examples  {',   '.join(answers)}",
    ]
    return "\n".join(f"{a:<{_NAME_WIDTH}}{b}" for a, b in zip(left, right, strict=True))
