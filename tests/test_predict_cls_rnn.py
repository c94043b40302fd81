"""The prediction script as a user runs it: prompt, one input, a stream, JSON, and refusals."""

import argparse
import contextlib
import io
import json
import os
import pty
import random
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPOSITORY, run_here, status_of

import predict_cls_rnn
from rnn_tutorial.evaluation.result import Evaluation
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.proof import certificate
from rnn_tutorial.runs.checkpoint import load_checkpoint


@pytest.fixture(scope="session")
def model(trained_folder):
    return load_model(load_checkpoint(trained_folder / "output/baseline/model_step_40.pt"))


def expected_answer(model, digits):
    probabilities = model.logits(digits)[0].softmax(dim=-1)
    return {
        "input": digits,
        "prediction": int(probabilities.argmax()),
        "probability": pytest.approx(float(probabilities.max()), abs=1e-5),
        "target": sum(digits) % 10,
    }


def test_a_stream_is_answered_line_by_line(run_script, trained_folder):
    done = run_script("predict_cls_rnn.py", cwd=trained_folder, text="1 2 3\n9 9 9 9\n")
    first, second = done.stdout.splitlines()
    assert done.returncode == 0
    assert first.startswith("1 2 3 -> ") and "right is 6" in first and first.count("%") == 1
    assert second.startswith("9 9 9 9 -> ") and "right is 6" in second
    for line in (first, second):
        prediction = line.split(" -> ")[1][0]
        assert ("✓" if prediction == "6" else "✗") in line


def test_it_says_for_which_run_step_seed_and_accuracy_it_speaks(trained_folder):
    done = run_here("predict_cls_rnn.py", "--input", "1 2", cwd=trained_folder)
    run = trained_folder / "output" / "baseline"
    evaluation = Evaluation(**load_checkpoint(run / "model_step_40.pt").evaluation)
    assert done.stderr == (
        f"output/baseline at step 40, seed 0, trained on lengths 2 to 4: {evaluation.describe()}\n"
    )


def test_it_says_how_many_threads_answer_a_stream(trained_folder, capsys, monkeypatch):
    used = []

    def answer_blocks(predictor, blocks, as_json, num_threads):
        used.append(num_threads)
        return []

    monkeypatch.setattr(predict_cls_rnn, "answer_blocks", answer_blocks)
    monkeypatch.setattr(predict_cls_rnn, "choose_stream_threads", lambda: 4)
    for flags, threads in (((), 4), (("--num_threads", "0"), 4), (("--num_threads", "7"), 7)):
        monkeypatch.setattr(sys, "stdin", io.StringIO("1 2\n"))
        assert predict_cls_rnn.main(["--save_dir", str(trained_folder / "output"), *flags]) == 0
        assert capsys.readouterr().err.endswith(f" inputs wrong; {threads} threads\n")
        assert used.pop() == threads


@pytest.mark.parametrize("value", ["-1", "1025"])
def test_an_odd_number_of_threads_is_refused(value, capsys):
    assert status_of(predict_cls_rnn.main, "--num_threads", value) == 2
    assert capsys.readouterr().err == (
        f"predict_cls_rnn.py: error: argument --num_threads: '{value}' is not a whole number "
        "from 0 to 1024 (see --help)\n"
    )


def test_it_says_whether_a_certificate_was_checked(tmp_path, capsys, monkeypatch):
    run = shutil.copytree(REPOSITORY / "tests/runs/format_1/proved", tmp_path / "proved")
    ask = ["--checkpoint", str(run / "model_step_4000.pt"), "--input", "1 1"]
    assert predict_cls_rnn.main(ask) == 0
    assert capsys.readouterr().err.endswith("; proved for every length (certificate checked)\n")
    monkeypatch.setattr(certificate, "_CHEAP_PRODUCTS", 0)
    assert predict_cls_rnn.main(ask) == 0
    assert capsys.readouterr().err.endswith("; a certificate lies beside it, not checked\n")
    (run / "model_step_4000.certificate.npz").unlink()
    assert predict_cls_rnn.main(ask) == 0
    assert capsys.readouterr().err.endswith(" inputs wrong\n")


def test_bad_lines_are_reported_by_number_and_the_rest_is_answered(trained_folder):
    text = "1 2\n10\n3,4\n\n-1\nx y\n5 6\n\udcff\n7 7".encode(errors="surrogateescape")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "predict_cls_rnn.py"],
        cwd=trained_folder,
        input=text,
        capture_output=True,
        timeout=120,
    )
    answers = [line.split(b" -> ")[0] for line in done.stdout.splitlines()]
    assert answers == [b"1 2", b"3 4", b"5 6", b"7 7"]
    reported = [line.split(b":")[0] for line in done.stderr.splitlines()[1:]]
    assert reported == [b"line 2", b"line 4", b"line 5", b"line 6", b"line 8"]
    assert done.returncode == 1


def test_a_long_stream_of_mixed_lengths_keeps_its_order(trained_folder, model):
    dice = random.Random(0)
    sequences = [[dice.randrange(10) for _ in range(dice.randint(1, 30))] for _ in range(5000)]
    sequences[100] = [dice.randrange(10) for _ in range(20_000)]
    text = "".join(" ".join(map(str, digits)) + "\n" for digits in sequences)
    done = run_here("predict_cls_rnn.py", "--json", cwd=trained_folder, text=text)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["input"] for answer in answers] == sequences
    assert [answer["line"] for answer in answers] == list(range(1, 5001))
    for i in (0, 100, 4095, 4096, 4999):
        assert answers[i].items() >= expected_answer(model, sequences[i]).items()


def test_an_empty_stream_has_no_answers(trained_folder):
    done = run_here("predict_cls_rnn.py", cwd=trained_folder)
    assert (done.returncode, done.stdout) == (0, "")


def run_closed(flags, cwd, environment, closed="<&-"):
    """Run the script as a shell does with `<&-` or `>&-`."""
    command = [sys.executable, str(REPOSITORY / "predict_cls_rnn.py"), *flags]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        **{"cwd": cwd, "env": environment, "capture_output": True, "text": True},
        timeout=120,
    )


def test_one_input_needs_no_standard_input(trained_folder, script_environment):
    done = run_closed(["--input", "1 2 3"], trained_folder, script_environment)
    assert done.returncode == 0 and done.stdout.startswith("1 2 3 -> ")


def test_a_closed_standard_output_is_said(trained_folder, script_environment):
    done = run_closed(["--input", "1 2 3"], trained_folder, script_environment, ">&-")
    expected = "predict_cls_rnn.py: error: standard output is closed\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_a_closed_standard_input_has_no_stream(trained_folder, script_environment):
    done = run_closed([], trained_folder, script_environment)
    expected = "predict_cls_rnn.py: error: standard input is closed; give --input\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_pause_on_a_pipe_that_does_not_block_is_not_its_end(start_script, trained_folder):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = start_script("predict_cls_rnn.py", cwd=trained_folder, stdin=reading)
    os.close(reading)
    assert "output/baseline at step 40" in process.stderr.readline()  # now it reads
    with os.fdopen(writing, "w") as pipe:
        for _ in range(2):
            time.sleep(0.5)
            pipe.write("1 2\n")
            pipe.flush()
    answers, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and len(answers.splitlines()) == 2


def test_ctrl_c_ends_a_stream(start_script, trained_folder):
    process = start_script("predict_cls_rnn.py", cwd=trained_folder, stdin=subprocess.PIPE)
    assert "output/baseline at step 40" in process.stderr.readline()  # now it waits for lines
    interrupt(process, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")


def test_one_input_as_json(trained_folder, model):
    done = run_here("predict_cls_rnn.py", "--input", "4,5 6", "--json", cwd=trained_folder)
    answer = json.loads(done.stdout)
    assert answer.items() >= expected_answer(model, [4, 5, 6]).items()
    assert answer["trained_length"] is True


@pytest.mark.parametrize("length", [1, 2, 4, 5])  # of which 2 to 4 were trained
def test_a_length_outside_training_is_said(trained_folder, length, capsys):
    flags = ["--save_dir", str(trained_folder / "output"), "--input", "1 " * length]
    assert predict_cls_rnn.main(flags) == 0
    is_said = f"(never trained on length {length})" in capsys.readouterr().out
    assert is_said == (length not in (2, 3, 4))


def test_a_refusal_names_the_network_that_was_asked(trained_folder, capsys):
    run = trained_folder / "output" / "baseline"
    with pytest.raises(SystemExit):
        predict_cls_rnn.main(["--save_dir", str(run.parent), "--input", "1 11"])
    error = capsys.readouterr().err
    assert "--input: 11 is out of range; allowed are 0 to 9, " in error
    assert error.endswith(f" (asked: {run})\n")


# ---- memory ----

PRINT_PEAK = """
import resource, sys, predict_cls_rnn
from rnn_tutorial.runs.terminal import spare_the_garbage_collector
spare_the_garbage_collector()
predict_cls_rnn.main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_mebibytes(trained_folder, environment, content):
    """The most memory that answering a stream had in use."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT_PEAK, "--num_threads", "2"],  # each reads ahead
        cwd=trained_folder,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        input=content,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.count(b"\n") == content.count(b"\n")
    return int(done.stderr.splitlines()[-1]) / (2**20 if sys.platform == "darwin" else 2**10)


def test_memory_does_not_grow_with_the_stream_nor_states_with_a_line(
    trained_folder, script_environment
):
    dice = random.Random(0)
    lines = [
        "0 1 2 3 4 5 6 7 8 9 8 7 6 5 4 3 2 1 0 1"[: dice.randrange(1, 40, 2)] for _ in "x" * 10**4
    ]
    some = "\n".join([*lines, ""]).encode() * 2
    peak = peak_mebibytes(trained_folder, script_environment, some)
    assert peak_mebibytes(trained_folder, script_environment, some * 10) < peak + 20
    million_digits = b"7 " * 10**6 + b"\n"
    assert peak_mebibytes(trained_folder, script_environment, million_digits) < peak + 60


# ---- the prompt ----


def interrupt(process, signum):
    """Send a signal until it is heeded: input() misses one that comes before it begins to wait.

    A second signal would kill a process that already ends, so a busy machine gets time for that.
    """
    for _ in range(5):
        time.sleep(0.1)
        process.send_signal(signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
            return
    process.kill()


def talk(cwd, environment, *typed):
    """Type at the script's prompt in a pseudo-terminal; returns the screen and the exit status."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "predict_cls_rnn.py")],
        **{"cwd": cwd, "env": environment, "start_new_session": True},
        **{"stdin": theirs, "stdout": theirs, "stderr": theirs},
    )
    os.close(theirs)
    screen, typed, prompts = b"", list(typed), 0
    with contextlib.suppress(OSError):  # the other end has closed
        while select.select([ours], [], [], 60)[0] and (read := os.read(ours, 4096)):
            screen += read
            if typed and screen.count(b"> ") - screen.count(b"-> ") > prompts:
                prompts += 1
                key = typed.pop(0)
                if isinstance(key, signal.Signals):
                    interrupt(process, key)
                else:
                    os.write(ours, key)
    os.close(ours)
    try:
        return screen.decode(), process.wait(timeout=60)
    finally:
        process.kill()


@pytest.mark.parametrize("last", [b"quit\n", b"\x04", signal.SIGINT], ids=["quit", "^D", "^C"])
def test_the_prompt_answers_refuses_and_ends(last, trained_folder, script_environment):
    environment = script_environment | {"TERM": "dumb"}
    typed = (b"1 2 3\n", b"11\n", b"\n", b"4,4\n", last)
    screen, status = talk(trained_folder, environment, *typed)
    assert status == 0, screen
    assert "output/baseline at step 40, seed 0" in screen
    assert "1 2 3 -> " in screen and "right is 6" in screen
    assert "11 is out of range; allowed are 0 to 9" in screen
    assert "the input is empty" in screen
    assert "4 4 -> " in screen and "right is 8" in screen
    assert "Traceback" not in screen


def test_the_prompt_has_a_history(trained_folder, script_environment):
    environment = script_environment | {"TERM": "xterm"}
    up_arrow = b"\x1b[A"
    screen, status = talk(trained_folder, environment, b"1 2 3\n", up_arrow + b" 4\n", b"quit\n")
    assert status == 0 and "1 2 3 4 -> " in screen


# ---- which network ----


def test_the_newest_run_answers_unless_one_is_named(trained_folder, tmp_path, capsys):
    source = trained_folder / "output" / "baseline"
    for age, name in enumerate(("newest", "older")):
        folder = tmp_path / name
        folder.mkdir()
        for path in source.glob("*"):
            (folder / path.name).write_bytes(path.read_bytes())
        for path in folder.glob("*.pt"):
            os.utime(path, (10**9 - age, 10**9 - age))

    def speaker(*flags):
        assert predict_cls_rnn.main(["--input", "1 2", *map(str, flags)]) == 0
        return capsys.readouterr().err.split(", seed")[0]

    assert speaker("--save_dir", tmp_path) == f"{tmp_path}/newest at step 40"
    assert speaker("--save_dir", tmp_path / "older") == f"{tmp_path}/older at step 40"
    assert speaker("--save_dir", tmp_path, "--run_name", "older") == f"{tmp_path}/older at step 40"
    checkpoint = tmp_path / "older" / "model_step_20.pt"
    assert speaker("--checkpoint", checkpoint) == f"{tmp_path}/older at step 20"


def test_a_folder_of_the_published_scripts_answers(model, tmp_path):
    settings = {"min_seq_len": 2, "max_seq_len": 4, "max_number": 9, "lr": 0.001}
    torch.save(argparse.Namespace(**settings), tmp_path / "args.pt")
    torch.save(model.state_dict(), tmp_path / "model_step_40.pt")
    done = run_here(
        *("predict_cls_rnn.py", "--save_dir", tmp_path, "--input", "1 2 3", "--json"), cwd=tmp_path
    )
    assert json.loads(done.stdout).items() >= expected_answer(model, [1, 2, 3]).items()
    assert "at step 40, seed unknown" in done.stderr and "of all 11,100 inputs" in done.stderr


# ---- refusals ----


@pytest.mark.parametrize("text", ["10", "-1", "1 2 11", "1.5", "one", "", " ", "1;2", "1 -2"])
def test_a_wrong_input_is_refused(text, trained_folder, capsys):
    flags = ["--save_dir", str(trained_folder / "output"), "--input", text]
    assert status_of(predict_cls_rnn.main, *flags) == 2
    printed = capsys.readouterr()
    (sentence,) = printed.err.splitlines()
    assert not printed.out and "--input" in sentence and "0 to 9" in sentence


NO_NETWORK = {
    "--save_dir nowhere": "--save_dir: there is no folder 'nowhere'",
    "--save_dir .": "--save_dir: no checkpoint (model_step_N.pt) in '.'",
    "--run_name nobody": "--run_name: there is no folder 'output/nobody'",
    "--checkpoint absent.pt": "--checkpoint: 'absent.pt' cannot be read",
    "--checkpoint damaged.pt": "--checkpoint: 'damaged.pt' is damaged",
    "--checkpoint .": "--checkpoint: '.' is not a regular file",
    "--checkpoint ''": "--checkpoint: '.' is not a regular file",
    "--checkpoint malicious.pt": "--checkpoint: 'malicious.pt' is refused",
    "--checkpoint x.pt --run_name x": "--checkpoint says which network; leave out --run_name 'x'",
    "--checkpoint x.pt --save_dir .": "--checkpoint says which network; leave out --save_dir '.'",
    "--bogus 1": "unrecognized arguments: --bogus 1",
}


@pytest.mark.parametrize("flags", NO_NETWORK)
def test_no_network_to_speak_of_is_refused(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04 no zip file")
    payload = tmp_path / "pwned"
    malicious = type("Malicious", (), {"__reduce__": lambda self: (os.mkdir, (str(payload),))})
    torch.save(malicious(), tmp_path / "malicious.pt")
    status = status_of(predict_cls_rnn.main, *shlex.split(flags), "--input", "1 2")
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    (sentence,) = printed.err.splitlines()
    assert sentence.startswith(f"predict_cls_rnn.py: error: {NO_NETWORK[flags]}")
    assert not payload.exists()


def test_a_reader_that_stops_early_is_no_error_of_ours(trained_folder, script_environment):
    done = subprocess.run(
        "yes '1 2 3' | head -n 20000 "
        f"| {sys.executable} {REPOSITORY}/predict_cls_rnn.py | head -n 1",
        shell=True,
        cwd=trained_folder,
        capture_output=True,
        text=True,
        env=script_environment,
        timeout=120,
    )
    assert done.stdout.startswith("1 2 3 -> ") and "Traceback" not in done.stderr
