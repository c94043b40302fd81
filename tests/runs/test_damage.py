"""Every file of a run damaged, edited, swapped or replaced, and what each command makes of it.

Whatever was done, a command either refuses in one sentence that names the file and changes
nothing, or does what it would have done without: it prints the same answer, or trains to the
same weights.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, status_of

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial import certify, diagnose, evaluate
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.checkpoint import load_checkpoint, save_checkpoint
from rnn_tutorial.runs.lock import FolderLock
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.resume import RESUME_FLAGS

SETTINGS = (
    *("--engine", "autograd", "--total_steps", "6", "--save_every", "2", "--eval_every", "2"),
    *("--log_every", "1", "--max_number", "3", "--min_seq_len", "1", "--max_seq_len", "2"),
    *("--hidden_dim", "4", "--embed_dim", "3", "--tracker", "disabled"),
)
CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"
LAST, BEFORE = "model_step_4.pt", "model_step_2.pt"  # of the unfinished run
COMMANDS = {
    "predict": (predict_cls_rnn, "--save_dir", "RUN", "--input", "1 2"),
    "evaluate": (
        *(evaluate, "RUN", "--max_len", "2", "--lengths", "3", "--num_sequences", "5", "--json"),
    ),
    "certify": (certify, "RUN", "--json"),
    "diagnose": (diagnose, "RUN", "--json"),
    "resume": (train_cls_rnn, "--resume", "RUN"),  # the last, because it changes the folder
}  # fmt: skip
READERS = {  # the commands that read a file
    CONFIG: tuple(COMMANDS), LAST: tuple(COMMANDS), METRICS: ("diagnose", "resume"),
    RESULT: ("resume",),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, the same unfinished, and one of another seed. Read only."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in (("finished", ()), ("other", ("--seed", "1"))):
        arguments = [*SETTINGS, *flags, "--save_dir", str(folder), "--run_name", name]
        assert train_cls_rnn.main(arguments) == 0
    shutil.copytree(folder / "finished", folder / "unfinished")
    for name in (RESULT, "model_step_6.pt"):
        (folder / "unfinished" / name).unlink()
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """A copy of the unfinished run."""
    return Path(shutil.copytree(runs / "unfinished", tmp_path / "run"))


@pytest.fixture
def ask(capsys):
    """Call a command: its exit status, and what it printed."""

    def call(command, folder):
        module, *arguments = COMMANDS[command]
        status = status_of(module.main, *(folder if a == "RUN" else a for a in arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def healthy():
    return {}


def content(folder):
    """Every file of a folder, with links and devices as what they are."""
    kinds = {path: path.lstat().st_mode for path in folder.iterdir()}
    return {p.name: (mode, p.read_bytes() if p.is_file() else b"") for p, mode in kinds.items()}


def check(ask, healthy, runs, run, command, named):
    """Ask a damaged run: it is refused in a sentence, or nothing differs."""
    before = content(run)
    status, out, err = ask(command, run)
    if status == 2:
        (sentence,) = err.splitlines()
        is_named = named in sentence or "error: --device " in sentence  # one that is not here
        assert is_named and not out, sentence
        assert len(sentence) < 900
        assert content(run) == before
        return sentence
    if command == "resume":
        assert status == 0, err
        result = json.loads((run / RESULT).read_text())
        expected = load_checkpoint(runs / "finished" / "model_step_6.pt")
        assert result["weights_hash"] == weights_hash(expected.weights)
        shutil.rmtree(run)
        shutil.copytree(runs / "unfinished", run)
        return out
    if command not in healthy:
        answer = ask(command, runs / "unfinished")
        healthy[command] = answer[0], answer[1].replace(str(runs / "unfinished"), "RUN")
    status, out = status, out.replace(str(run), "RUN")
    if command == "evaluate":
        out, healthy_out = (json.loads(text) for text in (out, healthy[command][1]))
        for found in (out, healthy_out):
            del found["exact"]["elapsed_seconds"]
        assert out == healthy_out
    elif command == "diagnose":  # which also tells how many lines of metrics it read
        found, healthy_found = (json.loads(text)["findings"] for text in (out, healthy[command][1]))
        assert (status, found) == (healthy[command][0], healthy_found)
    else:
        assert (status, out) == healthy[command]
    assert content(run) == before
    return out


# ---- the file as a whole ----


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def put(text):
    return lambda path: path.write_bytes(text.encode())


def instead(make):
    """Put something else in the place of a file."""

    def replace(path):
        path.unlink()
        make(path)

    return replace


REPLACED = {
    "a folder": instead(Path.mkdir),
    "a FIFO": instead(os.mkfifo),
    "a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "empty": put(""),
    "cut after a half": cut(0.5),
    "cut near its end": cut(0.99),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe\n"),
    "nested deeply": put("[" * 100_000 + "\n"),
    "nested deeply as an object": put('{"step":' * 100_000 + "\n"),
    "a list": put("[]\n"),
    "a number": put("3\n"),
    "null": put("null\n"),
    "an empty object": put("{}\n"),
    "no number": put('{"step": NaN}\n'),
    "a number too long": put('{"step": ' + "1" * 5000 + "}\n"),
}


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("kind", REPLACED)
def test_another_file_in_its_place(kind, file, ask, healthy, runs, run):
    if file == RESULT:
        shutil.rmtree(run)
        shutil.copytree(runs / "finished", run)
    REPLACED[kind](run / file)
    is_other = kind in list(REPLACED)[:4]  # which nobody would pass over
    for command in READERS[file]:
        said = check(ask, healthy, runs, run, command, file)
        if kind in ("a folder", "a FIFO", "a device"):
            assert "is not a regular file" in said
        elif file == LAST and not is_other:
            goes_on = command == "resume"
            assert (
                "goes on from step 2" if goes_on else f"good checkpoint is '{run / BEFORE}'"
            ) in said


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")  # one bit more than 0
@pytest.mark.parametrize("file", [CONFIG, METRICS, LAST])
@pytest.mark.parametrize("place", range(24))
def test_a_flipped_bit(place, file, ask, healthy, runs, run):
    generator = random.Random(f"{file} {place}")
    damaged = bytearray((run / file).read_bytes())
    damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
    (run / file).write_bytes(damaged)
    for command in {"predict", "diagnose", "resume"} & {*READERS[file]}:  # read as all others do
        check(ask, healthy, runs, run, command, file)


# ---- one field ----

WRONG = [None, [], {}, "text", -1, 0.5, 1e300, 10**400, True, float("nan"), "\x1b[2J"]


MAY_CHANGE = (
    *("log_every", "eval_every", "save_every", "num_workers", "tracker", "device", "engine"),
    *("num_threads", "train_file", "eval_file"),
)


def test_only_what_leaves_the_weights_as_they_would_be_may_change():
    assert sorted(RESUME_FLAGS) == sorted(MAY_CHANGE)


@pytest.mark.parametrize("name", [setting.name for setting in fields(TrainConfig)] + ["run_id"])
def test_an_edited_setting(name, ask, healthy, runs, run):
    settings = json.loads((run / CONFIG).read_text())
    values = [*WRONG, 2, "privateuseone", "meta", "cuda:99", "sgd", "gru", 1e-9, 4096]
    for value in values:
        if type(value) is type(settings[name]) and name in (*MAY_CHANGE, "save_dir"):
            continue  # these may change; below is a test of it
        (run / CONFIG).write_text(json.dumps(settings | {name: value}))
        if value != settings[name]:
            sentence = check(ask, healthy, runs, run, "resume", CONFIG)
            assert name in sentence or (name == "run_id" and "is of another" in sentence)
            assert "\x1b" not in sentence
    if name in ("train_file", "eval_file"):  # a run on digits does not become one on files
        (run / CONFIG).write_text(json.dumps(settings | {"train_file": "x", name: "x"}))
        assert "has --train_file x" in check(ask, healthy, runs, run, "resume", CONFIG)
    del settings[name]
    (run / CONFIG).write_text(json.dumps(settings))
    if name not in ("run_id", "center_loss"):  # which runs of earlier versions do not record
        for command in ("resume", "predict", "diagnose"):
            assert name in check(ask, healthy, runs, run, command, CONFIG)


@pytest.mark.parametrize("device", ["meta", "privateuseone", "cuda:99", "text", ""])
def test_an_unknown_device(device, ask, healthy, runs, run):
    settings = json.loads((run / CONFIG).read_text())
    (run / CONFIG).write_text(json.dumps(settings | {"device": device}))
    assert "--device" in check(ask, healthy, runs, run, "resume", "device")


LINE = {
    "step": 4, "loss": 1.3, "current_lr": 0.001, "grad_norm": 0.5, "padding_share": 0.1,
    "update_ratio": 0.001, "steps_per_second": 100.0, "accuracy": 0.5, "wrong_inputs": 4,
    "balanced_accuracy": 0.5,
    "accuracy_by_length": {"1": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("name", LINE)
def test_an_edited_metric(name, ask, healthy, runs, run):
    lines = (run / METRICS).read_text().splitlines()
    last = json.loads(lines[3])
    assert last.keys() == LINE.keys()
    for value in [*WRONG, {"1": "text"}, {"1": -1}]:
        (run / METRICS).write_text("\n".join([*lines[:3], json.dumps(last | {name: value}), ""]))
        for command in ("resume", "diagnose"):
            check(ask, healthy, runs, run, command, METRICS)


EDITED = {
    "step": [-1, 3, 10**9],
    "task": [{"kind": []}, {"kind": "another"}, {"kind": "labelled files"}, {"kind": "machine"}],
    "model": [{"hidden_dim": 5}, {"vocab_size": 10**9, "embed_dim": 10**9}, {"num_layers": 10**9}],
    "weights": [
        *({"fc.weight": torch.zeros(3)}, {"fc.weight": [1]}, {"fc.bias": torch.zeros(4).double()}),
    ],
    "config": [
        *({"seed": 1}, {"seed": []}, {"total_steps": 3}, {"lr": float("nan")}, {"cell": "gru"}),
    ],
    "run_id": ["0" * 32],
    "optimizer": [
        *({"state": {9: {"exp_avg": torch.zeros(1)}}}, {"state": {0: {"exp_avg": torch.zeros(1)}}}),
        *({"param_groups": []}, {"param_groups": [{}]}, {"state": {0: []}}, {"state": {"x": {}}}),
    ],
    "evaluation": [
        *({"accuracy": 2}, {"accuracy": "text"}, {"num_inputs": 0}, {"accuracy_by_length": []}),
        *({"wrong_examples": [3]}, {"low": None}, {"exact": 0}, {"accuracy_by_length": {"1": 0}}),
    ],
    "history": [{"best_step": -1}, {"best_score": "text"}, {"unknown": 1}],
    "elapsed_seconds": [-1, float("inf")],
}


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_checkpoint_whose_hash_is_right(name, ask, healthy, runs, run):
    """As only a person makes it, not an accident."""
    whole = vars(load_checkpoint(run / LAST))
    del whole["path"]
    (run / BEFORE).unlink()
    for value in [*WRONG, *EDITED[name]]:
        is_part = isinstance(value, dict) and value
        save_checkpoint(run / LAST, **whole | {name: whole[name] | value if is_part else value})
        for command in ("predict", "diagnose", "resume"):
            check(ask, healthy, runs, run, command, LAST)


def test_a_run_that_is_beyond_its_own_end(ask, healthy, runs, run):
    settings = json.loads((run / CONFIG).read_text()) | {"total_steps": 3}
    (run / CONFIG).write_text(json.dumps(settings))
    whole = vars(load_checkpoint(run / LAST))
    del whole["path"]
    config = whole["config"] | {"total_steps": 3}
    save_checkpoint(run / LAST, **whole | {"config": config})
    assert "is at step 4, beyond --total_steps 3" in check(ask, healthy, runs, run, "resume", LAST)
    for checkpoint in (LAST, BEFORE):
        (run / checkpoint).unlink()
    said = check(ask, healthy, runs, run, "resume", METRICS)
    assert "has steps beyond --total_steps 3" in said


# ---- of two runs ----


@pytest.mark.parametrize("file", [CONFIG, LAST, METRICS])
def test_a_file_of_another_run(file, ask, healthy, runs, run):
    shutil.copy(runs / "other" / file, run / file)
    for command in READERS[file]:
        said = check(ask, healthy, runs, run, command, file)
        both = ("'finished' with seed 0", "'other' with seed 1")
        assert (
            "from different runs" in said if file == METRICS else all(name in said for name in both)
        )


@pytest.mark.parametrize("file", [CONFIG, LAST, RESULT])
def test_a_file_of_a_run_that_was_begun_before_runs_had_an_identity(
    file, ask, healthy, runs, run, tmp_path
):
    """Then the settings tell them apart."""
    for source in (run, shutil.copytree(runs / "other", tmp_path / "other")):
        for name in (CONFIG, RESULT):
            if (source / name).exists():
                values = json.loads((source / name).read_text())
                del values["run_id"]
                (source / name).write_text(json.dumps(values))
        whole = torch.load(source / LAST)
        del whole["run_id"], whole["sha256"]
        torch.save(whole | {"format": "rnn_tutorial checkpoint 2"}, source / LAST)
    shutil.copy(tmp_path / "other" / file, run / file)
    for command in READERS[file]:
        assert "--seed 1" in check(ask, healthy, runs, run, command, file)


def test_a_result_of_another_run_or_of_other_weights(ask, runs, run):
    for name in ("model_step_6.pt", RESULT):
        shutil.copy(runs / "finished" / name, run)
    result = json.loads((run / RESULT).read_text())
    for edited in ({"weights_hash": "0" * 64}, {"run_id": "0" * 32}, {"steps": []}, {"config": {}},
                   {"accuracy": "all"}, {"config": {"seed": 3}}):  # fmt: skip
        (run / RESULT).write_text(json.dumps(result | edited))
        status, out, err = ask("resume", run)
        assert (status, out) == (2, "") and RESULT in err


def test_a_finished_run_whose_last_checkpoint_is_damaged_is_finished_again(ask, runs, tmp_path):
    run = Path(shutil.copytree(runs / "finished", tmp_path / "run"))
    good = (run / "model_step_6.pt").read_bytes()
    (run / "model_step_6.pt").write_bytes(good[:-100])
    status, out, _ = ask("resume", run)
    assert status == 0 and "goes on from step 4" in out
    weights = [load_checkpoint(f / "model_step_6.pt").weights for f in (run, runs / "finished")]
    assert weights_hash(weights[0]) == weights_hash(weights[1])
    assert ask("resume", run)[1].startswith(f"Run {run} is finished")


def test_without_a_good_checkpoint_a_run_is_refused(ask, run):
    for name in (LAST, BEFORE):
        (run / name).write_bytes(b"damaged")
    assert "no good checkpoint" in ask("resume", run)[2]


def test_a_checkpoint_under_the_name_of_another_step(ask, healthy, runs, run):
    shutil.copy(run / BEFORE, run / LAST)
    for command in READERS[LAST]:
        said = check(ask, healthy, runs, run, command, LAST)
        assert "holds step 2, but its name says" in said


def test_a_checkpoint_of_the_published_scripts_in_the_folder_of_a_run(ask, healthy, runs, run):
    torch.save(load_checkpoint(run / LAST).weights, run / LAST)
    torch.save(argparse.Namespace(**asdict(TrainConfig())), run / "args.pt")
    for command in READERS[LAST]:
        check(ask, healthy, runs, run, command, LAST)


# ---- of older formats ----


@pytest.mark.parametrize("place", range(20))
def test_a_flipped_bit_in_a_file_of_format_1(place, tmp_path, capsys):
    source = Path(__file__).with_name("format_1") / "proved" / "model_step_4000.pt"
    generator, damaged = random.Random(place), bytearray(source.read_bytes())
    damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
    (tmp_path / source.name).write_bytes(damaged)
    status, said = [], []
    for path in (source, tmp_path / source.name):
        question = ("--checkpoint", path, "--input", "1 1 0 1")
        status.append(status_of(predict_cls_rnn.main, *question))
        said.append(capsys.readouterr())
    assert (status[1], said[1].out) == (0, said[0].out) or (
        status[1] == 2 and source.name in said[1].err and len(said[1].err.splitlines()) == 1
    )


@pytest.mark.parametrize("kind", [*REPLACED, "a flipped bit", "of other weights"])
def test_a_certificate(kind, tmp_path, capsys):
    """A damaged one is no proof: predict does not speak of it, certify --check refuses it."""
    run = Path(shutil.copytree(Path(__file__).with_name("format_1") / "proved", tmp_path / "run"))
    path = run / "model_step_4000.certificate.npz"
    if kind == "a flipped bit":
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 4
        path.write_bytes(damaged)
    elif kind == "of other weights":
        certificate = dict(np.load(path))
        np.savez(path, **certificate | {"weights_hash": "0" * 64})
    else:
        REPLACED[kind](path)
    before = content(run)
    assert predict_cls_rnn.main(["--save_dir", str(run), "--input", "1 1"]) == 0
    said = capsys.readouterr().err
    assert "proved" not in said
    is_foreign = kind == "of other weights" or not path.exists()  # of which nothing is said
    assert ("; the certificate beside it does not hold" in said) is not is_foreign
    status = status_of(certify.main, run, "--check")
    printed = capsys.readouterr()
    assert status in (1, 2) and path.name in printed.out + printed.err
    assert len((printed.out + printed.err).splitlines()) == 1 and content(run) == before


# ---- files beside them ----


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a device"])
@pytest.mark.parametrize("flag", ["--train_file", "--checkpoint", "--eval_file"])
def test_no_regular_file_is_given_by_flag(kind, flag, tmp_path, capsys):
    (path := tmp_path / "given").touch()
    REPLACED[kind](path)
    main = predict_cls_rnn.main if flag == "--checkpoint" else train_cls_rnn.main
    (tmp_path / "train.tsv").write_text("a\tx\nb\ty\na\tz\n")
    with contextlib.suppress(SystemExit):
        main(
            [
                flag,
                str(path),
                *(("--train_file", str(tmp_path / "train.tsv")) * (flag == "--eval_file")),
            ]
        )
    (sentence,) = capsys.readouterr().err.splitlines()
    assert flag in sentence and f"{str(path)!r} is not a regular file" in sentence


@pytest.mark.parametrize("kind", ["a file", "a folder", "a link"])
def test_what_a_crash_left_under_the_name_of_a_temporary_file(kind, ask, run, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    make = {"a file": Path.touch, "a folder": Path.mkdir, "a link": lambda p: p.symlink_to(outside)}
    written = (CONFIG, METRICS, RESULT, "model_step_6.pt", "model_best.pt")
    for name in (*written, "model_step_4.certificate.npz"):
        make[kind](run / f".{name}.tmp")
        make[kind](run / f".{name}.{'0f' * 16}.tmp")
    (run / ".notes.tmp").write_text("of the user's own")
    status, _, err = ask("resume", run)
    assert status == 0, err
    assert outside.read_text() == "kept"
    assert len(list(run.glob(".*"))) == (13 if kind == "a folder" else 1)
    assert (run / ".notes.tmp").read_text() == "of the user's own"


def test_a_save_that_fails_costs_no_checkpoint(ask, run, monkeypatch):
    before = {name: (run / name).read_bytes() for name in (LAST, BEFORE)}
    real = os.replace

    def fail(source, target):
        if "model_step_6" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(Path, "replace", fail)
    status, _, err = ask("resume", run)
    assert status == 1 and "No space left on device" in err and "--resume" in err
    assert {path.name: path.read_bytes() for path in run.glob("*.pt")} == before
    assert not list(run.glob(".*"))
    monkeypatch.undo()
    assert ask("resume", run)[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such lock")
def test_a_run_that_is_being_trained_is_not_resumed(ask, run):
    lock = FolderLock(run)
    before = content(run)
    status, out, err = ask("resume", run)
    assert (status, out) == (2, "") and "another process" in err and str(run) in err
    assert content(run) == before
    lock.release()
    assert ask("resume", run)[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such lock")
def test_a_killed_process_holds_no_lock_and_neither_do_its_workers(tmp_path):
    """The worker that the first process forks lives on for a while."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from rnn_tutorial.runs.lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0: print(flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=REPOSITORY, start_new_session=True
    )
    try:
        process.stdout.readline()
        with pytest.raises(ValueError, match="another process"):
            FolderLock(tmp_path)
        process.kill()
        process.wait()
        FolderLock(tmp_path).release()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


# ---- names on a terminal ----


def test_names_from_files_cannot_command_the_terminal(tmp_path, capsys, monkeypatch):
    """Also where they are the names of classes, tokens, folders and files."""
    monkeypatch.chdir(tmp_path)
    lines = [f"c\x1b[2J{i % 2}\tw\x9b1m{i % 2} \u202ex{i}" for i in range(40)]
    Path("t\x1b[3m.tsv").write_text("\n".join(lines), encoding="utf-8")
    flags = ("--train_file", "t\x1b[3m.tsv", "--run_name", "r\x07un", "--save_dir", "o\x1b[4m")
    assert train_cls_rnn.main([*SETTINGS[:10], "--tracker", "disabled", *flags]) == 0
    run = "o\x1b[4m/r\x07un"
    for status, main, *arguments in (
        (0, predict_cls_rnn.main, "--save_dir", run, "--input", "w\x9b1m1 \x1b]0;"),
        (0, evaluate.main, run),
        (0, train_cls_rnn.main, "--resume", run),
        (2, certify.main, run),
        (2, predict_cls_rnn.main, "--save_dir", run, "--run_name", "\x1b[5m"),
    ):
        assert status_of(main, *arguments) == status
    with contextlib.suppress(SystemExit):
        diagnose.main([run, "--length", "5"])
    printed = "".join(capsys.readouterr())
    assert not set(printed) & set("\x07\x1b\x9b\u202e")
    for visible in (r"c\x1b[2J", r"w\x9b1m1", r"o\x1b[4m/r\x07un", r"t\x1b[3m.tsv", r"\x1b]0;"):
        assert visible in printed
    predict_cls_rnn.main(["--save_dir", run, "--input", "w\x9b1m1", "--json"])
    assert json.loads(capsys.readouterr().out)["input"] == ["w\x9b1m1"]
