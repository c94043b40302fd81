"""The textbook training loop: what one writes first, and what everything here is compared with.

    python -m rnn_tutorial.measure.textbook        the tutorial's baseline, 20,000 updates

Samples come one by one from Python's `random`, a DataLoader collates and pads them, the batch is
packed with enforce_sorted=False, and Adam is followed by a SequentialLR scheduler. Nothing of the
project's own data, model or engines is used.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader, IterableDataset

from rnn_tutorial.settings.config import TrainConfig

LOG_EVERY = 100


class _Samples(IterableDataset):
    """Endless random samples (digits, sum of the digits modulo max_number + 1)."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config

    def __iter__(self) -> Iterator[tuple[list[int], int]]:
        config = self._config
        while True:
            length = random.randint(config.min_seq_len, config.max_seq_len)
            digits = [random.randint(0, config.max_number) for _ in range(length)]
            yield digits, sum(digits) % (config.max_number + 1)


def _collate(
    samples: list[tuple[list[int], int]], padding_value: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pad a list of samples to tensors."""
    sequences = [torch.tensor(digits) for digits, _ in samples]
    x = pad_sequence(sequences, batch_first=True, padding_value=padding_value)
    seq_lengths = torch.tensor([len(digits) for digits, _ in samples])
    return x, seq_lengths, torch.tensor([target for _, target in samples])


class _Net(nn.Module):
    """Embedding -> packed nn.RNN, nn.GRU or nn.LSTM -> Linear on the last layer's last state."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        classes = config.max_number + 1
        self.embedding = nn.Embedding(classes + 1, config.embed_dim, padding_idx=classes)
        layers = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        self.rnn = layers(config.embed_dim, config.hidden_dim, config.num_layers, batch_first=True)
        self.fc = nn.Linear(config.hidden_dim, classes)
        self.embed_noise = config.embed_noise

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        embedded = self.embedding(x)
        if self.embed_noise:
            embedded = embedded + self.embed_noise * torch.randn_like(embedded)
        packed = pack_padded_sequence(embedded, seq_lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.rnn(packed)
        h_n = h_n[0] if isinstance(h_n, tuple) else h_n  # an LSTM's state is (h, c)
        return self.fc(h_n[-1])


def textbook_loop(config: TrainConfig) -> Iterator[int]:
    """Train for ever on the CPU or a GPU; yields the number of updates made after each of them."""
    random.seed(config.seed)
    torch.manual_seed(config.seed)
    collate = partial(_collate, padding_value=config.max_number + 1)
    loader = DataLoader(_Samples(config), config.batch_size, collate_fn=collate)
    net = _Net(config).to(config.device)
    criterion = nn.CrossEntropyLoss()
    optimizer_class = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    optimizer = optimizer_class(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    warmup_step = max(1, config.warmup_step)
    scheduler = SequentialLR(
        optimizer,
        [
            LinearLR(optimizer, start_factor=0.01, total_iters=warmup_step),
            CosineAnnealingLR(optimizer, config.total_steps, eta_min=config.min_lr),
        ],
        milestones=[warmup_step],
    )
    for step, (x, seq_lengths, targets) in enumerate(loader, start=1):
        scores = net(x.to(config.device), seq_lengths)
        loss = criterion(scores, targets.to(config.device))
        optimizer.zero_grad()
        loss.backward()
        if config.max_grad_norm:
            nn.utils.clip_grad_norm_(net.parameters(), config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        if step % LOG_EVERY == 0:
            loss.item()
        yield step


def main() -> int:
    """Train the tutorial's baseline."""
    torch.set_num_threads(1)
    config = TrainConfig(device="cpu")
    started = time.perf_counter()
    for step in textbook_loop(config):
        if step == config.total_steps:
            break
    print(f"{step:,} updates in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
