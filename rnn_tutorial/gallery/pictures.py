"""Pictures that a command of the gallery writes: whether it can, before the work, and whole."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from rnn_tutorial.runs.folder import write_atomically


def check_picture(path: str | None) -> None:
    """Raise ValueError unless a picture can be written there; None is no picture."""
    if path is None:
        return
    if not path.endswith(".png"):
        raise ValueError(f"--figure {path!r} does not end in .png")
    figure = Path(path)
    if not figure.parent.is_dir():
        raise ValueError(f"--figure {path!r}: there is no folder {str(figure.parent)!r}")
    if figure.exists() and not figure.is_file():
        raise ValueError(f"--figure {path!r} is not a file")
    if not os.access(figure.parent, os.W_OK):
        raise ValueError(f"--figure {path!r}: its folder cannot be written to")


def new_figure(width: float, height: float) -> Any:
    """A figure of matplotlib, of that many inches, without panels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def save_picture(figure: Any, path: str) -> None:
    """Write a figure as a PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(Path(path), content.getvalue())
