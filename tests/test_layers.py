"""The plan of the house: imports point down, scripts stand alone, importing does nothing."""

import ast
import subprocess
import sys

import pytest
from conftest import REPOSITORY

LAYERS = {
    "task": 0, "config": 0, "terminal": 0, "run_folder": 0, "tracking": 0, "swanlab_worker": 0,
    "plots": 0, "distributed": 0, "check_certificate": 0, "findings": 0, "layers": 0,
    "provenance": 0, "timing": 0,
    "data": 1, "model": 1, "answers": 1, "optimizer": 1, "schedule": 1, "textbook": 1,
    "module_probe": 1, "who_did_it": 1, "data_checks": 1, "loop_checks": 1,
    "catalogue": 1,
    "compiled": 2, "cuda_graph": 2, "checkpoint": 2, "inference": 2, "module_rows": 2,
    "module_time": 2, "module_faults": 2, "examples": 2, "probe": 2, "runs": 2,
    "exact": 3, "proof": 3, "automaton": 3, "module_checks": 3, "evidence": 3,
    "certify": 4, "launch": 4, "tasks": 4, "run_checks": 4,
    "evaluate": 5, "report": 5, "watch": 5,
    "train_cls_rnn": 6, "predict_cls_rnn": 6,
    "benchmark": 7, "self_test": 7,
    "diagnose": 8,
    "peers": 9, "tables": 9, "lesson": 10, "result_figures": 10, "figures": 11, "__main__": 12,
}  # fmt: skip
PACKAGES = ("rnn_tutorial", "rnn_tutorial.doctor", "rnn_tutorial.experiments")
SOURCES = [
    *REPOSITORY.glob("*_cls_rnn.py"),
    *(
        path
        for package in PACKAGES
        for path in REPOSITORY.glob(f"{package.replace('.', '/')}/*.py")
        if path.stem != "__init__"
    ),
]


def project_imports(path):
    """Names of the project's modules that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            if node.module in PACKAGES:
                yield from (alias.name for alias in node.names)
            else:
                yield own_name(node.module)
        elif isinstance(node, ast.Import):
            yield from (own_name(alias.name) for alias in node.names)


def own_name(module):
    """The name in LAYERS of one of the project's modules; another's stays whole."""
    return module.rpartition(".")[2] if module.startswith("rnn_tutorial.") else module


def test_every_module_has_its_layer():
    assert sorted(path.stem for path in SOURCES) == sorted(LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_module_imports_only_from_layers_below(path):
    for name in project_imports(path):
        if name in LAYERS:
            assert LAYERS[name] < LAYERS[path.stem], f"{path.stem} imports {name}"


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
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_tutorials_names_are_importable_from_the_training_script():
    from train_cls_rnn import RnnClsNet, SeqSumModDataset

    assert next(iter(SeqSumModDataset())) and RnnClsNet(10, 10, 16, 1, 10)
