"""The task of one's own data: labelled examples from files, `label<TAB>tokens`.

Shapes: N examples.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from rnn_tutorial.data.example_stream import ExampleDataset
from rnn_tutorial.data.examples import (
    Examples,
    Vocabulary,
    build_vocabulary,
    guessing_loss,
    label_shares,
    read_examples,
    read_split,
)
from rnn_tutorial.evaluation.exact import MAX_EXAMPLES
from rnn_tutorial.evaluation.result import Evaluation, wilson_interval
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.model.classifier import RnnClsNet, evaluating
from rnn_tutorial.runs.schema import Size
from rnn_tutorial.runs.terminal import shown
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.reading import WordReader
from rnn_tutorial.tasks.task import (
    describe_accuracy_by_class,
    describe_accuracy_by_length,
    describe_wrong,
    join_first,
)


class LabelledFiles:
    """Examples of a file to train on, others to evaluate on; see `Task`.

    Args:
        vocabulary: of the training examples.
        trained_lengths: of the training examples.
        fingerprint: SHA-256 of all examples.
        split: train_file, eval_file and seed, from which `read_split` makes the examples.
        balance_classes: True to train on every class equally often.
    """

    class Record(TypedDict):
        """What a checkpoint records of the task."""

        kind: str
        tokens: list[str]
        classes: list[str]
        fingerprint: str
        min_seq_len: Size
        max_seq_len: Size

    kind = "labelled files"
    machine = None
    claim = ""

    def __init__(
        self,
        vocabulary: Vocabulary,
        trained_lengths: range,
        fingerprint: str,
        split: tuple[str, str, int],
        balance_classes: bool,
    ) -> None:
        self.vocabulary = vocabulary
        self.tokens, self.classes = vocabulary.tokens, vocabulary.class_names
        self.trained_lengths = trained_lengths
        self.trained_on = f"lengths {trained_lengths[0]} to {trained_lengths[-1]}"
        self.record = {
            "kind": self.kind,
            "tokens": self.tokens,
            "classes": self.classes,
            "fingerprint": fingerprint,
            "min_seq_len": trained_lengths[0],
            "max_seq_len": trained_lengths[-1],
        }
        self.reader = WordReader(vocabulary)
        self._split, self._balance_classes = split, balance_classes
        self._train_file, self._eval_file, self._seed = split
        self.source = f"--train_file {self._train_file!r}"
        if self._eval_file:
            self.source += f" or --eval_file {self._eval_file!r}"

    @classmethod
    def from_config(cls, config: TrainConfig) -> LabelledFiles:
        """Read the files that the flags name; ValueError if one is refused, see `read_split`."""
        split = config.train_file, config.eval_file, config.seed
        trained, evaluated = read_split(*split)
        vocabulary = build_vocabulary(trained)
        vocabulary.check_labels(evaluated)
        sizes = [len(tokens) for tokens in trained.tokens]
        lengths = range(min(sizes), max(sizes) + 1)
        fingerprint = _fingerprint(trained, evaluated)
        task = cls(vocabulary, lengths, fingerprint, split, config.balance_classes)
        # What is needed of the training examples; as texts they would fill the memory.
        task.dataset = ExampleDataset(trained, vocabulary, config.seed, config.balance_classes)
        task._training_labels = len(trained), label_shares(trained)
        task._evaluated = evaluated
        return task

    @classmethod
    def from_record(cls, record: Mapping[str, Any], config: Mapping[str, Any]) -> LabelledFiles:
        """The task of a checkpoint, whose `record` is a Record. Reads no file yet."""
        lengths = range(record["min_seq_len"], record["max_seq_len"] + 1)
        vocabulary = Vocabulary(record["tokens"], record["classes"])
        split = config.get("train_file", ""), config.get("eval_file", ""), config.get("seed", 0)
        is_balanced = config.get("balance_classes", False)
        return cls(vocabulary, lengths, record["fingerprint"], split, is_balanced)

    def reread_split(self) -> tuple[Examples, Examples]:
        """To train on and to evaluate on; ValueError if a file is refused or has changed."""
        try:
            examples = read_split(*self._split)
        except ValueError as error:
            if all(Path(path).exists() for path in (self._train_file, self._eval_file)):
                raise  # "", no evaluation file, is the current folder
            raise ValueError(
                f"{error}; a relative path starts where the training was started"
            ) from None
        if _fingerprint(*examples) != self.record["fingerprint"]:
            raise ValueError(
                f"{self._train_file!r} or its evaluation examples have changed since the training; "
                "name a file with --eval_file"
            )
        return examples

    @cached_property
    def _evaluated(self) -> Examples:
        return self.reread_split()[1]

    def evaluate(self, model: RnnClsNet) -> Evaluation:
        """Accuracy on the examples to evaluate on."""
        return evaluate_examples(model, self._evaluated, self.vocabulary)

    def evaluate_file(self, model: RnnClsNet, path: str | None, max_examples: int) -> Evaluation:
        """Accuracy on a file's examples, or on the task's own; ValueError if one is refused."""
        examples = self._evaluated if path is None else read_examples(path, "--eval_file")
        self.vocabulary.check_labels(examples)
        return evaluate_examples(model, examples, self.vocabulary, max_examples)

    def introduce(self) -> str:
        """What is learned from, and what a network that only guesses would score."""
        num_trained, shares = self._training_labels
        likely = next(iter(shares))
        chance = label_shares(self._evaluated).get(likely, 0.0)
        split = f"of {shown(self._eval_file)}" if self._eval_file else "held out from it at random"
        frequent = [f"{shown(name)} {share:.1%}" for name, share in shares.items()]
        ids = self.vocabulary.encode(chain.from_iterable(self._evaluated.tokens))
        num_classes = len(self.classes)
        drawn = [1 / num_classes] * num_classes if self._balance_classes else shares.values()
        return (
            f"chance is a loss of {guessing_loss(drawn):.3f}, "
            f"accuracy {chance:.1%} (always {likely!r})\n"
            f"Data: {num_trained:,} examples of {shown(self._train_file)}, evaluated on "
            f"{len(self._evaluated):,} {split} ({ids.count(0) / len(ids):.1%} of their tokens "
            f"unknown)\n"
            f"{len(self.tokens) - 1:,} different tokens, {num_classes:,} classes: "
            f"{join_first(frequent, ', ')}{'; drawn equally often' * self._balance_classes}"
        )

    def describe_results(self, model: RnnClsNet, evaluation: Evaluation) -> list[str]:
        """Accuracy by length and by label, and wrong examples in words, as lines."""
        lines = describe_accuracy_by_length(evaluation)
        lines += describe_accuracy_by_class(evaluation, self.classes)
        for example in evaluation.wrong_examples:
            right = f"{example['label']} (line {example['line']})"
            tokens = join_first(example["tokens"])
            lines.append(describe_wrong(tokens, example["answer"], right))
        return lines

    def advise(self, config: TrainConfig) -> str:
        """Nothing: what helps depends on the data."""
        return ""


def evaluate_examples(
    model: RnnClsNet, examples: Examples, vocabulary: Vocabulary, max_examples: int = MAX_EXAMPLES
) -> Evaluation:
    """Accuracy on examples, whose labels the vocabulary has; the model keeps its mode."""
    started = time.perf_counter()
    ids = np.array([i for tokens in examples.tokens for i in vocabulary.encode(tokens)])  # (M,)
    lengths = np.array([len(tokens) for tokens in examples.tokens])
    with evaluating(model):
        targets = vocabulary.encode_labels(examples.labels)
        answers, losses = Scorer(model).classify_with_losses(ids, lengths, targets)
    is_right = (answers == targets) & ~np.isnan(losses)

    answers_by_label = {label: {} for label in sorted(set(examples.labels))}
    by_length, wrong = {}, []
    names = np.array(vocabulary.class_names, object)[answers]
    names[np.isnan(losses)] = "not a number"
    loss = losses.mean(dtype=np.float64).item()
    columns = examples.lines, examples.labels, examples.tokens, names, is_right.tolist()
    for line, label, tokens, name, right in zip(*columns, strict=True):
        counts = answers_by_label[label]
        counts[name] = counts.get(name, 0) + 1
        by_length.setdefault(len(tokens), []).append(right)
        if not right:
            wrong.append({"line": line, "tokens": tokens, "label": label, "answer": name})
    wrong.sort(key=lambda example: len(example["tokens"]))
    num_right = len(examples) - len(wrong)
    low, high = wilson_interval(num_right, len(examples))
    return Evaluation(
        accuracy=num_right / len(examples),
        num_inputs=len(examples),
        num_wrong=len(wrong),
        accuracy_by_length={n: sum(right) / len(right) for n, right in sorted(by_length.items())},
        wrong_examples=wrong[:max_examples],
        exact=False,
        low=low,
        high=high,
        elapsed_seconds=time.perf_counter() - started,
        answers_by_label=answers_by_label,
        accuracy_by_class={
            name: counts.get(name, 0) / sum(counts.values())
            for name, counts in answers_by_label.items()
        },
        loss=loss if math.isfinite(loss) else None,
    )


def _fingerprint(trained: Examples, evaluated: Examples) -> str:
    """SHA-256 of all labels and tokens: a run goes on with the same examples only."""
    digest = hashlib.sha256()
    for examples in (trained, evaluated):
        for label, tokens in zip(examples.labels, examples.tokens, strict=True):
            digest.update(f"{label}\t{' '.join(tokens)}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()
