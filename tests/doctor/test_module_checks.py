"""Every mistake is found under its own name, alone; right modules are left in peace."""

import copy
import random
import sys

import numpy as np
import pytest
import torch
from more_module_faults import MORE_FAULTS
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_tutorial.doctor.findings import describe
from rnn_tutorial.doctor.module_checks import check_module
from rnn_tutorial.experiments.healthy_modules import HEALTHY_MODULES, VOCAB_SIZE
from rnn_tutorial.experiments.module_faults import MODULE_FAULTS
from rnn_tutorial.model.classifier import RnnClsNet


def make(factory, seed):
    torch.manual_seed(seed)
    return factory()


def draw_anew():
    """The first random numbers after a seeding: PyTorch's, NumPy's and Python's."""
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    drawn = torch.rand(3).tolist(), np.random.rand(), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    return drawn


def names(module, vocab_size=VOCAB_SIZE, **options):
    return [finding.name for finding in check_module(module, vocab_size, **options).findings]


@pytest.mark.parametrize(
    ("name", "factory"),
    [*MODULE_FAULTS.items(), *MORE_FAULTS],
    ids=[*MODULE_FAULTS, *(f"{name} {i}" for i, (name, _) in enumerate(MORE_FAULTS))],
)
def test_each_mistake_is_found_and_nothing_else(name, factory):
    assert names(make(factory, 0)) == [name]


@pytest.mark.parametrize("name", HEALTHY_MODULES)
def test_nothing_is_found_in_a_right_module(name):
    findings = check_module(make(HEALTHY_MODULES[name], 1), VOCAB_SIZE, seed=1).findings
    assert not findings, describe(findings)


@pytest.mark.parametrize("vocab_size", [2, 3, 1000])
def test_any_vocabulary_will_do(vocab_size):
    torch.manual_seed(0)
    assert names(RnnClsNet(vocab_size, 4, 8, 1, vocab_size), vocab_size) == []


def test_two_tokens_may_leave_no_id_for_the_padding():
    class Parity(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(2, 4), nn.GRU(4, 8, batch_first=True)
            self.fc = nn.Linear(8, 2)

        def forward(self, x, lengths):
            output, _ = self.rnn(self.embedding(x))
            return self.fc(output[torch.arange(len(x)), lengths - 1])

    torch.manual_seed(0)
    assert names(Parity(), 2) == []


@pytest.mark.parametrize("scale", [0.1, 5.0])
@pytest.mark.parametrize("name", HEALTHY_MODULES)
def test_the_size_of_the_weights_is_no_mistake_of_the_code(name, scale):
    module = make(HEALTHY_MODULES[name], 0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= scale
    assert names(module) == []


def test_saturated_states_are_told_from_code_that_reads_no_step():
    module = make(HEALTHY_MODULES["RnnClsNet"], 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 30
    assert names(module) == ["saturated-at-start"]


@pytest.mark.parametrize("name", ["RnnClsNet", "LSTM, 2 layers, dropout", "loop by hand"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision_will_do(name, dtype):
    assert names(make(HEALTHY_MODULES[name], 0).to(dtype)) == []


class Float32Loop(nn.Module):
    """A loop that insists on float32, so that nothing can be computed in float64."""

    def __init__(self, reads_padding):
        super().__init__()
        self.inner = HEALTHY_MODULES["loop by hand"]()
        self.reads_padding = reads_padding

    def forward(self, x, seq_lengths):
        if self.inner.fc.weight.dtype != torch.float32:
            raise TypeError("float32 only")
        if self.reads_padding:
            seq_lengths = torch.full_like(seq_lengths, x.shape[1])
        return self.inner(x, seq_lengths)


def test_float32_suffices():
    torch.manual_seed(0)
    assert names(Float32Loop(reads_padding=False)) == []
    assert names(Float32Loop(reads_padding=True)) == ["padding-leak"]


class OtherConventions(nn.Module):
    """Time first, padding 0, no lengths, scores in a dictionary."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, 4, padding_idx=0)
        self.rnn = nn.GRU(4, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        output, _ = self.rnn(self.embedding(x))  # (T, N, H)
        last = (x != 0).sum(dim=0) - 1
        return {"scores": self.fc(output[last, torch.arange(x.shape[1])])}


def test_other_conventions_through_call():
    module = make(OtherConventions, 0)
    options = {"time_major": True, "call": lambda module, x, seq_lengths: module(x)["scores"]}
    found = check_module(module, VOCAB_SIZE, **options).findings
    assert [(f.name, f.confidence) for f in found] == [("padding-known-by-id", "possible")]
    assert names(module, padding_id=0, **options) == []


class TimeFirstTuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = HEALTHY_MODULES["GRU, final state"]()

    def forward(self, x, seq_lengths):
        return self.net(x.T, seq_lengths), None


def test_time_first_and_a_tuple():
    torch.manual_seed(0)
    assert names(TimeFirstTuple(), time_major=True) == []


class NoSingleToken(nn.Module):
    """Fails on sequences of one token only."""

    def __init__(self):
        super().__init__()
        self.net = HEALTHY_MODULES["GRU, final state"]()

    def forward(self, x, seq_lengths):
        if x.shape[1] == 1:
            raise IndexError("two tokens at least")
        return self.net(x, seq_lengths)


def test_an_error_for_some_lengths_is_a_finding_that_says_for_which():
    (found,) = check_module(make(NoSingleToken, 0), VOCAB_SIZE).findings
    assert found.name == "module-raises"
    assert "IndexError: two tokens at least; on 1 rows of lengths [1]" in found.seen
    assert "two tokens at least" in found.seen


class Exits(nn.Module):
    def forward(self, x):
        sys.exit(0)


def test_what_ends_python_is_an_error_of_the_module():
    (found,) = check_module(Exits(), VOCAB_SIZE).findings
    assert found.name == "cannot-call" and "SystemExit" in found.seen


class RightAndWrong(nn.Module):
    """Two mistakes that have nothing to do with each other."""

    def __init__(self):
        super().__init__()
        self.net = MODULE_FAULTS["last-step-of-padding"]()
        self.more = nn.Linear(3, 3)

    def forward(self, x, seq_lengths):
        return self.net(x, seq_lengths).softmax(dim=-1)


def test_independent_mistakes_are_all_reported():
    assert names(make(RightAndWrong, 0)) == [
        "last-step-of-padding", "unused-parameters", "softmax-output",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["RnnClsNet", "LSTM, 2 layers, dropout", "Transformer"])
def test_the_module_and_the_random_state_are_left_as_they_were(name):
    module = make(HEALTHY_MODULES[name], 0).train()
    module.embedding.eval()
    module(torch.tensor([[1, 2]]), torch.tensor([2])).sum().backward()
    kept = copy.deepcopy(module)
    gradients = [parameter.grad.clone() for parameter in module.parameters()]
    expected = draw_anew()
    with torch.no_grad():
        check_module(module, VOCAB_SIZE)
    assert (torch.rand(3).tolist(), np.random.rand(), random.random()) == expected
    assert torch.get_default_dtype() == torch.float32
    assert [m.training for m in module.modules()] == [m.training for m in kept.modules()]
    for own, before, gradient in zip(
        module.parameters(), kept.parameters(), gradients, strict=True
    ):
        assert torch.equal(own, before) and torch.equal(own.grad, gradient)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_a_compiled_module_is_checked_as_it_was_before():
    class Compiled(nn.Module):  # as torch.compile wraps one
        def __init__(self, module):
            super().__init__()
            self._orig_mod = module

    assert names(Compiled(make(HEALTHY_MODULES["a GRU"], 0))) == []
    assert names(Compiled(make(MODULE_FAULTS["softmax-output"], 0))) == ["softmax-output"]


def test_a_module_of_time_first_is_told_how_to_say_so():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(VOCAB_SIZE, 8), nn.LSTM(8, 16)
            self.fc = nn.Linear(16, 4)

        def forward(self, x):
            _, (h_n, _) = self.lstm(self.embedding(x))
            return self.fc(h_n[-1])

    (found,) = check_module(TimeFirst(), VOCAB_SIZE).findings
    assert (found.name, found.confidence) == ("batch-first-swapped", "likely")
    assert "--time_major" in found.advice
    assert names(TimeFirst(), time_major=True, lengths=False) == []


def test_the_pair_of_an_lstm_that_was_not_unpacked():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCAB_SIZE + 1, 8)
            self.lstm, self.fc = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.embedding(x), lengths, batch_first=True, enforce_sorted=False
            )
            _, state = self.lstm(packed)
            return self.fc(state[-1])

    (found,) = check_module(Pair(), VOCAB_SIZE).findings
    assert (found.name, found.confidence) == ("wrong-shape", "certain")
    assert "(h_n, c_n), take h_n[-1]" in found.advice


def test_learned_positions_are_not_saturated_weights():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(VOCAB_SIZE + 1, 512)
            self.places = nn.Embedding(128, 512)
            self.fc = nn.Linear(512, 4)

        def forward(self, x, lengths):
            valid = torch.arange(x.shape[1]) < lengths[:, None]
            states = (self.tokens(x) + self.places(torch.arange(x.shape[1]))).tanh()
            return self.fc((states * valid[..., None]).sum(1) / lengths[:, None])

    assert "saturated-at-start" not in names(Positions())


def test_a_module_that_needs_sorted_rows_may_get_them_from_its_loader():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCAB_SIZE + 1, 8)
            self.gru, self.fc = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True)
            return self.fc(self.gru(packed)[1][-1])

    found = check_module(Sorted(), VOCAB_SIZE).findings[0]
    assert (found.name, found.confidence) == ("module-raises", "likely")
    assert "if your loader sorts each batch" in found.advice


def test_a_module_that_kept_a_state_with_its_history_can_be_checked():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = HEALTHY_MODULES["GRU, final state"]()

        def forward(self, x, seq_lengths):
            self.last_scores = self.net(x, seq_lengths)
            return self.last_scores

    module = make(Keeping, 0)
    module(torch.tensor([[1, 2]]), torch.tensor([2]))
    assert names(module) == []


def test_frozen_embeddings_are_no_mistake():
    module = make(HEALTHY_MODULES["GRU, final state"], 0)
    module.embedding.weight.requires_grad_(False)
    assert names(module) == []


def test_nan_weights_are_named_as_such():
    module = make(HEALTHY_MODULES["GRU, final state"], 0)
    with torch.no_grad():
        module.fc.bias[3] = torch.nan
    (found,) = check_module(module, VOCAB_SIZE).findings
    assert found.name == "non-finite-scores" and "weights may be NaN" in found.advice


def test_the_floor_of_a_doubled_softmax_is_computed():
    floor = F.cross_entropy(torch.eye(10)[:1], torch.tensor([0]))
    (found,) = check_module(make(MODULE_FAULTS["softmax-output"], 0), VOCAB_SIZE).findings
    assert f"{floor:.2f} with 10 classes" in found.meaning


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear, 10), "module is of type type"),
        ((RnnClsNet(10, 2, 2, 1, 10), 1), "vocab_size 1 leaves no two tokens"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_module(*arguments)


class _Forecaster(nn.Module):
    """One number for each sequence of vectors."""

    def __init__(self, last):
        super().__init__()
        self.rnn, self.fc = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 1)
        self.last = last

    def forward(self, x):
        return self.last(self.fc(self.rnn(x)[0][:, -1]))


def test_a_forecast_that_cannot_fall_below_zero():
    def found(last):
        torch.manual_seed(0)
        return check_module(_Forecaster(last), num_features=3, lengths=False).findings

    assert [finding.name for finding in found(torch.relu)] == ["relu-on-scores"]
    assert not found(lambda scores: scores)
