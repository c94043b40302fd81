"""The automaton that a network has learned, compared with that of its machine."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hand_built import make_adder, make_parity_net

from rnn_tutorial.evaluation.automaton import _period_shares, find_automaton
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.pictures import machine_pictures
from rnn_tutorial.pictures.machine_pictures import draw_automaton


def test_the_automaton_of_a_right_net_is_addition():
    automaton = find_automaton(make_parity_net(), SumModulo(1), num_states=100)
    assert automaton.is_right and automaton.agreement == 1
    assert automaton.table.tolist() == [[0, 1], [1, 0]]
    assert automaton.period_shares == {2: 1.0}
    assert automaton.points.shape[0] == 100 and set(automaton.states.tolist()) == {0, 1}


def test_what_turns_with_a_period_is_found_by_its_period():
    """Corners of a pentagon visited in turn, with the odd ones lifted: modulo 5 and modulo 2."""
    turn = 2 * np.pi * np.arange(10) / 5
    lifted = 0.5 * (np.arange(10) % 2)
    corners = np.stack([np.cos(turn), np.sin(turn), lifted], axis=1)
    variances = {2: lifted.var(), 5: np.cos(turn).var() + np.sin(turn).var(), 10: 0.0}
    shares = _period_shares(corners + 7)
    assert shares == pytest.approx({p: v / sum(variances.values()) for p, v in variances.items()})


def test_the_automaton_of_an_untrained_net_is_not():
    torch.manual_seed(0)
    automaton = find_automaton(RnnClsNet(10, 3, 5, 1, 10), SumModulo(9), num_states=200)
    assert not automaton.is_right
    expected = np.add.outer(np.arange(10), np.arange(10)) % 10
    assert (automaton.table != expected).any()


def test_a_net_that_is_always_off_by_five_adds_all_the_same():
    automaton = find_automaton(make_adder(shift=5), SumModulo(9))
    assert automaton.is_right and "The table is addition modulo 10;" in automaton.describe()


# Of the digits of a number: is it divisible by 4? The classes do not tell the states apart.
DIVISIBLE = Machine("01", ("yes", "no"), [[0, 1], [2, 3], [0, 1], [2, 3]], [0, 1, 1, 1])


def make_divisibility_net(bias=0.0):
    """Units for "this digit is 1" and "the digit before is 1", saturated; no if either is."""
    net = RnnClsNet(2, 1, 2, 1, 2)
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[-1.0], [1.0], [0.0]]))
        net.rnn.weight_ih_l0.copy_(torch.tensor([[20.0], [0.0]]))
        net.rnn.weight_hh_l0.copy_(torch.tensor([[0.0, 0.0], [20.0, 0.0]]))
        net.rnn.bias_ih_l0.copy_(torch.tensor([0.0, -5.0]))  # before the first digit: 0
        net.rnn.bias_hh_l0.zero_()
        net.fc.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        net.fc.bias.copy_(torch.tensor([-1.0, 1.0 + bias]))
    return net.eval()


def test_states_that_the_classes_do_not_tell_apart_are_those_of_the_machine(tmp_path):
    automaton = find_automaton(make_divisibility_net(), DIVISIBLE, num_states=300)
    assert automaton.is_right and automaton.agreement == 1 and automaton.period_shares == {}
    assert automaton.table.tolist() == [[0, 1], [1, 1], [0, 1], [1, 1]]
    assert set(automaton.states.tolist()) == {0, 1, 2, 3}
    text = automaton.describe()
    assert "The table is the machine's; of the 300 visited hidden states, all follow it." in text
    assert "remainder" not in text and text.splitlines()[2:4] == [
        "  0: 0 yes  1 no",
        "  1:  2 no  3 no",
    ]
    draw_automaton(automaton, 1, tmp_path / "automaton.png")
    assert (tmp_path / "automaton.png").stat().st_size > 1000


def test_states_that_are_none_of_the_machines_have_a_colour_of_their_own(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(machine_pictures, "save", lambda figure, path, **_: figures.append(figure))
    automaton = find_automaton(make_divisibility_net(), DIVISIBLE, num_states=300)
    states = np.where(np.arange(300) < 7, -1, automaton.states)
    draw_automaton(replace(automaton, states=states), 1, tmp_path / "automaton.png")
    colours = figures[0].axes[1].collections[0].get_facecolors()  # of the dots
    assert (colours[:7] == colours[0]).all()
    assert not (colours[7:] == colours[0]).all(axis=1).any()


@pytest.mark.parametrize("hidden_dim", [1, 2])
def test_of_few_units_the_components_that_there_are_not_are_0(hidden_dim, tmp_path):
    net = RnnClsNet(vocab_size=2, embed_dim=1, hidden_dim=hidden_dim, num_layers=1, cls_num=2)
    automaton = find_automaton(net.eval(), DIVISIBLE, num_states=50)
    assert automaton.points.shape == (50, 3) and automaton.centres.shape == (4, 3)
    assert not automaton.points[:, hidden_dim:].any() and automaton.points[:, 0].any()
    draw_automaton(automaton, 1, tmp_path / "automaton.png")
    assert (tmp_path / "automaton.png").stat().st_size > 1000


def test_a_net_that_confuses_two_states_has_not_learned_the_machine():
    automaton = find_automaton(make_divisibility_net(bias=-5.0), DIVISIBLE, num_states=300)
    assert not automaton.is_right and "The table is not the machine's" in automaton.describe()


def test_a_right_table_that_a_few_states_do_not_follow_is_called_right():
    automaton = find_automaton(make_divisibility_net(), DIVISIBLE, num_states=300)
    text = replace(automaton, is_right=False, agreement=0.995).describe()
    assert "The table is the machine's; of the 300 visited hidden states, at least 99.50%" in text
    unvisited = np.where(np.arange(4)[:, None] == 2, -1, automaton.table)
    text = replace(automaton, is_right=False, table=unvisited).describe()
    assert "The table is the machine's;" in text and "that were not visited: 1." in text


def test_states_whose_answer_is_the_class_of_no_state_are_counted_apart():
    machine = Machine("01", ("even", "odd", "unknown"), [[0, 1], [1, 0]], [0, 1])
    net, parity = RnnClsNet(2, 1, 2, 1, 3), make_parity_net()
    with torch.no_grad():
        net.embedding.load_state_dict(parity.embedding.state_dict())
        net.rnn.load_state_dict(parity.rnn.state_dict())
        net.fc.weight[:2], net.fc.bias[:2] = parity.fc.weight, parity.fc.bias
        net.fc.weight[2], net.fc.bias[2] = 2 * parity.fc.weight[1], 2 * parity.fc.bias[1]
    automaton = find_automaton(net, machine, num_states=100)
    num_lost = int((automaton.states < 0).sum())
    assert 20 < num_lost < 80 and not automaton.is_right
    text = automaton.describe()
    assert f"of the {100 - num_lost} visited hidden states, all follow it." in text
    assert f"Hidden states whose answer is the class of no state: {num_lost}." in text
    with torch.no_grad():
        net.fc.weight[2], net.fc.bias[2] = 0, 100
    with pytest.raises(ValueError, match="every answer is a class of no state"):
        find_automaton(net, machine, num_states=100)


def test_a_table_that_memory_does_not_hold_is_refused():
    machine = SumModulo(1000)
    with pytest.raises(ValueError, match="an automaton of 1,002,001 transitions is too large"):
        find_automaton(RnnClsNet(1001, 3, 5, 1, 1001), machine)


def test_a_machine_with_permuted_classes_is_read_off_the_answers():
    renamed = Machine("01", ("odd", "even"), [[0, 1], [1, 0]], [1, 0])
    net = make_parity_net()
    with torch.no_grad():
        net.fc.weight.copy_(net.fc.weight.flip(0))
        net.fc.bias.copy_(net.fc.bias.flip(0))
    automaton = find_automaton(net, renamed, num_states=100)
    assert automaton.is_right and automaton.table.tolist() == [[1, 0], [0, 1]]


def test_scores_that_are_nan_are_no_automaton():
    net = make_parity_net()
    with torch.no_grad():
        net.fc.bias[0] = torch.nan
    with pytest.raises(ValueError, match="some scores of the network are NaN"):
        find_automaton(net, SumModulo(1))
