"""Modules of other people's style: the open cases, and some near to what the checks tell apart."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.experiments.doctor_cases.modules_open import CASES


def found(module, **options):
    return {f.name: f.confidence for f in check_module(module, **options).findings}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_open_case_is_named_rightly(case):
    torch.manual_seed(0)
    module, options = case.make()
    names = found(module, **options)
    assert names.keys() & case.expected if case.expected else not names, names


class Net(nn.Module):
    """A GRU over packed sequences, without a mistake."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.embedding = nn.Embedding(13, 8, padding_idx=12)
        self.rnn = nn.GRU(8, 10, batch_first=True)
        self.fc = nn.Linear(10, num_classes)

    def state(self, x, lengths, first=None):
        packed = pack_padded_sequence(
            self.embedding(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.rnn(packed, first)[1][-1]

    def forward(self, x, lengths):
        return self.fc(self.state(x, lengths))


class LayerInForward(Net):
    def forward(self, x, lengths):
        state = self.state(x, lengths)
        return self.fc(nn.Linear(10, 10).to(state)(state))


class WeightsInForward(Net):
    def forward(self, x, lengths):
        state = self.state(x, lengths)
        return self.fc(state @ torch.randn(10, 10).to(state))


class LateLayer(Net):
    def __init__(self):
        super().__init__()
        self.hidden = None

    def forward(self, x, lengths):
        state = self.state(x, lengths)
        if self.hidden is None:
            self.hidden = nn.Linear(10, 10).to(state)
        return self.fc(self.hidden(state))


class MemoryOfTraining(Net):
    first = None

    def forward(self, x, lengths):
        state = self.state(x, lengths, self.first if self.training else None)
        self.first = state.detach()[None] if self.training else None
        return self.fc(state)


class MemoryInAList(Net):
    def __init__(self):
        super().__init__()
        self.states = [torch.zeros(1)]

    def forward(self, x, lengths):
        state = self.state(x, lengths)
        scores = self.fc(state) + self.states[0].mean()
        self.states[0] = state.detach()
        return scores


class NormOfEmbeddings(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def state(self, x, lengths, first=None):
        normed = self.norm(self.embedding(x).transpose(1, 2)).transpose(1, 2)
        normed = F.dropout(normed, 0.2, self.training)
        packed = pack_padded_sequence(normed, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][-1]


class FrozenNorm(NormOfEmbeddings):
    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()  # the statistics of an earlier training stay
        return self


class NormOfStates(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(10)

    def forward(self, x, lengths):
        return self.fc(F.dropout(self.norm(self.state(x, lengths)), 0.3, self.training))


class SharedLayers(Net):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(*[nn.Linear(10, 10), nn.ReLU()] * 3)

    def forward(self, x, lengths):
        return self.fc(self.hidden(self.state(x, lengths)))


class Cosine(Net):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 4, bias=False)

    def forward(self, x, lengths):
        state = self.state(x, lengths)[:, None]
        return F.cosine_similarity(state, self.fc.weight[None], dim=-1)


class CappedScores(Net):
    def forward(self, x, lengths):
        return 30 * torch.tanh(super().forward(x, lengths) / 30)


class ConstantLayers(Net):
    def __init__(self):
        super().__init__()
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)


class ClosedBranches(Net):
    """Branches whose last factor begins at zero."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(10, 10), nn.Linear(10, 10)
        self.scale = nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.last.weight)

    def forward(self, x, lengths):
        state = self.state(x, lengths)
        state = state + self.scale * torch.tanh(self.hidden(state))
        return self.fc(state + self.last(F.gelu(state)))


class SpectralNorm(Net):
    def __init__(self):
        super().__init__()
        self.hidden = nn.utils.parametrizations.spectral_norm(nn.Linear(10, 10))

    def forward(self, x, lengths):
        return self.fc(torch.tanh(self.hidden(self.state(x, lengths))))


class LossInTraining(Net):
    def forward(self, x, lengths, labels=None):
        scores = super().forward(x, lengths)
        return scores.logsumexp(1).mean() if self.training else {"logits": scores}


class OneLogit(Net):
    def __init__(self):
        super().__init__(1)

    def forward(self, x, lengths):
        return super().forward(x, lengths).squeeze(1)


class OneLogitSqueezed(OneLogit):
    def forward(self, x, lengths):
        return super().forward(x, lengths).squeeze()


class Classes(Net):
    """The classes in place of their scores."""

    def forward(self, x, lengths):
        return super().forward(x, lengths).argmax(1)


class HalfInFloat32(Net):
    def forward(self, x, lengths):
        state = self.state(x, lengths)
        return self.fc(F.layer_norm(state.float(), (10,)).type_as(state) + state)


class FixedWidth(Net):
    """A linear map over the states of all twenty steps."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(200, 4)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0].flatten(1))


class Patches(Net):
    """The last of seven steps fill no patch of four; the rows that it is meant for are longer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 4, stride=4)

    def forward(self, x):
        patches = self.conv(self.embedding(x).transpose(1, 2)).transpose(1, 2)
        return self.fc(self.rnn(patches)[0][:, -1])


class LastStepUnread(Net):
    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][:, -2])


class OffAtFirst(Net):
    def forward(self, x):
        return -self.fc(self.rnn(self.embedding(x))[0][:, -1]).abs().neg().relu()


class AtLeastFiveSteps(Net):
    """A text network with a kernel of five: shorter rows are none of its business."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 5)

    def forward(self, x, seq_lengths):
        wide = self.conv(self.embedding(x).transpose(1, 2)).transpose(1, 2)
        return self.fc(self.rnn(wide)[0][torch.arange(len(x)), seq_lengths - 5])


class RowByRow(Net):
    def state(self, x, lengths, first=None):
        rows = zip(x, lengths.tolist(), strict=True)
        return torch.cat([self.rnn(self.embedding(row[:n])[None])[1][0] for row, n in rows])


class DeepByOne(Net):
    """The same layer three times, as is meant in some networks."""

    def __init__(self):
        super().__init__()
        self.deep = nn.GRU(10, 10, batch_first=True)

    def forward(self, x):
        states = self.rnn(self.embedding(x))[0]
        for _ in range(3):
            states = states + self.deep(states)[0]
        return self.fc(states[:, -1])


class Forecast(Net):
    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][:, -1])[..., None]


class Tagger(Net):
    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0])


class Attention(Net):
    dim = 1

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(10, 1)

    def forward(self, x):
        states = self.rnn(self.embedding(x))[0]
        return self.fc((self.query(states).softmax(self.dim) * states).sum(1))


class AttentionOfOne(Attention):
    dim = -1


class OwnCell(Net):
    scale, draw = 1 / 8, staticmethod(torch.randn)

    def __init__(self):
        super().__init__()
        self.w_in, self.w = (nn.Parameter(self.draw(n, 128) * self.scale) for n in (8, 128))
        self.fc = nn.Linear(128, 4)
        del self.rnn

    def forward(self, x):
        h = torch.zeros(len(x), 128)
        for step in self.embedding(x).unbind(1):
            h = torch.tanh(step @ self.w_in + h @ self.w)
        return self.fc(h)


class OwnCellWithoutScale(OwnCell):
    scale = 1


class OwnCellOfPositiveWeights(OwnCell):
    scale, draw = 1, staticmethod(torch.rand)


class WideNormal(Net):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(13, 100)
        self.rnn = nn.LSTM(100, 256, batch_first=True)
        self.fc = nn.Linear(256, 4)
        for parameter in self.rnn.parameters():
            nn.init.normal_(parameter)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][:, -1])


class IdsAsNumbers(Net):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 10, batch_first=True)
        del self.embedding

    def forward(self, x):
        return self.fc(self.rnn(x[..., None].float())[0][:, -1])


class Convolved(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def swapped(self, z):
        return z.transpose(1, 2)

    def forward(self, x):
        z = torch.relu(self.conv(self.embedding(x).transpose(1, 2)))
        return self.fc(self.rnn(self.swapped(z))[0][:, -1])


class ConvolvedByView(Convolved):
    def swapped(self, z):
        return z.view(len(z), -1, 8)


TIGHT = {"lengths": False}


@pytest.mark.parametrize(
    ("factory", "options", "name"),
    [
        (Net, {}, ""),
        (LayerInForward, {}, "unregistered-parameters"),
        (WeightsInForward, {}, "unregistered-parameters"),
        (LateLayer, {}, "unregistered-parameters"),
        (MemoryOfTraining, {}, "state-kept-between-batches"),
        (MemoryInAList, {}, "state-kept-between-batches"),
        (NormOfEmbeddings, {}, "padding-in-batch-statistics"),
        (FrozenNorm, {}, ""),
        (NormOfStates, {}, ""),
        (SharedLayers, {}, "layer-shared"),
        (Cosine, {}, "bounded-scores"),
        (CappedScores, {}, ""),
        (ConstantLayers, {}, "symmetric-weights"),
        (ClosedBranches, {}, ""),
        (SpectralNorm, {}, ""),
        (LossInTraining, {}, ""),
        (OneLogit, {}, ""),
        (OneLogitSqueezed, {}, "wrong-shape"),
        (Classes, {}, "wrong-shape"),
        (HalfInFloat32, {}, ""),
        (FixedWidth, TIGHT, ""),
        (Patches, TIGHT, ""),
        (LastStepUnread, TIGHT, "steps-ignored"),
        (RowByRow, {}, ""),
        (Attention, TIGHT, ""),
        (AttentionOfOne, TIGHT, "softmax-of-one"),
        (OwnCell, TIGHT, ""),
        (OwnCellWithoutScale, TIGHT, "saturated-at-start"),
        (OwnCellOfPositiveWeights, TIGHT, "saturated-at-start"),
        (WideNormal, TIGHT, "saturated-at-start"),
        (IdsAsNumbers, TIGHT, ""),
        (Convolved, TIGHT, ""),
        (ConvolvedByView, TIGHT, "view-for-transpose"),
    ],
)
def test_near_cases_are_told_apart(factory, options, name):
    torch.manual_seed(0)
    assert list(found(factory(), vocab_size=12, **options)) == ([name] if name else [])


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (DeepByOne, {"layer-shared": "possible"}),
        (Forecast, {"wrong-shape": "possible"}),
        (Tagger, {"wrong-shape": "likely"}),
    ],
)
def test_what_may_be_meant_is_only_possible(factory, expected):
    torch.manual_seed(0)
    assert found(factory(), vocab_size=12, lengths=False) == expected


def test_ids_of_many_tokens_are_no_numbers():
    torch.manual_seed(0)
    assert found(IdsAsNumbers(), vocab_size=5000, lengths=False) == {"ids-as-numbers": "likely"}


def test_where_all_scores_are_equal_nothing_is_said_of_the_weights():
    torch.manual_seed(0)
    assert "unused-parameters" not in found(OffAtFirst(), vocab_size=12, lengths=False)


def test_a_module_that_needs_longer_rows_is_not_wrong_for_certain():
    torch.manual_seed(0)
    assert found(AtLeastFiveSteps(), vocab_size=12) == {"module-raises": "likely"}


def test_a_module_without_data_cannot_be_called():
    assert found(Net().to("meta"), vocab_size=12) == {"cannot-call": "possible"}


def test_what_was_looked_at_and_what_was_not_is_said():
    torch.manual_seed(0)
    report = check_module(FixedWidth(), 12, lengths=False)
    assert any("forward(x) of sequences of 20 steps" in text for text in report.looked_at)
    assert report.not_asked == [
        "padding: all sequences have one length",
        "gradients that vanish or explode over hundreds of steps",
    ]


def test_what_a_decisive_fault_hides_was_not_looked_at():
    torch.manual_seed(0)
    looked_at, not_asked = check_module(ConstantLayers(), 12)[1:]
    assert not any("finite differences" in text for text in looked_at)
    assert any("finite differences: mend symmetric-weights first" in text for text in not_asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of vocab_size and num_features"),
        ({"vocab_size": 12, "num_features": 3}, "one of vocab_size and num_features"),
        ({"num_features": 0}, "num_features 0"),
        ({"vocab_size": 12, "padding_id": -1}, "padding_id -1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_module(Net(), **options)
