"""What `addition` prints of a trained network: wrong answers, one answer, its attention."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rnn_tutorial.gallery.attention_picture import draw_in_text, draw_to_file
from rnn_tutorial.gallery.checkpoint import GalleryCheckpoint, require_same_data
from rnn_tutorial.gallery.command import add_run_flag
from rnn_tutorial.gallery.pairs import MAX_UNITS, Units
from rnn_tutorial.gallery.sums import LIMIT, all_sums, choose_pairs, draw_long_sums, is_sum, solve
from rnn_tutorial.gallery.translator import Score, Translator, score_answers
from rnn_tutorial.pictures.canvas import check_picture
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.files import read_json, write_json
from rnn_tutorial.runs.schema import build
from rnn_tutorial.runs.terminal import shown, whole_number

_MAX_DIGITS = 18  # NumPy draws whole numbers of 64 bits
_SAMPLE = 10_000  # sums of --digits


def add_report_flags(commands: Any) -> None:
    """The commands `evaluate` and `ask`, and their flags."""
    evaluation = commands.add_parser("evaluate", help="count wrong answers")
    evaluation.add_argument(
        "--digits",
        type=whole_number(1, _MAX_DIGITS),
        metavar="N",
        help=f"up to {_SAMPLE:,} sums of numbers of N digits each instead of all sums of numbers "
        f"below {LIMIT}",
    )
    evaluation.add_argument("--json", action="store_true", help="print JSON instead of text")
    question = commands.add_parser("ask", help="answer one question")
    question.add_argument("question", help="a sum such as 535+61, or a source like those trained")
    question.add_argument("--figure", metavar="FILE", help="draw the attention as a picture")
    for command, width in ((evaluation, 1), (question, 5)):
        add_run_flag(command)
        command.add_argument(
            "--beam",
            type=whole_number(1, 100),
            default=width,
            metavar="K",
            help=f"width of the beam; 1 decodes greedily (default: {width})",
        )
        command.add_argument(
            "--length_penalty",
            type=_penalty,
            default=0.0,
            metavar="X",
            help="0 ranks the answers by probability, 1 nearly by probability per unit; 0.6 suits "
            "sentences; needs --beam 2 or more (default: 0)",
        )


def _beam(flags: dict[str, Any]) -> tuple[int, float]:
    """Width and length penalty; raise ValueError for a penalty where nothing is ranked."""
    width, penalty = flags["beam"], flags["length_penalty"]
    if width == 1 and penalty:
        raise ValueError(
            f"--length_penalty {penalty:g} has no effect with --beam 1, which ranks no answers"
        )
    return width, penalty


def _penalty(text: str) -> float:
    """A reader of length penalties for argparse."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")


def report_evaluation(
    translator: Translator, config: Any, checkpoint: GalleryCheckpoint, flags: Mapping[str, Any]
) -> int:
    """Print how many answers are wrong; returns the exit status.

    Args:
        translator: the trained network.
        config: an AdditionConfig.
        checkpoint: of the network; the score of all sums is kept beside the file.
        flags: what the user gave.

    Raises:
        ValueError: the pairs are not those of the training, or the run did not learn sums.
    """
    source = f"--pairs_file {config.pairs_file!r}" if config.pairs_file else "the drawing of sums"
    trained, held_out = choose_pairs(config)
    pairs = trained + held_out
    require_same_data(checkpoint, pairs.fingerprint(), source)
    digits, beam = flags["digits"], _beam(flags)
    known = set(trained.sources)
    if digits and config.pairs_file:
        raise ValueError(
            f"--digits {digits} applies only to sums; this run learned {config.pairs_file!r}"
        )
    if config.pairs_file:
        asked = f"the {len(pairs):,} pairs in {config.pairs_file!r}"
        score = score_answers(translator, pairs.parts(), known, *beam)
    elif digits:
        longer = replace(translator, max_units=digits + 2)
        sums = draw_long_sums(digits, _SAMPLE)
        asked = f"{len(sums):,} sums of two numbers of {digits} digits"
        score = score_answers(longer, sums.parts(), known, *beam)
    else:
        asked = f"all sums of two numbers below {LIMIT}"
        score = _score_of_all(translator, checkpoint.path, known, beam)
    if flags["json"]:
        figures = {name: value for name, value in asdict(score).items() if name != "examples"}
        print(json.dumps({"checkpoint": str(checkpoint.path), **figures}))
        return 0
    for line in [f"{checkpoint.path}: {asked}", *score.lines()]:
        print(shown(line))
    return 0


def _score_of_all(
    translator: Translator, checkpoint: Path, known: set[str], beam: tuple[int, float]
) -> Score:
    """The score of all sums, from the file beside the checkpoint if it is there."""
    path = checkpoint.with_suffix(".evaluation.json")
    key = {"weights_hash": weights_hash(translator.model.state_dict()), "beam": list(beam)}
    with contextlib.suppress(ValueError):
        kept = read_json(path)
        if {name: kept.get(name) for name in key} == key:
            return build(Score, kept.get("score"), str(path))
    score = score_answers(translator, all_sums(), known, *beam)
    with contextlib.suppress(OSError):  # a folder that may only be read
        write_json(path, {**key, "score": asdict(score)})
    return score


def report_answer(translator: Translator, config: Any, flags: Mapping[str, Any]) -> int:
    """Print the answer to a question, the beam's rivals and the attention; returns the exit status.

    Args:
        translator: the trained network.
        config: an AdditionConfig.
        flags: what the user gave.

    Raises:
        ValueError: the question is no sum, empty or too long, or the picture cannot be drawn.
    """
    question, figure, beam = flags["question"].strip(), flags["figure"], _beam(flags)
    units = translator.source_units.split(question)
    if not 1 <= len(units) <= MAX_UNITS:
        raise ValueError(f"the question has {len(units):,} {config.units}, not 1 to {MAX_UNITS:,}")
    if not config.pairs_file and not is_sum(question):
        raise ValueError(f"{question!r} is not a sum of two numbers, such as 535+61")
    check_picture(figure)
    if figure and not config.num_heads:
        raise ValueError(f"--figure {figure!r} shows attention; this run has none")
    at_most = max(translator.max_units, len(units) + 1)
    translator = replace(translator, max_units=at_most)
    (answer, probability), *rivals = translator.best_answers(question, *beam)
    if figure and not answer:
        raise ValueError(f"--figure {figure!r} shows attention; this answer is empty")
    print(shown(f"{question} -> {answer}  ({probability:.2%})"))
    for note in _notes(question, answer, translator.source_units, config):
        print(shown(note))
    if rivals:
        print("Rivals in the beam:")
    for text, share in rivals:
        print(shown(f"  {text}  ({share:.2g})"))
    if config.num_heads and answer:
        weights = translator.attention(question, answer)
        rows = translator.target_units.split(answer)
        print(
            f"Attention, a row for each of the {config.units} written, a column for each one read:"
        )
        for line in draw_in_text(weights, rows, units):
            print(shown(line))
        if figure:
            draw_to_file(figure, weights, rows, units, f"{question} -> {answer}")
            print(f"Wrote {shown(figure)}")
    return 0


def _notes(question: str, answer: str, units: Units, config: Any) -> Iterator[str]:
    """Whether an answer is right if that is known, and what training has not seen."""
    if unknown := sorted(set(units.split(question)) - set(units.names)):
        yield f"Training has not seen {', '.join(map(repr, unknown))}."
    if config.pairs_file:
        return
    right = solve(question)
    yield "That is right." if answer == right else f"That is wrong: it is {right}."
    numbers = question.split("+")
    if any(int(number) >= LIMIT or str(int(number)) != number for number in numbers):
        yield f"Training has only seen numbers from 0 to {LIMIT - 1}, without leading zeros."
