"""Pictures that a command of the gallery writes: whether it can, before the work, and whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rnn_tutorial.runs.folder import check_place, write_atomically


def check_picture(path: str | None) -> None:
    """Raise ValueError unless a picture can be written there; None is no picture."""
    if path is None:
        return
    if not path.endswith(".png"):
        raise ValueError(f"--figure {path!r} does not end in .png")
    check_place(Path(path), "--figure")


def new_figure(width: float, height: float) -> Any:
    """A figure of matplotlib, of that many inches, without panels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def save_picture(figure: Any, path: str) -> None:
    """Write a figure as a PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(Path(path), content.getvalue())
