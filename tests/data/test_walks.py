"""Training sequences that visit what uniform tokens seldom visit."""

import numpy as np
import pytest

from rnn_tutorial.data.streams import TRAIN_STREAM, RandomSequences
from rnn_tutorial.data.walks import Walks
from rnn_tutorial.machines.choose import find_machine
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.minimize import live_states


def draw(name, num, length, **options):
    machine, _ = find_machine(name)
    walks = Walks(machine, length, length, 7, TRAIN_STREAM, **options)
    return machine, walks.draw(0, num)[0]


def final_states(machine, x):
    return machine.final_states(x.ravel(), np.full(len(x), x.shape[1]))


def test_sequences_have_likely_tokens_of_their_own():
    """Of 30 tokens at least 27 are the same in a good part of the sequences; uniform in none."""
    machine, x = draw("cycle_navigation", 2000, 30)
    uniform, _ = RandomSequences(3, 30, 30, 7, TRAIN_STREAM).draw(0, 2000)
    monotonous = [
        max(np.bincount(row, minlength=3)) >= 27 for rows in (x, uniform) for row in rows.tolist()
    ]
    assert np.mean(monotonous[:2000]) > 0.1 and np.mean(monotonous[2000:]) == 0
    assert len(np.unique(final_states(machine, x))) == machine.num_states


@pytest.mark.parametrize("name", ["modular_arithmetic", "tomita_2", "tomita_7"])
def test_a_trap_is_rarely_walked_into_and_with_no_weight_never(name):
    machine, _ = find_machine(name)
    is_live = live_states(machine)
    uniform, _ = RandomSequences(len(machine.tokens), 12, 12, 7, TRAIN_STREAM).draw(0, 2000)
    share = is_live[final_states(machine, uniform)].mean()
    for options, low, high in (
        ({"trap_weight": 0, "all_shun": True}, 1, 1),
        ({"all_shun": True}, max(0.2, 2 * share), 0.95),
        ({}, max(0.1, 1.2 * share), 0.75),
    ):
        _, x = draw(name, 2000, 12, **options)
        assert low <= is_live[final_states(machine, x)].mean() <= high


def test_every_live_state_of_the_largest_machine_is_visited():
    visited = []
    for length in (8, 9):  # after an operator, after a digit
        machine, x = draw("modular_arithmetic", 4096, length, all_shun=True)
        visited += final_states(machine, x).tolist()
    assert len(set(visited)) == machine.num_states


def test_a_machine_of_traps_alone_still_gives_sequences():
    machine, _ = find_machine("regex:a{0}b*")
    walks = Walks(machine, 1, 6, 0, TRAIN_STREAM, trap_weight=0)
    x, lengths = walks.draw(5, 100)
    assert x.shape == (100, 6) and lengths.min() >= 1


def test_any_part_of_the_stream_is_the_same_whoever_draws_it():
    walks = Walks(SumModulo(9), 1, 8, 3, TRAIN_STREAM)
    x, lengths = walks.draw(4000, 300)
    for part in (slice(0, 100), slice(90, 200), slice(299, 300)):
        again = Walks(SumModulo(9), 1, 8, 3, TRAIN_STREAM)
        some, some_lengths = again.draw(4000 + part.start, part.stop - part.start)
        assert np.array_equal(some, x[part]) and np.array_equal(some_lengths, lengths[part])
    assert ((x < 10).sum(axis=1) == lengths).all()
