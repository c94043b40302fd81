"""A Transformer encoder in the place of the recurrent layers, to compare with.

Shapes: N batch, T time, M valid steps of a batch (the sum of its lengths), E embedding, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

_HEAD_SIZE = 16  # at least, if the size of the hidden state allows it


class TransformerLayers(nn.Module):
    """A Transformer encoder: every step looks at all steps of its row, and at no padding.

    The embedded steps are projected to H numbers, to which a code of the position is added. Then
    each layer is x = x + attention(norm(x)), x = x + feed_forward(norm(x)); a last norm follows.

    A layer has 6H² weights, as many as a GRU's between layers: 4H² for the queries, keys, values
    and their output, and 2H² for a feed-forward net of H hidden units (the original has 4H of
    them). There is a head for every 16 numbers of H, or fewer heads if that does not divide H.

    Args:
        input_size: E.
        hidden_size: H.
        num_layers: L.
        dropout: probability of a zero in what attention and feed_forward add, while training.

    Source: Vaswani et al., Attention Is All You Need, 2017; Xiong et al., On Layer Normalization
    in the Transformer Architecture, 2020 (the norm before, which needs no warmup).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size)
        self.layers = nn.ModuleList(
            _TransformerLayer(hidden_size, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.bidirectional = False
        self.hidden_size = hidden_size
        self.num_layers = num_layers

    def forward(self, inputs: PackedSequence) -> tuple[PackedSequence, None]:
        """The outputs of the last layer; there is no state to go on from."""
        rows = PackedSequence(self.input(inputs.data), inputs.batch_sizes)  # longest first
        x, seq_lengths = pad_packed_sequence(rows, batch_first=True)  # (N, T, H)
        x = x + position_codes(x.shape[1], x.shape[2]).to(x)
        is_valid = None  # nothing to mask
        if seq_lengths[-1] < x.shape[1]:
            is_valid = (torch.arange(x.shape[1]) < seq_lengths.unsqueeze(1)).to(x.device)
            is_valid = is_valid[:, None, None]  # (N, 1, 1, T), the same for all heads and steps
        for layer in self.layers:
            x = layer(x, is_valid)
        packed = pack_padded_sequence(self.norm(x), seq_lengths, batch_first=True)
        return inputs._replace(data=packed.data), None


class _TransformerLayer(nn.Module):
    """Attention over the steps, then the same two-layer net at each step."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = next(n for n in range(max(1, size // _HEAD_SIZE), 0, -1) if size % n == 0)
        self.attention_norm = nn.LayerNorm(size)
        self.queries_keys_values = nn.Linear(size, 3 * size)
        self.attention_output = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, is_valid: Tensor | None) -> Tensor:
        """(N, T, H) to (N, T, H); `is_valid`: steps that may be looked at, (N, 1, 1, T)."""
        qkv = self.queries_keys_values(self.attention_norm(x))  # (N, T, 3H)
        qkv = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(*qkv, attn_mask=is_valid)  # (N, heads, T, H / heads)
        x = x + self.dropout(self.attention_output(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed_forward(x))


def position_codes(num_steps: int, size: int) -> Tensor:
    """Sine and cosine of t at wavelengths from 2π to 20,000π in turn, float64, (T, H).

    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """
    t = torch.arange(num_steps, dtype=torch.float64).unsqueeze(1)
    frequencies = 10_000 ** (-torch.arange(0, size, 2, dtype=t.dtype) / size)  # (⌈H / 2⌉,)
    angles = t * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :size]
