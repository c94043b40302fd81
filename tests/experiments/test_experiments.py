"""Experiments: runs are kept and resumed, and the tables are those of the result files."""

import json
from dataclasses import replace

import pytest
from conftest import REPOSITORY

from rnn_tutorial.experiments import __main__, kept, runs, seed_tables, tables
from rnn_tutorial.experiments.catalogue import EXPERIMENTS, Experiment
from rnn_tutorial.experiments.seed_tables import show_tenths
from rnn_tutorial.runs.files import read_json
from rnn_tutorial.runs.terminal import CommandLineParser
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.flags import add_config_flags


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_is_a_configuration_of_its_own(name):
    parser = CommandLineParser()
    add_config_flags(parser)
    configs = [
        TrainConfig.from_flags(vars(parser.parse_args(list(flags))))
        for flags in EXPERIMENTS[name].variants.values()
    ]
    assert len(set(configs)) == len(configs)


@pytest.fixture
def launches(monkeypatch, tmp_path):
    """Stand-ins for the commands of a run; what was launched, with which products."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    launched = []

    def launch(*arguments, ok=(0,), variables=None):
        launched.append((arguments, (variables or {}).get("OPENBLAS_CORETYPE")))
        if arguments[0] == "train_cls_rnn.py":
            run = tmp_path / arguments[arguments.index("--save_dir") + 1] / "run"
            run.mkdir(parents=True)
            config = {"min_seq_len": 2, "max_seq_len": 10, "stop_when_proved": False}
            evaluation = {"num_wrong": 3, "accuracy_by_class": {"0": 1.0, "1": 0.5}, "exact": False}
            result = {"steps": 5, "model_parameters": 7, "config": config, "weights_hash": "f00"}
            result |= {"evaluation": evaluation, "proof": None}
            (run / "result.json").write_text(json.dumps(result))
            metrics = [{"step": 1, "loss": 2.0}, {"step": 5, "accuracy": 1.0}]
            (run / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
            return ""
        row = {"right_random": 99, "num_random": 100, "right_modulo": {"2": 100, "5": 99}}
        asked = arguments[arguments.index("--lengths") + 1 :] if "--lengths" in arguments else ()
        exact = {"accuracy_by_length": {"1": 0.5, "2": 0.9, "3": 0.999}}
        rows = [{"length": int(length), **row} for length in asked]
        answer = {"exact": exact, "search": None, "lengths": rows, "proved": True, "num_tokens": 10}
        return json.dumps(answer | {"is_right": True, "period_shares": {"2": 1.0}, "table": []})

    for module in (kept, runs):
        monkeypatch.setattr(module, "launch", launch)
    return launched


def test_a_finished_run_is_kept_and_a_killed_one_is_made_again(launches, tmp_path):
    figures = runs.run_once(("--lr", "0.1"), 0, certify=False)
    assert (figures["wrong_inputs"], figures["right_at_length"]) == (
        11, {"10": 99, "100": 99, "1000": 99},
    )  # fmt: skip
    known = {"2": 100, "5": 99}
    assert figures["right_modulo"] == dict.fromkeys(["10", "100", "1000"], known)
    assert figures["accuracy"] == pytest.approx((0.9 + 0.999) / 2)
    assert figures["trained"] == {"wrong_inputs": 3, "balanced_accuracy": 0.75, "exact": False}
    assert figures["proof"] is None
    assert figures["curve"] == {"step": [5], "accuracy": [1.0]}
    assert len(launches) == 2
    assert runs.run_once(("--lr", "0.1"), 0, certify=False) == figures
    assert len(launches) == 2
    runs.run_once(("--lr", "0.1"), 1, certify=False)
    runs.run_once(("--lr", "0.2"), 0, certify=False)
    assert len(launches) == 6
    runs.run_once(("--lr", "0.1"), 0, False, environment={"OPENBLAS_CORETYPE": "Haswell"})
    assert len(launches) == 8 and launches[6][1] == "Haswell"
    for figures_file in (tmp_path / "output").rglob("figures.json"):
        figures_file.unlink()
    certified = runs.run_once(("--lr", "0.1"), 0, certify=True)
    assert certified["automaton"] == {"is_right": True, "period_shares": {"2": 1.0}}
    assert len(launches) == 12


def test_the_command_runs_every_seed_and_writes_the_result(launches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results")
    whole = replace(EXPERIMENTS["solved"], max_seeds=3)
    monkeypatch.setattr(__main__, "EXPERIMENTS", {"solved": whole})
    for num_seeds, folder in ((3, "results"), (2, "output/quick_results")):  # never in its place
        asked = f"run solved --num_seeds {num_seeds}"
        assert __main__.main([*asked.split(), "--jobs", "2"]) == 0
        result = json.loads((tmp_path / folder / "solved.json").read_text())
        seeds = [run["seed"] for run in result["variants"]["solved"]["runs"]]
        assert seeds == list(range(num_seeds))
        assert result["command"] == f"python -m rnn_tutorial.experiments {asked}"
    (variant,) = read_json(tmp_path / "results/solved.json")["variants"].values()
    assert len(variant["runs"]) == 3


def test_a_run_of_two_experiments_is_made_once(launches, tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results")
    solved = replace(EXPERIMENTS["solved"], max_seeds=2)
    again = replace(solved, variants={"by another name": ("--recipe", "solved")})
    experiments = {"solved": solved, "again": again}
    monkeypatch.setattr(__main__, "EXPERIMENTS", experiments)
    assert __main__.main(["run", "solved", "again", "solved", "--num_seeds", "2"]) == 0
    assert len(launches) == 2 * 2
    results = [json.loads((tmp_path / "results" / f"{n}.json").read_text()) for n in experiments]
    assert (
        results[0]["variants"]["solved"]["runs"]
        == results[1]["variants"]["by another name"]["runs"]
    )


def test_a_failure_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(__main__, "RESULTS", tmp_path)
    monkeypatch.setattr(__main__, "run_once", _raise)
    with pytest.raises(SystemExit) as stopped:
        __main__.main(["run", "solved"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "diverged" in said and "Traceback" not in said


def _raise(*_):
    raise RuntimeError("train_cls_rnn.py diverged")


def test_no_more_seeds_than_an_experiment_takes(launches, tmp_path, monkeypatch):
    few = replace(EXPERIMENTS["solved"], max_seeds=2)
    monkeypatch.setattr(__main__, "EXPERIMENTS", {"solved": few})
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results")
    assert __main__.main(["run", "solved"]) == 0
    result = json.loads((tmp_path / "results" / "solved.json").read_text())
    assert len(result["variants"]["solved"]["runs"]) == 2
    assert result["command"].endswith("--num_seeds 2")


def test_times_of_the_updates_are_in_the_result(launches, tmp_path, monkeypatch):
    variants = {"one": ("--engine", "autograd"), "two": ("--engine", "autograd", "--cell", "gru")}
    few = replace(EXPERIMENTS["transformer"], variants=variants, max_seeds=1)
    monkeypatch.setattr(__main__, "EXPERIMENTS", {"transformer": few})
    monkeypatch.setattr(__main__, "RESULTS", tmp_path)
    monkeypatch.setattr(
        __main__, "measure_in_turns", lambda rounds, c: {k: [v(0.01)] for k, v in c.items()}
    )
    assert __main__.main(["run", "transformer"]) == 0
    result = json.loads((tmp_path / "transformer.json").read_text())
    assert list(result["variants"]) == list(result["update_seconds"]) == ["one", "two"]
    assert all(0 < time["median"] < 1 for time in result["update_seconds"].values())


def test_an_accuracy_is_not_rounded_up_to_all_right():
    assert [show_tenths(share) for share in (1.0, 0.9999999, 0.5)] == ["100", "99.9", "50.0"]


@pytest.mark.parametrize("arguments", [["run", "nothing"], ["run", "all", "--num_seeds", "0"], []])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(arguments)
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_results_are_those_of_the_catalogue(name):
    experiment, results = EXPERIMENTS[name], read_json(tables.RESULTS / f"{name}.json")
    flags = {variant: content["flags"] for variant, content in results["variants"].items()}
    assert flags == {variant: " ".join(own) for variant, own in experiment.variants.items()}
    products = experiment.environment.get("OPENBLAS_CORETYPE", "by the processor")
    assert results["versions"]["openblas_coretype"] == products
    for variant, content in results["variants"].items():
        assert [run["seed"] for run in content["runs"]] == [*experiment.seeds(variant)]


def test_the_seeds_of_a_variant_follow_one_another_from_the_first():
    experiment = Experiment("?", {}, first_seed=7, max_seeds=4, few={"slow": 2})
    assert [*experiment.seeds("any")] == [7, 8, 9, 10] and [*experiment.seeds("slow")] == [7, 8]
    assert [*experiment.seeds("any", 3)] == [7, 8, 9] and [*experiment.seeds("slow", 3)] == [7, 8]


def test_what_a_net_knows_is_counted():
    def run(modulo_2, modulo_5):
        known = {"2": modulo_2, "5": modulo_5}
        return {"right_modulo": {"5": known, "1000": {}}, "num_sequences": 10}

    runs = [run(8, 10), run(7, 8), run(7, 9), run(8, 7)]
    table = seed_tables.parts({"variants": {"some": {"runs": runs}}})
    counts = [cell.strip() for cell in table.splitlines()[2].split("|")[2:6]]
    assert counts == ["1/4", "2/4", "1/4", "0/4"]


def test_figures_within_sentences():
    def run(right):
        return {"right_at_length": {"10": right}, "right_modulo": {"10": {"2": 10}}}

    runs = [run(right) | {"num_sequences": 10} for right in (1, 9, 3)]
    results = {"variants": {"some": {"runs": runs}, "others": {"runs": runs[:1]}}}
    median, right_at = seed_tables.median_percent, seed_tables.right_at
    assert median("some", right_at(10))(results) == "30%"
    assert median("some", right_at(10, 2))(results) == "100%"
    assert seed_tables.count(lambda run: right_at(10)(run) < 0.3)(results) == "2 of 4"
    assert seed_tables.count(lambda run: right_at(10)(run) < 0.3, "some")(results) == "1 of 3"


def test_a_seed_is_compared_with_itself_on_another_processor(tmp_path, monkeypatch):
    def results(*runs):
        made = [{"weights_hash": weights, "wrong_inputs": wrong} for weights, wrong in runs]
        return {
            "code_version": "1", "versions": {"openblas_coretype": "Haswell"},
            "variants": {"net": {"runs": made}},
        }  # fmt: skip

    other = {"versions": {"openblas_coretype": "by the processor"}}
    published = results(("a", 0), ("b", 10), ("c", 30)) | other
    (tmp_path / "published.json").write_text(json.dumps(published))
    (tmp_path / "solved.json").write_text(json.dumps(published | {"variants": {}}))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    row = tables._processor_table(results(("a", 0), ("d", 14), ("e", 0))).splitlines()[2]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert [cell.split()[0] for cell in cells] == ["net", "1/3", "4", "20"]
    with pytest.raises(ValueError, match=r"differ in \['code', 'openblas_coretype'\]"):
        tables._processor_table(results(("a", 0)) | {"code_version": "2"})


def test_a_table_is_written_between_its_markers(tmp_path, monkeypatch):
    def run(seed, accuracy, wrong, right):
        return {
            "seed": seed, "seconds": 2.0 + seed, "accuracy": accuracy, "wrong_inputs": wrong,
            "right_at_length": {"10": right}, "num_sequences": 100, "proof": {"proved": not seed},
        }  # fmt: skip

    results = {"variants": {"plain": {"runs": [run(0, 1.0, 0, 100), run(1, 0.5, 7, 40)]}}}
    (tmp_path / "solved.json").write_text(json.dumps(results))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    columns = ("to 5", "accuracy, %", "at 10")
    monkeypatch.setitem(tables.TABLES, "solved", seed_tables.seeds_table(columns))
    text = "before\n<!-- table: solved -->\nold\n<!-- end -->\nafter\n"
    rendered = tables.render(text)
    assert rendered == tables.render(rendered)
    assert rendered.startswith("before\n") and rendered.endswith("after\n")
    assert "old" not in rendered
    assert "| plain | 1/2 | 75.0 [50.0, 100] | 1/2 |\n" in rendered


def test_code_is_shown_as_it_stands_in_the_package():
    shown = tables.render(
        "<!-- code: rnn_tutorial.machines.digit_sum.padding_id -->\n<!-- end -->\n"
    )
    assert "```py\ndef padding_id(max_number: int) -> int:\n    return max_number + 1\n```" in shown


@pytest.mark.parametrize("name", __main__.READMES)
def test_the_tables_of_the_readmes_are_those_of_the_result_files(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert tables.render(text) == text
