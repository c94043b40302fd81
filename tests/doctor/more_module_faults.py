"""Mistakes of module_faults.py in other code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.experiments.healthy_modules import (
    HIDDEN_DIM,
    Loop,
    Net,
    Transformer,
    is_valid,
)


class _LastStepOfUnpacked(Net):
    """output[:, -1] after unpacking: zeros for short rows."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths)[:, -1])


class _StateAfterPadding(Net):
    """h_n of a net that ran on through the padding: seq_lengths is not used at all."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.embedding(x))
        return self.fc(h_n[-1])


class _PaddingLeakOfLoop(Loop):
    """A loop by hand that goes on to the end of the padded row."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return super().forward(x, torch.full_like(seq_lengths, x.shape[1]))


class _PaddingLeakOfAttention(Transformer):
    """A Transformer without src_key_padding_mask."""

    def encode(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return super().encode(x, torch.full_like(seq_lengths, x.shape[1]))


class _PackingSwapped(Net):
    """batch_first remembered in the net and forgotten in pack_padded_sequence."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        return pack_padded_sequence(self.embedding(x), seq_lengths.cpu(), enforce_sorted=False)


class _FixedBatchSize(Net):
    """A first state for the batch size of training."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        h_0 = torch.zeros(1, 32, HIDDEN_DIM, device=x.device)
        output, _ = self.rnn(self.embedding(x), h_0)
        return self.fc(output[torch.arange(len(x)), seq_lengths - 1])


class _WidthOfLongestRow(Net):
    """A mask as wide as x over outputs as wide as the longest row."""

    def outputs(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.pack(x, seq_lengths))
        return pad_packed_sequence(output, batch_first=True)[0]

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc((self.outputs(x, seq_lengths) * is_valid(x, seq_lengths)[..., None]).sum(1))


# The expected finding, and the module.
MORE_FAULTS: list[tuple[str, Callable[[], nn.Module]]] = [
    ("last-step-of-padding", _LastStepOfUnpacked),
    ("last-step-of-padding", _StateAfterPadding),
    ("padding-leak", _PaddingLeakOfLoop),
    ("padding-leak", _PaddingLeakOfAttention),
    ("batch-first-swapped", lambda: Transformer(batch_first=False)),
    ("batch-first-swapped", _PackingSwapped),
    ("module-raises", _FixedBatchSize),
    ("module-raises", _WidthOfLongestRow),
]
