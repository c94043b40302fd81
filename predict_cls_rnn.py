"""Ask a trained network for the sum of digits modulo 10.

python predict_cls_rnn.py                               a prompt
python predict_cls_rnn.py --input "1 2 3"               one answer
python predict_cls_rnn.py < sequences.txt               one answer a line
python predict_cls_rnn.py --run_name baseline --json    of a certain run, as JSON
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rnn_tutorial.checkpoint import Checkpoint, load_checkpoint
from rnn_tutorial.evaluate import Evaluation, evaluate
from rnn_tutorial.model import RnnClsNet
from rnn_tutorial.run_folder import find_checkpoint
from rnn_tutorial.task import label, parse_sequence
from rnn_tutorial.terminal import OneSentenceParser

LINES_AT_ONCE = 4096
PADDED_TOKENS_AT_ONCE = 2**18


@dataclass(frozen=True)
class Answer:
    """One answer of the network beside the true one."""

    input: list[int]
    prediction: int
    probability: float  # that the network gives to its prediction
    target: int
    trained_length: bool  # False if no training sequence was as short or as long

    def as_text(self) -> str:
        """One line for a person."""
        mark = "✓" if self.prediction == self.target else "✗"
        warning = "" if self.trained_length else f"  (never trained on length {len(self.input)})"
        return (
            f"{' '.join(map(str, self.input))} -> {self.prediction} "
            f"with probability {self.probability:.1%}; right is {self.target} {mark}{warning}"
        )


class Predictor:
    """A trained network and the checkpoint that it came from."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model: RnnClsNet = checkpoint.build_model().eval()
        self.max_number: int = checkpoint.config["max_number"]
        self.trained_lengths = range(
            checkpoint.config["min_seq_len"], checkpoint.config["max_seq_len"] + 1
        )
        self._checkpoint = checkpoint

    def introduce(self) -> str:
        """Which run, step and seed answers, and how far it can be trusted."""
        checkpoint, lengths = self._checkpoint, self.trained_lengths
        evaluation = (
            Evaluation(**checkpoint.evaluation)
            if checkpoint.evaluation
            else evaluate(self.model, lengths[0], lengths[-1], self.max_number)
        )
        return (
            f"{checkpoint.path.parent} at step {checkpoint.step:,}, "
            f"seed {checkpoint.config.get('seed', 'unknown')}, trained on lengths {lengths[0]} to "
            f"{lengths[-1]}: {evaluation.describe()}"
        )

    def answer(self, sequences: Sequence[list[int]]) -> list[Answer]:
        """Answer sequences of any lengths, in their order.

        Scored in groups of similar length, so that little is padding and memory is bounded.
        """
        answers: list[Answer | None] = [None] * len(sequences)
        by_length = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        while by_length:
            longest = len(sequences[by_length[0]])
            group_size = max(1, PADDED_TOKENS_AT_ONCE // longest)
            group, by_length = by_length[:group_size], by_length[group_size:]
            scores = self.model.score([sequences[i] for i in group])  # (N, C)
            probabilities, predictions = scores.softmax(dim=-1).max(dim=-1)
            for i, probability, prediction in zip(
                group, probabilities.tolist(), predictions.tolist(), strict=True
            ):
                digits = sequences[i]
                answers[i] = Answer(
                    digits,
                    prediction,
                    probability,
                    int(label(digits, self.max_number)),
                    len(digits) in self.trained_lengths,
                )
        return answers


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer as the command line says; returns the exit status."""
    parser = OneSentenceParser(prog="predict_cls_rnn.py", description=__doc__)
    where = parser.add_argument_group("which network")
    where.add_argument(
        "--save_dir",
        default="./output/",
        metavar="DIR",
        help="a folder of runs, of which the newest answers, or the folder of a run "
        "(default: %(default)s)",
    )
    where.add_argument("--run_name", metavar="NAME", help="the run (default: the newest)")
    where.add_argument("--checkpoint", metavar="FILE", help="a model_step_N.pt file")
    what = parser.add_argument_group("what to answer")
    what.add_argument("--input", metavar="DIGITS", help='answer these, such as "1 2 3"')
    what.add_argument("--json", action="store_true", help="print each answer as a JSON object")
    flags = parser.parse_args(arguments)
    try:
        path = flags.checkpoint or find_checkpoint(flags.save_dir, flags.run_name)
        predictor = Predictor(load_checkpoint(path))
        if flags.input is not None:
            return answer_once(predictor, flags.input, flags.json)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if sys.stdin.isatty():
        return answer_prompt(predictor, flags.json)
    return answer_stream(predictor, flags.json)


def show(answer: Answer, as_json: bool, **more: int) -> None:
    """Print one answer."""
    print(json.dumps({**more, **asdict(answer)}) if as_json else answer.as_text())


def answer_once(predictor: Predictor, text: str, as_json: bool) -> int:
    """Answer `--input`."""
    try:
        digits = parse_sequence(text, predictor.max_number)
    except ValueError as error:
        raise ValueError(f"--input: {error}") from None
    print(predictor.introduce(), file=sys.stderr)
    show(*predictor.answer([digits]), as_json)
    return 0


def answer_prompt(predictor: Predictor, as_json: bool) -> int:
    """Ask for sequences at a prompt until the user has enough."""
    with contextlib.suppress(ImportError):  # Windows has none; its terminal edits by itself
        importlib.import_module("readline")  # gives input() line editing and history
    print(predictor.introduce())
    print(f"Type digits from 0 to {predictor.max_number}, such as 1 2 3; quit ends.")
    while True:
        try:
            text = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        if text.lower() in ("quit", "exit", "q"):
            return 0
        try:
            show(*predictor.answer([parse_sequence(text, predictor.max_number)]), as_json)
        except ValueError as error:
            print(error)


def answer_stream(predictor: Predictor, as_json: bool) -> int:
    """Answer standard input line by line; a bad line is reported and the others are answered."""
    print(predictor.introduce(), file=sys.stderr)
    status = 0
    lines = enumerate(sys.stdin, start=1)
    while batch := list(itertools.islice(lines, LINES_AT_ONCE)):
        sequences = {}
        for number, line in batch:
            try:
                sequences[number] = parse_sequence(line, predictor.max_number)
            except ValueError as error:
                print(f"line {number}: {error}", file=sys.stderr)
                status = 1
        answers = predictor.answer(list(sequences.values()))
        for number, answer in zip(sequences, answers, strict=True):
            show(answer, as_json, line=number)
    return status


if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(errors="replace")  # an odd byte is a token to refuse, not a crash
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
