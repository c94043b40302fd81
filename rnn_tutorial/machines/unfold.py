"""The machine of a rule that is written as a function of one state and one token.

    unfold(("0", "1"), ("even", "odd"), 0, lambda state, token: state ^ token, lambda state: state)

is the machine of parity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from rnn_tutorial.machines.machine import Machine

MAX_STATES = 10_000

_State = TypeVar("_State", bound=Hashable)


def unfold(
    tokens: Sequence[str],
    classes: Sequence[str],
    start: _State,
    step: Callable[[_State, int], _State],
    classify: Callable[[_State], int],
) -> Machine:
    """Number the states that are reachable from the start, and tabulate the rule.

    Args:
        tokens: their names.
        classes: their names.
        start: any hashable value.
        step: the state after a state and a token id.
        classify: the number of a state's class.

    Raises:
        ValueError: more than MAX_STATES states are reachable.
    """
    numbers = {start: 0}
    states = [start]
    successors = []
    for state in states:  # the list grows while it is read
        row = [step(state, token) for token in range(len(tokens))]
        for following in row:
            if following not in numbers:
                numbers[following] = len(states)
                states.append(following)
        if len(states) > MAX_STATES:
            raise ValueError(f"it needs more than {MAX_STATES:,} states")
        successors.append([numbers[following] for following in row])
    return Machine(tokens, classes, successors, [classify(state) for state in states])
