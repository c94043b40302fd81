"""The evaluate command: exact to any feasible length, samples at great ones, and the automaton."""

import json
import os
import re

import pytest
import torch

import train_cls_rnn
from rnn_tutorial import evaluate
from rnn_tutorial.runs.checkpoint import save_checkpoint


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
        del content["format"], content["sha256"]
        path = tmp_path / "model_step_40.pt"
        save_checkpoint(path, **content)
        return path

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


def test_lengths_are_drawn_from_left_to_right(trained_folder, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(evaluate, "draw_accuracy_by_length", lambda *parts: drawn.append(parts[0]))
    run, figure = trained_folder / "output" / "baseline", tmp_path / "a.png"
    evaluate.main([str(run), "--lengths", "30", "2", "7", "--figure", str(figure)])
    assert drawn == [[2, 7, 30]]


def test_a_folder_that_takes_no_picture_is_refused_before_the_work(
    trained_folder, monkeypatch, capsys
):
    run = trained_folder / "output" / "baseline"
    monkeypatch.setattr(os, "access", lambda path, mode: path != run)
    sentence, printed = refusal(capsys, run, "--lengths", 5)
    assert "--figure '" in sentence and "cannot be written to" in sentence and not printed


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
        (["RUN", "--max_len", "0"], "--max_len: '0' is not a whole number of at least 1"),
        (["RUN", "--max_len", "10"], "--max_len 10"),
        (["RUN", "--max_len", "1000000"], "--max_len 1000000"),
        (["RUN", "--lengths", "5", "0"], "--lengths: '0'"),
        (["RUN", "--num_sequences", "0"], "--num_sequences: '0'"),
        (["RUN", "--lengths", "x"], "'x'"),
        (["RUN", "--lengths", "5", "1000000"], "--lengths 1000000 with --num_sequences 1000 "),
        (["RUN", "--lengths", "5", "--num_sequences", "200000000"], "--num_sequences 200000000 "),
        (["RUN", "--lengths", "100000000", "--num_sequences", "1"], "--lengths 100000000 "),
        (["RUN", "--search", "-1"], "--search: '-1'"),
        (["RUN", "--search", "100000"], "--search: '100000' is not a whole number from 0 to 10000"),
        (["RUN", "--automaton", "--search", "9"], "takes no --search"),
        (["RUN", "--automaton", "--max_len", "2"], "takes no --max_len"),
        (["RUN", "--automaton", "--lengths", "3"], "takes no --lengths"),
        (["RUN", "--automaton", "--num_sequences", "3"], "takes no --num_sequences"),
        (["RUN", "--eval_file", ""], "--eval_file '' is empty"),
        (["RUN", "--figure", "nowhere/x.png"], "--figure 'nowhere/x.png': there is no folder"),
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


def train_parity(folder, *flags):
    """Train a network, unless flags are in the way until it is right; returns its run's folder."""
    settings = ("--max_number", 1, "--min_seq_len", 1, "--max_seq_len", 6, "--hidden_dim", 8)
    schedule = ("--total_steps", 1500, "--lr", 0.01, "--batch_size", 32)
    arguments = (*settings, *schedule, "--device", "cpu", "--tracker", "disabled", *flags)
    assert train_cls_rnn.main([str(a) for a in (*arguments, "--save_dir", folder)]) == 0
    return str(folder / "baseline")


def test_a_search_says_what_it_found(tmp_path, capsys):
    flags = [train_parity(tmp_path), "--max_len", "6", "--lengths", "6"]
    capsys.readouterr()
    assert evaluate.main([*flags, "--json"]) == 0
    search = json.loads(capsys.readouterr().out)["search"]
    assert evaluate.main(flags) == 0
    text = capsys.readouterr().out
    found = f"Search of {search['num_read']:,} inputs up to length {search['max_len']}: "
    if search["wrong_input"]:
        tokens = " ".join(map(str, search["wrong_input"]))
        right = sum(search["wrong_input"]) % 2
        line = f"  wrong: {tokens} -> {1 - right}, right is {right}"
        assert f"{found}a wrong one (" in text and line in text.splitlines()
    else:
        assert f"{found}none wrong, lowest margin {search['lowest_margin']:.2f} (" in text
    assert evaluate.main([*flags, "--search", "7"]) == 0
    assert "inputs up to length 7: none wrong, lowest margin " in capsys.readouterr().out
    assert evaluate.main([*flags, "--search", "0"]) == 0
    assert "Search" not in capsys.readouterr().out


def test_a_search_that_is_asked_for_is_made_even_if_a_short_input_is_wrong(
    trained_folder, tmp_path, capsys
):
    flags = [str(trained_folder / "output"), "--max_len", "1", "--lengths", "1"]
    flags += ["--figure", str(tmp_path / "drawn.png")]
    assert evaluate.main(flags) == 0
    assert "Search" not in capsys.readouterr().out
    assert evaluate.main([*flags, "--search", "3"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"Search of [\d,]+ inputs up to length \d: a wrong one ", text)


def test_a_network_without_a_state_is_not_searched(tmp_path, capsys):
    run = train_parity(tmp_path, "--pooling", "mean", "--total_steps", 9)
    flags = [run, "--max_len", "3", "--lengths", "3"]
    capsys.readouterr()
    assert evaluate.main(flags) == 0
    assert "Search" not in capsys.readouterr().out
    sentence, printed = refusal(capsys, *flags, "--search", 5)
    assert "--search 5: only a recurrent network of one direction" in sentence and not printed


@pytest.mark.parametrize("flags", [[], ["--automaton"]])
def test_weights_that_do_not_fit_their_sizes_are_refused(flags, changed_checkpoint, capsys):
    path = changed_checkpoint({"fc.bias": torch.zeros(3)})
    sentence, printed = refusal(capsys, path, *flags)
    assert f"'{path}': the weights do not fit the model" in sentence and not printed


def test_a_net_of_nan_is_no_automaton(changed_checkpoint, capsys):
    path = changed_checkpoint({"rnn.bias_hh_l0": torch.full((8,), torch.nan)})
    sentence, printed = refusal(capsys, path, "--automaton")
    assert "some scores of the network are NaN" in sentence and not printed
