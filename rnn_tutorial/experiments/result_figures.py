"""Figures of part 2, drawn from the result files of the experiments."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.exact import wilson_interval
from rnn_tutorial.experiments.tables import RESULTS, Runs
from rnn_tutorial.plots import COLOURS, new_figure, save
from rnn_tutorial.run_folder import read_json

ORANGE, SKY, GREEN, _, BLUE, VERMILION, PURPLE, GREY = COLOURS[:8]
_MARKS = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"))


def runs_of(experiment: str) -> dict[str, Runs]:
    """The runs of each variant of an experiment."""
    variants = read_json(RESULTS / f"{experiment}.json")["variants"]
    return {name: content["runs"] for name, content in variants.items()}


def draw_published(path: Path) -> None:
    """Exact accuracy while the published recipes train: median and range over seeds."""
    variants = runs_of("published")
    figure, panels = new_figure(7.4, 4.6, 3, rows=2, sharex=True, sharey=True)
    for axes, (name, runs) in zip(panels.flat, variants.items(), strict=True):
        steps = runs[0]["curve"]["step"]
        by_step = list(zip(*(run["curve"]["accuracy"] for run in runs), strict=True))
        median = [statistics.median(own) for own in by_step]
        axes.fill_between(
            steps, list(map(min, by_step)), list(map(max, by_step)),
            color=SKY, alpha=0.35, linewidth=0,
        )  # fmt: skip
        axes.plot(steps, median, color=BLUE)
        axes.axhline(0.1, linestyle="--", color="#555555", linewidth=1)
        axes.set_title(name, fontsize=10, family="monospace")
        axes.set(ylim=(0, 1.03))
        axes.set_xticks([0, 10_000, 20_000], ["0", "10,000", "20,000"])
        axes.grid(alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel("updates")
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy")
    save(figure, path)


def draw_frontier(path: Path) -> None:
    """How many seeds are right, with Wilson intervals, against the size of the hidden state."""
    variants = runs_of("frontier")
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
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
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


def draw_lengths(path: Path) -> None:
    """Share of right answers against length, with and without what makes states stable."""
    variants = runs_of("ablation")
    shown = ("all of it", "no noise", "no weight decay", "neither decay nor noise")
    figure, axes = new_figure(7, 3.6)
    axes.axvspan(1, 5, color=SKY, alpha=0.25, linewidth=0, label="trained")
    for name, (colour, marker, style) in zip(shown, _MARKS, strict=True):
        draw_accuracy_of(axes, variants[name], name, colour, marker, style)
    set_length_axes(axes)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.02, 0.12))
    save(figure, path)


def set_length_axes(axes: Any) -> None:
    """Length against share of right answers, and what guessing reaches."""
    axes.axhline(0.1, linestyle="--", color="#555555", linewidth=1, label="guessing")
    axes.set(xscale="log", xlim=(1, 1300), ylim=(0, 1.05))
    axes.set(xlabel="digits in the sequence", ylabel="share answered right")
    axes.set_xticks([1, 5, 10, 100, 1000], ["1", "all up\nto 5", "10", "100", "1,000"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def draw_accuracy_of(
    axes: Any, runs: Runs, label: str, colour: str, marker: str, style: str = "-"
) -> None:
    """One line and its band: the median and the range over seeds, on all inputs and by length."""
    lengths = [5, *map(int, runs[0]["right_at_length"])]
    by_seed = [
        [run["accuracy"], *(n / run["num_sequences"] for n in run["right_at_length"].values())]
        for run in runs
    ]
    accuracy = list(zip(*by_seed, strict=True))
    axes.fill_between(
        lengths, list(map(min, accuracy)), list(map(max, accuracy)), color=colour, alpha=0.15,
        linewidth=0,
    )  # fmt: skip
    median = [statistics.median(own) for own in accuracy]
    axes.plot(lengths, median, style, marker=marker, color=colour, label=label)
