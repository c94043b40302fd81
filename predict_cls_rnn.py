"""Ask a trained network for the sum of digits modulo 10, or for the class of a sentence.

python predict_cls_rnn.py                               a prompt
python predict_cls_rnn.py --input "1 2 3"               one answer
python predict_cls_rnn.py < sequences.txt               one answer a line
python predict_cls_rnn.py --run_name baseline --json    of a certain run, as JSON

A network that was trained with --train_file is asked in the tokens of its examples, and answers
with their labels.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

import numpy as np
import torch

from rnn_tutorial.data.examples import Vocabulary, parse_tokens
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.prediction.answers import Answers, NamedAnswer
from rnn_tutorial.proof.certificate import CertificateStatus, certificate_status
from rnn_tutorial.runs.checkpoint import Checkpoint, load_checkpoint
from rnn_tutorial.runs.folder import find_checkpoint
from rnn_tutorial.runs.terminal import OneSentenceParser
from rnn_tutorial.tasks.digit_lines import parse_lines, parse_sequence

BLOCK_CHARACTERS = 2**18  # of a stream, answered at once
PROOF = {
    CertificateStatus.ABSENT: "",
    CertificateStatus.UNCHECKED: "; a certificate lies beside it, not checked",
    CertificateStatus.HOLDS: "; proved for every length (certificate checked)",
}
MAX_THREADS = 4  # a quarter of a small net's work is done under Python's lock


class Predictor:
    """A trained network and the checkpoint that it came from.

    Each kind of task has a subclass that reads its questions and writes its answers.

    Attributes:
        model: the network.
        trained_lengths: of the training sequences.
        instruction: what to type at the prompt.
    """

    instruction: str

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model: RnnClsNet = checkpoint.build_model().eval()
        self.trained_lengths = range(
            checkpoint.config["min_seq_len"], checkpoint.config["max_seq_len"] + 1
        )
        self._checkpoint = checkpoint
        self._scorer = Scorer(self.model)

    def introduce(self) -> str:
        """Which run, step and seed answers, and how far it can be trusted."""
        checkpoint, lengths = self._checkpoint, self.trained_lengths
        return (
            f"{checkpoint.path.parent} at step {checkpoint.step:,}, "
            f"seed {checkpoint.config.get('seed', 'unknown')}, trained on lengths {lengths[0]} to "
            f"{lengths[-1]}: {self.evaluation().describe()}" + PROOF[certificate_status(checkpoint)]
        )

    def evaluation(self) -> Evaluation:
        """What the network got right at the end of its training."""
        return Evaluation(**self._checkpoint.evaluation)

    def answer_one(self, text: str, as_json: bool) -> bytes:
        """Answer what a person typed, as a line.

        Raises:
            ValueError: it cannot be answered.
        """
        raise NotImplementedError

    def answer_lines(
        self, text: str, as_json: bool, first_number: int = 1
    ) -> tuple[bytes, dict[int, str]]:
        """Answer the lines of a text, and say by the number of a line why it has no answer."""
        raise NotImplementedError


class DigitPredictor(Predictor):
    """Answers sequences of digits, and knows what is right."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.max_number: int = checkpoint.config["max_number"]
        self.instruction = f"Type digits from 0 to {self.max_number}, such as 1 2 3; quit ends."

    def evaluation(self) -> Evaluation:
        """As recorded, or made now: the published scripts record none."""
        if self._checkpoint.evaluation:
            return super().evaluation()
        lengths = self.trained_lengths
        return evaluate(self.model, SumModulo(self.max_number), lengths[0], lengths[-1])

    def answer(self, digits: np.ndarray, lengths: np.ndarray) -> Answers:
        """Answer sequences that lie one after the other.

        Args:
            digits: of all sequences, (M,).
            lengths: digits of each sequence, int64, (N,), each at least 1; they sum to M.
        """
        predictions, probabilities = self._scorer.classify(digits, lengths)
        return Answers(
            digits,
            lengths,
            predictions,
            probabilities,
            SumModulo(self.max_number).answer(digits, lengths),
            (lengths >= self.trained_lengths[0]) & (lengths <= self.trained_lengths[-1]),
        )

    def answer_one(self, text: str, as_json: bool) -> bytes:
        """See `Predictor`; refused is what `parse_sequence` refuses."""
        digits = parse_sequence(text, self.max_number)
        answers = self.answer(np.array(digits), np.array([len(digits)]))
        return answers.as_json() if as_json else answers.as_text()

    def answer_lines(
        self, text: str, as_json: bool, first_number: int = 1
    ) -> tuple[bytes, dict[int, str]]:
        """See `Predictor`."""
        digits, lengths, refusals = parse_lines(text, self.max_number)
        numbers = np.flatnonzero(lengths) + first_number
        answered = b""
        if len(numbers):
            answers = self.answer(digits, lengths[lengths > 0])
            answered = answers.as_json(numbers) if as_json else answers.as_text()
        return answered, {first_number + line: why for line, why in refusals.items()}


class ExamplePredictor(Predictor):
    """Answers sequences of words or other tokens with the class names of the training examples."""

    instruction = "Type tokens as in the training examples, separated by spaces; quit ends."

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        examples = checkpoint.examples
        self.vocabulary = Vocabulary(examples["vocabulary"], examples["class_names"])

    def answer(self, sequences: Sequence[Sequence[str]]) -> list[NamedAnswer]:
        """Answer sequences of tokens, each at least one long."""
        ids = [self.vocabulary.encode(tokens) for tokens in sequences]
        lengths = np.array([len(tokens) for tokens in sequences])
        predictions, probabilities = self._scorer.classify(np.concatenate(ids), lengths)
        return [
            NamedAnswer(
                tokens,
                self.vocabulary.unknown(tokens),
                self.vocabulary.class_names[prediction],
                float(probability),
                len(tokens) in self.trained_lengths,
            )
            for tokens, prediction, probability in zip(
                sequences, predictions, probabilities, strict=True
            )
        ]

    def answer_one(self, text: str, as_json: bool) -> bytes:
        """See `Predictor`; refused is what `parse_tokens` refuses."""
        (answer,) = self.answer([parse_tokens(text)])
        return answer.as_json() if as_json else answer.as_text()

    def answer_lines(
        self, text: str, as_json: bool, first_number: int = 1
    ) -> tuple[bytes, dict[int, str]]:
        """See `Predictor`."""
        sequences, refusals = {}, {}
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=first_number):
            try:
                sequences[number] = parse_tokens(line)
            except ValueError as error:
                refusals[number] = str(error)
        answers = self.answer(list(sequences.values())) if sequences else []
        answered = b"".join(
            answer.as_json(number) if as_json else answer.as_text()
            for number, answer in zip(sequences, answers, strict=True)
        )
        return answered, refusals


def make_predictor(checkpoint: Checkpoint) -> Predictor:
    """The predictor for what the checkpoint learned."""
    kind = DigitPredictor if checkpoint.examples is None else ExamplePredictor
    return kind(checkpoint)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer as the command line says; returns the exit status."""
    parser = OneSentenceParser(prog="predict_cls_rnn.py", description=__doc__)
    where = parser.add_argument_group("which network")
    where.add_argument(
        "--save_dir",
        metavar="DIR",
        help="a folder of runs, of which the newest answers, or the folder of a run "
        "(default: ./output/)",
    )
    where.add_argument("--run_name", metavar="NAME", help="the run (default: the newest)")
    where.add_argument(
        "--checkpoint", metavar="FILE", help="a model_step_N.pt file, instead of the other two"
    )
    what = parser.add_argument_group("what to answer")
    what.add_argument("--input", metavar="TOKENS", help='answer these, such as "1 2 3"')
    what.add_argument("--json", action="store_true", help="print each answer as a JSON object")
    flags = parser.parse_args(arguments)
    try:
        if sys.stdout is None:
            raise ValueError("standard output is closed")
        if flags.input is None and sys.stdin is None:
            raise ValueError("standard input is closed; give --input")
        predictor = make_predictor(find_network(flags.checkpoint, flags.save_dir, flags.run_name))
        if flags.input is not None:
            return answer_once(predictor, flags.input, flags.json)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if sys.stdin.isatty():
        return answer_prompt(predictor, flags.json)
    return answer_stream(predictor, flags.json)


def find_network(checkpoint: str | None, save_dir: str | None, run_name: str | None) -> Checkpoint:
    """The checkpoint that the flags mean, each None if it is not given.

    Raises:
        ValueError: there is none, it is refused, or --checkpoint is not alone.
    """
    if checkpoint is None:
        folder = "./output/" if save_dir is None else save_dir
        return load_checkpoint(find_checkpoint(folder, run_name))
    for flag, value in (("--save_dir", save_dir), ("--run_name", run_name)):
        if value is not None:
            raise ValueError(f"--checkpoint says which network; leave out {flag} {value!r}")
    try:
        return load_checkpoint(checkpoint)
    except ValueError as error:
        raise ValueError(f"--checkpoint: {error}") from None


def show(answered: bytes) -> None:
    """Print answers; as the bytes that they are if standard output is in UTF-8 too."""
    if sys.stdout.encoding == "utf-8":
        sys.stdout.flush()
        sys.stdout.buffer.write(answered)
    else:
        sys.stdout.write(answered.decode())


def answer_once(predictor: Predictor, text: str, as_json: bool) -> int:
    """Answer `--input`."""
    try:
        answered = predictor.answer_one(text, as_json)
    except ValueError as error:
        raise ValueError(f"--input: {error}") from None
    print(predictor.introduce(), file=sys.stderr)
    show(answered)
    return 0


def answer_prompt(predictor: Predictor, as_json: bool) -> int:
    """Ask for sequences at a prompt until the user has enough."""
    with contextlib.suppress(ImportError):  # Windows has none; its terminal edits by itself
        importlib.import_module("readline")  # gives input() line editing and history
    print(predictor.introduce())
    print(predictor.instruction)
    while True:
        try:
            text = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        if text.lower() in ("quit", "exit", "q"):
            return 0
        try:
            show(predictor.answer_one(text, as_json))
        except ValueError as error:
            print(error)


def answer_stream(predictor: Predictor, as_json: bool) -> int:
    """Answer standard input line by line; a bad line is reported and the others are answered."""
    print(predictor.introduce(), file=sys.stderr)
    status = 0
    for answered, refusals in answer_blocks(predictor, read_blocks(sys.stdin), as_json):
        show(answered)
        for number, why in refusals.items():
            print(f"line {number}: {why}", file=sys.stderr)
            status = 1
    return status


def read_blocks(stream: TextIO) -> Iterator[tuple[int, str]]:
    """Blocks of whole lines, each with the number of its first line."""
    number = 1
    while text := stream.read(BLOCK_CHARACTERS) + stream.readline():
        yield number, text.removeprefix("\ufeff") if number == 1 else text  # some editors' mark
        number += text.count("\n")


def answer_blocks(
    predictor: Predictor, blocks: Iterator[tuple[int, str]], as_json: bool
) -> Iterator[tuple[bytes, dict[int, str]]]:
    """Answer blocks in their order, one for each of torch's threads at a time.

    Its share of every small product would keep a thread less busy than a block of its own.
    """
    threads = min(torch.get_num_threads(), MAX_THREADS)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        answers = deque()
        for number, text in blocks:
            answers.append(pool.submit(predictor.answer_lines, text, as_json, number))
            if len(answers) > threads:
                yield answers.popleft().result()
        while answers:
            yield answers.popleft().result()


if __name__ == "__main__":
    for stream in filter(None, (sys.stdin, sys.stdout)):  # None is one that is closed
        stream.reconfigure(errors="replace")  # an odd byte is a token to refuse, not a crash
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
