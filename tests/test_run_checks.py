"""Checks of runs on made-up evidence: each fires on its fault and not beside it."""

import json
import math
import random

import pytest
import torch
from conftest import REPOSITORY

from rnn_tutorial.config import RECIPES
from rnn_tutorial.evidence import Evidence, read_evidence, read_metrics
from rnn_tutorial.model import RnnClsNet
from rnn_tutorial.probe import Probe
from rnn_tutorial.run_checks import CAUSES, OTHERS, check_run

CHANCE = math.log(10)
SOUND = Probe(CHANCE, [[1.0] * 5], 0.1, 0.0)


def make(
    losses=(2.3, 1.0, 0.5, 0.2, 0.1),
    accuracies=(0.1, 0.3, 0.8, 0.95, 1.0),
    steps=5000,
    norms=(0.5,),
    ratios=(0.001, 0.004),
    probe=SOUND,
    evaluation=None,
    asked_length=None,
    margins=None,
    **settings,
):
    """A run that learned, but for what is given."""
    config = {
        "min_seq_len": 1, "max_seq_len": 5, "max_number": 9, "num_layers": 1, "lr": 0.001,
        "warmup_step": 0, "total_steps": 5000, "max_grad_norm": 0.0, **settings,
    }  # fmt: skip
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
    evidence = Evidence(config, metrics, model, evaluation, asked_length)
    evidence.__dict__["probe"] = probe
    if margins:
        evidence.__dict__["margins"] = margins
    return evidence


def stuck(losses=(2.3,) * 5, accuracies=(0.1,) * 5, **options):
    """A run that did not learn."""
    return make(losses, accuracies, **options)


def seen(norms=(1.0,) * 30, saturated=0.1, idle=0.0):
    return Probe(CHANCE, [list(norms)], saturated, idle)


def fading(factor):
    return seen([factor] + [1.0] * 29)


def sample(low, high):
    return {"exact": False, "num_inputs": 100, "low": low, "high": high}


LONG = {"asked_length": 1000}
# Name, evidence on which it fires, and evidence that differs little and is not that fault.
CASES = [
    ("not-finite-loss", make((2.3, 2.2, None), (), steps=300), make((2.3, 2.2, 9.0), ())),
    ("missing-warmup", stuck(num_layers=3, ratios=(0.05, 0.03)), stuck(ratios=(0.05, 0.03))),
    ("missing-warmup", stuck(num_layers=3, ratios=(0.05,)), make(num_layers=3, ratios=(0.05,))),
    ("missing-warmup", stuck(num_layers=2, ratios=(0.05,)),
     stuck(num_layers=2, ratios=(0.05,), warmup_step=9)),
    ("learning-rate-too-high", stuck(ratios=(0.01, 0.05)), stuck(ratios=(0.01, 0.02))),
    ("learning-rate-too-high", stuck(ratios=(0.05,)), make(ratios=(0.05,))),
    ("learning-rate-too-high", stuck((5.0,) * 5), stuck((3.0,) * 5)),
    ("saturated-units", stuck(probe=seen(saturated=0.95)), stuck(probe=seen(saturated=0.8))),
    ("saturated-units", stuck(probe=seen(saturated=0.95)), make(probe=seen(saturated=0.95))),
    ("dead-units", stuck(probe=seen(idle=0.6)), stuck(probe=seen(idle=0.4))),
    ("exploding-gradient", stuck(probe=fading(1e4)), stuck(probe=fading(1e2))),
    ("gradient-always-clipped", make(max_grad_norm=0.1), make(max_grad_norm=1.0)),
    ("gradient-always-clipped", make(max_grad_norm=0.1),
     make(max_grad_norm=0.1, norms=(0.5, 0.05))),
    ("learning-rate-too-low", stuck(ratios=(1e-5, 1e-4)), stuck(ratios=(1e-5, 1e-3))),
    ("learning-rate-too-low", stuck(ratios=(1e-5,)), make(ratios=(1e-5,))),
    ("vanishing-gradient", stuck(probe=fading(1e-5)), stuck(probe=fading(1e-2))),
    ("vanishing-gradient", stuck(probe=fading(1e-5)),
     stuck(probe=seen([1e-5, 1.0, 1.0, 1.0, 1.0]))),
    ("missing-short-lengths", stuck(min_seq_len=2), make(min_seq_len=2)),
    ("missing-short-lengths", stuck(min_seq_len=2), stuck()),
    ("missing-short-lengths", make(min_seq_len=2, margins=[(5, 1.0, 3.0), (9, 0.5, -1.0)], **LONG),
     make(min_seq_len=2, margins=[(5, 1.0, 3.0), (9, 1.0, 2.0)], **LONG)),
    ("loss-at-chance", stuck(), stuck((2.0,) * 5)),
    ("loss-at-chance", stuck(steps=1200), stuck(steps=900)),
    ("loss-at-chance", stuck(steps=1200), stuck(steps=1200, warmup_step=500)),
    ("oscillating-loss", make((0.3,) * 8, (0.9,) * 4 + (0.9, 0.7, 0.9, 0.7)),
     make((0.3,) * 8, (0.9, 0.5, 0.9, 0.5, 0.9, 0.88, 0.9, 0.88))),
    ("loss-spikes", make((2.3, 0.1, 0.1, 2.0, 0.1)), make((2.3, 0.1, 0.1, 0.5, 0.1))),
    ("gradient-never-clipped", make(max_grad_norm=100.0), make(max_grad_norm=10.0)),
    ("small-evaluation", make(evaluation=sample(0.4, 0.6)), make(evaluation=sample(0.49, 0.51))),
    ("unstable-at-length", make(margins=[(5, 1.0, 3.0), (9, 0.5, -1.0)], **LONG),
     make(margins=[(5, 1.0, 3.0), (9, 1.0, 2.0)], **LONG)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "faulty", "other"), CASES)
def test_a_check_fires_on_its_fault_and_not_beside_it(name, faulty, other):
    finding = (CAUSES | OTHERS)[name](faulty)
    assert finding.name == name and finding.seen and finding.meaning and finding.advice
    assert finding.confidence in ("certain", "likely", "possible")
    assert (CAUSES | OTHERS)[name](other) is None


def test_every_check_has_a_case():
    assert {name for name, _, _ in CASES} == set(CAUSES | OTHERS)


@pytest.mark.parametrize(("name", "faulty", "other"), CASES)
def test_a_fault_is_reported_once_under_its_own_name(name, faulty, other):
    assert [finding.name for finding in check_run(faulty)] == [name]


def test_swings_explain_spikes():
    losses = (2.3, 0.1, 0.1, 2.0, 0.1, 0.1, 2.0, 0.1)
    swinging = make(losses, (0.9, 0.9, 0.9, 0.9, 0.9, 0.7, 0.9, 0.7))
    assert [finding.name for finding in check_run(swinging)] == ["oscillating-loss"]


def test_a_run_that_learned_has_no_findings():
    assert check_run(make()) == []


@pytest.mark.parametrize("options", [{"ratios": (None,)}, {"probe": None}])
def test_what_is_not_known_is_not_held_against_a_run(options):
    assert check_run(make(**options)) == []
    assert [finding.name for finding in check_run(stuck(**options))] == ["loss-at-chance"]


def test_margins_are_those_of_prefixes_at_doubling_lengths():
    torch.manual_seed(0)
    evidence = make(asked_length=30)
    evidence = Evidence(evidence.config, evidence.metrics, RnnClsNet(10, 4, 4, 1, 10), None, 30)
    assert [length for length, _, _ in evidence.margins] == [5, 10, 20, 30]
    for _, accuracy, margin in evidence.margins:
        assert 0 <= accuracy < 0.3 and margin < 0
    shorter = Evidence(evidence.config, evidence.metrics, evidence.model, None, 3)
    assert [length for length, _, _ in shorter.margins] == [3]


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
    assert "shifted-labels" in {finding.name for finding in check_run(on_files(tmp_path, 1))}
    found = [finding.name for finding in check_run(on_files(tmp_path, 0, ratios=(1e-6,)))]
    assert found[-1] == "learning-rate-too-low" and "shifted-labels" not in found


def test_files_that_are_gone_are_not_held_against_a_run():
    gone = stuck(train_file="gone.tsv", eval_file="", seed=0)
    assert [finding.name for finding in check_run(gone)] == ["loss-at-chance"]


def test_guessing_the_most_frequent_class_is_no_skill():
    by_label = {"spam": {"ham": 10}, "ham": {"ham": 90}}
    evaluation = {"exact": True, "answers_by_label": by_label}
    losses = (0.325,) * 5
    guessing = stuck(losses, (0.9,) * 5, evaluation=evaluation)
    assert guessing.skill == pytest.approx(0) and guessing.chance_loss == pytest.approx(
        0.3251, 1e-3
    )
    assert [finding.name for finding in check_run(guessing)] == ["loss-at-chance"]


def test_a_length_is_asked_of_digits_only(tmp_path):
    config = stuck(train_file="a.tsv").config
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="--length 9 needs"):
        read_evidence(str(tmp_path), 9)


# ---- reading ----


def test_a_half_written_line_is_left_out_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.3}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.3}]
    path.write_text('{"step": 1}\nloss\n{"step": 2}\n')
    with pytest.raises(ValueError, match="line 2 is damaged"):
        read_metrics(tmp_path)
    for text in ("", '{"step"'):
        path.write_text(text)
        with pytest.raises(ValueError, match="empty"):
            read_metrics(tmp_path)


def test_a_run_that_has_not_begun_is_refused(tmp_path):
    with pytest.raises(ValueError, match="RUN"):
        read_evidence(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({"lr": 0.1}))
    with pytest.raises(ValueError, match="lacks the settings min_seq_len"):
        read_evidence(str(tmp_path))


def test_the_sentences_about_recipes_are_true_of_the_committed_results():
    """The threshold of what counts as learned lies below the worst seed of sota_warmup."""
    from rnn_tutorial.evidence import LEARNED

    assert "sota_warmup" in RECIPES
    path = REPOSITORY / "rnn_tutorial" / "results" / "published.json"
    runs = json.loads(path.read_text())["variants"]["sota_warmup"]["runs"]
    worst = min(run["accuracy"] for run in runs)
    assert (10 * worst - 1) / 9 > LEARNED
