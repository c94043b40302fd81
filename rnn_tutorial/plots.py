"""Pictures: on white, readable on light and dark pages, in colours safe for the colour-blind.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito, Color Universal Design, 2008; black for the tenth.
COLOURS = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2",
    "#D55E00", "#CC79A7", "#999999", "#882255", "#000000",
)  # fmt: skip


def new_figure(
    width: float, height: float, panels: int = 1, rows: int = 1, **options: Any
) -> tuple[Any, Any]:
    """A figure of that many inches and its panels, so many side by side in each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, panels, figsize=(width, height), **options)


def save(figure: Any, path: Path) -> None:
    """Write a picture and forget the figure; the same figure gives the same file."""
    import matplotlib
    from matplotlib import pyplot

    figure.tight_layout()
    dated = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, dpi=110, facecolor="white", **dated)
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
    axes.axvspan(
        trained_lengths[0], trained_lengths[-1], color="#56B4E9", alpha=0.3, label="trained"
    )
    errors = [np.subtract(accuracy, low), np.subtract(high, accuracy)]
    axes.errorbar(lengths, accuracy, yerr=errors, marker="o", color="#0072B2", label="accuracy")
    axes.axhline(chance, linestyle="--", color="#777777", label="chance")
    axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="length of the sequence", ylabel="accuracy")
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    save(figure, path)


def draw_automaton(
    points: np.ndarray, residues: np.ndarray, centres: np.ndarray, digit: int, path: Path
) -> None:
    """Hidden states in two components, coloured by residue, with arrows for one digit.

    Args:
        points: (P, 2).
        residues: that the network answers there, (P,).
        centres: mean point of each residue, (C, 2), not finite where none is visited.
        digit: the arrows go from residue r to residue r + digit.
        path: the picture.
    """
    classes = len(centres)
    figure, axes = new_figure(6.4, 5.6)
    colours = [COLOURS[residue % len(COLOURS)] for residue in residues]
    axes.scatter(*points.T, s=5, c=colours, alpha=0.5, linewidths=0)
    visited = np.flatnonzero(np.isfinite(centres).all(axis=1))
    for residue in visited:
        following = (residue + digit) % classes
        if following in visited:
            arrow = {"arrowstyle": "->", "color": "#444444", "shrinkA": 10, "shrinkB": 12}
            axes.annotate("", centres[following], centres[residue], arrowprops=arrow)
    for residue in visited:
        box = {"boxstyle": "circle", "facecolor": "white", "alpha": 0.85}
        axes.text(*centres[residue], str(residue), ha="center", va="center", bbox=box)
    axes.set(xlabel="first component", ylabel="second component")
    axes.set_title(f"hidden states by residue; arrows: read the digit {digit}")
    save(figure, path)


def draw_growth(results: dict[str, Any], settings: Sequence[str], path: Path) -> None:
    """Updates per second against each setting, with the limit that the arithmetic sets."""
    figure, panels = new_figure(12, 3.4, len(settings), sharey=True)
    colours = {"autograd": "#0072B2", "compiled": "#D55E00", "graph": "#009E73"}
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
