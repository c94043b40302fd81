"""Random sequences for a classifier: padded, without padding, and one at a time.

Shapes: N batch, T time. Batches are ids, (N, T), also of modules that take vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

LENGTHS = (3, 7, 1, 5, 7, 2, 6, 4, 5)  # unsorted, a single token, two full rows; N differs from T
EXTRA_COLUMNS = 3  # of padding


class RandomRows:
    """A batch of random sequences, once it is drawn, and others made of it.

    Attributes:
        token_ids, padding_id: the ids that are tokens, at least two, and the one in the padding.
        tokens, lengths: random tokens, int64, (N, T), and how many count in each row, int64, (N,).
    """

    def __init__(self, token_ids: Sequence[int], padding_id: int, seed: int) -> None:
        self.token_ids, self.padding_id, self.seed = token_ids, padding_id, seed

    def draw(self, lengths: Sequence[int]) -> None:
        """Draw tokens for rows of these lengths."""
        self.lengths = torch.tensor(lengths)
        size, generator = (len(lengths), max(lengths)), torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(len(self.token_ids), size, generator=generator)
        drawn[:, 0] = torch.arange(len(drawn)) % len(self.token_ids)  # rows differ, and
        drawn[self.lengths.argmax(), -1] = len(self.token_ids) - 1  # the largest id occurs
        self.tokens = torch.tensor(self.token_ids)[drawn]

    def batch(
        self, tokens: Tensor | None = None, extra: int = 0, filler: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The batch, padded: ids, (N, T + extra), and lengths, (N,).

        With other tokens, (N, T), more columns of padding, or something else in the padding.
        """
        filler = self.padding_id if filler is None else filler
        x = nn.functional.pad(self.tokens if tokens is None else tokens, (0, extra), value=filler)
        x[torch.arange(x.shape[1]) >= self.lengths[:, None]] = filler
        return x, self.lengths

    def full_batch(self) -> tuple[Tensor, Tensor]:
        """The batch with every row of the greatest length, so that there is no padding in it."""
        return self.tokens, torch.full_like(self.lengths, self.tokens.shape[1])

    def row(self, index: int) -> tuple[Tensor, Tensor]:
        """One row alone, as a batch of one without padding."""
        return self.tokens[index, None, : self.lengths[index]], self.lengths[index, None]

    def other_tokens(self, tokens: Tensor) -> Tensor:
        """Each token replaced by the next one of the vocabulary."""
        ids = torch.tensor(self.token_ids)
        return ids[(torch.searchsorted(ids, tokens.contiguous()) + 1) % len(ids)]

    def rare_batches(self, sizes: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches that suit picky modules: sorted, of full rows, of one row, of other sizes."""
        x, lengths = self.batch()
        order = lengths.argsort(descending=True)
        yield x[order], lengths[order]
        yield self.full_batch()
        yield self.row(int(lengths.argmax()))
        for size in sizes:
            rows = torch.arange(size) % len(x)
            yield x[rows], lengths[rows]
