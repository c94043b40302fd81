"""Checkpoints: what is saved comes back, and nothing in a file is ever executed."""

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.checkpoint import load_checkpoint, save_checkpoint

ARGUMENTS = {"vocab_size": 10, "embed_dim": 3, "hidden_dim": 4, "num_layers": 2, "cls_num": 10}
CONFIG = {"min_seq_len": 2, "max_seq_len": 5, "max_number": 9}


class Payload:
    """Pickles into a call that makes a file."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


def save(folder, model, /, **changes):
    content = {
        "model": ARGUMENTS,
        "weights": model.state_dict(),
        "config": CONFIG,
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "evaluation": {"accuracy": 0.5},
        "standing": {"exact_streak": 2},
        "elapsed_seconds": 1.5,
    }
    return save_checkpoint(folder, 7, **content | changes)


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
    assert checkpoint.standing == {"exact_streak": 2}
    rebuilt = checkpoint.build_model().state_dict()
    assert all(torch.equal(rebuilt[name], value) for name, value in model.state_dict().items())


def test_the_file_holds_tensors_and_plain_values_only(tmp_path):
    content = torch.load(save(tmp_path, RnnClsNet(**ARGUMENTS)), weights_only=True)
    assert set(content["weights"]) == set(RnnClsNet(**ARGUMENTS).state_dict())


def write_bytes(content):
    return lambda path, tmp: path.write_bytes(content)


def truncate(path, tmp):
    whole = save(tmp, RnnClsNet(**ARGUMENTS)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


BAD_FILES = {
    "empty": write_bytes(b""),
    "text": write_bytes(b"hello world"),
    "truncated": truncate,
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
        save(tmp_path, RnnClsNet(**ARGUMENTS), evaluation={"accuracy": payload}).rename(path)
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
        {"model": {"hidden_dim": 5}},
        {"weights": {}},
        {"weights": None},
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match="do not fit"):
        load_checkpoint(save(tmp_path, RnnClsNet(**ARGUMENTS), **changes)).build_model()


@pytest.mark.parametrize(
    "config", [None, {}, CONFIG | {"max_number": 4}, CONFIG | {"max_seq_len": "5"}]
)
def test_settings_that_do_not_fit_are_refused(tmp_path, config):
    with pytest.raises(ValueError, match="do not fit its weights"):
        load_checkpoint(save(tmp_path, RnnClsNet(**ARGUMENTS), config=config))


@pytest.mark.parametrize("write_args", [torch.save, pickle_dump])
def test_a_run_of_the_published_scripts_is_loaded(tmp_path, write_args):
    model = RnnClsNet(**ARGUMENTS)
    checkpoint = load_checkpoint(publish(tmp_path, model, write_args))
    assert checkpoint.step == 20 and checkpoint.config.items() >= CONFIG.items()
    assert checkpoint.model == ARGUMENTS and checkpoint.evaluation is None
    assert torch.equal(checkpoint.build_model().score([1, 2, 3]), model.score([1, 2, 3]))


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
    with pytest.raises(ValueError, match="do not fit its weights"):
        load_checkpoint(path)


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
