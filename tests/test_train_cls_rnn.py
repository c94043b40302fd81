"""The training script as a user runs it: files, screen, refusals, the same bits after any death."""

import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import (
    REPOSITORY,
    TRAIN_QUICKLY,
    kill_when,
    make_digit_model,
    refusal,
    run_here,
    status_of,
    wait_until,
)

import train_cls_rnn
from rnn_tutorial.data.streams import SeqSumModDataset
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.runs.archive import save_archive, weights_hash
from rnn_tutorial.runs.checkpoint import load_checkpoint, save_checkpoint
from rnn_tutorial.runs.metrics import MetricsFile
from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.training import run as run_module
from rnn_tutorial.training.objective import Penalties, group_steps
from rnn_tutorial.training.run import Run
from rnn_tutorial.training.schedule import EvaluationHistory, learning_rate

# Long enough to be killed in the middle, short enough for a test.
TRAIN_LONGER = (
    *("--engine", "autograd", "--total_steps", 1500, "--max_seq_len", 4, "--log_every", 100),
    *("--eval_every", 300, "--save_every", 200, "--tracker", "disabled"),
    *("--max_grad_norm", 1, "--weight_decay", 0.1, "--embed_noise", 0.1),
)


def train(folder, *flags):
    """Run the script's main in this process, in a run folder of its own; returns the folder."""
    arguments = [*TRAIN_QUICKLY, "--save_dir", folder, "--run_name", "run", *flags]
    assert train_cls_rnn.main([str(argument) for argument in arguments]) == 0
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def final_weights(run, step=40):
    return load_checkpoint(run / f"model_step_{step}.pt").weights


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def read_metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_speed(metrics):
    return [{k: v for k, v in record.items() if k != "steps_per_second"} for record in metrics]


# ---- what a run leaves behind ----


def test_a_run_folder_has_its_four_kinds_of_files(trained_folder):
    run = trained_folder / "output" / "baseline"
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json", "metrics.jsonl", "model_step_20.pt", "model_step_40.pt", "result.json",
    ]  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["seed"] == 0 and config["total_steps"] == 40 and config["device"] == "cpu"
    assert config["num_threads"] == 1
    result = json.loads((run / "result.json").read_text())
    assert result["versions"]["torch"] == torch.__version__
    assert result["model_parameters"] == 11 * 10 + 8 * (10 + 8 + 2) + 10 * (8 + 1)
    assert result["seed"] == 0 and result["elapsed_seconds"] > 0
    model = load_model(load_checkpoint(run / "model_step_40.pt"))
    evaluation = evaluate(model, SumModulo(9), 2, 4)
    assert result["accuracy"] == evaluation.accuracy
    assert result["wrong_inputs"] == evaluation.num_wrong


def test_a_save_writes_first_what_later_files_rely_on(tmp_path, monkeypatch):
    written = []

    def save(path, **content):
        written.append(path.name)
        save_checkpoint(path, **content)

    monkeypatch.setattr(MetricsFile, "sync", lambda self: written.append("metrics"))
    monkeypatch.setattr(run_module, "save_checkpoint", save)
    train(tmp_path, "--early_stopping_patience", 9)
    assert written[:3] == ["metrics", "model_best.pt", "model_step_20.pt"]


def test_a_signal_stops_autograd_at_the_next_update(tmp_path, monkeypatch):
    asked = []

    def must_stop(run):
        asked.append(run)
        if len(asked) == 5:
            run.stop.signum = signal.SIGINT
        return len(asked) == 5

    monkeypatch.setattr(Run, "must_stop", must_stop)
    flags = (*TRAIN_QUICKLY, "--save_dir", tmp_path, "--run_name", "run", "--log_every", 40)
    assert status_of(train_cls_rnn.main, *flags) == 130
    assert [path.name for path in (tmp_path / "run").glob("*.pt")] == ["model_step_5.pt"]
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_signal_in_one_process_stops_all(tmp_path, monkeypatch):
    asked = []

    def any_of_them(world, flag, device):
        asked.append(flag)
        return len(asked) == 3

    monkeypatch.setattr(World, "any", any_of_them)
    flags = (*TRAIN_QUICKLY, "--save_dir", tmp_path, "--run_name", "run")
    assert status_of(train_cls_rnn.main, *flags) == 143 and not any(asked)
    assert not (tmp_path / "run" / "result.json").exists()


def test_the_seconds_before_an_interruption_count(tmp_path):
    run = train(tmp_path)
    content = vars(load_checkpoint(run / "model_step_20.pt"))
    save_checkpoint(content.pop("path"), **content | {"elapsed_seconds": 3600.0})
    for name in ("model_step_40.pt", "result.json"):
        (run / name).unlink()
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["elapsed_seconds"] > 3600


def test_metrics_are_logged_when_due(trained_folder):
    metrics = read_metrics(trained_folder / "output" / "baseline")
    assert [record["step"] for record in metrics] == [1, 10, 20, 30, 40]
    for record in metrics:
        assert record.keys() >= {"loss", "current_lr", "grad_norm", "steps_per_second"}
        assert ("accuracy" in record) == ("wrong_inputs" in record) == (record["step"] in (20, 40))
    config = TrainConfig(total_steps=40)
    assert [record["current_lr"] for record in metrics] == [
        learning_rate(config, record["step"], EvaluationHistory()) for record in metrics
    ]
    assert metrics[-1]["current_lr"] == 0.0001
    assert metrics[0]["loss"] == pytest.approx(math.log(10), abs=0.5)


def test_the_screen_tells_the_story(trained_folder):
    screen = (trained_folder / "screen.txt").read_text(encoding="utf-8")
    lines = screen.splitlines()
    assert "output/baseline" in lines[0] and "seed 0" in lines[0] and "1 thread" in lines[0]
    assert "ln 10 = 2.303" in lines[1] and "360 parameters" in lines[1]
    assert lines[3].startswith("step 1/40  loss 2.")
    wrong = json.loads((trained_folder / "output/baseline/result.json").read_text())["wrong_inputs"]
    assert f"{wrong:,} of all 11,100 inputs wrong" in screen
    assert sum(line.startswith("  wrong: ") for line in lines) == 5
    assert lines[-1] == "Ask it: python predict_cls_rnn.py --save_dir output/baseline"


def test_nothing_is_overwritten(tmp_path):
    for name in ("run", "run-2"):
        assert train(tmp_path).name == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]


# ---- what changes the weights and what does not ----


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--log_every", 1),
        ("--log_every", 7, "--eval_every", 3, "--save_every", 0),
        ("--save_every", 11),
        ("--num_workers", 1),
        ("--num_workers", 2),
        ("--tracker", "offline"),
    ],
    ids=lambda flags: " ".join(map(str, flags)) or "again",
)
def test_the_weights_do_not_depend_on(flags, trained_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reference = final_weights(trained_folder / "output" / "baseline")
    assert_same_bits(final_weights(train(tmp_path / "output", *flags)), reference)


@pytest.mark.parametrize(
    "flags",
    [
        ("--seed", 1), ("--lr", 0.01), ("--min_lr", 0), ("--warmup_step", 10),
        ("--weight_decay", 1), ("--max_grad_norm", 0.01), ("--batch_size", 8), ("--embed_noise", 1),
    ],
    ids=lambda flags: flags[0],
)  # fmt: skip
def test_the_weights_depend_on(flags, trained_folder, tmp_path):
    changed = final_weights(train(tmp_path, *flags))
    reference = final_weights(trained_folder / "output" / "baseline")
    assert not all(torch.equal(changed[name], reference[name]) for name in reference)


def test_training_equals_a_loop_written_out(tmp_path):
    """Ten updates with everything on, against PyTorch's own parts put together by hand."""
    run = train(
        tmp_path,
        *("--total_steps", 10, "--num_layers", 2, "--lr", 0.01, "--warmup_step", 4),
        *("--max_grad_norm", 0.5, "--batch_size", 8, "--seed", 5),
        *("--optimizer", "adamw", "--weight_decay", 0.3),
        *("--embed_noise", 0),
    )
    torch.manual_seed(5)
    model = train_cls_rnn.RnnClsNet(10, 10, 8, 2, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3)
    samples = iter(train_cls_rnn.SeqSumModDataset(None, 2, 4, 9, seed=5))
    config = TrainConfig(total_steps=10, lr=0.01, warmup_step=4)
    for step in range(10):
        batch = [next(samples) for _ in range(8)]
        scores = torch.cat([model(torch.tensor([s]), torch.tensor([n])) for s, n, _ in batch])
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor([t for _, _, t in batch]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = learning_rate(config, step, EvaluationHistory())
        optimizer.step()
    for name, value in final_weights(run, 10).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ["autograd", "compiled"])
def test_it_learns(engine, tmp_path):
    """A small task that is solved in seconds: parity of up to three bits."""
    run = train(
        tmp_path,
        *("--max_number", 1, "--min_seq_len", 1, "--max_seq_len", 3, "--total_steps", 600),
        *("--lr", 0.01, "--hidden_dim", 16, "--log_every", 600, "--engine", engine),
    )
    result = json.loads((run / "result.json").read_text())
    assert result["wrong_inputs"] == 0 and result["evaluation"]["num_inputs"] == 14


# ---- recipes ----


def test_recipes_are_listed_and_recorded(tmp_path):
    done = run_here("train_cls_rnn.py", "--list_recipes", cwd=tmp_path)
    assert done.returncode == 0
    assert "sota_warmup: " in done.stdout and "--warmup_step 2000" in done.stdout
    run = train(tmp_path, "--recipe", "deeper_rnn", "--hidden_dim", 4)
    for config in (
        json.loads((run / "config.json").read_text()),
        load_checkpoint(run / "model_step_40.pt").config,
    ):
        assert config["recipe"] == "deeper_rnn"
        assert (config["num_layers"], config["hidden_dim"]) == (3, 4)


def test_a_net_that_is_wrong_is_told_of_the_recipe_that_is_right(tmp_path, capsys):
    train(tmp_path)
    printed = capsys.readouterr().out
    assert "This is the recipe 'baseline' with other flags; python train_cls_rnn.py" in printed
    assert "--recipe solved gets none wrong" in printed


PARITY = (
    *("--max_number", 1, "--min_seq_len", 1, "--max_seq_len", 3, "--total_steps", 2000),
    *("--lr", 0.01, "--hidden_dim", 16, "--log_every", 100, "--eval_every", 50),
)


@pytest.mark.parametrize("engine", ["autograd", "compiled"])
def test_it_stops_when_exact_and_stays_stopped(engine, tmp_path, capsys):
    run = train(tmp_path, *PARITY, "--engine", engine, "--stop_when_exact", 3)
    result = json.loads((run / "result.json").read_text())
    evaluations = [r["wrong_inputs"] for r in read_metrics(run) if "wrong_inputs" in r]
    assert result["steps"] < 2000 and evaluations[-3:] == [0, 0, 0] and evaluations[-4] > 0
    assert result["steps"] == read_metrics(run)[-1]["step"] == 50 * len(evaluations)
    assert f"model_step_{result['steps']}.pt" in capsys.readouterr().out
    (run / "result.json").unlink()
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert json.loads((run / "result.json").read_text())["steps"] == result["steps"]


@pytest.mark.parametrize("engine", ["autograd", "compiled"])
def test_the_penalties_bring_states_closer(engine, tmp_path):
    (batch,) = SeqSumModDataset(None, 1, 3, 1).draw_batches(0, 1, 100).pack()

    def penalties(run):
        model = load_model(load_checkpoint(run / "model_step_600.pt"))
        embedded = batch.tokens._replace(data=model.embedding(batch.tokens.data))
        groups = group_steps(batch.tokens, SumModulo(1))
        _, found = Penalties(model)(embedded, True, groups)
        return found["contraction"].item(), found["center_loss"].item()

    flags = (*PARITY, "--total_steps", 600, "--engine", engine)
    plain = penalties(train(tmp_path / "plain", *flags))
    assert penalties(train(tmp_path / "contracted", *flags, "--contraction", 0.1))[0] < plain[0] / 4
    assert penalties(train(tmp_path / "centered", *flags, "--center_loss", 3))[1] < plain[1] / 4


def test_orthogonal_matrices_keep_lengths():
    config = TrainConfig(init="orthogonal", num_layers=2, device="cpu")
    for _, w_hh, _, _ in make_digit_model(config).rnn.all_weights:
        torch.testing.assert_close(w_hh @ w_hh.T, torch.eye(16), rtol=0, atol=1e-5)


# ---- engines ----

# One token of two, and every input right from the first evaluation on: then penalties act.
PENALIZED = (
    *("--task", "tomita_1", "--min_seq_len", 1, "--max_seq_len", 1, "--num_layers", 2),
    *("--contraction", 0.1, "--center_loss", 3, "--optimizer", "adamw", "--weight_decay", 3),
    *("--lr", 0.01),
    *("--eval_every", 5, "--log_every", 5),
)


@pytest.mark.parametrize("more", [(), PENALIZED])
def test_engines_make_the_same_updates(more, tmp_path):
    reference = train(tmp_path / "autograd", *more)
    compiled = train(tmp_path / "compiled", "--engine", "compiled", *more)
    exact = [row["step"] for row in read_metrics(reference) if row.get("wrong_inputs") == 0]
    assert exact[1] < 30 if more else not exact
    for name, value in final_weights(compiled).items():
        torch.testing.assert_close(value, final_weights(reference)[name], rtol=1e-4, atol=1e-6)
    for record, expected in zip(read_metrics(compiled), read_metrics(reference), strict=True):
        assert record["step"] == expected["step"] and record.keys() == expected.keys()
        for name in ("loss", "grad_norm", "current_lr"):
            assert record[name] == pytest.approx(expected[name], rel=1e-4)


@pytest.mark.parametrize(
    "flags",
    [(), ("--log_every", 7, "--eval_every", 3, "--save_every", 0), ("--num_workers", 1)],
    ids=lambda flags: " ".join(map(str, flags)) or "again",
)
def test_the_compiled_weights_do_not_depend_on(flags, tmp_path):
    runs = [
        train(tmp_path / name, "--engine", "compiled", *more)
        for name, more in (("reference", ()), ("other", flags))
    ]
    reference, other = map(final_weights, runs)
    assert_same_bits(other, reference)
    hashes = {json.loads((run / "result.json").read_text())["weights_hash"] for run in runs}
    assert hashes == {weights_hash(reference)}


def test_auto_takes_the_compiled_engine_or_says_why_not(tmp_path, monkeypatch, capsys):
    run = train(tmp_path, "--engine", "auto")
    assert capsys.readouterr().out.splitlines()[0].endswith("engine compiled")
    assert json.loads((run / "config.json").read_text())["engine"] == "compiled"
    monkeypatch.setattr("rnn_tutorial.training.support.find_spec", lambda name: None)
    train(tmp_path, "--engine", "auto")
    first_line = capsys.readouterr().out.splitlines()[0]
    assert "engine autograd (compiled would be faster, but numba and scipy not inst" in first_line
    assert "numba" in refusal(
        capsys, train_cls_rnn.main, "--engine", "compiled", "--save_dir", tmp_path
    )


def test_resume_keeps_the_engine_unless_another_is_named(tmp_path, monkeypatch, capsys):
    run = train(tmp_path, "--engine", "compiled", "--save_every", 20)
    capsys.readouterr()
    whole = final_weights(run)
    (run / "result.json").unlink()
    (run / "model_step_40.pt").unlink()
    monkeypatch.setattr("rnn_tutorial.training.support.find_spec", lambda name: None)
    said = refusal(capsys, train_cls_rnn.main, "--resume", run)
    assert "--engine 'compiled' cannot be used" in said and "autograd always can" in said
    assert train_cls_rnn.main(["--resume", str(run), "--engine", "autograd"]) == 0
    assert json.loads((run / "config.json").read_text())["engine"] == "autograd"
    for name, weights in final_weights(run).items():
        torch.testing.assert_close(weights, whole[name], rtol=1e-4, atol=1e-5)


def test_a_finished_run_whose_last_checkpoint_is_lost_is_finished_again(tmp_path, capsys):
    run = train(tmp_path)
    whole = final_weights(run)
    (run / "model_step_40.pt").unlink()
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert "resumed at step 20" in capsys.readouterr().out
    assert_same_bits(final_weights(run), whole)


@pytest.mark.parametrize("engine", ["autograd", "compiled"])
def test_resumed_while_the_penalties_set_in_it_gives_the_same_bits(engine, tmp_path):
    flags = (*PENALIZED, "--total_steps", 240, "--save_every", 20, "--engine", engine)
    run = train(tmp_path, *flags)
    whole = final_weights(run, 240)
    steps = range(20, 241, 20)
    checkpoints = {step: load_checkpoint(run / f"model_step_{step}.pt") for step in steps}
    decays = {s: c.optimizer["param_groups"][0]["weight_decay"] for s, c in checkpoints.items()}
    assert decays[240] == 0
    last_kept = next(step for step, decay in decays.items() if 0 < decay < 3)
    for step in range(last_kept + 20, 241, 20):
        (run / f"model_step_{step}.pt").unlink()
    (run / "result.json").unlink()
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert_same_bits(final_weights(run, 240), whole)


def test_what_a_crash_has_left_beside_a_finished_run_is_removed(tmp_path, capsys):
    run = train(tmp_path)
    leftover = run / ".config.json.0123456789abcdef0123456789abcdef.tmp"
    leftover.write_bytes(b"{")
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert "is finished" in capsys.readouterr().out and not leftover.exists()


def test_a_resume_that_is_refused_removes_nothing(tmp_path):
    run = train(tmp_path)
    (run / "result.json").unlink()
    path = max(run.glob("model_step_*.pt"), key=lambda path: path.stat().st_mtime_ns)
    content = torch.load(path)
    del content["sha256"]
    content["optimizer"]["param_groups"][0]["params"] = [0]
    save_archive(path, content)
    (run / ".config.json.0123456789abcdef0123456789abcdef.tmp").write_bytes(b"{")
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert status_of(train_cls_rnn.main, "--resume", run) == 2
    assert {path: path.read_bytes() for path in run.iterdir()} == before


# ---- death and resurrection ----


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = run_here("train_cls_rnn.py", *TRAIN_LONGER, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "output" / "baseline"


def has_reached(run, step):
    """True if the metrics file of a run has this step."""
    metrics = run / "metrics.jsonl"
    if not metrics.exists():
        return False
    *_, last = [b'{"step": 0}', *metrics.read_bytes().split(b"\n")[:-1]]
    return json.loads(last)["step"] >= step


def assert_same_run(run, uninterrupted, step=1500):
    assert_same_bits(final_weights(run, step), final_weights(uninterrupted, step))
    assert without_speed(read_metrics(run)) == without_speed(read_metrics(uninterrupted))
    assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in uninterrupted.iterdir())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_killed_at_random_steps_and_resumed_gives_the_same_bits(
    num_workers, start_script, uninterrupted, tmp_path
):
    dice = random.Random(num_workers)
    run = tmp_path / "output" / "baseline"
    flags = [*TRAIN_LONGER, "--num_workers", num_workers]
    for step in sorted(dice.randrange(1, 1000) for _ in range(1 if num_workers else 2)):
        process = start_script("train_cls_rnn.py", *flags, cwd=tmp_path)
        wait_until(partial(has_reached, run, step), process)
        time.sleep(dice.random() * 0.05)
        kill_when(lambda: True, process)
        flags = ["--resume", run]
    done = run_here("train_cls_rnn.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, uninterrupted)


def test_the_compiled_engine_killed_and_resumed_gives_the_same_bits(start_script, tmp_path):
    flags = (
        *("--engine", "compiled", "--total_steps", 20_000, "--log_every", 500, "--save_every", 500),
        *("--eval_every", 5000, "--tracker", "disabled", "--max_grad_norm", 1),
    )
    done = run_here("train_cls_rnn.py", *flags, "--run_name", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run, arguments = tmp_path / "output" / "killed", [*flags, "--run_name", "killed"]
    process = start_script("train_cls_rnn.py", *arguments, cwd=tmp_path)
    kill_when(partial(has_reached, run, 7000), process)
    assert run_here("train_cls_rnn.py", "--resume", run, cwd=tmp_path).returncode == 0
    assert_same_run(run, tmp_path / "output" / "whole", 20_000)


def test_killed_before_the_first_checkpoint_it_resumes_from_the_start(uninterrupted, tmp_path):
    run = tmp_path / "output" / "baseline"
    run.mkdir(parents=True)
    (run / "config.json").write_bytes((uninterrupted / "config.json").read_bytes())
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.3}\n{"step": 100, "lo')
    assert run_here("train_cls_rnn.py", "--resume", run, cwd=tmp_path).returncode == 0
    assert_same_run(run, uninterrupted)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_resume_and_resumes_to_the_same_bits(
    signum, status, start_script, uninterrupted, tmp_path
):
    run = tmp_path / "output" / "baseline"
    process = start_script("train_cls_rnn.py", *TRAIN_LONGER, "--save_every", 0, cwd=tmp_path)
    wait_until(partial(has_reached, run, 300), process)
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (status, "")
    last_line = stdout.splitlines()[-1]
    assert last_line.endswith("python train_cls_rnn.py --resume output/baseline")
    (saved,) = run.glob("model_step_*.pt")
    assert f"Stopped after {load_checkpoint(saved).step:,} updates" in last_line
    assert run_here("train_cls_rnn.py", "--resume", run, cwd=tmp_path).returncode == 0
    assert_same_bits(final_weights(run, 1500), final_weights(uninterrupted, 1500))
    assert without_speed(read_metrics(run)) == without_speed(read_metrics(uninterrupted))


def test_a_closed_standard_output_does_not_keep_it_from_training(script_environment, tmp_path):
    flags = ("--total_steps", "20", "--tracker", "disabled", "--save_dir", str(tmp_path))
    command = [sys.executable, str(REPOSITORY / "train_cls_rnn.py"), *flags]
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(
        shell, env=script_environment, stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "baseline" / "model_step_20.pt").exists()


def test_a_reader_that_leaves_gets_one_line_about_how_to_resume(
    start_script, script_environment, tmp_path
):
    environment = script_environment | {"PYTHONUNBUFFERED": ""}  # as for most users: it is off
    with start_script("train_cls_rnn.py", *TRAIN_LONGER, cwd=tmp_path, env=environment) as process:
        process.stdout.readline()
        process.stdout.close()
        (sentence,) = process.stderr.read().splitlines()
        assert process.wait(timeout=60) == 1
    assert sentence.endswith(
        "Broken pipe; go on with: python train_cls_rnn.py --resume output/baseline"
    )


def test_resuming_a_finished_run_changes_nothing(trained_folder, tmp_path):
    run = Path(shutil.copytree(trained_folder / "output" / "baseline", tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    done = run_here("train_cls_rnn.py", "--resume", run, cwd=tmp_path)
    assert done.returncode == 0 and "is finished" in done.stdout
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 9 bytes")],
)
def test_too_little_memory_is_said(error, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(train_cls_rnn, "make_engine", fail)
    with pytest.raises(SystemExit) as ended:
        train_cls_rnn.main(["--save_dir", str(tmp_path), "--tracker", "disabled"])
    assert ended.value.code == 1
    assert "error: there is not enough memory; go on with: python" in capsys.readouterr().err
    (tmp_path / "baseline").rename(tmp_path / "first")
    monkeypatch.setattr(train_cls_rnn, "make_model", fail)
    with pytest.raises(SystemExit) as ended:
        train_cls_rnn.main(["--save_dir", str(tmp_path), "--tracker", "disabled"])
    assert ended.value.code == 1 and not (tmp_path / "baseline").exists()
    assert "error: there is not enough memory for this model\n" in capsys.readouterr().err


def test_what_fails_in_one_of_several_processes_is_said(monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(train_cls_rnn.time, "sleep", slept.append)
    for rank in (0, 1):
        with pytest.raises(SystemExit) as ended:
            train_cls_rnn.fail(World(rank, size=2), 2, f"no device {rank}")
        assert ended.value.code == 2 and f"error: no device {rank}\n" in capsys.readouterr().err
        assert slept == [10] * rank  # what all found is said by the main process, which ends sooner


@pytest.mark.parametrize(
    "message",
    [
        "[gloo/transport/tcp/pair.cc:534] Connection closed",
        "DataLoader worker (pid 7) is killed by signal: Killed. ",
        "shape",
    ],
)
def test_only_a_lost_process_is_called_so(message, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError(message)

    monkeypatch.setattr(train_cls_rnn, "make_engine", fail)
    with pytest.raises(RuntimeError if message == "shape" else SystemExit):
        train_cls_rnn.main(["--save_dir", str(tmp_path), "--tracker", "disabled"])
    is_said = f"another process was lost ({message}); " in capsys.readouterr().err
    assert is_said == (message != "shape")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    flags = ("--optimizer", "adamw", "--lr", 100, "--weight_decay", 1000, "--save_every", 2)
    done = run_here("train_cls_rnn.py", *TRAIN_LONGER, *flags, cwd=tmp_path)
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "not a finite number at step" in sentence
    assert "--lr" in sentence and "--max_grad_norm" in sentence and "--warmup_step" in sentence
    run = tmp_path / "output" / "baseline"
    saved = {load_checkpoint(path).step: path for path in run.glob("model_step_*.pt")}
    for path in saved.values():
        assert all(value.isfinite().all() for value in load_checkpoint(path).weights.values())
    last = max(saved)
    assert last > 2 and f"at step {last + 2};" in sentence  # where the weights overflow
    assert f"last good checkpoint: {saved[last].relative_to(tmp_path)}. Try" in sentence
    assert not (run / "result.json").exists()
    assert read_metrics(run)[-1]["loss"] is None


# ---- refusals ----

REFUSED_FLAGS = [
    *(("--total_steps", value) for value in ("-5", "1e4", "2.5", "many", "")),
    *(("--lr", value) for value in ("-1", "nan", "fast")),
    *(("--warmup_step", value) for value in ("0.5", "40")),
    *(("--min_seq_len", value) for value in ("5", "x")),
    ("--engine", "steam"), ("--engine", "graph"), ("--tracker", "wandb"), ("--device", "abacus"),
    ("--device", "cuda:99"), ("--device", "meta"),
    ("--run_name", "../up"), ("--run_name", ""), ("--run_name", "a" * 300),
    ("--save_dir", ""), ("--save_dir", "file"),
    ("--bogus", "1"), ("--total_step", "5"), ("--resume", "nowhere"), ("--resume", ""),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "value"), REFUSED_FLAGS)
def test_a_wrong_flag_is_refused_before_anything_is_written(
    flag, value, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    sentence = refusal(capsys, train_cls_rnn.main, *TRAIN_QUICKLY, flag, value)
    assert flag in sentence and value in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_refusal_in_a_terminal(run_script, tmp_path):
    done = run_script("train_cls_rnn.py", "--lr", "fast", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "train_cls_rnn.py: error: argument --lr: 'fast' is not a number from 1e-12 to 100 "
        "(see --help)\n"
    )


@pytest.fixture
def a_run(trained_folder, tmp_path):
    """A copy of the trained run, without what was written after step 20."""
    source, run = trained_folder / "output" / "baseline", tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "metrics.jsonl", "model_step_20.pt"):
        (run / name).write_bytes((source / name).read_bytes())
    return run


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--lr", "0.5"), "--lr 0.5"),
        (("--total_steps", "100"), "--total_steps 100"),
        (("--seed", "1"), "--seed 1"),
        (("--log_every", "0"), "--log_every 0"),
    ],
)
def test_resume_refuses_what_would_be_another_run(flags, named, a_run, capsys):
    before = {path.name: path.read_bytes() for path in a_run.iterdir()}
    assert named in refusal(capsys, train_cls_rnn.main, "--resume", a_run, *flags)
    assert {path.name: path.read_bytes() for path in a_run.iterdir()} == before


def test_resume_may_change_what_does_not_touch_the_weights(a_run, trained_folder):
    flags = ["--log_every", "1", "--eval_every", "5", "--save_every", "0", "--seed", "0"]
    assert train_cls_rnn.main(["--resume", str(a_run), *flags]) == 0
    reference = trained_folder / "output" / "baseline"
    assert_same_bits(final_weights(a_run), final_weights(reference))
    assert [record["step"] for record in read_metrics(a_run)] == [1, 10, *range(20, 41)]


@pytest.mark.parametrize("name", ["config.json", "model_step_20.pt"])
def test_resume_refuses_a_damaged_run(name, a_run, capsys):
    (a_run / name).write_bytes(b"damaged")
    assert name in refusal(capsys, train_cls_rnn.main, "--resume", a_run)


def test_help_groups_the_flags_and_shows_the_defaults(tmp_path):
    done = run_here("train_cls_rnn.py", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for group in ("data:", "model:", "optimization:", "schedule:", "output:", "machine:"):
        assert f"\n{group}\n" in done.stdout
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name} " in done.stdout
    assert "(default: 20000)" in " ".join(done.stdout.split())


def test_the_threads_are_set(tmp_path):
    try:
        train(tmp_path, "--num_threads", 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_without_the_flag_threads_follow_the_environment(run_script, script_environment, tmp_path):
    environment = script_environment | {"OMP_NUM_THREADS": "2"}
    done = run_script("train_cls_rnn.py", *TRAIN_QUICKLY, cwd=tmp_path, env=environment)
    assert "2 threads" in done.stdout.splitlines()[0]
