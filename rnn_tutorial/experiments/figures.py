"""Figures of the tutorials, drawn from the result files or from what PyTorch computes at once.

    python -m rnn_tutorial.experiments render

The same results give the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rnn_tutorial.experiments.boxes import draw_boxes
from rnn_tutorial.experiments.catalogue import ALIKE, CLAIMS, STABILITY
from rnn_tutorial.experiments.cell_diagrams import draw_gru_cell, draw_lstm_cell
from rnn_tutorial.experiments.diagrams import draw_output_and_h_n, draw_packing, draw_recurrence
from rnn_tutorial.experiments.gallery_figures import (
    draw_addition,
    draw_forecast,
    draw_highlight,
    draw_text,
)
from rnn_tutorial.experiments.gradient_figures import draw_gradients, draw_jacobians, draw_unrolled
from rnn_tutorial.experiments.result_figures import (
    draw_by_length,
    draw_frontier,
    draw_parts,
    draw_promise,
    draw_speed,
    draw_training,
)
from rnn_tutorial.experiments.share_figures import draw_family, draw_summary
from rnn_tutorial.experiments.state_figures import (
    draw_automaton_of,
    draw_drift,
    draw_places,
    draw_walk,
)
from rnn_tutorial.pictures.canvas import draw_for_pages

FOLDER = Path(__file__).parent.parent / "figures"


def render_figures() -> None:
    """Draw every figure anew, for light and for dark pages."""
    for name, draw in FIGURES.items():
        draw_for_pages(draw, FOLDER / name)


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
