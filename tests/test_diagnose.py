"""The doctor as a user calls it: on a run, on a module, on data, beside a training, on itself."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY, TRAIN_QUICKLY

import train_cls_rnn
from rnn_tutorial import diagnose
from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.experiments import doctor_self_test, run_faults, tables
from rnn_tutorial.experiments.doctor_self_test import Trial, all_cases, run_self_test
from rnn_tutorial.experiments.run_faults import RunCase
from rnn_tutorial.runs.files import read_json

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


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        diagnose.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and not printed.out
    (sentence,) = printed.err.splitlines()
    return sentence


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


@pytest.mark.parametrize("order", [("RUN", "--json"), ("--json", "RUN")])
def test_findings_as_json(order, hopeless_run, capsys):
    status, printed = ask(capsys, *(hopeless_run if word == "RUN" else word for word in order))
    (finding,) = json.loads(printed)["findings"]
    assert status == 1 and finding["name"] == "learning-rate-too-low"
    assert finding.keys() >= {"seen", "meaning", "advice", "confidence", "lesson"}


def test_a_run_too_short_to_tell_has_no_findings(trained_folder, capsys):
    status, printed = ask(capsys, trained_folder / "output")
    assert status == 0 and printed.startswith("No findings.\nLooked at:\n  settings, ")
    assert "whether it learns: after 40 updates that says little" in printed
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
        (["nowhere", "--self_test"], "one of"),
        (["nowhere", "--length", "0"], "--length 0"),
        (["--module", "nowhere.py:net", "--vocab_size", "3"], "nowhere.py:net"),
        (["--module", "net.py:net"], "--vocab_size"),
        (["--module", "net.py:other", "--vocab_size", "3"], "other"),
        (["--module", "net.py:number", "--vocab_size", "3"], "type int"),
        (["--data", "net.py:net"], "training data"),
        (["--self_test", "--num_seeds", "0"], "--num_seeds 0"),
        (["nowhere", "--evaluation", "net.py:net"], "--evaluation net.py:net goes with --data"),
        (["nowhere", "--vocab_size", "3"], "--vocab_size 3 goes with --module"),
        (["nowhere", "--num_seeds", "5"], "--num_seeds 5 goes with --self_test"),
        (["--data", "net.py:net", "--length", "9"], "--length 9 goes with RUN"),
        (
            ["nowhere", "--json", "out.json"],
            "'out.json': only --self_test writes its result",
        ),
        (["--step", "net.py:net", "--json", "out.json"], "'out.json': only --self_test writes"),
        (["--data="], "--data ''"),
        (["--data", "net.py:number"], "training data are of type int"),
        (["--data", "net.py:none"], "--data 'net.py:none' returns None"),
        (["--data", "net.py:net", "--evaluation", "net.py:none"], "'net.py:none' returns None"),
        (["--step", "net.py:none"], "--step 'net.py:none' returns None"),
        (["--module", "net.py:none", "--vocab_size", "3"], "'net.py:none' returns None"),
        (["--data", "net.py:one"], "the training data are of type int"),
        (["--step", "net.py:one"], "--step gives int"),
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
    assert named in refusal(capsys, *arguments)
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
"""


def test_the_users_own_code_is_checked(capsys, tmp_path):
    (tmp_path / "beside.py").write_text("SIZE = 4\n")
    own = tmp_path / "own.py"
    own.write_text(OWN)
    status, printed = ask(capsys, "--module", f"{own}:Net", "--vocab_size", 5)
    assert status == 1 and printed.startswith("last-step-of-padding")
    status, printed = ask(capsys, "--data", f"{own}:samples", "--evaluation", f"{own}:few")
    assert status == 0 and printed.startswith("small-evaluation (possible)")
    for step in ("make_step", "one_update"):
        status, printed = ask(capsys, "--step", f"{own}:{step}")
        assert status == 0 and printed.startswith("No findings.\nLooked at:\n  steps: 32,")


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
    assert "evaluation" in refusal(capsys, train, "--eval", test)
    assert "line 1" in refusal(capsys, test)
    assert "--eval" in refusal(capsys, tmp_path, "--eval", test)
    assert "--length 9" in refusal(capsys, train, "--length", 9)


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
    for name in ("model_step_40.pt",):
        weights = torch.load(tmp_path / "baseline" / name)["weights"]
        reference = torch.load(trained_folder / "output" / "baseline" / name)["weights"]
        assert all(torch.equal(weights[key], reference[key]) for key in reference)


# ---- the self-test ----


def test_a_few_faults_are_found_and_runs_are_kept(tmp_path, monkeypatch, capsys):
    """Runs as small as can be: one healthy, and one with first weights that spoil it."""
    small = (
        "--max_number 1 --min_seq_len 1 --max_seq_len 3 --hidden_dim 16 --total_steps 1200 "
        "--lr 0.01 --eval_every 300"
    )
    monkeypatch.chdir(tmp_path)
    healthy = {"healthy": RunCase(small), "asked": RunCase(small, asked_length=3)}
    monkeypatch.setattr(doctor_self_test, "HEALTHY_RUNS", healthy)
    faults = {
        "saturated-units": RunCase(f"{small} --lr 1e-4 --min_lr 0", scale=0.0, shift=50.0),
    }
    monkeypatch.setattr(doctor_self_test, "RUN_FAULTS", faults)
    monkeypatch.setattr(doctor_self_test, "MODULE_FAULTS", {})
    for name in ("DATA_CASES", "LOOP_CASES", "GOOD_MODULES"):
        monkeypatch.setattr(doctor_self_test, name, {})
    assert diagnose.main(["--self_test", "--num_seeds", "1", "--json", "doctor.json"]) == 0
    assert "ok  saturated-units" in capsys.readouterr().out
    result = json.loads((tmp_path / "doctor.json").read_text())
    assert result["rows"]["saturated-units"]["found"] == {"saturated-units": 1}
    assert result["rows"]["healthy"]["found"] == result["rows"]["asked"]["found"] == {}
    assert len(list(tmp_path.glob("output/experiments/*"))) == 2  # one run serves both
    monkeypatch.setattr(run_faults, "launch", None)  # nothing is trained again
    assert diagnose.main(["--self_test", "--num_seeds", "1", "--json", "doctor.json"]) == 0


def test_a_missed_fault_and_a_false_alarm_make_the_self_test_fail(tmp_path, monkeypatch, capsys):
    fever = Finding("fever", "39 °C", "ill", "rest", "certain")
    cases = {
        "found": Trial("w", "fever", lambda seed: [fever]),
        "missed": Trial("w", "fever", lambda seed: [fever] if seed else []),
        "false alarm": Trial("w", None, lambda seed: [fever]),
    }
    monkeypatch.setattr(diagnose, "all_cases", lambda: cases)
    path = tmp_path / "doctor.json"
    assert diagnose.main(["--self_test", "--num_seeds", "2", "--json", str(path)]) == 1
    marks = [line[:3] for line in capsys.readouterr().out.splitlines()]
    assert marks == ["ok ", "BAD", "BAD"]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.table("doctor").splitlines()[2:] == [
        "| found | w | fever | fever 2/2 |",
        "| missed | w | fever | fever 1/2 |",
        "| false alarm | w | none | fever 2/2 |",
    ]


def test_every_case_has_a_finding_or_is_healthy():
    cases = all_cases()
    assert len(cases) > 60
    assert sum(case.expected is None for case in cases.values()) >= 9
    names = {name for case in cases.values() if (name := case.expected)}
    known = {*doctor_self_test.RUN_FAULTS, *doctor_self_test.MODULE_FAULTS}
    assert names >= known | {"shifted-labels", "duplicated-workers", "shared-stream"}


@pytest.mark.parametrize("name", doctor_self_test.GOOD_MODULES)
def test_nothing_is_found_in_a_good_module(name):
    assert run_self_test({name: all_cases()[name]}, 1, 1)["rows"][name]["found"] == {}


def test_the_committed_matrix_has_every_case_and_each_as_the_tutorial_says():
    result = read_json(tables.RESULTS / "doctor.json")
    assert result["num_seeds"] >= 5 and result["rows"].keys() == all_cases().keys()
    for name, row in result["rows"].items():
        assert doctor_self_test.is_as_expected(row, result["num_seeds"]), name


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
