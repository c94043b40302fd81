"""Figures of the tutorials, drawn from the result files or from what PyTorch computes at once.

    python -m rnn_tutorial.experiments render

The same results give the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from rnn_tutorial.experiments.catalogue import EXACT_LENGTH
from rnn_tutorial.experiments.plots import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    draw_growth,
    new_figure,
    save,
)
from rnn_tutorial.experiments.result_figures import (
    draw_accuracy_of,
    draw_by_length,
    draw_frontier,
    draw_parts,
    draw_summary,
    draw_training,
    runs_of,
    set_length_axes,
)
from rnn_tutorial.experiments.tables import RESULTS
from rnn_tutorial.machines.digit_sum import label, padding_id
from rnn_tutorial.measure.growth import GROWTH
from rnn_tutorial.runs.folder import read_json

FOLDER = Path(__file__).parent.parent / "figures"
MAX_NUMBER = 9


def render_figures(folder: Path = FOLDER) -> None:
    """Draw every figure anew."""
    for name, draw in FIGURES.items():
        draw(folder / name)


# ---- results ----


def draw_promise(path: Path) -> None:
    """Accuracy by length of the best published recipe and of ours: median and band over seeds."""
    figure, axes = new_figure(7, 3.6)
    axes.axvspan(1, EXACT_LENGTH, color=SKY, alpha=0.25, linewidth=0)
    axes.text(2.2, 0.52, "trained", color=BLUE, ha="center")
    for recipe, colour, marker in (("solved", BLUE, "o"), ("published", VERMILION, "s")):
        name = "sota_warmup" if recipe == "published" else recipe
        draw_accuracy_of(axes, runs_of(recipe)[name], f"--recipe {name}", colour, marker)
    set_length_axes(axes)
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.6))
    save(figure, path)


def draw_gradients(path: Path) -> None:
    """Gradient norm by age of the input, for scales of W_hh and for gated nets."""
    nets = read_json(RESULTS / "lesson.json")["gradients"]["nets"]
    figure, panels = new_figure(7, 3.8, 2, sharey=True)
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
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="norm of the gradient of the input", title="nn.RNN")
    panels[1].set_title("nn.GRU and nn.LSTM")
    handles = [panel.get_legend_handles_labels() for panel in panels]
    for panel, (lines, labels) in zip(panels, handles, strict=True):
        panel.legend(
            lines, labels, frameon=False, fontsize=9, loc="upper center",
            bbox_to_anchor=(0.5, -0.2), ncols=2,
        )  # fmt: skip
    save(figure, path)


def draw_speed(path: Path) -> None:
    """Updates per second of each engine as one setting grows."""
    draw_growth(read_json(RESULTS / "benchmark.json")["growth"], list(GROWTH), path)


# ---- diagrams ----


def _blank(axes: Any, width: float, height: float) -> None:
    """A panel to draw on, in units of its cells."""
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")


def _cell(
    axes: Any, x: float, y: float, text: str, colour: str = "white", size: float = 12, **box: Any
) -> None:
    """A labelled box of one unit with its lower left corner at (x, y)."""
    from matplotlib.patches import Rectangle

    box = {"width": 0.9, "height": 0.9, "edgecolor": "#333333", **box}
    axes.add_patch(Rectangle((x, y), facecolor=colour, **box))
    axes.text(
        x + box["width"] / 2, y + box["height"] / 2, text, ha="center", va="center", fontsize=size
    )


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    arrow = {"arrowstyle": "-|>", "color": "#333333", "shrinkA": 0, "shrinkB": 0, **style}
    axes.annotate("", end, start, arrowprops=arrow)


def draw_recurrence(path: Path) -> None:
    """The rule with its loop, and the same rule unrolled over the digits 3, 9, 4."""
    figure, axes = new_figure(7, 3)
    _blank(axes, 13, 5.9)
    axes.set(xlim=(-0.2, 13), ylim=(0.4, 5.9))
    _cell(axes, 0.6, 2.2, "tanh", SKY, width=1.8, height=1.2)
    _arrow(axes, (1.5, 1.2), (1.5, 2.2))
    axes.text(1.5, 0.8, "$x_t$", ha="center", va="center", fontsize=14)
    _arrow(axes, (1.5, 3.4), (1.5, 4.4))
    axes.text(1.5, 4.75, "$h_t$", ha="center", va="center", fontsize=14)
    axes.plot((1.5, 0, 0), (3.9, 3.9, 2.8), color=BLUE, linewidth=1.2)
    _arrow(axes, (0, 2.8), (0.6, 2.8), color=BLUE)
    axes.text(3.5, 2.8, "=", ha="center", va="center", fontsize=20)

    digits = [3, 9, 4]
    axes.text(4.5, 2.8, "$h_0$ = 0", ha="center", va="center", fontsize=13)
    for t, digit in enumerate(digits, start=1):
        left = 3.0 + 2.7 * t
        _arrow(axes, (left - (0.5 if t == 1 else 0.9), 2.8), (left, 2.8), color=BLUE)
        _cell(axes, left, 2.2, "tanh", SKY, width=1.8, height=1.2)
        _arrow(axes, (left + 0.9, 1.2), (left + 0.9, 2.2))
        axes.text(left + 0.9, 0.8, f"$x_{t}$ = {digit}", ha="center", va="center", fontsize=13)
        _arrow(axes, (left + 0.9, 3.4), (left + 0.9, 4.4))
        axes.text(left + 0.9, 4.75, f"$h_{t}$", ha="center", va="center", fontsize=14)
        remainder = label(digits[:t], MAX_NUMBER)
        axes.text(
            left + 0.9, 5.5, f"remainder {remainder}", ha="center", va="center", fontsize=10,
            color="#444444",
        )  # fmt: skip
    save(figure, path)


def draw_output_and_h_n(path: Path) -> None:
    """All states of a two-layer net and of a bidirectional one: which are output, which h_n."""
    from matplotlib.patches import Rectangle

    figure, panels = new_figure(7, 2.5, 2)
    steps = range(1, 5)
    rows = {
        "num_layers=2": (("layer 0", "$a_{}$", 1), ("layer 1", "$b_{}$", 1)),
        "bidirectional=True": (("forward", r"$\overrightarrow{{h}}_{}$", 1),
                               ("backward", r"$\overleftarrow{{h}}_{}$", -1)),
    }  # fmt: skip
    for axes, (title, states) in zip(panels, rows.items(), strict=True):
        _blank(axes, 7.4, 4.9)
        axes.set(ylim=(0.4, 4.9))
        axes.set_title(title, fontsize=12, family="monospace")
        two_ways = title.startswith("bi")
        for row, (name, symbol, way) in enumerate(states):
            y = 1.2 + 1.5 * row
            axes.text(1.55, y + 0.45, name, ha="right", va="center", fontsize=10)
            last = steps[-1] if way == 1 else steps[0]
            for t in steps:
                colour = ORANGE if t == last else SKY if two_ways or row else "white"
                _cell(axes, 0.6 + 1.35 * t, y, symbol.format(t), colour)
                if t > 1:
                    edges = (0.6 + 1.35 * t - 0.45, y + 0.45), (0.6 + 1.35 * t, y + 0.45)
                    _arrow(axes, *edges[::way], color=BLUE)
                if not two_ways and row == 0:
                    _arrow(axes, (1.05 + 1.35 * t, y + 0.9), (1.05 + 1.35 * t, y + 1.5))
        for t in steps:
            axes.text(1.05 + 1.35 * t, 0.7, f"$x_{t}$", ha="center", va="center", fontsize=12)
        bottom, height = (1.05, 2.7) if two_ways else (2.55, 1.2)
        axes.add_patch(
            Rectangle((1.78, bottom), 5.5, height, fill=False, edgecolor=BLUE, linewidth=2)
        )
        axes.text(1.8, 4.05, "output", color=BLUE, fontsize=12, weight="bold")
        axes.text(7.25, 4.05, "h_n: orange", fontsize=12, ha="right", weight="bold",
                  color="#8a5a00")  # fmt: skip
    save(figure, path)


EXAMPLE = ((3, 9), (5,), (4, 1, 7, 2))  # sorting them is not its own inverse


def draw_packing(path: Path) -> None:
    """A padded batch, the same rows sorted, and the PackedSequence that PyTorch makes of them."""
    rows = [torch.tensor(row) for row in EXAMPLE]
    lengths = torch.tensor([len(row) for row in rows])
    padding = padding_id(MAX_NUMBER)
    x = pad_sequence(rows, batch_first=True, padding_value=padding)  # (N, T)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    by_step = (SKY, ORANGE, "#66c2a5", "#e5a5c8")  # light enough for black digits

    figure, axes = new_figure(7, 4.1)
    _blank(axes, 14, 8.2)
    axes.set(ylim=(0.4, 8.6))
    panels = ((0.9, "pad_sequence: x", x), (8.4, "longest first", x[packed.sorted_indices]))
    for left, title, batch in panels:
        axes.text(left, 8.1, title, fontsize=12, weight="bold")
        for row, ids in enumerate(batch.tolist()):
            for t, token in enumerate(ids):
                is_valid = token != padding
                colour = by_step[t] if is_valid else "#eeeeee"
                _cell(axes, left + t, 6.8 - row, str(token), colour,
                      linestyle="-" if is_valid else ":")  # fmt: skip
    for row, index in enumerate(packed.sorted_indices.tolist()):
        axes.text(0.7, 7.25 - row, str(row), ha="right", va="center", color="#555555")
        axes.text(8.2, 7.25 - row, str(index), ha="right", va="center", color=BLUE)
    axes.text(5.6, 6.3, "sorted_indices", ha="left", fontsize=10, color=BLUE)
    axes.text(5.6, 5.7, str(packed.sorted_indices.tolist()), ha="left", fontsize=12, color=BLUE)
    _arrow(axes, (5.3, 5.4), (7.6, 5.4), color=BLUE)
    for t, size in enumerate(packed.batch_sizes.tolist()):
        _arrow(axes, (8.85 + t, 4.8), (8.85 + t, 4.3))
        axes.text(8.85 + t, 4.0, str(size), ha="center", va="center", fontsize=12)
    axes.text(8.2, 4.0, "batch_sizes", ha="right", va="center", fontsize=12, weight="bold")

    axes.text(0.9, 2.6, "pack_padded_sequence: data", fontsize=12, weight="bold")
    place, tokens = 0, packed.data.tolist()
    for t, size in enumerate(packed.batch_sizes.tolist()):
        left = 0.9 + place + 0.35 * t
        for token in tokens[place : place + size]:
            _cell(axes, 0.9 + place + 0.35 * t, 1.3, str(token), by_step[t])
            place += 1
        axes.text(left + size / 2 - 0.05, 0.75, f"step {t}", ha="center", va="center", fontsize=10)
    save(figure, path)


FIGURES: dict[str, Callable[[Path], None]] = {
    "promise.svg": draw_promise,
    "baseline.svg": partial(draw_training, "published-baseline"),
    "batch.svg": partial(draw_training, "published-batch"),
    "depth.svg": partial(draw_training, "published-depth"),
    "parts.svg": draw_parts,
    "digits.svg": partial(draw_training, "ablation-digits"),
    "stability.svg": partial(draw_by_length, "ablation-stability"),
    "optimization.svg": partial(draw_training, "ablation-optimization"),
    "frontier.svg": draw_frontier,
    "cells.svg": partial(draw_by_length, "transformer-cells"),
    "summary.svg": draw_summary,
    "recurrence.svg": draw_recurrence,
    "output_and_h_n.svg": draw_output_and_h_n,
    "packing.svg": draw_packing,
    "gradients.svg": draw_gradients,
    "speed.png": draw_speed,
}
