"""The benchmark: fair turns, right ratios, and the loops that it measures do train."""

import itertools
import json
import os
import sys
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from unittest import mock

import pytest

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial import benchmark
from rnn_tutorial.experiments import tables
from rnn_tutorial.machines.machine import sequences_at
from rnn_tutorial.measure import answers, products, timing, training
from rnn_tutorial.measure.growth import GROWTH, flops_per_update
from rnn_tutorial.measure.products import compare_products, describe_products
from rnn_tutorial.measure.textbook import textbook_loop
from rnn_tutorial.measure.timing import compare_to, measure_in_turns, seconds_per_update
from rnn_tutorial.measure.training import BENCHMARKS, candidate_engines, engine_steps
from rnn_tutorial.runs.provenance import REPOSITORY
from rnn_tutorial.settings.config import TrainConfig

SMALL = TrainConfig(
    hidden_dim=4, batch_size=8, device="cpu", embed_noise=0.1, max_grad_norm=1.0,
    optimizer="adamw", weight_decay=0.1,
)  # fmt: skip


def test_candidates_take_turns_and_none_is_always_first():
    order = []
    candidates = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    times = measure_in_turns(3, candidates)
    assert "".join(order) == "abcbcacab"
    assert times == {name: [1.0, 1.0, 1.0] for name in "abc"}


def test_speedups_are_taken_round_by_round():
    compared = compare_to({"slow": [10.0, 20.0, 60.0], "fast": [5.0, 4.0, 6.0]}, "slow")
    assert compared["fast"]["speedup"] == {"median": 5.0, "min": 2.0, "max": 10.0, "n": 3}
    assert compared["fast"]["seconds"]["median"] == 5.0
    assert compared["slow"]["speedup"]["median"] == 1.0


def test_updates_are_divided_by_what_was_made(monkeypatch):
    clock = itertools.count(0, 0.5)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    measure = seconds_per_update(iter(range(0, 100_000, 10)), seconds=4)
    assert measure() == pytest.approx(0.05, rel=0.3)  # ten updates in each half second


def test_a_candidate_that_lost_its_turn_to_another_process_makes_an_update(monkeypatch):
    clock = itertools.count(0, 60)  # each look at it comes a minute after the last
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert seconds_per_update(itertools.count(1), seconds=4)() > 0


def test_peak_memory_is_that_of_the_system_or_unknown(monkeypatch):
    usage = SimpleNamespace(ru_maxrss=6 * 2**20)
    resource = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: usage)
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(timing.Path, "read_text", lambda path: "VmHWM:\t    3072 kB\n")
    for platform, peak in (("linux", 3), ("darwin", 6), ("freebsd14", 6 * 2**10)):
        monkeypatch.setattr(sys, "platform", platform)
        assert timing.peak_mebibytes() == peak
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows: it cannot be imported
    assert timing.peak_mebibytes() is None
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(timing.Path, "read_text", lambda path: "Name:\tpython\n")
    assert timing.peak_mebibytes() is None
    assert "| – |" in tables.TABLES["benchmark-memory"](
        {"prediction": {"peak_mebibytes": {"": None}}}
    )


def test_operations_of_an_update_are_counted_by_hand():
    config = TrainConfig(
        min_seq_len=2, max_seq_len=4, embed_dim=3, hidden_dim=5, num_layers=2, batch_size=7
    )
    steps, outputs = 7 * 3, 7
    first, second, scores = 5 * (3 + 5), 5 * (5 + 5), 5 * 10
    assert flops_per_update(config) == 3 * 2 * (steps * (first + second) + outputs * scores)


@pytest.mark.parametrize(
    "engine, variables, advice",
    [
        (61, {"OPENBLAS_CORETYPE": "Haswell"}, None),
        (59, {"OPENBLAS_CORETYPE": "Prescott"}, "Unset OPENBLAS_CORETYPE, which is 'Prescott'."),
        (59, {}, "OpenBLAS chose the kernels by itself: a newer SciPy may choose better ones"),
    ],
)
def test_slow_kernels_are_told_with_what_to_do(engine, variables, advice):
    rates = {"engine_gigaflops": engine, "pytorch_gigaflops": 100}
    told = describe_products({"openblas_kernels": "Katmai", **rates}, variables)
    first, *warning = told.splitlines()
    assert "PyTorch 100 GFLOP/s, compiled engine" in first and "kernels: Katmai)" in first
    assert len(warning) == (advice is not None) and (advice or "") in told


def test_the_rates_of_products_are_measured_here_and_the_kernels_named(monkeypatch):
    measured = compare_products(rounds=3)
    assert measured["engine_gigaflops"] > 0.1 and measured["pytorch_gigaflops"] > 0.1
    if sys.platform == "linux":  # where SciPy's packages bring OpenBLAS
        assert measured["openblas_kernels"].isalnum()
    monkeypatch.setattr(products, "missing_libraries", lambda: "scipy not installed")
    assert compare_products() is None


@pytest.mark.parametrize("engine", ["textbook", "autograd", "compiled"])
def test_the_loops_count_their_updates(engine):
    steps = textbook_loop(SMALL) if engine == "textbook" else engine_steps(SMALL, engine, at_once=5)
    stride = 1 if engine == "textbook" else 5
    assert list(itertools.islice(steps, 4)) == [stride * k for k in range(1, 5)]


@mock.patch.dict(GROWTH, {"hidden_dim": (4, 8), "max_seq_len": (3,)}, clear=True)
def test_the_command_measures_draws_and_keeps_the_figures(tmp_path, capsys):
    figure, file = tmp_path / "speed.png", tmp_path / "speed.json"
    earlier = {"measured": {"runs": {"cpu": "another"}}, "runs": {"compilation": {}}}
    file.write_text(json.dumps(earlier))
    flags = ["--quick", "--only", "growth", "--json", str(file), "--figure", str(figure)]
    assert benchmark.main(flags) == 0
    results = json.loads(file.read_text())
    assert results["measured"]["runs"] == earlier["measured"]["runs"]
    assert results["runs"] == earlier["runs"]
    how = results["measured"]["growth"]
    assert how["versions"]["torch"] and how["threads"] == 1 and how["cpu"]
    assert how["command"] == " ".join(["python -m rnn_tutorial.benchmark", *flags])
    assert results["growth"]["hidden_dim"]["4"]["compiled"]["median"] > 0
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 200_000
    assert how["products"]["engine_gigaflops"] > 0
    printed = capsys.readouterr().out
    assert "Matrix products, 256×128 by" in printed and "hidden_dim       4  compiled" in printed


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ("--quick --only runs", "--only runs is what --quick leaves out"),
        ("--only training --figure f.png", "draws growth, which --only leaves out"),
        ("--json missing/f.json", "there is no folder 'missing'"),
        ("--figure missing/f.png", "there is no folder 'missing'"),
        ("--only training --json damaged.json", "damaged JSON"),
        ("--only training --json other.json", "'other.json' does not hold the figures"),
        ("--only training --json infinite.json", "'infinite.json' does not hold the figures"),
        ("--quick --json config.json", "'config.json' does not hold the figures"),
        ("--only training --json config.json", "'config.json' does not hold the figures"),
    ],
)
def test_what_cannot_end_well_is_refused_before_measuring(
    flags, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "other.json").write_text('{"measured": []}')
    (tmp_path / "config.json").write_text('{"hidden_dim": 16}')
    (tmp_path / "infinite.json").write_text('{"a": -Infinity}')
    monkeypatch.setattr(benchmark, "SHORTENED", {"training": None, "growth": None})
    with pytest.raises(SystemExit) as stop:
        benchmark.main(flags.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and sentence in error and error.count("\n") == 1


def run_in_this_process(command, **options):
    """What the benchmark starts: the scripts without torchrun, a few updates of a small net."""
    train, predict = (str(REPOSITORY / f"{name}_cls_rnn.py") for name in ("train", "predict"))
    if train in command:
        flags = command[command.index(train) + 1 :]
        small = "--hidden_dim 4 --total_steps 8 --warmup_step 0 --log_every 1 --tracker disabled"
        assert train_cls_rnn.main([*flags, *small.split()]) == 0
    elif predict in command:
        assert predict_cls_rnn.main(command[command.index(predict) + 1 :]) == 0
    else:
        assert find_spec(command[-1].removeprefix("import "))


@pytest.mark.long
@mock.patch.dict(BENCHMARKS, {"A": SMALL, "C": SMALL}, clear=True)
def test_every_section_measures_and_prints(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for module in (answers, training):
        monkeypatch.setattr(
            module, "measure_in_turns", lambda rounds, candidates: measure_in_turns(1, candidates)
        )
        monkeypatch.setattr(module, "in_fresh_process", lambda function, *given: function(*given))
    monkeypatch.setattr(
        training, "seconds_per_update", lambda steps, seconds: seconds_per_update(steps, 0.0)
    )
    monkeypatch.setattr(training, "candidate_engines", partial(candidate_engines, at_once=5))
    monkeypatch.setattr(answers, "sequences_at", lambda places, *of: sequences_at(places[:99], *of))
    launcher = SimpleNamespace(run=run_in_this_process, DEVNULL=None)
    monkeypatch.setattr(training, "subprocess", launcher)
    for name in ("training", "evaluation", "prediction"):
        assert benchmark.SHORTENED[name](True)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "mine")
    for measure in benchmark.LEFT_OUT.values():
        assert measure()
    printed = capsys.readouterr().out
    for title in ("Training step", "Evaluation", "Prediction, 20,000 lines", "Compilation"):
        assert f"\n{title}" in printed
    assert "peak memory after 2,000 lines" in printed and "hidden_dim  1024: one" in printed
    assert os.environ["NUMBA_CACHE_DIR"] == "mine"


def test_the_memory_of_a_stream_is_that_of_so_many_lines(monkeypatch):
    read = []
    answer_blocks = lambda predictor, blocks, *options: read.extend(blocks) or ()  # noqa: E731
    monkeypatch.setattr(answers, "answer_blocks", answer_blocks)
    answers._stream_peak(12_000)
    assert [(number, text.count("\n")) for number, text in read] == [(1, 10_000), (10_001, 2_000)]
