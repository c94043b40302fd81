"""Attention as a picture: which unit of the source is looked at for each unit of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnn_tutorial.pictures.canvas import new_figure, save

SHADES = " ░▒▓█"


def draw_in_text(weights: np.ndarray, answer: Sequence[str], source: Sequence[str]) -> list[str]:
    """Lines of block characters, one row a unit of the answer, one column a unit of the source.

    A block's shade is the share of attention to the nearest quarter: blank is 0, full is 1.

    Args:
        weights: each row sums to 1, (T, S).
        answer: names of the rows, T.
        source: names of the columns, S.
    """
    width = max(map(len, source)) + 2
    margin = max(map(len, answer)) + 2
    shades = np.rint(weights * (len(SHADES) - 1)).astype(int)
    lines = [" " * margin + "".join(f"{name:^{width}}" for name in source)]
    for name, row in zip(answer, shades, strict=True):
        blocks = "".join(f"{SHADES[shade] * (width - 1):<{width}}" for shade in row)
        lines.append(f"{name:>{margin - 1}} {blocks}")
    return [line.rstrip() for line in lines]


def draw_to_file(
    path: str, weights: np.ndarray, answer: Sequence[str], source: Sequence[str], title: str
) -> None:
    """Write the same as a picture."""
    figure, axes = new_figure(1.3 + 0.42 * len(answer), width=1.6 + 0.42 * len(source))
    picture = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(source)), source, parse_math=False)
    axes.set_yticks(range(len(answer)), answer, parse_math=False)
    axes.xaxis.tick_top()
    axes.set_title(title, fontsize=10, parse_math=False)
    figure.colorbar(picture, ax=axes, label="share of attention", shrink=0.9)
    save(figure, Path(path))
