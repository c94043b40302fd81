"""The choices of a training: each does what it says, is resumed to the same bits, or is refused."""

import json
import os
from contextlib import nullcontext

import pytest
import torch
from conftest import TRAIN_QUICKLY, make_digit_model, refusal, status_of

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial.data.loader import make_loader
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.runs.machine import has_bfloat16_lstm
from rnn_tutorial.runs.processes import World
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.settings.config import SCHEDULERS, TrainConfig
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.training import configure, engines
from rnn_tutorial.training import run as run_module
from rnn_tutorial.training.objective import Objective
from rnn_tutorial.training.schedule import EvaluationHistory, learning_rate
from rnn_tutorial.training.support import unsupported_reason
from rnn_tutorial.training.update import update, update_with_options


def train(folder, *flags):
    """Run the script's main in this process, in a run folder of its own; returns the folder."""
    arguments = [*TRAIN_QUICKLY, "--save_dir", folder, "--run_name", "run", *flags]
    assert train_cls_rnn.main([str(argument) for argument in arguments]) == 0
    return folder / "run"


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
        ("--accumulate_steps", 3, "--batch_size", 4),
        ("--precision", "bfloat16"),
        ("--bucket_by_length", "--max_seq_len", 20, "--eval_every", 30),
        ("--bucket_by_length", "--num_workers", 2, "--engine", "compiled"),
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
    for name in ("steps", "accuracy", "best_step", "best_score", "best_checkpoint"):
        assert read_result(run)[name] == result[name], name
    if result["best_checkpoint"]:
        assert load_checkpoint(run / "model_best.pt").step == result["best_step"]
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
    sentence = refusal(
        capsys, train_cls_rnn.main, *flags, "--engine", "compiled", "--save_dir", tmp_path
    )
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
    settings = json.loads((run / "config.json").read_text())
    config = TrainConfig(**{k: v for k, v in settings.items() if k != "run_id"})
    history = EvaluationHistory()
    for record in metrics:
        if "accuracy" in record:
            history.observe(config, record["step"], record["accuracy"], record["wrong_inputs"] == 0)
        assert record["current_lr"] == learning_rate(config, record["step"], history)
    state = load_checkpoint(run / "model_step_12.pt").optimizer
    assert state["param_groups"][0]["lr"] == metrics[-2]["current_lr"]


def test_the_plateau_slows_a_run_that_does_not_improve(tmp_path):
    """At a rate that moves nothing, no evaluation is better than the first."""
    flags = ("--lr", 1e-9, "--min_lr", 1e-11, "--scheduler", "plateau", "--lr_factor", 0.1)
    run = train(tmp_path, *flags, "--plateau_patience", 2, "--eval_every", 5, "--log_every", 5)
    rates = [record["current_lr"] for record in read_metrics(run)]
    expected = [1e-9] * 3 + [1e-10] * 2 + [1e-11] * 4  # step 1, 5, 10, …, 40
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    "flags",
    [
        PLATEAU,
        ("--stop_when_exact", 1, "--eval_every", 2),
        ("--stop_when_proved", "--eval_every", 2),
        ("--early_stopping_patience", 9, "--eval_every", 2),
        ("--contraction", 1, "--eval_every", 2),
        ("--center_loss", 1, "--eval_every", 2),
    ],
)
def test_a_run_whose_evaluations_count_keeps_their_steps(flags, tmp_path, capsys):
    run = train(tmp_path, *flags)
    (run / "result.json").unlink()
    capsys.readouterr()
    sentence = refusal(capsys, train_cls_rnn.main, "--resume", run, "--eval_every", 3)
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
    assert result["best_score"] == accuracies[best_step] > result["accuracy"]
    best = load_run(str(run))  # what evaluate and certify take
    assert best.path == load_run(str(tmp_path)).path == run / "model_best.pt"
    assert best.step == best_step
    assert evaluate(load_model(best), SumModulo(9), 2, 4).accuracy == accuracies[best_step]
    assert "Stopped early: 3 evaluations in a row without improvement." in printed
    assert f"Best checkpoint: {run / 'model_best.pt'}, accuracy" in printed
    assert sorted(path.name for path in run.glob("*.pt")) == [
        "model_best.pt",
        f"model_step_{result['steps']}.pt",
    ]
    (run / "result.json").unlink()  # resumed, it knows that it is over
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    assert read_result(run)["steps"] == result["steps"]


@pytest.mark.skipif(os.name != "posix", reason="folders are not locked there")
def test_a_run_whose_folder_is_replaced_does_not_write_into_the_new_one(
    tmp_path, monkeypatch, capsys
):
    folder, log = tmp_path / "run", run_module.Run.log

    def log_and_replace(self, optimizer):
        log(self, optimizer)
        if self.step == 20:
            folder.rename(tmp_path / "moved")
            folder.mkdir()

    monkeypatch.setattr(run_module.Run, "log", log_and_replace)
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, "--save_every", 10, "--eval_every", 10)
    (sentence,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1 and not list(folder.iterdir())
    assert sentence.endswith("during the training; if it was moved, resume it in its new place")
    assert (tmp_path / "moved" / "model_step_10.pt").exists()
    monkeypatch.undo()
    folder.rmdir()
    assert train_cls_rnn.main(["--resume", str(tmp_path / "moved")]) == 0


def test_predictions_come_from_the_best_checkpoint(tmp_path, capsys):
    run = train(tmp_path, "--early_stopping_patience", 9)
    (run / "model_step_40.pt").write_bytes(b"damaged")
    question = ["--input", "1 2", "--save_dir", str(run)]
    assert predict_cls_rnn.main(question) == 0
    (run / "model_best.pt").unlink()
    assert status_of(predict_cls_rnn.main, *question) == 2
    assert "model_step_40.pt" in capsys.readouterr().err


# ---- accumulated gradients ----


def test_small_passes_make_the_update_of_one_large_batch(tmp_path, monkeypatch):
    """With noise and clipping; only the sums are rounded differently."""
    sizes = []
    last_state = RnnClsNet.last_state

    def noted(self, output, h_n):
        if self.training:  # the summary asks the network too
            sizes.append(int(output.batch_sizes[0]))
        return last_state(self, output, h_n)

    monkeypatch.setattr(RnnClsNet, "last_state", noted)
    flags = ("--max_grad_norm", 0.5, "--embed_noise", 0.3, "--optimizer", "sgd", "--lr", 0.1)
    large = train(tmp_path / "large", *flags, "--batch_size", 12)
    assert sizes == [12] * 40
    sizes.clear()
    small = train(tmp_path / "small", *flags, "--batch_size", 3, "--accumulate_steps", 4)
    assert sizes == [3] * 160
    for name, value in final_weights(small).items():
        torch.testing.assert_close(value, final_weights(large)[name], rtol=1e-4, atol=1e-6)
    for record, expected in zip(read_metrics(small), read_metrics(large), strict=True):
        for name in ("loss", "grad_norm", "padding_share"):
            assert record[name] == pytest.approx(expected[name], rel=1e-4)


# ---- spans ----


@pytest.mark.parametrize(("stop_after", "made"), [(99, [1, 3, 3, 3]), (4, [1, 3]), (0, [1])])
def test_a_long_span_is_made_in_parts_between_which_a_stop_is_heeded(stop_after, made, monkeypatch):
    """The parts take about a second each, as far as the last one tells."""
    now, sizes = [0.0], []

    def make_step(model, optimizer, *options):
        def advance(batches, learning_rates):
            now[0] += 0.4 * len(batches)
            sizes.append(len(batches))
            assert len(learning_rates) == len(batches)
            return batches.targets[:, 0].double(), batches.targets[:, 1].double()

        return advance

    monkeypatch.setitem(engines.SPAN_ENGINES, "compiled", make_step)
    monkeypatch.setattr(engines.time, "perf_counter", lambda: now[0])
    config = TrainConfig(device="cpu", engine="compiled")
    task = make_task(config)
    batches = task.dataset.draw_batches(0, 10, 4)
    engine = engines.make_engine(None, None, config, World(), EvaluationHistory())
    losses, grad_norm = engine(
        range(10), [0.1] * 10, batches, must_stop=lambda: sum(sizes) >= stop_after
    )
    assert sizes == made
    assert torch.equal(losses, batches.targets[: sum(made), 0].double())
    assert grad_norm == batches.targets[sum(made) - 1, 1]


def test_truncated_backpropagation_is_trained_by_autograd(tmp_path, capsys):
    flags = ("--engine", "auto", "--embed_noise", 0, "--min_seq_len", 2)
    whole = final_weights(train(tmp_path / "whole", *flags))
    capsys.readouterr()
    truncated = train(tmp_path / "truncated", *flags, "--bptt_steps", 1)
    assert read_result(truncated)["config"]["engine"] == "autograd"
    assert "it has no truncated backpropagation" in capsys.readouterr().out
    weights = final_weights(truncated)
    assert not torch.allclose(weights["embedding.weight"], whole["embedding.weight"], atol=1e-3)


# ---- precision ----


def first_batch(config):
    """The first batch of the digit sum, packed."""
    (batch,) = make_task(config).dataset.draw_batches(0, 1, 64).pack()
    return batch


def update_once(model, optimizer, config):
    """One update with the options of a configuration; returns its loss."""
    objective = Objective(model, config)
    batch = first_batch(config)
    loss, _ = update_with_options(objective, optimizer, [batch], 0.1, 0.0, 0.0, 0.0)
    return loss


def test_without_options_the_update_is_the_plain_one():
    config = TrainConfig(device="cpu", num_layers=2)
    ends = []
    for with_options in (False, True):
        model = make_digit_model(config)
        optimizer = torch.optim.SGD(model.parameters())
        if with_options:
            loss, norm = update_with_options(
                Objective(model, config), optimizer, [first_batch(config)], 0.1, 0.5, 0.0, 0.0
            )
        else:
            loss, norm = update(model, optimizer, first_batch(config), 0.1, 0.5)
        ends.append([loss, norm, *model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_the_products_are_in_bfloat16_and_the_weights_in_float32():
    grads, losses, dtypes = {}, {}, {}
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(device="cpu", precision=precision, hidden_dim=32, optimizer="sgd")
        model = make_digit_model(config)
        optimizer = torch.optim.SGD(model.parameters())
        seen = dtypes[precision] = []
        for module in (model.rnn, model.fc):
            module.register_forward_hook(
                lambda module, _, out, seen=seen: seen.append(
                    (out if module.__class__ is torch.nn.Linear else out[1]).dtype
                )
            )
        loss = update_once(model, optimizer, config)
        losses[precision] = loss.item()
        parameters = list(model.parameters())
        assert {tensor.dtype for p in parameters for tensor in (p, p.grad)} == {torch.float32}
        grads[precision] = torch.cat([p.grad.flatten() for p in parameters])
    assert dtypes == {"float32": [torch.float32] * 2, "bfloat16": [torch.bfloat16] * 2}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.01)
    difference = (grads["bfloat16"] - grads["float32"]).norm() / grads["float32"].norm()
    assert 1e-5 < difference < 0.02


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "gru", "num_layers": 2, "dropout": 0.1},
        {"cell": "lstm", "bidirectional": True, "pooling": "mean"},
        {"cell": "transformer", "embed_dim": 16, "pooling": "mean"},
        {"num_layers": 2, "layer_norm": True, "residual": True, "pooling": "attention"},
        {"nonlinearity": "relu", "pooling": "max"},
        {"bptt_steps": 2, "init": "orthogonal"},
        {"cell": "lstm", "bptt_steps": 2},
    ],
    ids=str,
)
def test_every_member_of_the_family_has_almost_the_same_loss_in_bfloat16(settings):
    if settings.get("cell") == "lstm" and not has_bfloat16_lstm():
        pytest.skip("PyTorch has no LSTM in bfloat16 for this processor")
    losses = []
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(device="cpu", precision=precision, optimizer="sgd", **settings)
        model = make_digit_model(config)
        optimizer = torch.optim.SGD(model.parameters())
        torch.manual_seed(0)
        loss = update_once(model, optimizer, config)
        losses.append(loss.item())
        assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], abs=0.02)


def test_an_lstm_in_bfloat16_is_refused_where_pytorch_has_none(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(configure, "has_bfloat16_lstm", lambda: False)
    flags = ("--precision", "bfloat16", "--cell", "lstm", "--save_dir", tmp_path / "runs")
    sentence = refusal(capsys, train_cls_rnn.main, *flags)
    assert "--precision bfloat16 cannot be used with --cell lstm on this processor" in sentence
    assert not list(tmp_path.iterdir())


def test_an_lstm_in_bfloat16_fails_where_it_is_refused():
    """With sequences of one length, which oneDNN computes."""
    config = TrainConfig(device="cpu", precision="bfloat16", cell="lstm", min_seq_len=5)
    model = make_digit_model(config)
    optimizer = torch.optim.SGD(model.parameters())
    with nullcontext() if has_bfloat16_lstm() else pytest.raises(RuntimeError, match="LSTM"):
        update_once(model, optimizer, config)


def test_it_learns_in_bfloat16(tmp_path):
    flags = ("--max_number", 1, "--min_seq_len", 1, "--max_seq_len", 3, "--total_steps", 600)
    run = train(tmp_path, *flags, "--lr", 0.01, "--hidden_dim", 16, "--precision", "bfloat16")
    assert read_result(run)["wrong_inputs"] == 0


def test_a_gpu_would_compute_in_float16(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(configure, "choose_device", lambda name, world: name)
    flags = ("--precision", "bfloat16", "--device", "cuda", "--save_dir", tmp_path / "runs")
    sentence = refusal(capsys, train_cls_rnn.main, *flags)
    assert "--precision bfloat16" in sentence and "--device cuda" in sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--accumulate_steps", 2), "it takes a batch in one pass"),
        (("--precision", "bfloat16"), "it computes in float32"),
    ],
)
def test_only_autograd_accumulates_and_casts(flags, reason, tmp_path, capsys):
    sentence = refusal(
        capsys, train_cls_rnn.main, *flags, "--engine", "compiled", "--save_dir", tmp_path
    )
    assert f"--engine 'compiled' cannot be used: {reason}" in sentence
    assert "--contraction" in refusal(
        capsys, train_cls_rnn.main, *flags, "--contraction", 1, "--save_dir", tmp_path
    )


def test_only_autograd_has_the_penalties_of_a_gru(tmp_path, capsys):
    flags = ("--cell", "gru", "--contraction", 0.1)
    sentence = refusal(
        capsys, train_cls_rnn.main, *flags, "--engine", "compiled", "--save_dir", tmp_path
    )
    assert "it has --contraction for --cell rnn only" in sentence
    on_gpu = TrainConfig(device="cuda", center_loss=1.0)
    assert unsupported_reason("graph", on_gpu, World()) == "it has no --center_loss"
    with pytest.raises(ValueError, match="--center_loss needs all states of a batch"):
        configure.configure({"center_loss": 1.0}, None, World(size=2))
    quick = ("--total_steps", 4, "--log_every", 2, "--eval_every", 4, "--max_seq_len", 3)
    run = train(tmp_path, *flags, *quick)
    assert json.loads((run / "config.json").read_text())["engine"] == "autograd"


# ---- buckets of length ----


def test_padding_is_logged_and_bucketing_lowers_it(tmp_path, capsys):
    shares = {}
    for bucket in ("--no-bucket_by_length", "--bucket_by_length"):
        flags = (bucket, "--max_seq_len", 50, "--log_every", 1, "--eval_every", 40)
        run = train(tmp_path / bucket, *flags)
        logged = [record["padding_share"] for record in read_metrics(run)]
        settings = json.loads((run / "config.json").read_text())
        config = TrainConfig(**{k: v for k, v in settings.items() if k != "run_id"})
        loader = make_loader(make_task(config).dataset, config, 0, 40)
        lengths = loader.take(40).seq_lengths
        expected = [1 - n.float().mean().item() / n.max().item() for n in lengths]
        assert logged == pytest.approx(expected)
        shares[bucket] = sum(logged) / len(logged)
        assert f"Padding: {shares[bucket]:.1%} of a batch on average." in capsys.readouterr().out
    assert shares["--bucket_by_length"] < 0.1 < 0.4 < shares["--no-bucket_by_length"]


def test_without_padding_nothing_is_said_of_it(tmp_path, capsys):
    run = train(tmp_path, "--min_seq_len", 4)
    assert {record["padding_share"] for record in read_metrics(run)} == {0.0}
    assert "Padding" not in capsys.readouterr().out
