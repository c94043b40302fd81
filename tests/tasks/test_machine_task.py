"""Any machine as a task: its sequences, its words, and a run that stops when it is proved."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import kill_when, run_here

import train_cls_rnn
from rnn_tutorial import certify, evaluate
from rnn_tutorial.machines.choose import find_machine
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.library import LIBRARY
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.choose import load_task, make_task
from rnn_tutorial.tasks.reading import NameReader

# A net that is proved within a few seconds, by updates that leave time to be killed between two.
PROVED = (
    *("--engine", "autograd"),
    *("--task", "tomita_1", "--recipe", "certified", "--hidden_dim", 16, "--batch_size", 64),
    *("--total_steps", 500, "--warmup_step", 50, "--eval_every", 50, "--save_every", 50),
    *("--tracker", "disabled"),
)


def task_of(name, **settings):
    return make_task(TrainConfig.from_flags({"task": name, "sampling": "varied", **settings}))


def train(*arguments):
    return train_cls_rnn.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("name", LIBRARY)
def test_training_samples_are_labelled_as_the_machine_answers(name):
    for sampling in ("uniform", "varied"):
        task = task_of(name, sampling=sampling, min_seq_len=1, max_seq_len=9)
        batches = task.dataset.draw_batches(3, 4, 25)
        for x, length, target in zip(
            batches.x.flatten(0, 1).tolist(),
            batches.seq_lengths.flatten().tolist(),
            batches.targets.flatten().tolist(),
            strict=True,
        ):
            assert x[length:] == [len(task.tokens)] * (9 - length)
            assert target == task.machine.answer_one(x[:length])
        again = task_of(name, sampling=sampling, min_seq_len=1, max_seq_len=9).dataset
        assert torch.equal(again.draw_batches(4, 2, 25).x, batches.x[1:3])


@pytest.fixture(scope="module")
def proved_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proved")
    assert train(*PROVED, "--save_dir", folder) == 0
    return folder / "tomita_1-certified"


def test_a_run_stops_when_it_is_proved_and_leaves_a_certificate(proved_run, capsys):
    result = json.loads((proved_run / "result.json").read_text())
    assert result["steps"] < 500 and result["wrong_inputs"] == 0
    assert result["proof"]["abstract_states"] >= 3 and result["proof"]["smallest_margin"] > 0
    metrics = [json.loads(line) for line in (proved_run / "metrics.jsonl").read_text().splitlines()]
    tried = {row["step"]: row["proved"] for row in metrics if "proved" in row}
    assert tried[result["steps"]] and not any(list(tried.values())[:-1])
    assert certify.main([str(proved_run), "--check"]) == 0
    claim = "right by the rule of tomita_1 for every sequence of 0, 1, of every length"
    assert f"CHECKED: {claim}" in capsys.readouterr().out


def test_whoever_looks_the_weights_are_the_same(proved_run, tmp_path):
    steps = json.loads((proved_run / "result.json").read_text())["steps"]
    assert train(*PROVED, "--save_dir", tmp_path, "--no-stop_when_proved") == 0
    same_step = tmp_path / "tomita_1-certified" / f"model_step_{steps}.pt"
    weights = load_checkpoint(proved_run / same_step.name).weights
    for name, values in load_checkpoint(same_step).weights.items():
        assert torch.equal(values, weights[name])


def test_a_killed_run_that_stops_when_proved_ends_with_the_same_bits(
    proved_run, tmp_path, start_script
):
    process = start_script("train_cls_rnn.py", *PROVED, "--save_dir", tmp_path, cwd=tmp_path)
    run = tmp_path / "tomita_1-certified"
    kill_when(lambda: list(run.glob("model_step_*.pt")), process)
    assert not (run / "result.json").exists()
    assert train("--resume", run, "--tracker", "disabled") == 0
    steps = json.loads((proved_run / "result.json").read_text())["steps"]
    assert json.loads((run / "result.json").read_text())["steps"] == steps
    names = f"model_step_{steps}.pt", f"model_step_{steps}.certificate.npz"
    first, second = (load_checkpoint(folder / names[0]).weights for folder in (proved_run, run))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (run / names[1]).exists()


@pytest.mark.parametrize("lost", ["*.certificate.npz", "nothing"])
def test_a_run_that_was_killed_before_its_result_finds_its_proof_again(
    lost, proved_run, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(proved_run, run)
    for path in [run / "result.json", *run.glob(lost)]:
        path.unlink()
    assert train("--resume", run, "--tracker", "disabled") == 0
    printed = capsys.readouterr().out
    assert "PROVED: right by the rule of tomita_1 for every sequence of 0, 1, of" in printed
    results = [json.loads((folder / "result.json").read_text()) for folder in (proved_run, run)]
    assert results[0]["proof"] == results[1]["proof"] and results[1]["proof"]
    assert certify.main([str(run), "--check"]) == 0


def test_a_run_that_is_not_proved_says_so(tmp_path, capsys):
    flags = ("--total_steps", 20, "--warmup_step", 5, "--eval_every", 10)
    assert train(*PROVED, *flags, "--save_dir", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "NOT PROVED in 20 updates: " in printed and "machines/README.md#not-proved" in printed
    assert json.loads(next(tmp_path.glob("*/result.json")).read_text())["proof"] is None


def test_a_machine_that_is_too_large_for_a_proof_is_trained_all_the_same(tmp_path, capsys):
    names = [f"s{i}" for i in range(6000)]
    states = {
        name: {"class": "yes", "next": {"a": names[i + 1] if i < 5999 else name}}
        for i, name in enumerate(names)
    }
    states["s5999"]["class"] = "no"
    machine = {"tokens": ["a"], "classes": ["yes", "no"], "start": "s0", "states": states}
    (tmp_path / "long.json").write_text(json.dumps(machine))
    flags = ("--task", tmp_path / "long.json", "--recipe", "certified", "--hidden_dim", 4)
    flags += ("--total_steps", 600, "--batch_size", 16, "--tracker", "disabled", "--embed_dim", 2)
    assert train(*flags, "--save_dir", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "No sequence of these lengths is no." in printed
    assert "NOT PROVED in 600 updates: a machine of 6,000 states and 1 tokens is too" in printed
    run = tmp_path / "long-certified"
    assert evaluate.main([str(run), "--automaton"]) == 0
    assert evaluate.main([str(run), "--lengths", "10", "--json"]) == 0
    with pytest.raises(SystemExit):
        evaluate.main([str(run), "--max_len", "1000000000"])


EDITED = {
    "another machine": (lambda task: task["classes"].reverse(), "not that of --task 'tomita_1'"),
    "huge": (lambda task: task["successors"][0].__setitem__(0, 10**30), "successors"),
    "no such state": (lambda task: task["outputs"].__setitem__(0, 9), "output"),
    "ragged": (lambda task: task["successors"][0].pop(), "a successor for each token"),
    "a name": (lambda task: task["tokens"].__setitem__(0, "\x1b[2J"), "control character"),
}


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_machine_in_a_checkpoint_is_refused(name, proved_run):
    edit, reason = EDITED[name]
    checkpoint = load_checkpoint(max(proved_run.glob("model_step_*.pt")))
    edit(checkpoint.task)
    with pytest.raises(ValueError, match=reason):
        load_task(checkpoint)


def test_a_pattern_that_ends_like_a_files_name_is_a_pattern(proved_run):
    checkpoint = load_checkpoint(max(proved_run.glob("model_step_*.pt")))
    checkpoint.config["task"] = "regex:(0|1)*.json"
    with pytest.raises(ValueError, match=r"machine is not that of --task 'regex:\(0\|1\)\*.json'"):
        load_task(checkpoint)


def test_the_commands_speak_of_tokens_and_classes_by_name(proved_run, capsys):
    assert evaluate.main([str(proved_run), "--lengths", "500", "--max_len", "8"]) == 0
    assert "All 510 inputs up to length 8: 0 wrong" in capsys.readouterr().out
    assert evaluate.main([str(proved_run), "--automaton"]) == 0
    printed = capsys.readouterr().out
    assert "  0: 1 rejected 0 accepted\n" in printed and "The table is the machine's" in printed
    done = run_here(
        "predict_cls_rnn.py", "--save_dir", proved_run, cwd=proved_run, text="111\n1 0 1\n12\n"
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("1 1 1 -> accepted with probability") and first.endswith("accepted ✓")
    assert second.startswith("1 0 1 -> rejected")
    assert "proved for every length" in done.stderr
    assert "line 3: '2' is not one of the tokens 0, 1" in done.stderr
    done = run_here(
        "predict_cls_rnn.py", "--save_dir", proved_run, "--json", "--input", "1,0", cwd=proved_run
    )
    answer = json.loads(done.stdout)
    assert answer["input"] == ["1", "0"] and answer["prediction"] == answer["target"] == "rejected"


def test_a_checkpoint_carries_its_machine(tmp_path):
    machine = {
        "tokens": ["go", "halt"], "classes": ["runs", "stands"], "start": "moving",
        "states": {
            "moving": {"class": "runs", "next": {"go": "moving", "halt": "standing"}},
            "standing": {"class": "stands", "next": {"go": "standing", "halt": "standing"}},
            "lost": {"class": "runs", "next": {"go": "lost", "halt": "lost"}},
        },
    }  # fmt: skip
    path = tmp_path / "stop.json"
    path.write_text(json.dumps(machine))
    flags = ("--total_steps", 20, "--tracker", "disabled", "--save_every", 10, "--eval_every", 10)
    assert train("--task", path, *flags, "--save_dir", tmp_path, "--max_seq_len", 4) == 0
    checkpoint = load_checkpoint(tmp_path / "stop-baseline" / "model_step_20.pt")
    path.unlink()
    task = load_task(checkpoint)
    assert task.tokens == ("go", "halt") and task.classes == ("runs", "stands")
    assert task.machine.num_states == 2 and task.record == checkpoint.task
    assert task.reader.read("go, halt go").ids.tolist() == [0, 1, 0]
    for content, has_changed in ((machine, False), (machine | {"start": "standing"}, True)):
        path.write_text(json.dumps(content))
        task = load_task(checkpoint)
        assert task.claim.endswith("stop.json has changed since") == has_changed
        assert task.trained_on.endswith("stop.json has changed since") == has_changed


def test_a_resumed_run_refuses_a_machine_that_has_changed(tmp_path, capsys):
    path = tmp_path / "letter.json"
    machine = {
        "tokens": ["a"], "classes": ["no", "yes"], "start": "s",
        "states": {"s": {"class": "no", "next": {"a": "s"}}},
    }  # fmt: skip
    path.write_text(json.dumps(machine))
    flags = ("--total_steps", 20, "--tracker", "disabled", "--save_dir", tmp_path)
    assert train("--task", path, *flags, "--engine", "autograd", "--hidden_dim", 4) == 0
    run = tmp_path / "letter-baseline"
    machine["states"]["s"]["class"] = "yes"
    path.write_text(json.dumps(machine))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        train("--resume", run)
    assert stopped.value.code == 2
    assert f"--task {str(path)!r} has changed since" in capsys.readouterr().err
    path.unlink()
    with pytest.raises(SystemExit) as stopped:
        train("--resume", run)
    assert stopped.value.code == 2
    assert "give its new place: --resume RUN_DIR --task FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--task", "pariti"), "--task 'pariti' is not one of sum, parity, "),
        (("--task", "regex:(a"), "--task 'regex:(a': "),
        (("--task", "none.json"), "none.json"),
        (("--task", "parity", "--max_number", "4"), "--max_number 4 applies only to --task sum"),
        (("--task", "parity", "--train_file", "x.tsv"), "--task parity cannot be combined with"),
        (("--task", "Parity"), "did you mean 'parity'?"),
        (("--task", "(ab)*"), "did you mean 'regex:(ab)*'?"),
        (
            ("--stop_when_proved", "--early_stopping_patience", "3"),
            "--early_stopping_patience 3 cannot be combined with --stop_when_proved",
        ),
        (("--sampling", "random"), "--sampling 'random' is not one of auto, uniform, varied"),
        (
            ("--stop_when_proved", "--cell", "lstm"),
            "--stop_when_proved needs a tanh RNN or a GRU of one direction",
        ),
        (
            ("--recipe", "certified", "--bidirectional"),
            "--recipe certified trains until the network is proved, which needs a tanh RNN or",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(flags, sentence, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        train(*flags, "--save_dir", tmp_path)
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert stopped.value.code == 2 and sentence in line and not printed.out
    assert not list(tmp_path.iterdir())


def test_tasks_are_listed_with_examples_that_are_right(capsys):
    with pytest.raises(SystemExit):
        train("--list_tasks")
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in LIBRARY) and printed.startswith("sum ")
    for name, entry in LIBRARY.items():
        machine, _ = find_machine(name)
        ids = [NameReader(machine.tokens).read(example).ids for example in entry.examples]
        assert len({machine.answer_one(one) for one in ids}) == 2


def test_names_of_tokens_are_read_with_and_without_spaces():
    reader = NameReader(("0", "1", "2", "3", "4", "+", "-", "×"))
    assert reader.read("2+3*4 − 1").ids.tolist() == [2, 5, 3, 7, 4, 6, 1]
    words = NameReader(("stay", "right"))
    assert words.read("right,stay right").ids.tolist() == [1, 0, 1]
    for text, sentence in (
        ("", "the input is empty; give at least one of the tokens stay, right"),
        ("rightstay", "'rightstay' is not one of the tokens stay, right"),
    ):
        with pytest.raises(ValueError, match=sentence):
            words.read(text)
    questions = words.read_lines("stay\n\nright left\nright stay\n")
    assert questions.ids.tolist() == [0, 1, 0] and questions.lines.tolist() == [0, 3]
    assert list(questions.refusals) == [1, 2]


def test_the_shares_of_the_classes_are_those_of_all_sequences():
    machine, _ = find_machine("tomita_4")
    accepted = [sum("000" not in f"{i:0{n}b}" for i in range(2**n)) / 2**n for n in (3, 4, 5)]
    assert machine.class_shares(range(3, 6)) == pytest.approx(
        [1 - np.mean(accepted), np.mean(accepted)]
    )
    few = SumModulo(3)
    successors, outputs = few.tables()
    table = Machine(few.tokens, few.classes, successors, outputs)
    assert few.class_shares(range(1, 4)) == pytest.approx(table.class_shares(range(1, 4)))
    assert SumModulo(65_535).class_shares(range(1, 3)).sum() == pytest.approx(1)  # without a table


def test_an_evaluation_of_an_earlier_version_is_described_without_classes():
    task = task_of("parity", min_seq_len=1, max_seq_len=3)
    model = train_cls_rnn.make_model(TrainConfig(hidden_dim=4, device="cpu"), 2, 2)
    evaluation = replace(task.evaluate(model), accuracy_by_class=None)
    assert not any("by class" in line for line in task.describe_results(model, evaluation))


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    task = task_of("tomita_1", min_seq_len=1, max_seq_len=5)
    model = train_cls_rnn.make_model(TrainConfig(hidden_dim=4, device="cpu"), 2, 2)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.tensor([1.0, 0.0]))  # always "rejected"
    evaluation = task.evaluate(model)
    assert evaluation.accuracy_by_class == {"rejected": 1.0, "accepted": 0.0}
    assert evaluation.balanced_accuracy == 0.5 and evaluation.num_wrong == 5
    guessed = np.mean([1 - 0.5**n for n in range(1, 6)])
    assert evaluation.accuracy == pytest.approx(guessed)
    assert f"chance is an accuracy of {guessed:.1%} (always 'rejected')" in task.introduce()
    lines = task.describe_results(model, evaluation)
    balanced = "100.00% of rejected, 0.00% of accepted; class-balanced 50.00%"
    assert f"Accuracy by class: {balanced}" in lines
    assert not any(line.startswith("Not judged") for line in lines)
    sampled = replace(evaluation, accuracy_by_class={"rejected": 1.0})
    absent = "Not judged, because none of their inputs was scored: accepted"
    assert absent in task.describe_results(model, sampled)
