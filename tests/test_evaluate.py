"""The evaluate command: exact to any feasible length, samples at great ones, and the automaton."""

import json
import re

import numpy as np
import pytest
import torch

from rnn_tutorial import evaluate
from rnn_tutorial.evaluate import (
    accuracy_at_length,
    adversarial_sequences,
    longest_enumerable,
)
from rnn_tutorial.evaluation.automaton import _period_shares, find_automaton
from rnn_tutorial.model.classifier import RnnClsNet


def make_parity_net():
    """A net built by hand that adds bits modulo 2, right at every length.

    Two units compute "previous residue or digit" and "previous residue and digit" with saturated
    tanh; the residue is the first without the second.
    """
    net = RnnClsNet(2, 1, 2, 1, 2)
    big = 20.0
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[0.0], [1.0], [0.0]]))
        net.rnn.weight_ih_l0.copy_(torch.tensor([[2 * big], [2 * big]]))
        # residue in {0, 1} = (first - second) / 2 of units in {-1, 1}
        net.rnn.weight_hh_l0.copy_(torch.tensor([[big, -big], [big, -big]]))
        net.rnn.bias_ih_l0.copy_(torch.tensor([-big, -3 * big]))
        net.rnn.bias_hh_l0.zero_()
        net.fc.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
        net.fc.bias.copy_(torch.tensor([1.0, -1.0]))
    return net.eval()


def make_adder():
    """Three ReLU units, built by hand, that add digits modulo 10: see exercise 2 of README.md."""
    net = RnnClsNet(10, 1, 3, 1, 10, nonlinearity="relu")
    remainder, k = torch.tensor([1.0, -10.0, 10.0]), torch.arange(10.0)
    with torch.no_grad():
        net.embedding.weight[:10, 0] = k
        net.rnn.weight_ih_l0.fill_(1)
        net.rnn.weight_hh_l0.copy_(remainder.expand(3, 3))
        net.rnn.bias_ih_l0.copy_(torch.tensor([0.0, -9.0, -10.0]))
        net.rnn.bias_hh_l0.zero_()
        net.fc.weight.copy_(2 * k.outer(remainder))
        net.fc.bias.copy_(-(k**2))
    return net.eval()


@pytest.mark.parametrize("length", [1, 2, 7, 1000])
def test_a_net_that_is_right_is_right_at_every_length(length):
    result = accuracy_at_length(make_parity_net(), length, 1, num_sequences=50)
    assert (result.right_random, result.right_adversarial) == (50, result.num_adversarial)
    assert result.low == pytest.approx(0.929, abs=1e-3) and result.high == 1


def test_counts_are_those_of_the_model_one_by_one():
    torch.manual_seed(0)
    model = RnnClsNet(10, 3, 5, 2, 10)
    result = accuracy_at_length(model, 6, 9, num_sequences=200)
    again = accuracy_at_length(model, 6, 9, num_sequences=200)
    assert result == again and 0 < result.right_random < 100
    right = [
        model.predict(digits.tolist()).item() == digits.sum() % 10
        for digits in adversarial_sequences(6, 9)
    ]
    assert result.right_adversarial == sum(right) and result.num_adversarial == 12


@pytest.mark.parametrize("shift", [5, 2])
def test_a_net_that_is_wrong_may_be_right_modulo_a_part(shift):
    """Always off by 5, it knows the sum modulo 5; always off by 2, the sum modulo 2."""
    net = make_adder()
    with torch.no_grad():
        net.fc.weight.copy_(net.fc.weight.roll(shift, dims=0))
        net.fc.bias.copy_(net.fc.bias.roll(shift, dims=0))
    result = accuracy_at_length(net, 6, 9, num_sequences=200)
    expected = {p: 200 * (shift % p == 0) for p in (2, 5)}
    assert (result.right_random, result.right_modulo) == (0, expected)


def test_scores_that_are_no_number_are_wrong_modulo_everything():
    net = make_adder()
    with torch.no_grad():
        net.fc.bias.fill_(torch.nan)
    result = accuracy_at_length(net, 6, 9, num_sequences=20)
    assert (result.right_random, result.right_modulo) == (0, {2: 0, 5: 0})


def test_adversarial_sequences():
    assert adversarial_sequences(3, 2).tolist() == [
        [0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 2, 0], [2, 0, 2],
    ]  # fmt: skip


def test_the_automaton_of_a_right_net_is_addition():
    automaton = find_automaton(make_parity_net(), 1, num_states=100)
    assert automaton.is_right and automaton.agreement == 1
    assert automaton.table.tolist() == [[0, 1], [1, 0]]
    assert automaton.period_shares == {2: 1.0}
    assert automaton.points.shape[0] == 100 and set(automaton.residues.tolist()) == {0, 1}


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
    automaton = find_automaton(RnnClsNet(10, 3, 5, 1, 10), 9, num_states=200)
    assert not automaton.is_right
    expected = np.add.outer(np.arange(10), np.arange(10)) % 10
    assert (automaton.table != expected).any()


def test_longest_enumerable_length():
    assert (longest_enumerable(9), longest_enumerable(1), longest_enumerable(5000)) == (6, 19, 1)


def refusal(capsys, *arguments):
    """Run main with arguments that it must refuse; returns the one sentence and what it printed."""
    with pytest.raises(SystemExit) as stopped:
        evaluate.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    (sentence,) = printed.err.splitlines()
    assert stopped.value.code == 2
    return sentence, printed.out


@pytest.fixture
def changed_checkpoint(trained_folder, tmp_path):
    """Write the trained net's checkpoint with some weights changed; returns where."""

    def write(weights):
        run = trained_folder / "output" / "baseline"
        content = torch.load(run / "model_step_40.pt", weights_only=True)
        content["weights"] |= weights
        torch.save(content, tmp_path / "model_step_40.pt")
        return tmp_path / "model_step_40.pt"

    return write


def test_the_command_prints_and_draws(trained_folder, tmp_path, capsys):
    run = str(trained_folder / "output")
    figure = tmp_path / "lengths.png"
    arguments = [run, "--max_len", "3", "--lengths", "2", "50", "--num_sequences", "20"]
    assert evaluate.main([*arguments, "--figure", str(figure)]) == 0
    text = capsys.readouterr().out
    assert "All 1,110 inputs up to length 3: " in text and text.count("  wrong: ") == 20
    assert re.search(r"/12  \(right: \d+ modulo 2, \d+ modulo 5\)\n", text)
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 200_000
    assert evaluate.main([*arguments, "--figure", str(figure), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["exact"]["num_inputs"] == 1110
    assert [row["length"] for row in results["lengths"]] == [2, 50]


def test_the_command_shows_the_automaton(trained_folder, tmp_path, capsys):
    figure = tmp_path / "automaton.png"
    run = str(trained_folder / "output" / "baseline" / "model_step_40.pt")
    assert evaluate.main([run, "--automaton", "--figure", str(figure)]) == 0
    text = capsys.readouterr().out
    assert "The table is not addition modulo 10" in text
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 200_000


def test_json_comes_with_a_picture_only_if_one_is_asked_for(changed_checkpoint, capsys):
    path = changed_checkpoint({})
    lengths = ["--max_len", "1", "--lengths", "1", "--num_sequences", "1"]
    for flags in (lengths, ["--automaton"]):
        assert evaluate.main([str(path), *flags, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
    assert list(path.parent.iterdir()) == [path]
    assert evaluate.main([str(path), *lengths]) == 0
    drawn = path.with_name("accuracy_by_length.png")
    assert drawn.exists() and f"Picture: {drawn}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--max_len", "0"], "--max_len 0"),
        (["RUN", "--max_len", "10"], "--max_len 10"),
        (["RUN", "--max_len", "1000000"], "--max_len 1000000"),
        (["RUN", "--lengths", "5", "0"], "--lengths 0"),
        (["RUN", "--num_sequences", "0"], "--num_sequences 0"),
        (["RUN", "--lengths", "x"], "'x'"),
        (["RUN", "--lengths", "5", "1000000"], "--lengths 1000000 with --num_sequences 1000 "),
        (["RUN", "--lengths", "5", "--num_sequences", "200000000"], "--num_sequences 200000000 "),
        (["RUN", "--lengths", "100000000", "--num_sequences", "1"], "--lengths 100000000 "),
        (["RUN", "--automaton", "--max_len", "2"], "takes no --max_len"),
        (["RUN", "--automaton", "--lengths", "3"], "takes no --lengths"),
        (["RUN", "--automaton", "--num_sequences", "3"], "takes no --num_sequences"),
        (["RUN", "--figure", "nowhere/x.png"], "--figure 'nowhere/x.png' is not a file in"),
        (["RUN", "--figure", "x.foo"], "--figure 'x.foo' does not end in one of .png, "),
        (["RUN", "--automaton", "--figure", "x"], "--figure 'x' does not end in one of .png, "),
    ],
)
def test_wrong_arguments_are_refused(arguments, named, trained_folder, capsys):
    run = str(trained_folder / "output")
    arguments = [run if argument == "RUN" else argument for argument in arguments]
    sentence, printed = refusal(capsys, *arguments)
    assert named in sentence and not printed


def test_a_picture_that_cannot_be_written_is_said_after_the_results(
    trained_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "check_picture", lambda path: None)  # becomes so afterwards
    (tmp_path / "x.png").mkdir()
    flags = ("--max_len", 1, "--lengths", 1, "--num_sequences", 1, "--figure", tmp_path / "x.png")
    sentence, printed = refusal(capsys, trained_folder / "output", *flags)
    assert f"the picture '{tmp_path}/x.png' cannot be written" in sentence
    assert "All 10 inputs up to length 1" in printed


@pytest.mark.parametrize("flags", [[], ["--automaton"]])
def test_weights_that_do_not_fit_their_sizes_are_refused(flags, changed_checkpoint, capsys):
    path = changed_checkpoint({"fc.bias": torch.zeros(3)})
    sentence, printed = refusal(capsys, path, *flags)
    assert f"'{path}': the weights do not fit the model" in sentence and not printed


def test_a_net_of_what_is_no_number_is_no_automaton(changed_checkpoint, capsys):
    path = changed_checkpoint({"rnn.bias_hh_l0": torch.full((8,), torch.nan)})
    sentence, printed = refusal(capsys, path, "--automaton")
    assert "some scores of the network are no numbers" in sentence and not printed
