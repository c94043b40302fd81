"""The model: Embedding -> recurrent layers over a PackedSequence -> last valid state -> Linear.

By default the layers are those of nn.RNN. Other cells and what may lie between layers are in
layers.py, other ways to read a sequence in pooling.py.

Shapes: N batch, T time, E embedding, H hidden, D directions, L layers, F features of a row (D·H),
C classes, V vocabulary, M valid steps of a batch (the sum of its lengths).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_sequence

from rnn_tutorial.model.layers import State, init_recurrent, make_layers
from rnn_tutorial.model.pooling import last_steps, pool
from rnn_tutorial.model.transformer import TransformerLayers
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.model_options import check_model_options


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
            for a Transformer see transformer.py.
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
        """True for a stacked Elman network without options; some code is faster for it."""
        return self.is_stack and type(self.rnn) is nn.RNN

    @property
    def is_stack(self) -> bool:
        """True for a stack of PyTorch's recurrent layers in one direction, read at its last step.

        Layer norms and residual connections make the layers a type of their own.
        """
        rnn = self.rnn
        if type(rnn) not in (nn.RNN, nn.GRU, nn.LSTM) or self.arguments["pooling"] != "last":
            return False
        is_tanh = type(rnn) is not nn.RNN or rnn.nonlinearity == "tanh"
        return is_tanh and rnn.bias and not (rnn.bidirectional or rnn.dropout or rnn.proj_size)

    @property
    def is_provable(self) -> bool:
        """True for the networks of PROVABLE_IN_WORDS."""
        return self.is_stack and type(self.rnn) in (nn.RNN, nn.GRU)

    @property
    def has_state(self) -> bool:
        """True if what was read of a sequence is a state from which one can go on."""
        is_recurrent = not isinstance(self.rnn, TransformerLayers)
        is_read_last = self.arguments["pooling"] == "last"
        return is_recurrent and is_read_last and not self.rnn.bidirectional

    def forward(self, x: Tensor | PackedSequence, seq_lengths: Tensor | None = None) -> Tensor:
        """Classify each sequence from its last valid hidden state, or as `pooling` says.

        Args:
            x: token ids, int64, (N, T), each in [0, vocab_size]; vocab_size itself is padding. Or
                the same packed, without seq_lengths.
            seq_lengths: valid steps per row, int64 on the CPU, (N,), each in [1, T], in any order.

        Returns:
            Logits, float32, (N, C).

        Raises:
            ValueError: a length outside [1, T].
        """
        tokens = _pack(x, seq_lengths)  # the valid steps of all rows, (M,)
        embedded = tokens._replace(data=self.embedding(tokens.data))  # (M, E)
        # output: the top layer's state at every valid step, (M, F)
        # h_n: the state of every layer at each row's own last step, (L·D, N, H)
        output, h_n = self.rnn(embedded)
        return self.fc(self.last_state(output, h_n))  # by default self.fc(h_n[-1])

    def last_state(self, output: PackedSequence, h_n: State | None) -> Tensor:
        """What the classifier reads of each row, (N, F), from what the layers return."""
        pooling = self.arguments["pooling"]
        if pooling != "last":
            return pool(output, pooling, self.attention)
        if not isinstance(self.rnn, nn.RNNBase):
            return last_steps(output, self.rnn.bidirectional)
        h_n = h_n[0] if isinstance(h_n, tuple) else h_n  # (L·D, N, H); an LSTM's state is (h, c)
        if self.rnn.bidirectional:  # the backward direction ends at the row's first step
            return torch.cat([h_n[-2], h_n[-1]], dim=1)
        return h_n[-1]

    @torch.no_grad()
    def logits(self, x: Sequence[int] | Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Score sequences as a person has them, without padding or lengths, and without dropout.

        Args:
            x: one sequence, a list of sequences, or token ids of shape (N, T) or (T,) whose rows
                may end in padding.

        Returns:
            Logits, float32 on the CPU, (N, C).

        Raises:
            ValueError: an empty sequence, or a token outside [0, vocab_size).
        """
        with evaluating(self):
            return self(*self._as_batch(x)).cpu()

    def predict(self, x: Sequence[int] | Sequence[Sequence[int]] | Tensor) -> Tensor:
        """The class with the largest logit for each sequence, int64, (N,); see `logits`."""
        return self.logits(x).argmax(dim=-1)

    def _as_batch(
        self, x: Sequence[int] | Sequence[Sequence[int]] | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Padded token ids, (N, T), on the model's device, and lengths, (N,), on the CPU."""
        padding = self.arguments["vocab_size"]
        if isinstance(x, Tensor):
            rows = [row[: _count_valid_steps(row, padding)] for row in x.reshape(-1, x.shape[-1])]
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


def make_model(config: TrainConfig, num_tokens: int, num_classes: int) -> RnnClsNet:
    """The model of a configuration with its first weights, which the seed determines.

    Args:
        config: of the run.
        num_tokens: V, without the padding.
        num_classes: C.
    """
    torch.manual_seed(config.seed)
    sizes = config.embed_dim, config.hidden_dim, config.num_layers
    model = RnnClsNet(num_tokens, *sizes, num_classes, **config.model_options())
    init_recurrent(model.rnn, config.init, config.forget_bias)
    return model.to(config.device)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def count_parameters(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _pack(x: Tensor | PackedSequence, seq_lengths: Tensor | None) -> PackedSequence:
    """pack_padded_sequence, unless x is packed already; the refusal names the lengths."""
    if isinstance(x, PackedSequence):
        return x
    shortest, longest = seq_lengths.aminmax()
    if shortest < 1 or longest > x.shape[1]:
        raise ValueError(
            f"seq_lengths run from {shortest} to {longest}; allowed are 1 to T = {x.shape[1]}"
        )
    is_sorted = bool((seq_lengths[1:] <= seq_lengths[:-1]).all())  # then packing need not sort
    return pack_padded_sequence(x, seq_lengths, batch_first=True, enforce_sorted=is_sorted)


def _count_valid_steps(row: Tensor, padding: int) -> int:
    """Number of steps before the padding at the end of a row."""
    return len(row) - int((row == padding).long().flip(0).cumprod(0).sum())
