"""The choices of a training: each does what it says, is resumed to the same bits, or is refused."""

import json

import pytest
import torch
from conftest import TRAIN_QUICKLY

import train_cls_rnn
from rnn_tutorial.checkpoint import load_checkpoint, load_run
from rnn_tutorial.config import SCHEDULERS, TrainConfig
from rnn_tutorial.exact import evaluate
from rnn_tutorial.schedule import Standing, learning_rate


def train(folder, *flags):
    """Run the script's main in this process, in a run folder of its own; returns the folder."""
    arguments = [*TRAIN_QUICKLY, "--save_dir", folder, "--run_name", "run", *flags]
    assert train_cls_rnn.main([str(argument) for argument in arguments]) == 0
    return folder / "run"


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        train_cls_rnn.main([str(argument) for argument in arguments])
    (sentence,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    return sentence


def final_weights(run):
    return load_checkpoint(run / f"model_step_{read_result(run)['steps']}.pt").weights


def read_result(run):
    return json.loads((run / "result.json").read_text())


def read_metrics(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "steps_per_second": None} for line in lines]


PLATEAU = ("--scheduler", "plateau", "--plateau_patience", 1, "--eval_every", 2, "--min_lr", 0)


@pytest.mark.parametrize(
    "flags",
    [
        ("--optimizer", "adam", "--weight_decay", 0.1),
        ("--optimizer", "adamw", "--weight_decay", 0.1),
        ("--optimizer", "sgd", "--momentum", 0.9, "--lr", 0.1),
        ("--optimizer", "rmsprop", "--momentum", 0.5),
        ("--scheduler", "step", "--lr_step_every", 7),
        PLATEAU,
        (*PLATEAU, "--engine", "compiled"),
        ("--early_stopping_patience", 4, "--eval_every", 2, "--lr", 0.02),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
def test_resumed_it_gives_the_same_bits(flags, tmp_path):
    run = train(tmp_path, *flags, "--save_every", 5, "--total_steps", 60)
    weights, metrics, result = final_weights(run), read_metrics(run), read_result(run)
    others = [path for path in run.glob("model_step_*.pt") if path.name != "model_step_15.pt"]
    assert len(others) >= 3
    for path in (run / "result.json", *others):
        path.unlink()
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert read_metrics(run) == metrics
    assert read_result(run)["steps"] == result["steps"]
    for name, value in final_weights(run).items():
        assert torch.equal(value, weights[name]), name


# ---- optimizer ----


def test_decay_within_the_gradient_and_apart_from_it(tmp_path):
    """Adam divides a decay in the gradient away; apart from it, it shrinks every weight."""
    sizes = {}
    for optimizer in ("adam", "adamw"):
        flags = ("--optimizer", optimizer, "--weight_decay", 50, "--lr", 0.01)
        weights = final_weights(train(tmp_path / optimizer, *flags))
        sizes[optimizer] = weights["rnn.weight_hh_l0"].norm().item()
    assert sizes["adamw"] < sizes["adam"] / 10


@pytest.mark.parametrize(
    "flags", [("--optimizer", "sgd"), ("--optimizer", "rmsprop"), ("--weight_decay", 0.1)]
)
def test_only_adamw_is_compiled(flags, tmp_path, capsys):
    """Automatically it is autograd then, and the screen says why."""
    train(tmp_path, *flags, "--engine", "auto")
    first_line = capsys.readouterr().out.splitlines()[0]
    assert "engine autograd (compiled would be faster, but its optimizer is adamw" in first_line
    sentence = refusal(capsys, *flags, "--engine", "compiled", "--save_dir", tmp_path)
    assert "--engine 'compiled' cannot be used: its optimizer is adamw, or adam wit" in sentence


# ---- schedule ----


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("engine", ["autograd", "compiled"])
def test_the_scheduler_sets_the_rate_of_the_updates(scheduler, engine, tmp_path):
    flags = ("--total_steps", 12, "--warmup_step", 4, "--scheduler", scheduler)
    flags += ("--eval_every", 2, "--log_every", 1, "--engine", engine, "--lr", 0.01)
    if scheduler in ("step", "plateau"):
        flags += ("--lr_factor", 0.1)
    run = train(tmp_path, *flags)
    metrics = read_metrics(run)
    config, standing = TrainConfig(**json.loads((run / "config.json").read_text())), Standing()
    for record in metrics:
        if "accuracy" in record:
            standing.observe(config, record["step"], record["accuracy"], record["wrong_inputs"])
        assert record["current_lr"] == learning_rate(config, record["step"], standing)
    state = load_checkpoint(run / "model_step_12.pt").optimizer
    assert state["param_groups"][0]["lr"] == metrics[-2]["current_lr"]


def test_the_plateau_slows_a_run_that_does_not_improve(tmp_path):
    """At a rate that moves nothing, no evaluation is better than the first."""
    flags = ("--lr", 1e-9, "--min_lr", 1e-11, "--scheduler", "plateau", "--lr_factor", 0.1)
    run = train(tmp_path, *flags, "--plateau_patience", 2, "--eval_every", 5, "--log_every", 5)
    rates = [record["current_lr"] for record in read_metrics(run)]
    expected = [1e-9] * 3 + [1e-10] * 2 + [1e-11] * 4  # step 1, 5, 10, …, 40
    assert rates == pytest.approx(expected)


def test_a_run_whose_evaluations_count_keeps_their_steps(tmp_path, capsys):
    run = train(tmp_path, *PLATEAU)
    (run / "result.json").unlink()
    capsys.readouterr()
    sentence = refusal(capsys, "--resume", run, "--eval_every", 3)
    assert "--eval_every 3 differs from the resumed run's 2" in sentence


# ---- early stopping ----


def test_it_stops_early_and_the_best_checkpoint_is_kept_named_and_used(tmp_path, capsys):
    flags = ("--early_stopping_patience", 3, "--eval_every", 5, "--lr", 0.02)
    run = train(tmp_path, *flags, "--total_steps", 3000, "--save_every", 0)
    printed = capsys.readouterr().out
    accuracies = {r["step"]: r["accuracy"] for r in read_metrics(run) if "accuracy" in r}
    best_step = max(accuracies, key=accuracies.get)  # the first of equals
    result = read_result(run)
    assert result["steps"] == best_step + 3 * 5 == max(accuracies) < 3000
    assert (result["best_step"], result["best_checkpoint"]) == (best_step, "model_best.pt")
    assert result["best_accuracy"] == accuracies[best_step] > result["accuracy"]
    best = load_run(str(run))  # what evaluate and certify take
    assert best.path == load_run(str(tmp_path)).path == run / "model_best.pt"
    assert best.step == best_step
    assert evaluate(best.build_model(), 2, 4, 9).accuracy == accuracies[best_step]
    assert "Stopped early: 3 evaluations in a row without improvement." in printed
    assert f"Best checkpoint: {run / 'model_best.pt'}, accuracy" in printed
    assert sorted(path.name for path in run.glob("*.pt")) == [
        "model_best.pt",
        f"model_step_{result['steps']}.pt",
    ]
    (run / "result.json").unlink()  # resumed, it knows that it is over
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert read_result(run)["steps"] == result["steps"]


def test_predictions_come_from_the_best_checkpoint(run_script, tmp_path):
    run = train(tmp_path, "--early_stopping_patience", 9)
    (run / "model_step_40.pt").write_bytes(b"damaged")
    done = run_script("predict_cls_rnn.py", "--input", "1 2", "--save_dir", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run / "model_best.pt").unlink()
    done = run_script("predict_cls_rnn.py", "--input", "1 2", "--save_dir", run, cwd=tmp_path)
    assert done.returncode == 2 and "model_step_40.pt" in done.stderr
