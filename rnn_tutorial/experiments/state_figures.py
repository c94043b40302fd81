"""Figures of hidden states: automata, how states drift, and a walk through ten clusters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.experiments.diagrams import write
from rnn_tutorial.experiments.drift import DRIFT, SHOWN_TIMES
from rnn_tutorial.experiments.walk import STATES, WALKERS, load_automaton
from rnn_tutorial.machines.digit_sum import num_classes
from rnn_tutorial.pictures.canvas import (
    BLUE,
    COLOURS,
    INK,
    LOOKS,
    PAPER,
    VERMILION,
    legend_below,
    log_ticks,
    new_figure,
    save,
)
from rnn_tutorial.pictures.machine_pictures import draw_automaton
from rnn_tutorial.runs.files import read_json

_SECONDS = 1.5  # of a step of the walk
_WALKER = {"color": INK, "markersize": 25, "markerfacecolor": "none", "markeredgewidth": 3.5}
_REST = 4  # steps that the last picture stays


def draw_automaton_of(name: str, path: Path) -> None:
    """What `evaluate --automaton` draws, of a run in the result file."""
    draw_automaton(load_automaton(name), 1, path)


# ---- drift ----

_NETWORKS = ("one layer", "two layers", "GRU")  # whose states are shown; the LSTM's are alike
_PLACE_COLOURS = COLOURS[:5]


def draw_places(path: Path) -> None:
    """States of three networks after more and more digits, coloured by the sum modulo 5."""
    networks = read_json(DRIFT)["networks"]
    figure, panels = new_figure(6.6, len(SHOWN_TIMES), rows=len(_NETWORKS))
    for row, name in zip(panels, _NETWORKS, strict=True):
        shown = networks[name]["seeds"][0]
        every = np.concatenate([shown["points"][str(time)] for time in SHOWN_TIMES])
        reach = 1.1 * np.abs(every).max()
        for axes, time in zip(row, SHOWN_TIMES, strict=True):
            points, remainders = (
                np.array(shown[key][str(time)]) for key in ("points", "remainders_modulo_5")
            )
            for remainder, colour in enumerate(_PLACE_COLOURS):
                x, y = points[remainders == remainder].T
                axes.scatter(x, y, s=13, color=colour, alpha=0.65, linewidths=0)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
            axes.set_aspect("equal")
            axes.spines[:].set_visible(True)
            if name == _NETWORKS[0]:
                axes.set_title(f"{time:,} digits")
        row[0].set_ylabel(name)
    panels[0, 0].plot([], [], " ", label="remainder:")
    for remainder, colour in enumerate(_PLACE_COLOURS):
        panels[0, 0].plot([], [], "o", color=colour, label=f"{remainder}, {remainder + 5}")
    legend_below(panels[0, 0], columnspacing=0.8, handletextpad=0)
    save(figure, path, bottom=0.06)


def draw_drift(path: Path) -> None:
    """Distance of states to the nearest place and to their own, against the digits read."""
    results = read_json(DRIFT)
    figure, panels = new_figure(3.8, 2, sharey=True)
    for (name, network), (colour, marker, style) in zip(
        results["networks"].items(), LOOKS, strict=True
    ):
        for axes, key in zip(panels, ("nearest", "own"), strict=True):
            by_seed = np.array([seed[key] for seed in network["seeds"]])
            band = by_seed.min(axis=0), by_seed.max(axis=0)
            axes.fill_between(results["times"], *band, color=colour, alpha=0.15, linewidth=0)
            axes.plot(results["times"], np.median(by_seed, axis=0), style, color=colour,
                      marker=marker, markersize=4.5, label=name)  # fmt: skip
    for axes, title in zip(panels, ("to the nearest place", "to its own place"), strict=True):
        axes.set_title(title)
        axes.set(xlabel="digits read", ylim=(0, 1.05), yticks=(0, 0.5, 1))
        log_ticks(axes, [3, 10, 100, 1000])
    panels[0].set_ylabel("distance (neighbours: 1)")
    legend_below(panels[0], columnspacing=0.9, handlelength=1.6)
    save(figure, path, bottom=0.1)


# ---- the walk ----


def draw_walk(path: Path) -> None:
    """The state of two networks while they read, animated: an SVG that moves where it is shown.

    Where nothing moves, it shows the first states and all answers.
    """
    results = read_json(STATES)
    digits = np.array(results["digits"])
    right = np.cumsum(digits) % num_classes(9)
    figure, _ = new_figure(5.6)
    figure.clear()
    table, *panels = figure.subplot_mosaic(
        [["table", "table"], WALKERS], height_ratios=(1.5, 3)
    ).values()
    _draw_answers(table, digits, right, results["walks"])
    ways = {}
    for axes, name in zip(panels, WALKERS, strict=True):
        walk = results["walks"][name]
        _draw_clusters(axes, np.array(walk["points"]), np.array(walk["remainders"]))
        axes.set_title(f"--recipe {name}", family="monospace")
        way = np.array(walk["path"])
        for t in range(1, len(way)):
            (line,) = axes.plot(*way[t - 1 : t + 1].T, color=INK, linewidth=1.5, zorder=2)
            line.set_gid(f"trail-{name}-{t}")
        (walker,) = axes.plot(*way[0], "o", zorder=4, **_WALKER)
        walker.set_gid(f"walker-{name}")
        ways[name] = axes, way
    table.plot([], [], "o", label="the state now", **{**_WALKER, "markersize": 15})
    table.plot([], [], "o", color=INK, markersize=4, label="a state after at most 5 digits")
    legend_below(table)
    save(figure, path, bottom=0.06, edit=lambda svg: _animate(svg, figure, ways, len(digits)))


def _draw_answers(
    axes: Any, digits: np.ndarray, right: np.ndarray, walks: dict[str, dict[str, Any]]
) -> None:
    """Rows of what is read, what is right, and what each network answers."""
    from matplotlib.patches import Rectangle

    axes.set(xlim=(-5.2, len(digits)), ylim=(-0.2, 4.1))
    axes.set_axis_off()
    bar = Rectangle((0, -0.1), 1, 4.1, facecolor=BLUE, alpha=0.2, linewidth=0)
    bar.set_gid("now")
    axes.add_patch(bar)
    answers = {name: np.array(walks[name]["answers"]) for name in WALKERS}
    for row, (name, values) in enumerate({"digit": digits, "remainder": right, **answers}.items()):
        y = 3.5 - row
        style = {"family": "monospace"} if name in WALKERS else {}
        write(axes, -0.3, y, name, 12, ha="right", **style)
        for t, value in enumerate(values.tolist()):
            is_right = row == 0 or value == right[t]
            look = {} if is_right else {"color": VERMILION, "weight": "bold"}
            write(axes, t + 0.5, y, str(value), gid=f"answer-{row}-{t}", **look)
            if not is_right:
                axes.plot((t + 0.2, t + 0.8), (y - 0.42, y - 0.42), color=VERMILION,
                          gid=f"answer-{row}-{t}-wrong")  # fmt: skip


def _draw_clusters(axes: Any, points: np.ndarray, remainders: np.ndarray) -> None:
    """States after short sequences, (P, 2), by remainder, with a name at the middle of each."""
    for remainder in np.unique(remainders):
        cluster = points[remainders == remainder]
        colour = COLOURS[remainder]
        axes.scatter(*cluster.T, s=9, color=colour, alpha=0.6, linewidths=0)
        middle = np.median(cluster, axis=0)
        write(axes, *middle, str(remainder), weight="bold", zorder=3,
              bbox={"boxstyle": "circle,pad=0.2", "facecolor": PAPER, "edgecolor": colour,
                    "linewidth": 1.5, "alpha": 0.85})  # fmt: skip
    axes.set(xlim=(-2.5, 2.5), ylim=(-2.1, 2.1))
    axes.set_axis_off()


def _animate(svg: str, figure: Any, ways: dict[str, tuple[Any, np.ndarray]], num_steps: int) -> str:
    """The drawn picture with the animations of SVG (SMIL) in the groups that move or appear."""
    duration = f'dur="{_SECONDS * (num_steps + _REST):g}s" repeatCount="indefinite"'
    per_point = 72 / figure.dpi  # of the canvas: an SVG counts in points

    def moments(steps: Sequence[float]) -> str:
        return ";".join(f"{min(1, step / (num_steps + _REST)):.4f}" for step in steps)

    def move(places: np.ndarray) -> str:
        """From each place to the next in the last third of a step."""
        offsets = [f"{x:.1f} {y:.1f}" for x, y in places - places[0]]
        stays = [[t + 0.65, t + 1] for t in range(num_steps - 1)]
        times = [0.0]
        values = [offsets[0]]
        for t, (leave, arrive) in enumerate(stays):
            values += [offsets[t], offsets[t + 1]]
            times += [leave, arrive]
        values.append(offsets[-1])
        return (
            f'<animateTransform attributeName="transform" type="translate" {duration} '
            f'values="{";".join(values)}" keyTimes="{moments([*times, num_steps + _REST])}"/>'
        )

    def appear(start: float, end: float) -> str:
        return (
            f'<animate attributeName="opacity" calcMode="discrete" {duration} values="0;1;0" '
            f'keyTimes="{moments([0, start, end])}"/>'
        )

    inside = {}
    for name, (axes, way) in ways.items():
        pixels = axes.transData.transform(way) * [per_point, -per_point]
        inside[f"walker-{name}"] = move(pixels)
        for t in range(1, len(way)):
            inside[f"trail-{name}-{t}"] = appear(t - 0.2, min(t + 2, num_steps + _REST))
    bar = axes.figure.axes[0].transData.transform([[t, 0] for t in range(num_steps)])
    inside["now"] = move(bar * per_point)
    for t in range(1, num_steps):
        for row in range(1, 4):
            for gid in (f"answer-{row}-{t}", f"answer-{row}-{t}-wrong"):
                inside[gid] = appear(t, num_steps + _REST)
    for gid, animation in inside.items():
        hidden = ' opacity="0"' if gid.startswith("trail") else ""
        svg = svg.replace(f'<g id="{gid}">', f'<g id="{gid}"{hidden}>{animation}')
    return svg
