"""Figures of the gallery's lessons, drawn from the result files of its experiments."""

from __future__ import annotations

import re
import statistics
from itertools import pairwise
from pathlib import Path

from rnn_tutorial.experiments.gallery import GALLERY, SERIES
from rnn_tutorial.experiments.result_figures import runs_of, spread_in_row
from rnn_tutorial.pictures.canvas import (
    BLUE,
    CHANCE_LINE,
    GREEN,
    MUTED,
    VERMILION,
    log_ticks,
    new_figure,
    save,
)


def draw_text(path: Path) -> None:
    """Bits per character at each place of a stretch of text, with the state carried and without."""
    figures = [run["figures"] for run in runs_of("text", "LSTM")]
    figure, axes = new_figure(3.4)
    for start, colour, marker, words in (
        ("zero", VERMILION, "s", "starts from zeros"),
        ("carried", BLUE, "o", "state carried into the stretch"),
    ):
        by_seed = (f[f"bits_by_position_state_{start}"] for f in figures)
        bits = list(map(statistics.median, zip(*by_seed, strict=True)))
        # The first places stand alone; later ones are noisy, and averaged over ever more of them.
        edges = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
        parts = [(a, b) for a, b in pairwise(edges) if b <= len(bits)]
        places = [(a + 1 + b) / 2 for a, b in parts]
        means = [statistics.mean(bits[a:b]) for a, b in parts]
        axes.plot(places, means, f"{marker}-", color=colour, label=words)
    axes.set(xlabel="character of the stretch", ylabel="bits per character")
    log_ticks(axes, [2**i for i in range(9)])
    axes.set_ylim(0)
    axes.legend(loc="upper right")
    save(figure, path)


def draw_highlight(path: Path) -> None:
    """Share labelled right by distance from the beginning and the end of what is read at once."""
    figure, panels = new_figure(3.4, 2, sharey=True)
    for axes, end, words in (
        (panels[0], "begin", "characters before it"),
        (panels[1], "end", "characters after it"),
    ):
        for name, colour, marker in (
            ("both directions", BLUE, "o"),
            ("forward only", VERMILION, "s"),
        ):
            figures = [run["figures"] for run in runs_of("highlight", name)]
            known = [re.fullmatch(rf"from_{end}_(\d+)", key) for key in figures[0]]
            distances = [int(match[1]) for match in known if match]
            shares = [
                statistics.median(f[f"from_{end}_{distance}"] for f in figures)
                for distance in distances
            ]
            axes.plot(range(len(distances)), shares, f"{marker}-", color=colour, label=name)
        names = [str(d) if place % 2 == 0 else "" for place, d in enumerate(distances)]
        axes.set_xticks(range(len(distances)), names)
        axes.set(xlabel=words, ylim=(0.5, 1.02))
        axes.grid()
    panels[0].set_ylabel("share labelled right")
    panels[1].legend(loc="lower right")
    save(figure, path)


def draw_addition(path: Path) -> None:
    """Wrong answers among a million sums: a row for each way to train, a dot for each seed."""
    ways = {
        name: [run["figures"]["wrong"] for run in runs_of(experiment, name)]
        for experiment in ("addition", "addition_one_head", "addition_parts")
        for name in GALLERY[experiment].variants
    }
    figure, axes = new_figure(0.8 + 0.4 * len(ways))
    for row, wrong in enumerate(reversed(ways.values())):
        axes.scatter(
            wrong, spread_in_row(row, len(wrong)), s=36, color=BLUE, alpha=0.7, linewidths=0
        )
        axes.plot([statistics.median(wrong)] * 2, [row - 0.38, row + 0.38], color=VERMILION)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlim=(-0.3, 2500), xlabel="wrong of 1,000,000 answers")
    axes.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1,000"])
    axes.minorticks_off()
    axes.set_yticks(range(len(ways)), reversed(ways))
    axes.grid()
    save(figure, path)


def draw_forecast(path: Path) -> None:
    """Error one step ahead, relative to the best naive rule: what is left of 1 is better."""
    figure, axes = new_figure(3.6)
    for row, series in enumerate(reversed(SERIES)):
        figures = [run["figures"] for run in runs_of("forecast", series)]
        for rule, colour, marker, shift in (
            ("exponential_smoothing", GREEN, "^", -0.15),
            ("autoregression", VERMILION, "s", -0.15),
            ("network", BLUE, "o", 0.15),
        ):
            errors = [1 - f[f"{rule}_skill"] for f in figures]
            words = rule.replace("_", " ").replace("network", "LSTM, each seed")
            axes.scatter(
                errors, [row + shift] * len(errors), s=46, color=colour, marker=marker,
                alpha=0.8, linewidths=0, label=words if row == 0 else None,
            )  # fmt: skip
    axes.axvline(1, **CHANCE_LINE)
    axes.text(0.985, 3.6, "best naive rule", color=MUTED, ha="right", va="center")
    axes.set_yticks(range(len(SERIES)), reversed(SERIES.values()))
    axes.set(xlim=(0.3, 1.1), ylim=(-0.5, 3.9), xlabel="error one step ahead (naive rule: 1)")
    axes.grid(axis="x")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="lower center", ncols=2)
    save(figure, path, bottom=0.15)
