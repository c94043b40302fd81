"""Checks of runs on made-up evidence: each fires on its fault and not beside it."""

import json
import math
import random
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from rnn_tutorial.data.examples import read_split
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.evidence import (
    ENOUGH_STEPS,
    LEARNED,
    MAX_LENGTH,
    Evidence,
    read_evidence,
    read_files,
    read_task,
)
from rnn_tutorial.doctor.findings import describe
from rnn_tutorial.doctor.run_causes import CAUSES
from rnn_tutorial.doctor.run_checks import OTHERS, Watch, check_run
from rnn_tutorial.doctor.run_findings import TABLE
from rnn_tutorial.doctor.states import StateSummary
from rnn_tutorial.evaluation import scorer
from rnn_tutorial.evaluation.lengths import sample_sequences
from rnn_tutorial.evaluation.result import wilson_interval
from rnn_tutorial.experiments.doctor_advice import advised_flags
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.recipes import RECIPES, settings_of
from rnn_tutorial.tasks import labelled_files
from train_cls_rnn import make_parser

CHANCE = math.log(10)
SOUND = StateSummary([1.0] * 5, 0.1, 0.0)


def make(
    losses=(2.3, 1.0, 0.5, 0.2, 0.1),
    accuracies=(0.1, 0.3, 0.8, 0.95, 1.0),
    steps=5000,
    norms=(0.5,),
    ratios=(0.001, 0.004),
    states=SOUND,
    evaluation=None,
    asked_length=None,
    margins=None,
    **settings,
):
    """A run that learned, but for what is given."""
    config = TrainConfig(**{"min_seq_len": 1, "total_steps": 5000, **settings})
    metrics = [
        {
            "step": steps * (i + 1) // len(losses),
            "loss": loss,
            "grad_norm": norms[i % len(norms)],
            "update_ratio": ratios[i % len(ratios)],
        }
        for i, loss in enumerate(losses)
    ]
    for line, accuracy in zip(metrics, accuracies, strict=False):
        line["accuracy"] = accuracy
    model = RnnClsNet(10, 2, 2, 1, 10) if margins else None
    task = read_task(config)
    made = Evidence(
        asdict(config), metrics, task, model, evaluation, asked_length, read_files(task)
    )
    made.__dict__["states"] = states
    if margins:
        made.__dict__["margins"] = margins
    return made


def stuck(losses=(2.3,) * 5, accuracies=(0.1,) * 5, **options):
    """A run that did not learn."""
    return make(losses, accuracies, **options)


def seen(norms=(1.0,) * 30, saturated=0.1, idle=0.0):
    return StateSummary(list(norms), saturated, idle)


def fading(factor):
    return seen([factor] + [1.0] * 29)


def sample(low, high):
    return {"exact": False, "num_inputs": 100, "low": low, "high": high}


LONG = {"asked_length": 1000}
FALLING = (2.3, 2.2, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4)
FLAT = (2.2,) * 10
HIGH = {"lr": 0.05}
SGD = {"optimizer": "sgd", "lr": 0.3}


def scheduled(rates, **options):
    """A stuck run that logged these learning rates."""
    run = stuck(FLAT, lr=0.01, **options)
    for line, rate in zip(run.metrics, rates, strict=True):
        line["current_lr"] = rate
    return run


# Name, evidence on which it fires, and evidence that differs little and is not that fault.
PARSER = make_parser()
CASES = [
    ("not-finite-loss", make((2.3, 2.2, None), (), steps=300), make((2.3, 2.2, 9.0), ())),
    ("network-too-small", stuck(FLAT, hidden_dim=2), stuck(FLAT, hidden_dim=8)),
    ("network-too-small", stuck(FLAT, hidden_dim=2), make(hidden_dim=2)),
    ("too-much-dropout", stuck(FLAT, num_layers=2, dropout=0.9),
     stuck(FLAT, num_layers=2, dropout=0.5)),
    ("too-much-weight-decay", stuck(optimizer="adam", weight_decay=0.5),
     stuck(optimizer="adamw", weight_decay=0.5)),
    ("too-much-noise", stuck(FLAT, embed_noise=3.0), stuck(FLAT, embed_noise=0.3)),
    ("truncated-too-short", stuck(FLAT, bptt_steps=2, max_seq_len=30),
     stuck(FLAT, bptt_steps=30, max_seq_len=30)),
    ("shut-gates", stuck(FLAT, cell="lstm", forget_bias=-10.0),
     stuck(FLAT, cell="lstm", forget_bias=3.0)),
    ("batch-too-small", stuck(FLAT, batch_size=1), stuck(FLAT, batch_size=16)),
    ("batch-too-small", stuck(FLAT, batch_size=1), stuck(FLAT, batch_size=1, accumulate_steps=8)),
    ("warmup-too-long", stuck(FLAT, warmup_step=4000), stuck(FLAT, warmup_step=500)),
    ("learning-rate-falls-too-early", scheduled((0.01, *(1e-6,) * 9), scheduler="step"),
     scheduled((*(0.01,) * 9, 1e-6), scheduler="step")),
    ("stopped-too-early", stuck(FLAT, (0.2, 0.2, 0.2), steps=1200, early_stopping_patience=2),
     stuck(FLAT, (0.2, 0.2, 0.3), steps=1200, early_stopping_patience=2)),
    ("too-few-steps", stuck(FALLING), stuck(FALLING[::-1])),
    (
        "learning-rate-too-high",  # though the run is too short to be judged
        stuck(FALLING, steps=600, total_steps=600, lr=0.5),
        stuck(FALLING, steps=600, total_steps=600),
    ),
    ("too-few-steps", stuck(FALLING, steps=600, total_steps=600), stuck(FALLING, steps=600)),
    ("missing-warmup", stuck(FLAT, num_layers=3, ratios=(0.05, 0.01)),
     stuck(FLAT, ratios=(0.05, 0.01))),
    ("missing-warmup", stuck(FLAT, num_layers=3, ratios=(0.05,) * 2 + (0.01,) * 9),
     make(num_layers=3, ratios=(0.05,) * 2 + (0.01,) * 9)),
    ("missing-warmup", stuck(FLAT, num_layers=2, ratios=(0.05, 0.01)),
     stuck(FLAT, num_layers=2, ratios=(0.05, 0.01), warmup_step=9)),
    ("learning-rate-too-high", stuck(**HIGH), stuck(lr=0.001)),
    ("learning-rate-too-high", stuck(FLAT, lr=0.008, ratios=(0.05,)),
     stuck(FLAT, lr=0.008, ratios=(0.05, *(0.01,) * 9))),
    ("learning-rate-too-high", stuck((5.0,) * 10, lr=0.008), stuck((5.0,) * 10, lr=0.001)),
    ("learning-rate-too-high", stuck(momentum=0.999, **SGD), stuck(FLAT, momentum=0.5, **SGD)),
    ("saturated-units", stuck(FLAT, states=seen(saturated=0.95)),
     stuck(FLAT, states=seen(saturated=0.8))),
    ("saturated-units", stuck(FLAT, states=seen(saturated=0.95)),
     make(states=seen(saturated=0.95))),
    ("dead-units", stuck(FLAT, states=seen(idle=0.6)), stuck(FLAT, states=seen(idle=0.4))),
    ("exploding-gradient", stuck(FLAT, states=fading(1e4)), stuck(FLAT, states=fading(1e2))),
    ("gradient-always-clipped", make(max_grad_norm=0.1), make(max_grad_norm=1.0)),
    ("gradient-always-clipped", make(max_grad_norm=0.1),
     make(max_grad_norm=0.1, norms=(0.5, 0.05))),
    ("learning-rate-too-low", stuck(ratios=(1e-5, 1e-4)), stuck(ratios=(1e-5, 1e-3))),
    ("learning-rate-too-low", stuck(optimizer="sgd", lr=1e-3, ratios=(1e-3,)),
     stuck(optimizer="adam", lr=1e-3, ratios=(1e-3,))),
    ("learning-rate-too-low", stuck(ratios=(1e-5,)), make(ratios=(1e-5,))),
    ("vanishing-gradient", stuck(FLAT, states=fading(1e-5)), stuck(FLAT, states=fading(1e-2))),
    ("vanishing-gradient", stuck(FLAT, states=fading(1e-5)),
     stuck(FLAT, states=seen([1e-5, 1.0, 1.0, 1.0, 1.0]))),
    ("missing-short-lengths", stuck(FLAT, min_seq_len=2), make(min_seq_len=2)),
    ("missing-short-lengths", stuck(FLAT, min_seq_len=2), stuck(FLAT)),
    ("oscillating-loss", make((0.3,) * 8, (0.9,) * 4 + (0.9, 0.7, 0.9, 0.7)),
     make((0.3,) * 8, (0.9, 0.5, 0.9, 0.5, 0.9, 0.88, 0.9, 0.88))),
    ("loss-spikes", make((2.3, *[0.1] * 10, 2.0, 0.1)), make((2.3, *[0.1] * 10, 0.5, 0.1))),
    ("loss-spikes", make((2.3, *[0.1] * 9, 2.0)), make((2.3, *[0.1] * 8, 2.0))),  # 10 before, 9
    ("gradient-never-clipped", make(max_grad_norm=100.0), make(max_grad_norm=10.0)),
    ("unstable-at-length", make(margins=[(5, 1.0, 3.0), (9, 0.5, -1.0)], **LONG),
     make(margins=[(5, 1.0, 3.0), (9, 1.0, 2.0)], **LONG)),
    ("loss-at-chance", stuck(), stuck((2.0,) * 5)),
    ("loss-at-chance", stuck(steps=1200), stuck(steps=900)),
    ("loss-at-chance", stuck(steps=1200), stuck(steps=1200, warmup_step=500)),
    ("learned-little", stuck((2.0,) * 5), stuck()),
]  # fmt: skip


def names(run):
    return [finding.name for finding in check_run(run).findings]


def all_findings(run):
    """What every check says, whether or not another one explains it, by name."""
    every = [finding for check in CAUSES + OTHERS for finding in check(run)]
    return {finding.name: finding for finding in every + check_run(run).findings}


@pytest.mark.parametrize(("name", "faulty", "other"), CASES)
def test_a_check_fires_on_its_fault_and_not_beside_it(name, faulty, other):
    finding = all_findings(faulty)[name]
    assert finding.seen and finding.meaning and finding.advice
    assert "{" not in finding.meaning + finding.advice
    assert name not in all_findings(other)


@pytest.mark.parametrize("is_on_files", [False, True])
@pytest.mark.parametrize(("name", "faulty", "other"), CASES)
def test_flags_of_advice_can_be_followed(name, faulty, other, is_on_files, tmp_path):
    """train_cls_rnn.py takes them for such a run, and the first ones with the run's settings."""
    kind = []
    if is_on_files:
        kind = ["--train_file", write_examples(tmp_path / "a.tsv", map(str, range(10)))]
        config = {**faulty.config, "train_file": kind[1], "seed": 0}
        states, task = faulty.states, read_task(TrainConfig(**config))
        faulty = replace(faulty, config=config, task=task, asked_length=None)
        faulty.__dict__["states"] = states
    for finding in check_run(faulty).findings:
        words = re.findall(r"--(\w+) ([^\s;,)]+)", finding.advice)
        for flag, value in words:
            flags = vars(PARSER.parse_args([*kind, f"--{flag}", value]))
            del flags["resume"], flags["diagnose"]
            assert settings_of(flags)[flag] == type(faulty.config[flag])(value)
        first = words[: advised_flags(finding.advice).count("--")]
        typed = {flag: type(faulty.config[flag])(value) for flag, value in first}
        TrainConfig(**{**faulty.config, **typed})
    assert not is_on_files or not any(
        "--length" in reason for reason in check_run(faulty).not_asked
    )


def test_every_finding_has_a_case():
    files = {"overfitting", "evaluation-labels-wrong"}  # below: they need files
    assert {name for name, _, _ in CASES} | files == set(TABLE)


@pytest.mark.parametrize(("name", "faulty", "other"), CASES)
def test_a_fault_is_the_first_that_is_named(name, faulty, other):
    assert names(faulty)[0] == name


@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        ({"dropout": 0.95, "num_layers": 3}, {"ratios": (0.05, 0.01)}),
        ({"weight_decay": 0.5}, {"states": seen(idle=0.9)}),
        ({"hidden_dim": 1}, {"states": seen(idle=0.9)}),
        ({"lr": 0.05}, {"states": seen(idle=0.9), "min_seq_len": 2}),
    ],
)
def test_a_cause_in_the_settings_explains_what_follows_from_it(cause, effect):
    assert len(all_findings(stuck(**cause, **effect))) > 1
    assert len(names(stuck(**cause, **effect))) == 1


def test_what_is_possible_hides_nothing_that_is_likely():
    run = stuck((5.0,) * 10, lr=0.008, states=seen(idle=0.9))
    found = {finding.name: finding.confidence for finding in check_run(run).findings}
    assert found == {"dead-units": "likely", "learning-rate-too-high": "possible"}


def test_swings_explain_spikes():
    losses = (*[0.1] * 11, 2.0, 0.1, 0.1, 2.0, 0.1)
    swinging = make(losses, (0.9, 0.9, 0.9, 0.9, 0.9, 0.7, 0.9, 0.7))
    assert names(swinging) == ["oscillating-loss"]


def test_a_run_that_learned_has_no_findings():
    assert names(make()) == []


def test_a_run_that_diverges_at_once_is_diagnosed():
    assert names(make((None,), (), steps=1)) == ["not-finite-loss"]


@pytest.mark.parametrize("options", [{"ratios": (None,)}, {"states": None}])
def test_what_is_not_known_is_not_held_against_a_run(options):
    assert names(make(**options)) == []
    assert names(stuck(**options)) == ["loss-at-chance"]


def test_without_a_network_a_length_can_be_asked():
    assert names(make(**LONG)) == []
    unfinished = stuck(FALLING, steps=600, total_steps=600, lr=0.5, **LONG)
    assert "and after 600 updates 10% of the answers" in check_run(unfinished).findings[0].seen


def test_without_an_evaluation_a_length_can_be_asked():
    stopped = make(
        accuracies=(), min_seq_len=2, asked_length=9, margins=[(5, 0.1, -1.0), (9, 0.1, -1.0)]
    )
    found = [(finding.name, finding.confidence) for finding in check_run(stopped).findings]
    assert found == [("unstable-at-length", "certain"), ("missing-short-lengths", "possible")]


@pytest.mark.parametrize(
    ("run", "advice"),
    [
        (stuck(lr=0.03), "--lr 0.003"),
        (stuck(lr=3.0), "--lr 0.005"),
        (stuck(momentum=0.999, **SGD), "--lr 0.03 --momentum 0.9"),
        (make((2.3, None), (), lr=0.0005), "--lr 5e-05 --min_lr 0 --max_grad_norm 1"),
        (make((0.3,) * 8, (0.9, 0.7) * 4, lr=0.0002), "--lr 6.7e-05 --min_lr 0"),
        (make((0.3,) * 8, (0.9, 0.7) * 4, lr=0.0002, scheduler="constant"), "--lr 6.7e-05 --max"),
    ],
)
def test_the_advised_learning_rate_is_allowed(run, advice):
    (finding,) = check_run(run).findings
    assert finding.advice.startswith(advice)


@pytest.mark.parametrize(
    ("run", "is_judged"),
    [
        (make(steps=900, accuracies=(0.9,)), True),
        (make(steps=900, accuracies=(0.1,)), False),
        (make(steps=1200, accuracies=(0.1,), warmup_step=500), False),
        (make(steps=1200, accuracies=()), False),
    ],
)
def test_health_is_told_from_too_little_to_judge(run, is_judged):
    report = check_run(run)
    assert report.findings == []
    text = describe(*report)
    assert (f"whether it learns: {run.steps:,} updates are too few to tell" in text) != is_judged
    assert is_judged or f"{1000 + run.config['warmup_step']:,} updates or more" in text


def test_margins_are_those_of_prefixes_at_doubling_lengths():
    torch.manual_seed(0)
    run, model = make(), RnnClsNet(10, 4, 4, 1, 10)
    longer = Evidence(run.config, run.metrics, run.task, model, asked_length=30)
    assert [length for length, _, _ in longer.margins] == [5, 10, 20, 30]
    for _, accuracy, margin in longer.margins:
        assert 0 <= accuracy < 0.3 and margin < 0
    shorter = Evidence(run.config, run.metrics, run.task, model, asked_length=3)
    assert [length for length, _, _ in shorter.margins] == [3]


@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "cell": "lstm", "residual": True},
    {"num_layers": 2, "cell": "gru", "layer_norm": True},
    {"bidirectional": True}, {"pooling": "mean"}, {"cell": "transformer"},
], ids=str)  # fmt: skip
def test_margins_are_those_of_the_model_on_whole_sequences(options, monkeypatch):
    monkeypatch.setattr(scorer, "_STRETCH_TOKENS", 600)  # three steps
    monkeypatch.setattr(scorer, "_BATCH_TOKENS", 600)  # some sequences
    torch.manual_seed(0)
    options = {"num_layers": 1, **options}
    model = RnnClsNet(vocab_size=10, embed_dim=4, hidden_dim=4, cls_num=10, **options).eval()
    run = make()
    x = torch.from_numpy(sample_sequences(run.task.machine, 23, 200)).long()
    asked = Evidence(run.config, run.metrics, run.task, model, asked_length=23)
    for length, accuracy, margin in asked.margins:
        with torch.no_grad():
            scores = model(x[:, :length], torch.full((200,), length))
        right = x[:, :length].sum(dim=1) % 10
        rest = scores.clone()
        rest[torch.arange(200), right] = -math.inf
        expected = scores[torch.arange(200), right] - rest.amax(dim=1)
        assert accuracy == (expected > 0).double().mean()
        assert margin == pytest.approx(expected.min().item(), abs=1e-5)


def test_a_length_beyond_what_fits_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(make().config))
    with pytest.raises(ValueError, match=f"--length {MAX_LENGTH + 1} .* up to 100,000"):
        read_evidence(str(tmp_path), MAX_LENGTH + 1)


# ---- runs on files ----


def on_files(tmp_path, shift, **options):
    """A run on 600 examples whose label stands `shift` lines away."""
    lines = [(f"{i % 7}", f"{i % 7} {i % 11}") for i in random.Random(0).choices(range(77), k=600)]
    labels = [label for label, _ in lines]
    path = tmp_path / "train.tsv"
    rows = [f"{labels[i - shift]}\t{tokens}" for i, (_, tokens) in enumerate(lines)]
    path.write_text("\n".join(rows))
    return stuck(train_file=str(path), eval_file="", seed=0, min_seq_len=2, **options)


def test_the_files_of_a_run_are_checked_first(tmp_path):
    assert "shifted-labels" in names(on_files(tmp_path, 1))
    found = names(on_files(tmp_path, 0, ratios=(1e-6,)))
    assert "learning-rate-too-low" in found and "shifted-labels" not in found


def write_examples(path, labels):
    path.write_text("".join(f"{label}\t{i % 7} {i % 11}\n" for i, label in enumerate(labels)))
    return str(path)


@pytest.mark.parametrize("evaluation", [None, {"answers_by_label": {"a": {"b": 5}, "b": {"a": 5}}}])
def test_chance_is_that_of_the_training_labels(tmp_path, evaluation):
    """Also of a run that is watched, whose network is not looked at. Training says what the most
    frequent of them scores on the evaluation examples."""
    files = {
        "train_file": write_examples(tmp_path / "train.tsv", "aaab" * 10),
        "eval_file": write_examples(tmp_path / "eval.tsv", "ab" * 10),
    }
    run = make(seed=0, max_number=11, evaluation=evaluation, **files)
    assert run.label_shares == [0.75, 0.25]
    assert run.chance_loss == pytest.approx(0.56233, abs=1e-5)
    said = "chance is a loss of 0.562, accuracy 50.0% (always 'a')"
    assert run.task.introduce().startswith(said)


@pytest.mark.parametrize(("num_right", "is_small"), [(100, False), (60, True)])
def test_an_evaluation_is_small_if_its_own_interval_is_wide(tmp_path, num_right, is_small):
    files = [write_examples(tmp_path / f"{n}.tsv", "ab" * n) for n in (300, 50)]
    evaluation = sample(*wilson_interval(num_right, 100))
    run = make(evaluation=evaluation, train_file=files[0], eval_file=files[1], seed=0)
    assert ("small-evaluation" in names(run)) == is_small
    found = {f.name: f.confidence for f in check_data(*map(Path, files)).findings}
    assert found["small-evaluation"] == "possible"


def test_one_file_for_training_and_evaluation_is_a_test_of_memory(tmp_path):
    path, copy = tmp_path / "a.tsv", tmp_path / "b.tsv"
    for each in (path, copy):
        each.write_text("".join(f"{i % 7}\t{i % 7} {i % 11} {i // 77}\n" for i in range(700)))
    evaluation = sample(*wilson_interval(50, 100))
    for eval_file, is_said in ((path, False), (copy, True)):
        files = {"train_file": str(path), "eval_file": str(eval_file)}
        run = make(evaluation=evaluation, seed=0, **files)
        found = {finding.name: finding.confidence for finding in check_run(run).findings}
        assert ("shared-stream" in found) == is_said
        assert found["small-evaluation"] == "possible"


def test_lines_that_repeat_in_order_are_no_workers(tmp_path):
    path = write_examples(tmp_path / "train.tsv", [str(i % 7) for i in range(77)] * 8)
    assert "duplicated-workers" not in names(make(train_file=path, eval_file=path, seed=0))


def test_the_files_of_a_watched_run_are_looked_at_once(tmp_path, monkeypatch, capsys):
    reads = []
    monkeypatch.setattr(
        labelled_files, "read_split", lambda *files: reads.append(files) or read_split(*files)
    )
    run = on_files(tmp_path, 0, ratios=(1e-6,))
    reads.clear()
    write_run(tmp_path, run)
    watch = Watch(tmp_path)
    assert "learning-rate-too-low" in watch.look()[-1]
    at_first = len(reads)
    assert at_first and watch.look() == watch.look() == []
    watch.report()
    assert "learning-rate-too-low" in capsys.readouterr().out and len(reads) == at_first


def test_a_watch_says_nothing_of_a_run_that_is_gone(tmp_path):
    watch = Watch(tmp_path / "gone")
    assert watch.look() == []


def write_run(folder, run):
    (folder / "config.json").write_text(json.dumps(run.config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in run.metrics))


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("too-few-steps", stuck(FALLING, steps=1000, total_steps=6000)),
        ("warmup-too-long", stuck(FLAT, steps=1000, total_steps=6000, warmup_step=600)),
        ("oscillating-loss", make((0.3,) * 8, (0.9, 0.7) * 4, steps=1000, total_steps=6000)),
        ("loss-at-chance", stuck(steps=1000, total_steps=6000)),
        ("learned-little", stuck((2.0,) * 5, steps=1000, total_steps=6000)),
    ],
)
def test_what_the_end_of_a_run_shows_waits_for_it(name, run, tmp_path, capsys):
    write_run(tmp_path, run)
    watch = Watch(tmp_path)
    assert watch.look() == []
    watch.report()  # it was stopped
    printed = capsys.readouterr().out
    assert f"Doctor: {name}" in printed
    steps = re.search(r"--total_steps (\d+)", printed)
    assert not steps or int(steps[1]) >= run.config["total_steps"]


def test_files_that_are_gone_are_not_held_against_a_run():
    gone = stuck(train_file="gone.tsv", eval_file="", seed=0)
    assert gone.task is None and len(gone.label_shares) == 10
    assert names(gone) == ["loss-at-chance"]


def test_guessing_the_most_frequent_class_is_no_skill():
    by_label = {"spam": {"ham": 10}, "ham": {"ham": 90}}
    evaluation = {"exact": True, "answers_by_label": by_label}
    losses = (0.325,) * 5
    guessing = stuck(losses, (0.9,) * 5, evaluation=evaluation, train_file="gone.tsv")
    assert guessing.skill == pytest.approx(0) and guessing.chance_loss == pytest.approx(
        0.3251, 1e-3
    )
    assert names(guessing) == ["loss-at-chance"]


def test_rejecting_everything_is_no_skill_where_nearly_all_is_to_be_rejected():
    task = {"task": "tomita_1", "max_seq_len": 20}
    shares = read_task(TrainConfig(min_seq_len=1, **task)).machine.class_shares(range(1, 21))
    guessing = stuck((0.2,) * 5, (shares.max(),) * 5, **task)
    assert shares.max() > 0.9 and guessing.skill == 0 and not guessing.has_learned


def test_the_answers_at_a_length_are_also_asked_where_they_are_not_settled():
    run = make(task="tomita_1", max_seq_len=20, asked_length=100)  # a 0 settles the answer
    run.model = RnnClsNet(2, 2, 2, 1, 2)
    torch.nn.init.zeros_(run.model.fc.weight)
    run.model.fc.bias.data = torch.tensor([1.0, 0.0])
    always_rejected = run.task.machine.classes.index("rejected") == 0
    for _, accuracy, _ in run.margins:
        assert 0.3 < (accuracy if always_rejected else 1 - accuracy) < 0.7


def test_a_length_is_asked_of_digits_only(tmp_path):
    config = stuck(train_file="a.tsv", eval_file="", seed=0).config
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.3}\n')
    with pytest.raises(ValueError, match="--length 9 needs"):
        read_evidence(str(tmp_path), 9)


# ---- reading ----


def test_a_half_written_line_is_left_out_and_a_damaged_one_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(make().config))
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.3}\n{"step": 2, "lo')
    assert read_evidence(str(tmp_path)).metrics == [{"step": 1, "loss": 2.3}]
    path.write_text('{"step": 1}\nloss\n{"step": 2}\n')
    with pytest.raises(ValueError, match="line 2 is damaged"):
        read_evidence(str(tmp_path))
    for text in ("", '{"step"'):
        path.write_text(text)
        with pytest.raises(ValueError, match="empty"):
            read_evidence(str(tmp_path))


def test_a_checkpoint_that_is_named_is_diagnosed_as_of_its_step(trained_folder):
    folder = trained_folder / "output" / "baseline"
    early, late = (read_evidence(str(folder / f"model_step_{n}.pt")) for n in (20, 40))
    assert (early.steps, late.steps) == (20, 40)
    for found, step in ((early, 20), (late, 40), (read_evidence(str(folder)), 40)):
        checkpoint = load_checkpoint(folder / f"model_step_{step}.pt")
        assert torch.equal(found.model.fc.weight, checkpoint.weights["fc.weight"])
        assert found.evaluation == checkpoint.evaluation


def test_a_run_that_has_not_begun_is_refused(tmp_path):
    with pytest.raises(ValueError, match="RUN"):
        read_evidence(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({"lr": 0.1}))
    with pytest.raises(ValueError, match="missing or unknown settings: accumulate_steps, "):
        read_evidence(str(tmp_path))


def test_the_sentences_about_recipes_are_true_of_the_committed_results():
    """What is learned lies below the worst seed of sota_warmup; what is enough is so for solved."""
    results = REPOSITORY / "rnn_tutorial" / "results"
    published = json.loads((results / "published.json").read_text())
    worst = min(run["accuracy"] for run in published["variants"]["sota_warmup"]["runs"])
    assert (10 * worst - 1) / 9 > LEARNED
    enough = ENOUGH_STEPS + RECIPES["solved"].settings["warmup_step"]
    solved = json.loads((results / "solved.json").read_text())["variants"]["solved"]["runs"]
    for run in solved:
        steps, accuracies = run["curve"]["step"], run["curve"]["accuracy"]
        assert steps[accuracies.index(1)] <= enough


@pytest.mark.parametrize(
    ("loss", "accuracy", "is_named"),
    [
        (0.01, 0.2, True),
        (0.3, 0.2, True),
        (0.01, 0.6, True),
        (0.01, 0.95, False),
        (1.8, 0.2, False),
    ],
)
def test_learning_by_heart_is_told_from_learning(tmp_path, loss, accuracy, is_named):
    rows = [(i % 7, i % 11, (i * i) % 7) for i in random.Random(0).choices(range(770), k=1200)]
    lines = [f"{(a + b + c) % 7}\t{a} {b} {c}\n" for a, b, c in rows]
    (tmp_path / "a.tsv").write_text("".join(lines[:600]))
    (tmp_path / "b.tsv").write_text("".join(lines[600:]))
    files = {"train_file": str(tmp_path / "a.tsv"), "eval_file": str(tmp_path / "b.tsv")}
    run = make((loss,) * 10, (accuracy,) * 3, min_seq_len=3, max_seq_len=3, **files)
    (finding,) = [f for f in check_run(run).findings if f.name == "overfitting"] or [None]
    assert (finding is not None) == is_named
    if is_named:  # of more than guessing it is not said that nothing was learned
        assert ("teach nothing" in finding.meaning) == (accuracy == 0.2)


@pytest.mark.parametrize("num_inputs", [90, 9000])
def test_falls_of_few_examples_are_chance(num_inputs):
    evaluation = {"exact": True, "num_inputs": num_inputs, "low": 0.0, "high": 0.0}
    run = make((0.1,) * 8, (0.95, 0.85) * 4, evaluation=evaluation)
    assert ("oscillating-loss" in names(run)) == (num_inputs == 9000)


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [((200, 1), "--embed_dim 16"), ((2, 30), "--hidden_dim 48"), ((2, 2), "--hidden_dim 48 --e")],
)
def test_only_what_is_too_small_is_made_larger(sizes, advice):
    run = stuck(hidden_dim=sizes[0], embed_dim=sizes[1])
    (finding,) = [f for f in check_run(run).findings if f.name == "network-too-small"]
    assert finding.advice.startswith(advice)


@pytest.mark.parametrize(("balanced", "is_named"), [(0.5, True), (0.67, False), (0.8, False)])
def test_beside_a_large_class_the_others_count_as_much(tmp_path, balanced, is_named):
    """Answers to noisy labels cannot be right more often than the large class is."""
    labels = random.Random(0).choices("ab", (95, 5), k=1200)
    files = {
        "train_file": write_examples(tmp_path / "a.tsv", labels[:600]),
        "eval_file": write_examples(tmp_path / "b.tsv", labels[600:]),
    }
    run = make((0.09,) * 10, (0.95,) * 3, seed=0, **files)
    for line in run.metrics:
        line["balanced_accuracy"] = balanced
    found = names(replace(run))
    assert ("overfitting" in found) == is_named and "imbalanced-classes" in found
    run.config["balance_classes"] = True  # what the finding would advise
    assert "imbalanced-classes" not in names(replace(run))


@pytest.mark.parametrize("are_others", [False, True])
def test_other_tokens_in_evaluation_explain_why_it_fails(tmp_path, are_others):
    lines = [f"{i % 7}\t{i % 7} {i % 11}\n" for i in random.Random(0).choices(range(77), k=800)]
    if are_others:
        lines[600:] = [line.replace(" ", " x") for line in lines[600:]]
    (tmp_path / "a.tsv").write_text("".join(lines[:600]))
    (tmp_path / "b.tsv").write_text("".join(lines[600:]))
    files = {"train_file": str(tmp_path / "a.tsv"), "eval_file": str(tmp_path / "b.tsv")}
    found = names(make((0.01,) * 10, (0.2,) * 3, **files))
    assert ("token-mismatch" in found, "overfitting" in found) == (are_others, not are_others)


def test_classes_under_other_names_in_evaluation_are_found(tmp_path):
    path = write_examples(tmp_path / "a.tsv", [str(i % 7) for i in range(77)] * 8)
    by_label = {"0": {"1": 50}, "1": {"0": 49, "1": 1}, "2": {"2": 50}}
    evaluation = {"exact": True, "answers_by_label": by_label}
    run = make((0.01,) * 10, (0.1,) * 3, evaluation=evaluation, train_file=path, eval_file=path)
    assert "evaluation-labels-wrong" in names(run)
