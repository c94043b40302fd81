"""Figures of part 2 in which every seed is a dot: how large a share each variant answers right."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.experiments.result_figures import CHANCE, runs_of, spread_in_row
from rnn_tutorial.experiments.seed_tables import right_at
from rnn_tutorial.pictures.canvas import (
    BLUE,
    CHANCE_LINE,
    GREY,
    INK,
    MUTED,
    VERMILION,
    legend_below,
    new_figure,
    save,
)
from rnn_tutorial.runs.files import read_json


def draw_family(path: Path) -> None:
    """Cells of one to three layers, read in one direction or in two: each seed, and the median."""
    variants = read_json(RESULTS / "cells.json")["variants"]
    rows = [
        (cell, f"{layers} layer{'s' * (layers > 1)}")
        for cell in ("rnn", "gru", "lstm")
        for layers in (1, 2, 3)
    ]
    figure, panels = new_figure(5.6, 3, sharey=True)
    for direction, colour, marker, shift in (
        ("one direction", BLUE, "o", 0.19), ("two directions", VERMILION, "s", -0.19),
    ):  # fmt: skip
        for row, (cell, layers) in enumerate(reversed(rows)):
            runs = variants[f"{cell}, {direction}, {layers}"]["runs"]
            shares = (
                [run["accuracy"] for run in runs],
                *(map(right_at(n), runs) for n in (10, 100)),
            )
            for axes, values in zip(panels, map(list, shares), strict=True):
                y = row + shift
                axes.scatter(values, [y] * len(values), s=24, color=colour, marker=marker,
                             alpha=0.6, linewidths=0)  # fmt: skip
                axes.plot([statistics.median(values)] * 2, [y - 0.2, y + 0.2], color=INK,
                          linewidth=2)  # fmt: skip
        panels[0].plot([], [], marker, color=colour, label=direction)  # for the legend
    for axes, title in zip(panels, ("up to 5 digits", "10 digits", "100 digits"), strict=True):
        for between in (2.5, 5.5):
            axes.axhline(between, color=MUTED, linewidth=0.8)
        axes.set_title(title)
        _set_share_axes(axes, CHANCE)
    panels[0].set_yticks(
        range(len(rows)), [f"{cell.upper()}, {layers}" for cell, layers in reversed(rows)]
    )
    _explain_shares(panels[0], columns=2)
    save(figure, path, bottom=0.11)


def _set_share_axes(axes: Any, guessing: float) -> None:
    """Share of right answers from left to right, and what guessing reaches."""
    axes.axvline(guessing, **CHANCE_LINE, label="guessing")
    axes.set(xlim=(0, 1.06), xlabel="share right")
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.grid(axis="x")


def _explain_shares(axes: Any, columns: int) -> None:
    """The legend of seeds and their median, below the figure."""
    axes.plot([], [], "|", color=INK, markersize=13, markeredgewidth=2, label="median")
    legend_below(axes, ncols=columns, columnspacing=2)


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
    figure, panels = new_figure(6, 3, sharey=True)
    for row, (experiment, variant, _) in enumerate(reversed(_SUMMARY)):
        runs = runs_of(experiment, variant)
        places = spread_in_row(row, len(runs))
        shares = (
            [run["accuracy"] for run in runs],
            [*map(right_at(1000), runs)],
            [*map(right_at(1000, 2), runs)],
        )
        for axes, values in zip(panels, shares, strict=True):
            axes.scatter(values, places, s=20, color=BLUE, alpha=0.6, linewidths=0)
            axes.plot([statistics.median(values)] * 2, [row - 0.42, row + 0.42], color=INK,
                      linewidth=2, zorder=1)  # fmt: skip
    panels[0].scatter([], [], s=20, color=BLUE, label="one seed")  # for the legend
    for axes, title, guessing in (
        (panels[0], "up to\n5 digits", CHANCE),
        (panels[1], "1,000\ndigits", CHANCE),
        (panels[2], "1,000 digits,\nodd or even", 1 / 2),
    ):
        axes.set_title(title)
        _set_share_axes(axes, guessing)
        for row in range(1, len(_SUMMARY), 2):
            axes.axhspan(row - 0.5, row + 0.5, color=GREY, alpha=0.15, linewidth=0, zorder=0)
        axes.set_ylim(-0.6, len(_SUMMARY) - 0.4)
    panels[0].set_yticks(range(len(_SUMMARY)), [name for *_, name in reversed(_SUMMARY)])
    _explain_shares(panels[0], columns=3)
    save(figure, path, bottom=0.06)
