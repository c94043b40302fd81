"""The experiments of the gallery: each network is trained and examined by commands one can type.

    python -m rnn_tutorial.experiments.gallery highlight forecast --jobs 2

A finished run is kept (see kept.py), so a killed experiment goes on where it was.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnn_tutorial.experiments.kept import (
    RESULTS,
    launch,
    make_all,
    make_once,
    result_head,
    run_folder,
    train,
)
from rnn_tutorial.runs.files import read_json, write_json
from rnn_tutorial.runs.folder import RESULT_FILE
from rnn_tutorial.runs.provenance import code_version
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, whole_number

COMMAND = "python -m rnn_tutorial.experiments.gallery"
_MODULE = "rnn_tutorial.gallery."  # and the task
CODE = tuple(
    f"rnn_tutorial/{folder}" for folder in ("settings", "runs", "model", "training", "gallery")
)


@dataclass(frozen=True)
class Variant:
    """One way to train, with several seeds.

    Args:
        flags: of `train`.
        num_seeds: 0, 1, … of them.
        evaluate: flags of `evaluate`, beside --json.
        also: flags of further evaluations of the same network.
        asked: a command that the network of seed 0 answers; what it prints is kept.
    """

    flags: tuple[str, ...] = ()
    num_seeds: int = 5
    evaluate: tuple[str, ...] = ()
    also: tuple[tuple[str, ...], ...] = ()
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class GalleryExperiment:
    """What is compared in one task of the gallery.

    Args:
        task: its module.
        question: what it answers.
        variants: by name.
    """

    task: str
    question: str
    variants: dict[str, Variant]


SERIES = {"sunspots": "sunspots", "co2": "CO₂", "elnino": "El Niño", "random_walk": "random walk"}
_HORIZONS = {"sunspots": "11", "co2": "26", "elnino": "12", "random_walk": "5"}


def _forecast(series: str, *flags: str) -> Variant:
    return Variant(("--series", series, *flags), evaluate=("--horizon", _HORIZONS[series]))


_FEWER_UPDATES = ("--total_steps", "1000")
_ANYWHERE = ("--sampling", "random")
_ONE_HEAD = ("--num_heads", "1")

GALLERY = {
    "text": GalleryExperiment(
        "text",
        "How well is the next character predicted, and what is the memory worth?",
        {
            "LSTM": Variant(
                evaluate=("--baselines", "--by_position", "--parse_share"),
                asked=(
                    *("sample", "--prompt", "    def ", "--temperature", "0.7", "--top_k", "40"),
                    *("--num_chars", "400", "--seed", "1"),
                ),
            ),
        },
    ),
    "text_cells": GalleryExperiment(
        "text",
        "Which cell, of as many parameters each, and what do pieces in order bring?",
        {
            "LSTM": Variant(_FEWER_UPDATES),
            "GRU": Variant((*_FEWER_UPDATES, "--cell", "gru", "--hidden_dim", "372")),
            "RNN": Variant(
                (*_FEWER_UPDATES, "--cell", "rnn", "--hidden_dim", "647", "--lr", "0.001")
            ),
            "random pieces": Variant((*_FEWER_UPDATES, *_ANYWHERE)),
        },
    ),
    "text_random": GalleryExperiment(
        "text",
        "Do pieces from anywhere lead after a training of full length, too?",
        {"random pieces": Variant(_ANYWHERE)},
    ),
    "text_overnight": GalleryExperiment(
        "text",
        "How far does a larger network get with more time?",
        {
            "two layers": Variant(
                (
                    *(*_ANYWHERE, "--seq_len", "128", "--num_layers", "2", "--lr", "0.005"),
                    *("--dropout", "0.15", "--weight_decay", "0.05", "--total_steps", "13000"),
                ),
                num_seeds=1,
                evaluate=("--baselines",),
            ),
        },
    ),
    "highlight": GalleryExperiment(
        "highlight",
        "What does reading backwards know?",
        {
            "both directions": Variant(also=(("--window", "128"),)),
            "forward only": Variant(("--no-bidirectional",)),
        },
    ),
    "addition": GalleryExperiment(
        "addition",
        "How many of a million sums are wrong?",
        {
            "two heads": Variant(num_seeds=20, also=(("--digits", "4"),), asked=("ask", "535+61")),
        },
    ),
    "addition_one_head": GalleryExperiment(
        "addition",
        "And if attention can look at one digit at a time only?",
        {"one head": Variant(_ONE_HEAD, num_seeds=20)},
    ),
    "addition_parts": GalleryExperiment(
        "addition",
        "What does each part of the training bring to a network of one head?",
        {
            "written from the first digit on": Variant((*_ONE_HEAD, "--no-reversed")),
            "without attention": Variant(("--num_heads", "0")),
            "half the teaching": Variant((*_ONE_HEAD, "--teacher_forcing", "0.5")),
            "no teaching": Variant((*_ONE_HEAD, "--teacher_forcing", "0")),
            "neither decay nor noise": Variant(
                (*_ONE_HEAD, "--weight_decay", "0", "--embed_noise", "0")
            ),
            "no extra short sums": Variant((*_ONE_HEAD, "--short_share", "0")),
            **{
                f"{n:,} pairs": Variant((*_ONE_HEAD, "--num_pairs", str(n)))
                for n in (5_000, 10_000, 20_000)
            },
        },
    ),
    "forecast": GalleryExperiment(
        "forecast",
        "Does a recurrent network forecast better than rules that need no training?",
        {series: _forecast(series) for series in SERIES}
        | {
            f"{series}, {cell}": _forecast(series, "--cell", cell)
            for series in ("sunspots", "co2")
            for cell in ("rnn", "gru")
        }
        | {
            f"{series}, leak {leak}": Variant(("--series", series, "--leak", leak))
            for series in ("sunspots", "random_walk")
            for leak in ("scaling", "shuffle", "target")
        }
        | {"co2, values": _forecast("co2", "--difference", "off")},
    ),
}


def run_once(task: str, variant: Variant, seed: int) -> dict[str, Any]:
    """Train and examine one network, or take the figures of an earlier, equal run.

    Returns:
        The figures of `evaluate --json`, those of further evaluations by their flags, and of the
        training: seed, seconds from start to exit, steps, parameters, the hash of the weights.

    Raises:
        RuntimeError: a command failed.
    """
    run = _run(task, variant, seed)
    return make_once(run.parent, lambda: _train_and_examine(task, variant, seed, run))


def _train_and_examine(task: str, variant: Variant, seed: int, run: Path) -> dict[str, Any]:
    seconds = train(run, _MODULE + task, "train", *variant.flags, "--seed", str(seed))
    result = read_json(run / RESULT_FILE)

    def evaluate(asked: Sequence[str]) -> dict[str, Any]:
        return json.loads(launch(_MODULE + task, "evaluate", "--run", str(run), *asked, "--json"))

    names = ("steps", "model_parameters", "weights_hash")
    return {
        "seed": seed,
        "seconds": seconds,
        **{name: result[name] for name in names},
        "figures": evaluate(variant.evaluate),
        "also": {" ".join(asked): evaluate(asked) for asked in variant.also},
    }


def _run(task: str, variant: Variant, seed: int) -> Path:
    """Where a network is kept."""
    asked = (task, variant.flags, variant.evaluate, variant.also, seed)
    return run_folder(*asked, code_version(CODE)) / "run"


def _answer(task: str, variant: Variant) -> dict[str, str]:
    """The command and what the network of seed 0 prints, or nothing if it is not asked."""
    if not variant.asked:
        return {}
    run = str(_run(task, variant, 0))
    answer = launch(_MODULE + task, *variant.asked, "--run", run)
    return {"asked": shlex.join([task, *variant.asked]), "answer": answer}


def run_experiment(name: str, jobs: int, num_seeds: int | None = None) -> dict[str, Any]:
    """Make every missing run of an experiment; returns the content of its result file.

    Args:
        name: in GALLERY.
        jobs: runs at a time.
        num_seeds: at most so many of each variant; None makes all.
    """
    experiment = GALLERY[name]
    work = {
        (variant_name, seed): partial(run_once, experiment.task, variant, seed)
        for variant_name, variant in experiment.variants.items()
        for seed in range(min(variant.num_seeds, num_seeds or variant.num_seeds))
    }
    made = make_all(work, jobs, CODE)
    return {
        **result_head(f"{COMMAND} {name}", CODE, question=experiment.question, jobs=jobs),
        "variants": {
            variant_name: {
                "flags": " ".join(variant.flags),
                "evaluate": " ".join(variant.evaluate),
                "runs": [run for (of, _), run in made.items() if of == variant_name],
                **_answer(experiment.task, variant),
            }
            for variant_name, variant in experiment.variants.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiments that the command line names; returns the exit status."""
    parser = CommandLineParser(prog=COMMAND, description=__doc__)
    names = ", ".join(GALLERY)
    parser.add_argument("names", nargs="+", choices=[*GALLERY], metavar="NAME", help=f"of {names}")
    number = {"type": whole_number(1), "metavar": "N"}
    parser.add_argument("--jobs", default=1, help="runs at a time (default: 1)", **number)
    parser.add_argument(
        "--num_seeds", help="train at most so many of each variant, and write no result", **number
    )
    flags = parser.parse_args(arguments)
    with parser.exit_on_bad_input(RuntimeError):
        for name in flags.names:
            content = run_experiment(name, flags.jobs, flags.num_seeds)
            if flags.num_seeds is None:
                write_json(RESULTS / f"{name}.json", content)
    return 0


if __name__ == "__main__":
    run_command(main)
