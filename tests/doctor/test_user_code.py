"""A user's file is loaded as in its own project, and its errors are told by file and line."""

import sys

import pytest

from rnn_tutorial.doctor.user_code import find_named, make_named


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write a file of the user's; what it imports is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_functions_and_classes_are_called_and_objects_taken(file):
    path = file(
        "mine.py", "class A:\n    x = 1\n    def __iter__(self): ...\na = A()\ndef f(): return 2"
    )
    assert make_named(f"{path}:A", "--data").x == make_named(f"{path}:a", "--data").x == 1
    assert make_named(f"{path}:f", "--data") == 2
    assert find_named(f"{path}:f", "--call")() == 2


def test_a_file_is_loaded_once(file):
    path = file("mine.py", "print('loaded')\nx = []\ny = []")
    assert make_named(f"{path}:x", "--data") is make_named(f"{path}:x", "--evaluation")


def test_a_script_that_reads_its_flags_sees_none(file):
    path = file(
        "script.py",
        "import argparse, sys\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', default=3)\nflags = parser.parse_args()\n"
        "def make(): return flags.lr, parser.parse_args().lr, sys.argv[0]",
    )
    given = sys.argv
    assert make_named(f"{path}:make", "--data") == (3, 3, str(path))
    assert sys.argv is given


@pytest.mark.parametrize("is_package", [True, False])
def test_relative_imports(is_package, file):
    if is_package:
        file("some_package/__init__.py", "")
    file("some_package/layers.py", "size = 4")
    path = file("some_package/net.py", "from .layers import size\nfrom . import layers")
    assert make_named(f"{path}:size", "--module") == 4


def test_neighbours_and_the_folder_that_the_command_is_called_from(file):
    file("top_of_project.py", "a = 1")
    file("inside/beside_it.py", "b = 2")
    path = file("inside/net.py", "import beside_it, top_of_project as t\nc = t.a + beside_it.b")
    assert make_named("inside/net.py:c", "--module") == 3
    assert make_named(f"{path}:c", "--module") == 3


def test_a_file_takes_no_name_from_others(file):
    import random

    path = file("random.py", "x = 5")
    assert make_named(f"{path}:x", "--data") == 5
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ny = x +", "broken.py:2: SyntaxError: "),
        ("import nowhere_at_all", "broken.py:1: ModuleNotFoundError: No module named 'nowhere"),
        ("open('no.txt')", "broken.py:1: FileNotFoundError: [Errno 2] No such file"),
        ("import sys\nsys.exit('over')", "broken.py:2: SystemExit: over"),
        ("def x():\n    return {}['k']", "broken.py:2: KeyError: 'k'"),
    ],
)
def test_an_error_is_one_sentence_with_file_and_line(text, told, file):
    path = file("broken.py", text)
    with pytest.raises(ValueError) as raised:
        make_named(f"{path}:x", "--data")
    assert str(raised.value).startswith(f"{path.parent}/{told}")
    assert "\n" not in str(raised.value)
