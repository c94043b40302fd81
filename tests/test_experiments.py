"""Experiments: runs are kept and resumed, and the tables are those of the result files."""

import json
from dataclasses import replace

import pytest
from conftest import REPOSITORY

from rnn_tutorial.config import TrainConfig, add_config_flags, settings_of
from rnn_tutorial.experiments import __main__, runs, tables
from rnn_tutorial.experiments.catalogue import EXPERIMENTS
from rnn_tutorial.terminal import OneSentenceParser


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_is_a_configuration_of_its_own(name):
    parser = OneSentenceParser()
    add_config_flags(parser)
    configs = [
        TrainConfig(**settings_of(vars(parser.parse_args(list(flags)))))
        for flags in EXPERIMENTS[name].variants.values()
    ]
    assert len(set(configs)) == len(configs)


@pytest.fixture
def launches(monkeypatch, tmp_path):
    """Stand-ins for the commands of a run; the list of what was launched."""
    monkeypatch.chdir(tmp_path)
    launched = []

    def launch(*arguments, ok=(0,), variables=None):
        launched.append(arguments)
        if arguments[0] == "train_cls_rnn.py":
            run = tmp_path / arguments[arguments.index("--save_dir") + 1] / "run"
            run.mkdir(parents=True)
            config = {"min_seq_len": 2, "max_seq_len": 10, "max_number": 9}
            result = {"steps": 5, "model_parameters": 7, "config": config}
            (run / "result.json").write_text(json.dumps(result))
            metrics = [{"step": 1, "loss": 2.0}, {"step": 5, "accuracy": 1.0}]
            (run / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
            return ""
        row = {"right_random": 99, "num_random": 100, "right_modulo": {"2": 100, "5": 99}}
        asked = arguments[arguments.index("--lengths") + 1 :] if "--lengths" in arguments else ()
        exact = {"accuracy_by_length": {"1": 0.5, "2": 0.9, "3": 0.999}}
        rows = [{"length": int(length), **row} for length in asked]
        answer = {"exact": exact, "lengths": rows, "proved": True}
        return json.dumps(answer | {"is_right": True, "period_shares": {"2": 1.0}, "table": []})

    monkeypatch.setattr(runs, "_launch", launch)
    return launched


def test_a_finished_run_is_kept_and_a_killed_one_is_made_again(launches, tmp_path):
    figures = runs.run_once(("--lr", "0.1"), 0, certify=False)
    assert (figures["wrong_inputs"], figures["right_at_length"]) == (
        11, {"10": 99, "100": 99, "1000": 99},
    )  # fmt: skip
    assert figures["right_modulo"] == {"2": 100, "5": 99}
    assert figures["accuracy"] == pytest.approx((0.9 + 0.999) / 2)
    assert figures["curve"] == {"step": [5], "accuracy": [1.0]}
    assert len(launches) == 2
    assert runs.run_once(("--lr", "0.1"), 0, certify=False) == figures
    assert len(launches) == 2
    runs.run_once(("--lr", "0.1"), 1, certify=False)
    runs.run_once(("--lr", "0.2"), 0, certify=False)
    assert len(launches) == 6
    runs.run_once(("--lr", "0.1"), 0, False, environment={"OPENBLAS_CORETYPE": "Haswell"})
    assert len(launches) == 8
    for kept in (tmp_path / "output").rglob("figures.json"):
        kept.unlink()
    certified = runs.run_once(("--lr", "0.1"), 0, certify=True)
    assert certified["automaton"] == {"is_right": True, "period_shares": {"2": 1.0}}
    assert len(launches) == 12


def test_the_command_runs_every_seed_and_writes_the_result(launches, tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results")
    assert __main__.main(["run", "solved", "--num_seeds", "3", "--jobs", "2"]) == 0
    result = json.loads((tmp_path / "results" / "solved.json").read_text())
    assert [run["seed"] for run in result["variants"]["solved"]["runs"]] == [0, 1, 2]
    assert result["command"] == "python -m rnn_tutorial.experiments run solved --num_seeds 3"


def test_no_more_seeds_than_an_experiment_takes(launches, tmp_path, monkeypatch):
    few = replace(EXPERIMENTS["solved"], max_seeds=2)
    monkeypatch.setattr(__main__, "EXPERIMENTS", {"solved": few})
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results")
    assert __main__.main(["run", "solved"]) == 0
    result = json.loads((tmp_path / "results" / "solved.json").read_text())
    assert len(result["variants"]["solved"]["runs"]) == 2
    assert result["command"].endswith("--num_seeds 2")


def test_times_of_the_updates_are_added_to_a_result(tmp_path, monkeypatch):
    variants = {"one": ("--engine", "autograd"), "two": ("--engine", "autograd", "--cell", "gru")}
    few = replace(EXPERIMENTS["cells"], variants=variants)
    monkeypatch.setattr(__main__, "EXPERIMENTS", {"cells": few})
    monkeypatch.setattr(__main__, "RESULTS", tmp_path)
    monkeypatch.setattr(__main__, "timed", lambda rounds, c: {k: [v(0.01)] for k, v in c.items()})
    (tmp_path / "cells.json").write_text('{"kept": 1}')
    __main__.time_updates(["cells"])
    result = json.loads((tmp_path / "cells.json").read_text())
    assert result["kept"] == 1 and list(result["update_seconds"]) == ["one", "two"]
    assert all(0 < time["median"] < 1 for time in result["update_seconds"].values())


def test_an_accuracy_is_not_rounded_up_to_all_right():
    assert [tables._accuracy(share) for share in (1.0, 0.9999999, 0.5)] == [
        "100%", "99.999%", "50.000%",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [["run", "nothing"], ["run", "all", "--num_seeds", "0"], []])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(arguments)
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_a_table_is_written_between_its_markers(tmp_path, monkeypatch):
    def run(seed, accuracy, wrong, right):
        return {
            "seed": seed, "seconds": 2.0 + seed, "accuracy": accuracy, "wrong_inputs": wrong,
            "right_at_length": {"10": right}, "num_sequences": 100, "proof": {"proved": not seed},
        }  # fmt: skip

    results = {"variants": {"plain": {"runs": [run(0, 1.0, 0, 100), run(1, 0.5, 7, 40)]}}}
    (tmp_path / "solved.json").write_text(json.dumps(results))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    text = "before\n<!-- table: solved -->\nold\n<!-- end -->\nafter\n"
    rendered = tables.render(text)
    assert rendered == tables.render(rendered)
    assert rendered.startswith("before\n") and rendered.endswith("after\n")
    assert "old" not in rendered
    assert (
        "| plain | 1/2 [9%, 91%] | 75.000% [50.000%, 100%] | 1/2 [9%, 91%] | 1/2 [9%, 91%] |\n"
        in rendered
    )


def test_code_is_shown_as_it_stands_in_the_package():
    shown = tables.render("<!-- code: rnn_tutorial.task.padding_id -->\n<!-- end -->\n")
    assert "```py\ndef padding_id(max_number: int) -> int:\n    return max_number + 1\n```" in shown


@pytest.mark.parametrize("name", __main__.READMES)
def test_the_tables_of_the_readmes_are_those_of_the_result_files(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert tables.render(text) == text
