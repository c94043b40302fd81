"""What a training is about: the sum of digits modulo 10, or labelled examples from files.

Both have the same few members, so that training, its report and the evaluation need not ask which
it is: `settings`, `cls_num`, `dataset`, `examples`, `evaluate`, `introduce`, `describe_results`.

Shapes: N examples, T time, C classes.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from rnn_tutorial.data.examples import (
    ExampleDataset,
    Examples,
    Vocabulary,
    build_vocabulary,
    guessing_loss,
    label_shares,
    read_split,
)
from rnn_tutorial.data.streams import SeqSumModDataset
from rnn_tutorial.evaluation.exact import MAX_EXAMPLES, evaluate
from rnn_tutorial.evaluation.result import Evaluation, wilson_interval
from rnn_tutorial.machines.digit_sum import SumModulo, label, num_classes
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.settings.config import TrainConfig

_SCORED_TOKENS = 2**18  # padded tokens scored at once
_SHOWN_TOKENS = 20
_SHOWN_ROWS = 10  # a table by length or by label of more rows is left out


class DigitTask:
    """The digit task: endless samples, every possible input to evaluate on.

    Attributes:
        settings: the configuration's min_seq_len, max_seq_len and max_number.
        cls_num: C.
        dataset: the stream of training samples.
        examples: what a checkpoint keeps about files: nothing.
    """

    examples: None = None

    def __init__(self, config: TrainConfig) -> None:
        self.settings = {
            "min_seq_len": config.min_seq_len,
            "max_seq_len": config.max_seq_len,
            "max_number": config.max_number,
        }
        self.cls_num = num_classes(config.max_number)
        self.dataset = SeqSumModDataset(None, **self.settings, seed=config.seed)

    def evaluate(self, model: RnnClsNet) -> Evaluation:
        """Accuracy over all inputs, or a sample of them; see `exact.evaluate`."""
        settings = self.settings
        machine = SumModulo(settings["max_number"])
        return evaluate(model, machine, settings["min_seq_len"], settings["max_seq_len"])

    def introduce(self) -> str:
        """What a net that only guesses would score."""
        return (
            f"chance is a loss of ln {self.cls_num} = {math.log(self.cls_num):.3f}, "
            f"accuracy {1 / self.cls_num:.1%}"
        )

    def describe_results(self, model: RnnClsNet, evaluation: Evaluation) -> list[str]:
        """Lines on what the evaluation found."""
        lines = _accuracy_by_length(evaluation)
        for digits in evaluation.wrong_examples:
            answer = model.predict(digits).item()
            right = label(digits, self.settings["max_number"])
            lines.append(f"  wrong: {_shorten(digits)} -> {answer}, right is {right}")
        return lines


class FileTask:
    """Labelled examples from files: `label<TAB>tokens`.

    Args:
        train_file: the examples to train on.
        eval_file: the examples to evaluate on; "" holds out a seeded tenth of train_file.
        seed: of the run.

    Attributes:
        settings: shortest and longest training example, and the largest token id as max_number.
        cls_num: C.
        dataset: the stream of training examples.
        examples: vocabulary, class names and a fingerprint of the files, for the checkpoint.
        evaluation_examples: those to evaluate on.
        vocabulary: of the training examples.

    Raises:
        ValueError: a file is refused; see `read_split`.
    """

    def __init__(self, train_file: str, eval_file: str, seed: int) -> None:
        trained, self.evaluation_examples = read_split(train_file, eval_file, seed)
        held_out = "held out of it, a seeded tenth, for want of an --eval_file"
        self._origin = (
            f"{len(trained):,} examples of {train_file}, evaluated on "
            f"{len(self.evaluation_examples):,} {f'of {eval_file}' if eval_file else held_out}"
        )
        self.vocabulary = build_vocabulary(trained, "--train_file")
        self.vocabulary.check_labels(self.evaluation_examples, "--eval_file")
        self.dataset = ExampleDataset(trained, self.vocabulary, seed)
        self.cls_num = len(self.vocabulary.class_names)
        self.settings = {
            "min_seq_len": self.dataset.min_seq_len,
            "max_seq_len": self.dataset.max_seq_len,
            "max_number": len(self.vocabulary.tokens) - 1,
        }
        self.examples = {
            "vocabulary": self.vocabulary.tokens,
            "class_names": self.vocabulary.class_names,
            "fingerprint": _fingerprint(trained, self.evaluation_examples),
        }
        self._label_shares = label_shares(trained)

    def evaluate(self, model: RnnClsNet) -> Evaluation:
        """Accuracy on the examples to evaluate on."""
        return evaluate_examples(model, self.evaluation_examples, self.vocabulary)

    def introduce(self) -> str:
        """What is learned from, and what a net that only guesses would score."""
        name, share = next(iter(self._label_shares.items()))
        loss = guessing_loss(self._label_shares.values())
        return (
            f"chance is a loss of {loss:.3f}, accuracy {share:.1%} (always {name!r})\n"
            f"Data: {self._origin}; {self.cls_num:,} classes, "
            f"{len(self.vocabulary.tokens) - 1:,} different tokens"
        )

    def describe_results(self, model: RnnClsNet, evaluation: Evaluation) -> list[str]:
        """Lines on what the evaluation found."""
        return describe_examples_results(evaluation)


def make_task(config: TrainConfig) -> DigitTask | FileTask:
    """The task that a configuration means; ValueError if its files are refused."""
    if config.train_file:
        return FileTask(config.train_file, config.eval_file, config.seed)
    return DigitTask(config)


def evaluate_examples(
    model: RnnClsNet, examples: Examples, vocabulary: Vocabulary, max_examples: int = MAX_EXAMPLES
) -> Evaluation:
    """Accuracy on examples, whose labels the vocabulary must have.

    The model's mode is the same afterwards.
    """
    started = time.perf_counter()
    was_training = model.training
    model.eval()
    answers = _answer(model, [vocabulary.encode(own) for own in examples.tokens])
    model.train(was_training)

    names = vocabulary.class_names
    answers_by_label: dict[str, dict[str, int]] = {
        name: {} for name in sorted(set(examples.labels))
    }
    by_length: dict[int, list[bool]] = {}
    wrong = []
    columns = zip(examples.lines, examples.tokens, examples.labels, answers, strict=True)
    for line, tokens, right, answer in columns:
        counts = answers_by_label[right]
        counts[names[answer]] = counts.get(names[answer], 0) + 1
        by_length.setdefault(len(tokens), []).append(names[answer] == right)
        if names[answer] != right:
            wrong.append({"line": line, "tokens": tokens, "label": right, "answer": names[answer]})
    wrong.sort(key=lambda example: len(example["tokens"]))
    num_right = len(examples) - len(wrong)
    return Evaluation(
        accuracy=num_right / len(examples),
        num_inputs=len(examples),
        num_wrong=len(wrong),
        accuracy_by_length={n: sum(own) / len(own) for n, own in sorted(by_length.items())},
        wrong_examples=wrong[:max_examples],
        exact=False,
        **dict(zip(("low", "high"), wilson_interval(num_right, len(examples)), strict=True)),
        elapsed_seconds=time.perf_counter() - started,
        answers_by_label=answers_by_label,
    )


@torch.no_grad()
def _answer(model: RnnClsNet, ids: list[list[int]]) -> list[int]:
    """The class of each sequence of token ids."""
    padding, device = model.arguments["vocab_size"], model.fc.weight.device
    longest_first = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    answers = [0] * len(ids)
    while longest_first:
        count = max(1, _SCORED_TOKENS // len(ids[longest_first[0]]))
        places, longest_first = longest_first[:count], longest_first[count:]
        rows = [torch.tensor(ids[i]) for i in places]
        x = pad_sequence(rows, batch_first=True, padding_value=padding)  # (N, T)
        scores = model(x.to(device), torch.tensor([len(row) for row in rows]))
        for i, answer in zip(places, scores.argmax(dim=-1).tolist(), strict=True):
            answers[i] = answer
    return answers


def describe_examples_results(evaluation: Evaluation) -> list[str]:
    """Accuracy by length and by label, and wrong examples in words, as lines."""
    lines = _accuracy_by_length(evaluation)
    by_label = evaluation.answers_by_label
    if len(by_label) <= _SHOWN_ROWS:
        shown = ", ".join(
            f"{counts.get(name, 0) / sum(counts.values()):.2%} of {name}"
            for name, counts in by_label.items()
        )
        lines.append(f"Accuracy by label: {shown}")
    for example in evaluation.wrong_examples:
        lines.append(
            f"  wrong: {_shorten(example['tokens'])} -> {example['answer']}, right is "
            f"{example['label']} (line {example['line']})"
        )
    return lines


def _accuracy_by_length(evaluation: Evaluation) -> list[str]:
    by_length = evaluation.accuracy_by_length.items()
    if len(by_length) > _SHOWN_ROWS:
        return []
    shown = ", ".join(f"{accuracy:.2%} at {length}" for length, accuracy in by_length)
    return [f"Accuracy by length: {shown}"]


def _shorten(tokens: list[Any]) -> str:
    return " ".join(map(str, tokens[:_SHOWN_TOKENS])) + (
        " …" if len(tokens) > _SHOWN_TOKENS else ""
    )


def _fingerprint(trained: Examples, evaluated: Examples) -> str:
    """SHA-256 of all labels and tokens: a run goes on with the same examples only."""
    digest = hashlib.sha256()
    for examples in (trained, evaluated):
        for text, tokens in zip(examples.labels, examples.tokens, strict=True):
            digest.update(f"{text}\t{' '.join(tokens)}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()
