"""Figures of the gallery's lessons, drawn from the result files of its experiments."""

from __future__ import annotations

import re
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from rnn_tutorial.experiments.canvas import (
    BLUE,
    CHANCE_LINE,
    GREEN,
    MUTED,
    VERMILION,
    new_figure,
    save,
)
from rnn_tutorial.experiments.tables import RESULTS
from rnn_tutorial.runs.folder import read_json

_Runs = list[dict[str, Any]]


def runs_of(task: str) -> dict[str, _Runs]:
    """The runs of each variant of a task's experiment."""
    variants = read_json(RESULTS / f"{task}.json")["variants"]
    return {name: variant["runs"] for name, variant in variants.items()}


def draw_text(path: Path) -> None:
    """Bits per character at each place of a piece of text, with the state carried and without."""
    figures = [run["figures"] for run in runs_of("text")["LSTM"]]
    figure, axes = new_figure(7, 3.4)
    for start, colour, words in (
        ("zero", VERMILION, "starts from zeros"),
        ("carried", BLUE, "state carried into the piece"),
    ):
        curves = zip(*(f[f"bits_by_position_state_{start}"] for f in figures), strict=True)
        bits = list(map(statistics.median, curves))
        # The first places stand alone; later ones are noisy, and averaged over ever more of them.
        edges = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
        parts = [(a, b) for a, b in pairwise(edges) if b <= len(bits)]
        places = [(a + 1 + b) / 2 for a, b in parts]
        axes.plot(
            places, [statistics.mean(bits[a:b]) for a, b in parts],
            "o-", color=colour, markersize=4, label=words,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="character of the piece", ylabel="bits per character")
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64, 128, 256], map(str, (2**i for i in range(9))))
    axes.minorticks_off()
    axes.grid()
    axes.legend(loc="upper right")
    save(figure, path)


def draw_highlight(path: Path) -> None:
    """Share labelled right by distance from the begin and the end of what is read at once."""
    figure, panels = new_figure(7, 3.4, 2, sharey=True)
    for axes, end, words in (
        (panels[0], "begin", "characters before it"),
        (panels[1], "end", "characters after it"),
    ):
        for name, colour, marker in (
            ("both directions", BLUE, "o"),
            ("forward only", VERMILION, "s"),
        ):
            figures = [run["figures"] for run in runs_of("highlight")[name]]
            known = [re.fullmatch(rf"from_{end}_(\d+)", key) for key in figures[0]]
            distances = [int(match[1]) for match in known if match]
            shares = [
                statistics.median(f[f"from_{end}_{distance}"] for f in figures)
                for distance in distances
            ]
            axes.plot(range(len(distances)), shares, f"{marker}-", color=colour, label=name)
        axes.set_xticks(range(len(distances)), map(str, distances))
        axes.set(xlabel=words, ylim=(0.5, 1.02))
        axes.grid()
    panels[0].set_ylabel("share labelled right")
    panels[1].legend(loc="lower right")
    save(figure, path)


def draw_addition(path: Path) -> None:
    """Wrong answers among a million sums: a dot a seed, a row a variant, zero at the left."""
    variants = runs_of("addition") | runs_of("addition_parts")
    figure, axes = new_figure(7, 0.8 + 0.36 * len(variants))
    for row, runs in enumerate(reversed(variants.values())):
        wrong = [run["figures"]["wrong"] for run in runs]
        places = [row + 0.5 * (i / max(1, len(runs) - 1) - 0.5) for i in range(len(runs))]
        axes.scatter(wrong, places, s=20, color=BLUE, alpha=0.5, linewidths=0)
        axes.plot([statistics.median(wrong)] * 2, [row - 0.38, row + 0.38], color=VERMILION)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlim=(-0.3, 1.3e6), xlabel="wrong of all 1,000,000")
    axes.set_xticks([0, 1, 100, 10_000, 1_000_000], ["0", "1", "100", "10,000", "1,000,000"])
    axes.minorticks_off()
    axes.set_yticks(range(len(variants)), reversed(variants))
    axes.grid()
    save(figure, path)


_SERIES = {"sunspots": "sunspots", "co2": "CO₂", "elnino": "El Niño", "random_walk": "random walk"}


def draw_forecast(path: Path) -> None:
    """Error one step ahead, relative to the best naive rule: what is left of 1 is better."""
    variants = runs_of("forecast")
    figure, axes = new_figure(7, 3.6)
    for row, series in enumerate(reversed(_SERIES)):
        figures = [run["figures"] for run in variants[series]]
        for rule, colour, marker, shift in (
            ("exponential_smoothing", GREEN, "^", -0.15),
            ("autoregression", VERMILION, "s", -0.15),
            ("network", BLUE, "o", 0.15),
        ):
            errors = [f[f"{rule}_mae"] / _naive_error(f) for f in figures]
            words = rule.replace("_", " ").replace("network", "LSTM, each seed")
            axes.scatter(
                errors, [row + shift] * len(errors), s=46, color=colour, marker=marker,
                alpha=0.6, linewidths=0, label=words if row == 0 else None,
            )  # fmt: skip
    axes.axvline(1, **CHANCE_LINE)
    axes.text(1.01, 3.55, "best naive rule", color=MUTED, ha="left", va="center", fontsize=11)
    axes.set_yticks(range(len(_SERIES)), reversed(_SERIES.values()))
    axes.set(xlim=(0.3, 1.2), ylim=(-0.5, 3.8), xlabel="error of one step, best naive rule = 1")
    axes.grid()
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.02), fontsize=11)
    save(figure, path)


def _naive_error(figures: dict[str, Any]) -> float:
    return min(figures[f"{rule}_mae"] for rule in ("persistence", "seasonal_naive"))
