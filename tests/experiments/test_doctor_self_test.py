"""The doctor tried on faults that were put into healthy training on purpose."""

import json

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.experiments import doctor_self_test, run_faults, tables
from rnn_tutorial.experiments.doctor_self_test import Trial, all_cases
from rnn_tutorial.experiments.run_faults import RunCase
from rnn_tutorial.runs.files import read_json


def test_a_few_faults_are_found_and_runs_are_kept(tmp_path, monkeypatch, capsys):
    """Runs as small as can be: one healthy, and one with first weights that spoil it."""
    small = (
        "--max_number 1 --min_seq_len 1 --max_seq_len 3 --hidden_dim 16 --total_steps 1200 "
        "--lr 0.01 --eval_every 300"
    )
    monkeypatch.chdir(tmp_path)
    healthy = {"healthy": RunCase(small), "asked": RunCase(small, asked_length=3)}
    monkeypatch.setattr(doctor_self_test, "HEALTHY_RUNS", healthy)
    faults = {
        "saturated-units": RunCase(f"{small} --lr 1e-4 --min_lr 0", scale=0.0, shift=50.0),
    }
    monkeypatch.setattr(doctor_self_test, "RUN_FAULTS", faults)
    monkeypatch.setattr(doctor_self_test, "MODULE_FAULTS", {})
    for name in ("DATA_CASES", "LOOP_CASES", "GOOD_MODULES"):
        monkeypatch.setattr(doctor_self_test, name, {})
    assert doctor_self_test.main(["--num_seeds", "1", "--json", "doctor.json"]) == 0
    assert "ok  saturated-units" in capsys.readouterr().out
    result = json.loads((tmp_path / "doctor.json").read_text())
    assert result["rows"]["saturated-units"]["found"] == {"saturated-units": 1}
    assert result["rows"]["healthy"]["found"] == result["rows"]["asked"]["found"] == {}
    assert len(list(tmp_path.glob("output/experiments/*"))) == 2  # one run serves both
    monkeypatch.setattr(run_faults, "launch", None)  # nothing is trained again
    assert doctor_self_test.main(["--num_seeds", "1", "--json", "doctor.json"]) == 0


def test_a_missed_fault_and_a_false_alarm_make_the_self_test_fail(tmp_path, monkeypatch, capsys):
    fever = Finding("fever", "39 °C", "ill", "rest", "certain")
    cases = {
        "found": Trial("w", "fever", lambda seed: [fever]),
        "missed": Trial("w", "fever", lambda seed: [fever] if seed else []),
        "false alarm": Trial("w", None, lambda seed: [fever]),
    }
    monkeypatch.setattr(doctor_self_test, "all_cases", lambda: cases)
    path = tmp_path / "doctor.json"
    assert doctor_self_test.main(["--num_seeds", "2", "--json", str(path)]) == 1
    marks = [line[:3] for line in capsys.readouterr().out.splitlines()]
    assert marks == ["ok ", "BAD", "BAD"]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.table("doctor-faults") == "1 of 2"
    assert tables.table("doctor-healthy") == "0 of 1"


def test_every_case_has_a_finding_or_is_healthy():
    cases = all_cases()
    assert len(cases) > 60
    assert sum(case.expected is None for case in cases.values()) >= 9
    names = {name for case in cases.values() if (name := case.expected)}
    known = {*doctor_self_test.RUN_FAULTS, *doctor_self_test.MODULE_FAULTS}
    assert names >= known | {"shifted-labels", "duplicated-workers", "shared-stream"}


def test_the_committed_matrix_has_every_case_and_each_as_the_tutorial_says():
    result = read_json(tables.RESULTS / "doctor.json")
    assert result["num_seeds"] >= 5 and result["rows"].keys() == all_cases().keys()
    for name, row in result["rows"].items():
        assert doctor_self_test.is_as_expected(row, result["num_seeds"]), name
