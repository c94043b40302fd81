"""What is proved for every length, and what must not be."""

from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch
from networks import (
    CYCLE,
    DELAY,
    PAIR,
    PARITY,
    RELABELLED,
    TOMITA_1,
    TOMITA_4,
    build_automaton,
    build_random,
    trained,
    trained_gru,
    trained_proof,
)
from torch import nn
from tqdm import tqdm

from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof import explore
from rnn_tutorial.proof import prove as prove_module
from rnn_tutorial.proof.certificate import as_arrays, as_rule, save_certificate
from rnn_tutorial.proof.check import check_certificate
from rnn_tutorial.proof.explore import NotProved, TooManyStates, _find_near
from rnn_tutorial.proof.prove import attempt_proof, prove


@pytest.mark.parametrize("memory", [None, 1, 2])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("max_number", [1, 2, 4])
def test_a_net_that_is_an_automaton_is_proved_and_checked(max_number, num_layers, memory, tmp_path):
    machine = SumModulo(max_number)
    model = build_automaton(machine, num_layers=num_layers)
    proof = prove(model, machine, memory)
    C = max_number + 1
    if memory != 2:
        assert len(proof.machine_states) == 1 + C * C  # the start, and one for each unit
    assert 1.9 < proof.smallest_margin < 2 and proof.largest_width < 1e-4
    save_certificate(tmp_path / "proof.npz", proof, model.state_dict(), machine)
    weights = as_arrays(model.state_dict())
    margin = check_certificate(tmp_path / "proof.npz", weights, as_rule(machine))
    assert margin == pytest.approx(proof.smallest_margin)


@pytest.mark.parametrize(
    ("machine", "memory", "cell"),
    [
        (PARITY, None, "rnn"),
        (PARITY, 2, "rnn"),
        (RELABELLED, None, "rnn"),
        (RELABELLED, 1, "rnn"),
        (PAIR, None, "rnn"),
        (DELAY, None, "rnn"),
        (PARITY, None, "gru"),
        (RELABELLED, 1, "gru"),
        (CYCLE, None, "gru"),
    ],
)
def test_a_net_built_for_any_machine_is_proved(machine, memory, cell):
    model = build_automaton(machine, cell=cell)
    assert prove(model, machine, memory).smallest_margin > 1.9
    wrong = Machine(
        machine.tokens,
        machine.classes,
        machine.step(np.arange(machine.num_states)[:, None], np.arange(len(machine.tokens))),
        np.roll(machine.output(np.arange(machine.num_states)), 1),
    )
    with pytest.raises(NotProved, match=r"the sequence \w+ is answered wrongly"):
        prove(model, wrong, memory)


def test_a_wrong_answer_is_told_in_the_names_of_the_machine():
    model = build_automaton(PAIR)
    with torch.no_grad():
        model.fc.bias[1] += 10  # always yes
    message = "the sequence a is answered wrongly: the right answer is no,"
    with pytest.raises(NotProved, match=message):
        prove(model, PAIR)


def test_a_net_for_other_tokens_is_refused():
    with pytest.raises(ValueError, match="3 tokens and 3 classes, the machine 2 and 2"):
        prove(build_automaton(RELABELLED), PARITY)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_one_wrong_transition_is_found(num_layers):
    model = build_automaton(SumModulo(2), num_layers=num_layers)
    with torch.no_grad():
        model.rnn.weight_hh_l0[1 * 3 + 2, 0 * 3 + 1] *= -1  # after 1 comes 2: no unit goes on
    with pytest.raises(NotProved, match=r"the sequence 1 2 is answered wrongly: .* answer is 0"):
        prove(model, SumModulo(2))
    after = torch.tensor([[1, 2, 0], [1, 2, 1], [1, 2, 2]])
    assert model.predict([1, 1]) == 2 and (model.predict(after) != after.sum(dim=1) % 3).any()


def test_a_net_that_is_right_until_length_20_is_not_proved():
    model = build_automaton(SumModulo(2), gain=2.2)
    every = torch.cartesian_prod(*[torch.arange(3)] * 5)
    for length in range(1, 6):
        digits = every[:, :length]
        assert (model.predict(digits) == digits.sum(dim=1) % 3).all()
    long = torch.randint(0, 3, (100, 50), generator=torch.Generator().manual_seed(0))
    assert (model.predict(long) != long.sum(dim=1) % 3).any()
    with pytest.raises(NotProved, match="is answered wrongly") as failure:
        prove(model, SumModulo(2))
    sequence = str(failure.value).split("sequence ")[1].split(" is ")[0]
    found = [int(digit) for digit in sequence.split()]
    assert len(found) > 20 and model.predict(found) != sum(found) % 3
    for memory in (1, 3):
        with pytest.raises(NotProved, match="and its score margin is -"):
            prove(model, SumModulo(2), memory)


def test_an_untrained_net_has_a_wrong_single_digit():
    with pytest.raises(NotProved, match=r"the sequence \d is answered wrongly"):
        prove(build_random(0, 1), SumModulo(3))


def test_a_trained_net_is_proved_only_with_enough_memory():
    assert trained_proof().smallest_margin > 1
    message = r"the box of the state after [01] \(right answer [01]\) grew to a width of \d"
    with pytest.raises(NotProved, match=message):
        prove(trained(), SumModulo(1), memory=1)
    assert prove(trained(), SumModulo(1), memory=4).smallest_margin > 1


def test_a_trained_gru_is_proved_and_not_after_damage():
    proof = prove(trained_gru(), TOMITA_4)
    assert proof.cell == "gru" and proof.smallest_margin > 1
    model = RnnClsNet(**trained_gru().arguments)
    model.load_state_dict(trained_gru().state_dict())
    with torch.no_grad():
        model.rnn.bias_hh_l0[16:32] += 20  # its gate z keeps everything
    with pytest.raises(NotProved):
        prove(model, TOMITA_4)


def test_a_gru_that_keeps_its_state_by_the_gate_alone_is_not_proved():
    # After a 0 the unit is 1, and a 1 keeps it: z = σ(30) is 1 in float32, but a program may err.
    model = RnnClsNet(2, 1, 1, 1, 2, cell="gru")
    weights = {name: torch.zeros_like(values) for name, values in model.state_dict().items()}
    weights["embedding.weight"][1] = 1
    weights["rnn.weight_ih_l0"][1], weights["rnn.bias_ih_l0"][1] = 60, -30
    weights["rnn.bias_ih_l0"][2] = 30
    weights["rnn.weight_ih_l0"][2] = -30
    weights["fc.weight"][:, 0], weights["fc.bias"][1] = torch.tensor([2.0, 0.0]), 1
    model.load_state_dict(weights)
    long = torch.ones(4, 3000, dtype=torch.int64)
    long[:2, 100] = 0
    assert model.predict(long).tolist() == [0, 0, 1, 1]
    with pytest.raises(NotProved, match=r"grew|kept growing"):
        prove(model, TOMITA_1)


def test_a_quick_attempt_is_quiet_and_leaves_no_trace(monkeypatch):
    def no_bar(*_, disable, **__):
        assert disable is True
        return tqdm(*_, disable=True, **__)

    monkeypatch.setattr(explore, "tqdm", no_bar)
    monkeypatch.setattr(prove_module, "tqdm", no_bar)
    model, machine = trained(), SumModulo(1)
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1], torch.get_num_threads()
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    first, second = (attempt_proof(model, machine, quick=True) for _ in range(2))
    after = torch.get_rng_state(), np.random.get_state()[1], torch.get_num_threads()
    assert torch.equal(before[0], after[0]) and (before[1] == after[1]).all()
    assert before[2] == after[2]
    assert all(torch.equal(values, weights[name]) for name, values in model.state_dict().items())
    monkeypatch.undo()
    full = prove(model, machine)
    for proof in (first, second):
        assert all(
            np.array_equal(getattr(proof, f.name), getattr(full, f.name)) for f in fields(full)
        )


def test_a_quick_attempt_on_a_net_that_does_not_settle_gives_up_early():
    model = build_random(0, 1, max_number=1, hidden=64)
    for values in model.rnn.parameters():
        values.data *= 3  # chaotic
    with torch.no_grad():
        model.fc.weight.zero_()
    always = Machine("01", "ab", [[0, 0]], [0])
    model.fc.bias.data = torch.tensor([1.0, 0.0])
    failure = attempt_proof(model, always, quick=True)
    assert isinstance(failure, NotProved)
    assert str(failure) == (
        "the hidden states do not settle: more than 500 of them differ by more than 0.3"
    )


def test_a_box_that_grew_is_told_rather_than_too_fine_a_resolution(monkeypatch):
    calls = []

    def explore_coarsely(net, machine, resolution, *arguments):
        calls.append(resolution)
        if resolution < 0.1:
            raise TooManyStates("too many states")
        return explore.explore(net, machine, 2.0, *arguments)  # all of a machine state together

    monkeypatch.setattr(prove_module, "explore", explore_coarsely)
    with pytest.raises(NotProved, match=r"the box of the state after . .* grew") as failure:
        prove(trained(), SumModulo(1))
    assert calls == [0.3, 0.1, 0.03]
    assert str(attempt_proof(trained(), SumModulo(1), quick=True)) == str(failure.value)


def test_a_machine_too_large_for_a_proof_is_refused_at_once():
    tokens = [f"t{token}" for token in range(1000)]
    successors = np.arange(10_000)[:, None] * np.ones(1000, np.int64) % 10_000
    machine = Machine(tokens, "ab", successors, np.arange(10_000) % 2)
    model = RnnClsNet(1000, 2, 4, 1, 2)
    with pytest.raises(ValueError, match="10,000 states and 1,000 tokens is too large for a proof"):
        prove(model, machine)
    assert "is too large for a proof" in str(attempt_proof(model, machine, quick=True))
    with pytest.raises(
        ValueError, match="65,536 states and 65,536 tokens is too large for a proof"
    ):
        as_rule(SumModulo(65_535))


def test_a_search_ends(monkeypatch):
    monkeypatch.setattr(prove_module, "_Search", partial(prove_module._Search, max_passes=1))
    with pytest.raises(NotProved, match=r"kept growing: to a width of .* in 1 passes"):
        prove(trained(), SumModulo(1))
    monkeypatch.undo()
    monkeypatch.setattr(prove_module, "_Search", partial(prove_module._Search, max_states=5))
    with pytest.raises(NotProved, match="do not settle: more than 5 "):
        prove(trained(), SumModulo(1))


@pytest.mark.parametrize(
    "rnn",
    [
        nn.LSTM(8, 32),
        nn.GRU(8, 32, bidirectional=True),
        nn.RNN(8, 32, bidirectional=True),
        nn.RNN(8, 32, nonlinearity="relu"),
        nn.RNN(8, 32, bias=False),
    ],
)
def test_other_recurrent_nets_are_refused(rnn):
    model = build_automaton(SumModulo(1))
    model.rnn = rnn
    with pytest.raises(ValueError, match="only a tanh RNN or a GRU of one direction"):
        prove(model, SumModulo(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("where", ["embedding", "rnn", "fc"])
def test_weights_that_float32_cannot_use_are_refused(where, value):
    model = build_automaton(SumModulo(1))
    next(getattr(model, where).parameters()).data[0, 0] = value
    with pytest.raises(ValueError, match="so large that float32 may overflow"):
        prove(model, SumModulo(1))
    with pytest.raises(ValueError, match="float32"):
        prove(build_automaton(SumModulo(1)).double(), SumModulo(1))


def test_abstract_states_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(explore, "MAX_NUMBERS", 1000)
    with pytest.raises(NotProved, match="too many for the memory"):
        prove(build_automaton(SumModulo(4)), SumModulo(4))


def test_the_states_of_long_random_runs_lie_in_the_boxes():
    proof, generator = trained_proof(), np.random.default_rng(0)
    h = torch.zeros(1, 10_000, 32)
    states = np.zeros(10_000, np.int64)
    total = np.zeros(10_000, np.int64)
    for _ in range(200):
        digits = generator.integers(0, 2, 10_000)
        states, total = proof.successors[states, digits], total + digits
        with torch.no_grad():
            _, h = trained().rnn(trained().embedding(torch.from_numpy(digits))[:, None], h)
            scores = trained().fc(h[-1]).numpy()
        reached = h.transpose(0, 1).numpy()
        assert (proof.low[states] <= reached).all() and (reached <= proof.high[states]).all()
        assert (proof.machine_states[states] == total % 2).all()
        rows = np.arange(10_000)
        right = scores[rows, total % 2]
        scores[rows, total % 2] = -np.inf
        assert (right - scores.max(axis=1) >= proof.smallest_margin - 1e-4).all()


def test_the_search_for_states_ends_where_there_are_too_many():
    met = np.arange(12.0).reshape(12, 1)
    place, first = _find_near(met[:2], met, 0.5, at_most=10)
    assert place.tolist() == list(range(12)) and first == list(range(2, 12))
    assert len(_find_near(met[:0], met, 0.5, at_most=3)[1]) == 4
