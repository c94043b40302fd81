"""The plan of the house: imports point down, scripts stand alone, importing does nothing."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from conftest import REPOSITORY

# The folders of rnn_tutorial/ from the lowest up, then the commands, then the scripts.
LAYERS = [
    "settings", "runs", "machines", "data", "model", "evaluation", "pictures", "tasks", "proof",
    "prediction", "kernels", "training", "measure", "doctor", "gallery", "experiments", "commands",
    "scripts",
]  # fmt: skip
SOURCES = [
    path
    for path in [*REPOSITORY.glob("*_cls_rnn.py"), *REPOSITORY.glob("rnn_tutorial/**/*.py")]
    if path.stem != "__init__"
]


def layer_of(path):
    """The place in LAYERS of a source file."""
    inside = path.relative_to(REPOSITORY).parts
    if len(inside) == 1:
        return LAYERS.index("scripts")
    return LAYERS.index("commands" if len(inside) == 2 else inside[1])


def project_imports(path):
    """The files of the project that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            found = REPOSITORY / f"{module.replace('.', '/')}.py"
            if found in SOURCES:
                yield found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_module_imports_from_its_own_folder_or_from_layers_below(path):
    """A folder within its own is part of it."""
    for imported in project_imports(path):
        is_below = layer_of(imported) < layer_of(path)
        is_in_a_part = layer_of(path) < LAYERS.index("commands")  # commands and scripts stand alone
        assert is_below or (is_in_a_part and imported.is_relative_to(path.parent)), imported


def test_the_checker_of_certificates_shares_no_code_with_the_prover():
    assert not [*project_imports(REPOSITORY / "rnn_tutorial/proof/check.py")]


def test_imports_within_a_folder_go_in_no_circle():
    graph = {path: {p for p in project_imports(path) if p != path} for path in SOURCES}
    for module in TopologicalSorter(graph).static_order():
        assert module in graph


def test_every_folder_says_in_a_sentence_what_lives_there():
    for folder in LAYERS[:-2]:
        said = ast.get_docstring(
            ast.parse((REPOSITORY / "rnn_tutorial" / folder / "__init__.py").read_text("utf-8"))
        )
        sentence = said.partition("\n")[0]
        assert sentence.endswith(".") and 30 < len(sentence) < 100, folder


def test_nothing_runs_at_import(tmp_path):
    paths = [path.relative_to(REPOSITORY).with_suffix("") for path in SOURCES]
    modules = [".".join(path.parts) for path in paths]
    code = f"""
import os, sys
import torch
environment = dict(os.environ)
sys.path.insert(0, {str(REPOSITORY)!r})
import {", ".join(modules)}
assert os.environ == environment
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_tutorials_names_are_importable_from_the_training_script():
    from train_cls_rnn import RnnClsNet, SeqSumModDataset

    assert next(iter(SeqSumModDataset())) and RnnClsNet(10, 10, 16, 1, 10)
