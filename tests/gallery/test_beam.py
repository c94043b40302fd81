"""Decoding compared with the probabilities of all answers, which a small decoder lets us list."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_tutorial.gallery.beam import beam_search, decode_greedily, length_penalty
from rnn_tutorial.gallery.pairs import END

CLASSES, MAX_UNITS = 4, 3


def make_decoder(seed, count=1, width=1, is_lstm=False):
    """A decoder whose next unit depends on the source and on all units so far; and its state.

    The state of a row is the number of its source and a hash of the units so far, so that a
    decoder that mixes up rows is noticed.
    """
    table = torch.randn(1000, CLASSES, generator=torch.Generator().manual_seed(seed))
    table = (2 * table).log_softmax(dim=-1)

    def step(read, state):
        source, past = (state[0][0, :, 0], state[1][0, :, 0]) if is_lstm else state[0].T
        past = (7 * past + read[:, 0] + 1) % 97
        after = torch.stack([source, past], dim=-1)[None]
        if is_lstm:
            after = (source[None, :, None], past[None, :, None])
        return table[(source * 97 + past).long()], after

    sources = torch.arange(count).repeat_interleave(width).float()
    nothing = torch.zeros(count * width)
    if is_lstm:
        return step, (sources[None, :, None], nothing[None, :, None])
    return step, torch.stack([sources, nothing], dim=-1)[None]


def log_probability(seed, source, units):
    """Of an answer and its end, one unit after the other."""
    step, state = make_decoder(seed, source + 1)
    total, read = 0.0, END
    for unit in [*units, END]:
        scores, state = step(torch.full((source + 1, 1), read), state)
        total += scores[source, unit].item()
        read = unit
    return total


def all_answers(seed, source, alpha):
    """Every answer of at most MAX_UNITS units: its score, log-probability and units; best first."""
    found = []
    for length in range(MAX_UNITS + 1):
        for units in product(range(1, CLASSES), repeat=length):
            log_p = log_probability(seed, source, units)
            found.append((log_p / length_penalty(length + 1, alpha), log_p, list(units)))
    return sorted(found, reverse=True)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), alpha=st.sampled_from([0.0, 0.6, 1.0]), is_lstm=st.booleans())
def test_a_wide_beam_finds_the_best_of_all_answers(seed, alpha, is_lstm):
    width = (CLASSES - 1) ** MAX_UNITS  # as many as there are beginnings
    step, state = make_decoder(seed, 2, width, is_lstm)
    found = beam_search(step, state, width, MAX_UNITS, alpha)
    for source in range(2):
        expected = all_answers(seed, source, alpha)[:width]
        for rank, (score, log_p, units) in enumerate(expected):
            ids = found.ids[source, rank].tolist()
            assert ids[: len(units)] == units and not any(ids[len(units) :])
            assert found.scores[source, rank].item() == pytest.approx(score, abs=1e-4)
            assert found.log_probabilities[source, rank].item() == pytest.approx(log_p, abs=1e-4)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_greedy_decoding_takes_the_likeliest_unit_at_each_step(seed):
    step, state = make_decoder(seed, 3)
    answers = decode_greedily(step, state, MAX_UNITS)
    for source, answer in enumerate(answers.tolist()):
        expected = []
        while len(expected) < MAX_UNITS:
            chances = [log_next(seed, source, expected, unit) for unit in range(CLASSES)]
            if (unit := chances.index(max(chances))) == END:
                break
            expected.append(unit)
        assert answer == expected + [END] * (MAX_UNITS - len(expected))


def log_next(seed, source, units, unit):
    """The log-probability of the unit that follows others."""
    step, state = make_decoder(seed, source + 1)
    for read in [END, *units]:
        scores, state = step(torch.full((source + 1, 1), read), state)
    return scores[source, unit].item()


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_a_wider_beam_finds_no_worse_answer_than_greedy_decoding(seed):
    greedy = decode_greedily(*make_decoder(seed), MAX_UNITS)[0].tolist()
    units = greedy[: greedy.index(END)] if END in greedy else greedy
    found = beam_search(*make_decoder(seed), 1, MAX_UNITS)
    assert found.log_probabilities[0, 0].item() >= log_probability(seed, 0, units) - 1e-5


def test_a_beam_goes_back_where_greedy_decoding_cannot():
    chances = {(0, END): [0.0, 0.6, 0.4], (1, 1): [0.5, 0.25, 0.25], (1, 2): [0.99, 0.01, 0.0]}

    def step(read, state):
        places = zip(state[0, :, 0].tolist(), read[:, 0].tolist(), strict=True)
        return torch.tensor([chances[place] for place in places]).log(), state + 1

    assert decode_greedily(step, torch.zeros(1, 1, 1), 1)[0].tolist() == [1]
    found = beam_search(step, torch.zeros(1, 2, 1), 2, 1)
    assert found.ids[0].tolist() == [[2], [1]]
    assert found.log_probabilities[0].exp().tolist() == pytest.approx([0.396, 0.3])


def test_length_penalty_is_that_of_the_source():
    assert length_penalty(1, 0.6) == 1.0 and length_penalty(9, 0.0) == 1.0
    assert length_penalty(10, 0.6) == pytest.approx((5 + 10) ** 0.6 / (5 + 1) ** 0.6)
