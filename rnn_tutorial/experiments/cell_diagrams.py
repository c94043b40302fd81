"""The cells of nn.LSTM and nn.GRU as diagrams, in PyTorch's notation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnn_tutorial.experiments.diagrams import arrow, blank, box, write
from rnn_tutorial.pictures.canvas import (
    INK,
    MUTED,
    PAPER,
    SOFT_BLUE,
    SOFT_GREEN,
    SOFT_ORANGE,
    VERMILION,
    new_figure,
    save,
)

_PATH = {"color": VERMILION, "linewidth": 3}  # along which a state is kept
_RADIUS = 0.33  # of an operation
_LEGEND = (
    "blue, orange boxes: layers with weights of their own\n"
    "circles: product or sum, number by number"
)


def draw_lstm_cell(path: Path) -> None:
    """c_t = f ⊙ c_{t−1} + i ⊙ g and h_t = o ⊙ tanh(c_t), from left to right."""
    figure, axes = new_figure(4.2)
    blank(axes, 0, 14, -1.5, 8.1)
    _frame(axes, 1.5, 12.5, 1.5, 7.8)
    cells, states = 6.6, 2.3  # heights of the lines of c and h
    arrow(axes, (0.3, states), (9.6, states), (9.6, 3.0))
    arrow(axes, (2.3, 0.95), (2.3, states - 0.05))
    arrow(axes, (0.3, cells), (3.4 - _RADIUS, cells), **_PATH)
    arrow(axes, (3.4 + _RADIUS, cells), (7.6 - _RADIUS, cells), **_PATH)
    arrow(axes, (7.6 + _RADIUS, cells), (13.6, cells), **_PATH)
    gates = ((3.4, "σ", "f", SOFT_BLUE), (5.5, "σ", "i", SOFT_BLUE),
             (7.6, "tanh", "g", SOFT_ORANGE), (9.6, "σ", "o", SOFT_BLUE))  # fmt: skip
    for x, function, name, colour in gates:
        arrow(axes, (x, states), (x, 3.0))
        box(axes, x, 3.45, function, colour, 1.4, 0.9)
        write(axes, x - 0.45, 4.35, f"${name}$", 15)
    arrow(axes, (3.4, 3.9), (3.4, cells - _RADIUS))
    arrow(axes, (5.5, 3.9), (5.5, 5.2), (7.6 - _RADIUS, 5.2))
    arrow(axes, (7.6, 3.9), (7.6, 5.2 - _RADIUS))
    arrow(axes, (7.6, 5.2 + _RADIUS), (7.6, cells - _RADIUS))
    arrow(axes, (11.3, cells), (11.3, 5.85))
    arrow(axes, (9.6, 3.9), (9.6, 4.2), (11.3 - _RADIUS, 4.2))
    box(axes, 11.3, 5.45, "tanh", SOFT_GREEN, 1.4, 0.8)
    arrow(axes, (11.3, 5.05), (11.3, 4.2 + _RADIUS))
    arrow(axes, (11.3, 4.2 - _RADIUS), (11.3, states), (13.6, states))
    for x, y, sign in ((3.4, cells, "⊙"), (7.6, cells, "+"), (7.6, 5.2, "⊙"), (11.3, 4.2, "⊙")):
        _operation(axes, x, y, sign)
    write(axes, 0.75, cells + 0.55, "$c_{t-1}$", 15, color=VERMILION)
    write(axes, 13.2, cells + 0.55, "$c_t$", 15, color=VERMILION)
    write(axes, 0.75, states + 0.5, "$h_{t-1}$", 15)
    write(axes, 13.2, states + 0.5, "$h_t$", 15)
    write(axes, 2.3, 0.5, "$x_t$", 15)
    write(axes, 7.0, -0.8, _LEGEND, 12, color=MUTED, linespacing=1.4)
    save(figure, path)


def draw_gru_cell(path: Path) -> None:
    """h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}, where n reads r ⊙ (U_n h_{t−1} + b'_n)."""
    figure, axes = new_figure(4.2)
    blank(axes, 0, 14, -1.0, 8.4)
    _frame(axes, 1.45, 12.5, 0.75, 8.1)
    kept, both, digit = 7.2, 2.3, 1.3  # heights of the lines of h, of h with x, and of x
    arrow(axes, (0.3, kept), (6.0 - _RADIUS, kept), **_PATH)
    arrow(axes, (6.0 + _RADIUS, kept), (10.9 - _RADIUS, kept), **_PATH)
    arrow(axes, (10.9 + _RADIUS, kept), (13.6, kept), **_PATH)
    arrow(axes, (1.95, kept), (1.95, both), (6.0, both), (6.0, 3.0))
    arrow(axes, (3.6, both), (3.6, 3.0))
    arrow(axes, (0.3, digit), (8.6, digit), (8.6, 3.0))
    arrow(axes, (2.7, digit), (2.7, both))
    arrow(axes, (3.6, kept), (3.6, 6.45))
    box(axes, 3.6, 6.05, "$U_n$", SOFT_ORANGE, 1.5, 0.8)
    arrow(axes, (3.6, 5.65), (3.6, 4.8 + _RADIUS))
    arrow(axes, (3.6, 3.9), (3.6, 4.8 - _RADIUS))
    arrow(axes, (3.6 + _RADIUS, 4.8), (8.6, 4.8), (8.6, 3.9))
    axes.plot((6.0, 6.0), (4.55, 5.05), color=PAPER, linewidth=7, zorder=1)  # z crosses above
    arrow(axes, (6.0, 3.9), (6.0, kept - _RADIUS))
    arrow(axes, (6.0, 5.9), (8.2, 5.9))
    box(axes, 8.6, 5.9, "1 −", PAPER, 0.9, 0.7)
    arrow(axes, (9.05, 5.9), (10.9 - _RADIUS, 5.9))
    arrow(axes, (9.3, 3.45), (10.9, 3.45), (10.9, 5.9 - _RADIUS))
    arrow(axes, (10.9, 5.9 + _RADIUS), (10.9, kept - _RADIUS))
    gates = ((3.6, "σ", "r", SOFT_BLUE, (3.2, 4.2)), (6.0, "σ", "z", SOFT_BLUE, (5.65, 4.2)),
             (8.6, "tanh", "n", SOFT_ORANGE, (10.4, 3.85)))  # fmt: skip
    for x, function, name, colour, place in gates:
        box(axes, x, 3.45, function, colour, 1.4, 0.9)
        write(axes, *place, f"${name}$", 16)
    for x, y, sign in ((3.6, 4.8, "⊙"), (6.0, kept, "⊙"), (10.9, 5.9, "⊙"), (10.9, kept, "+")):
        _operation(axes, x, y, sign)
    write(axes, 0.65, kept + 0.55, "$h_{t-1}$", 15, color=VERMILION)
    write(axes, 13.2, kept + 0.55, "$h_t$", 15, color=VERMILION)
    write(axes, 0.65, digit + 0.45, "$x_t$", 15)
    write(axes, 7.0, -0.25, _LEGEND, 12, color=MUTED, linespacing=1.4)
    save(figure, path)


def _frame(axes: Any, left: float, right: float, bottom: float, top: float) -> None:
    """The border of the cell."""
    width, height = right - left, top - bottom
    middle = left + width / 2, bottom + height / 2
    box(axes, *middle, "", "none", width, height, rounding=0.3, linestyle=":", zorder=0)


def _operation(axes: Any, x: float, y: float, sign: str) -> None:
    """An operation number by number."""
    from matplotlib.patches import Circle

    axes.add_patch(Circle((x, y), _RADIUS, facecolor=PAPER, edgecolor=INK, zorder=2))
    if sign == "⊙":
        axes.add_patch(Circle((x, y), 0.07, facecolor=INK, edgecolor=INK, zorder=3))
    else:
        axes.plot((x - 0.17, x + 0.17), (y, y), color=INK, linewidth=1.3, zorder=3)
        axes.plot((x, x), (y - 0.17, y + 0.17), color=INK, linewidth=1.3, zorder=3)
