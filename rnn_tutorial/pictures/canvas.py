"""What all figures share: colours for light and dark pages, letters, and how a file is written.

A drawing function names colours and does not know for which page it draws. `draw_for_pages` calls
it twice, for name.svg and name-dark.svg, on a transparent ground; a figure that a command draws
outside of it stands on white. In an SVG, text stays text: it can be selected and searched.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnn_tutorial.runs.files import check_place, write_atomically

# Each colour on light and on dark pages. The first eight are those of Okabe and Ito (Color
# Universal Design, 2008), some made darker or lighter to stand out from the page.
_COLOURS = {
    "orange": ("#E69F00", "#F0B030"),
    "sky": ("#56B4E9", "#A5D8F8"),
    "green": ("#009E73", "#2CC295"),
    "yellow": ("#C9B400", "#F0E442"),
    "blue": ("#0066A6", "#3F8FE0"),
    "vermilion": ("#C85200", "#FF8A3D"),
    "purple": ("#CC79A7", "#E88CC8"),
    "grey": ("#7A838C", "#8B949E"),
    "wine": ("#882255", "#C2528A"),
    "ink": ("#1F2328", "#E6EDF3"),
    "muted": ("#59636E", "#A3ACB6"),  # text and lines that stand back
    "paper": ("#FFFFFF", "#0D1117"),  # the page, behind a label
    "soft blue": ("#CFE6F7", "#173F5F"),  # grounds for ink
    "soft orange": ("#FBDFA3", "#6A4A08"),
    "soft green": ("#BFE8DA", "#12503F"),
    "soft pink": ("#F1D3E4", "#5A2A48"),
    "soft grey": ("#E7EAED", "#2A313A"),
}
# matplotlib looks C0, C1, … up in its property cycle: so one drawing gets the colours of its page.
_NAMES = tuple(f"C{index}" for index in range(len(_COLOURS)))
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY, WINE, INK, MUTED, PAPER = _NAMES[:12]
SOFT_BLUE, SOFT_ORANGE, SOFT_GREEN, SOFT_PINK, SOFT_GREY = _NAMES[12:]

# Of ten classes; the first five are told apart by everybody.
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, YELLOW, SKY, ORANGE, GREY, WINE, INK)
# Of four lines in one figure: colour, marker, and style.
LOOKS = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"))
CHANCE_LINE = {"linestyle": "--", "color": MUTED, "linewidth": 1}
PICTURES = (".png", ".svg", ".pdf")
_WIDTH = 6  # inches
_FONT = "DejaVu Sans"  # matplotlib brings it, so that a figure is laid out alike everywhere


@dataclass(frozen=True)
class Page:
    """Where a figure stands: its colours, its ground, and what its file's name ends in."""

    colour: int  # 0 on light pages, 1 on dark ones
    ground: str
    suffix: str = ""


LIGHT, DARK, WHITE = Page(0, "none"), Page(1, "none", "-dark"), Page(0, "white")
_page = ContextVar("page", default=WHITE)


def draw_for_pages(draw: Callable[[Path], None], path: Path) -> list[Path]:
    """Draw a figure for light and for dark pages; returns where."""
    paths = []
    for page in (LIGHT, DARK):
        paths.append(path.with_stem(path.stem + page.suffix))
        token = _page.set(page)
        try:
            draw(paths[-1])
        finally:
            _page.reset(token)
    return paths


def new_figure(
    height: float, panels: int = 1, rows: int = 1, width: float = _WIDTH, **options: Any
) -> tuple[Any, Any]:
    """A figure of that many inches and its panels, so many side by side in each row.

    All figures of a page are equally wide, and a telephone shows them 400 pixels wide: so letters
    of 12 points are 11 pixels high there, and none should be smaller.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(_style())
    return pyplot.subplots(rows, panels, figsize=(width, height), **options)


def resolve(colour: str) -> str:
    """A named colour of this module as #RRGGBB, on the page that is drawn for."""
    return list(_COLOURS.values())[int(colour[1:])][_page.get().colour]


def _style() -> dict[str, Any]:
    """Settings of matplotlib for the page that is drawn for."""
    from matplotlib import cycler

    lines = ("axes.edgecolor", "xtick.color", "ytick.color")
    words = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
    return {
        "axes.prop_cycle": cycler(color=[pair[_page.get().colour] for pair in _COLOURS.values()]),
        "figure.facecolor": _page.get().ground,
        "savefig.facecolor": _page.get().ground,
        "axes.facecolor": "none",
        **dict.fromkeys(lines, resolve(MUTED)),
        **dict.fromkeys(words, resolve(INK)),
        "grid.color": resolve(GREY),
        "grid.alpha": 0.3,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.family": "sans-serif",
        "font.sans-serif": [_FONT],
        "font.monospace": [f"{_FONT} Mono"],
        "font.size": 12,
        "axes.titlesize": 12,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "legend.fontsize": 12,
        "legend.frameon": False,
        "mathtext.fontset": "dejavusans",
        "svg.fonttype": "none",
    }


def log_ticks(axes: Any, values: Sequence[float], names: Mapping[float, str] | None = None) -> None:
    """A logarithmic x axis with a grid and ticks at these values only; `names` relabels some."""
    axes.set_xscale("log")
    axes.set_xticks(values, [(names or {}).get(value, f"{value:,}") for value in values])
    axes.minorticks_off()
    axes.grid()


def legend_below(axes: Any, **options: Any) -> None:
    """The legend of a figure, below it, of what is labelled in one panel.

    Args:
        axes: the panel.
        options: of matplotlib's legend.
    """
    handles, labels = axes.get_legend_handles_labels()
    options = {"ncols": len(labels), "columnspacing": 1.2, **options}
    axes.figure.legend(handles, labels, loc="lower center", **options)


def check_picture(path: str | Path | None) -> None:
    """Raise ValueError unless a picture can be written there; None is no picture."""
    if path is None:
        return
    if Path(path).suffix.lower() not in PICTURES:
        raise ValueError(f"--figure {str(path)!r} does not end in one of {', '.join(PICTURES)}")
    check_place(Path(path), "--figure")


def save(figure: Any, path: Path, edit: Callable[[str], str] = str, bottom: float = 0) -> None:
    """Write a picture and forget the figure; the same figure gives the same file.

    Args:
        figure: of matplotlib.
        path: its ending says which kind of picture.
        edit: changes the text of an SVG.
        bottom: share of the height that is left free for a legend of the whole figure.

    Raises:
        ValueError: it cannot be written there.
    """
    import matplotlib
    from matplotlib import pyplot

    figure.tight_layout(rect=(0, bottom, 1, 1))
    ending = path.suffix.lower()
    date = {".svg": "Date", ".pdf": "CreationDate"}.get(ending)
    options = {"metadata": {date: None}} if date else {}
    picture = io.BytesIO()
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        with matplotlib.rc_context({"svg.hashsalt": path.name}):
            figure.savefig(picture, format=ending[1:], dpi=110, **options)
        content = picture.getvalue()
        if ending == ".svg":
            content = edit(_with_any_font(content.decode())).encode()
        write_atomically(path, content)
    except OSError as error:
        raise ValueError(
            f"the picture {str(path)!r} cannot be written: {error.strerror or error}"
        ) from None
    finally:
        pyplot.close(figure)


def _with_any_font(svg: str) -> str:
    """Formulas, too, take any sans-serif font where that of the layout is missing."""
    return re.sub(r"(font-family: '[^']*')(?!,)", r"\1, sans-serif", svg)
