"""The tutorials as executed notebooks.

    python -m rnn_tutorial.experiments notebooks

A README's Python becomes code cells, its commands too; its prose stays as it is. What a README
shows as output is left out: the notebook has its own.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnn_tutorial.runs.files import write_atomically
from rnn_tutorial.runs.provenance import REPOSITORY

FOLDER = "rnn_tutorial/notebooks"
NOTEBOOKS = {
    "part1": "README.md",
    "part2": "README_next.md",
    "gallery": "rnn_tutorial/gallery/README.md",
}
FIRST_CELL = (
    "# Go to the project's folder and install what is missing. Nothing else is fetched.\n"
    "%cd -q ../..\n"
    "%pip install -q -r requirements.txt"
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- (?:(?:table|code): [\w.-]+|end) -->\n?")
_LINK = re.compile(r'(\]\(|src="|srcset=")([^)#":]+)(?=[)#"])')  # not to other hosts
_INSTALL = "python -m pip install -r requirements.txt && "
# What waits for the reader, runs the tests, writes to the project, or needs a file of the reader.
_NOT_RUN = re.compile(
    r"pytest|swanlab|my_net|experiments|--resume|predict_cls_rnn\.py$", re.MULTILINE
)
_FAILURE = re.compile(r"^Traceback \(most recent call last\)|^[\w.\- ]+: error: ", re.MULTILINE)
_SECONDS = 3600  # for one cell


def write_notebook(name: str) -> Path:
    """Make, execute and write a notebook; returns where it lies.

    Raises:
        RuntimeError: a cell failed.
    """
    import nbformat
    from nbclient.exceptions import CellExecutionError

    notebook = make_notebook(name)
    try:
        execute(notebook)
    except CellExecutionError as error:
        raise RuntimeError(f"a cell of {NOTEBOOKS[name]} failed: {error}") from None
    path = REPOSITORY / FOLDER / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, (nbformat.writes(notebook) + "\n").encode())
    return path


def make_notebook(name: str) -> Any:
    """The notebook of a README, not executed."""
    from nbformat import v4

    readme = NOTEBOOKS[name]
    text = (REPOSITORY / readme).read_text(encoding="utf-8")
    cells = [v4.new_code_cell(FIRST_CELL), *_cells(text, posixpath.dirname(readme))]
    for number, cell in enumerate(cells):
        cell.id = f"{name}-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _cells(text: str, folder: str) -> Iterator[Any]:
    """The cells of a README that lies in a folder: prose, code, and commands."""
    from nbformat import v4

    prose, place, is_code = "", 0, False
    for block in _FENCED.finditer(text):
        between, language, content = text[place : block.start()], block[1], block[2].rstrip()
        place = block.end()
        is_output = is_code and language == "text" and not _MARKER.sub("", between).strip()
        is_code = language == "python" or (language == "sh" and not _NOT_RUN.search(content))
        prose += between
        if is_output:
            continue
        if is_code:
            yield from _prose_cell(prose, folder)
            prose = ""
            if language == "sh":  # the first cell has installed
                lines = content.replace(_INSTALL, "").splitlines()
                content = "\n".join(f"!{line}" for line in lines)
            yield v4.new_code_cell(content)
        else:
            prose += block[0]
    yield from _prose_cell(prose + text[place:], folder)


def _prose_cell(text: str, folder: str) -> Iterator[Any]:
    from nbformat import v4

    def move(link: re.Match) -> str:
        return link[1] + posixpath.relpath(posixpath.join(folder, link[2]), FOLDER)

    if prose := _LINK.sub(move, _MARKER.sub("", text)).strip():
        yield v4.new_markdown_cell(prose)


def execute(notebook: Any, seconds: int = _SECONDS) -> None:
    """Run the cells of a notebook but the first, and keep what they print.

    They run in an empty folder with links to the project, so that runs have the names they should.

    Args:
        seconds: that one cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
        RuntimeError: a command that starts with "!" did.
    """
    from nbclient import NotebookClient

    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # From Python 3.12 on, it warns of how the kernel starts commands.
    warnings = "default,ignore:This process:DeprecationWarning"
    plain = {"PATH": programs, "PYTHONWARNINGS": warnings, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for path in REPOSITORY.iterdir():
            if path.name not in ("output", "swanlog"):
                Path(folder, path.name).symlink_to(path)
        options = {"timeout": seconds, "coalesce_streams": True}  # one bar, not all of its states
        client = NotebookClient(notebook, resources={"metadata": {"path": folder}}, **options)
        with client.setup_kernel(env={**os.environ, **plain}):
            for index, cell in enumerate(notebook.cells):
                if index and cell.cell_type == "code":
                    client.execute_cell(cell, index)
                    cell.metadata = {}  # without the time of day
                    for output in cell.outputs:
                        if "text" in output:  # of a terminal
                            output.text = output.text.replace("\r\n", "\n")
                            if _FAILURE.search(output.text):
                                raise RuntimeError(f"a command failed: {output.text}")
