"""Pictures that commands draw: accuracy by length, the automaton, how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.evaluation.automaton import Automaton
from rnn_tutorial.experiments.canvas import (
    BLUE,
    CHANCE_LINE,
    COLOURS,
    GREEN,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    SOFT_BLUE,
    SOFT_GREEN,
    SOFT_GREY,
    SOFT_ORANGE,
    SOFT_PINK,
    VERMILION,
    new_figure,
    save,
)
from rnn_tutorial.machines.machine import Machine

TOKEN_COLOURS = (BLUE, VERMILION, MUTED, GREEN, PURPLE, ORANGE, SKY)
_GROUNDS = (SOFT_GREY, SOFT_GREEN, SOFT_ORANGE, SOFT_BLUE, SOFT_PINK)  # of classes
_SHOWN_STATES = 10  # of those that lie at one place


def draw_accuracy_by_length(
    lengths: Sequence[int],
    accuracy: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    trained_lengths: range,
    chance: float,
    path: Path,
) -> None:
    """Accuracy with its interval against length, trained range shaded, chance dashed."""
    figure, axes = new_figure(3.6)
    axes.axvspan(trained_lengths[0], trained_lengths[-1], color=SKY, alpha=0.3, label="trained")
    errors = np.abs(np.subtract([low, high], accuracy))  # (2, lengths): below and above
    axes.errorbar(lengths, accuracy, yerr=errors, marker="o", color=BLUE, label="accuracy")
    axes.axhline(chance, **CHANCE_LINE, label="chance")
    axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="length of the sequence", ylabel="accuracy")
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.grid()
    axes.legend(loc="lower left")
    save(figure, path)


def draw_automaton(automaton: Automaton, token: int, path: Path) -> None:
    """A machine, and the hidden states that a network has made of it, coloured by machine state.

    A small machine has arrows for all tokens, a sum for one of them. The states are shown in their
    main components; those of a sum from the side from which they look most like the machine.
    """
    machine = automaton.machine
    few = len(machine.tokens) <= len(TOKEN_COLOURS)
    is_small = machine.num_states <= len(COLOURS) and (few or bool(machine.moduli))
    colours = [COLOURS[state % len(COLOURS)] for state in automaton.states]
    tokens = [token] if machine.moduli or not is_small else range(len(machine.tokens))
    figure, (left, right) = new_figure(4.3, 2)
    places, points, centres = _on_a_circle(machine), automaton.points, automaton.centres
    if machine.moduli and np.isfinite(centres).all():
        places, points, centres = _most_alike(points, centres)
    points, centres = points[:, :2], centres[:, :2]
    right.scatter(points[:, 0], points[:, 1], s=7, c=colours, alpha=0.6, linewidths=0)
    if is_small:
        _draw_machine(left, machine, places, tokens)
        _draw_machine(right, machine, centres, tokens)
    else:
        left.text(0.5, 0.5, f"{machine.num_states} states", ha="center", transform=left.transAxes)
        _draw_arrows(right, centres, machine.step(np.arange(machine.num_states), token))
    for axes, title in ((left, "the machine"), (right, "the network's states")):
        axes.set_title(title)
        axes.margins(0.13)
        axes.set_axis_off()
    left.set_aspect("equal", adjustable="datalim")
    for number in tokens:
        name, kind = _plain(machine.tokens[number]), "digit" if machine.moduli else "token"
        left.plot([], [], color=TOKEN_COLOURS[number], label=f"{kind} {name}")  # for the legend
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), columnspacing=1.2)
    save(figure, path, bottom=0.1)


def remainder_places(modulus: int, turn: int = 1) -> np.ndarray:
    """Where each remainder is drawn, (modulus, 2).

    Twice an odd number is drawn as two rings: around them goes the remainder modulo the odd number,
    even remainders above and odd ones below. Others are one ring. Adding 1 goes `turn` places on.
    """
    rings = 2 if modulus % 4 == 2 else 1
    remainders = np.arange(modulus)
    angles = np.pi / 2 - 2 * np.pi * turn * remainders / (modulus // rings)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if rings == 2:
        places = places * [1.6, 0.6] + np.outer(1 - 2 * (remainders % 2), [0, 0.85])
    return places


def state_places(machine: Machine) -> np.ndarray:
    """Where each state of a machine is drawn, (S, 2): of a sum as above, of others on a circle."""
    if machine.moduli:
        return remainder_places(machine.num_states)
    angles = np.pi / 2 - 2 * np.pi * np.arange(machine.num_states) / machine.num_states
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _most_alike(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, ...]:
    """Places of the remainders, (S, 2), and a flat view of states, (P, 3), and centres, (S, 3).

    A linear map of only three components cannot move ten centres to ten places: it fits, by least
    squares, if the network has arranged them in that way.
    """
    middle, size = centres.mean(axis=0), len(centres)
    best = None
    for turn in range(1, max(2, size // 2)):
        if np.gcd(turn, size // 2 if size % 4 == 2 else size) == 1:
            places = remainder_places(size, turn)
            view, *_ = np.linalg.lstsq(centres - middle, places, rcond=None)
            error = np.square((centres - middle) @ view - places).sum()
            if best is None or error < best[0]:
                best = error, places, view
    _, places, view = best
    return places, (points - middle) @ view, (centres - middle) @ view


def _on_a_circle(machine: Machine) -> np.ndarray:
    """A place for each state, (S, 2), in the order of their classes."""
    _, outputs = machine.tables()
    places = np.argsort(np.argsort(outputs, kind="stable"))
    angles = np.pi / 2 - 2 * np.pi * places / machine.num_states
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _draw_machine(axes: Any, machine: Machine, centres: np.ndarray, tokens: Sequence[int]) -> None:
    """States with their classes at their centres, (S, 2), and an arrow for each token.

    A state that has no finite centre, because it is never visited, is left out.
    """
    successors, outputs = machine.tables()
    is_placed = np.isfinite(centres).all(axis=1)
    is_named_by_class = len(np.unique(outputs)) == len(outputs)
    for token in tokens:
        for state, after in enumerate(successors[:, token].tolist()):
            if state == after or not is_placed[[state, after]].all():
                continue  # a token without an arrow leaves the state as it is
            arrow = {
                "arrowstyle": "-|>", "color": TOKEN_COLOURS[token], "shrinkA": 15, "shrinkB": 15,
                "mutation_scale": 14, "connectionstyle": f"arc3,rad={0.12 + 0.1 * token}",
            }  # fmt: skip
            axes.annotate("", centres[after], centres[state], arrowprops=arrow)
    axes.scatter(*centres[is_placed].T, alpha=0)  # so that the panel contains them
    for state in np.flatnonzero(is_placed):
        name = _plain(machine.classes[outputs[state]]) if is_named_by_class else str(state)
        box = {"boxstyle": "circle", "edgecolor": COLOURS[state], "linewidth": 2, "alpha": 0.9}
        box["facecolor"] = PAPER if is_named_by_class else _GROUNDS[outputs[state] % len(_GROUNDS)]
        axes.text(*centres[state], name, ha="center", va="center", bbox=box)
    for output in () if is_named_by_class else np.unique(outputs):
        ground = {"color": _GROUNDS[output % len(_GROUNDS)], "label": machine.classes[output]}
        axes.plot([], [], "o", markersize=12, **ground)  # for the legend


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


def draw_growth(results: dict[str, Any], settings: Sequence[str], path: Path) -> None:
    """Updates per second against each setting, with the limit that the arithmetic sets."""
    columns = min(2, len(settings))
    rows = -(-len(settings) // columns)
    figure, panels = new_figure(0.7 + 2.6 * rows, columns, rows=rows, sharey=True, squeeze=False)
    colours = {"autograd": BLUE, "compiled": VERMILION, "graph": GREEN}
    for axes, setting in zip(panels.flat, settings, strict=False):
        points = {int(value): point for value, point in results[setting].items()}
        for engine, colour in colours.items():
            if any(engine in point for point in points.values()):
                rates = [point[engine]["median"] for point in points.values()]
                axes.plot(list(points), rates, marker="o", label=engine, color=colour)
        limit = [
            results["matmul_gigaflops"] * 1e9 / point["flops_per_update"]
            for point in points.values()
        ]
        axes.plot(list(points), limit, "--", color=MUTED, label="arithmetic alone")
        axes.set(xscale="log", yscale="log", xlabel=setting)
        axes.set_xticks(list(points), [str(value) for value in points])
        axes.minorticks_off()
        axes.grid()
    for axes in panels[:, 0]:
        axes.set_ylabel("updates per second")
    for axes in panels.flat[len(settings) :]:
        axes.set_axis_off()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), columnspacing=1.2)
    save(figure, path, bottom=0.07)
