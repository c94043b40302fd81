"""Own data from end to end: files, training, the same bits when resumed, answers in words."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, refusal, run_here

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial import certify, evaluate
from rnn_tutorial.data.examples import Examples, Vocabulary, read_examples
from rnn_tutorial.evaluation.result import wilson_interval
from rnn_tutorial.experiments.who_did_it import EVAL_FILE, TRAIN_FILE
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.streams import answer_blocks
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.tasks.choose import load_task, make_task
from rnn_tutorial.tasks.labelled_files import LabelledFiles, evaluate_examples
from rnn_tutorial.tasks.reading import WordReader

DATA = REPOSITORY / "rnn_tutorial" / "data_examples"
TRAIN = (
    *("--engine", "autograd", "--hidden_dim", 32, "--lr", 0.005, "--min_lr", 0),
    *("--total_steps", 500, "--log_every", 250, "--eval_every", 250, "--save_every", 250),
    *("--tracker", "disabled", "--run_name", "sentences", "--embed_noise", 0.05),
)


@pytest.fixture(scope="module")
def sentences_folder(tmp_path_factory):
    """A folder with the example data, in which a net was trained on it. Read only."""
    folder = tmp_path_factory.mktemp("sentences")
    for name in (TRAIN_FILE, EVAL_FILE):
        shutil.copy(DATA / name, folder)
    files = ("--train_file", TRAIN_FILE, "--eval_file", EVAL_FILE)
    done = run_here("train_cls_rnn.py", *files, *TRAIN, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "screen.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def checkpoint(sentences_folder):
    return load_checkpoint(sentences_folder / "output/sentences/model_step_500.pt")


# ---- training ----


def test_it_learns_who_did_it(sentences_folder):
    run = sentences_folder / "output" / "sentences"
    result = json.loads((run / "result.json").read_text())
    assert result["accuracy"] > 0.9  # guessing is right in a quarter
    assert result["evaluation"]["num_inputs"] == 200
    assert result["config"]["train_file"] == TRAIN_FILE
    assert result["config"]["min_seq_len"] == 5 and result["config"]["max_seq_len"] == 16
    screen = (sentences_folder / "screen.txt").read_text()
    assert f"600 examples of {TRAIN_FILE}, evaluated on 200 of {EVAL_FILE}" in screen
    assert f"evaluated on 200 of {EVAL_FILE} (0.0% of their tokens unknown)" in screen
    assert "35 different tokens, 4 classes: dog 26.5%, " in screen
    assert "accuracy 26.5% (always 'dog')" in screen
    assert "of 200 examples" in screen and "Accuracy by class: " in screen
    assert "--recipe solved" not in screen


def test_what_guessing_scores_is_counted_on_the_evaluation_examples(tmp_path):
    train, evaluation = tmp_path / "train.tsv", tmp_path / "eval.tsv"
    train.write_text("a\tx y\na\tx\na\ty\nb\tx\n")
    evaluation.write_text("a\tx\nb\tz\nb\tz\nb\ty\n")
    config = TrainConfig(train_file=str(train), eval_file=str(evaluation))
    guessing, data, classes = make_task(config).introduce().splitlines()
    assert guessing == "chance is a loss of 0.562, accuracy 25.0% (always 'a')"
    assert data.endswith(f"evaluated on 4 of {evaluation} (50.0% of their tokens unknown)")
    assert classes == "2 different tokens, 2 classes: a 75.0%, b 25.0%"


def test_characters_may_be_typed_without_spaces_and_tabs_are_refused():
    reader = WordReader(Vocabulary(["<unk>", "a", "b"], ["x", "y"]))
    assert reader.read("baa").typed == [["b", "a", "a"]]
    assert reader.read("ba a").typed == [["ba", "a"]]  # as a line of a file is read
    assert reader.read("<unk>").typed == [["<unk>"]]
    assert WordReader(Vocabulary(["<unk>", "a", "bc"], ["x", "y"])).read("ba").typed == [["ba"]]
    with pytest.raises(ValueError, match="there is a tab in the input; give the tokens without a"):
        reader.read("x\tb a")


def test_the_checkpoint_keeps_vocabulary_and_class_names_as_plain_values(checkpoint):
    task = torch.load(checkpoint.path, weights_only=True)["task"]
    assert task["kind"] == "labelled files" and len(task["fingerprint"]) == 64
    assert task["classes"] == ["bird", "cat", "dog", "fox"]
    assert (task["min_seq_len"], task["max_seq_len"]) == (5, 16)
    vocabulary = task["tokens"]
    assert vocabulary[0] == "<unk>" and vocabulary[1:] == sorted(vocabulary[1:])
    assert checkpoint.model["vocab_size"] == len(vocabulary) == 36
    assert checkpoint.model["cls_num"] == 4


@pytest.mark.parametrize("files_moved", [False, True])
def test_a_resumed_run_ends_with_the_same_bits(
    files_moved, sentences_folder, checkpoint, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "model_step_250.pt"):
        shutil.copy(checkpoint.path.with_name(name), run)
    flags = ["--resume", str(run)]
    if files_moved:
        (tmp_path / "moved").symlink_to(sentences_folder)
        flags += ["--train_file", f"moved/{TRAIN_FILE}", "--eval_file", f"moved/{EVAL_FILE}"]
    monkeypatch.chdir(tmp_path if files_moved else sentences_folder)
    assert train_cls_rnn.main(flags) == 0
    resumed = load_checkpoint(run / "model_step_500.pt")
    for name, weights in checkpoint.weights.items():
        assert torch.equal(resumed.weights[name], weights), name


def test_a_run_does_not_go_on_with_other_examples(
    sentences_folder, checkpoint, tmp_path, monkeypatch, capsys
):
    for name in ("config.json", "model_step_250.pt"):
        shutil.copy(checkpoint.path.with_name(name), tmp_path)
    shutil.copy(sentences_folder / EVAL_FILE, tmp_path)
    lines = (sentences_folder / TRAIN_FILE).read_text().splitlines(keepends=True)
    (tmp_path / TRAIN_FILE).write_text("".join([lines[1], lines[0], *lines[2:]]))
    monkeypatch.chdir(tmp_path)
    before = Path("config.json").read_bytes()
    assert "has changed since" in refusal(capsys, train_cls_rnn.main, "--resume", ".")
    assert Path("config.json").read_bytes() == before
    Path("digits").mkdir()
    Path("digits", "config.json").write_text(json.dumps(asdict(TrainConfig())))
    flags = ("--resume", "digits", "--train_file", TRAIN_FILE)
    assert "differs from the resumed run's none" in refusal(capsys, train_cls_rnn.main, *flags)
    with Path(TRAIN_FILE).open("a") as file:
        file.write("no tab\n")
    refused = refusal(capsys, evaluate.main, ".")
    assert "0 tabs instead of one" in refused and "relative path" not in refused
    Path(TRAIN_FILE).unlink()
    refused = refusal(capsys, train_cls_rnn.main, "--resume", ".")
    assert f"--train_file '{TRAIN_FILE}', which the run uses, is not there any" in refused
    assert refused.endswith("give its new place: --resume RUN_DIR --train_file FILE")
    refused = refusal(capsys, train_cls_rnn.main, "--resume", ".", "--train_file", "typo.tsv")
    assert "--train_file 'typo.tsv': there is no such file" in refused
    refused = refusal(capsys, train_cls_rnn.main, "--resume", ".", "--train_file", "")
    assert "--train_file '' is empty" in refused


def test_before_its_first_checkpoint_a_run_keeps_its_machine_file(tmp_path, capsys):
    config = TrainConfig.from_flags({"task": "door.json", "save_dir": str(tmp_path)})
    (tmp_path / "config.json").write_text(json.dumps(asdict(config)))
    refused = refusal(capsys, train_cls_rnn.main, "--resume", tmp_path, "--task", "parity")
    assert "--task 'parity': there is no such file" in refused


def test_without_a_file_to_evaluate_on_a_tenth_is_held_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train_file = DATA / TRAIN_FILE
    quickly = ["--total_steps", "10", "--engine", "autograd", "--tracker", "disabled"]
    assert train_cls_rnn.main(["--train_file", str(train_file), *quickly]) == 0
    screen = capsys.readouterr().out
    assert f"540 examples of {train_file}, evaluated on 60 held out from it at random" in screen
    assert "wrong of 60 examples" in screen and "wrong: the" in screen
    assert evaluate.main(["output"]) == 0
    assert "wrong of 60 examples" in capsys.readouterr().out


# ---- refusals, before anything is on disk ----

GOOD = "a\tx y\nb\ty x\n"


@pytest.mark.parametrize(
    ("train", "evaluation", "named"),
    [
        ("a\tx\nb y\n", GOOD, ["--train_file 'train.tsv'", "line 2", "label<TAB>tokens"]),
        ("a\tx\na\ty\n", GOOD, ["--train_file 'train.tsv'", "only the label 'a'"]),
        (GOOD, "a\tx\nc\ty\n", ["--eval_file 'eval.tsv'", "line 2", "'c'"]),
        (GOOD, "", ["--eval_file 'eval.tsv'", "empty"]),
        (GOOD, "\tx\n", ["--eval_file 'eval.tsv'", "line 1", "no label"]),
        (GOOD, None, ["--train_file 'train.tsv'", "--eval_file"]),  # too few
    ],
)
def test_malformed_files_leave_nothing_on_disk(
    train, evaluation, named, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("train.tsv").write_text(train)
    flags = ["--train_file", "train.tsv"]
    if evaluation is not None:
        Path("eval.tsv").write_text(evaluation)
        flags += ["--eval_file", "eval.tsv"]
    sentence = refusal(capsys, train_cls_rnn.main, *flags)
    assert all(part in sentence for part in named)
    assert {path.name for path in tmp_path.iterdir()} <= {"train.tsv", "eval.tsv"}


# ---- evaluation ----

VOCABULARY = Vocabulary(["<unk>", "x", "y", "z"], ["a", "b", "c"])


def test_examples_are_scored_as_one_by_one():
    torch.manual_seed(0)
    model = RnnClsNet(4, 3, 5, 2, 3).train()
    tokens = [(["x", "y", "z", "?"] * 3)[i % 5 : i % 5 + 1 + i % 7] for i in range(60)]
    with torch.no_grad():
        model.fc.weight *= 20  # so that it answers this and that
    answers = ["abc"[model.predict(VOCABULARY.encode(own)).item()] for own in tokens]
    labels = ["a" if i % 3 else answer for i, answer in enumerate(answers)]
    examples = Examples("file", list(range(1, 61)), labels, tokens)
    found = evaluate_examples(model, examples, VOCABULARY, max_examples=3)
    assert model.training
    right = [answer == label for answer, label in zip(answers, labels, strict=True)]
    assert 0 < sum(right) < 60
    assert found.num_wrong == 60 - sum(right) and found.accuracy == sum(right) / 60
    assert (found.low, found.high) == wilson_interval(sum(right), 60)
    losses = []
    for own, label in zip(tokens, labels, strict=True):
        x = torch.tensor([VOCABULARY.encode(own)])
        with torch.no_grad():
            scores = model.eval()(x, torch.tensor([len(own)]))
        losses.append(torch.nn.functional.cross_entropy(scores, torch.tensor(["abc".index(label)])))
    assert found.loss == pytest.approx(sum(losses).item() / 60, rel=1e-5)
    assert found.score("eval_loss") == -found.loss and found.score("accuracy") == found.accuracy
    assert found.score("balanced_accuracy") == found.balanced_accuracy != found.accuracy
    for length in range(1, 8):
        own = [r for r, row in zip(right, tokens, strict=True) if len(row) == length]
        assert found.accuracy_by_length[length] == sum(own) / len(own)
    pairs = Counter(zip(labels, answers, strict=True))
    assert pairs == {
        (label, answer): count
        for label, counts in found.answers_by_label.items()
        for answer, count in counts.items()
    }
    shortest = sorted(len(t) for t, r in zip(tokens, right, strict=True) if not r)[:3]
    assert [len(example["tokens"]) for example in found.wrong_examples] == shortest
    for example in found.wrong_examples:
        i = example["line"] - 1
        expected = {"line": i + 1, "tokens": tokens[i], "label": labels[i], "answer": answers[i]}
        assert example == expected and not right[i]


def test_a_loss_that_is_not_a_number_is_no_loss():
    model = RnnClsNet(4, 3, 5, 1, 3)
    with torch.no_grad():
        model.fc.weight[:, 0] = float("nan")
    found = evaluate_examples(model, Examples("file", [1], ["a"], [["x"]]), VOCABULARY)
    assert found.loss is None and found.num_wrong == 1
    assert found.score("eval_loss") == -float("inf")


@pytest.mark.parametrize("monitor", ["accuracy", "balanced_accuracy", "eval_loss"])
def test_the_monitored_metric_chooses_the_best_checkpoint(monitor, tmp_path, capsys):
    rows = [f"{'ab'[i % 10 == 0]}\t{' '.join(f'{i * i:b}')}\n" for i in range(300)]
    (tmp_path / "train.tsv").write_text("".join(rows[:200]))
    (tmp_path / "eval.tsv").write_text("".join(rows[200:]))
    flags = [
        *("--train_file", tmp_path / "train.tsv", "--eval_file", tmp_path / "eval.tsv"),
        *("--lr", 0.03, "--hidden_dim", 32, "--total_steps", 200, "--eval_every", 10),
        *("--early_stopping_patience", 20, "--monitor", monitor, "--balance_classes"),
        *("--tracker", "disabled", "--save_dir", tmp_path, "--run_name", "run"),
    ]
    assert train_cls_rnn.main([str(flag) for flag in flags]) == 0
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    values = {line["step"]: line[monitor] for line in lines if monitor in line}
    assert len(values) == 20 and len({*values.values()}) > 3
    best = min(values, key=values.get) if monitor == "eval_loss" else max(values, key=values.get)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["best_step"] == best < 200 and abs(result["best_score"]) == values[best]
    screen = capsys.readouterr().out
    assert f"model_best.pt, {monitor} " in screen and f"at step {best:,}; predictions" in screen
    assert "chance is a loss of 0.693, accuracy 90.0%" in screen and "drawn equally" in screen


def test_without_a_finite_score_no_best_checkpoint_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "some.tsv").write_text("a\tx y\nb\ty y\n" * 20)
    evaluate = LabelledFiles.evaluate
    without_a_loss = lambda *given: replace(evaluate(*given), loss=None)  # noqa: E731
    monkeypatch.setattr(LabelledFiles, "evaluate", without_a_loss)
    flags = [
        *("--train_file", tmp_path / "some.tsv", "--eval_file", tmp_path / "some.tsv"),
        *("--early_stopping_patience", 3, "--monitor", "eval_loss", "--eval_every", 5),
        *("--total_steps", 10, "--tracker", "disabled", "--save_dir", tmp_path),
    ]
    assert train_cls_rnn.main([*map(str, [*flags, "--run_name", "run"])]) == 0
    assert "Best checkpoint" not in capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["best_checkpoint"], result["best_step"]) == (None, 0)
    assert not (tmp_path / "run" / "model_best.pt").exists()


def test_the_command_scores_a_run_or_a_file(sentences_folder, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(sentences_folder)
    assert evaluate.main(["output/sentences"]) == 0
    text = capsys.readouterr().out
    assert "of 200 examples" in text and "      bird   cat   dog   fox\n" in text
    file = tmp_path / "two.tsv"
    file.write_text("cat\tthe cat chased the dog\ndog\tthe cat chased the dog\n")
    assert evaluate.main(["output/sentences", "--eval_file", str(file), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["num_inputs"], results["num_wrong"]) == (2, 1)
    assert results["wrong_examples"][0]["line"] == 2


def test_many_classes_are_shown_by_their_mistakes(capsys, checkpoint):
    names = [f"c{i}" for i in range(20)]
    by_label = {"c0": {"c0": 9, "c1": 2}, "c2": {"c0": 5}}
    found = load_task(checkpoint).evaluate_file(load_model(checkpoint), str(DATA / EVAL_FILE), 5)
    evaluate.print_confusions(names, replace(found, answers_by_label=by_label))
    shown = capsys.readouterr().out.partition("most often:\n")[2].splitlines()
    assert [line.split() for line in shown] == [["5", "c2", "for", "c0"], ["2", "c0", "for", "c1"]]
    evaluate.print_confusions(names, replace(found, answers_by_label={"c0": {"c0": 9}}))
    assert capsys.readouterr().out == ""


def test_what_rests_on_the_rule_of_digits_is_refused(sentences_folder, trained_folder, capsys):
    run = sentences_folder / "output"
    for flags in (["--automaton"], ["--max_len", 3], ["--lengths", 3], ["--num_sequences", 3]):
        sentence = refusal(capsys, evaluate.main, run, *flags)
        assert flags[0] in sentence and "labelled examples" in sentence
    assert "labelled examples" in refusal(capsys, certify.main, run)
    digits = trained_folder / "output"
    assert "--eval_file 'x'" in refusal(capsys, evaluate.main, digits, "--eval_file", "x")


# ---- answers ----


def test_a_stream_is_answered_with_class_names(sentences_folder):
    text = "the cat chased the dog\nthe zebra was chased by the fox\n\n  \na \ufffd b\ndog"
    done = run_here("predict_cls_rnn.py", cwd=sentences_folder, text=text)
    first, second, last = done.stdout.splitlines()
    assert first.startswith("the cat chased the dog -> cat with probability ")
    assert second.startswith("the zebra was chased by the fox -> fox with probability ")
    assert second.endswith("%  (unknown: zebra)") and "unknown" not in first
    assert last.endswith("%  (never trained on length 1)")
    introduction, *refusals = done.stderr.splitlines()
    assert "trained on lengths 5 to 16: accuracy" in introduction
    assert [line.partition(" ")[2] for line in refusals] == [
        "3: the input is empty; give at least one token",
        "4: the input is empty; give at least one token",
        "5: the input is not UTF-8",
    ]
    assert done.returncode == 1


def test_json_is_in_utf_8_whatever_the_terminal_takes(sentences_folder, script_environment):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "predict_cls_rnn.py", "--json", "--input", "the 😀"],
        cwd=sentences_folder, capture_output=True, check=True, timeout=120,
        env=script_environment | {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert json.loads(done.stdout)["unknown"] == ["😀"]


def test_answers_in_json_are_those_of_the_model(sentences_folder, checkpoint, capsys, monkeypatch):
    examples = read_examples(str(DATA / EVAL_FILE), "F")
    examples = examples.take(range(50))
    sequences = [*examples.tokens, ["ähm", "cat"] * 20, ["the"]]
    vocabulary = load_task(checkpoint).vocabulary
    text = "".join(" ".join(tokens) + "\n" for tokens in sequences)
    blocks = answer_blocks(Predictor(checkpoint), [(7, text)], as_json=True)
    ((answered, refusals),) = blocks
    answers = [json.loads(line) for line in answered.decode().splitlines()]
    model = load_model(checkpoint)
    assert not refusals and [answer["line"] for answer in answers] == list(range(7, 59))
    for answer, tokens in zip(answers, sequences, strict=True):
        probabilities = model.logits(vocabulary.encode(tokens))[0].softmax(dim=-1)
        assert answer["input"] == tokens
        assert answer["prediction"] == vocabulary.class_names[probabilities.argmax()]
        assert answer["probability"] == pytest.approx(float(probabilities.max()), abs=1e-5)
        expected = dict(zip(vocabulary.class_names, probabilities.tolist(), strict=True))
        assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)
        assert answer["trained_length"] == (5 <= len(tokens) <= 16)
    assert answers[50]["unknown"] == ["ähm"] * 20
    monkeypatch.chdir(sentences_folder)
    assert predict_cls_rnn.main(["--input", "the cat", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["input"] == ["the", "cat"] and "line" not in alone
    assert "--input: the input is empty" in refusal(capsys, predict_cls_rnn.main, "--input", " ")


def test_a_task_without_files_is_that_of_digits():
    task = make_task(TrainConfig(min_seq_len=1, max_seq_len=3, max_number=4))
    assert len(task.tokens) == len(task.classes) == 5 and task.machine.answer_one([4, 3]) == 2
    record = {"kind": "digit sum", "min_seq_len": 1, "max_seq_len": 3, "max_number": 4}
    assert task.record == record and task.trained_lengths == range(1, 4)
