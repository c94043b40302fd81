"""The doctor as a user calls it: on a run, on a module, on data, beside a training."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY, TRAIN_QUICKLY, refusal

import train_cls_rnn
from rnn_tutorial import diagnose

# Learns nothing in 1,100 updates, which take a fraction of a second.
TRAIN_IN_VAIN = (
    *("--engine", "compiled", "--hidden_dim", "8", "--total_steps", "1100", "--max_seq_len", "3"),
    *("--lr", "1e-6", "--min_lr", "0", "--eval_every", "500", "--tracker", "disabled"),
)


@pytest.fixture(scope="module")
def hopeless_run(tmp_path_factory):
    """The folder of a run whose learning rate is too low."""
    folder = tmp_path_factory.mktemp("hopeless")
    assert train_cls_rnn.main([*TRAIN_IN_VAIN, "--save_dir", str(folder)]) == 0
    return folder / "baseline"


def ask(capsys, *arguments):
    """Run the command in this process; its exit status and what it printed."""
    status = diagnose.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert not printed.err
    return status, printed.out


# ---- a run ----


def test_the_command_finds_the_fault_of_a_run(hopeless_run, script_environment):
    done = subprocess.run(
        [sys.executable, "-m", "rnn_tutorial.diagnose", str(hopeless_run)],
        cwd=REPOSITORY,
        env=script_environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "learning-rate-too-low (likely)" and len(lines) == 7
    assert lines[5:] == ["Not asked:", "  longer sequences than those of training: --length N"]
    assert "1,100 updates" in lines[1] and "--lr " in lines[3]


def test_the_installed_command_ends_quietly_when_its_reader_leaves(hopeless_run):
    text = (REPOSITORY / "pyproject.toml").read_text()
    module, function = re.search('^rnn-doctor = "(.+):(.+)"$', text, re.MULTILINE).groups()
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", f"import {module} as m; m.{function}()", str(hopeless_run)],
        cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_findings_as_json(hopeless_run, capsys):
    status, printed = ask(capsys, "--json", hopeless_run)
    (finding,) = json.loads(printed)["findings"]
    assert status == 1 and finding["name"] == "learning-rate-too-low"
    assert finding.keys() >= {"seen", "meaning", "advice", "confidence", "lesson"}


def test_a_run_too_short_to_tell_has_no_findings(trained_folder, capsys):
    status, printed = ask(capsys, trained_folder / "output")
    assert status == 0 and printed.startswith("No findings.\nLooked at:\n  settings, ")
    assert "whether it learns: 40 updates are too few to tell" in printed
    assert ask(capsys, trained_folder / "output", "--json")[0] == 0


def test_a_length_can_be_asked_for(trained_folder, capsys):
    status, printed = ask(capsys, trained_folder / "output", "--length", 9)
    assert status == 1 and "--min_seq_len 1" in printed and "at length 9" in printed


WRONG = """
from torch import nn
number = 1
def net():
    return []
def none():
    pass
def one():
    return 1
def needs(size):
    return []
class Net(nn.Linear):
    def __init__(self, size):
        super().__init__(size, size)
ready = Net(2)
"""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "RUN"),
        (["nowhere"], "nowhere"),
        (["nowhere.tsv"], "training 'nowhere.tsv' cannot be read"),
        (["nowhere.tsv", "--eval", "x.tsv"], "training 'nowhere.tsv' cannot be read"),
        (["nowhere", "--step", "net.py:net"], "one of"),
        (["nowhere", "--length", "0"], "--length: '0' is not a whole number of at least 1"),
        (["--module", "nowhere.py:net", "--vocab_size", "3"], "nowhere.py:net"),
        (["--module", "net.py:net"], "--vocab_size"),
        (["--module", "net.py:net", "--vocab_size", "9" * 12], "whole number from 1 to 10000000"),
        (["--module", "net.py:net", "--num_features", "9" * 9], "whole number from 1 to 100000"),
        (["--data", "net.py:net", "--padding_id", "9" * 30], "from -10000000 to 10000000"),
        (["--module", "net.py:other", "--vocab_size", "3"], "other"),
        (["--module", "net.py:number", "--vocab_size", "3"], "type int"),
        (["--data", "net.py:net"], "training data"),
        (["nowhere", "--evaluation", "net.py:net"], "--evaluation net.py:net goes with --data"),
        (["nowhere", "--vocab_size", "3"], "--vocab_size 3 goes with --module"),
        (["--data", "net.py:net", "--length", "9"], "--length 9 goes with RUN"),
        (["nowhere", "--json", "out.json"], "unrecognized arguments: out.json"),
        (["--data="], "--data ''"),
        (["--data", "net.py:number"], "training data are of type int"),
        (["--data", "net.py:none"], "--data 'net.py:none' returns None"),
        (["--data", "net.py:net", "--evaluation", "net.py:none"], "'net.py:none' returns None"),
        (["--step", "net.py:none"], "--step 'net.py:none' returns None"),
        (["--module", "net.py:none", "--vocab_size", "3"], "'net.py:none' returns None"),
        (["--data", "net.py:one"], "the training data are of type int"),
        (["--step", "net.py:one"], "--step: 32 calls used no tensor that needs a gradient"),
        (["--module", "net.py:one", "--vocab_size", "3"], "module is of type int"),
        (["--module", "net.py:net", "--vocab_size", "3", "--call", "net.py:no"], "object 'no'"),
        (["nowhere", "--time_major"], "--time_major goes with --module"),
        (["--module", "net.py:net", "--vocab_size", "3", "--lengths", "--no_lengths"], "exclude"),
        (["--step", "net.py:needs"], "missing a required argument: 'size'"),
        (["--module", "net.py:Net", "--vocab_size", "3"], "missing a required argument: 'size'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(WRONG)
    assert named in refusal(capsys, diagnose.main, *arguments)
    assert [path.name for path in tmp_path.glob("*.*")] == ["net.py"]


# ---- the user's own ----

OWN = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from beside import SIZE

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, SIZE)
        self.rnn = nn.RNN(SIZE, SIZE, batch_first=True)
        self.fc = nn.Linear(SIZE, 3)

    def forward(self, x, seq_lengths):
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output[:, -1])

@dataclass
class Sample:
    target: int

def samples():
    return [([i % 7], 1, i % 7) for i in range(1000)]

def few():
    return samples()[:60]

def make_step():
    weight = torch.ones(1, requires_grad=True)
    def step():
        loss = (weight ** 2).sum()
        loss.backward()
        with torch.no_grad():
            weight.sub_(0.1 * weight.grad)
            weight.grad = None
        return loss
    return step

one_update = make_step()
print("what the user's code prints")
"""


def test_the_users_own_code_is_checked(capsys, tmp_path):
    (tmp_path / "beside.py").write_text("SIZE = 4\n")
    own = tmp_path / "own.py"
    own.write_text(OWN)
    assert diagnose.main(["--module", f"{own}:Net", "--vocab_size", "5", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["findings"][0]["name"] == "last-step-of-padding"
    assert printed.err == "what the user's code prints\n"  # once: the file is kept
    status, printed = ask(capsys, "--data", f"{own}:samples", "--evaluation", f"{own}:few")
    assert status == 0 and printed.startswith("small-evaluation (possible)")
    for step in ("make_step", "one_update"):
        status, printed = ask(capsys, "--step", f"{own}:{step}")
        assert status == 0 and printed.startswith("No findings.\nLooked at:\n  steps: 32,")


@pytest.mark.parametrize("returned", ["(loss, 0.5)", "{'loss': loss}", "[loss]", "loss.item()"])
def test_a_step_may_return_its_loss_in_any_form(returned, capsys, tmp_path):
    (tmp_path / "my.py").write_text(
        "import torch\nnet = torch.nn.Linear(3, 2)\n"
        "def step():\n"
        "    loss = net(torch.randn(8, 3)).square().mean()\n"
        "    loss.backward()\n"
        f"    return {returned}\n"
    )
    assert diagnose.main(["--step", f"{tmp_path / 'my.py'}:step"]) == 1
    assert "nothing-moved" in capsys.readouterr().out


def test_label_files_are_checked(capsys, tmp_path):
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text("".join(f"{i % 3}\t{i} {i + 1}\n" for i in range(600)))
    test.write_text("".join(f"{i % 3}\t{i} {i + 1}\n" for i in range(500)))
    status, printed = ask(capsys, train)
    assert status == 0 and "  600 rows of training\n" in printed and "no evaluation" in printed
    status, printed = ask(capsys, train, "--eval", test, "--json")
    (finding,) = json.loads(printed)["findings"]
    assert status == 1 and finding["name"] == "shared-stream"
    test.write_text("no tab\n")
    assert "evaluation" in refusal(capsys, diagnose.main, train, "--eval", test)
    assert "line 1" in refusal(capsys, diagnose.main, test)
    assert "--eval" in refusal(capsys, diagnose.main, tmp_path, "--eval", test)
    assert "--length 9" in refusal(capsys, diagnose.main, train, "--length", 9)


# ---- beside a training ----


def test_a_watched_training_says_what_it_suspects_and_what_it_finds(tmp_path, capsys):
    assert train_cls_rnn.main([*TRAIN_IN_VAIN, "--diagnose", "--save_dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    live = [line for line in printed.splitlines() if line.startswith("doctor, so far: ")]
    assert len(live) == 1 and "learning-rate-too-low" in live[0] and "1,000 updates" in live[0]
    _, _, report = printed.partition("\nDoctor: ")
    assert ask(capsys, tmp_path) == (1, report)
    assert train_cls_rnn.main(["--resume", str(tmp_path / "baseline"), "--diagnose"]) == 0
    assert capsys.readouterr().out.endswith(f"\nDoctor: {report}")


def test_a_training_that_diverges_is_diagnosed(tmp_path, capsys):
    flags = ("--optimizer", "adamw", "--lr", "100", "--weight_decay", "1000", "--total_steps",
             "3000", "--engine", "compiled", "--tracker", "disabled", "--diagnose")  # fmt: skip
    assert train_cls_rnn.main([*flags, "--save_dir", str(tmp_path)]) == 1
    assert "\nDoctor: not-finite-loss (certain)" in capsys.readouterr().out


def test_watching_changes_no_weight(trained_folder, tmp_path):
    flags = [*map(str, TRAIN_QUICKLY), "--save_dir", str(tmp_path), "--diagnose"]
    assert train_cls_rnn.main(flags) == 0
    name = "model_step_40.pt"
    weights = torch.load(tmp_path / "baseline" / name)["weights"]
    reference = torch.load(trained_folder / "output" / "baseline" / name)["weights"]
    assert all(torch.equal(weights[key], reference[key]) for key in reference)


def test_flags_of_the_doctor_are_not_those_of_a_loop_that_reads_its_own(tmp_path, capsys):
    (tmp_path / "script.py").write_text(
        "import argparse\nimport torch\n\n\ndef train():\n"
        "    rate = argparse.ArgumentParser().parse_args() and 0.1\n"
        "    weight = torch.nn.Parameter(torch.ones(3))\n"
        "    optimizer = torch.optim.SGD([weight], lr=rate)\n"
        "    for _ in range(10):\n        optimizer.zero_grad()\n"
        "        loss = (torch.randn(8, 3) @ weight - 1).square().mean()\n"
        "        loss.backward()\n        optimizer.step()\n        yield loss\n"
    )
    assert diagnose.main(["--step", f"{tmp_path / 'script.py'}:train"]) == 0
    assert capsys.readouterr().out.startswith("No findings.")


def test_a_network_that_labels_each_step_is_not_called_wrong_for_certain(tmp_path, capsys):
    (tmp_path / "tagger.py").write_text(
        "from torch import nn\n\n\nclass Tagger(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.embedding = nn.Embedding(10, 4)\n"
        "        self.gru = nn.GRU(4, 6, batch_first=True)\n        self.fc = nn.Linear(6, 3)\n\n"
        "    def forward(self, x):\n        return self.fc(self.gru(self.embedding(x))[0])\n"
    )
    flags = ["--vocab_size", "10", "--no_lengths"]
    assert diagnose.main(["--module", f"{tmp_path / 'tagger.py'}:Tagger", *flags]) == 1
    printed = capsys.readouterr().out
    assert "wrong-shape (likely)" in printed and "meant to label each step" in printed
    assert "(certain)" not in printed
