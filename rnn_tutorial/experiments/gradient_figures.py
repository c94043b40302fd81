"""Figures of part 1 of how gradients flow back through time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rnn_tutorial.experiments.diagrams import arrow, blank, box, write
from rnn_tutorial.experiments.jacobians import JACOBIANS
from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.experiments.markdown import power_of_ten
from rnn_tutorial.pictures.canvas import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    PAPER,
    PURPLE,
    SOFT_BLUE,
    SOFT_ORANGE,
    VERMILION,
    new_figure,
    resolve,
    save,
)
from rnn_tutorial.runs.files import read_json

_SHOWN = 8  # powers of ten, up and down


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


def draw_unrolled(path: Path) -> None:
    """The graph of four steps: forward in ink, backward in orange and thinner from step to step."""
    figure, axes = new_figure(2.6)
    blank(axes, 0.2, 14.2, -0.2, 5.3)
    last = 4
    for t in range(1, last + 1):
        x = 2.95 * t - 2.0
        box(axes, x, 2.8, f"$h_{t}$", SOFT_BLUE, 1.1, 1.2, 15)
        write(axes, x, 0.2, f"$x_{t}$", 15)
        arrow(axes, (x - 0.2, 0.65), (x - 0.2, 2.2))
        arrow(axes, (x + 0.2, 2.2), (x + 0.2, 0.65), color=VERMILION, linewidth=0.7 * t)
        if t < last:
            arrow(axes, (x + 0.55, 3.15), (x + 2.4, 3.15))
            arrow(axes, (x + 2.4, 2.5), (x + 0.55, 2.5), color=VERMILION, linewidth=0.7 * (t + 1))
            jacobian = rf"$\times\,\frac{{\partial h_{t + 1}}}{{\partial h_{t}}}$"
            write(axes, x + 1.5, 1.5, jacobian, 18, color=VERMILION)
    end = 2.95 * last - 2.0
    arrow(axes, (end + 0.55, 3.15), (end + 1.75, 3.15))
    arrow(axes, (end + 1.75, 2.5), (end + 0.55, 2.5), color=VERMILION, linewidth=3.5)
    box(axes, end + 2.5, 2.8, "loss", SOFT_ORANGE, 1.5, 1.2)
    write(axes, 0.4, 4.6, "forward", weight="bold", ha="left")
    write(axes, 13.3, 4.6, "backward, one factor a step", color=VERMILION, weight="bold",
          ha="right")  # fmt: skip
    save(figure, path)


def draw_jacobians(path: Path) -> None:
    """Rows of nets, columns of steps: blue where the gradient vanishes, orange where it grows."""
    figure, axes = new_figure(3.9)
    _draw_norms(figure, axes, read_json(JACOBIANS)["nets"])
    save(figure, path)


def _draw_norms(figure: Any, axes: Any, nets: dict[str, list[float]]) -> None:
    """Colours are powers of ten; two of them are written into each row."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list(
        "norms", [resolve(BLUE), resolve(PAPER), resolve(VERMILION)]
    )
    powers = torch.tensor(list(nets.values())).log10().flip(1)  # the oldest first
    limits = {"vmin": -_SHOWN, "vmax": _SHOWN}
    mesh = axes.pcolormesh(powers.clamp(-_SHOWN, _SHOWN), cmap=colours, **limits)
    mesh.set_edgecolor("face")  # no seams
    for row, values in enumerate(powers.tolist()):
        for age in (49, 25):
            power = values[len(values) - 1 - age]
            colour = PAPER if abs(power) > 0.6 * _SHOWN else INK
            x, align = (0.5, "left") if age == 49 else (len(values) - 0.5 - age, "center")
            write(axes, x, row + 0.5, _rounded(power), 12, color=colour, ha=align)
    axes.set_yticks([row + 0.5 for row in range(len(nets))], nets)
    ages = (0, 10, 25, 40, 49)
    axes.set_xticks([powers.shape[1] - 0.5 - age for age in ages], map(str, ages))
    axes.set(xlabel="steps before the last", ylim=(len(nets), 0))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(mesh, ax=axes, extend="both", pad=0.03, aspect=18)
    bar.set_ticks([-8, -4, 0, 4, 8], labels=["10⁻⁸", "10⁻⁴", "1", "10⁴", "10⁸"])
    bar.outline.set_edgecolor(resolve(MUTED))
    axes.set_title(r"norm of $\partial h_T/\partial h_t$", pad=8)


def _rounded(power: float) -> str:
    """10 to this power with one digit, such as 3 · 10⁻¹³ or 0.9."""
    mantissa, exponent = f"{10**power:.0e}".split("e")
    if -3 < int(exponent) < 3:
        return f"{float(f'{mantissa}e{exponent}'):g}"
    return f"{mantissa} · {power_of_ten(int(exponent))}"
