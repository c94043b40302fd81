"""The READMEs are true: commands run, code prints what is shown, links and images exist."""

import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import REPOSITORY, status_of

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial import benchmark, certify, diagnose, evaluate, page
from rnn_tutorial.experiments import __main__ as experiments
from rnn_tutorial.experiments import doctor_judge, doctor_self_test, lesson, who_did_it
from rnn_tutorial.experiments.__main__ import READMES
from rnn_tutorial.experiments.lesson import converse
from rnn_tutorial.machines import machine_file, unfold
from rnn_tutorial.measure.growth import GROWTH
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.proof import explore, intervals
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.runs.folder import find_checkpoint


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", read(name), flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for name in READMES for block in blocks(name, "sh") for line in block.splitlines()]
# The first of the others serves until it is stopped, and is tested with the tracker.
ENDING = [line for line in COMMANDS if not line.endswith(("swanlab watch", "python -m pytest"))]


def quick(arguments):
    """The same training in a few steps, in which its warmup fits."""
    return [*arguments, "--total_steps", "10", "--warmup_step", "5", "--tracker", "disabled"]


def test_the_readme_begins_with_a_training_and_has_the_test_command():
    install = "python -m pip install -r requirements.txt && "
    assert COMMANDS[0] == f"{install}python train_cls_rnn.py --recipe solved"
    assert f"{install}python -m pytest" in COMMANDS


def at_home(arguments):
    """Paths as they are from the repository, in which a reader types them."""
    return [re.sub("^rnn_tutorial/", f"{REPOSITORY}/rnn_tutorial/", a) for a in arguments]


def run_train(arguments, folder):
    arguments = at_home(arguments)
    if "--resume" not in arguments:
        shutil.rmtree(folder / "output")
        arguments = quick(arguments)
    else:
        arguments = ["--resume", str(folder / "output" / "baseline")]
    assert train_cls_rnn.main(arguments) == 0


def train_on_files(folder):
    """The README's own training on labelled lines."""
    command = next(command for command in COMMANDS if "--train_file" in command)
    run_train(shlex.split(command)[2:], folder)


def run_predict(arguments, folder):
    if "who_did_it" in arguments:
        train_on_files(folder)
    elif "--run_name" in arguments:
        arguments[arguments.index("--run_name") + 1] = "baseline"
    assert predict_cls_rnn.main(arguments) == 0


def run_evaluate(arguments, folder):
    if arguments[0].endswith("who_did_it"):
        train_on_files(folder)
        assert evaluate.main(arguments) == 0
        return
    quickly = ["--figure", str(folder / "figure.png")]
    if "--automaton" not in arguments:
        quickly += ["--max_len", "2", "--lengths", "3"]
    assert evaluate.main([str(folder / "output"), *arguments[1:], *quickly]) == 0


def run_certify(arguments, folder):
    """The small net is not proved, and so has no certificate to check."""
    status = status_of(certify.main, folder / "output", *arguments[1:])
    assert status == (2 if "--check" in arguments else 1)


def run_page(arguments, folder):
    written = str(folder / "page.html")
    assert page.main([str(folder / "output"), *arguments[1:], "--output", written]) == 0


def run_benchmark(arguments, folder):
    assert benchmark.main([*arguments, "--only", "growth"]) == 0


def run_experiments(arguments, folder):
    for name in READMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(read(name), encoding="utf-8")
    assert experiments.main(["list"] if arguments[0] == "run" else arguments) == 0


def run_diagnose(arguments, folder):
    """The texts' own files have findings; whether a run of a few steps has does not matter."""
    module = next(block for block in blocks("README.md", "python") if "class Mine" in block)
    (folder / "my_net.py").write_text(f"import torch\nfrom torch import nn\n\n\n{module}")
    (folder / "mine.py").write_text(blocks("rnn_tutorial/doctor/README.md", "python")[0])
    status = diagnose.main(at_home(arguments))
    assert status == 1 if "my_net.py:Mine" in arguments else status in (0, 1)


TINY = {
    "text": "--text_dir sources --hidden_dim 4 --seq_len 8 --batch_size 2",
    "highlight": "--text_dir sources --hidden_dim 4 --window 16 --batch_size 2",
    "addition": "--hidden_dim 4 --num_pairs 50 --batch_size 4",
    "forecast": "--hidden_dim 4",
}


def run_gallery(task, arguments, folder):
    """A tiny network of the task is trained first, unless the command trains one itself."""
    module = importlib.import_module(f"rnn_tutorial.gallery.{task}")
    sources = folder / "sources"
    sources.mkdir()
    for path in [*(REPOSITORY / "rnn_tutorial" / "settings").glob("*.py")][:2]:
        (sources / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "train_cls_rnn.py").write_text("import torch\n")
    (folder / "broken.py").write_text("print('\n")
    tiny = [
        *TINY[task].split(),
        "--total_steps",
        "2",
        "--warmup_step",
        "1",
        "--tracker",
        "disabled",
    ]
    if arguments[0] != "train":
        run = arguments[arguments.index("--run") + 1] if "--run" in arguments else task
        assert module.main(["train", *tiny, "--run_name", Path(run).name]) == 0
        if arguments[0] == "decompress":
            assert module.main(["compress", "train_cls_rnn.py"]) == 0
        tiny = ["--digits", "2"] if task == "addition" and "evaluate" in arguments else []
    assert module.main([*arguments, *tiny]) == 0


RUNNERS = {
    "train_cls_rnn.py": run_train,
    "predict_cls_rnn.py": run_predict,
    "rnn_tutorial.evaluate": run_evaluate,
    "rnn_tutorial.benchmark": run_benchmark,
    "rnn_tutorial.diagnose": run_diagnose,
    "rnn_tutorial.certify": run_certify,
    "rnn_tutorial.page": run_page,
    "rnn_tutorial.experiments": run_experiments,
    **{f"rnn_tutorial.gallery.{task}": partial(run_gallery, task) for task in TINY},
}


@mock.patch.dict(GROWTH, {"hidden_dim": (4,)}, clear=True)
@pytest.mark.parametrize("command", ENDING)
def test_a_command_runs(command, trained_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "REPOSITORY", tmp_path)
    monkeypatch.setattr(experiments, "render_figures", dict)  # test_figures.py draws them
    shutil.copytree(trained_folder / "output", tmp_path / "output")
    script = command.rpartition("&& ")[2].rpartition("| ")[2]
    script = re.sub(r"^torchrun --nproc_per_node \d ", "python ", script)
    script = re.sub(r"^OPENBLAS_CORETYPE=\w+ ", "", script)  # read once in a process
    typed = re.fullmatch(r"printf '(.*)' \| .*", command)
    stdin = io.StringIO(typed[1].replace(r"\n", "\n") if typed else "")
    monkeypatch.setattr("sys.stdin", stdin)
    program, name, *arguments = shlex.split(script)
    assert program == "python"
    if name == "-m":
        name, *arguments = arguments
    arguments = [argument.replace("output/solved", "output/baseline") for argument in arguments]
    try:
        RUNNERS[name](arguments, tmp_path)
    except SystemExit as stopped:
        assert stopped.code == 0
    printed = capsys.readouterr()
    assert printed.out + printed.err or (name == "predict_cls_rnn.py" and not arguments)


@pytest.fixture
def print_options():
    """What a lesson changes for all of torch is put back."""
    yield
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize("name", READMES)
def test_python_blocks_print_what_the_text_shows(name, print_options):
    """In one interpreter, in their order: a block prints exactly the text under it, or nothing."""
    namespace = {}
    parts = re.findall(
        r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?",
        read(name),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert len(parts) == len(blocks(name, "python"))
    for code, shown in parts:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        assert printed.getvalue() == shown, code


@pytest.mark.parametrize("name", READMES)
def test_every_fence_is_of_a_kind_that_is_tested(name):
    """Text is what a block printed or a transcript from a result file; py is the package's code."""
    fences = re.findall(r"^```(.*)$", read(name), flags=re.MULTILINE)
    assert set(fences[::2]) <= {"python", "text", "sh", "py"} and set(fences[1::2]) <= {""}
    rest = re.sub(
        r"^```python\n.*?^```\n+```text\n.*?^```$|<!-- (table|code): .*?<!-- end -->",
        "",
        read(name),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert "```text" not in rest and "```py\n" not in rest


@pytest.mark.parametrize("name", READMES)
def test_a_marker_within_a_sentence_begins_no_line(name):
    """There it would begin a block of HTML and cut the paragraph in two."""
    markers = re.findall(r"^<!--.*$", read(name), flags=re.MULTILINE)
    assert all(re.fullmatch(r"<!-- ((table|code): [\w.-]+|end) -->", line) for line in markers)


def test_every_mistake_of_the_list_has_a_finding_that_catches_it():
    rows = re.findall(r"^\| .* \| .* \| `([a-z-]+)` \|$", read("README.md"), flags=re.MULTILINE)
    assert len(rows) > 20 and set(rows) <= {
        case.expected for case in doctor_self_test.all_cases().values()
    }


@pytest.mark.parametrize(("name", "most_words"), [("README.md", 6000), ("README_next.md", 6000)])
def test_a_part_is_read_in_an_evening(name, most_words):
    looked_at = ("|", "![", "<picture>", "  <source", "  <img", "</picture>")  # and tables
    lines = read(name).partition("## References")[0].splitlines()
    read_through = [line for line in lines if not line.startswith(looked_at)]
    assert len(" ".join(read_through).split()) < most_words


def test_the_limits_of_a_machine_are_those_of_the_code():
    text = " ".join(read("rnn_tutorial/machines/README.md").split())
    for limit in (
        f"at most {machine_file.MAX_NAMES:,} of either and at most {unfold.MAX_STATES:,} states",
        f"at most {explore.MAX_ABSTRACT_STATES:,} states and, with 128 units, "
        f"{intervals.MAX_NUMBERS // 128:,} transitions",
    ):
        assert limit in text


def test_every_logged_metric_is_explained(trained_folder):
    lines = (trained_folder / "output" / "baseline" / "metrics.jsonl").read_text().splitlines()
    logged = set().union(*map(json.loads, lines)) - {"step"}
    glossary = read("README_next.md").partition("## Glossary")[2].partition("\n## ")[0]
    logged |= {"proved", "eval_loss"}  # with --stop_when_proved; of labelled examples
    assert logged == set(re.findall(r"^\| `(\w+)` \|", glossary, flags=re.MULTILINE))


PICTURE = re.compile(
    r"^<picture>\n"
    r'  <source media="\(prefers-color-scheme: dark\)" srcset="(.+)-dark\.(\w+)">\n'
    r'  <img alt="([^"]+)" src="(.+)\.(\w+)">\n'
    r"</picture>$",
    flags=re.MULTILINE,
)


@pytest.mark.parametrize("name", READMES)
def test_links_and_images_exist(name):
    folder, text = (REPOSITORY / name).parent, read(name)
    for image, alt, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)#]+)", text):
        assert target.startswith("https://") or (folder / target).exists(), target
        assert not image or len(alt) > 40, f"{target} needs a description"
    pictures = PICTURE.findall(text)
    assert len(pictures) == text.count("<picture>") == text.count("<img")
    for dark, dark_kind, alt, light, kind in pictures:
        assert (dark, dark_kind) == (light, kind)
        assert (folder / f"{light}.{kind}").exists() and (folder / f"{dark}-dark.{kind}").exists()
        assert len(alt) > 40, f"{light} needs a description"


@pytest.mark.parametrize("name", READMES)
def test_commands_within_sentences_exist(name):
    for module in re.findall(r"`python -m (rnn_tutorial[\w.]*)", read(name)):
        assert importlib.util.find_spec(module), module
    for script in re.findall(r"`python (\w+\.py)", read(name)):
        assert (REPOSITORY / script).exists(), script


def test_the_transcripts_are_what_the_scripts_say(tmp_path, monkeypatch, capsys):
    """Trained until every input is right, which is sooner than in the transcript."""
    monkeypatch.chdir(tmp_path)
    flags = "--recipe solved --stop_when_exact 1 --eval_every 100 --tracker disabled --device cpu"
    assert train_cls_rnn.main(flags.split()) == 0
    trained = re.search(r"\$ python train_cls_rnn.py.*?\n(.*?)```", read("README.md"), re.DOTALL)[1]
    said = capsys.readouterr().out

    def forms(text):
        """Its lines without figures, and without the tracker's, which is another one here."""
        lines = [line for line in text.splitlines() if not line.startswith("SwanLab")]
        return {re.sub(r"\d[\d.,e+%-]*", "#", line) for line in lines}

    assert forms(trained) - {"…"} <= forms(said)
    assert forms(said.rpartition("\n\n")[2]) <= forms(trained)  # the summary is whole

    shown = re.search(r"\$ python predict_cls_rnn.py\n(.*?)```", read("README.md"), re.DOTALL)[1]
    typed = re.findall(r"^> (.*)$", shown, flags=re.MULTILINE)
    predictor = Predictor(load_checkpoint(find_checkpoint("output")))

    def comparable(lines):
        """Without what differs between two trainings: the step, the probability, far lengths."""
        lines = [line for line in lines if "never trained" not in line]
        return [re.sub(r"step [\d,]+|[\d.]+%; right", "…", line) for line in lines]

    assert comparable(shown.splitlines()) == comparable(converse(predictor, typed))


def test_the_readmes_name_only_flags_that_exist(capsys):
    known = {"--nproc_per_node"}  # torchrun's
    tasks = [importlib.import_module(f"rnn_tutorial.gallery.{task}") for task in TINY]
    for module in tasks:
        for asked in (
            "train",
            "evaluate",
            "sample",
            "compress",
            "decompress",
            "show",
            "ask",
            "forecast",
        ):
            with pytest.raises(SystemExit):
                module.main([asked, "--help"])
    for command in (
        train_cls_rnn,
        predict_cls_rnn,
        evaluate,
        certify,
        benchmark,
        experiments,
        lesson,
        diagnose,
        doctor_judge,
        doctor_self_test,
        who_did_it,
    ):
        with pytest.raises(SystemExit):
            command.main(["--help"])
        known |= set(re.findall(r"--\w+", capsys.readouterr().out))
    named = {flag for name in READMES for flag in re.findall(r"(?<![\w-])--\w+", read(name))}
    assert named <= known
