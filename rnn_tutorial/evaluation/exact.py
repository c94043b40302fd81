"""Exact accuracy: every input of the trained lengths is scored, so there is no sampling error.

The inputs of length n + 1 are those of length n with one digit more. Keep the hidden states of all
inputs of one length, extend each by every digit, and 111,110 inputs cost 111,110 cell steps. A net
without a state to go on from reads every input from its beginning.

Shapes: P prefixes, T digits of an input, C digits (as many as classes), S vectors of a state (see
inference.py), H hidden.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.data.streams import EVAL_STREAM, SeqSumModDataset
from rnn_tutorial.evaluation.scorer import empty_state, extend_by_every_digit
from rnn_tutorial.machines.digit_sum import label, num_classes
from rnn_tutorial.machines.machine import count_sequences, sequence_at
from rnn_tutorial.model.classifier import RnnClsNet

MAX_ENUMERATED = 2_000_000  # above it a sample is scored instead
SAMPLE_SIZE = 10_000  # an interval of at most ±1 %
MAX_EXAMPLES = 5
_CHUNK = 8192  # inputs scored at once: stays in the cache, bounds the memory at any length
_SAMPLE_TOKENS = 2**18  # padded tokens scored at once


@dataclass(frozen=True)
class Evaluation:
    """What a model gets right.

    Args:
        accuracy: expected over the training distribution: the mean of the accuracies per length;
            of examples from a file, the share of those that are answered rightly.
        num_inputs: inputs scored.
        num_wrong: of these, answered wrongly.
        accuracy_by_length: accuracy of each length.
        wrong_examples: a few inputs answered wrongly, the shortest first; of examples from a file,
            objects with their line, tokens, label and the answer.
        exact: True if every possible input was scored; False if a sample was.
        low, high: 95 % Wilson interval of the accuracy of a sample; the accuracy itself if exact.
        elapsed_seconds: what the evaluation took.
        answers_by_label: of examples from a file: of each label, how many got which answer.
    """

    accuracy: float
    num_inputs: int
    num_wrong: int
    accuracy_by_length: dict[int, float]
    wrong_examples: list[list[int]] | list[dict[str, Any]]
    exact: bool
    low: float
    high: float
    elapsed_seconds: float
    answers_by_label: dict[str, dict[str, int]] | None = None

    def describe(self) -> str:
        """One sentence for the screen."""
        if self.exact:
            return (
                f"accuracy {self.accuracy:.4%} exactly: "
                f"{self.num_wrong:,} of all {self.num_inputs:,} inputs wrong"
            )
        if self.answers_by_label is not None:
            scored = f"{self.num_inputs:,} examples"
        else:
            scored = f"a sample of {self.num_inputs:,} inputs (too many inputs to score them all)"
        return (
            f"accuracy {self.accuracy:.2%}, 95 % interval [{self.low:.2%}, {self.high:.2%}]: "
            f"{self.num_wrong:,} wrong of {scored}"
        )


def evaluate(
    model: RnnClsNet,
    min_seq_len: int,
    max_seq_len: int,
    max_number: int,
    max_enumerated: int = MAX_ENUMERATED,
    max_examples: int = MAX_EXAMPLES,
) -> Evaluation:
    """Accuracy over the inputs of the given lengths: of all of them, or of a fixed sample.

    All are scored if there are at most `max_enumerated`. At most `max_examples` wrong inputs are
    kept, the shortest first.

    Neither the model's mode nor any random generator is different afterwards.
    """
    started = time.perf_counter()
    was_training = model.training
    model.eval()
    exact = count_sequences(num_classes(max_number), min_seq_len, max_seq_len) <= max_enumerated
    with torch.no_grad():
        score_all = _score_all if model.has_state else _score_all_from_the_beginning
        score = score_all if exact else _score_sample
        tally = score(model, min_seq_len, max_seq_len, max_number, max_examples)
    model.train(was_training)
    return tally.summary(exact, time.perf_counter() - started)


class _Tally:
    """Counts of inputs and wrong answers by length, and some wrong inputs."""

    def __init__(self, max_examples: int) -> None:
        self.max_examples = max_examples
        self.inputs: dict[int, int] = {}
        self.wrong: dict[int, int] = {}
        self.examples: list[list[int]] = []

    def add(self, length: int, num_inputs: int, num_wrong: int) -> None:
        self.inputs[length] = self.inputs.get(length, 0) + num_inputs
        self.wrong[length] = self.wrong.get(length, 0) + num_wrong

    def summary(self, exact: bool, elapsed_seconds: float) -> Evaluation:
        by_length = {
            n: (self.inputs[n] - self.wrong[n]) / self.inputs[n] for n in sorted(self.inputs)
        }
        num_inputs, num_wrong = sum(self.inputs.values()), sum(self.wrong.values())
        if exact:
            accuracy = low = high = sum(by_length.values()) / len(by_length)
        else:  # the sample's lengths already come from the training distribution
            accuracy = (num_inputs - num_wrong) / num_inputs
            low, high = wilson_interval(num_inputs - num_wrong, num_inputs)
        shortest_first = sorted(self.examples, key=lambda digits: (len(digits), digits))
        examples = shortest_first[: self.max_examples]
        return Evaluation(
            accuracy, num_inputs, num_wrong, by_length, examples, exact, low, high, elapsed_seconds
        )


def _score_all(
    model: RnnClsNet, min_seq_len: int, max_seq_len: int, max_number: int, max_examples: int
) -> _Tally:
    """Score every input, a chunk of prefixes at a time, so that memory stays bounded."""
    classes = num_classes(max_number)
    chunk = max(1, _CHUNK // classes)
    digits = torch.arange(classes, device=model.fc.weight.device)
    tally = _Tally(max_examples)

    def extend(state: Tensor, labels: Tensor, first: int, length: int) -> None:
        """Score the inputs of this length that extend the prefixes first, first + 1, ….

        `state`: of the prefixes, (S, P, H); `labels`: theirs, (P,).
        """
        state = extend_by_every_digit(model, state)  # (S, P·C, H)
        labels = ((labels.unsqueeze(1) + digits) % classes).flatten()  # (P·C,)
        if length >= min_seq_len:
            # (With the classes first, both the product and the maximum are faster.)
            scores = torch.addmm(model.fc.bias.unsqueeze(1), model.fc.weight, state[-1].T)
            wrong = (~(_margins(scores, labels) > 0)).nonzero().flatten()  # no number is wrong too
            tally.add(length, len(labels), len(wrong))
            for index in wrong[:max_examples].tolist():
                tally.examples.append(sequence_at(first * classes + index, length, classes))
        if length < max_seq_len:
            for start in range(0, len(labels), chunk):
                part = slice(start, start + chunk)
                extend(state[:, part], labels[part], first * classes + start, length + 1)

    extend(empty_state(model), digits[:1], 0, 1)
    return tally


def _score_all_from_the_beginning(
    model: RnnClsNet, min_seq_len: int, max_seq_len: int, max_number: int, max_examples: int
) -> _Tally:
    """Score every input, a chunk of one length at a time."""
    classes = num_classes(max_number)
    tally = _Tally(max_examples)
    for length in range(min_seq_len, max_seq_len + 1):
        places = torch.tensor([classes**power for power in range(length - 1, -1, -1)])
        for start in range(0, classes**length, _CHUNK):
            index = torch.arange(start, min(start + _CHUNK, classes**length))
            x = index.unsqueeze(1) // places % classes  # (P, T), see machine.sequence_at
            labels = (x.sum(dim=1) % classes).to(model.fc.weight.device)
            scores = model(x.to(labels.device), torch.full((len(x),), length)).T
            wrong = (~(_margins(scores, labels) > 0)).nonzero().flatten()  # no number is wrong too
            tally.add(length, len(x), len(wrong))
            tally.examples += x[wrong[:max_examples].cpu()].tolist()
    return tally


def _margins(scores: Tensor, labels: Tensor) -> Tensor:
    """Score of the right class minus the best other score; an answer is right if it is positive.

    Args:
        scores: (C, P); overwritten.
        labels: right classes, (P,).

    Returns:
        The margins, (P,).
    """
    right = scores.gather(0, labels.unsqueeze(0))
    return (right - scores.scatter_(0, labels.unsqueeze(0), -math.inf).amax(dim=0)).squeeze(0)


def _score_sample(
    model: RnnClsNet, min_seq_len: int, max_seq_len: int, max_number: int, max_examples: int
) -> _Tally:
    """Score a sample of the training distribution that is the same in every evaluation."""
    dataset = SeqSumModDataset(
        None, min_seq_len, max_seq_len, max_number, seed=0, stream=EVAL_STREAM
    )
    device = model.fc.weight.device
    tally = _Tally(max_examples)
    chunk = max(1, _SAMPLE_TOKENS // max_seq_len)
    for start in range(0, SAMPLE_SIZE, chunk):
        x, seq_lengths = dataset.draw(start, min(chunk, SAMPLE_SIZE - start))
        scores = model(torch.from_numpy(x).to(device), torch.from_numpy(seq_lengths))
        wrong = scores.argmax(dim=-1).cpu().numpy() != label(x, max_number)
        wrong |= scores.isnan().any(dim=-1).cpu().numpy()
        for length, is_wrong in zip(seq_lengths.tolist(), wrong.tolist(), strict=True):
            tally.add(length, 1, is_wrong)
        tally.examples += [x[i, : seq_lengths[i]].tolist() for i in wrong.nonzero()[0]]
    return tally


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    """
    z = 1.959963984540054
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + (z / trials / 2) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)
