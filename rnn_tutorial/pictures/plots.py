"""Pictures that commands draw: accuracy by length, and how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.pictures.canvas import (
    BLUE,
    CHANCE_LINE,
    GREEN,
    MUTED,
    SKY,
    VERMILION,
    legend_below,
    log_ticks,
    new_figure,
    save,
)


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
    axes.set(ylim=(-0.03, 1.05), xlabel="length of the sequence", ylabel="accuracy")
    log_ticks(axes, lengths)
    axes.legend(loc="lower left")
    save(figure, path)


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
        axes.set(yscale="log", xlabel=setting)
        log_ticks(axes, list(points))
    for axes in panels[:, 0]:
        axes.set_ylabel("updates per second")
    for axes in panels.flat[len(settings) :]:
        axes.set_axis_off()
    legend_below(panels[0, 0])
    save(figure, path, bottom=0.07)
