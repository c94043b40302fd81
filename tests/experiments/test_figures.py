"""Figures of the tutorials: those committed are what the results give, small, and shown."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from torch import nn

from rnn_tutorial.experiments.__main__ import READMES
from rnn_tutorial.experiments.boxes import shrinking_boxes
from rnn_tutorial.experiments.diagrams import draw_packing
from rnn_tutorial.experiments.figures import FIGURES, FOLDER
from rnn_tutorial.experiments.jacobians import jacobian_norms
from rnn_tutorial.experiments.lesson import EMBED_DIM
from rnn_tutorial.experiments.walk import STATES, walk_digits
from rnn_tutorial.machines.digit_sum import label
from rnn_tutorial.pictures.canvas import draw_for_pages
from rnn_tutorial.runs.files import read_json

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def shape_and_numbers(path):
    """An SVG's text without its numbers, and the numbers; names made from hashes are dropped."""
    text = re.sub(r'(?<=["#(])[a-zA-Z]?[0-9a-f]{10}(?=[")])', "", path.read_text(encoding="utf-8"))
    return NUMBER.sub("", text), np.array([float(n) for n in NUMBER.findall(text)])


def pages(path):
    """The figure for light and the one for dark pages."""
    return path, path.with_stem(f"{path.stem}-dark")


@pytest.mark.parametrize("name", FIGURES)
def test_a_committed_figure_is_drawn_from_the_committed_results(name, tmp_path):
    drawn = draw_for_pages(FIGURES[name], tmp_path / name)
    for path, committed in zip(drawn, pages(FOLDER / name), strict=True):
        shape, numbers = shape_and_numbers(path)
        committed_shape, committed_numbers = shape_and_numbers(committed)
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
    is_dark = path.stem.endswith("-dark")
    before = "srcset" if is_dark else '.*alt=".{40,}" src'
    embedded = rf'<.*{before}="[\w./]*/figures/{re.escape(path.name)}">'
    assert re.search(embedded, shown) or f"/figures/{path.name})" in shown  # a screenshot is plain


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_no_ground_and_colours_of_its_page(name):
    light, dark = (path.read_text(encoding="utf-8") for path in pages(FOLDER / name))
    for text in (light, dark):
        ground = text[text.index('<g id="patch_1">') :]
        assert "fill: none" in ground[: ground.index("</g>")]
        assert "<text" in text  # which can be selected
    assert "#e6edf3" in dark and "#1f2328" not in dark
    assert "#1f2328" in light and "#e6edf3" not in light


def test_a_figure_that_a_command_draws_is_on_white(tmp_path):
    draw_packing(tmp_path / "packing.svg")
    text = (tmp_path / "packing.svg").read_text(encoding="utf-8")
    assert "fill: #ffffff" in text[text.index('<g id="patch_1">') :].partition("</g>")[0]


def test_norms_of_jacobians_are_those_of_autograd():
    """Of a linear net (tanh of next to nothing) they are the singular values of powers of W_hh."""

    def make_net():
        net = nn.RNN(EMBED_DIM, 3, batch_first=True, bias=False)
        with torch.no_grad():
            net.weight_ih_l0.mul_(1e-6)
        return net

    norms = jacobian_norms(make_net, seed=0, num_steps=4)
    torch.manual_seed(0)
    weight = make_net().double().weight_hh_l0.detach()
    expected = [
        torch.linalg.matrix_norm(torch.linalg.matrix_power(weight, s), ord=2) for s in range(4)
    ]
    assert norms == pytest.approx([norm.item() for norm in expected])


def test_boxes_of_the_parity_net_shrink_and_contain_their_images():
    boxes, images = shrinking_boxes()
    for (low, high), (next_low, next_high) in pairwise(boxes):
        assert (next_low > low - 1e-5).all() and (next_high < high + 1e-5).all()
    assert (images[0] <= images[1]).all()
    widths = [float((high - low).max()) for low, high in boxes]
    assert widths[-1] < widths[0] / 4


def test_the_solved_network_of_the_walk_is_right_and_the_other_is_not():
    results = read_json(STATES)
    assert results["digits"] == walk_digits().tolist()
    right = [label(results["digits"][:t], 9) for t in range(1, len(results["digits"]) + 1)]
    answers = {name: walk["answers"] for name, walk in results["walks"].items()}
    assert answers["solved"] == right and answers["sota_warmup"][:5] == right[:5]
    assert answers["sota_warmup"] != right
