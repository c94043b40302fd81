"""Forecasting: nothing looks ahead unless told to, figures are right, bad input is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import kill_when, status_of
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.gallery import forecast
from rnn_tutorial.gallery.column import load_series
from rnn_tutorial.gallery.comparison import compare, report
from rnn_tutorial.gallery.forecast import (
    QUANTILES,
    ForecastConfig,
    Forecaster,
    load_trained,
    pinball_loss,
    with_choices,
)
from rnn_tutorial.gallery.series import Series
from rnn_tutorial.gallery.windows import PARTS, Windows, middle, predict, targets_of

TINY = (
    *("--series", "random_walk", "--hidden_dim", "4", "--total_steps", "60", "--warmup_step", "5"),
    *("--eval_every", "20", "--save_every", "20", "--tracker", "disabled"),
)


def make_config(**settings):
    config = ForecastConfig(**{"device": "cpu", "hidden_dim": 4, "dropout": 0.0, **settings})
    return with_choices(config)


def make_windows(values=None, **settings):
    """Windows of values, or of the sunspots."""
    config = make_config(**settings)
    if values is None:
        return Windows(load_series(config), config)
    return Windows(Series("a test", values, np.ones(len(values), bool)), config)


def make_network(config):
    torch.manual_seed(0)
    return Forecaster(config)


# ---- windows ----


@pytest.mark.parametrize("difference", ["on", "off"])
@pytest.mark.parametrize("horizon", [1, 7])
def test_the_parts_follow_each_other_and_the_last_fifth_tests(difference, horizon):
    windows = make_windows(difference=difference, horizon=horizon)
    parts = [targets_of(windows.origins(part, horizon), horizon) for part in PARTS]
    assert parts[0].max() + 1 == parts[1].min() and parts[1].max() + 1 == parts[2].min()
    assert parts[2].min() == 309 - 61 and parts[2].max() == 308
    assert parts[0].min() == 22 + (difference == "on")


@pytest.mark.parametrize("difference", ["on", "off"])
def test_scaling_knows_the_training_part_alone_unless_it_leaks(difference):
    config = make_config(difference=difference)
    values = load_series(config).values
    later = values.copy()
    later[windows_end(config) :] *= 3
    for leak, is_same in (("none", True), ("scaling", False)):
        pair = [make_windows(v, difference=difference, leak=leak) for v in (values, later)]
        assert (pair[0].mean == pair[1].mean) is is_same
        assert (pair[0].deviation == pair[1].deviation) is is_same
    known = values[: windows_end(config)]
    known = np.diff(known) if difference == "on" else known
    honest = make_windows(values, difference=difference)
    assert (honest.mean, honest.deviation) == pytest.approx((known.mean(), known.std()))


@pytest.mark.parametrize("difference", ["on", "off"])
def test_values_that_are_too_large_to_compute_with_are_refused_without_a_warning(difference):
    with pytest.raises(ValueError, match="a test: its values are too large to compute with"):
        make_windows(np.array([1.7e308, -1.7e308] * 150), difference=difference)


def windows_end(config):
    return Windows(load_series(config), config).train_end


@pytest.mark.parametrize("difference", ["on", "off"])
def test_a_target_scaled_back_is_the_value(difference):
    windows = make_windows(difference=difference, horizon=5)
    origins = windows.origins("test", 5)
    targets = windows.targets(origins).double().numpy()[..., None]
    back = windows.unscale(targets, windows.values[origins])[..., 0]
    np.testing.assert_allclose(back, windows.values[targets_of(origins, 5)], rtol=1e-5, atol=1e-4)


def test_windows_end_at_the_origin():
    windows = make_windows(difference="off", window=4)
    origins = np.array([50])
    back = windows.inputs(origins, 0).numpy().ravel() * windows.deviation + windows.mean
    np.testing.assert_allclose(back, windows.values[47:51], rtol=1e-5)


def test_values_that_were_not_measured_are_no_targets():
    values = np.sin(np.arange(200.0))
    is_measured = np.ones(200, bool)
    is_measured[[60, 180]] = False
    config = make_config(window=5, period=3, horizon=3)
    windows = Windows(Series("a test", values, is_measured), config)
    for part in PARTS:
        targets = targets_of(windows.origins(part, 3), 3)
        assert len(targets) and not np.isin([60, 180], targets).any()


def test_shuffled_parts_are_a_leak_that_mixes_times():
    windows = make_windows(leak="shuffle")
    tested = windows.origins("test", 1) + 1
    assert (
        tested.min() < windows.train_end
        and not np.isin(tested, windows.origins("train", 1) + 1).any()
    )


# ---- the network's forecasts ----


@pytest.mark.parametrize("settings", [{}, {"difference": "on"}, {"loss": "quantile", "horizon": 3}])
def test_no_forecast_depends_on_what_comes_after_its_origin(settings):
    windows = make_windows(**settings)
    network = make_network(windows.config)
    changed = windows.values.copy()
    changed[281:] += 50.0
    others = make_windows(changed, **settings)
    for steps in (1, 3, 8):
        answers = [predict(network, some, np.array([280]), steps) for some in (windows, others)]
        np.testing.assert_array_equal(*answers)
    leaking = [predict(network, some, np.array([280]), 1, leaked=1) for some in (windows, others)]
    assert (leaking[0] != leaking[1]).all()


@pytest.mark.parametrize("difference", ["on", "off"])
@pytest.mark.parametrize("horizon", [1, 2])
def test_beyond_its_horizon_the_network_reads_its_own_forecasts(difference, horizon):
    windows = make_windows(difference=difference, horizon=horizon)
    network = make_network(windows.config)
    found = middle(predict(network, windows, np.array([270]), 6))[0]
    values = windows.values[:271].copy()
    for _ in range(6 // horizon):
        longer = np.concatenate([values, np.zeros(309 - len(values))])
        step = make_windows(longer, difference=difference, horizon=horizon)
        step.mean, step.deviation = windows.mean, windows.deviation
        step._scaled = step.scale(longer[None], longer[:1])[0]
        answer = middle(predict(network, step, np.array([len(values) - 1]), horizon))[0]
        values = np.concatenate([values, answer])
    np.testing.assert_allclose(found, values[271:], rtol=1e-5)


def test_quantiles_come_in_order():
    windows = make_windows(loss="quantile", horizon=4)
    answers = predict(make_network(windows.config), windows, windows.origins("test", 4), 4)
    assert answers.shape[1:] == (4, 3) and (np.diff(answers) >= 0).all()


@given(st.integers(0, 100))
def test_the_pinball_loss_is_least_at_the_quantiles(seed):
    sample = torch.from_numpy(np.random.default_rng(seed).standard_normal((199, 1)))
    best = torch.quantile(sample[:, 0], torch.tensor(QUANTILES, dtype=torch.float64))

    def loss(outputs):
        return pinball_loss(outputs.expand(199, 1, 3), sample).item()

    for place in range(3):
        for move in (-0.2, 0.2):
            moved = best.clone()
            moved[place] += move
            assert loss(best) < loss(moved)


# ---- figures ----


def test_figures_are_those_of_a_plain_computation():
    windows = make_windows()
    origins = windows.origins("test", 1)
    truth = windows.values[origins + 1]
    network = truth[:, None] + 5.0
    band = np.stack([network - 6, network, network + 1], axis=-1)
    band[::2, :, 0] += 2  # then the value lies below the band
    forecasts = {"network": network, **windows.baselines(origins, 1)}
    figures = compare(windows, origins, forecasts, band)
    persistence = np.abs(np.diff(windows.values[-62:]))
    assert figures["network_mae"] == pytest.approx(5) and figures["network_rmse"] == pytest.approx(
        5
    )
    assert figures["persistence_mae"] == pytest.approx(persistence.mean())
    assert figures["network_skill"] == pytest.approx(1 - 5 / persistence.mean())
    assert figures["network_skill_low"] < figures["network_skill"] < figures["network_skill_high"]
    assert figures["coverage"] == pytest.approx(30 / 61) and figures["lag"] == 0
    assert (figures["block"], figures["best_naive"]) == (11, "persistence")


def test_a_forecast_that_is_yesterdays_value_is_called_that():
    windows = make_windows(series="random_walk")
    origins = windows.origins("test", 1)
    network = windows.values[origins, None] + 0.01
    forecasts = {"network": network, **windows.baselines(origins, 1)}
    figures = compare(windows, origins, forecasts, np.stack([network] * 3, axis=-1))
    text = "\n".join(report(windows.series, windows.config, figures))
    assert figures["lag"] == 1 and abs(figures["network_skill"]) < 0.02
    assert "correlate best with the series 1 step earlier" in text
    assert "Nothing beats persistence here, and nothing can" in text
    assert "yesterday's price" in text and "is better than persistence" not in text


# ---- the commands ----


@pytest.fixture(scope="session")
def trained(run_script, tmp_path_factory):
    """A folder with output/gallery/forecast, a tiny trained network. Read only."""
    folder = tmp_path_factory.mktemp("forecast")
    done = run_script("rnn_tutorial.gallery.forecast", "train", *TINY, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Next: python -m rnn_tutorial.gallery.forecast evaluate --run" in done.stdout
    return folder


@pytest.fixture
def in_folder(trained, monkeypatch):
    """Stand in the folder with the trained network."""
    monkeypatch.chdir(trained)


def test_evaluate_prints_flat_json_that_says_what_the_text_says(in_folder, tmp_path, capsys):
    figure = tmp_path / "test.png"
    assert forecast.main(["evaluate", "--json", "--horizon", "3", "--figure", str(figure)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert all(isinstance(value, (int, float, str)) for value in figures.values())
    assert (figures["series"], figures["leak"], figures["origins"]) == ("random_walk", "none", 400)
    assert figures["rolling_origins"] == 398 and 0 < figures["rolling_coverage"] < 1
    assert figures["rolling_persistence_mae_at_3"] > figures["persistence_mae"] > 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert forecast.main(["evaluate", "--horizon", "3"]) == 0
    text = capsys.readouterr().out
    for name in ("network", "persistence", "seasonal naive", "exponential smoothing"):
        mae = figures[f"{name.replace(' ', '_')}_mae"]
        assert re.search(rf"^{name} +{mae:.4g} ", text, re.M), name
    assert "nothing can" in text and "Up to 3 steps ahead, from 398 origins" in text


def test_forecast_prints_the_values_that_come_next(in_folder, tmp_path, capsys):
    figure = tmp_path / "next.png"
    assert forecast.main(["forecast", "--horizon", "5", "--figure", str(figure)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["2001", "2002", "2003", "2004", "2005"]
    numbers = np.array([row[1:] for row in rows], float)
    assert (numbers[:, 1] <= numbers[:, 2]).all()
    trained = load_trained(None)
    expected = middle(predict(trained.model, trained.windows, np.array([1999]), 5))[0]
    np.testing.assert_allclose(numbers[:, 0], expected, rtol=1e-5)
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["train", "evaluate", "forecast"])
def test_every_command_explains_its_flags(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        forecast.main([command, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and "--horizon N" in text and "--embed_dim" not in text


def test_a_killed_run_goes_on_to_the_bit(start_script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [*TINY, "--total_steps", "400", "--dropout", "0.3", "--early_stopping_patience", "0"]
    assert forecast.main(["train", *flags, "--run_name", "whole"]) == 0
    folder = tmp_path / "output" / "gallery"
    program = "rnn_tutorial.gallery.forecast"
    process = start_script(program, "train", *flags, "--run_name", "killed", cwd=tmp_path)
    kill_when((folder / "killed" / "model_step_40.pt").exists, process)
    capsys.readouterr()
    assert forecast.main(["train", "--resume", str(folder / "killed")]) == 0
    assert re.search(r"resumed at step \d+", capsys.readouterr().out)
    whole, killed = (
        json.loads((folder / name / "result.json").read_text()) for name in ("whole", "killed")
    )
    for name in ("weights_hash", "figures", "steps", "best_score"):
        assert whole[name] == killed[name], name


def test_a_training_whose_output_nobody_reads_fails_and_can_be_resumed(
    start_script, tmp_path, monkeypatch, capsys
):
    flags = (*TINY, "--total_steps", 300, "--log_every", 1, "--run_name", "my run")
    process = start_script("rnn_tutorial.gallery.forecast", "train", *flags, cwd=tmp_path)
    assert process.stdout.readline().startswith("Run output/gallery/my run (new run)")
    process.stdout.close()
    with process.stderr:
        error = process.stderr.read()
    assert process.wait(timeout=60) == 1 and len(error.splitlines()) == 1
    assert "go on with: python -m rnn_tutorial.gallery.forecast train --resume 'output" in error
    monkeypatch.chdir(tmp_path)
    assert forecast.main(["train", "--resume", "output/gallery/my run"]) == 0
    assert "evaluate --run 'output/gallery/my run'" in capsys.readouterr().out


def test_quick_learns_from_a_column_and_notices_when_it_changes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    numbers = [f"{10 + i % 7 + 0.01 * i:.3f}" for i in range(300)]
    numbers[100] = ""
    path = tmp_path / "own.csv"
    path.write_text("\n".join(f"{i},{number}" for i, number in [("i", "a b"), *enumerate(numbers)]))
    train = ["train", "--quick", "--csv", "own.csv", "--column", "a b", "--hidden_dim", "16"]
    assert forecast.main([*train, "--dropout", "0", "--tracker", "disabled"]) == 0
    capsys.readouterr()
    assert forecast.main(["evaluate", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["series"] == "file" and figures["network_skill_low"] > 0
    assert "seasonal_naive_mae" not in figures
    path.write_text(path.read_text().replace("10.000", "10.500"))
    for command in (["evaluate"], ["forecast"], ["train", "--resume", "output/gallery/forecast"]):
        assert status_of(forecast.main, *command) == 2
        assert re.search("changed since", capsys.readouterr().err)


def test_a_leak_is_labelled_as_wrong_and_shown_beside_its_use(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = ["train", *TINY, "--hidden_dim", "16", "--total_steps", "300", "--leak", "target"]
    assert forecast.main([*train, "--dropout", "0"]) == 0
    capsys.readouterr()
    assert forecast.main(["evaluate"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("WRONG ON PURPOSE (--leak target): each window includes the value")
    assert "nothing can" not in text and "The network is" not in text
    assert forecast.main(["evaluate", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["network_skill"] > 0.5 > 0 > figures["network_in_use_skill"]
    assert status_of(forecast.main, "evaluate", "--horizon", 2) == 2
    assert "with --leak target it is at most that of training, 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "--csv", "none.csv"], "none.csv' cannot be read: No such file"),
        (["train", "--csv", "own.csv"], "needs a --column; there are 'day', 'sales'"),
        (["train", "--csv", "own.csv", "--column", "cost"], "no column named 'cost'"),
        (["train", "--csv", "own.csv", "--column", "day"], "line 2: 'mon' is not a number"),
        (["train", "--csv", "own.csv", "--column", "sales"], "3 values, of which 3 train, are too"),
        (["train", "--csv", "flat.csv"], "its training part never changes"),
        (["train", "--csv", "flat.csv", "--series", "co2"], "cannot be combined with --series co2"),
        (["train", "--series", "file"], "--series file needs a --csv FILE"),
        (["train", "--column", "a"], "--column 'a' needs a --csv FILE"),
        (["train", "--window", "250"], "too few for --window 250"),
        (["train", "--horizon", "31"], "too few for .* --horizon 31"),
        (["train", "--period", "300"], "too few for .* --period 300"),
        (["train", "--series", "gold"], "--series 'gold' is not one of sunspots, co2"),
        (["train", "--embed_dim", "8"], "unrecognized arguments: --embed_dim 8"),
        (["evaluate"], "no trained run of 'forecast'"),
        (
            ["evaluate", "--figure", "a.jpg"],
            "'a.jpg' does not end in one of .png, .svg, .pdf",
        ),
        (["forecast", "--figure", "none/a.png"], "there is no folder 'none'"),
        (["forecast", "--horizon", "two"], "--horizon: invalid int value: 'two'"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("day,sales\nmon,1\ntue,2\nwed,3\n")
    (tmp_path / "flat.csv").write_text("x\n" + "5\n" * 100)
    status = status_of(forecast.main, *arguments)
    printed = capsys.readouterr()
    (sentence,) = printed.err.splitlines()
    assert status == 2 and re.search(reason, sentence), sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat.csv", "own.csv"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["evaluate", "--horizon", "0"], "--horizon 0 is not a whole number from 1 to 1000"),
        (["evaluate", "--horizon", "201"], "--horizon 201 is longer than the validation part"),
        (["evaluate", "--horizon", "401"], "--horizon 401 is longer than the test part"),
        (["forecast", "--horizon", "201"], "--horizon 201 is longer than the validation part"),
        (["train", "--resume", "output/gallery/forecast", "--window", "9"], "differs from the res"),
    ],
)
def test_what_a_trained_network_cannot_do_is_refused(in_folder, capsys, arguments, reason):
    folder = Path("output/gallery/forecast")
    before = sorted(folder.iterdir())
    assert status_of(forecast.main, *arguments) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert reason in sentence and sorted(folder.iterdir()) == before


def test_what_the_user_left_open_is_recorded_as_chosen(in_folder):
    config = load_trained("output/gallery/forecast").config
    assert (config.window, config.period, config.difference) == (20, 5, "on")
