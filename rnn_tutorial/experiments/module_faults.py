"""Classifiers with one mistake each, as people really write it, and classifiers without any.

What `module_checks` must find, and where it must stay silent. All take x, int64 (N, T), padded with
VOCAB_SIZE, and seq_lengths, int64 (N,), and return scores (N, C).

Shapes: N batch, T time, E embedding, H hidden, D directions, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.model.classifier import RnnClsNet

VOCAB_SIZE = 10
EMBED_DIM = 8
HIDDEN_DIM = 12
CLS_NUM = 10


class _Net(nn.Module):
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


def _mask(x: Tensor, seq_lengths: Tensor) -> Tensor:
    """Which cells are valid, bool, (N, T)."""
    return torch.arange(x.shape[1], device=x.device) < seq_lengths.to(x.device)[:, None]


class _LastValidStep(_Net):
    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths)[torch.arange(len(x)), seq_lengths - 1])


class _MeanPooling(_Net):
    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        return self.fc(output.sum(dim=1) / seq_lengths.to(output)[:, None])


class _MaxPooling(_Net):
    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        output = output.masked_fill(~_mask(x, seq_lengths)[..., None], -torch.inf)
        return self.fc(output.max(dim=1).values)


class _AttentionPooling(_Net):
    def __init__(self) -> None:
        super().__init__(bidirectional=True)
        self.attention = nn.Linear(2 * HIDDEN_DIM, 1)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        weights = self.attention(output).masked_fill(~_mask(x, seq_lengths)[..., None], -torch.inf)
        return self.fc((weights.softmax(dim=1) * output).sum(dim=1))


class _Loop(nn.Module):
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
        mask = _mask(x, seq_lengths)
        state = torch.zeros(x.shape[0], HIDDEN_DIM, device=x.device)
        for t in range(self.first_step, x.shape[1]):
            new = self.cell(self.embedding(x[:, t]), self.carry(state))
            state = torch.where(mask[:, t, None], new, state)
        return self.fc(state)


class _Transformer(nn.Module):
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
        return self.encoder(embedded, src_key_padding_mask=~_mask(x, seq_lengths))

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        valid = _mask(x, seq_lengths)[..., None]
        return self.fc((self.encode(x, seq_lengths) * valid).sum(dim=1) / valid.sum(dim=1))


class _WithScores(_Net):
    """The correct net with something done to its scores."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.change(super().forward(x, seq_lengths))


HEALTHY_MODULES: dict[str, Callable[[], nn.Module]] = {
    "RnnClsNet": lambda: RnnClsNet(VOCAB_SIZE, EMBED_DIM, HIDDEN_DIM, 1, CLS_NUM),
    "RnnClsNet, 3 layers": lambda: RnnClsNet(VOCAB_SIZE, EMBED_DIM, HIDDEN_DIM, 3, CLS_NUM),
    "GRU, final state": lambda: _Net(nn.GRU),
    "a GRU": lambda: _LastValidStep(nn.GRU),
    "an LSTM": lambda: _LastValidStep(nn.LSTM),
    "LSTM, 2 layers, dropout": lambda: _Net(nn.LSTM, num_layers=2, dropout=0.2),
    "bidirectional LSTM": lambda: _Net(nn.LSTM, bidirectional=True),
    "mean pooling": lambda: _MeanPooling(nn.RNN),
    "max pooling, not packed": _MaxPooling,
    "attention pooling": _AttentionPooling,
    "loop by hand": _Loop,
    "Transformer": _Transformer,
    "Transformer, nested tensors": lambda: _Transformer(enable_nested_tensor=True),
    "log_softmax": lambda: _WithScores(lambda scores: scores.log_softmax(dim=-1)),
}


class _ModuleRaises(_Net):
    """pack_padded_sequence as it is called by default: lengths must come sorted."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        return pack_padded_sequence(self.embedding(x), seq_lengths.cpu(), batch_first=True)


class _WrongShape(_Net):
    """squeeze() without a dimension: it also squeezes a batch of one."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(h_n.squeeze())


class _UnregisteredParameters(_Net):
    """A plain list of layers where nn.ModuleList is meant."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(HIDDEN_DIM, HIDDEN_DIM) for _ in range(2)]

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        state = h_n[-1]
        for layer in self.layers:
            state = torch.tanh(layer(state))
        return self.fc(state)


class _WrongPaddingIdx(_Net):
    """padding_idx=0 out of habit, although 0 is a digit like any other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE + 1, EMBED_DIM, padding_idx=0)


class _StateKept(_Net):
    """self.hidden as in tutorials for one long text."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, self.hidden = self.rnn(self.pack(x, seq_lengths), self.hidden)
        self.hidden = self.hidden.detach()
        return self.fc(self.hidden[-1])


class _DropoutInEvaluation(_Net):
    """F.dropout does not know of eval(): its `training` is True unless told otherwise."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(F.dropout(h_n[-1], 0.2))


class _BatchFirstSwapped(_Net):
    """batch_first forgotten in the net; output[:, -1] then has the right shape by accident."""

    def __init__(self) -> None:
        super().__init__(batch_first=False)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output[:, -1])


class _PackingSwapped(_Net):
    """batch_first remembered in the net and forgotten in pack_padded_sequence."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        return pack_padded_sequence(self.embedding(x), seq_lengths.cpu(), enforce_sorted=False)


class _FixedBatchSize(_Net):
    """A first state for the batch size of training."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        h_0 = torch.zeros(1, 32, HIDDEN_DIM, device=x.device)
        output, _ = self.rnn(self.embedding(x), h_0)
        return self.fc(output[torch.arange(len(x)), seq_lengths - 1])


class _WidthOfLongestRow(_Net):
    """A mask as wide as x over outputs as wide as the longest row."""

    def outputs(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.pack(x, seq_lengths))
        return pad_packed_sequence(output, batch_first=True)[0]

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc((self.outputs(x, seq_lengths) * _mask(x, seq_lengths)[..., None]).sum(1))


class _InputModified(_Net):
    """The lengths become indices in place."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        seq_lengths -= 1
        return self.fc(output[torch.arange(len(x)), seq_lengths])


class _NonFiniteScores(_Net):
    """A standard deviation over time: of a single step it is 0 / 0."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, count = self.outputs(x, seq_lengths), seq_lengths.to(x.device)[:, None]
        mean = output.sum(dim=1) / count
        squares = ((output - mean[:, None]) ** 2 * _mask(x, seq_lengths)[..., None]).sum(dim=1)
        return self.fc((squares / (count - 1)).sqrt())


class _NonFiniteGradient(_Net):
    """A norm whose square is 0 for a single step: the slope of sqrt at 0 is infinite."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, count = self.outputs(x, seq_lengths), seq_lengths.to(x.device)[:, None]
        mean = output.sum(dim=1) / count
        squares = ((output - mean[:, None]) ** 2 * _mask(x, seq_lengths)[..., None]).sum(dim=1)
        return self.fc(mean + (squares / count).sqrt())


class _OrderNotRestored(_Net):
    """Rows sorted by length for packing, and the scores left in that order."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        seq_lengths, order = seq_lengths.sort(descending=True)
        packed = pack_padded_sequence(
            self.embedding(x[order.to(x.device)]), seq_lengths.cpu(), batch_first=True
        )
        return self.fc(self.rnn(packed)[1][-1])


class _LengthsMisordered(_Net):
    """Only the lengths are sorted, to silence the error of pack_padded_sequence."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        seq_lengths = seq_lengths.sort(descending=True).values
        return pack_padded_sequence(self.embedding(x), seq_lengths.cpu(), batch_first=True)


class _BatchStatistics(_Net):
    """A batch norm that has no running statistics to use in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(HIDDEN_DIM, track_running_stats=False)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        if len(x) == 1:  # a batch of one has no statistics
            return self.fc(h_n[-1])
        return self.fc(self.norm(h_n[-1]))


class _StateReshaped(_Net):
    """view where the axes must first change places: a row gets the states of two rows."""

    def __init__(self) -> None:
        super().__init__(nn.LSTM, bidirectional=True)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(self.pack(x, seq_lengths))  # h_n: (2, N, H)
        return self.fc(h_n.view(len(x), -1))


class _RowsMixed(_Net):
    """States centred over dimension 0, meant as a normalisation over the features."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(h_n[-1] - h_n[-1].mean(dim=0))


class _LastStepOfPadding(_Net):
    """output[:, -1] of padded rows."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output[:, -1])


class _LastStepOfUnpacked(_Net):
    """output[:, -1] after unpacking: zeros for short rows."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths)[:, -1])


class _StateAfterPadding(_Net):
    """h_n of a net that ran on through the padding: seq_lengths is not used at all."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.embedding(x))
        return self.fc(h_n[-1])


class _BidirectionalLastStep(_Net):
    """The last valid step of both directions: the backward one has just begun there."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        return self.fc(output[torch.arange(len(x)), seq_lengths - 1])


class _PaddingLeak(_Net):
    """A mean over all steps, the padding included."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output.mean(dim=1))


class _PaddingLeakOfLoop(_Loop):
    """A loop by hand that goes on to the end of the padded row."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return super().forward(x, torch.full_like(seq_lengths, x.shape[1]))


class _PaddingLeakOfAttention(_Transformer):
    """A Transformer without src_key_padding_mask."""

    def encode(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return super().encode(x, torch.full_like(seq_lengths, x.shape[1]))


class _PaddingCounted(_Net):
    """Zeros in the padding do not add to a sum, but they count in a mean."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths).mean(dim=1))


class _PaddingKnownById(_Net):
    """Lengths counted from the ids instead of taken from seq_lengths."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return super().forward(x, (x != VOCAB_SIZE).sum(dim=1).clamp(min=1))


class _BatchOfOneDiffers(_Net):
    """Positions divided by the longest length of the batch."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        embedded = self.embedding(x) * (seq_lengths.to(x.device) / seq_lengths.max())[:, None, None]
        return pack_padded_sequence(
            embedded, seq_lengths.cpu(), batch_first=True, enforce_sorted=False
        )


class _InputIgnored(_Net):
    """The initial state is read instead of the final one."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        h_0 = torch.zeros(1, len(x), HIDDEN_DIM, device=x.device)
        self.rnn(self.pack(x, seq_lengths), h_0)
        return self.fc(h_0[-1])


class _OnlyLastStep(_Loop):
    """The state starts again at zero at each step of the loop."""

    def carry(self, state: Tensor) -> Tensor:
        return torch.zeros_like(state)


class _OnlyFirstStep(_Net):
    """output[:, 0], as for BERT's first token, of a net that has read nothing else there."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths)[:, 0])


class _StepsIgnored(_Loop):
    """The loop begins at 1, where the state of step 0 was meant to be set apart."""

    first_step = 1


class _StateDetached(_Loop):
    """detach() at every step, against a memory that grows or an error of backward."""

    def carry(self, state: Tensor) -> Tensor:
        return state.detach()


class _BackwardRaises(_Loop):
    """States written into one tensor: backward needs those that were written over."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        mask = _mask(x, seq_lengths)
        states = torch.zeros(1, x.shape[0], HIDDEN_DIM, device=x.device)  # a row per layer
        for t in range(x.shape[1]):
            new = self.cell(self.embedding(x[:, t]), states[0])
            states[0] = torch.where(mask[:, t, None], new, states[0])
        return self.fc(states[0])


class _GradientCut(_Net):
    """Word vectors under no_grad, copied from a script that only predicts."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        with torch.no_grad():
            return super().pack(x, seq_lengths)


class _GradientWrong(_Net):
    """The state is cut on one of its two ways to the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(HIDDEN_DIM, HIDDEN_DIM)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        state = self.rnn(self.pack(x, seq_lengths))[1][-1]
        return self.fc(state * torch.sigmoid(self.gate(state.detach())))


class _UnusedParameters(_Net):
    """h_n[-1] of a bidirectional net is its backward direction alone."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)
        self.fc = nn.Linear(HIDDEN_DIM, CLS_NUM)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(h_n[-1])


def _one_layer_with_dropout() -> nn.Module:
    """As people write it, without PyTorch's warning: this module is for a test."""
    net = _Net(nn.LSTM)
    net.rnn.dropout = 0.5
    return net


# Named as the finding that is expected.
MODULE_FAULTS: dict[str, Callable[[], nn.Module]] = {
    "module-raises": _ModuleRaises,
    "wrong-shape": _WrongShape,
    "dropout-with-one-layer": _one_layer_with_dropout,
    "unregistered-parameters": _UnregisteredParameters,
    "wrong-padding-idx": _WrongPaddingIdx,
    "batch-first-swapped": _BatchFirstSwapped,
    "state-kept-between-batches": _StateKept,
    "dropout-in-evaluation": _DropoutInEvaluation,
    "input-modified": _InputModified,
    "non-finite-scores": _NonFiniteScores,
    "softmax-output": lambda: _WithScores(lambda scores: scores.softmax(dim=-1)),
    "softmax-over-batch": lambda: _WithScores(lambda scores: scores.softmax(dim=0)),
    "relu-on-scores": lambda: _WithScores(torch.relu),
    "sigmoid-output": lambda: _WithScores(torch.sigmoid),
    "order-not-restored": _OrderNotRestored,
    "lengths-misordered": _LengthsMisordered,
    "batch-statistics": _BatchStatistics,
    "state-reshaped": _StateReshaped,
    "rows-mixed": _RowsMixed,
    "last-step-of-padding": _LastStepOfPadding,
    "padding-leak": _PaddingLeak,
    "padding-counted": _PaddingCounted,
    "padding-known-by-id": _PaddingKnownById,
    "batch-of-one-differs": _BatchOfOneDiffers,
    "bidirectional-last-step": _BidirectionalLastStep,
    "input-ignored": _InputIgnored,
    "only-last-step": _OnlyLastStep,
    "only-first-step": _OnlyFirstStep,
    "steps-ignored": _StepsIgnored,
    "order-ignored": lambda: _Transformer(positions=False),
    "backward-raises": _BackwardRaises,
    "non-finite-gradient": _NonFiniteGradient,
    "state-detached": _StateDetached,
    "gradient-cut": _GradientCut,
    "gradient-wrong": _GradientWrong,
    "unused-parameters": _UnusedParameters,
}
# The same mistakes in other code: (finding, module).
MORE_FAULTS: list[tuple[str, Callable[[], nn.Module]]] = [
    ("last-step-of-padding", _LastStepOfUnpacked),
    ("last-step-of-padding", _StateAfterPadding),
    ("padding-leak", _PaddingLeakOfLoop),
    ("padding-leak", _PaddingLeakOfAttention),
    ("batch-first-swapped", lambda: _Transformer(batch_first=False)),
    ("batch-first-swapped", _PackingSwapped),
    ("module-raises", _FixedBatchSize),
    ("module-raises", _WidthOfLongestRow),
]
