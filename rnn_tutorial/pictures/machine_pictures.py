"""Machines beside the hidden states that networks have made of them, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.evaluation.automaton import Automaton
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.pictures.canvas import COLOURS, INK, MUTED, PAPER, new_figure, save
from rnn_tutorial.pictures.machine_places import (
    arrangements,
    num_rings,
    state_places,
    telling_tokens,
)

_TOKEN_LINES = tuple(product((INK, MUTED), ("-", "--", ":", "-.")))  # colour and style of arrows
_NODE = 22  # points across a state's circle
_LEGEND_ROW = 0.3  # inches
_SHOWN_STATES = 10  # of those that lie at one place


def draw_automaton(automaton: Automaton, token: int, path: Path) -> None:
    """A machine, and the hidden states that a network has made of it, coloured by machine state.

    The states are seen from the side from which they look most like the machine. A small machine
    has arrows for all tokens, a sum for those by which every state can be reached. Of a large one
    nothing is drawn but the arrows of `token` between the network's states.
    """
    machine = automaton.machine
    few = len(machine.tokens) <= len(_TOKEN_LINES) or machine.is_sum
    is_small = machine.num_states <= len(COLOURS) and few
    figure, (left, right) = new_figure(3.3, 2)
    legend = 0.0  # share of the height
    colours = _state_colours(machine)
    points, centres = automaton.points, automaton.centres
    if is_small:
        turn, places, points, centres = _most_alike(machine, points, centres)
        tokens = telling_tokens(machine, turn)
    visited = np.where(automaton.states < 0, MUTED, colours[automaton.states])
    right.scatter(*points[:, :2].T, s=8, c=visited, alpha=0.7, linewidths=0)
    if is_small:
        _draw_machine(left, machine, places, tokens, loops=True)
        _draw_machine(right, machine, centres, tokens, loops=False)
        legend = _explain(figure, machine, tokens)
    else:
        left.text(0.5, 0.5, f"{machine.num_states} states", ha="center", transform=left.transAxes)
        _draw_arrows(right, centres[:, :2], machine.step(np.arange(machine.num_states), token))
    for axes, title in ((left, "the machine"), (right, "the network")):
        axes.set_title(title, weight="bold", pad=12)
        axes.margins(0.12)
        axes.set_axis_off()
    left.set_aspect("equal", adjustable="datalim")
    save(figure, path, bottom=legend)


def _state_colours(machine: Machine) -> np.ndarray:
    """The colour of each state, (S,); remainders that lie above each other share one."""
    states = np.arange(machine.num_states)
    if machine.is_sum:
        states %= machine.num_states // num_rings(machine.num_states)
    return np.array(COLOURS)[states % len(COLOURS)]


def _most_alike(
    machine: Machine, points: np.ndarray, centres: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """An arrangement of the machine's states, and the view in which the network's look like it.

    A linear map of only three components cannot move any number of centres to their places: it
    fits, by least squares, if the network has arranged them in that way.

    Returns:
        The turn of a sum's places, the places, (S, 2), and in the view the points, (P, 2), and the
        centres, (S, 2).
    """
    is_placed = np.isfinite(centres).all(axis=1)
    middle = centres[is_placed].mean(axis=0)
    if is_placed.sum() < 3:  # which look alike from everywhere
        return 1, state_places(machine), points[:, :2], centres[:, :2]
    best = None
    for turn, places in arrangements(machine):
        goals = places[is_placed] - places[is_placed].mean(axis=0)
        view, *_ = np.linalg.lstsq(centres[is_placed] - middle, goals, rcond=None)
        error = np.square((centres[is_placed] - middle) @ view - goals).sum()
        if best is None or error < best[0] - 1e-6:  # mirrored, an arrangement fits as well
            best = error, turn, places, view
    _, turn, places, view = best
    return turn, places, (points - middle) @ view, (centres - middle) @ view


# ---- states and arrows ----


def _draw_machine(
    axes: Any, machine: Machine, centres: np.ndarray, tokens: Sequence[int], loops: bool
) -> None:
    """States at their centres, (S, 2), and an arrow for each token.

    A state that has no finite centre, because it is never visited, is left out. Arrows from a state
    to itself are drawn if `loops`.
    """
    successors, outputs = machine.tables()
    is_placed = np.isfinite(centres).all(axis=1)
    middle = centres[is_placed].mean(axis=0)
    for kind, token in enumerate(tokens):
        colour, style = _TOKEN_LINES[kind]
        for state, after in enumerate(successors[:, token].tolist()):
            if not is_placed[[state, after]].all():
                continue
            look = {"color": colour, "linestyle": style, "mutation_scale": 13, "linewidth": 1.3}
            if state == after:
                if loops:
                    outward, reach = centres[state] - middle, _reach(machine, outputs[state])
                    _draw_loop(axes, centres[state], outward, reach, kind, look)
                continue
            returns = successors[after, token] == state
            if returns and after < state:
                continue  # drawn from the other end
            bend = 0.12 * kind if returns else (0.12 if machine.is_sum else -0.25)
            arrow = {
                "arrowstyle": "<|-|>" if returns else "-|>",
                "connectionstyle": f"arc3,rad={bend}",
                "shrinkA": _reach(machine, outputs[state]),
                "shrinkB": _reach(machine, outputs[after]), **look,
            }  # fmt: skip
            axes.annotate("", centres[after], centres[state], arrowprops=arrow)
    colours = _state_colours(machine)
    for state in np.flatnonzero(is_placed):
        name, below = _state_names(machine, state)
        for size, width, ground in _rings(machine, outputs[state]):
            axes.plot(*centres[state], "o", markersize=size, markerfacecolor=ground, zorder=3,
                      markeredgecolor=colours[state], markeredgewidth=width,
                      clip_on=False)  # fmt: skip
        axes.text(*centres[state], name, ha="center", va="center", zorder=4)
        axes.annotate(below, centres[state], (0, -_NODE), textcoords="offset points", ha="center",
                      va="center")  # fmt: skip


def _state_names(machine: Machine, state: int) -> tuple[str, str]:
    """What is written into a state, and below it: its class, where no other state has it."""
    _, outputs = machine.tables()
    word = _plain(machine.classes[outputs[state]])
    if len(np.unique(outputs)) == len(outputs):
        return word, ""
    return str(state), "" if len(machine.classes) == 2 else word


def _has_double_rings(machine: Machine) -> bool:
    return not machine.is_sum and len(machine.classes) == 2


def _rings(machine: Machine, output: int) -> tuple[tuple[float, float, str], ...]:
    """Size, width and ground of the circles of a state: the second of two classes has two."""
    inner = (_NODE, 2.5, PAPER)
    is_double = _has_double_rings(machine) and output == 1
    return ((_NODE + 8, 1.5, "none"), inner) if is_double else (inner,)


def _reach(machine: Machine, output: int) -> float:
    """Points from the middle of a state to where its arrows begin and end."""
    return _rings(machine, output)[0][0] / 2 + 2


def _draw_loop(
    axes: Any, centre: np.ndarray, outward: np.ndarray, reach: float, kind: int, look: Any
) -> None:
    """An arrow from a state to itself, on the side that looks outward."""
    from matplotlib.transforms import offset_copy

    angle = np.arctan2(outward[1], outward[0]) + 1.2 * kind

    def beside(turn: float) -> Any:
        x, y = reach * np.cos(angle + turn), reach * np.sin(angle + turn)
        return offset_copy(axes.transData, axes.figure, x, y, units="points")

    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0,
             "connectionstyle": "arc3,rad=2.2", **look, "mutation_scale": 9}  # fmt: skip
    axes.annotate("", centre, centre, xycoords=beside(0.5), textcoords=beside(-0.5),
                  arrowprops=arrow)  # fmt: skip


def _explain(figure: Any, machine: Machine, tokens: Sequence[int]) -> float:
    """The legend, below the figure, which grows by it; returns its share of the height."""
    from matplotlib.lines import Line2D

    word = "digit" if machine.is_sum else "token"
    entries = [
        (Line2D([], [], color=colour, linestyle=style), f"{word} {_plain(machine.tokens[token])}")
        for token, (colour, style) in zip(tokens, _TOKEN_LINES, strict=False)
    ]
    ring = {"linestyle": "", "marker": "o", "markeredgecolor": INK}
    if _has_double_rings(machine):
        circles = [
            Line2D([], [], markersize=size / 2, markeredgewidth=width / 2 + 0.3,
                   markerfacecolor=ground, **ring)
            for size, width, ground in _rings(machine, 1)
        ]  # fmt: skip
        entries.append((tuple(circles), _plain(machine.classes[1])))
    dot = Line2D([], [], linestyle="", marker="o", markersize=4, color=INK)
    circle = Line2D([], [], markersize=_NODE / 2, markerfacecolor=PAPER, **ring)
    last = [(dot, "a hidden state"), (circle, "a state; right, the mean of its dots")]
    rows = [*(entries[i : i + 3] for i in range(0, len(entries), 3)), last]
    height = figure.get_figheight() + _LEGEND_ROW * len(rows)
    figure.set_figheight(height)
    for place, row in enumerate(reversed(rows)):
        bottom = _LEGEND_ROW * place / height
        figure.legend(*zip(*row, strict=True), loc="lower center", ncols=len(row),
                      bbox_to_anchor=(0.5, bottom), columnspacing=1.5)  # fmt: skip
    return _LEGEND_ROW * len(rows) / height + 0.01


def _plain(name: str) -> str:
    """A name of which matplotlib reads no part as a formula."""
    return name.replace("$", r"\$")


def _draw_arrows(axes: Any, centres: np.ndarray, following: np.ndarray) -> None:
    """States at their centres, those that coincide under one name, and arrows between them.

    Args:
        axes: to draw in.
        centres: of each state, (S, 2), not finite where none is visited.
        following: the state that an arrow leads to, (S,).
    """
    places: list[tuple[np.ndarray, list[int]]] = []  # where, and which states lie there
    visited = np.flatnonzero(np.isfinite(centres).all(axis=1)).tolist()
    near = 0.08 * np.ptp(centres[visited], axis=0).max()
    for state in visited:
        for place, names in places:
            if np.linalg.norm(centres[state] - place) < near:
                names.append(state)
                break
        else:
            places.append((centres[state], [state]))
    place_of = {state: place for place, names in places for state in names}
    for state, after in zip(visited, following[visited].tolist(), strict=True):
        if after in place_of and place_of[after] is not place_of[state]:
            arrow = {"arrowstyle": "->", "color": MUTED, "shrinkA": 10, "shrinkB": 12}
            axes.annotate("", place_of[after], place_of[state], arrowprops=arrow)
    for place, names in places:
        box = {"boxstyle": "round", "facecolor": PAPER, "alpha": 0.85}
        few = [*names[:_SHOWN_STATES], *["…"] * (len(names) > _SHOWN_STATES)]
        axes.text(*place, ", ".join(map(str, few)), ha="center", va="center", bbox=box)
