"""One run of an experiment: train, evaluate and prove by the commands that a reader types."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.experiments.catalogue import EXACT_LENGTH, LENGTHS
from rnn_tutorial.experiments.kept import launch, make_once, run_folder, train
from rnn_tutorial.runs.files import read_json
from rnn_tutorial.runs.folder import RESULT_FILE
from rnn_tutorial.runs.metrics import METRICS_FILE
from rnn_tutorial.runs.provenance import TRAINING_CODE, code_version

# What the figures of a run depend on.
CODE = (
    *(*TRAINING_CODE, "rnn_tutorial/runs", "rnn_tutorial/evaluate.py", "rnn_tutorial/certify.py"),
    "rnn_tutorial/experiments/runs.py",
)


def run_once(
    flags: Sequence[str],
    seed: int,
    certify: bool,
    lengths: Sequence[int] = LENGTHS,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train one network and measure it, or take the figures of an earlier, equal run.

    Args:
        flags: of train_cls_rnn.py.
        seed: of the run.
        certify: True to try a proof and to look at the automaton too.
        lengths: at which random sequences are answered.
        environment: variables that are set for the training, not for what examines it.

    Returns:
        The figures, plain values: accuracy and wrong inputs are those of the trained lengths up to
        EXACT_LENGTH, `trained` those of all trained lengths, the curve is that of the accuracy
        while training, and random sequences are those of the longest trained length and of the
        lengths asked for. `search` is what `evaluate` found among longer inputs; None if a short
        one is wrong. `proof` is that of the training, or of `certify`; None if none was tried.

    Raises:
        RuntimeError: a command failed.
    """
    variables = {**os.environ, **(environment or {})}
    asked = (flags, seed, certify, EXACT_LENGTH, lengths, dict(environment or {}))
    folder = run_folder(*asked, code_version(CODE), variables=variables)
    run = folder / "run"
    command = ("train_cls_rnn.py", *flags, "--seed", str(seed), "--save_every", "0")

    def make() -> dict[str, Any]:
        seconds = train(run, *command, variables=variables)
        return {"seed": seed, "seconds": seconds, **_examine(run, certify, lengths)}

    return make_once(folder, make)


def _examine(run: Path, certify: bool, lengths: Sequence[int]) -> dict[str, Any]:
    """The figures of a trained network: what its training and the commands say of it."""
    result = read_json(run / RESULT_FILE)
    metrics = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    longest = result["config"]["max_seq_len"]
    examined = json.loads(
        launch(
            *("rnn_tutorial.evaluate", str(run), "--max_len", str(EXACT_LENGTH), "--json"),
            *("--lengths", *map(str, dict.fromkeys([longest, *lengths]))),
        )
    )
    sampled = {row["length"]: row for row in examined["lengths"]}
    accuracy, num_wrong = _exact_in_training_range(examined, result["config"])
    evaluation = result["evaluation"]
    figures = {
        "steps": result["steps"],
        "model_parameters": result["model_parameters"],
        "weights_hash": result["weights_hash"],
        "accuracy": accuracy,
        "wrong_inputs": num_wrong,
        "trained": {
            "wrong_inputs": evaluation["num_wrong"],
            "balanced_accuracy": statistics.mean(evaluation["accuracy_by_class"].values()),
            "exact": evaluation["exact"],
        },
        "proof": _proof_of(result),
        "num_sequences": sampled[longest]["num_random"],
        "right_at_length": {str(length): sampled[length]["right_random"] for length in lengths},
        "right_modulo": {str(length): row["right_modulo"] for length, row in sampled.items()},
        "search": examined["search"],
        "curve": {
            name: [row[name] for row in metrics if "accuracy" in row]
            for name in ("step", "accuracy")
        },
    }
    if certify:
        figures["proof"] = json.loads(launch("rnn_tutorial.certify", str(run), "--json", ok=(0, 1)))
        automaton = json.loads(launch("rnn_tutorial.evaluate", str(run), "--automaton", "--json"))
        figures["automaton"] = {name: automaton[name] for name in ("is_right", "period_shares")}
    return figures


def _proof_of(result: dict[str, Any]) -> dict[str, Any] | None:
    """What a training that stops when it is proved says of the proof, as `certify` says it."""
    if not result["config"]["stop_when_proved"]:
        return None
    return {"proved": result["proof"] is not None, **(result["proof"] or {})}


def _exact_in_training_range(examined: dict[str, Any], config: dict[str, Any]) -> tuple[float, int]:
    """Accuracy, the mean over lengths, and wrong inputs of the trained lengths that were scored."""
    trained = range(config["min_seq_len"], config["max_seq_len"] + 1)
    by_length = {
        int(length): accuracy
        for length, accuracy in examined["exact"]["accuracy_by_length"].items()
        if int(length) in trained
    }
    num_tokens = examined["num_tokens"]
    num_wrong = sum(round((1 - a) * num_tokens**length) for length, a in by_length.items())
    return statistics.mean(by_length.values()), num_wrong
