"""Figures of part 2, drawn from the result files of the experiments."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.evaluation.result import wilson_interval
from rnn_tutorial.experiments.canvas import (
    BLUE,
    CHANCE_LINE,
    GREEN,
    MUTED,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    save,
)
from rnn_tutorial.experiments.catalogue import EXACT_LENGTH
from rnn_tutorial.experiments.seed_tables import Runs, right_at
from rnn_tutorial.experiments.tables import RESULTS
from rnn_tutorial.machines.digit_sum import num_classes
from rnn_tutorial.runs.folder import read_json

_CHANCE = 1 / num_classes(9)
_MARKS = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"))


def runs_of(experiment: str, variant: str) -> Runs:
    """The runs of a variant of an experiment."""
    return read_json(RESULTS / f"{experiment}.json")["variants"][variant]["runs"]


def draw_training(shown: Sequence[tuple[str, str]], path: Path) -> None:
    """Exact accuracy against updates, a panel a variant: each seed thin, the median thick.

    Args:
        shown: experiment and variant of each panel.
        path: of the picture.
    """
    variants = {variant: runs_of(experiment, variant) for experiment, variant in shown}
    columns = min(3, len(variants))
    rows = len(variants) // columns
    figure, panels = new_figure(
        7, 0.6 + 2.2 * rows, columns, rows=rows, sharex=True, sharey=True, squeeze=False
    )
    for axes, (name, runs) in zip(panels.flat, variants.items(), strict=True):
        steps = runs[0]["curve"]["step"]
        curves = [run["curve"]["accuracy"] for run in runs]
        for curve in curves:
            axes.plot(steps, curve, color=BLUE, linewidth=0.9, alpha=0.45)
        median = list(map(statistics.median, zip(*curves, strict=True)))
        axes.plot(steps, median, color=VERMILION, linewidth=2.2)
        axes.axhline(_CHANCE, **CHANCE_LINE)
        axes.set_title(name, fontsize=11.5, family="monospace")
        axes.set(ylim=(0, 1.03))
        ticks = [0, steps[-1] // 2, steps[-1]]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.grid()
    for axes in panels[-1]:
        axes.set_xlabel("updates")
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy")
    save(figure, path)


def draw_parts(path: Path) -> None:
    """What each net of the published recipes knows of a sum: modulo 5, and modulo 2."""
    figure, panels = new_figure(7, 4.9, 3, rows=2, sharex=True, sharey=True)
    published = read_json(RESULTS / "published.json")["variants"]
    for axes, (name, variant) in zip(panels.flat, published.items(), strict=True):
        modulo_5, modulo_2 = ([*map(right_at(EXACT_LENGTH, p), variant["runs"])] for p in (5, 2))
        axes.axvline(1 / 5, **CHANCE_LINE)
        axes.axhline(1 / 2, **CHANCE_LINE)
        axes.scatter(modulo_5, modulo_2, s=28, color=BLUE, alpha=0.5, linewidths=0, zorder=2)
        axes.set_title(name, fontsize=11.5, family="monospace")
        axes.set(xlim=(0.1, 1.05), ylim=(0.43, 1.04))
        axes.grid()
    for name, x, y, side in (
        ("knows all", 1.02, 0.97, "right"),
        ("modulo 2 only", 0.24, 0.9, "left"),
        ("modulo 5 only", 1.02, 0.55, "right"),
    ):
        panels[0, 0].text(x, y, name, fontsize=11, color=MUTED, ha=side, zorder=1)
    for axes in panels[1]:
        axes.set_xlabel("right modulo 5")
    for axes in panels[:, 0]:
        axes.set_ylabel("right modulo 2")
    save(figure, path)


def draw_frontier(path: Path) -> None:
    """How many seeds are right, with Wilson intervals, against the size of the hidden state."""
    results = read_json(RESULTS / "frontier.json")["variants"]
    variants = {name: variant["runs"] for name, variant in results.items()}
    sizes = [int(name.split()[-1]) for name in variants]
    figure, axes = new_figure(7, 3.6)
    _seeds_line(axes, sizes, variants, "every input to length 5", None, *_MARKS[0], shift=0.97)
    for length, mark, shift in (("10", _MARKS[2], 0.99), ("100", _MARKS[3], 1.01),
                                ("1000", _MARKS[1], 1.03)):  # fmt: skip
        name = f"1,000 sequences of {int(length):,}"
        _seeds_line(axes, sizes, variants, name, length, *mark, shift=shift)
    axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="hidden_dim", ylabel="share of seeds right")
    axes.set_xticks(sizes, map(str, sizes))
    axes.minorticks_off()
    axes.grid()
    axes.legend(loc="lower right")
    save(figure, path)


def _seeds_line(
    axes: Any, sizes: Sequence[int], variants: dict[str, Runs], label: str, length: str | None,
    colour: str, marker: str, style: str, shift: float,
) -> None:  # fmt: skip
    """Share of the seeds without a wrong answer, at a length or (None) on every input."""
    shares, lows, highs = [], [], []
    for runs in variants.values():
        right = sum(
            run["right_at_length"][length] == run["num_sequences"]
            if length
            else run["wrong_inputs"] == 0
            for run in runs
        )
        low, high = wilson_interval(right, len(runs))
        shares.append(right / len(runs))
        lows.append(shares[-1] - low)
        highs.append(high - shares[-1])
    places = [size * shift for size in sizes]  # beside each other, so that no bar hides another
    axes.errorbar(
        places, shares, yerr=[lows, highs], color=colour, marker=marker, linestyle=style,
        label=label, capsize=2,
    )  # fmt: skip


def draw_by_length(experiment: str, variants: Sequence[str], path: Path) -> None:
    """Share of right answers against length, a line a variant: median and range over seeds."""
    figure, axes = new_figure(7, 3.6)
    axes.axvspan(1, EXACT_LENGTH, color=SKY, alpha=0.25, linewidth=0, label="trained")
    for name, style in zip(variants, _MARKS, strict=True):
        draw_accuracy_of(axes, runs_of(experiment, name), name.partition(",")[0], *style)
    set_length_axes(axes)
    axes.legend(loc="lower left", bbox_to_anchor=(0.02, 0.12))
    save(figure, path)


def draw_family(path: Path) -> None:
    """Cells of one to three layers, read in one direction or in two: each seed, and the median."""
    variants = read_json(RESULTS / "cells.json")["variants"]
    rows = [
        (cell, f"{layers} layer{'s' * (layers > 1)}")
        for cell in ("rnn", "gru", "lstm")
        for layers in (1, 2, 3)
    ]
    figure, panels = new_figure(7, 5.4, 3, sharey=True)
    for direction, colour, marker, shift in (
        ("one direction", BLUE, "o", 0.17), ("two directions", VERMILION, "s", -0.17),
    ):  # fmt: skip
        for row, (cell, layers) in enumerate(reversed(rows)):
            runs = variants[f"{cell}, {direction}, {layers}"]["runs"]
            shares = (
                [run["accuracy"] for run in runs],
                *(map(right_at(n), runs) for n in (10, 100)),
            )
            for axes, values in zip(panels, map(list, shares), strict=True):
                y = row + shift
                axes.scatter(values, [y] * len(values), s=18, color=colour, marker=marker,
                             alpha=0.5, linewidths=0)  # fmt: skip
                axes.plot([statistics.median(values)] * 2, [y - 0.17, y + 0.17], color=colour,
                          linewidth=2.2)  # fmt: skip
        panels[0].plot([], [], marker, color=colour, label=direction)  # for the legend
    for axes, title in zip(panels, ("up to 5 digits", "10 digits", "100 digits"), strict=True):
        axes.axvline(_CHANCE, **CHANCE_LINE)
        for between in (2.5, 5.5):
            axes.axhline(between, color=MUTED, linewidth=0.8)
        axes.set_title(title)
        axes.set(xlim=(0, 1.04), xlabel="share right")
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        axes.grid(axis="x")
    names = [f"{cell.upper()} × {layers[0]}" for cell, layers in reversed(rows)]
    panels[0].set_yticks(range(len(rows)), names)
    figure.legend(loc="lower center", ncols=2)
    save(figure, path, bottom=0.07)


# What the summary compares: experiment, variant, the name that it has there.
_SUMMARY = (
    ("published", "sota_warmup", "sota_warmup"),
    ("ablation", "neither decay nor noise", "no decay, no noise"),
    ("ablation", "no weight decay", "no weight decay"),
    ("ablation", "no noise", "no noise"),
    ("ablation", "two layers", "two layers"),
    ("frontier", "hidden_dim 48", "48 units"),
    ("transformer", "Transformer, two layers, no decay, no noise", "Transformer"),
    ("transformer", "gru", "GRU"),
    ("transformer", "lstm", "LSTM"),
    ("solved", "solved", "solved"),
    ("certified", "certified", "certified"),
)


def draw_summary(path: Path) -> None:
    """Each seed of the main variants: on the trained lengths, at length 1,000, and modulo 2."""
    figure, panels = new_figure(7, 5, 3, sharey=True)
    for row, (experiment, variant, _) in enumerate(reversed(_SUMMARY)):
        runs = runs_of(experiment, variant)
        places = [row + 0.5 * (i / max(1, len(runs) - 1) - 0.5) for i in range(len(runs))]
        shares = (
            [run["accuracy"] for run in runs],
            [*map(right_at(1000), runs)],
            [*map(right_at(1000, 2), runs)],
        )
        for axes, values in zip(panels, shares, strict=True):
            axes.scatter(values, places, s=14, color=BLUE, alpha=0.45, linewidths=0)
            axes.plot([statistics.median(values)] * 2, [row - 0.38, row + 0.38], color=VERMILION)
    for axes, title, guessing in (
        (panels[0], "up to 5 digits", _CHANCE),
        (panels[1], "1,000 digits", _CHANCE),
        (panels[2], "1,000, modulo 2", 1 / 2),
    ):
        axes.axvline(guessing, **CHANCE_LINE)
        axes.set_title(title)
        axes.set(xlim=(0, 1.03), xlabel="share right")
        axes.grid()
    panels[0].set_yticks(range(len(_SUMMARY)), [name for *_, name in reversed(_SUMMARY)])
    save(figure, path)


def set_length_axes(axes: Any) -> None:
    """Length against share of right answers, and what guessing reaches."""
    axes.axhline(_CHANCE, **CHANCE_LINE, label="guessing")
    axes.set(xscale="log", xlim=(1, 1300), ylim=(0, 1.05))
    axes.set(xlabel="digits in the sequence", ylabel="share answered right")
    axes.set_xticks([1, 5, 10, 100, 1000], ["1", "all up\nto 5", "10", "100", "1,000"])
    axes.minorticks_off()
    axes.grid()


def draw_accuracy_of(
    axes: Any, runs: Runs, label: str, colour: str, marker: str, style: str = "-"
) -> None:
    """One line and its band: the median and the range over seeds, on all inputs and by length."""
    lengths = [EXACT_LENGTH, *map(int, runs[0]["right_at_length"])]
    by_seed = [
        [run["accuracy"], *(n / run["num_sequences"] for n in run["right_at_length"].values())]
        for run in runs
    ]
    accuracy = list(zip(*by_seed, strict=True))
    axes.fill_between(
        lengths, list(map(min, accuracy)), list(map(max, accuracy)), color=colour, alpha=0.15,
        linewidth=0,
    )  # fmt: skip
    median = [statistics.median(values) for values in accuracy]
    axes.plot(lengths, median, style, marker=marker, color=colour, label=label)
