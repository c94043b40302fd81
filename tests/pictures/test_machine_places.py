"""Where machines' states are drawn, and which tokens are: enough of them, and few."""

import numpy as np
import pytest

from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.library import tomita_3
from rnn_tutorial.pictures.machine_places import (
    arrangements,
    num_rings,
    state_places,
    telling_tokens,
)


@pytest.mark.parametrize("modulus", range(2, 11))
def test_the_drawn_digits_lead_along_a_ring_and_across_to_every_remainder(modulus):
    machine = SumModulo(modulus - 1)
    for turn, places in arrangements(machine):
        tokens = telling_tokens(machine, turn)
        assert len(tokens) == num_rings(modulus)
        reached = {0}
        for _ in range(modulus):
            reached |= {(r + token) % modulus for r in reached for token in tokens}
        assert reached == set(range(modulus))
        round_places = places / ([1.6, 0.6] if num_rings(modulus) == 2 else 1)
        gaps = np.linalg.norm(round_places - round_places[0], axis=1)
        on_ring = [r for r in range(1, modulus) if r % num_rings(modulus) == 0]
        assert gaps[tokens[0]] == pytest.approx(gaps[on_ring].min())  # the next place


def test_a_sum_of_ten_has_even_remainders_above_and_those_five_apart_below_each_other():
    places = state_places(SumModulo(9))
    for remainder in range(0, 10, 2):
        (x, above), (other_x, below) = places[remainder], places[(remainder + 5) % 10]
        assert x == pytest.approx(other_x) and above - below == pytest.approx(1.7)


def test_states_of_other_machines_are_tried_in_every_order():
    machine = tomita_3()
    found = {tuple(map(tuple, places.round(6))) for _, places in arrangements(machine)}
    assert len(found) == 24  # of four states, the first of five stays
    assert all(turn == 1 for turn, _ in arrangements(machine))
