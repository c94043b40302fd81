"""Classifiers with one mistake each, as people really write it, which the doctor must find.

They take and return what those of healthy_modules.py do.

Shapes: N batch, T time, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_tutorial.experiments.healthy_modules import (
    CLS_NUM,
    EMBED_DIM,
    HIDDEN_DIM,
    VOCAB_SIZE,
    Loop,
    Net,
    Transformer,
    WithScores,
    is_valid,
)


class _ModuleRaises(Net):
    """pack_padded_sequence as it is called by default: lengths must come sorted."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        return pack_padded_sequence(self.embedding(x), seq_lengths.cpu(), batch_first=True)


class _WrongShape(Net):
    """squeeze() without a dimension: it also squeezes a batch of one."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(h_n.squeeze())


class _UnregisteredParameters(Net):
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


class _WrongPaddingIdx(Net):
    """padding_idx=0 out of habit, although 0 is a digit like any other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE + 1, EMBED_DIM, padding_idx=0)


class _StateKept(Net):
    """self.hidden as in tutorials for one long text."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, self.hidden = self.rnn(self.pack(x, seq_lengths), self.hidden)
        self.hidden = self.hidden.detach()
        return self.fc(self.hidden[-1])


class _DropoutInEvaluation(Net):
    """F.dropout does not know of eval(): its `training` is True unless told otherwise."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(F.dropout(h_n[-1], 0.2))


class _BatchFirstSwapped(Net):
    """batch_first forgotten in the net; output[:, -1] then has the right shape by accident."""

    def __init__(self) -> None:
        super().__init__(batch_first=False)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output[:, -1])


class _InputModified(Net):
    """The lengths become indices in place."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        seq_lengths -= 1
        return self.fc(output[torch.arange(len(x)), seq_lengths])


class _NonFiniteScores(Net):
    """A standard deviation over time: of a single step it is 0 / 0."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, count = self.outputs(x, seq_lengths), seq_lengths.to(x.device)[:, None]
        mean = output.sum(dim=1) / count
        squares = ((output - mean[:, None]) ** 2 * is_valid(x, seq_lengths)[..., None]).sum(dim=1)
        return self.fc((squares / (count - 1)).sqrt())


class _NonFiniteGradient(Net):
    """A norm whose square is 0 for a single step: the slope of sqrt at 0 is infinite."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, count = self.outputs(x, seq_lengths), seq_lengths.to(x.device)[:, None]
        mean = output.sum(dim=1) / count
        squares = ((output - mean[:, None]) ** 2 * is_valid(x, seq_lengths)[..., None]).sum(dim=1)
        return self.fc(mean + (squares / count).sqrt())


class _OrderNotRestored(Net):
    """Rows sorted by length for packing, and the scores left in that order."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        seq_lengths, order = seq_lengths.sort(descending=True)
        packed = pack_padded_sequence(
            self.embedding(x[order.to(x.device)]), seq_lengths.cpu(), batch_first=True
        )
        return self.fc(self.rnn(packed)[1][-1])


class _LengthsMisordered(Net):
    """Only the lengths are sorted, to silence the error of pack_padded_sequence."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        seq_lengths = seq_lengths.sort(descending=True).values
        return pack_padded_sequence(self.embedding(x), seq_lengths.cpu(), batch_first=True)


class _BatchStatistics(Net):
    """A batch norm that has no running statistics to use in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(HIDDEN_DIM, track_running_stats=False)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        if len(x) == 1:  # a batch of one has no statistics
            return self.fc(h_n[-1])
        return self.fc(self.norm(h_n[-1]))


class _StateReshaped(Net):
    """view where the axes must first change places: a row gets the states of two rows."""

    def __init__(self) -> None:
        super().__init__(nn.LSTM, bidirectional=True)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(self.pack(x, seq_lengths))  # h_n: (2, N, H)
        return self.fc(h_n.view(len(x), -1))


class _RowsMixed(Net):
    """States centred over dimension 0, meant as a normalisation over the features."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(h_n[-1] - h_n[-1].mean(dim=0))


class _LastStepOfPadding(Net):
    """output[:, -1] of padded rows."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output[:, -1])


class _BidirectionalLastStep(Net):
    """The last valid step of both directions: the backward one has just begun there."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output = self.outputs(x, seq_lengths)
        return self.fc(output[torch.arange(len(x)), seq_lengths - 1])


class _PaddingLeak(Net):
    """A mean over all steps, the padding included."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.fc(output.mean(dim=1))


class _PaddingCounted(Net):
    """Zeros in the padding do not add to a sum, but they count in a mean."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths).mean(dim=1))


class _PaddingKnownById(Net):
    """Lengths counted from the ids instead of taken from seq_lengths."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return super().forward(x, (x != VOCAB_SIZE).sum(dim=1).clamp(min=1))


class _BatchOfOneDiffers(Net):
    """Positions divided by the longest length of the batch."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        embedded = self.embedding(x) * (seq_lengths.to(x.device) / seq_lengths.max())[:, None, None]
        return pack_padded_sequence(
            embedded, seq_lengths.cpu(), batch_first=True, enforce_sorted=False
        )


class _InputIgnored(Net):
    """The initial state is read instead of the final one."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        h_0 = torch.zeros(1, len(x), HIDDEN_DIM, device=x.device)
        self.rnn(self.pack(x, seq_lengths), h_0)
        return self.fc(h_0[-1])


class _OnlyLastStep(Loop):
    """The state starts again at zero at each step of the loop."""

    def carry(self, state: Tensor) -> Tensor:
        return torch.zeros_like(state)


class _OnlyFirstStep(Net):
    """output[:, 0], as for BERT's first token, of a net that has read nothing else there."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        return self.fc(self.outputs(x, seq_lengths)[:, 0])


class _StepsIgnored(Loop):
    """The loop begins at 1, where the state of step 0 was meant to be set apart."""

    first_step = 1


class _StateDetached(Loop):
    """detach() at every step, against a memory that grows or an error of backward."""

    def carry(self, state: Tensor) -> Tensor:
        return state.detach()


class _BackwardRaises(Loop):
    """States written into one tensor: backward needs those that were written over."""

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        mask = is_valid(x, seq_lengths)
        states = torch.zeros(1, x.shape[0], HIDDEN_DIM, device=x.device)  # a row per layer
        for t in range(x.shape[1]):
            new = self.cell(self.embedding(x[:, t]), states[0])
            states[0] = torch.where(mask[:, t, None], new, states[0])
        return self.fc(states[0])


class _GradientCut(Net):
    """Word vectors under no_grad, copied from a script that only predicts."""

    def pack(self, x: Tensor, seq_lengths: Tensor) -> PackedSequence:
        with torch.no_grad():
            return super().pack(x, seq_lengths)


class _GradientWrong(Net):
    """The state is cut on one of its two ways to the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(HIDDEN_DIM, HIDDEN_DIM)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        state = self.rnn(self.pack(x, seq_lengths))[1][-1]
        return self.fc(state * torch.sigmoid(self.gate(state.detach())))


class _UnusedParameters(Net):
    """h_n[-1] of a bidirectional net is its backward direction alone."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)
        self.fc = nn.Linear(HIDDEN_DIM, CLS_NUM)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Tensor:
        _, h_n = self.rnn(self.pack(x, seq_lengths))
        return self.fc(h_n[-1])


def _one_layer_with_dropout() -> nn.Module:
    """As people write it, without PyTorch's warning: this module is for a test."""
    net = Net(nn.LSTM)
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
    "softmax-output": lambda: WithScores(lambda scores: scores.softmax(dim=-1)),
    "softmax-over-batch": lambda: WithScores(lambda scores: scores.softmax(dim=0)),
    "relu-on-scores": lambda: WithScores(torch.relu),
    "sigmoid-output": lambda: WithScores(torch.sigmoid),
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
    "order-ignored": lambda: Transformer(positions=False),
    "backward-raises": _BackwardRaises,
    "non-finite-gradient": _NonFiniteGradient,
    "state-detached": _StateDetached,
    "gradient-cut": _GradientCut,
    "gradient-wrong": _GradientWrong,
    "unused-parameters": _UnusedParameters,
}
