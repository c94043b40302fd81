"""Diagrams of part 1: the recurrence, what a network returns, how a batch is packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from rnn_tutorial.machines.digit_sum import label, padding_id
from rnn_tutorial.pictures.canvas import (
    BLUE,
    INK,
    MUTED,
    PAPER,
    SOFT_BLUE,
    SOFT_GREEN,
    SOFT_GREY,
    SOFT_ORANGE,
    SOFT_PINK,
    VERMILION,
    new_figure,
    save,
)

MAX_NUMBER = 9


# ---- shapes ----


def blank(axes: Any, left: float, right: float, bottom: float, top: float) -> None:
    """A panel to draw on, in units of its cells."""
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.axis("off")


def write(axes: Any, x: float, y: float, text: str, size: float = 13, **style: Any) -> None:
    """Text around a point."""
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": size, **style})


def cell(
    axes: Any, x: float, y: float, text: str, colour: str = PAPER, size: float = 13, **box: Any
) -> None:
    """A labelled box of one unit with its lower left corner at (x, y)."""
    from matplotlib.patches import Rectangle

    box = {"width": 0.9, "height": 0.9, "edgecolor": MUTED, **box}
    axes.add_patch(Rectangle((x, y), facecolor=colour, **box))
    write(axes, x + box["width"] / 2, y + box["height"] / 2, text, size)


def box(
    axes: Any, x: float, y: float, text: str, colour: str, width: float, height: float,
    size: float = 13, rounding: float = 0.15, **border: Any,
) -> None:  # fmt: skip
    """A labelled box with round corners around (x, y)."""
    from matplotlib.patches import FancyBboxPatch

    corner = x - width / 2 + rounding, y - height / 2 + rounding
    inner = width - 2 * rounding, height - 2 * rounding
    style = f"round,pad={rounding},rounding_size={rounding}"
    border = {"edgecolor": MUTED, "zorder": 2, **border}
    axes.add_patch(FancyBboxPatch(corner, *inner, boxstyle=style, facecolor=colour, **border))
    write(axes, x, y, text, size, zorder=3)


def arrow(axes: Any, *points: tuple[float, float], **style: Any) -> None:
    """An arrow from the first point to the last, by way of those between them."""
    look = {"color": INK, "linewidth": 1.3, **style}
    if len(points) > 2:
        axes.plot(*zip(*points[:-1], strict=True), solid_joinstyle="round", zorder=1, **look)
    head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12, **look}
    axes.annotate("", points[-1], points[-2], arrowprops=head)


# ---- figures ----


def draw_recurrence(path: Path) -> None:
    """The rule with its loop, and the same rule unrolled over the digits 3, 9, 4."""
    figure, axes = new_figure(3.5)
    blank(axes, 0, 14.3, 0, 7.8)
    write(axes, 1.7, 7.4, "the loop", weight="bold")
    write(axes, 8.9, 7.4, "the same loop, unrolled", weight="bold")
    axes.plot((3.4, 3.4), (0.2, 7.6), color=MUTED, linewidth=1, linestyle=":")
    _draw_step(axes, 1.9, "$x_t$", "digit")
    write(axes, 1.9, 6.0, "$h_t$", 15)
    arrow(axes, (1.9, 5.3), (0.35, 5.3), (0.35, 3.8), (1.1, 3.8), color=BLUE)
    write(axes, 0.6, 5.75, "$W_{hh}$", color=BLUE)

    digits = [3, 9, 4]
    box(axes, 4.4, 3.8, "$h_0 = 0$", PAPER, 1.7, 0.9, 12)
    write(axes, 3.7, 6.7, "remainder", 12, color=MUTED, ha="left")
    for t, digit in enumerate(digits, start=1):
        x = 4.45 + 2.8 * t
        start = 5.25 if t == 1 else x - 2.8 + 0.8
        arrow(axes, (start, 3.8), (x - 0.8, 3.8), color=BLUE)
        write(axes, (start + x - 0.8) / 2 - 0.05, 4.3, "$W_{hh}$", color=BLUE)
        _draw_step(axes, x, f"$x_{t}$", str(digit))
        write(axes, x, 6.0, f"$h_{t}$", 15)
        write(axes, x, 6.7, str(label(digits[:t], MAX_NUMBER)), color=MUTED, weight="bold")
    save(figure, path)


def _draw_step(axes: Any, x: float, vector: str, digit: str) -> None:
    """From a digit up to the state that it makes."""
    write(axes, x, 0.35, digit, 14 if len(digit) == 1 else 12, weight="bold")
    arrow(axes, (x, 0.65), (x, 1.05))
    box(axes, x, 1.4, "embedding", SOFT_ORANGE, 2.6, 0.75, 12)
    arrow(axes, (x, 1.75), (x, 3.25), color=VERMILION)
    write(axes, x - 0.4, 2.2, vector, 14)
    write(axes, x + 0.65, 2.55, "$W_{ih}$", color=VERMILION)
    box(axes, x, 3.8, "tanh", SOFT_BLUE, 1.6, 1.1)
    arrow(axes, (x, 4.35), (x, 5.6))


def draw_output_and_h_n(path: Path) -> None:
    """All states of a two-layer net and of a bidirectional one: which are output, which h_n."""
    from matplotlib.patches import Rectangle

    figure, panels = new_figure(6.0, 1, rows=2)
    steps = range(1, 5)
    rows = {
        "num_layers=2": (("layer 0", "$a_{}$", 1), ("layer 1", "$b_{}$", 1)),
        "bidirectional=True": (("forward", r"$\overrightarrow{{h}}_{}$", 1),
                               ("backward", r"$\overleftarrow{{h}}_{}$", -1)),
    }  # fmt: skip
    for axes, (title, states) in zip(panels, rows.items(), strict=True):
        blank(axes, -0.75, 7.6, 0.4, 4.6)
        axes.set_title(title, family="monospace")
        two_ways = title.startswith("bi")
        for row, (name, symbol, way) in enumerate(states):
            y = 1.2 + 1.5 * row
            write(axes, 1.5, y + 0.45, name, ha="right")
            last = steps[-1] if way == 1 else steps[0]
            for t in steps:
                colour = SOFT_ORANGE if t == last else SOFT_BLUE if two_ways or row else PAPER
                cell(axes, 0.6 + 1.35 * t, y, symbol.format(t), colour)
                if t > 1:
                    edges = (0.6 + 1.35 * t - 0.45, y + 0.45), (0.6 + 1.35 * t, y + 0.45)
                    arrow(axes, *edges[::way], color=BLUE)
                if not two_ways and row == 0:
                    arrow(axes, (1.05 + 1.35 * t, y + 0.9), (1.05 + 1.35 * t, y + 1.5))
        for t in steps:
            write(axes, 1.05 + 1.35 * t, 0.75, f"$x_{t}$")
        bottom, height = (1.05, 2.7) if two_ways else (2.55, 1.2)
        axes.add_patch(
            Rectangle((1.78, bottom), 5.5, height, fill=False, edgecolor=BLUE, linewidth=2)
        )
        write(axes, 1.8, 4.2, "output: framed", color=BLUE, weight="bold", ha="left")
        write(axes, 7.25, 4.2, "h_n: orange", weight="bold", ha="right")
    save(figure, path)


EXAMPLE = ((3, 9), (5,), (4, 1, 7, 2))  # sorting them is not its own inverse


def draw_packing(path: Path) -> None:
    """A padded batch, the same rows sorted, and the PackedSequence that PyTorch makes of them."""
    rows = [torch.tensor(row) for row in EXAMPLE]
    lengths = torch.tensor([len(row) for row in rows])
    padding = padding_id(MAX_NUMBER)
    x = pad_sequence(rows, batch_first=True, padding_value=padding)  # (N, T)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    by_step = (SOFT_BLUE, SOFT_ORANGE, SOFT_GREEN, SOFT_PINK)

    figure, axes = new_figure(3.9)
    blank(axes, 0, 13.6, 0.4, 8.6)
    panels = ((0.9, "pad_sequence: x", x), (8.9, "longest first", x[packed.sorted_indices]))
    for left, title, batch in panels:
        write(axes, left, 8.2, title, weight="bold", ha="left")
        for row, ids in enumerate(batch.tolist()):
            for t, token in enumerate(ids):
                is_valid = token != padding
                colour = by_step[t] if is_valid else SOFT_GREY
                cell(axes, left + t, 6.8 - row, str(token), colour,
                     linestyle="-" if is_valid else ":")  # fmt: skip
    for row, index in enumerate(packed.sorted_indices.tolist()):
        write(axes, 0.5, 7.25 - row, str(row), color=MUTED)
        write(axes, 8.5, 7.25 - row, str(index), color=BLUE)
    write(axes, 6.65, 6.5, "sorted_indices", 12, color=BLUE)
    write(axes, 6.65, 5.9, str(packed.sorted_indices.tolist()), color=BLUE)
    arrow(axes, (5.3, 5.4), (8.0, 5.4), color=BLUE)
    for t, size in enumerate(packed.batch_sizes.tolist()):
        arrow(axes, (9.35 + t, 4.75), (9.35 + t, 4.3))
        write(axes, 9.35 + t, 3.95, str(size))
    write(axes, 8.7, 3.95, "batch_sizes", weight="bold", ha="right")

    write(axes, 0.9, 2.7, "pack_padded_sequence: data", weight="bold", ha="left")
    place, tokens = 0, packed.data.tolist()
    for t, size in enumerate(packed.batch_sizes.tolist()):
        left = 0.9 + place + 0.65 * t
        for token in tokens[place : place + size]:
            cell(axes, 0.9 + place + 0.65 * t, 1.3, str(token), by_step[t])
            place += 1
        write(axes, left + size / 2 - 0.05, 0.8, f"step {t}", 12)
    save(figure, path)
