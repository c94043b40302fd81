"""Pictures that a command writes: whether it can, before the work, and whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnn_tutorial.runs.folder import check_place, write_atomically


def check_picture(path: str | Path | None, endings: Sequence[str] = (".png",)) -> None:
    """Raise ValueError unless such a picture can be written there; None is no picture."""
    if path is None:
        return
    if Path(path).suffix.lower() not in endings:
        known = f"{'one of ' * (len(endings) > 1)}{', '.join(endings)}"
        raise ValueError(f"--figure {str(path)!r} does not end in {known}")
    check_place(Path(path), "--figure")


def new_figure(width: float, height: float) -> Any:
    """A figure of matplotlib, of that many inches, without panels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def save_picture(
    figure: Any, path: str | Path, edit: Callable[[bytes], bytes] = bytes, **options: Any
) -> None:
    """Write a figure as its path ends, whole or not at all.

    Args:
        figure: of matplotlib.
        path: of the picture.
        edit: changes what is written.
        options: for `savefig`.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lower()[1:], **options)
    write_atomically(Path(path), edit(picture.getvalue()))
