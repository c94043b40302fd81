"""The picture of the benchmark: how fast training is as the network and the batch grow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.evaluation.plots import BLUE, GREEN, VERMILION, new_figure, save


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
