"""Figures of the tutorials: those committed are what the results give, small, and shown."""

import re

import numpy as np
import pytest
from conftest import REPOSITORY
from matplotlib.image import imread

from rnn_tutorial.experiments.__main__ import READMES
from rnn_tutorial.experiments.figures import FIGURES, FOLDER, draw_packing

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def shape_and_numbers(path):
    """An SVG's text without its numbers, and the numbers; names made from hashes are dropped."""
    text = re.sub(r'(?<=["#(])[a-zA-Z]?[0-9a-f]{10}(?=[")])', "", path.read_text(encoding="utf-8"))
    return NUMBER.sub("", text), np.array([float(n) for n in NUMBER.findall(text)])


@pytest.mark.parametrize("name", FIGURES)
def test_a_committed_figure_is_drawn_from_the_committed_results(name, tmp_path):
    FIGURES[name](tmp_path / name)
    if name.endswith(".png"):
        drawn, committed = (imread(folder / name) for folder in (tmp_path, FOLDER))
        assert drawn.shape == committed.shape
        assert np.abs(drawn - committed).mean() < 1e-3
        return
    shape, numbers = shape_and_numbers(tmp_path / name)
    committed_shape, committed_numbers = shape_and_numbers(FOLDER / name)
    assert shape == committed_shape
    np.testing.assert_allclose(numbers, committed_numbers, atol=0.02)


def test_the_same_figure_gives_the_same_file(tmp_path):
    for folder in ("once", "again"):
        (tmp_path / folder).mkdir()
        draw_packing(tmp_path / folder / "packing.svg")
    once, again = (tmp_path / folder / "packing.svg" for folder in ("once", "again"))
    assert once.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_a_figure_is_small_and_shown(path):
    assert path.stat().st_size < 200_000
    shown = "".join((REPOSITORY / name).read_text(encoding="utf-8") for name in READMES)
    assert f"/figures/{path.name})" in shown


@pytest.mark.parametrize("name", [name for name in FIGURES if name.endswith(".svg")])
def test_a_figure_has_a_white_ground_on_dark_pages_too(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    first_patch = text[text.index('<g id="patch_1">') :]
    assert "fill: #ffffff" in first_patch[: first_patch.index("</g>")]
