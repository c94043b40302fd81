"""Endless random training data that anyone can reproduce: sample j is a function of (seed, j).

Batch i holds the samples i·N to i·N + N - 1 of the stream, longest first. So the batches are the
same whoever draws them, in whatever order: worker processes, a resumed run, a test.

Shapes: K batches drawn at once, N sequences in a batch, T time steps (max_seq_len), M valid steps
of a batch, E embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from rnn_tutorial.data.batches import Batches, Sample, longest_first
from rnn_tutorial.machines.digit_sum import label, num_classes

# Streams of one seed never share a generator: each has its own number.
TRAIN_STREAM, EVAL_STREAM, NOISE_STREAM, EXAMINE_STREAM = range(4)
DROPOUT_STREAM, BUCKET_STREAM, WALK_STREAM = range(4, 7)

POOL_SIZE = 32  # batches whose samples are sorted by length together


class BatchStream(Protocol):
    """What a BatchLoader takes batches from: any range of an endless stream of them."""

    block_size: int  # samples that are best drawn at once

    def draw_batches(self, first: int, count: int, batch_size: int) -> Batches:
        """The batches first .. first + count - 1 of the stream, `batch_size` samples each."""


class RandomSequences:
    """An endless stream of random sequences: lengths and tokens are uniform.

    Args:
        num_tokens: number of different tokens; their ids are 0 .. num_tokens - 1.
        min_seq_len: shortest length.
        max_seq_len: longest length.
        seed: any whole number ≥ 0.
        stream: TRAIN_STREAM, EVAL_STREAM, …: independent streams of the same seed.

    Attributes:
        block_size: sequences that are drawn at once: about a million tokens at most.
    """

    def __init__(
        self, num_tokens: int, min_seq_len: int, max_seq_len: int, seed: int, stream: int
    ) -> None:
        if not 1 <= min_seq_len <= max_seq_len:
            raise ValueError(
                f"min_seq_len {min_seq_len} and max_seq_len {max_seq_len} must satisfy "
                "1 <= min_seq_len <= max_seq_len"
            )
        self._num_tokens = num_tokens
        self._lengths = min_seq_len, max_seq_len
        self._seed, self._stream = seed, stream
        self.block_size = max(1, min(4096, 2**20 // max_seq_len))

    def draw(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The sequences start .. start + count - 1 of the endless stream.

        Returns:
            Token ids padded with num_tokens to max_seq_len, int64, (count, T), and lengths, int64,
            (count,).
        """
        first, last = start // self.block_size, (start + count - 1) // self.block_size
        blocks = [self.draw_block(block) for block in range(first, last + 1)]
        x, seq_lengths = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        wanted = slice(start - first * self.block_size, start - first * self.block_size + count)
        return x[wanted], seq_lengths[wanted]

    def draw_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """The sequences block · block_size and on, block_size of them; see `draw`."""
        generator = np.random.default_rng([self._seed, self._stream, block])
        shortest, longest = self._lengths
        seq_lengths = generator.integers(shortest, longest + 1, self.block_size)
        x = self._draw_tokens(generator, longest)
        x[np.arange(longest) >= seq_lengths[:, None]] = self._num_tokens
        return x, seq_lengths

    def _draw_tokens(self, generator: np.random.Generator, length: int) -> np.ndarray:
        """Token ids, int64, (block_size, length)."""
        return generator.integers(0, self._num_tokens, (self.block_size, length))


class SeqSumModDataset(IterableDataset):
    """Random digit sequences, labelled with their sum modulo (max_number + 1).

    Iterating gives samples `(input_seq, seq_length, target_num)`, for example `([3, 9, 4], 3, 6)`
    with max_number 9. Lengths and digits are uniform. Iterators are independent of each other;
    DataLoader workers divide the samples among themselves.

    Args:
        total_samples: number of samples; None is endless.
        min_seq_len: shortest length.
        max_seq_len: longest length.
        max_number: largest digit.
        seed: any whole number ≥ 0.
        stream: TRAIN_STREAM, EVAL_STREAM, …: independent streams of the same seed.
    """

    def __init__(
        self,
        total_samples: int | None = None,
        min_seq_len: int = 2,
        max_seq_len: int = 5,
        max_number: int = 9,
        seed: int = 0,
        stream: int = TRAIN_STREAM,
    ) -> None:
        if total_samples is not None and total_samples < 0:
            raise ValueError(f"total_samples {total_samples} is negative; None means endless")
        if max_number < 1:
            raise ValueError(f"max_number {max_number} must be at least 1")
        self._sequences = RandomSequences(
            num_classes(max_number), min_seq_len, max_seq_len, seed, stream
        )
        self.total_samples = total_samples
        self.max_number = max_number
        self.draw, self.block_size = self._sequences.draw, self._sequences.block_size

    def draw_batches(self, first: int, count: int, batch_size: int) -> Batches:
        """The batches first .. first + count - 1 of the stream, `batch_size` samples each."""
        x, seq_lengths = self.draw(first * batch_size, count * batch_size)
        return longest_first(x, seq_lengths, label(x, self.max_number), batch_size)

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for block in itertools.count():
            x, seq_lengths = self._sequences.draw_block(block)
            for row in range(self.block_size):
                position = block * self.block_size + row
                if self.total_samples is not None and position >= self.total_samples:
                    return
                if position % stride == offset:
                    input_seq = x[row, : seq_lengths[row]].tolist()
                    yield input_seq, len(input_seq), int(label(input_seq, self.max_number))


class LengthBuckets:
    """A stream's batches, re-formed of samples of about the same length.

    The samples of POOL_SIZE batches are sorted by length, cut into batches, and the batches
    shuffled: a function of (seed, pool), so that every batch stays reproducible by anyone.

    Args:
        stream: whose samples.
        seed: of the shuffling.
    """

    def __init__(self, stream: BatchStream, seed: int) -> None:
        self.block_size = stream.block_size
        self._stream = stream
        self._seed = seed
        self._last: tuple[tuple[int, int], Batches] | None = None

    def draw_batches(self, first: int, count: int, batch_size: int) -> Batches:
        """The batches first .. first + count - 1 of the stream, `batch_size` samples each."""
        pools = range(first // POOL_SIZE, (first + count - 1) // POOL_SIZE + 1)
        drawn = [self._draw_pool(pool, batch_size) for pool in pools]
        start = first - pools[0] * POOL_SIZE
        x, seq_lengths, targets = (
            torch.cat([getattr(pool, name) for pool in drawn])[start : start + count]
            for name in ("x", "seq_lengths", "targets")
        )
        return Batches(x, seq_lengths, targets)

    def _draw_pool(self, pool: int, batch_size: int) -> Batches:
        """All batches of a pool; the last one drawn is kept, for it is often asked for in parts."""
        if self._last is None or self._last[0] != (pool, batch_size):
            batches = self._stream.draw_batches(pool * POOL_SIZE, POOL_SIZE, batch_size)
            order = batches.seq_lengths.flatten().argsort(descending=True, stable=True)
            generator = np.random.default_rng([self._seed, BUCKET_STREAM, pool])
            order = order.view(POOL_SIZE, batch_size)[generator.permutation(POOL_SIZE)]
            parts = batches.x, batches.seq_lengths, batches.targets
            batches = Batches(*(part.flatten(0, 1)[order] for part in parts))
            self._last = (pool, batch_size), batches
        return self._last[1]


def draw_noise(seed: int, step: int, seq_lengths: Tensor, embed_dim: int) -> Tensor:
    """Noise for the embedded inputs of one batch: a function of (seed, step), like the batch.

    Args:
        seed: of the training run.
        step: number of the batch.
        seq_lengths: of the batch, (N,).
        embed_dim: E.

    Returns:
        Standard normal numbers, float32, (M, E), in the order of a PackedSequence's data.
    """
    generator = np.random.default_rng([seed, NOISE_STREAM, step])
    shape = (int(seq_lengths.sum()), embed_dim)
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def add_noise(batches: Batches, first_step: int, seed: int, embed_dim: int) -> Batches:
    """The batches of the steps from first_step on, with noise for their embedded tokens."""
    noise = [
        draw_noise(seed, first_step + k, lengths, embed_dim)
        for k, lengths in enumerate(batches.seq_lengths)
    ]
    return replace(batches, noise=noise)


def dropout_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of the dropout of one update in one process, so that a resumed run drops the same."""
    sequence = np.random.SeedSequence([seed, DROPOUT_STREAM, step, rank])
    return int(sequence.generate_state(1, np.uint64)[0])
