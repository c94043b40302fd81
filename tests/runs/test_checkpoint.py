"""Checkpoints: what is saved comes back, and nothing in a file is ever executed."""

import argparse
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import recorded_hashes

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial import certify, evaluate
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.runs.checkpoint import load_checkpoint, save_checkpoint
from rnn_tutorial.tasks.choose import load_task

ARGUMENTS = {"vocab_size": 10, "embed_dim": 3, "hidden_dim": 4, "num_layers": 2, "cls_num": 10}
CONFIG = {"min_seq_len": 2, "max_seq_len": 5, "max_number": 9}
TASK = {"kind": "digit sum", **CONFIG}


class Payload:
    """Pickles into a call that makes a file."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


def save(folder, model, /, **changes):
    content = {
        "step": 7,
        "task": TASK,
        "model": ARGUMENTS,
        "weights": model.state_dict(),
        "config": CONFIG,
        "run_id": "7c" * 16,
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "evaluation": {"accuracy": 0.5},
        "history": {"exact_streak": 2},
        "elapsed_seconds": 1.5,
    }
    path = folder / "model_step_7.pt"
    save_checkpoint(path, **content | changes)
    return path


def publish(folder, model, write_args=torch.save, **changes):
    """A run in the layout of the published scripts."""
    write_args(argparse.Namespace(**CONFIG | {"warmup_step": 100.0} | changes), folder / "args.pt")
    torch.save(model.state_dict(), folder / "model_step_20.pt")
    return folder / "model_step_20.pt"


def pickle_dump(value, path):
    path.write_bytes(pickle.dumps(value))


def test_what_is_saved_comes_back(tmp_path):
    model = RnnClsNet(**ARGUMENTS)
    path = save(tmp_path, model)
    assert [path.name for path in tmp_path.iterdir()] == ["model_step_7.pt"]
    checkpoint = load_checkpoint(path)
    assert (checkpoint.step, checkpoint.config, checkpoint.elapsed_seconds) == (7, CONFIG, 1.5)
    assert checkpoint.evaluation == {"accuracy": 0.5}
    assert checkpoint.history == {"exact_streak": 2}
    rebuilt = load_model(checkpoint).state_dict()
    assert all(torch.equal(rebuilt[name], value) for name, value in model.state_dict().items())


def test_the_file_holds_tensors_and_plain_values_only(tmp_path):
    content = torch.load(save(tmp_path, RnnClsNet(**ARGUMENTS)), weights_only=True)
    assert set(content["weights"]) == set(RnnClsNet(**ARGUMENTS).state_dict())


def write_bytes(content):
    return lambda path, tmp: path.write_bytes(content)


def truncate(path, tmp):
    whole = save(tmp, RnnClsNet(**ARGUMENTS)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def repeat(path, tmp):
    """Sixty lists, each of which holds the one before twice: 2⁶⁰ values, written out."""
    content = torch.load(save(tmp, RnnClsNet(**ARGUMENTS)), weights_only=True)
    for key in ("format", "config"):
        content[key] = [content[key]]
        for _ in range(60):
            content[key] = [content[key]] * 2
    torch.save(content, path)


def enclose(path, tmp):
    content = torch.load(save(tmp, RnnClsNet(**ARGUMENTS)), weights_only=True)
    content["config"]["self"] = content
    torch.save(content, path)


BAD_FILES = {
    "empty": write_bytes(b""),
    "text": write_bytes(b"hello world"),
    "truncated": truncate,
    "lists within lists": repeat,
    "a file that holds itself": enclose,
    "a tensor": lambda path, tmp: torch.save(torch.zeros(3), path),
    "another dict": lambda path, tmp: torch.save({"format": "other"}, path),
    "fields missing": lambda path, tmp: torch.save(
        {"format": "rnn_tutorial checkpoint 1", "step": 1}, path
    ),
    "a folder": lambda path, tmp: path.mkdir(),
    "absent": lambda path, tmp: None,
    "a model": lambda path, tmp: torch.save(RnnClsNet(**ARGUMENTS), path),
    "torchscript": lambda path, tmp: torch.jit.save(
        torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), path
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is old, its files exist
@pytest.mark.parametrize("kind", BAD_FILES)
def test_damaged_and_foreign_files_are_refused_in_one_sentence(tmp_path, kind):
    path = tmp_path / "model_step_1.pt"
    BAD_FILES[kind](path, tmp_path)
    with pytest.raises(ValueError, match=r"model_step_1\.pt") as refused:
        load_checkpoint(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize("layout", ["zip", "zip in weights", "old torch", "raw pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, layout):
    path, made = tmp_path / "model_step_1.pt", tmp_path / "pwned"
    payload = Payload(made)
    if layout == "zip":
        torch.save(payload, path)
    elif layout == "zip in weights":
        content = torch.load(save(tmp_path, RnnClsNet(**ARGUMENTS)))
        torch.save(content | {"evaluation": {"accuracy": payload}}, path)
    elif layout == "old torch":
        torch.save({"a": payload}, path, _use_new_zipfile_serialization=False)
    else:
        pickle_dump(payload, path)
    with pytest.raises(ValueError, match=r"refused|damaged"):
        load_checkpoint(path)
    assert not made.exists()
    pickle.loads(pickle.dumps(payload))  # the payload is live: executed, it does its work
    assert made.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ARGUMENTS | {"hidden_dim": 5}},
        {"model": ARGUMENTS | {"num_layers": 1}},
        *({"model": ARGUMENTS | {name: 10**12}} for name in ("embed_dim", "cls_num")),
        {"model": {"hidden_dim": 5}},
        {"weights": {}},
        {"weights": None},
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match=r"do not fit|is damaged: "):
        load_model(load_checkpoint(save(tmp_path, RnnClsNet(**ARGUMENTS), **changes)))


@pytest.mark.parametrize(
    "task",
    [
        *(None, {}, {"kind": "digit sum"}, TASK | {"kind": "another"}, TASK | {"kind": []}),
        *(TASK | {"max_number": 4}, TASK | {"max_seq_len": "5"}, TASK | {"min_seq_len": 6}),
        {"kind": "labelled files", "tokens": ["a"] * 10, "classes": [1] * 10, **CONFIG},
        {"kind": "labelled files", "tokens": 3, "classes": [], "fingerprint": "", **CONFIG},
    ],
)
def test_a_task_that_does_not_fit_is_refused(tmp_path, task):
    with pytest.raises(ValueError, match=r"is damaged: (task|weights|its model)|'args' lacks"):
        load_task(load_checkpoint(save(tmp_path, RnnClsNet(**ARGUMENTS), task=task)))


@pytest.mark.parametrize("write_args", [torch.save, pickle_dump])
def test_a_run_of_the_published_scripts_is_loaded(tmp_path, write_args):
    model = RnnClsNet(**ARGUMENTS)
    checkpoint = load_checkpoint(publish(tmp_path, model, write_args))
    assert checkpoint.step == 20 and checkpoint.config.items() >= CONFIG.items()
    assert checkpoint.model == ARGUMENTS and checkpoint.evaluation is None
    assert torch.equal(load_model(checkpoint).logits([1, 2, 3]), model.logits([1, 2, 3]))


def test_published_weights_without_their_settings_are_refused(tmp_path):
    path = publish(tmp_path, RnnClsNet(**ARGUMENTS))
    (tmp_path / "args.pt").unlink()
    with pytest.raises(ValueError, match=r"args\.pt.*missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "changes", [{"max_number": 4}, {"max_number": "9"}, {"min_seq_len": 0}, {"max_seq_len": None}]
)
def test_published_settings_that_do_not_fit_are_refused(tmp_path, changes):
    path = publish(tmp_path, RnnClsNet(**ARGUMENTS), **changes)
    with pytest.raises(ValueError, match=r"is damaged: (task|weights|its model)|'args' lacks"):
        load_task(load_checkpoint(path))


@pytest.mark.parametrize("write_args", [torch.save, pickle_dump])
@pytest.mark.parametrize("inside", [True, False])
def test_published_settings_that_would_run_code_are_refused(tmp_path, write_args, inside):
    made = tmp_path / "pwned"
    path = publish(tmp_path, RnnClsNet(**ARGUMENTS))
    payload = argparse.Namespace(x=Payload(made)) if inside else Payload(made)
    write_args(payload, Path(tmp_path, "args.pt"))
    with pytest.raises(ValueError, match=r"args\.pt.*refused.*mkdir"):
        load_checkpoint(path)
    assert not made.exists()


@pytest.mark.parametrize("settings", [{"max_number": 9}, argparse.ArgumentParser, 3])
def test_published_settings_of_another_kind_are_refused(tmp_path, settings):
    path = publish(tmp_path, RnnClsNet(**ARGUMENTS))
    pickle_dump(settings, tmp_path / "args.pt")
    with pytest.raises(ValueError, match=r"args\.pt"):
        load_checkpoint(path)


@pytest.mark.parametrize("pickled", [b"\x80\x04\x95" + b"\xff" * 8, b"\x8e" + b"\xff" * 8])
def test_published_settings_of_an_impossible_size_are_refused(tmp_path, pickled):
    path = publish(tmp_path, RnnClsNet(**ARGUMENTS))
    Path(tmp_path, "args.pt").write_bytes(pickled)
    with pytest.raises(ValueError, match=r"args\.pt.* is refused"):
        load_checkpoint(path)


# ---- files of format 1 ----

FORMAT_1 = Path(__file__).with_name("format_1")


def test_a_checkpoint_of_format_1_says_what_it_learned():
    checkpoint = load_checkpoint(FORMAT_1 / "digits" / "model_step_20.pt")
    task = load_task(checkpoint)
    assert checkpoint.history["best_step"] == 20 and len(task.tokens) == 5
    assert task.trained_lengths == range(2, 5) and task.machine.answer_one([4, 4]) == 3
    words = load_task(load_checkpoint(FORMAT_1 / "sentences" / "model_step_20.pt"))
    assert words.classes == ["bird", "cat", "dog", "fox"] and words.machine is None
    assert words.tokens[0] == "<unk>" and words.trained_lengths == range(5, 15)


@pytest.mark.parametrize("run", ["digits", "sentences"])
def test_a_run_of_format_1_is_resumed_to_the_same_weights(run, tmp_path, monkeypatch):
    shutil.copytree(FORMAT_1, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert train_cls_rnn.main(["--resume", run]) == 0
    result = json.loads(Path(run, "result.json").read_text())
    assert result["run_id"]  # it had none
    expected = torch.load(FORMAT_1 / f"{run}.weights.pt", weights_only=True)
    weights = load_checkpoint(Path(run, result["checkpoint"])).weights
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6)
    if hashes := recorded_hashes():
        assert result["weights_hash"] == hashes[f"format 1, {run}"]


def test_a_net_of_format_1_answers_is_evaluated_and_proved(tmp_path, capsys, monkeypatch):
    shutil.copytree(FORMAT_1, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert predict_cls_rnn.main(["--save_dir", "proved", "--input", "1 1 1"]) == 0
    assert "1 1 1 -> 1 " in capsys.readouterr().out
    sentence = "the fox heard the cat"
    assert predict_cls_rnn.main(["--save_dir", "sentences", "--input", sentence]) == 0
    assert f"{sentence} -> " in capsys.readouterr().out
    assert evaluate.main(["proved", "--lengths", "100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact"]["num_wrong"] == 0
    assert evaluate.main(["sentences"]) == 0
    assert certify.main(["proved", "--check"]) == 0
    Path("proved", "model_step_4000.certificate.npz").unlink()
    assert certify.main(["proved"]) == 0
    assert "PROVED" in capsys.readouterr().out
