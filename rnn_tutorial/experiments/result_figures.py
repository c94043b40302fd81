"""Figures drawn from the result files of the experiments."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.evaluation.result import wilson_interval
from rnn_tutorial.experiments.catalogue import EXACT_LENGTH
from rnn_tutorial.experiments.diagrams import write
from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.experiments.seed_tables import Runs, is_exact, is_right_at, right_at
from rnn_tutorial.machines.digit_sum import num_classes
from rnn_tutorial.measure.growth import GROWTH
from rnn_tutorial.pictures.canvas import (
    BLUE,
    CHANCE_LINE,
    LOOKS,
    MUTED,
    SKY,
    VERMILION,
    legend_below,
    log_ticks,
    new_figure,
    save,
)
from rnn_tutorial.pictures.plots import draw_growth
from rnn_tutorial.runs.files import read_json

CHANCE = 1 / num_classes(9)


def runs_of(experiment: str, variant: str) -> Runs:
    """The runs of a variant of an experiment."""
    return read_json(RESULTS / f"{experiment}.json")["variants"][variant]["runs"]


def spread_in_row(row: int, count: int) -> list[float]:
    """Heights of so many dots around a row's own, so that they do not hide each other."""
    return [row + 0.5 * (place / max(1, count - 1) - 0.5) for place in range(count)]


def draw_promise(path: Path) -> None:
    """Accuracy by length of the best published recipe and of ours: median and band over seeds."""
    figure, axes = new_figure(3.4)
    axes.axvspan(1, EXACT_LENGTH, color=SKY, alpha=0.25, linewidth=0)
    for experiment, name, colour, marker, place in (
        ("solved", "solved", BLUE, "o", (1100, 0.89)),
        ("published", "sota_warmup", VERMILION, "s", (30, 0.5)),
    ):
        _draw_accuracy_of(axes, runs_of(experiment, name), colour, marker)
        side = "right" if name == "solved" else "left"
        axes.text(*place, f"--recipe {name}", color=colour, ha=side, family="monospace",
                  weight="bold")  # fmt: skip
    _set_length_axes(axes)
    axes.text(2.2, 0.5, "trained", color=BLUE, ha="center")
    axes.text(13, 0.02, "guessing", color=MUTED)
    save(figure, path)


def draw_training(shown: Sequence[tuple[str, str]], path: Path) -> None:
    """Exact accuracy against updates, a panel a variant: each seed thin, the median thick.

    Args:
        shown: experiment and variant of each panel.
        path: of the picture.
    """
    variants = {variant: runs_of(experiment, variant) for experiment, variant in shown}
    columns = min(2, len(variants))
    rows = len(variants) // columns
    figure, panels = new_figure(
        1.2 + 1.8 * rows, columns, rows=rows, sharex=True, sharey=True, squeeze=False
    )
    for axes, (name, runs) in zip(panels.flat, variants.items(), strict=True):
        steps = runs[0]["curve"]["step"]
        _draw_seeds(axes, steps, [run["curve"]["accuracy"] for run in runs])
        axes.set_title(name, family="monospace")
        axes.set(ylim=(0, 1.05), yticks=(0, 0.5, 1))
        ticks = [0, steps[-1] // 2, steps[-1]]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    _label_outside(panels, "updates", "accuracy")
    save(figure, path, bottom=0.35 / figure.get_figheight())


def _label_outside(panels: Any, x: str, y: str) -> None:
    """Name both axes once, left of rows and columns and below them, and draw one legend."""
    for axes in panels[-1]:
        axes.set_xlabel(x)
    for axes in panels[:, 0]:
        axes.set_ylabel(y)
    legend_below(panels.flat[0])


def _draw_seeds(axes: Any, x: Sequence[float], by_seed: Sequence[Sequence[float]]) -> None:
    """A thin line for each seed, a thick one for their median, and what guessing reaches."""
    for seed, values in enumerate(by_seed):
        label = None if seed else "one seed"
        axes.plot(x, values, color=BLUE, linewidth=1, alpha=0.6, label=label)
    median = list(map(statistics.median, zip(*by_seed, strict=True)))
    axes.plot(x, median, color=VERMILION, linewidth=2.5, label="median")
    axes.axhline(CHANCE, **CHANCE_LINE, label="guessing")
    axes.grid()


# Of panels whose seeds lie in the corners: what these know, and where that is written.
_CORNERS = {
    "deeper_rnn": (
        ("modulo 2 only", 0.25, 1.0, "left"),
        ("modulo 5 only", 0.85, 0.56, "right"),
        ("both", 0.96, 0.84, "center"),
    ),
    "sota": (("neither", 0.25, 0.57, "left"), ("both", 0.96, 0.84, "center")),
}


def draw_parts(path: Path) -> None:
    """What each net of the published recipes knows of a sum: modulo 5, and modulo 2."""
    figure, panels = new_figure(6.6, 2, rows=3, sharex=True, sharey=True)
    published = read_json(RESULTS / "published.json")["variants"]
    for axes, (name, variant) in zip(panels.flat, published.items(), strict=True):
        modulo_5, modulo_2 = ([*map(right_at(EXACT_LENGTH, p), variant["runs"])] for p in (5, 2))
        axes.axvline(1 / 5, **CHANCE_LINE, label="guessing")
        axes.axhline(1 / 2, **CHANCE_LINE)
        axes.scatter(modulo_5, modulo_2, s=34, color=BLUE, alpha=0.6, linewidths=0, zorder=2,
                     label="one seed")  # fmt: skip
        axes.set_title(name, family="monospace")
        axes.set(xlim=(0.1, 1.06), ylim=(0.43, 1.06), yticks=(0.5, 0.75, 1))
        axes.set_xticks((0.2, 0.6, 1), ("0.20", "0.60", "1.00"))
        for words, x, y, side in _CORNERS.get(name, ()):
            write(axes, x, y, words, 12, ha=side)
    _label_outside(panels, "right modulo 5", "right modulo 2")
    save(figure, path, bottom=0.05)


def draw_frontier(path: Path) -> None:
    """How many seeds are right, with Wilson intervals, against the size of the hidden state."""
    results = read_json(RESULTS / "frontier.json")["variants"]
    variants = {name: variant["runs"] for name, variant in results.items()}
    sizes = [int(name.split()[-1]) for name in variants]
    figure, axes = new_figure(4)
    name = f"all inputs to {EXACT_LENGTH} digits"
    _seeds_line(axes, sizes, variants, name, is_exact, *LOOKS[0], shift=0.97)
    for length, look, shift in (
        (10, LOOKS[2], 0.99),
        (100, LOOKS[3], 1.01),
        (1000, LOOKS[1], 1.03),
    ):
        name = f"1,000 × {length:,} digits"
        _seeds_line(axes, sizes, variants, name, is_right_at(length), *look, shift=shift)
    axes.set(ylim=(-0.03, 1.05), xlabel="hidden units", ylabel="share of seeds without error")
    log_ticks(axes, sizes)
    legend_below(axes, ncols=2, columnspacing=2)
    save(figure, path, bottom=0.14)


def _seeds_line(
    axes: Any, sizes: Sequence[int], variants: dict[str, Runs], label: str,
    holds: Callable[[dict[str, Any]], bool], colour: str, marker: str, style: str, shift: float,
) -> None:  # fmt: skip
    """Share of the seeds of each variant of which something holds."""
    shares, lows, highs = [], [], []
    for runs in variants.values():
        right = sum(map(holds, runs))
        low, high = wilson_interval(right, len(runs))
        shares.append(right / len(runs))
        lows.append(shares[-1] - low)
        highs.append(high - shares[-1])
    places = [size * shift for size in sizes]  # beside each other, so that no bar hides another
    axes.errorbar(
        places, shares, yerr=[lows, highs], color=colour, marker=marker, linestyle=style,
        label=label, capsize=2,
    )  # fmt: skip


def draw_by_length(experiment: str, variants: dict[str, str], path: Path) -> None:
    """Share of right answers against length, a panel a variant: each seed thin, the median thick.

    Args:
        experiment: of all variants.
        variants: their names, and the titles of their panels.
        path: of the picture.
    """
    figure, panels = new_figure(4.8, 2, rows=2, sharex=True, sharey=True)
    for axes, (name, title) in zip(panels.flat, variants.items(), strict=True):
        lengths, by_seed = _shares_by_length(runs_of(experiment, name))
        axes.axvspan(-0.4, 0.2, color=SKY, alpha=0.25, linewidth=0, label="trained")
        _draw_seeds(axes, range(len(lengths)), by_seed)
        axes.set_title(title)
        axes.set(xlim=(-0.4, len(lengths) - 0.8), ylim=(0, 1.05), yticks=(0, 0.5, 1))
        names = [f"≤ {EXACT_LENGTH}", *(f"{length:,}" for length in lengths[1:])]
        axes.set_xticks(range(len(lengths)), names)
    _label_outside(panels, "digits", "share right")
    save(figure, path, bottom=0.07)


def _set_length_axes(axes: Any) -> None:
    """Length against share of right answers, and what guessing reaches."""
    axes.axhline(CHANCE, **CHANCE_LINE)
    axes.set(xlabel="digits in the sequence", ylabel="share answered right", ylim=(0, 1.1))
    log_ticks(axes, [1, 5, 10, 100, 1000], {5: "all up\nto 5"})
    axes.set_xlim(1, 1300)


def _shares_by_length(runs: Runs) -> tuple[list[int], list[list[float]]]:
    """Lengths, the first for all inputs up to it, and the shares of right answers of each seed."""
    lengths = [EXACT_LENGTH, *map(int, runs[0]["right_at_length"])]
    by_seed = [
        [run["accuracy"], *(n / run["num_sequences"] for n in run["right_at_length"].values())]
        for run in runs
    ]
    return lengths, by_seed


def _draw_accuracy_of(axes: Any, runs: Runs, colour: str, marker: str) -> None:
    """One line and its band: the median and the range over seeds, on all inputs and by length."""
    lengths, by_seed = _shares_by_length(runs)
    accuracy = list(zip(*by_seed, strict=True))
    axes.fill_between(
        lengths, list(map(min, accuracy)), list(map(max, accuracy)), color=colour, alpha=0.15,
        linewidth=0,
    )  # fmt: skip
    axes.plot(lengths, [statistics.median(values) for values in accuracy], marker=marker,
              color=colour)  # fmt: skip


def draw_speed(path: Path) -> None:
    """Updates per second of each engine as one setting grows."""
    draw_growth(read_json(RESULTS / "benchmark.json")["growth"], list(GROWTH), path)
