"""Boxes of hidden states of the network of part 2 whose two units add bits modulo 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_tutorial.experiments.diagrams import arrow, write
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.pictures.canvas import (
    BLUE,
    INK,
    SOFT_BLUE,
    SOFT_ORANGE,
    VERMILION,
    new_figure,
    save,
)
from rnn_tutorial.proof.intervals import IntervalNet

# Corners (a, b): a says "p or the bit", b "p and the bit". Neither or both: even; only a: odd.
_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0]])
_PARITY = ("even", "odd", "even")
# Where each leads, by bit: 0 keeps the parity (if it is even, in "neither"), 1 changes it.
_LEADS_TO = np.array([[0, 1], [1, 2], [0, 1]])
_BIT_COLOURS = (BLUE, VERMILION)
_GAIN = 4.5  # part 2 has 8, which leaves of a box hardly anything that could be seen
_WIDTH = 0.3  # of the first boxes
_STEPS = 3


def make_parity_net(gain: float) -> RnnClsNet:
    """a = tanh(gain (p + x − ½)) and b = tanh(gain (p + x − 1½)) for the parity p = (a − b) / 2."""
    net = RnnClsNet(vocab_size=2, embed_dim=1, hidden_dim=2, num_layers=1, cls_num=2)
    with torch.no_grad():
        net.embedding.weight[:2] = torch.tensor([[0.0], [1.0]])
        net.rnn.weight_ih_l0[:] = gain * torch.tensor([[1.0], [1.0]])
        net.rnn.weight_hh_l0[:] = gain * torch.tensor([[0.5, -0.5], [0.5, -0.5]])
        net.rnn.bias_ih_l0[:] = gain * torch.tensor([-0.5, -1.5])
        net.rnn.bias_hh_l0.zero_()
        net.fc.weight[:] = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
        net.fc.bias[:] = torch.tensor([1.0, -1.0])
    return net


def shrinking_boxes() -> tuple[list[np.ndarray], np.ndarray]:
    """Boxes at the three corners, step after step, and the images of the first ones.

    Returns:
        For each step lows and highs of what can be near each corner, (2, 3, 2), and the images by
        corner and bit, (2, 3, 2, 2).
    """
    net = IntervalNet(make_parity_net(_GAIN))
    inner = _CORNERS * (1 - _WIDTH)
    boxes = [np.stack([np.minimum(_CORNERS, inner), np.maximum(_CORNERS, inner)])]
    first_images = None
    for _ in range(_STEPS):
        low, high = boxes[-1]
        of_bits = [np.concatenate(ends, axis=1) for ends in net.images(low[:, None], high[:, None])]
        images = np.stack([bit.reshape(3, 2, 2).swapaxes(0, 1) for bit in of_bits], axis=2)
        first_images = images if first_images is None else first_images  # (2 ends, 3, 2, 2 units)
        into = [corner == _LEADS_TO for corner in range(3)]
        boxes.append(
            np.stack(
                [
                    [images[0][mask].min(axis=0) for mask in into],
                    [images[1][mask].max(axis=0) for mask in into],
                ]
            )
        )
    return boxes, first_images


def draw_boxes(path: Path) -> None:
    """Left, the first boxes and where a bit takes them; right, one of them, step after step."""
    boxes, images = shrinking_boxes()
    figure, (left, right) = new_figure(4, 2)
    for corner, centre in enumerate(_CORNERS * (1 - _WIDTH / 2)):
        _rectangle(left, *boxes[0][:, corner], facecolor=_ground(corner), edgecolor=INK)
        for bit, colour in enumerate(_BIT_COLOURS):
            image = images[:, corner, bit]
            _rectangle(left, *image, facecolor=colour, edgecolor=colour, zorder=3)
            if _LEADS_TO[corner, bit] != corner:
                bend = f"arc3,rad={0.25 if _PARITY[corner] == 'odd' else 0.15}"
                arrow(left, tuple(centre), tuple(image.mean(axis=0)), color=colour,
                      connectionstyle=bend, mutation_scale=9)  # fmt: skip
    odd = _PARITY.index("odd")
    for step, box in enumerate(boxes):
        low, high = box[:, odd]
        _rectangle(right, low, high, facecolor=_ground(odd), edgecolor=INK, alpha=0.7)
        words = "after 0 steps" if step == 0 else str(step)
        place, side = (low[0] + 0.01, high[1] - 0.018), "left"
        if step == _STEPS:  # too small for its number
            place, side = (low[0] - 0.007, (low[1] + high[1]) / 2), "right"
        write(right, *place, words, 12, zorder=3, ha=side)
    margin = 0.1 * _WIDTH
    left.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    left.set_title("where a bit takes a box")
    right.set(xlim=(1 - _WIDTH - margin, 1 + margin), ylim=(-1 - margin, _WIDTH - 1 + margin))
    right.set(xticks=(0.7, 1), yticks=(-1, -0.7), title="the odd box shrinks")
    for axes in (left, right):
        axes.set(aspect="equal", xlabel="unit a")
        axes.set_ylabel("unit b", labelpad=0)
    _explain(figure)
    save(figure, path, bottom=0.16)


def _ground(corner: int) -> str:
    return SOFT_ORANGE if _PARITY[corner] == "odd" else SOFT_BLUE


def _explain(figure: Any) -> None:
    """The legend, below the figure."""
    from matplotlib.patches import Patch

    boxes = [
        Patch(facecolor=_ground(_PARITY.index(parity)), edgecolor=INK,
              label=f"box of {parity} states")
        for parity in ("even", "odd")
    ]  # fmt: skip
    bits = [
        Patch(color=colour, label=f"a box, after bit {bit}")
        for bit, colour in enumerate(_BIT_COLOURS)
    ]
    figure.legend(handles=[*boxes, *bits], loc="lower center", ncols=2)


def _rectangle(axes: Any, low: np.ndarray, high: np.ndarray, **look: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(tuple(low), *(high - low), linewidth=1, **look))
