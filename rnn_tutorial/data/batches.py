"""Batches of sequences of different lengths: padded rows, and the same rows packed.

    3 9 4        padded:  3 9 4      packed:  3 1 5 | 9 2 | 4
    1 2                   1 2 .      (rows sorted by length, then read time step by time step)
    5                     5 . .

Shapes: K batches at once, N sequences in a batch, T time steps, M valid steps of a batch (the sum
of its lengths), E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_sequence

Sample = tuple[list[int], int, int]


def pad_and_tensor(samples: Sequence[Sample], padding_value: int) -> tuple[Tensor, Tensor, Tensor]:
    """Collate samples of different lengths: the `collate_fn` for a DataLoader over samples.

    Args:
        samples: N samples `(input_seq, seq_length, target_num)`.
        padding_value: token id that fills the end of short rows, `padding_id(max_number)` here.

    Returns:
        Padded token ids, int64, (N, T); lengths, int64, (N,); targets, int64, (N,).
    """
    input_seqs, seq_lengths, target_nums = zip(*samples, strict=True)
    x = pad_sequence(
        [torch.as_tensor(input_seq, dtype=torch.int64) for input_seq in input_seqs],
        batch_first=True,
        padding_value=padding_value,
    )
    return x, torch.tensor(seq_lengths), torch.tensor(target_nums)


class PackedBatch(NamedTuple):
    """What one pass through the network needs."""

    tokens: PackedSequence  # token ids, int64
    targets: Tensor  # classes, int64, (N,)
    noise: Tensor | None  # standard normal numbers in the order of the tokens, (M, E)


@dataclass(frozen=True)
class Batches:
    """K batches of N sequences, each batch longest first.

    Args:
        x: token ids, int64, (K, N, T); short rows end in the padding id.
        seq_lengths: int64, (K, N), descending in each batch.
        targets: int64, (K, N).
        noise: for the embedded tokens: standard normal numbers in the order of a PackedSequence,
            float32, K tensors (M, E); None without noise.
    """

    x: Tensor
    seq_lengths: Tensor
    targets: Tensor
    noise: Sequence[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, steps: slice) -> Batches:
        """Some of the K batches."""
        noise = None if self.noise is None else self.noise[steps]
        return Batches(self.x[steps], self.seq_lengths[steps], self.targets[steps], noise)

    def share(self, index: int, count: int) -> Batches:
        """Every count-th row of each batch from row `index` on, still longest first.

        Processes share a batch in this way, and so do the passes of an update.
        """
        if count == 1:
            return self
        noise = self.noise
        if noise is not None:
            noise = [
                values[_row_of_each_step(lengths) % count == index]
                for values, lengths in zip(noise, self.seq_lengths, strict=True)
            ]
        rows = (part[:, index::count] for part in (self.x, self.seq_lengths, self.targets))
        return Batches(*rows, noise)

    def pack(self, device: str = "cpu") -> list[PackedBatch]:
        """Each batch as pack_padded_sequence would pack it, all of them at once."""
        is_valid = valid_steps(self.seq_lengths, self.x.shape[2])  # (K, T, N)
        ids = self.x.transpose(1, 2)[is_valid].to(device)
        sizes = is_valid.sum(dim=2)  # rows that run at each step, (K, T)
        longest = self.seq_lengths[:, 0].tolist()
        targets = self.targets.to(device)
        packed = []
        for k, data in enumerate(ids.split(self.seq_lengths.sum(dim=1).tolist())):
            tokens = PackedSequence(data, sizes[k, : longest[k]])
            noise = None if self.noise is None else self.noise[k].to(device)
            packed.append(PackedBatch(tokens, targets[k], noise))
        return packed


def valid_steps(seq_lengths: Tensor, num_steps: int) -> Tensor:
    """Which cells hold tokens, time before rows as packing reads them: bool, (…, T, N).

    Args:
        seq_lengths: (…, N).
        num_steps: T.
    """
    return torch.arange(num_steps).unsqueeze(1) < seq_lengths.unsqueeze(-2)


def _row_of_each_step(seq_lengths: Tensor) -> Tensor:
    """The row that each packed step of a batch belongs to, (M,)."""
    is_valid = valid_steps(seq_lengths, int(seq_lengths[0]))  # (T, N)
    return torch.arange(len(seq_lengths)).expand_as(is_valid)[is_valid]


def longest_first(
    x: np.ndarray, seq_lengths: np.ndarray, targets: np.ndarray, batch_size: int
) -> Batches:
    """Cut samples into batches and sort each as packing wants it.

    Args:
        x: padded token ids, int64, (K·N, T).
        seq_lengths: int64, (K·N,).
        targets: int64, (K·N,).
        batch_size: N.
    """
    seq_lengths = seq_lengths.reshape(-1, batch_size)
    order = np.argsort(-seq_lengths, axis=1, kind="stable")
    x = np.take_along_axis(x.reshape(*order.shape, -1), order[:, :, None], axis=1)
    seq_lengths = np.take_along_axis(seq_lengths, order, axis=1)
    targets = np.take_along_axis(targets.reshape(order.shape), order, axis=1)
    return Batches(*map(torch.from_numpy, (x, seq_lengths, targets)))


def padding_share(seq_lengths: Tensor) -> float:
    """The share of a batch's (N, T) rectangle that is padding, T its longest length."""
    lengths = seq_lengths.numpy()
    return float(1 - lengths.sum() / (len(lengths) * lengths.max()))
