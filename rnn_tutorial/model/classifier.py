"""The model: Embedding -> recurrent layers over a PackedSequence -> last valid state -> Linear.

By default the layers are those of nn.RNN. Other cells, what may lie between layers, pooling and
the Transformer are in layers.py.

Shapes: N batch, T time, E embedding, H hidden, D directions, L layers, F features of a row (D·H),
C classes, V vocabulary, M valid steps of a batch (the sum of its lengths).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_sequence

from rnn_tutorial.model.layers import State, TransformerLayers, last_steps, make_layers, pool
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS, check_model_options


class RnnClsNet(nn.Module):
    """Classify token sequences of varying length: a stacked Elman network, or one of its family.

    Args:
        vocab_size: V, number of tokens; id V is the padding.
        embed_dim: E.
        hidden_dim: H.
        num_layers: L.
        cls_num: C.
        cell: "rnn", "gru", "lstm" or "transformer".
        nonlinearity: "tanh" or "relu", of cell "rnn".
        bidirectional: read the sequence in both directions; D is 2 then, else 1.
        dropout: probability of a zero in the input of each layer above the first, while training;
            for a Transformer see layers.py.
        pooling: what the classifier reads: "last", the state at the end of the sequence (of both
            directions, each at its own end), or "mean", "max" or "attention" over all valid steps.
        layer_norm: normalize the input of each layer above the first.
        residual: add the input of each layer above the first to its output.

    Attributes:
        arguments: the above by name, plain values: a checkpoint keeps them to rebuild the model.

    Raises:
        ValueError: arguments that do not go together.

    The recurrence of the default cell is h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).
    Source: Elman, Finding Structure in Time, 1990.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        hidden_dim: int,
        num_layers: int,
        cls_num: int,
        cell: str = "rnn",
        nonlinearity: str = "tanh",
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: str = "last",
        layer_norm: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        between = {"dropout": dropout, "layer_norm": layer_norm, "residual": residual}
        direction = {"nonlinearity": nonlinearity, "bidirectional": bidirectional}
        options = {"cell": cell, "pooling": pooling, **direction, **between}
        check_model_options(num_layers, options)
        self.arguments = {
            "vocab_size": vocab_size,
            "embed_dim": embed_dim,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "cls_num": cls_num,
            **options,
        }
        self.embedding = nn.Embedding(vocab_size + 1, embed_dim, padding_idx=vocab_size)
        self.rnn = make_layers(cell, embed_dim, hidden_dim, num_layers, **direction, **between)
        features = hidden_dim * (2 if bidirectional else 1)
        self.fc = nn.Linear(features, cls_num)
        self.attention = nn.Linear(features, 1, bias=False) if pooling == "attention" else None

    @property
    def is_plain(self) -> bool:
        """True for a stacked Elman network without options: what fast engines and proof know."""
        rnn = self.rnn
        return (
            (type(rnn) is nn.RNN and rnn.nonlinearity == "tanh" and rnn.bias)
            and not (rnn.bidirectional or rnn.dropout)
            and self.arguments["pooling"] == "last"
        )

    @property
    def has_state(self) -> bool:
        """True if what was read of a sequence is a state from which one can go on."""
        is_recurrent = not isinstance(self.rnn, TransformerLayers)
        is_read_last = self.arguments["pooling"] == "last"
        return is_recurrent and is_read_last and not self.rnn.bidirectional

    def forward(
        self,
        x: Tensor | PackedSequence,
        seq_lengths: Tensor | None = None,
        noise: Tensor | None = None,
        bptt_steps: int = 0,
    ) -> Tensor:
        """Classify each sequence from its last valid hidden state, or as `pooling` says.

        Args:
            x: token ids, int64, (N, T), each in [0, vocab_size]; vocab_size itself is padding. Or
                the same packed, without seq_lengths.
            seq_lengths: valid steps per row, int64 on the CPU, (N,), each in [1, T], in any order.
            noise: added to the embedded input, float32, (M, E), in the order of a PackedSequence.
            bptt_steps: K, truncated backpropagation: the sequence is read in segments of K steps,
                and no gradient goes from a segment into the one before it. 0 does not truncate.

        Returns:
            Unnormalised scores, float32, (N, C).

        Raises:
            ValueError: a length outside [1, T], or bptt_steps for a net without `has_state`.
        """
        ids = x if isinstance(x, PackedSequence) else _pack(x, seq_lengths)
        embedded = self.embedding(ids.data)  # (M, E): there is no padding in it
        if noise is not None:
            embedded = embedded + noise
        embedded = ids._replace(data=embedded)
        if bptt_steps:
            return self.fc(self._read_in_segments(embedded, bptt_steps))
        return self.fc(self._read(*self.rnn(embedded)))

    def _read(self, output: PackedSequence, state: State | None) -> Tensor:
        """What the classifier sees of each row, (N, F), from what the layers return."""
        pooling = self.arguments["pooling"]
        if pooling != "last":
            return pool(output, pooling, self.attention)
        if not isinstance(self.rnn, nn.RNNBase):
            return last_steps(output, self.rnn.bidirectional)
        # (L·D, N, H): each row's state at its own last valid step, and with two directions that
        # of the backward one, at the row's first step, after that of the forward one
        h_n = state[0] if isinstance(state, tuple) else state
        return torch.cat([h_n[-2], h_n[-1]], dim=1) if self.rnn.bidirectional else h_n[-1]

    def _read_in_segments(self, embedded: PackedSequence, bptt_steps: int) -> Tensor:
        """As `_read`, but backpropagation goes no farther than the beginning of a segment.

        Rows are sorted by descending length: those that go on after a segment are the first ones.

        Source: Williams and Peng, An Efficient Gradient-Based Algorithm for On-Line Training of
        Recurrent Network Trajectories, 1990.
        """
        if not self.has_state:
            raise ValueError("bptt_steps needs a recurrent net of one direction, pooling 'last'")
        segments = embedded.batch_sizes.split(bptt_steps)
        data = embedded.data.split([int(sizes.sum()) for sizes in segments])
        go_on = [int(sizes[0]) for sizes in segments[1:]] + [0]  # rows after each segment
        state, finished = None, []
        for sizes, steps, n in zip(segments, data, go_on, strict=True):
            output, state = self.rnn(PackedSequence(steps, sizes), state)
            finished.append(self._read(output, state)[n:])
            state = _detached_rows(state, n)
        features = torch.cat(finished[::-1])  # (N, F), longest first
        order = embedded.unsorted_indices
        return features if order is None else features[order]

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

        Raises:
            ValueError: the net is not plain.
        """
        if not self.is_plain:
            raise ValueError(f"the contraction penalty is that of {PLAIN_IN_WORDS}")
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
        """Score sequences as a person has them, without padding or lengths, and without dropout.

        Args:
            x: one sequence, a list of sequences, or token ids of shape (N, T) or (T,) whose rows
                may end in padding.

        Returns:
            Unnormalised scores, float32 on the CPU, (N, C).

        Raises:
            ValueError: an empty sequence, or a token outside [0, vocab_size).
        """
        was_training = self.training
        scores = self.eval()(*self._as_batch(x)).cpu()
        self.train(was_training)
        return scores

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


def _detached_rows(state: State, n: int) -> State:
    """The states of the first n rows, as constants."""
    if isinstance(state, tuple):
        return tuple(_detached_rows(part, n) for part in state)
    return state[:, :n].detach()


def _valid_steps(row: Tensor, padding: int) -> int:
    """Number of steps before the padding at the end of a row."""
    return len(row) - int((row == padding).long().flip(0).cumprod(0).sum())
