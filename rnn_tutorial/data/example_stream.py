"""Labelled examples as an endless stream of training batches.

Training passes over the examples epoch after epoch, each time in a different seeded order. Batches
are cut from this stream, so batch i is a function of (seed, i), as it is for the digits.

Shapes: N examples, M tokens in all of them, T time steps (of the longest), V vocabulary, C classes.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from rnn_tutorial.data.batches import Batches, longest_first
from rnn_tutorial.data.examples import Examples, Vocabulary
from rnn_tutorial.data.streams import TRAIN_STREAM

_RARITY = 0.25


class ExampleDataset:
    """An endless stream of training examples, epoch after epoch, each in a different order.

    Every example occurs once per epoch, even if the batches do not divide the examples evenly: a
    batch may begin in one epoch and end in the next. With balanced classes, an epoch is as long and
    has as many examples of each class (or one more): of a rare class all of them again and again,
    of a frequent one a random part.

    Tokens are replaced by UNKNOWN at random, so that the network learns to handle unknown tokens.
    Rare tokens are replaced more often: a token that occurs c times, with probability
    0.25 / (c + 0.25). That is 20% for a token that occurs once. Of a frequent token, about one
    occurrence is replaced in every four epochs.

    Source: Kiperwasser and Goldberg, Simple and Accurate Dependency Parsing Using Bidirectional
    LSTM Feature Representations, 2016, section 4 (word dropout).

    Args:
        examples: to train on.
        vocabulary: of these examples.
        seed: any whole number ≥ 0.
        balance_classes: True to draw every class equally often.
    """

    def __init__(
        self,
        examples: Examples,
        vocabulary: Vocabulary,
        seed: int = 0,
        balance_classes: bool = False,
    ) -> None:
        self._seed, self._balance_classes = seed, balance_classes
        self._ids = np.array(vocabulary.encode(chain.from_iterable(examples.tokens)))  # (M,)
        self._lengths = np.array([len(tokens) for tokens in examples.tokens])  # (N,)
        self._starts = np.cumsum(self._lengths) - self._lengths  # (N,)
        self._targets = vocabulary.encode_labels(examples.labels)  # (N,)
        self._padding = len(vocabulary.tokens)
        self._unknown_rates = _RARITY / (_RARITY + np.bincount(self._ids))  # (V,)
        self._epoch = -1
        self.max_seq_len = int(self._lengths.max())
        self.block_size = max(1, min(4096, 2**20 // self.max_seq_len))

    def draw(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The samples start .. start + count - 1 of the stream.

        Returns:
            Token ids padded to max_seq_len, int64, (count, T); lengths, int64, (count,); classes,
            int64, (count,).
        """
        parts, stop = [], start + count
        while start < stop:
            epoch, first = divmod(start, len(self._lengths))
            last = min(len(self._lengths), first + stop - start)
            parts.append(self._draw_from_epoch(epoch, first, last))
            start += last - first
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

    def _draw_from_epoch(
        self, epoch: int, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if epoch != self._epoch:  # kept, because an epoch of a large file is drawn in many parts
            generator = np.random.default_rng([self._seed, TRAIN_STREAM, epoch])
            self._order = (
                self._balanced(generator)
                if self._balance_classes
                else generator.permutation(len(self._lengths))
            )
            is_unknown = generator.random(len(self._ids)) < self._unknown_rates[self._ids]
            self._drawn_ids = np.where(is_unknown, 0, self._ids)
            self._epoch = epoch
        rows = self._order[first:last]
        lengths = self._lengths[rows]
        steps = np.arange(self.max_seq_len)
        x = self._drawn_ids.take(self._starts[rows, None] + steps, mode="clip")
        x[steps >= lengths[:, None]] = self._padding
        return x, lengths, self._targets[rows]

    def _balanced(self, generator: np.random.Generator) -> np.ndarray:
        """The examples of an epoch in random order, as many of each class, or one more, (N,)."""
        counts = np.bincount(self._targets)  # (C,)
        rows = generator.permutation(len(self._targets))
        rows = rows[np.argsort(self._targets[rows], kind="stable")]  # class after class
        # Each place gets a class, and a rank among the places of that class.
        ranks, classes = np.divmod(generator.permutation(len(rows)), len(counts))
        return rows[(np.cumsum(counts) - counts)[classes] + ranks % counts[classes]]

    def draw_batches(self, first: int, count: int, batch_size: int) -> Batches:
        """The batches first .. first + count - 1 of the stream, `batch_size` examples each."""
        return longest_first(*self.draw(first * batch_size, count * batch_size), batch_size)
