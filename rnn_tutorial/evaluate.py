"""What a trained network does: on every short input, at great lengths, and as an automaton.

    python -m rnn_tutorial.evaluate output/solved
    python -m rnn_tutorial.evaluate output/solved --lengths 10 100 10000 --json
    python -m rnn_tutorial.evaluate output/solved --automaton
    python -m rnn_tutorial.evaluate output/sentences --eval_file more.tsv

A run that was trained with --train_file is scored on its evaluation examples, or those of a file.

Shapes: N sequences, T steps, C digits (as many as classes), H hidden.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from rnn_tutorial.data.examples import Vocabulary, read_examples
from rnn_tutorial.data.streams import EXAMINE_STREAM
from rnn_tutorial.evaluation.automaton import find_automaton
from rnn_tutorial.evaluation.exact import MAX_ENUMERATED, Evaluation, evaluate, wilson_interval
from rnn_tutorial.evaluation.plots import check_picture, draw_accuracy_by_length, draw_automaton
from rnn_tutorial.evaluation.scorer import Inference
from rnn_tutorial.machines.digit_sum import label, num_classes
from rnn_tutorial.machines.machine import count_sequences
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.runs.checkpoint import Checkpoint, load_run
from rnn_tutorial.runs.processes import choose_num_threads
from rnn_tutorial.runs.terminal import CommandLineParser
from rnn_tutorial.tasks.labelled_files import describe_examples_results, evaluate_examples
from rnn_tutorial.tasks.tasks import FileTask

MAX_TABLE = 12  # classes of which all confusions are shown
MAX_INPUTS = 10**9  # up to --max_len
MAX_DIGITS = 2 * 10**8  # of a sample: some gigabytes
MAX_REPEATED = 1000


@dataclass(frozen=True)
class LengthResult:
    """How many sequences of one length are answered rightly.

    Args:
        length: of the sequences.
        num_random, right_random: a seeded sample, and how many of it are right.
        right_modulo: of each p between 1 and C that divides C, how many of the sample are right
            modulo p: a network may know whether a sum is even, and no more.
        low, high: 95 % Wilson interval of the accuracy on random sequences.
        num_adversarial, right_adversarial: one digit repeated, and the smallest and the largest
            digit in turn.
    """

    length: int
    num_random: int
    right_random: int
    right_modulo: dict[int, int]
    low: float
    high: float
    num_adversarial: int
    right_adversarial: int


def adversarial_sequences(length: int, max_number: int) -> np.ndarray:
    """Each digit (or 1,000 of them) repeated, and 0 and max_number in turn, both ways: (R, T)."""
    repeated = np.linspace(0, max_number, min(num_classes(max_number), MAX_REPEATED))
    alternating = np.arange(length) % 2 * max_number
    sequences = np.empty((len(repeated) + 2, length), np.min_scalar_type(max_number))
    sequences[:-2] = repeated.round()[:, None]
    sequences[-2:] = alternating, max_number - alternating
    return sequences


def accuracy_at_length(
    model: RnnClsNet, length: int, max_number: int, num_sequences: int = 1000
) -> LengthResult:
    """Accuracy on a sample that is the same for every network, and on adversarial sequences."""
    generator = np.random.default_rng([0, EXAMINE_STREAM, length])
    digit_type = np.min_scalar_type(max_number)
    random = generator.integers(0, max_number, (num_sequences, length), digit_type, endpoint=True)
    inference = Inference(model)

    def errors(digits: np.ndarray) -> np.ndarray:
        """Answer minus label of each row; 1, wrong modulo everything, if a score is no number."""
        answers, probabilities = inference.classify(digits.ravel(), np.full(len(digits), length))
        return np.where(np.isnan(probabilities), 1, answers - label(digits, max_number))

    adversarial = adversarial_sequences(length, max_number).astype(digit_type)
    off = errors(random)
    right = int((off == 0).sum())
    classes = num_classes(max_number)
    return LengthResult(
        length,
        num_sequences,
        right,
        {p: int((off % p == 0).sum()) for p in range(2, classes) if classes % p == 0},
        *wilson_interval(right, num_sequences),
        len(adversarial),
        int((errors(adversarial) == 0).sum()),
    )


def longest_enumerable(max_number: int) -> int:
    """The greatest length up to which all inputs together are few enough to score in a moment."""
    lengths = itertools.takewhile(
        lambda length: count_sequences(num_classes(max_number), 1, length) <= MAX_ENUMERATED,
        itertools.count(1),
    )
    return max(lengths, default=1)


def examine_lengths(
    checkpoint: Checkpoint, max_len: int, lengths: Sequence[int], num_sequences: int
) -> dict[str, Any]:
    """Exact accuracy up to max_len and sampled accuracy at each of the lengths, as plain values."""
    model, config = checkpoint.build_model().eval(), checkpoint.config
    max_number = config["max_number"]
    exact = evaluate(model, 1, max_len, max_number, max_enumerated=sys.maxsize, max_examples=20)
    at_lengths = [
        accuracy_at_length(model, length, max_number, num_sequences)
        for length in tqdm(lengths, leave=False, disable=not sys.stderr.isatty(), unit=" lengths")
    ]
    return {
        "checkpoint": str(checkpoint.path),
        "step": checkpoint.step,
        "seed": config.get("seed"),
        "trained_lengths": [config["min_seq_len"], config["max_seq_len"]],
        "exact": asdict(exact),
        "lengths": [asdict(result) for result in at_lengths],
    }


def print_lengths(results: dict[str, Any], max_number: int) -> None:
    """The results of examine_lengths for a person."""
    exact = results["exact"]
    shortest, longest = results["trained_lengths"]
    print(
        f"{results['checkpoint']}: seed {results['seed'] if results['seed'] is not None else '?'}, "
        f"trained on lengths {shortest} to {longest}"
    )
    print(
        f"All {exact['num_inputs']:,} inputs up to length {max(exact['accuracy_by_length'])}: "
        f"{exact['num_wrong']:,} wrong ({exact['elapsed_seconds']:.2f} s)"
    )
    for digits in exact["wrong_examples"]:
        print(f"  wrong: {' '.join(map(str, digits))} (right is {label(digits, max_number)})")
    if exact["num_wrong"] > len(exact["wrong_examples"]):
        print(f"  … and {exact['num_wrong'] - len(exact['wrong_examples']):,} more")
    print("length   random right  95 % interval      adversarial right")
    for row in results["lengths"]:
        print(
            f"{row['length']:>6,}  {row['right_random']:>6,}/{row['num_random']:,}  "
            f"[{row['low']:.4f}, {row['high']:.4f}]  "
            f"{row['right_adversarial']:>4}/{row['num_adversarial']}"
            f"{_partly_right(row)}"
        )


def _partly_right(row: dict[str, Any]) -> str:
    """What a network that is not right may know all the same."""
    if row["right_random"] == row["num_random"] or not row["right_modulo"]:
        return ""
    counts = (f"{right:,} modulo {p}" for p, right in row["right_modulo"].items())
    return f"  (right: {', '.join(counts)})"


def score_examples(checkpoint: Checkpoint, eval_file: str | None) -> Evaluation:
    """Score a run that learned from files: on its evaluation examples, or on those of a file.

    Raises:
        ValueError: a file is refused, or the run's own are not those of its training any more.
    """
    recorded, config = checkpoint.examples, checkpoint.config
    vocabulary = Vocabulary(recorded["vocabulary"], recorded["class_names"])
    if eval_file:
        examples = read_examples(eval_file, "--eval_file")
        vocabulary.check_labels(examples, "--eval_file")
    else:
        task = FileTask(config["train_file"], config["eval_file"], config["seed"])
        if task.examples != recorded:
            raise ValueError(
                f"{config['train_file']!r} or its evaluation examples have changed since "
                f"{str(checkpoint.path)!r} was written; name a file with --eval_file"
            )
        examples = task.evaluation_examples
    model = checkpoint.build_model()
    return evaluate_examples(model, examples, vocabulary, max_examples=20)


def print_examples(checkpoint: Checkpoint, evaluation: Evaluation) -> None:
    """The results of score_examples for a person."""
    print(f"{checkpoint.path}: seed {checkpoint.config['seed']}, {evaluation.describe()}")
    for line in describe_examples_results(evaluation):
        print(line)
    names, counts = checkpoint.examples["class_names"], evaluation.answers_by_label
    if len(names) <= MAX_TABLE:
        print("Answers to the examples of each label (rows: label, columns: answer):")
        width = max(len(name) for name in [*names, f"{evaluation.num_inputs:,}"])
        print("  ".join(f"{name:>{width}}" for name in ["", *names]))
        for label, answers in counts.items():
            cells = [f"{answers.get(name, 0):,}" for name in names]
            print("  ".join(f"{cell:>{width}}" for cell in [label, *cells]))
    else:
        pairs = [
            (count, label, answer)
            for label, answers in counts.items()
            for answer, count in answers.items()
            if answer != label
        ]
        print("What is mistaken most often:")
        for count, label, answer in sorted(pairs, key=lambda pair: -pair[0])[:MAX_TABLE]:
            print(f"  {count:>5,}  {label} for {answer}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine as the command line says; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.evaluate", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder, a folder of runs, or a file")
    parser.add_argument(
        "--max_len",
        type=int,
        metavar="N",
        help="score every input up to this length (default: up to two million inputs)",
    )
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        metavar="N",
        default=[5, 10, 20, 50, 100, 500, 1000, 10000],
        help="score a sample of each of these lengths (default: 5 10 20 … 10000)",
    )
    parser.add_argument(
        "--num_sequences",
        type=int,
        default=1000,
        metavar="N",
        help="size of a sample (%(default)s)",
    )
    parser.add_argument(
        "--eval_file", metavar="FILE", help="score these labelled examples (default: the run's own)"
    )
    parser.add_argument("--automaton", action="store_true", help="show the machine that it learned")
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="draw here (default: beside the checkpoint; with --json, nowhere)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    flags = parser.parse_args(arguments)
    given = [flag for flag, value in vars(flags).items() if value != parser.get_default(flag)]
    torch.set_num_threads(choose_num_threads())
    try:
        _check_flags(flags, given)
        checkpoint = load_run(flags.run)
        if checkpoint.examples is not None:
            for flag in given:
                if flag not in ("run", "eval_file", "json"):
                    checkpoint.require_digit_task(f"--{flag}")
            _show_examples(checkpoint, flags)
        elif flags.eval_file:
            raise ValueError(
                f"--eval_file {flags.eval_file!r} is for runs that were trained with --train_file"
            )
        else:
            name = "automaton.png" if flags.automaton else "accuracy_by_length.png"
            figure = flags.figure or (None if flags.json else checkpoint.path.with_name(name))
            show = _show_automaton if flags.automaton else _show_lengths
            show(checkpoint, flags, figure)
            if figure and not flags.json:
                print(f"Picture: {figure}")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _check_flags(flags: argparse.Namespace, given: Sequence[str]) -> None:
    """Raise ValueError if a flag is out of its bounds, says nothing, or names no picture."""
    for flag in ("max_len", "num_sequences", "lengths"):
        values = np.atleast_1d(getattr(flags, flag) if getattr(flags, flag) is not None else 1)
        if values.min() < 1:
            raise ValueError(f"--{flag} {values.min()} is not a whole number from 1 on")
        if flags.automaton and flag in given:
            raise ValueError(f"--automaton looks at states and takes no --{flag}")
    if flags.figure:
        check_picture(flags.figure)


def _show_examples(checkpoint: Checkpoint, flags: argparse.Namespace) -> None:
    """Score the examples and print the results."""
    evaluation = score_examples(checkpoint, flags.eval_file)
    if flags.json:
        print(json.dumps({"checkpoint": str(checkpoint.path)} | asdict(evaluation)))
    else:
        print_examples(checkpoint, evaluation)


def _show_automaton(checkpoint: Checkpoint, flags: argparse.Namespace, figure: Path | None) -> None:
    """Find the automaton, print it, and draw it if there is a place to draw."""
    automaton = find_automaton(checkpoint.build_model().eval(), checkpoint.config["max_number"])
    if flags.json:
        kept = ("agreement", "is_right", "period_shares")
        figures = {name: getattr(automaton, name) for name in kept}
        print(json.dumps(figures | {"table": automaton.table.tolist()}))
    else:
        print(automaton.describe())
    if figure:
        draw_automaton(automaton.points, automaton.residues, automaton.centres, 1, figure)


def _show_lengths(checkpoint: Checkpoint, flags: argparse.Namespace, figure: Path | None) -> None:
    """Score short inputs and samples, print the results, and draw if there is a place to draw."""
    max_number = checkpoint.config["max_number"]
    max_len = flags.max_len or longest_enumerable(max_number)
    # (To length 30, even two digits make more than a billion inputs; longer ones need no count.)
    if count_sequences(num_classes(max_number), 1, min(max_len, 30)) > MAX_INPUTS:
        raise ValueError(f"--max_len {max_len} has more than a billion inputs, too many to score")
    longest, num_adversarial = max(flags.lengths), min(num_classes(max_number), MAX_REPEATED) + 2
    digits = longest * max(flags.num_sequences, num_adversarial)
    if digits > MAX_DIGITS:
        raise ValueError(
            f"--lengths {longest} with --num_sequences {flags.num_sequences} scores {digits:,} "
            f"digits at once; allowed are {MAX_DIGITS:,}"
        )
    results = examine_lengths(checkpoint, max_len, flags.lengths, flags.num_sequences)
    if flags.json:
        print(json.dumps(results))
    else:
        print_lengths(results, max_number)
    if figure:
        rows = results["lengths"]
        draw_accuracy_by_length(
            [row["length"] for row in rows],
            [row["right_random"] / row["num_random"] for row in rows],
            [row["low"] for row in rows],
            [row["high"] for row in rows],
            range(results["trained_lengths"][0], results["trained_lengths"][1] + 1),
            1 / num_classes(max_number),
            figure,
        )


if __name__ == "__main__":
    sys.exit(main())
