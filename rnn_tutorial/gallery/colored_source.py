"""Source in colour, by class of character: for a terminal, or as a page of its own.

Control characters are escaped, and so is HTML; line ends and tabs stay as they are. Where the truth
is known, what is labelled wrong is underlined.
"""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rnn_tutorial.gallery.source_classes import CLASSES
from rnn_tutorial.runs.files import check_place
from rnn_tutorial.runs.terminal import shown

COLOR_CHOICES = ("auto", "always", "never")
# The terminal's own colours, which its user has chosen to go with the background.
# Source: ECMA-48, 8.3.117, SGR; 90 is "bright black", as in xterm.
_TERMINAL_COLORS = {
    "keyword": "1;35", "string": "32", "comment": "90", "number": "36", "operator": "33",
}  # fmt: skip
_UNDERLINED, _RESET = "4", "\x1b[0m"
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --name: #1f2328; --keyword: #b0145a;
  --string: #0f6b2f; --comment: #5c646d; --number: #0550ae; --operator: #8a4600; --wrong: #c00; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --name: #e6edf3;
  --keyword: #ff8fc2; --string: #8ddb8c; --comment: #9aa4af; --number: #79c0ff;
  --operator: #ffb066; --wrong: #ff7b72; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--ground);
  color: var(--name); font-family: system-ui, sans-serif; }
pre { overflow-x: auto; line-height: 1.4; tab-size: 8; }
.keyword { color: var(--keyword); font-weight: bold } .string { color: var(--string) }
.comment { color: var(--comment); font-style: italic } .number { color: var(--number) }
.operator { color: var(--operator) }
u { text-decoration: underline wavy var(--wrong); text-underline-offset: 3px; }
"""


def wants_color(choice: str) -> bool:
    """Whether to print in colour, given one of COLOR_CHOICES.

    Source: https://no-color.org: NO_COLOR, if it is not empty, whatever its value.
    """
    if choice == "auto":
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return sys.stdout.isatty() and not is_plain
    return choice == "always"


def visible(text: str) -> str:
    """A text whose control characters are escaped, except line ends and tabs."""
    return re.sub(r"[^\n\t]+", lambda match: shown(match[0]), text)


def for_terminal(text: str, found: np.ndarray, truth: np.ndarray | None) -> str:
    """The text with the escapes that colour it.

    Args:
        text: of T characters.
        found: the class of each, (T,).
        truth: what it should be, (T,), if that is known.
    """
    parts = []
    for piece, name, right_name in _spans(text, found, truth):
        codes = [_TERMINAL_COLORS[name]] if name in _TERMINAL_COLORS else []
        codes += [_UNDERLINED] if name != right_name else []
        for line in visible(piece).splitlines(keepends=True):  # each of its own: pagers need it
            content = line.removesuffix("\n")
            is_colored = codes and content
            parts.append(f"\x1b[{';'.join(codes)}m{content}{_RESET}" if is_colored else content)
            parts.append(line[len(content) :])
    return "".join(parts)


def as_page(
    title: str, summary: str, text: str, found: np.ndarray, truth: np.ndarray | None
) -> str:
    """A page that needs nothing else, for light and dark screens; arguments as for_terminal's.

    Args:
        title: the name of the file.
        summary: a sentence.
    """
    parts = []
    for piece, name, right_name in _spans(text, found, truth):
        content = html.escape(visible(piece), quote=False)
        if name != right_name:
            title_of_mistake = f"{name}; tokenize has {right_name}"
            parts.append(f'<u class="{name}" title="{title_of_mistake}">{content}</u>')
        elif name in _TERMINAL_COLORS:
            parts.append(f'<span class="{name}">{content}</span>')
        else:
            parts.append(content)
    legend = ", ".join(f'<span class="{name}">{name}</span>' for name in _TERMINAL_COLORS)
    heading = html.escape(shown(title))
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{_STYLE}</style>
<h1>{heading}</h1>
<p>{html.escape(summary)}</p>
<p>In colour: {legend}. Names and blanks are not.</p>
<pre><code>{"".join(parts)}</code></pre>
</html>
"""


def check_page(page: str, source: Path) -> Path:
    """The path of a page that may be written; ValueError, naming --html, if it may not."""
    path = Path(page)
    if path.suffix.lower() not in (".html", ".htm"):  # nobody overwrites source by a slip
        raise ValueError(f"--html {page!r} does not end in .html or .htm")
    check_place(path, "--html")
    if path.exists() and source.exists() and path.samefile(source):
        raise ValueError(f"--html {page!r} is the file itself")
    return path


def _spans(
    text: str, found: np.ndarray, truth: np.ndarray | None
) -> Iterator[tuple[str, str, str]]:
    """The longest pieces that are alike: text, name of the class found, of the right one."""
    truth = found if truth is None else truth
    is_new = (np.diff(found, prepend=255) != 0) | (np.diff(truth, prepend=255) != 0)
    begins = np.flatnonzero(is_new).tolist()
    for begin, end in zip(begins, [*begins[1:], len(text)], strict=False):  # no text, no piece
        yield text[begin:end], CLASSES[found[begin]], CLASSES[truth[begin]]
