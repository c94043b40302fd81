"""Exact accuracy: every input of the trained lengths is scored, so there is no sampling error.

The inputs of length n + 1 are those of length n with one token more. Keep the hidden states of all
inputs of one length, extend each by every token, and 111,110 inputs cost 111,110 cell steps. A net
without a state to go on from reads every input from its beginning. If there are too many inputs,
a fixed sample is scored.

Shapes: P prefixes, N inputs, T tokens of an input, V tokens of the machine, C classes, S vectors
of a state (see model/steps.py), H hidden.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.data.streams import EVAL_STREAM, RandomSequences
from rnn_tutorial.evaluation.result import Evaluation, wilson_interval
from rnn_tutorial.evaluation.scorer import Scorer, margins
from rnn_tutorial.machines.machine import Machine, count_sequences, sequences_at
from rnn_tutorial.model.classifier import RnnClsNet, evaluating
from rnn_tutorial.model.steps import empty_state, extend_by_every_token

MAX_ENUMERATED = 1_000_000  # above it a sample is scored instead
SAMPLE_SIZE = 10_000  # an interval of at most ±1%
MAX_EXAMPLES = 5
MAX_CLASSES = 1000  # of more, the accuracy of each is not kept
_CHUNK = 8192  # inputs scored at once: stays in the cache, bounds the memory at any length


def evaluate(
    model: RnnClsNet,
    machine: Machine,
    min_seq_len: int,
    max_seq_len: int,
    max_enumerated: int = MAX_ENUMERATED,
    max_examples: int = MAX_EXAMPLES,
) -> Evaluation:
    """Accuracy over the inputs of the given lengths: of all of them, or of a fixed sample.

    Neither the model's mode nor any random generator is different afterwards.

    Args:
        max_enumerated: all inputs are scored if there are at most so many.
        max_examples: how many wrong inputs are kept, the shortest first.

    Raises:
        ValueError: the network has other numbers of tokens or classes than the machine.
    """
    started = time.perf_counter()
    machine.check_sizes(model.arguments["vocab_size"], model.arguments["cls_num"])
    exact = count_sequences(len(machine.tokens), min_seq_len, max_seq_len) <= max_enumerated
    score_all = _score_all if model.has_state else _score_each
    score = score_all if exact else _score_sample
    tally = _Tally(machine.classes, max_examples)
    with evaluating(model), torch.no_grad():
        score(model, machine, range(min_seq_len, max_seq_len + 1), tally)
    return tally.summary(exact, time.perf_counter() - started)


class _Tally:
    """Counts of inputs and wrong answers by length and by class, and some wrong inputs."""

    def __init__(self, classes: Sequence[str], max_examples: int) -> None:
        self.max_examples = max_examples
        self.inputs: Counter[int] = Counter()
        self.wrong: Counter[int] = Counter()
        self.examples: list[list[int]] = []
        self._names = classes
        self._inputs_by_class, self._wrong_by_class = np.zeros((2, len(classes)), np.int64)

    def count_length(self, length: int, classes: np.ndarray, wrong: np.ndarray) -> None:
        """Count inputs of one length, as `count_classes` does."""
        self.inputs[length] += len(classes)
        self.wrong[length] += len(wrong)
        self.count_classes(classes, wrong)

    def count_classes(self, classes: np.ndarray, wrong: np.ndarray) -> None:
        """Count inputs by their right classes, (N,); `wrong` are the indices of the wrong ones."""
        num_classes = len(self._names)
        self._inputs_by_class += np.bincount(classes, minlength=num_classes)
        self._wrong_by_class += np.bincount(classes[wrong], minlength=num_classes)

    def keep_examples(self, examples: list[list[int]]) -> None:
        """Keep those of the wrong inputs that are the shortest."""
        different = map(list, set(map(tuple, self.examples + examples)))  # a sample has some twice
        self.examples = sorted(different, key=_by_length)[: self.max_examples]

    def summary(self, exact: bool, elapsed_seconds: float) -> Evaluation:
        inputs, wrong = self.inputs, self.wrong
        by_length = {n: (inputs[n] - wrong[n]) / inputs[n] for n in sorted(inputs)}
        num_inputs, num_wrong = inputs.total(), wrong.total()
        if exact:
            accuracy = low = high = sum(by_length.values()) / len(by_length)
        else:  # the sample's lengths already come from the training distribution
            accuracy = (num_inputs - num_wrong) / num_inputs
            low, high = wilson_interval(num_inputs - num_wrong, num_inputs)
        counts = zip(self._names, self._inputs_by_class, self._wrong_by_class, strict=True)
        by_class = {name: float((n - bad) / n) for name, n, bad in counts if n}
        if len(by_class) > MAX_CLASSES:
            by_class = None
        return Evaluation(
            accuracy=accuracy,
            num_inputs=num_inputs,
            num_wrong=num_wrong,
            accuracy_by_length=by_length,
            wrong_examples=self.examples,
            exact=exact,
            low=low,
            high=high,
            elapsed_seconds=elapsed_seconds,
            accuracy_by_class=by_class,
        )


def _by_length(tokens: list[int]) -> tuple[int, list[int]]:
    return len(tokens), tokens


def _score_all(model: RnnClsNet, machine: Machine, lengths: range, tally: _Tally) -> None:
    """Score every input, a chunk of prefixes at a time, so that memory stays bounded."""
    V = len(machine.tokens)
    chunk = max(1, _CHUNK // V)
    # Prefixes to extend, the longest last: hidden states, (S, P, H), machine states, (P,), place
    # of the first among all prefixes of their length, and that length.
    waiting = [(empty_state(model), np.zeros(1, np.int64), 0, 0)]
    while waiting:
        state, machine_states, first, length = waiting.pop()
        state = extend_by_every_token(model, state)  # (S, P·V, H)
        machine_states = machine.step(machine_states[:, None], np.arange(V)).ravel()  # (P·V,)
        first, length = first * V, length + 1
        if length in lengths:
            # (With the classes first, both the product and the maximum are faster.)
            scores = torch.addmm(model.fc.bias.unsqueeze(1), model.fc.weight, state[-1].T)
            classes = machine.output(machine_states)
            wrong = _find_wrong(scores, classes)
            tally.count_length(length, classes, wrong)
            places = first + wrong[: tally.max_examples]
            tally.keep_examples(sequences_at(places, length, V).tolist())
        if length < lengths[-1]:
            for start in range(0, len(machine_states), chunk):
                part = slice(start, start + chunk)
                waiting.append((state[:, part], machine_states[part], first + start, length))


def _score_each(model: RnnClsNet, machine: Machine, lengths: range, tally: _Tally) -> None:
    """Score every input from its beginning, a chunk of one length at a time."""
    V = len(machine.tokens)
    scorer = Scorer(model)
    for length in lengths:
        for start in range(0, V**length, _CHUNK):
            places = np.arange(start, min(start + _CHUNK, V**length))
            x = sequences_at(places, length, V)  # (N, T)
            flat = x.ravel(), np.full(len(x), length)
            classes = machine.answer(*flat)
            wrong = _find_wrong(scorer.scores(*flat).T, classes)
            tally.count_length(length, classes, wrong)
            tally.keep_examples(x[wrong[: tally.max_examples]].tolist())


def _find_wrong(scores: Tensor, classes: np.ndarray) -> np.ndarray:
    """Indices where the right class, (N,), does not score highest; overwrites scores, (C, N)."""
    is_right = margins(scores, classes) > 0  # a NaN is not above 0: it makes an answer wrong
    return (~is_right).nonzero().flatten().cpu().numpy()


def _score_sample(model: RnnClsNet, machine: Machine, lengths: range, tally: _Tally) -> None:
    """Score a sample of all inputs that is the same in every evaluation.

    Lengths and tokens are uniform, whatever --sampling trains on.
    """
    sequences = RandomSequences(len(machine.tokens), lengths[0], lengths[-1], 0, EVAL_STREAM)
    scorer = Scorer(model)
    for start in range(0, SAMPLE_SIZE, sequences.block_size):
        count = min(sequences.block_size, SAMPLE_SIZE - start)
        x, seq_lengths = sequences.draw(start, count)
        ids = x[np.arange(x.shape[1]) < seq_lengths[:, None]]
        classes = machine.answer(ids, seq_lengths)
        wrong = np.flatnonzero(~scorer.is_right(ids, seq_lengths, classes))
        tally.count_classes(classes, wrong)
        tally.inputs.update(seq_lengths.tolist())
        tally.wrong.update(seq_lengths[wrong].tolist())
        if len(wrong) > tally.max_examples:  # leave out those that are too long to be kept
            longest_kept = np.sort(seq_lengths[wrong])[tally.max_examples]
            wrong = wrong[seq_lengths[wrong] <= longest_kept]
        tally.keep_examples([x[i, : seq_lengths[i]].tolist() for i in wrong])
