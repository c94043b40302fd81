"""Pictures: on white, readable on light and dark pages, in colours safe for the colour-blind.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.evaluation.automaton import Automaton
from rnn_tutorial.machines.machine import Machine

# Okabe and Ito, Color Universal Design, 2008; black for the tenth.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#999999"
COLOURS = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY, "#882255", "#000000")

TOKEN_COLOURS = (BLUE, VERMILION, "#444444", GREEN, PURPLE, ORANGE, SKY)
_SHOWN_STATES = 10  # of those that lie at one place
PICTURES = (".png", ".svg", ".pdf")
CHANCE_LINE = {"linestyle": "--", "color": "#555555", "linewidth": 1}


def new_figure(
    width: float, height: float, panels: int = 1, rows: int = 1, **options: Any
) -> tuple[Any, Any]:
    """A figure of that many inches and its panels, so many side by side in each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, panels, figsize=(width, height), **options)


def check_picture(path: Path) -> None:
    """Raise ValueError if no picture can have this path, before the work that it shows."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"--figure {str(path)!r} does not end in one of {', '.join(PICTURES)}")
    if (path.exists() and not path.is_file()) or not path.parent.is_dir():
        raise ValueError(f"--figure {str(path)!r} is not a file in a folder that exists")


def save(figure: Any, path: Path) -> None:
    """Write a picture and forget the figure; the same figure gives the same file.

    Raises:
        ValueError: it cannot be written there.
    """
    import matplotlib
    from matplotlib import pyplot

    figure.tight_layout()
    date = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix.lower())
    dated = {"metadata": {date: None}} if date else {}
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        with matplotlib.rc_context({"svg.hashsalt": path.name}):
            figure.savefig(path, dpi=110, facecolor="white", **dated)
    except OSError as error:
        raise ValueError(
            f"the picture {str(path)!r} cannot be written: {error.strerror or error}"
        ) from None
    finally:
        pyplot.close(figure)


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
    figure, axes = new_figure(7, 3.6)
    axes.axvspan(trained_lengths[0], trained_lengths[-1], color=SKY, alpha=0.3, label="trained")
    errors = np.abs(np.subtract([low, high], accuracy))  # (2, lengths): below and above
    axes.errorbar(lengths, accuracy, yerr=errors, marker="o", color=BLUE, label="accuracy")
    axes.axhline(chance, **CHANCE_LINE, label="chance")
    axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="length of the sequence", ylabel="accuracy")
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    save(figure, path)


def draw_automaton(automaton: Automaton, token: int, path: Path) -> None:
    """Hidden states in their main components, coloured by machine state, arrows for one token.

    A small machine that is no sum is drawn beside them, with arrows for all tokens.
    """
    machine, points, centres = automaton.machine, automaton.points, automaton.centres
    padded = ((0, 0), (0, max(0, 3 - points.shape[1])))
    points, centres = np.pad(points, padded), np.pad(centres, padded)
    colours = [COLOURS[state % len(COLOURS)] for state in automaton.states]
    figure, panels = new_figure(8.4, 4.3, 2)
    names = ("first component", "second component", "third component")
    is_small = machine.num_states <= len(COLOURS) and len(machine.tokens) <= len(TOKEN_COLOURS)
    is_beside = is_small and not machine.moduli
    components = [(0, 1)] if is_beside else [(0, 1), (1, 2)]
    for axes, (x, y) in zip(panels[: len(components)], components, strict=True):
        axes.scatter(points[:, x], points[:, y], s=5, c=colours, alpha=0.5, linewidths=0)
        axes.set(xlabel=names[x], ylabel=names[y])
        if not is_beside:
            following = machine.step(np.arange(machine.num_states), token)
            _draw_arrows(axes, centres[:, [x, y]], following)
    if is_beside:
        _draw_machine(panels[0], machine, centres[:, :2])
        _draw_machine(panels[1], machine, _on_a_circle(machine))
        panels[1].set(xlim=(-1.6, 1.6), ylim=(-1.5, 1.6), aspect="equal")
        panels[1].set_axis_off()
        panels[1].legend(title="token", frameon=False, fontsize=8, loc="upper right")
        figure.suptitle("hidden states of the network by machine state, and the machine")
    else:
        colour, kind = ("remainder", "digit") if machine.moduli else ("machine state", "token")
        name = _plain(machine.tokens[token])
        figure.suptitle(f"hidden states by {colour}; arrows: read the {kind} {name}")
    save(figure, path)


def _on_a_circle(machine: Machine) -> np.ndarray:
    """A place for each state, (S, 2), in the order of their classes."""
    _, outputs = machine.tables()
    places = np.argsort(np.argsort(outputs, kind="stable"))
    angles = np.pi / 2 - 2 * np.pi * places / machine.num_states
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _draw_machine(axes: Any, machine: Machine, centres: np.ndarray) -> None:
    """States with their classes at their centres, (S, 2), and an arrow for each token.

    A state that has no finite centre, because it is never visited, is left out.
    """
    successors, outputs = machine.tables()
    is_placed = np.isfinite(centres).all(axis=1)
    is_named_by_class = len(np.unique(outputs)) == len(outputs)
    for token, name in enumerate(machine.tokens):
        colour = TOKEN_COLOURS[token]
        axes.plot([], [], color=colour, label=f" {_plain(name)}")  # "_" would hide it
        for state, after in enumerate(successors[:, token].tolist()):
            if state == after or not is_placed[[state, after]].all():
                continue  # a token without an arrow leaves the state as it is
            arrow = {
                "arrowstyle": "-|>", "color": colour, "shrinkA": 21, "shrinkB": 21,
                "mutation_scale": 14, "connectionstyle": f"arc3,rad={0.12 + 0.1 * token}",
            }  # fmt: skip
            axes.annotate("", centres[after], centres[state], arrowprops=arrow)
    for state in np.flatnonzero(is_placed):
        edge = COLOURS[state]
        box = {"boxstyle": "circle", "facecolor": "white", "edgecolor": edge, "linewidth": 2}
        name, start = _plain(machine.classes[outputs[state]]), "\nstart" if state == 0 else ""
        text = f"{name}{start}" if is_named_by_class else f"{state}\n{name}{start}"
        axes.text(*centres[state], text, ha="center", va="center", fontsize=7, bbox=box)


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
            arrow = {"arrowstyle": "->", "color": "#444444", "shrinkA": 10, "shrinkB": 12}
            axes.annotate("", place_of[after], place_of[state], arrowprops=arrow)
    for place, names in places:
        box = {"boxstyle": "round", "facecolor": "white", "alpha": 0.85}
        few = [*names[:_SHOWN_STATES], *["…"] * (len(names) > _SHOWN_STATES)]
        axes.text(*place, ", ".join(map(str, few)), ha="center", va="center", bbox=box)


def draw_growth(results: dict[str, Any], settings: Sequence[str], path: Path) -> None:
    """Updates per second against each setting, with the limit that the arithmetic sets."""
    figure, panels = new_figure(12, 3.4, len(settings), sharey=True)
    colours = {"autograd": BLUE, "compiled": VERMILION, "graph": GREEN}
    for axes, setting in zip(panels, settings, strict=True):
        points = {int(value): point for value, point in results[setting].items()}
        for engine, colour in colours.items():
            if any(engine in point for point in points.values()):
                rates = [point[engine]["median"] for point in points.values()]
                axes.plot(list(points), rates, marker="o", label=engine, color=colour)
        limit = [
            results["matmul_gigaflops"] * 1e9 / point["flops_per_update"]
            for point in points.values()
        ]
        axes.plot(list(points), limit, "--", color="#777777", label="arithmetic alone")
        axes.set(xscale="log", yscale="log", xlabel=setting)
        axes.set_xticks(list(points), [str(value) for value in points])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("updates per second")
    panels[0].legend(frameon=False)
    save(figure, path)
