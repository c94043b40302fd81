"""Classifiers without a mistake, in which the doctor must find nothing.

All take x, int64 (N, T), padded with VOCAB_SIZE, and seq_lengths, int64 (N,), and return scores
(N, C).

Shapes: N batch, T time, H hidden, D directions, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.model.classifier import RnnClsNet

VOCAB_SIZE = 10
EMBED_DIM = 8
HIDDEN_DIM = 12
CLS_NUM = 10


class Net(nn.Module):
    """Embedding -> recurrent net over a PackedSequence -> Linear; without a mistake."""

    def __init__(self, cell: type[nn.RNNBase] = nn.GRU, **options: object) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE + 1, EMBED_DIM, padding_idx=VOCAB_SIZE)
        self.rnn = cell(EMBED_DIM, HIDDEN_DIM, **{"batch_first": True} | options)
        directions = 2 if self.rnn.bidirectional else 1
        self.fc = nn.Linear(directions * HIDDEN_DIM, CLS_NUM)

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        embedded = self.embedding(x)
        return pack_padded_sequence(
            embedded, seq_lengths.cpu(), batch_first=True, enforce_sorted=False
        )

    def outputs(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        """The net's output at every step, zero in the padding, (N, T, D·H)."""
        output, _ = self.rnn(self.pack(x, seq_lengths))
        return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0]

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        h_n = h_n[0] if isinstance(h_n, tuple) else h_n  # (layers·D, N, H)
        if self.rnn.bidirectional:
            return self.fc(torch.cat([h_n[-2], h_n[-1]], dim=-1))
        return self.fc(h_n[-1])


def is_valid(x: Tensor, seq_lengths: Tensor) -> Tensor:
    """True where a step is not padding, bool, (N, T)."""
    return torch.arange(x.shape[1], device=x.device) < seq_lengths.to(x.device)[:, None]


class _LastValidStep(Net):
    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths)[torch.arange(len(x)), seq_lengths - 1])


class _MeanPooling(Net):
    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        return self.fc(output.sum(dim=1) / seq_lengths.to(output)[:, None])


class _MaxPooling(Net):
    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        output = output.masked_fill(~is_valid(x, seq_lengths)[..., None], -torch.inf)
        return self.fc(output.max(dim=1).values)


class _AttentionPooling(Net):
    def __init__(self) -> None:
        super().__init__(bidirectional=True)
        self.attention = nn.Linear(2 * HIDDEN_DIM, 1)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        weights = self.attention(output).masked_fill(
            ~is_valid(x, seq_lengths)[..., None], -torch.inf
        )
        return self.fc((weights.softmax(dim=1) * output).sum(dim=1))


class Loop(nn.Module):
    """A loop over time by hand; the state of a row stops at its last valid step."""

    first_step = 0

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE + 1, EMBED_DIM, padding_idx=VOCAB_SIZE)
        self.cell = nn.RNNCell(EMBED_DIM, HIDDEN_DIM)
        self.fc = nn.Linear(HIDDEN_DIM, CLS_NUM)

    def carry(self, state: Tensor) -> Tensor:
        """What one step hands to the next."""
        return state

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        mask = is_valid(x, seq_lengths)
        state = torch.zeros(x.shape[0], HIDDEN_DIM, device=x.device)
        for t in range(self.first_step, x.shape[1]):
            new = self.cell(self.embedding(x[:, t]), self.carry(state))
            state = torch.where(mask[:, t, None], new, state)
        return self.fc(state)


class Transformer(nn.Module):
    """nn.TransformerEncoder with sinusoidal positions, a padding mask and the mean of valid steps.

    Source of the positions: Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(
        self, positions: bool = True, batch_first: bool = True, enable_nested_tensor: bool = False
    ) -> None:
        super().__init__()
        self.positions = positions
        self.embedding = nn.Embedding(VOCAB_SIZE + 1, EMBED_DIM, padding_idx=VOCAB_SIZE)
        layer = nn.TransformerEncoderLayer(
            EMBED_DIM, nhead=2, dim_feedforward=16, dropout=0.1, batch_first=batch_first
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=enable_nested_tensor)
        self.fc = nn.Linear(EMBED_DIM, CLS_NUM)

    def encode(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        embedded = self.embedding(x)
        if self.positions:
            frequencies = torch.exp(
                torch.arange(0, EMBED_DIM, 2, device=x.device) * (-math.log(10000.0) / EMBED_DIM)
            )
            angles = torch.arange(x.shape[1], device=x.device)[:, None] * frequencies
            embedded = embedded + torch.cat([angles.sin(), angles.cos()], dim=1).to(embedded)
        return self.encoder(embedded, src_key_padding_mask=~is_valid(x, seq_lengths))

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        valid = is_valid(x, seq_lengths)[..., None]
        return self.fc((self.encode(x, seq_lengths) * valid).sum(dim=1) / valid.sum(dim=1))


class WithScores(Net):
    """The correct net with something done to its scores."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.change(super().forward(x, seq_lengths))


HEALTHY_MODULES: dict[str, Callable[[], nn.Module]] = {
    "RnnClsNet": lambda: RnnClsNet(VOCAB_SIZE, EMBED_DIM, HIDDEN_DIM, 1, CLS_NUM),
    "RnnClsNet, 3 layers": lambda: RnnClsNet(VOCAB_SIZE, EMBED_DIM, HIDDEN_DIM, 3, CLS_NUM),
    "GRU, final state": lambda: Net(nn.GRU),
    "a GRU": lambda: _LastValidStep(nn.GRU),
    "an LSTM": lambda: _LastValidStep(nn.LSTM),
    "LSTM, 2 layers, dropout": lambda: Net(nn.LSTM, num_layers=2, dropout=0.2),
    "bidirectional LSTM": lambda: Net(nn.LSTM, bidirectional=True),
    "mean pooling": lambda: _MeanPooling(nn.RNN),
    "max pooling, not packed": _MaxPooling,
    "attention pooling": _AttentionPooling,
    "loop by hand": Loop,
    "Transformer": Transformer,
    "Transformer, nested tensors": lambda: Transformer(enable_nested_tensor=True),
    "log_softmax": lambda: WithScores(lambda scores: scores.log_softmax(dim=-1)),
}
