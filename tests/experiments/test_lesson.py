"""What part 1 measures: two ways to the same state, gradients that are right, a session."""

import json

import pytest
import torch
from torch import nn

from rnn_tutorial.experiments import lesson
from rnn_tutorial.experiments.kept import RESULTS


def test_both_ways_of_the_packing_comparison_are_measured_on_every_batch():
    measured = lesson.compare_packing(rounds=1, seconds=0)
    assert list(measured) == list(lesson.packing_cases())
    for name, lengths in lesson.packing_cases().items():
        row, T = measured[name], lengths.max()
        assert row["padding"] == pytest.approx(float((T - lengths).sum() / (T * len(lengths))))
        assert row["ratio"]["median"] == row["packed"]["median"] / row["padded"]["median"]


def test_gradient_norms_are_those_of_a_linear_net_that_can_be_solved():
    """Without tanh and bias, the input s steps ago meets W_ih once and W_hh s times."""
    T = 5

    def linear_net():
        rnn = nn.RNN(lesson.EMBED_DIM, lesson.HIDDEN_DIM, batch_first=True, bias=False)
        with torch.no_grad():
            rnn.weight_ih_l0.mul_(1e-6)  # tanh of next to nothing is the identity
        nn.init.orthogonal_(rnn.weight_hh_l0, 0.5)
        return rnn

    norms = lesson.gradient_norms(linear_net, seed=0, num_steps=T)
    torch.manual_seed(0)
    rnn, fc = linear_net().double(), nn.Linear(lesson.HIDDEN_DIM, 10).double()
    torch.randn(32, T, lesson.EMBED_DIM, dtype=torch.float64)
    targets = torch.randint(10, (32,))
    at_h = fc.bias.softmax(0) - nn.functional.one_hot(targets, 10)  # of the scores, (N, C)
    dh = at_h @ fc.weight
    for s in range(T):
        expected = (dh @ rnn.weight_ih_l0).norm(dim=1).mean()
        assert norms[s].item() == pytest.approx(expected.item(), rel=1e-3)
        dh = dh @ rnn.weight_hh_l0


def test_gradients_are_summed_up_over_seeds():
    measured = lesson.measure_gradients(num_seeds=3, num_steps=4)
    assert list(measured["nets"]) == list(lesson.make_nets())
    for norms in measured["nets"].values():
        for low, median, high in zip(norms["min"], norms["median"], norms["max"], strict=True):
            assert 0 < low <= median <= high


def test_an_open_forget_gate_passes_on_what_a_sigmoid_says():
    """Along c alone, a gradient is multiplied by about σ(bias) at each step."""
    traced = lesson.trace_forget_gate(num_seeds=2, num_steps=20)
    for bias, row in traced.items():
        expected = torch.sigmoid(torch.tensor(float(bias))).item() ** 19
        assert row["through_c"]["median"] == pytest.approx(expected, rel=0.5)
    assert traced["1"]["radius"]["max"] < 0.95 < traced["3"]["radius"]["min"]


def test_a_session_is_recorded_as_a_person_sees_it(monkeypatch):
    shorter = "python -m rnn_tutorial.evaluate output/solved --max_len 2 --lengths 5"
    monkeypatch.setattr(lesson, "EVALUATION", shorter)
    quickly = ("--engine=autograd", "--total_steps=5", "--warmup_step=2", "--tracker=disabled")
    session = lesson.record_session(*quickly)
    assert session["training"][0].startswith("Run output/solved (new run), seed 0")
    assert session["first"]["lines"][0].startswith("3 1 4 1 5 9 -> ")
    assert session["prediction"][0].startswith("output/solved at step 5, seed 0")
    assert session["prediction"][2] == "> 1 2 3"
    assert session["prediction"][-1] == "> quit"
    assert session["evaluation"]["lines"][-1] == "Picture: output/solved/accuracy_by_length.png"


def test_the_quick_command_measures_and_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(lesson, "RESULTS", tmp_path)
    monkeypatch.setattr(lesson, "record_session", lambda *flags: {})
    monkeypatch.setattr(lesson, "packing_cases", lambda: {"tiny": torch.tensor([2, 1])})
    monkeypatch.setattr(lesson, "seconds_per_update", lambda steps, seconds: lambda: seconds)
    monkeypatch.setattr(lesson, "measure_gradients", lambda num_seeds: {"num_seeds": num_seeds})
    monkeypatch.setattr(lesson, "trace_forget_gate", lambda num_seeds: {"num_seeds": num_seeds})
    assert lesson.main(["--quick"]) == 0
    assert not list(tmp_path.iterdir())
    assert lesson.main([]) == 0
    assert (
        json.loads((tmp_path / "lesson.json").read_text())["packing"]["tiny"]["padded"]["n"] == 15
    )


def test_the_committed_measurement_is_of_this_code():
    results = json.loads((RESULTS / "lesson.json").read_text())
    assert list(results["packing"]) == list(lesson.packing_cases())
    assert results["session"]["first"]["command"] == lesson.FIRST
    assert list(results["forget_gate"]) == ["1", "3"]
    assert list(results["gradients"]["nets"]) == list(lesson.make_nets())
    assert [line for line in results["session"]["prediction"] if line[:2] == "> "] == [
        f"> {text}" for text in lesson.TYPED
    ]
