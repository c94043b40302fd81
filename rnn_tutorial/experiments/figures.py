"""Figures of the tutorials, drawn from the result files or from what PyTorch computes at once.

    python -m rnn_tutorial.experiments render

The same results give the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rnn_tutorial.experiments.boxes import draw_boxes
from rnn_tutorial.experiments.catalogue import ALIKE, CLAIMS, EXACT_LENGTH, STABILITY
from rnn_tutorial.experiments.cell_diagrams import draw_gru_cell, draw_lstm_cell
from rnn_tutorial.experiments.diagrams import draw_output_and_h_n, draw_packing, draw_recurrence
from rnn_tutorial.experiments.gallery_figures import (
    draw_addition,
    draw_forecast,
    draw_highlight,
    draw_text,
)
from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.experiments.result_figures import (
    draw_accuracy_of,
    draw_by_length,
    draw_frontier,
    draw_parts,
    draw_training,
    runs_of,
    set_length_axes,
)
from rnn_tutorial.experiments.share_figures import draw_family, draw_summary
from rnn_tutorial.experiments.state_figures import (
    draw_automaton_of,
    draw_drift,
    draw_places,
    draw_walk,
)
from rnn_tutorial.experiments.unrolled import draw_jacobians, draw_unrolled
from rnn_tutorial.measure.growth import GROWTH
from rnn_tutorial.pictures.canvas import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    SKY,
    VERMILION,
    draw_for_pages,
    new_figure,
    save,
)
from rnn_tutorial.pictures.plots import draw_growth
from rnn_tutorial.runs.files import read_json

FOLDER = Path(__file__).parent.parent / "figures"


def render_figures() -> None:
    """Draw every figure anew, for light and for dark pages."""
    for name, draw in FIGURES.items():
        draw_for_pages(draw, FOLDER / name)


# ---- results ----


def draw_promise(path: Path) -> None:
    """Accuracy by length of the best published recipe and of ours: median and band over seeds."""
    figure, axes = new_figure(3.4)
    axes.axvspan(1, EXACT_LENGTH, color=SKY, alpha=0.25, linewidth=0)
    for experiment, name, colour, marker, place in (
        ("solved", "solved", BLUE, "o", (1100, 0.89)),
        ("published", "sota_warmup", VERMILION, "s", (30, 0.5)),
    ):
        draw_accuracy_of(axes, runs_of(experiment, name), colour, marker)
        side = "right" if name == "solved" else "left"
        axes.text(*place, f"--recipe {name}", color=colour, ha=side, family="monospace",
                  weight="bold")  # fmt: skip
    set_length_axes(axes)
    axes.text(2.2, 0.5, "trained", color=BLUE, ha="center")
    axes.text(13, 0.02, "guessing", color=MUTED)
    save(figure, path)


def draw_gradients(path: Path) -> None:
    """Gradient norm by age of the input, for scales of W_hh and for gated nets."""
    nets = read_json(RESULTS / "lesson.json")["gradients"]["nets"]
    figure, panels = new_figure(4.4, 2, sharey=True)
    colours, styles = (VERMILION, BLUE, GREEN, PURPLE), ("-", "--", "-.", ":")
    groups = ([n for n in nets if n.startswith("RNN")], [n for n in nets if n[:3] != "RNN"])
    for axes, group in zip(panels, groups, strict=True):
        for name, colour, style in zip(group, colours, styles, strict=True):
            ages = range(len(nets[name]["median"]))
            axes.fill_between(
                ages, nets[name]["min"], nets[name]["max"], color=colour, alpha=0.2, linewidth=0
            )
            axes.plot(
                ages, nets[name]["median"], style, color=colour, label=name.removeprefix("RNN, ")
            )
        axes.set(yscale="log", xlabel="steps before the last", xlim=(len(ages) - 1, 0))
        axes.grid()
    panels[0].set(ylabel="gradient norm", title="nn.RNN")
    panels[1].set_title("nn.GRU and nn.LSTM")
    handles = [panel.get_legend_handles_labels() for panel in panels]
    for panel, (lines, labels) in zip(panels, handles, strict=True):
        panel.legend(
            lines[::-1], labels[::-1],  # from top to bottom, as the lines are
            loc="upper center", bbox_to_anchor=(0.45, 0), borderaxespad=3.4, handlelength=1.7,
        )  # fmt: skip
    save(figure, path)


def draw_speed(path: Path) -> None:
    """Updates per second of each engine as one setting grows."""
    draw_growth(read_json(RESULTS / "benchmark.json")["growth"], list(GROWTH), path)


# Titles of the panels.
_STABILITY = dict(
    zip(STABILITY, ("noise and decay", "no noise", "no weight decay", "neither"), strict=True)
)
_CELLS = dict(zip(ALIKE, ("RNN", "LSTM", "GRU", "Transformer"), strict=True))

FIGURES: dict[str, Callable[[Path], None]] = {
    "promise.svg": draw_promise,
    "baseline.svg": partial(draw_training, [("published", "baseline")]),
    "published.svg": partial(draw_training, [("published", name) for name in CLAIMS]),
    "parts.svg": draw_parts,
    "digits.svg": partial(
        draw_training, [("published", "sota_warmup"), ("digits", "sota_warmup, 1 to 5 digits")]
    ),
    "stability.svg": partial(draw_by_length, "ablation", _STABILITY),
    "frontier.svg": draw_frontier,
    "family.svg": draw_family,
    "cells.svg": partial(draw_by_length, "transformer", _CELLS),
    "summary.svg": draw_summary,
    "recurrence.svg": draw_recurrence,
    "automaton.svg": partial(draw_automaton_of, "certified"),
    "tomita_3.svg": partial(draw_automaton_of, "tomita_3"),
    "cycle_navigation.svg": partial(draw_automaton_of, "cycle_navigation"),
    "walk.svg": draw_walk,
    "places.svg": draw_places,
    "drift.svg": draw_drift,
    "boxes.svg": draw_boxes,
    "lstm_cell.svg": draw_lstm_cell,
    "gru_cell.svg": draw_gru_cell,
    "unrolled.svg": draw_unrolled,
    "jacobians.svg": draw_jacobians,
    "output_and_h_n.svg": draw_output_and_h_n,
    "packing.svg": draw_packing,
    "gradients.svg": draw_gradients,
    "speed.svg": draw_speed,
    "text.svg": draw_text,
    "highlight.svg": draw_highlight,
    "addition.svg": draw_addition,
    "forecast.svg": draw_forecast,
}
