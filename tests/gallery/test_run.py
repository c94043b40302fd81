"""A run of the gallery, by a task that is nothing but a line to fit."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rnn_tutorial.gallery.checkpoint import find_run
from rnn_tutorial.gallery.report import finish
from rnn_tutorial.gallery.run import GalleryRun, set_learning_rate
from rnn_tutorial.gallery.settings import GalleryConfig, configure, same_setting
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.training import base_run
from rnn_tutorial.training.optimizer import make_optimizer

QUICK = {"total_steps": 30, "warmup_step": 0, "save_every": 10, "eval_every": 5, "log_every": 10}


@dataclass(frozen=True)
class LineConfig(GalleryConfig):
    run_name: str = same_setting("run_name", "line")


def train(
    tmp_path, data=None, stop_at=None, late=False, broken_at=None, spill_at=None, blind=False,
    **flags,
):  # fmt: skip
    """Fit y = 2 x with noise from PyTorch's generator; returns the run, its status and model.

    A signal comes in update `stop_at`: before it is recorded or, if late, before it is saved.
    """
    defaults = {"quick": True, "resume": None, "tracker": "disabled", "save_dir": str(tmp_path)}
    if flags.get("resume"):
        defaults = {"quick": False, "tracker": "disabled"}
    config, resume = configure(LineConfig, {**defaults, **flags}, QUICK)
    with GalleryRun("line", config, data or {"slope": 2.0}, resume, ("error", ".3f")) as run:
        torch.manual_seed(config.seed)
        model = nn.Linear(1, 1)
        optimizer = make_optimizer(model.parameters(), config)
        carried = run.restore(model, optimizer)
        total = carried.get("total", torch.zeros(()))
        with run.recording(model):
            for step in run.steps():
                x = torch.rand(8, 1)
                total = total + x.sum()
                loss = (model(x) - 2 * x).square().mean() * (torch.nan if step == broken_at else 1)
                optimizer.zero_grad()
                loss.backward()
                grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
                set_learning_rate(optimizer, run.learning_rate)
                optimizer.step()
                if step == spill_at:  # a weight that the evaluation does not feel
                    nn.init.constant_(model.bias, torch.inf)
                if step + 1 == stop_at and not late:
                    run.stop.signum = 2
                run.record_update(loss, grad_norm)
                if run.needs_evaluation:
                    error = 1.0 if blind else (model.weight.item() - 2) ** 2
                    run.record_evaluation(-error, {"error": error})
                run.log()
                if step + 1 == stop_at:
                    run.stop.signum = 2
                if run.checkpoint_is_due:
                    run.save(model, optimizer, {"total": total})
        status = finish(run, model, "evaluate", ["a line"])
    return run, status, model


def read(run, name):
    return json.loads((run.folder / name).read_text())


def test_a_run_goes_on_to_the_bit_after_a_stop(tmp_path, capsys):
    whole, status, _ = train(tmp_path)
    assert status == 0 and read(whole, "result.json")["steps"] == 30
    assert "Next: python -m rnn_tutorial.gallery.line evaluate --run" in capsys.readouterr().out
    stopped, status, _ = train(tmp_path, stop_at=14)
    assert status == 130 and not (stopped.folder / "result.json").exists()
    assert f"train --resume {stopped.folder}" in capsys.readouterr().out
    (stopped.folder / "model_step_14.pt").unlink()  # as if it had been killed instead
    resumed, status, _ = train(tmp_path, resume=str(stopped.folder))
    assert "resumed at step 10" in capsys.readouterr().out
    results = [read(run, "result.json") for run in (whole, resumed)]
    for name in ("weights_hash", "score", "figures", "steps", "data"):
        assert results[0][name] == results[1][name], name
    lines = [
        [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, resumed)
    ]
    shown = [[(m["step"], m.get("loss"), m.get("score")) for m in part] for part in lines]
    assert shown[0] == shown[1] and shown[0][-1][0] == 30
    totals = [find_run(str(run.folder), "line", LineConfig)[0].carried for run in (whole, resumed)]
    assert totals[0] == totals[1]


def test_a_run_that_was_stopped_before_its_first_evaluation_goes_on(tmp_path):
    stopped, _, _ = train(tmp_path, stop_at=3)
    resumed, status, _ = train(tmp_path, resume=str(stopped.folder))
    assert status == 0 and read(resumed, "result.json")["steps"] == 30


def test_a_signal_in_mid_update_stops_the_next_one_with_a_score_that_is_its_own(tmp_path):
    whole, _, _ = train(tmp_path)
    stopped, status, _ = train(tmp_path, stop_at=3, late=True)
    assert status == 130 and [p.name for p in stopped.folder.glob("*.pt")] == ["model_step_4.pt"]
    checkpoint, _ = find_run(str(stopped.folder), "line", LineConfig)
    assert checkpoint.score == -((checkpoint.weights["weight"].item() - 2) ** 2)
    resumed, status, _ = train(tmp_path, resume=str(stopped.folder))
    assert status == 0
    hashes = [read(run, "result.json")["weights_hash"] for run in (whole, resumed)]
    assert hashes[0] == hashes[1]


def test_the_tracker_gets_numbers_at_every_log_and_evaluation(tmp_path, monkeypatch):
    logged = {}

    class Recorder:
        def log(self, values, step):
            logged[step] = {name: float(value) for name, value in values.items()}

        def end(self):
            pass

        finish = end

    monkeypatch.setattr(base_run, "start_tracker", lambda *choice, **options: Recorder())
    run, _, _ = train(tmp_path)
    assert list(logged) == [1, 5, 10, 15, 20, 25, 30]
    assert logged[1].keys() >= {"loss", "current_lr", "grad_norm"}
    assert logged[30]["score"] == -logged[30]["error"] == run.score


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch, capsys):
    whole, _, _ = train(tmp_path)
    before = {path.name: path.read_bytes() for path in whole.folder.iterdir()}
    monkeypatch.delattr(base_run, "start_tracker")  # who calls it fails
    again, status, _ = train(tmp_path, resume=str(whole.folder), tracker="local")
    assert status == 0 and "is finished" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == before


def test_a_run_stops_early_and_keeps_its_best(tmp_path):
    flags = {"lr": 1.0, "early_stopping_patience": 2, "eval_every": 1, "total_steps": 300}
    run, status, _ = train(tmp_path, scheduler="constant", **flags)
    result = read(run, "result.json")
    assert status == 0 and result["steps"] == result["best_step"] + 2 < 300
    checkpoint, config = find_run(str(run.folder), "line", LineConfig)
    assert checkpoint.path.name == "model_best.pt" and checkpoint.score == result["best_score"]
    assert config.early_stopping_patience == 2


@pytest.mark.parametrize(
    "flags",
    [{"broken_at": 17}, {"broken_at": 17, "blind": True, "log_every": 1000}, {"spill_at": 19}],
    ids=str,
)
def test_what_is_not_a_number_ends_the_run_before_it_is_saved(flags, tmp_path, capsys):
    run, status, _ = train(tmp_path, **flags)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert status == 1 and "not a finite number at step 20; last good checkpoint: " in sentence
    assert str(run.folder / "model_step_10.pt") in sentence
    assert [path.name for path in run.folder.glob("*.pt")] == ["model_step_10.pt"]


def test_what_does_not_fit_is_refused(tmp_path):
    run, _, _ = train(tmp_path, stop_at=12)
    for flags, reason in (
        ({"resume": str(run.folder), "data": {"slope": 3.0}}, "the data have changed"),
        ({"resume": str(run.folder), "lr": 1.0}, "--lr 1.0 differs from the resumed run's"),
        ({"resume": str(tmp_path)}, "is not the folder of a run"),
        ({"cell": "transformer"}, "--cell 'transformer' is not one of rnn, gru, lstm"),
        ({"resume": ""}, "--resume '' is empty"),
        ({"run_name": ""}, "--run_name '' is empty"),
        ({"text_file": ("",)}, "--text_file '' is empty"),
        ({"warmup_step": 99}, "--warmup_step 99 must be smaller than --total_steps 30"),
    ):
        with pytest.raises(ValueError, match=reason):
            train(tmp_path, **flags)
    config = run.folder / "config.json"
    config.write_text(json.dumps(read(run, "config.json") | {"lr": 0.5}))
    with pytest.raises(ValueError, match=r"has --lr 0.5, but .* was written with --lr 0.004: one"):
        train(tmp_path, resume=str(run.folder))
    with pytest.raises(ValueError, match=r"there is no folder .*text train"):
        find_run(str(tmp_path / "none"), "text", LineConfig)
    with pytest.raises(ValueError, match=r"is of the task 'line', not of 'text'"):
        find_run(str(run.folder), "text", LineConfig)
    with pytest.raises(ValueError, match=r"there is no trained run of 'text' in"):
        find_run(str(tmp_path), "text", LineConfig)
    assert find_run(str(tmp_path), "line", LineConfig)[0].path.parent == run.folder
    (run.folder / "model_step_12.pt").rename(run.folder / "model_best.pt")  # killed after its best
    assert find_run(str(tmp_path), "line", LineConfig)[0].path.parent == run.folder
    (run.folder / "model_best.pt").rename(run.folder / "model_step_12.pt")
    with pytest.raises(ValueError, match=r"is not a checkpoint of this project"):
        load_run(str(run.folder / "model_step_12.pt"))


def test_a_run_of_another_version_is_refused_by_what_differs(tmp_path):
    train(tmp_path)
    assert find_run(str(tmp_path / "line"), "line", LineConfig)[0].step == 30

    @dataclass(frozen=True)
    class LaterConfig(LineConfig):
        num_bends: int = same_setting("num_layers", 1)

    with pytest.raises(ValueError, match=r"version; missing or unknown settings: num_bends$"):
        find_run(str(tmp_path / "line"), "line", LaterConfig)


def test_a_short_training_has_a_short_warmup():
    def warmup(**flags):
        flags = {"resume": None, "quick": False, "device": "cpu", **flags}
        return configure(LineConfig, flags, QUICK)[0].warmup_step

    assert warmup() == LineConfig.warmup_step == 100
    assert [warmup(total_steps=50), warmup(total_steps=5)] == [5, 0]
    assert [warmup(total_steps=50, warmup_step=20), warmup(quick=True)] == [20, 0]


def test_a_damaged_checkpoint_is_passed_over_or_refused(tmp_path, capsys):
    run, _, _ = train(tmp_path, stop_at=25)

    def damage(name):
        path = run.folder / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return path

    last = damage("model_step_25.pt")
    with pytest.raises(ValueError, match="damaged"):
        find_run(str(last), "line", LineConfig)
    _, status, _ = train(tmp_path, resume=str(run.folder))
    assert status == 0 and "the run goes on from step 20" in capsys.readouterr().out
    for path in set(run.folder.glob("*.pt")) - {last}:
        damage(path.name)
    with pytest.raises(ValueError, match="there is no good checkpoint to go on from"):
        train(tmp_path, resume=str(run.folder))
