"""What becomes of states: networks built by hand, and what the results say of trained ones."""

import pytest
import torch
from evaluation.hand_built import make_adder

from rnn_tutorial.experiments import drift
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.files import read_json


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Fewer and shorter sequences."""
    monkeypatch.setattr(drift, "TIMES", (3, 5, 20))
    monkeypatch.setattr(drift, "SHOWN_TIMES", (5, 20))
    monkeypatch.setattr(drift, "NUM_SEQUENCES", 30)


def test_states_of_an_exact_network_are_at_their_own_places():
    found = drift.measure(make_adder())
    for name in ("nearest", "farthest", "own"):
        assert found[name] == pytest.approx([0, 0, 0], abs=1e-3)
    assert found["modulo_2"] == found["modulo_5"] == [1, 1, 1]
    assert "gate" not in found
    assert len(found["points"]["20"]) == len(found["remainders_modulo_5"]["20"]) == 30


def test_a_network_that_is_always_5_too_high_steps_right():
    found = drift.measure(make_adder(shift=5))
    assert found["modulo_2"] == [0, 0, 0] and found["modulo_5"] == [1, 1, 1]


def test_an_error_fades_where_the_state_is_forgotten():
    torch.manual_seed(0)
    model = RnnClsNet(10, 4, 6, 2, 10).eval()
    with torch.no_grad():
        model.rnn.weight_hh_l1.zero_()  # the upper layer forgets, the lower one keeps
        model.rnn.weight_hh_l0.copy_(torch.eye(6))
        model.rnn.weight_ih_l0.mul_(0.01)
        model.rnn.bias_ih_l0.zero_()
        model.rnn.bias_hh_l0.zero_()
        found = drift.measure(model)
    assert found["by_layer"]["upper"] == 0 and found["by_layer"]["lower"] > 0.1
    assert found["error_left"] == pytest.approx(found["by_layer"]["lower"])


def test_the_gate_of_a_gru_is_read_where_it_keeps():
    model = RnnClsNet(10, 4, 6, 1, 10, cell="gru").eval()
    with torch.no_grad():
        for weight in model.rnn.parameters():
            weight.zero_()
        model.rnn.bias_ih_l0[6:12] = 3  # r, z, n
        gate = drift.measure(model)["gate"]
    assert gate == {"median": pytest.approx(0.953, abs=1e-3), "above_0.9": 1}


def test_two_layers_leave_all_places_and_the_gru_its_own():
    networks = read_json(drift.DRIFT)["networks"]
    for seed in networks["one layer"]["seeds"]:
        assert seed["own"][-1] < 0.3
    for seed in networks["two layers"]["seeds"]:
        assert seed["nearest"][0] < 0.2 and seed["nearest"][-1] > 0.5
        assert seed["by_layer"]["fifths"] > 10 * seed["by_layer"]["parity"]
        assert seed["by_layer"]["lower"] > 10 * seed["by_layer"]["upper"]
    for seed in networks["GRU"]["seeds"]:
        assert seed["nearest"][-1] < 0.3 and seed["own"][-1] > seed["own"][0] + 0.1
        assert seed["gate"]["above_0.9"] < 0.2
