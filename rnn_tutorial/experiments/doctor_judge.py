"""What the doctor says of strangers' cases: faults and healthy things that it was not made from.

    python -m rnn_tutorial.experiments.doctor_judge                all areas
    python -m rnn_tutorial.experiments.doctor_judge --area loops   one; writes nothing

One half of the cases of each area was set aside before the checks were written. Runs are trained,
and kept. Writes results/doctor_cases.json; then
`python -m rnn_tutorial.experiments render` writes the table.
"""

from __future__ import annotations

import gc
import importlib
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.evidence import read_evidence
from rnn_tutorial.doctor.findings import Report
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.doctor.run_checks import check_run
from rnn_tutorial.experiments.doctor_cases.cases import ERROR, Case
from rnn_tutorial.experiments.kept import DOCTOR_CODE, RESULTS, result_head, run_folder
from rnn_tutorial.experiments.markdown import markdown
from rnn_tutorial.experiments.run_faults import RunCase, train_case
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.machine import choose_num_threads
from rnn_tutorial.runs.provenance import REPOSITORY, code_version
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

COMMAND = "python -m rnn_tutorial.experiments.doctor_judge"
RESULT = RESULTS / "doctor_cases.json"
_CASES = "rnn_tutorial/experiments/doctor_cases"
AREAS = ("loops", "modules", "data", "runs")
HALVES = ("open", "held")


def cases_of(area: str, half: str) -> Sequence[Case]:
    """The cases of one half of an area."""
    return importlib.import_module(f"rnn_tutorial.experiments.doctor_cases.{area}_{half}").CASES


def judge(area: str, case: Case) -> dict[str, Any]:
    """Show a case of an area to the doctor.

    Returns:
        What was expected, the confidence of each finding in their order, the error if it ended in
        one, whether that was a sentence to the user, and the doctor's CPU seconds, in
        which other programs do not count.
    """
    found, error, is_sentence = {}, None, False
    gc.collect()  # what is left of other cases is none of this one's
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = _make(area, case, Path(folder))
        start = time.process_time()
        try:
            report = _check(area, made)
            found = {finding.name: finding.confidence for finding in report.findings}
        except Exception as raised:  # a crash of the doctor's own is what is looked for
            error = f"{type(raised).__name__}: {raised}".replace(f"{REPOSITORY}{os.sep}", "")
            is_sentence = type(raised) is ValueError
        seconds = time.process_time() - start
    return {
        "expected": sorted(case.expected),
        "found": found,
        "error": error,
        "is_sentence": is_sentence,
        "seconds": round(seconds, 2),
    }


def _make(area: str, case: Case, folder: Path) -> Any:
    """What is shown: a run is trained now, unless an equal one is kept."""
    torch.manual_seed(0)
    if area == "data":
        return case.make(folder)
    if area == "runs":
        # The flags name the files, and kept runs are found by their flags.
        folder = run_folder("files", case.name, code_version((_CASES,)))
        folder.mkdir(parents=True, exist_ok=True)
        run = RunCase(**case.make(folder))
        return train_case(run, seed=0), run.asked_length
    return case.make()


def _check(area: str, made: Any) -> Report:
    if area == "loops":
        return check_step(made)
    if area == "modules":
        module, options = made
        return check_module(module, **options)
    if area == "data":
        training, evaluation, options = made
        return check_data(training, evaluation, **options)
    folder, asked_length = made
    return check_run(read_evidence(str(folder), asked_length))


def is_named(row: dict[str, Any]) -> bool:
    """True if a fault was found under a name that is right, whatever else was found."""
    if row["expected"] == [ERROR]:
        return row["is_sentence"]
    return not set(row["expected"]).isdisjoint(row["found"])


def is_first(row: dict[str, Any]) -> bool:
    """True if it was also the first that the user reads."""
    return is_named(row) and next(iter(row["found"]), ERROR) in row["expected"]


def summary_table(results: dict[str, Any]) -> str:
    """A row for each half of an area: faults that were named, alarms over healthy things, times."""
    rows = []
    for area, halves in results["areas"].items():
        for half, cases in halves.items():
            judged = list(cases.values())
            faults = [row for row in judged if row["expected"]]
            healthy = [row for row in judged if not row["expected"]]
            certain = sum("certain" in row["found"].values() for row in healthy)
            alarmed = sum(bool(row["found"] or row["error"]) for row in healthy)
            seconds = [row["seconds"] for row in judged]
            rows.append(
                [
                    *(area, {"open": "open", "held": "set aside"}[half]),
                    f"{sum(map(is_named, faults))} of {len(faults)}",
                    str(sum(map(is_first, faults))),
                    f"{certain} of {len(healthy)}",
                    str(alarmed - certain),
                    str(sum(bool(row["error"]) and not row["is_sentence"] for row in judged)),
                    f"{statistics.median(seconds):.1f} ({max(seconds):.1f})",
                ]
            )
    header = [
        *("area", "half", "faults rightly named", "as the first finding"),
        *("certain alarms over healthy", "other alarms", "crashes"),
        "CPU seconds, median (longest)",
    ]
    return markdown(header, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, say what is wrong, and write the result; returns the exit status, 1 after a crash."""
    parser = CommandLineParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--area", choices=AREAS, help="only this one; then nothing is written")
    flags = parser.parse_args(arguments)
    torch.set_num_threads(choose_num_threads())
    head = result_head(COMMAND, DOCTOR_CODE)
    areas: dict[str, Any] = {}
    for area in [flags.area] if flags.area else AREAS:
        areas[area] = {
            half: {case.name: judge(area, case) for case in cases_of(area, half)} for half in HALVES
        }
        for half, rows in areas[area].items():
            for name, row in rows.items():
                if is_named(row) if row["expected"] else not (row["found"] or row["error"]):
                    continue
                wanted = " or ".join(row["expected"]) or "nothing"
                print(f"{area}, {half}, {name}: {row['error'] or row['found']}, not {wanted}")
    results = {**head, "areas": areas}
    if not flags.area:
        write_json(RESULT, results)
    print(summary_table(results))
    judged = [row for halves in areas.values() for rows in halves.values() for row in rows.values()]
    return int(any(row["error"] and not row["is_sentence"] for row in judged))


if __name__ == "__main__":
    run_command(main)
