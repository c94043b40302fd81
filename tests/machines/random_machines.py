"""Random small machines, and what every short sequence is answered."""

import itertools

from hypothesis import strategies as st

from rnn_tutorial.machines.machine import Machine


@st.composite
def tables(draw, max_states=6, max_tokens=3):
    """The number of tokens and of classes, successors and outputs, as plain lists."""
    num_states, num_tokens = draw(st.integers(1, max_states)), draw(st.integers(1, max_tokens))
    num_classes = draw(st.integers(1, 3))
    row = st.lists(st.integers(0, num_states - 1), min_size=num_tokens, max_size=num_tokens)
    successors = draw(st.lists(row, min_size=num_states, max_size=num_states))
    one_class = st.integers(0, num_classes - 1)
    outputs = draw(st.lists(one_class, min_size=num_states, max_size=num_states))
    return num_tokens, num_classes, successors, outputs


def build(num_tokens, num_classes, successors, outputs):
    """The machine of such tables."""
    return Machine("abc"[:num_tokens], "xyz"[:num_classes], successors, outputs)


def sequences_up_to(tokens, length):
    """All sequences of some tokens with 0 to `length` tokens, as tuples."""
    return [
        sequence
        for num_tokens in range(length + 1)
        for sequence in itertools.product(tokens, repeat=num_tokens)
    ]


def run(machine, sequence, state=0):
    """The class number after a sequence of token ids, read one by one; the empty one too."""
    for token in sequence:
        state = int(machine.step(state, token))
    return int(machine.output(state))
