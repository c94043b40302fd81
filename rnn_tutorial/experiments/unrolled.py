"""How gradients flow back: the unrolled graph, and how large the Jacobian of many steps is.

    python -m rnn_tutorial.experiments.unrolled     measure and write results/jacobians.json

Then `python -m rnn_tutorial.experiments render` draws. Shapes: T steps, S numbers of the state (H,
or 2 H of an LSTM), H hidden.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnn_tutorial.experiments.diagrams import arrow, blank, box, write
from rnn_tutorial.experiments.kept import RESULTS, result_head
from rnn_tutorial.experiments.lesson import EMBED_DIM, make_nets
from rnn_tutorial.pictures.canvas import (
    BLUE,
    INK,
    MUTED,
    PAPER,
    SOFT_BLUE,
    SOFT_ORANGE,
    VERMILION,
    new_figure,
    resolve,
    save,
)
from rnn_tutorial.runs.files import read_json, write_json
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

COMMAND = "python -m rnn_tutorial.experiments.unrolled"
JACOBIANS = RESULTS / "jacobians.json"
NUM_STEPS, NUM_SEEDS = 50, 3
_LESSON = "rnn_tutorial/experiments/lesson.py"  # whose networks are measured
_SHOWN = 8  # powers of ten, up and down


# ---- measurement ----


def jacobian_norms(make_net: Callable[[], nn.RNNBase], seed: int, num_steps: int) -> list[float]:
    """2-norms of the derivative of the last h by each state, the last state first.

    The state of an LSTM is h and c together: part of what h_t passes on goes through c_t.

    Returns:
        T numbers, computed in float64.
    """
    torch.manual_seed(seed)
    net = make_net().double()
    x = torch.randn(num_steps, EMBED_DIM, dtype=torch.float64)
    hidden = net.hidden_size
    parts = 1 + isinstance(net, nn.LSTM)
    # As many copies of the sequence as there are units; copy k is asked for unit k of its last h.
    copies = x.expand(hidden, -1, -1)  # (H, T, E)
    state = [torch.zeros(1, hidden, hidden, dtype=torch.float64) for _ in range(parts)]
    states = []  # of each step: h, or h and c, each (1, H, H)
    for x_t in copies.split(1, dim=1):
        _, after = net(x_t, tuple(state) if parts > 1 else state[0])
        state = list(after) if parts > 1 else [after]
        states.append(state)
    asked = states[-1][0].squeeze(0).trace()
    gradients = torch.autograd.grad(
        asked, [part for state in states for part in state], materialize_grads=True
    )
    jacobians = torch.cat(gradients).unflatten(0, (num_steps, parts))  # (T, parts, H, H)
    rows = jacobians.transpose(1, 2).flatten(2)  # (T, H, S): row k is the derivative of unit k
    return torch.linalg.matrix_norm(rows, ord=2).flip(0).tolist()


def measure() -> dict[str, Any]:
    """The median norm over seeds by age, of every net of part 1."""
    nets = {}
    for name, make_net in make_nets().items():
        by_seed = [jacobian_norms(make_net, seed, NUM_STEPS) for seed in range(NUM_SEEDS)]
        medians = map(statistics.median, zip(*by_seed, strict=True))
        nets[name] = [float(f"{norm:.3g}") for norm in medians]
    return {**result_head(COMMAND, (_LESSON,)), "num_seeds": NUM_SEEDS, "nets": nets}


# ---- picture ----


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
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"{mantissa} · 10{str(int(exponent)).translate(digits)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the result file."""
    CommandLineParser(prog=COMMAND, description=__doc__).parse_args(arguments)
    torch.set_num_threads(1)
    write_json(JACOBIANS, measure())
    return 0


if __name__ == "__main__":
    run_command(main)
