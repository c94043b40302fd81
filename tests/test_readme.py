"""The READMEs are true: commands run, code prints what is shown, links and images exist."""

import contextlib
import io
import re
import shlex

import pytest
from conftest import REPOSITORY

import predict_cls_rnn
import train_cls_rnn

READMES = ("README.md", "README_next.md")


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", read(name), flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for name in READMES for block in blocks(name, "sh") for line in block.splitlines()]


def quick(arguments):
    """The same training in a few steps; a warmup must fit in."""
    return [*arguments, "--total_steps", "10", "--tracker", "disabled"] + (
        ["--warmup_step", "5"] if "--warmup_step" in arguments else []
    )


def test_the_readme_begins_with_the_two_commands():
    assert COMMANDS[:2] == [
        "python -m pip install -r requirements.txt && python train_cls_rnn.py --recipe solved",
        "python -m pip install -r requirements.txt && python -m pytest",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command, trained_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output").symlink_to(trained_folder / "output")
    _, _, script = command.rpartition("&& ")
    _, _, script = script.rpartition("| ")
    program, *arguments = shlex.split(script)
    if script in ("swanlab watch", "python -m pytest"):
        return  # the first serves until it is stopped, and is tested with the tracker
    assert program == "python"
    name, *arguments = arguments
    if name == "train_cls_rnn.py":
        if "--resume" not in arguments:
            (tmp_path / "output").unlink()
            arguments = quick(arguments)
        assert train_cls_rnn.main(arguments) == 0
        assert "Ask it: python predict_cls_rnn.py" in capsys.readouterr().out
    else:
        assert name == "predict_cls_rnn.py"
        typed = re.fullmatch(r"printf '(.*)' \| .*", command)
        monkeypatch.setattr(
            "sys.stdin", io.StringIO(typed[1].replace(r"\n", "\n") if typed else "")
        )
        assert predict_cls_rnn.main(arguments) == 0
        assert ("6" in capsys.readouterr().out) == bool(arguments)


@pytest.mark.parametrize("name", READMES)
def test_python_blocks_print_what_the_text_shows(name):
    namespace = {}
    parts = re.findall(
        r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?",
        read(name),
        flags=re.MULTILINE | re.DOTALL,
    )
    for code, shown in parts:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        assert printed.getvalue() == shown


@pytest.mark.parametrize("name", READMES)
def test_links_and_images_exist(name):
    for target in re.findall(r"\]\(([^)#]+)", read(name)):
        assert target.startswith("https://") or (REPOSITORY / target).exists(), target


def test_the_readmes_name_only_flags_that_exist(capsys):
    known = set()
    for script in (train_cls_rnn, predict_cls_rnn):
        with pytest.raises(SystemExit):
            script.main(["--help"])
        known |= set(re.findall(r"--\w+", capsys.readouterr().out))
    named = {flag for name in READMES for flag in re.findall(r"(?<![\w-])--\w+", read(name))}
    assert named <= known
