"""The judge of the doctor: what counts as named, as an alarm and as a crash."""

import random
from pathlib import Path

import pytest
from conftest import REPOSITORY

from rnn_tutorial.experiments import doctor_judge
from rnn_tutorial.experiments.doctor_cases.cases import ERROR, Case
from rnn_tutorial.experiments.doctor_judge import AREAS, cases_of, is_first, is_named, judge


def rows(folder):
    generator = random.Random(0)
    return [([generator.randrange(6), 1, 2], 3, 0) for _ in range(99)], None, {}


def raising(folder):
    def data():
        yield {}["row"]

    return data(), None, {}


def judge_data(make, *expected):
    return judge("data", Case("a case", frozenset(expected), "common", make))


def test_a_fault_is_named_if_any_right_name_is_among_the_findings():
    row = judge_data(rows, "single-class")
    assert is_named(row) and is_first(row) and row["found"]["single-class"] == "certain"
    assert not is_named(judge_data(rows, "rare-class"))
    second = {"expected": ["b"], "found": {"a": "likely", "b": "likely"}}
    assert is_named(second) and not is_first(second)


def test_a_sentence_is_expected_or_not_and_a_crash_never(monkeypatch):
    row = judge_data(raising, ERROR)
    here = Path(__file__).relative_to(REPOSITORY)  # a result file names no folder of a machine
    assert is_named(row) and is_first(row) and row["error"].startswith(f"ValueError: {here}:")
    assert not is_named(judge_data(raising, "token-type"))
    monkeypatch.setattr(doctor_judge, "check_data", lambda *_: 1 / 0)
    row = judge_data(rows, ERROR)
    assert not is_named(row) and row["error"].startswith("ZeroDivisionError")


def test_the_summary_counts_by_half():
    def row(expected, found, error=None, is_sentence=False):
        names = {"expected": expected, "found": found, "error": error}
        return {**names, "is_sentence": is_sentence, "seconds": 0.5}

    halves = {
        "held": {
            "a": row(["x"], {"x": "likely"}),
            "b": row(["x"], {"y": "certain", "x": "likely"}),
            "c": row([], {"y": "certain"}),
            "d": row([], {"y": "possible"}),
            "e": row([], {}, "ValueError: no", True),
            "f": row([], {}),
            "g": row(["x"], {}, "IndexError: 3"),
        }
    }
    table = doctor_judge.summary_table({"areas": {"loops": halves}})
    assert (
        table.splitlines()[2] == "| loops | set aside | 2 of 3 | 1 | 1 of 4 | 2 | 1 | 0.5 (0.5) |"
    )


@pytest.mark.parametrize("area", AREAS)
def test_open_cases_are_there_and_have_names_of_their_own(area):
    cases = cases_of(area, "open")
    assert sum(bool(c.expected) for c in cases) > 7 and any(not c.expected for c in cases)
    names = [c.name for half in ("open", "held") for c in cases_of(area, half)]
    assert len(names) == len({*names})
