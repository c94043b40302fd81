"""What numba compiled is kept; no state of the folder or its files stops a training."""

import gc
import importlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

numba = pytest.importorskip("numba")

from rnn_tutorial.kernels.compiler import (  # noqa: E402
    compile_function,
    keep_compiled,
    without_collector,
)

COMPILING = "compiling the training loop (once)\n"


def double(x):
    return add(x, x)


@compile_function
def add(x, y):
    return x + y


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """NUMBA_CACHE_DIR, a new folder."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    return folder


def call_anew(function=double):
    """What a new process would get: the function is loaded or compiled, and doubles 21."""
    compiled = compile_function(function)
    keep_compiled(compiled)
    assert compiled(21) == 42


def the_file(folder):
    (path,) = (path for path in folder.rglob("*") if path.suffix)
    return path


def test_a_function_is_compiled_once_for_each_signature(folder, capfd):
    call_anew()
    assert capfd.readouterr() == (COMPILING, "")
    call_anew()
    assert capfd.readouterr() == ("", "")
    compiled = compile_function(double)
    keep_compiled(compiled)
    keep_compiled(compiled)
    assert compiled(np.ones(2)).tolist() == [2, 2]
    assert capfd.readouterr() == (COMPILING, "")
    assert len(list(folder.rglob("*.nbc"))) == 2


def test_the_garbage_collector_rests_and_is_put_back():
    for was_enabled in (False, True):
        (gc.enable if was_enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), without_collector():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() == was_enabled


DAMAGES = {
    "empty": lambda content: b"",
    "cut in the digest": lambda content: content[:31],
    "cut after the digest": lambda content: content[:32],
    "cut in the code": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"<html>not found</html>",
    "a pickle of something else": lambda content: b"\x80\x04N.",
    **{
        f"a flipped bit {where}": lambda content, at=at: flip(content, int(at * len(content)))
        for where, at in (("at the start", 0), ("in the code", 0.5), ("at the end", 0.999))
    },
}


def flip(content, position):
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_compiled_anew(damage, folder, capfd):
    call_anew()
    path = the_file(folder)
    path.write_bytes(damage(path.read_bytes()))
    capfd.readouterr()
    call_anew()
    assert capfd.readouterr() == (COMPILING, "")
    call_anew()
    assert capfd.readouterr() == ("", "")


def test_a_folder_in_place_of_a_file_is_said(folder, capfd):
    call_anew()
    path = the_file(folder)
    path.unlink()
    path.mkdir()
    capfd.readouterr()
    call_anew()
    output, errors = capfd.readouterr()
    assert output == COMPILING
    assert errors == f"the compiled training loop cannot be kept: Is a directory: {path}\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_said(folder, capfd):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        call_anew()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    output, errors = capfd.readouterr()
    assert output == COMPILING
    assert errors.startswith("the compiled training loop cannot be kept: File too large: ")
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_made_is_replaced_by_pycache(folder, tmp_path, capfd, monkeypatch):
    folder.write_text("a file of this name")
    (tmp_path / "kernels_elsewhere.py").write_text("def double(x):\n    return x + x\n")
    monkeypatch.syspath_prepend(tmp_path)
    call_anew(importlib.import_module("kernels_elsewhere").double)
    assert capfd.readouterr() == (COMPILING, "")
    assert [*(tmp_path / "__pycache__").glob("*.nbc")]


def test_without_any_folder_every_process_compiles(monkeypatch, capfd):
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "ZipCacheLocator")
    call_anew()
    expected = "compiling the training loop (each time: no folder to keep it in)\n"
    assert capfd.readouterr() == (expected, "")


def test_a_change_of_what_a_function_calls_is_noticed(tmp_path, monkeypatch, capfd):
    (tmp_path / "kernels_caller.py").write_text(
        "from kernels_called import add\n\ndef double(x):\n    return add(x, x)\n"
    )
    called = tmp_path / "kernels_called.py"
    decorate = "from rnn_tutorial.kernels.compiler import compile_function\n\n@compile_function\n"
    called.write_text(decorate + "def add(x, y):\n    return x - y\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError):
        call_anew(importlib.import_module("kernels_caller").double)
    called.write_text(decorate + "def add(x, y):\n    return x + y + 0 * x\n")
    for name in ("kernels_caller", "kernels_called"):
        del sys.modules[name]
    importlib.invalidate_caches()
    capfd.readouterr()
    call_anew(importlib.import_module("kernels_caller").double)
    assert capfd.readouterr() == (COMPILING, "")


def test_without_home_and_with_a_folder_that_cannot_be_made(tmp_path, script_environment):
    """In a process of its own, so that numba meets this environment when it is imported."""
    (tmp_path / "kernels_elsewhere.py").write_text("def double(x):\n    return x + x\n")
    code = f"""
import sys
sys.path[:0] = [{str(REPOSITORY)!r}]
from kernels_elsewhere import double
from rnn_tutorial.kernels.compiler import compile_function, keep_compiled
compiled = compile_function(double)
keep_compiled(compiled)
assert compiled(21) == 42
"""
    environment = script_environment | {"NUMBA_CACHE_DIR": "/dev/null/folder"}
    environment.pop("HOME", None)
    for expected in (COMPILING, ""):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
