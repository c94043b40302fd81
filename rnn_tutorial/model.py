"""The model: Embedding -> stacked nn.RNN over a PackedSequence -> Linear on the last valid state.

Shapes: N batch, T time, E embedding, H hidden, L layers, C classes, V vocabulary,
M valid steps of a batch (the sum of its lengths).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_sequence


class RnnClsNet(nn.Module):
    """Classify token sequences of varying length with a stacked Elman network.

    Args:
        vocab_size: V, number of tokens; id V is the padding.
        embed_dim: E.
        hidden_dim: H.
        num_layers: L.
        cls_num: C.

    Attributes:
        arguments: the above by name, plain values: a checkpoint keeps them to rebuild the model.

    The recurrence is h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).
    Source: Elman, Finding Structure in Time, 1990.
    """

    def __init__(
        self, vocab_size: int, embed_dim: int, hidden_dim: int, num_layers: int, cls_num: int
    ) -> None:
        super().__init__()
        self.arguments = {
            "vocab_size": vocab_size,
            "embed_dim": embed_dim,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "cls_num": cls_num,
        }
        self.embedding = nn.Embedding(vocab_size + 1, embed_dim, padding_idx=vocab_size)
        self.rnn = nn.RNN(embed_dim, hidden_dim, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_dim, cls_num)

    def forward(
        self,
        x: Tensor | PackedSequence,
        seq_lengths: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Classify each sequence from its last valid hidden state.

        Args:
            x: token ids, int64, (N, T), each in [0, vocab_size]; vocab_size itself is padding. Or
                the same packed, without seq_lengths.
            seq_lengths: valid steps per row, int64 on the CPU, (N,), each in [1, T], in any order.
            noise: added to the embedded input, float32, (M, E), in the order of a PackedSequence.

        Returns:
            Unnormalised scores, float32, (N, C).

        Raises:
            ValueError: a length outside [1, T].
        """
        ids = x if isinstance(x, PackedSequence) else _pack(x, seq_lengths)
        embedded = self.embedding(ids.data)  # (M, E): there is no padding in it
        if noise is not None:
            embedded = embedded + noise
        _, h_n = self.rnn(
            ids._replace(data=embedded)
        )  # h_n: (L, N, H), each row's state at its own last valid step
        return self.fc(h_n[-1])

    def forward_with_contraction(
        self, ids: PackedSequence, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores as from `forward`, and how strongly a step can move two states apart.

        The Jacobian of h_t with respect to h_{t-1} is diag(1 - h_t²) W_hh. The sum of the absolute
        values in its row i is (1 - h_i²) Σ_j |W_hh[i, j]|; where all such sums are below 1, the
        step brings states closer together. Returned is their mean over the units and the visited
        states of a layer, summed over layers.

        Args:
            ids: packed token ids.
            noise: as in `forward`.

        Returns:
            Scores, (N, C), and the penalty, a scalar.
        """
        embedded = self.embedding(ids.data)
        inputs = PackedSequence(embedded if noise is None else embedded + noise, *ids[1:])
        penalty = torch.zeros((), device=embedded.device, dtype=embedded.dtype)
        for weights in self.rnn.all_weights:
            one_layer = nn.RNN(inputs.data.shape[1], self.rnn.hidden_size, device="meta")
            names = [name for name, _ in one_layer.named_parameters()]
            own = dict(zip(names, weights, strict=True))
            inputs, h_n = functional_call(one_layer, own, (inputs,))
            row_sums = weights[1].abs().sum(dim=1)  # (H,)
            penalty = penalty + ((1 - inputs.data**2) * row_sums).mean()
        return self.fc(h_n[-1]), penalty

    @torch.no_grad()
    def score(self, x: Sequence[int] | Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Score sequences as a person has them, without padding or lengths.

        Args:
            x: one sequence, a list of sequences, or token ids of shape (N, T) or (T,) whose rows
                may end in padding.

        Returns:
            Unnormalised scores, float32 on the CPU, (N, C).

        Raises:
            ValueError: an empty sequence, or a token outside [0, vocab_size).
        """
        return self(*self._as_batch(x)).cpu()

    def predict(self, x: Sequence[int] | Sequence[Sequence[int]] | Tensor) -> Tensor:
        """The class with the highest score for each sequence, int64, (N,); see `score`."""
        return self.score(x).argmax(dim=-1)

    def _as_batch(
        self, x: Sequence[int] | Sequence[Sequence[int]] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Padded token ids, (N, T), on the model's device, and lengths, (N,), on the CPU."""
        padding = self.arguments["vocab_size"]
        if isinstance(x, Tensor):
            rows = [row[: _valid_steps(row, padding)] for row in x.reshape(-1, x.shape[-1])]
        else:
            is_one_row = not len(x) or torch.as_tensor(x[0]).ndim == 0
            rows = [torch.as_tensor(row) for row in ([x] if is_one_row else x)]
        for row in rows:
            if not row.numel():
                raise ValueError("an empty sequence has no answer; give at least one token")
            if row.is_floating_point() or row.min() < 0 or row.max() >= padding:
                raise ValueError(f"{row.tolist()} has a token that is not in 0 to {padding - 1}")
        seq_lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True, padding_value=padding)
        return ids.to(self.embedding.weight.device), seq_lengths


def _pack(x: Tensor, seq_lengths: Tensor) -> PackedSequence:
    """pack_padded_sequence with a refusal that names the lengths."""
    shortest, longest = seq_lengths.aminmax()
    if shortest < 1 or longest > x.shape[1]:
        raise ValueError(
            f"seq_lengths run from {shortest} to {longest}; allowed are 1 to T = {x.shape[1]}"
        )
    is_sorted = bool((seq_lengths[1:] <= seq_lengths[:-1]).all())  # then packing need not sort
    return pack_padded_sequence(x, seq_lengths, batch_first=True, enforce_sorted=is_sorted)


def _valid_steps(row: Tensor, padding: int) -> int:
    """Number of steps before the padding at the end of a row."""
    return len(row) - int((row == padding).long().flip(0).cumprod(0).sum())
