"""The tutorials as notebooks: what becomes of a README, and what its code prints in a kernel."""

import re

import nbformat
import pytest
from conftest import REPOSITORY

from rnn_tutorial.experiments import __main__ as experiments
from rnn_tutorial.experiments.notebooks import FOLDER, NOTEBOOKS, execute, make_notebook

WRITTEN = [name for name in NOTEBOOKS if (REPOSITORY / FOLDER / f"{name}.ipynb").exists()]


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_committed_notebook_is_that_of_its_readme_and_was_executed(name):
    committed = nbformat.read(REPOSITORY / FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(committed)
    assert sources(committed) == sources(make_notebook(name))
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code[1:])
    assert "Traceback" not in str(code) and "Warning" not in str(code)


def test_part_1_printed_in_a_kernel_what_the_readme_shows():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    pair = r"^```python\n((?:(?!```).)*)^```$\n\n```text\n(.*?)^```$"
    shown = dict(re.findall(pair, readme, re.MULTILINE | re.DOTALL))
    committed = nbformat.read(REPOSITORY / FOLDER / "part1.ipynb", as_version=4)
    printed = {
        cell.source + "\n": "".join(output.get("text", "") for output in cell.outputs)
        for cell in committed.cells
        if cell.cell_type == "code"
    }
    assert len(shown) > 10
    for source, text in shown.items():
        assert printed[source] == text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_prose_and_code_of_a_readme_are_all_there(name):
    readme = (REPOSITORY / NOTEBOOKS[name]).read_text(encoding="utf-8")
    notebook = make_notebook(name)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].startswith("# ") and "requirements.txt" in code[0]
    blocks = re.findall(r"^```python\n(.*?)\n^```$", readme, re.MULTILINE | re.DOTALL)
    assert [block for block in blocks if block not in code] == []
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in re.findall(r"^##? .*$", readme, re.MULTILINE):
        assert heading in prose
    assert "<!--" not in prose


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_of_a_notebook_lead_to_files(name):
    prose = "".join(cell.source for cell in make_notebook(name).cells[1:])
    links = re.findall(r'(?:\]\(|src="|srcset=")([^)#":]+)[)#"]', prose)
    assert len(links) > 1
    for link in links:
        assert (REPOSITORY / FOLDER / link).resolve().exists(), link


def test_an_unknown_notebook_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        experiments.main(["notebooks", "part3"])
    assert stopped.value.code == 2
    assert "'part3' is not one of part1, part2, gallery" in capsys.readouterr().err


def notebook_of(*sources):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return notebook


def test_all_cells_but_the_first_run_where_the_project_is_and_nothing_else():
    notebook = notebook_of("1 / 0", "import os\nprint('README.md' in os.listdir())", "!ls output")
    execute(notebook, seconds=60)
    _, code, command = notebook.cells
    assert code.outputs[0]["text"] == "True\n" and "No such file" in command.outputs[0]["text"]


@pytest.mark.parametrize(
    ("command", "said"),
    [('python -c "1 / 0"', "ZeroDivisionError"), ("python predict_cls_rnn.py --beam 3", "--beam")],
)
def test_a_command_that_fails_in_a_cell_is_no_output(command, said):
    with pytest.raises(RuntimeError, match=f"(?s)a command failed: .*{said}"):
        execute(notebook_of("", f"!{command}"), seconds=60)
