"""Labelled files: read as Python's csv module reads them, in whole epochs, or refused."""

import csv
import io
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, numbers_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnn_tutorial.data.example_stream import ExampleDataset
from rnn_tutorial.data.examples import (
    UNKNOWN,
    Examples,
    Vocabulary,
    build_vocabulary,
    hold_out,
    read_examples,
)
from rnn_tutorial.data.loader import BatchLoader
from rnn_tutorial.experiments import who_did_it

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_examples(*examples):
    """Examples from (label, "tokens ...")."""
    labels, texts = zip(*examples, strict=True)
    lines = list(range(1, len(labels) + 1))
    return Examples("file", lines, list(labels), [text.split() for text in texts])


# ---- files ----

visible = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="\ufeff"),
    min_size=1,
    max_size=6,
)
rows = st.lists(st.tuples(visible, st.lists(visible, min_size=1, max_size=5)), min_size=1)


@same_folder
@given(
    rows, st.sampled_from(["\n", "\r\n"]), st.sampled_from([" ", "  "]), st.booleans(), st.data()
)
def test_a_file_is_read_as_csv_and_split_read_it(tmp_path, rows, line_end, space, ends, data):
    text = line_end.join(f"{label}\t{space.join(tokens)}" for label, tokens in rows)
    text += line_end if ends else ""
    path = tmp_path / "file.tsv"
    path.write_bytes(data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode())
    examples = read_examples(str(path), "--train_file")
    reader = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    expected = [(label, words.split()) for label, words in reader]
    assert list(zip(examples.labels, examples.tokens, strict=True)) == expected == rows
    assert examples.lines == list(range(1, len(rows) + 1))


@same_folder
@given(st.lists(st.binary(max_size=8) | st.just(b"a\tb c"), max_size=6).map(b"\n".join))
def test_any_bytes_are_examples_or_a_refusal(tmp_path, content):
    path = tmp_path / "file.tsv"
    path.write_bytes(content)
    try:
        examples = read_examples(str(path), "--train_file")
    except ValueError as error:
        assert str(error).startswith(f"--train_file {str(path)!r}") and "\n" not in str(error)
    else:
        assert all(label.strip() for label in examples.labels) and all(examples.tokens)
        lines = content.replace(b"\r", b"\n").split(b"\n")
        assert len(examples) == sum(bool(line.strip()) for line in lines)


MALFORMED = {
    b"": "is empty",
    b"a\tb\nc d\n": "line 2: 0 tabs",
    b"\n \r\n": "is empty",
    b"\n\na,b c\n": r"line 3: 0 tabs instead of one \(commas do not separate\)",
    b"a\tb\t\n": r"line 1: 2 tabs instead of one \(the last one ends the line\)",
    b"\x1f\x8b\x08": "is compressed; unpack it first",
    "a\tb\n".encode("utf-16"): "is UTF-16; save it as UTF-8",
    b"a\tb\tc\n": "line 1: 2 tabs",
    b"a\tb\n \tb\n": "line 2: no label",
    b"a\tb\nc\t \r\n": "line 2: no tokens",
    b"a\tb\nc\td\nx\t\xff": "line 3: byte 3 is not UTF-8",
    b"a\tb\na\tc\n": "has only the label 'a'",
}


@pytest.mark.parametrize("content", MALFORMED, ids=MALFORMED.values())
def test_a_malformed_file_is_refused_by_line(content, tmp_path):
    path = tmp_path / "file.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=MALFORMED[content]) as refused:
        build_vocabulary(read_examples(str(path), "--train_file"))
    assert str(refused.value).startswith(f"--train_file {str(path)!r}")


def test_blank_lines_are_skipped_and_lines_may_end_as_on_an_old_mac(tmp_path):
    path = tmp_path / "file.tsv"
    path.write_bytes(b"\na\tb c\r\r\r\n  \nd\te\n\n")
    examples = read_examples(str(path), "--train_file")
    assert (examples.labels, examples.tokens) == (["a", "d"], [["b", "c"], ["e"]])
    assert examples.lines == [2, 6]


@pytest.mark.parametrize("name", ["absent.tsv", ".", "nul\0"])
def test_a_file_that_cannot_be_read_is_refused(name):
    with pytest.raises(ValueError, match=r"cannot be read|is not a regular file"):
        read_examples(name, "--train_file")


def test_a_label_that_does_not_occur_in_training_is_refused_by_line():
    vocabulary = Vocabulary([UNKNOWN, "x"], ["a", "b"])
    with pytest.raises(
        ValueError, match="line 2: label 'c' does not occur in training; the labels there are 'a'"
    ):
        vocabulary.check_labels(make_examples(("a", "x"), ("c", "x"), ("d", "x")))


def test_too_many_tokens_are_refused():
    examples = make_examples(("a", " ".join(map(str, range(70_000)))), ("b", "x"))
    with pytest.raises(ValueError, match="70,001 different tokens; at most 65,535 are allowed"):
        build_vocabulary(examples)


def test_the_vocabulary_gives_ids_and_names():
    vocabulary = build_vocabulary(make_examples(("no", "b a"), ("yes", f"c {UNKNOWN} a")))
    assert vocabulary.tokens == [UNKNOWN, "a", "b", "c"]
    assert vocabulary.class_names == ["no", "yes"]
    assert vocabulary.encode(["c", "z", "a", UNKNOWN]) == [3, 0, 1, 0]
    assert vocabulary.encode_labels(["yes", "no"]).tolist() == [1, 0]


# ---- what is held out ----


@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=80), st.integers(0, 2**63 - 1))
def test_a_seeded_tenth_is_held_out(labels, seed):
    examples = make_examples(*((label, str(i)) for i, label in enumerate(labels)))
    trained, held_out = hold_out(examples, seed)
    assert sorted(trained.lines + held_out.lines) == examples.lines
    assert len(held_out) == max(1, len(labels) // 10)
    assert set(trained.labels) == set(labels)
    for part in (trained, held_out):
        assert part.lines == sorted(part.lines)
        assert part.labels == [labels[line - 1] for line in part.lines]
    assert hold_out(examples, seed) == (trained, held_out)


def test_different_seeds_hold_out_different_examples():
    examples = make_examples(*(("ab"[i % 2], "x") for i in range(100)))
    assert len({tuple(hold_out(examples, seed)[1].lines) for seed in range(5)}) == 5


def test_too_few_examples_to_hold_some_out_are_refused():
    with pytest.raises(
        ValueError, match="no label twice, so no example can be held out for evaluation"
    ):
        hold_out(make_examples(("a", "x"), ("b", "y")), 0)


# ---- the stream of training examples ----


def make_dataset(num_examples, seed=0):
    """Examples that can be told apart by their first token, of lengths 1 to 4."""
    examples = make_examples(
        *(("abc"[i % 3], f"t{i} " + "x " * (i % 4)) for i in range(num_examples))
    )
    vocabulary = build_vocabulary(examples)
    return ExampleDataset(examples, vocabulary, seed), examples, vocabulary


@given(st.integers(2, 12), st.integers(1, 30), st.integers(0, 100))
def test_every_epoch_has_every_example_once_however_batches_divide_it(
    num_examples, batch_size, seed
):
    dataset, examples, vocabulary = make_dataset(num_examples, seed)
    dataset._unknown_rates[:] = 0  # so that each example can be told
    epochs = 3
    x, seq_lengths, targets = dataset.draw(0, epochs * num_examples)
    names = np.array([*vocabulary.tokens, None])[x]
    for epoch in range(epochs):
        rows = range(epoch * num_examples, (epoch + 1) * num_examples)
        drawn = [
            (vocabulary.class_names[targets[row]], names[row, : seq_lengths[row]].tolist())
            for row in rows
        ]
        assert sorted(drawn) == sorted(zip(examples.labels, examples.tokens, strict=True))
        assert all((names[row, seq_lengths[row] :] == None).all() for row in rows)  # noqa: E711

    batches = dataset.draw_batches(0, 4, batch_size)  # the same samples, a batch longest first
    x, seq_lengths, targets = (
        rows.reshape(4, batch_size, -1) for rows in dataset.draw(0, 4 * batch_size)
    )
    for k in range(4):
        lengths = batches.seq_lengths[k].tolist()
        assert lengths == sorted(lengths, reverse=True)
        drawn = zip(batches.x[k].tolist(), lengths, batches.targets[k].tolist(), strict=True)
        expected = zip(
            x[k].tolist(), *(rows[k, :, 0].tolist() for rows in (seq_lengths, targets)), strict=True
        )
        assert sorted(drawn) == sorted(expected)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(0, 100))
def test_balanced_epochs_have_every_class_equally_often_and_all_examples_of_rare_ones(sizes, seed):
    rows = [("abcde"[c], f"{c}-{i}") for c, size in enumerate(sizes) for i in range(size)]
    examples = make_examples(*rows)
    vocabulary = build_vocabulary(examples)
    dataset = ExampleDataset(examples, vocabulary, seed, balance_classes=True)
    dataset._unknown_rates[:] = 0
    x, _, targets = dataset.draw(0, 2 * len(rows))
    for epoch in np.split(np.arange(2 * len(rows)), 2):
        drawn = Counter(zip(targets[epoch].tolist(), x[epoch, 0].tolist(), strict=True))
        names = {
            (vocabulary.encode_labels([label])[0], *vocabulary.encode([t])) for label, t in rows
        }
        assert drawn.keys() <= names
        of_class = [{k: n for k, n in drawn.items() if k[0] == c} for c in range(len(sizes))]
        totals = [sum(counts.values()) for counts in of_class]
        assert sum(totals) == len(rows) and max(totals) - min(totals) <= 1
        for counts, size, total in zip(of_class, sizes, totals, strict=True):
            assert len(counts) == min(size, total)
            assert max(counts.values()) - min(counts.values()) <= 1
    orders = {tuple(dataset.draw(i * len(rows), len(rows))[0][:, 0]) for i in range(20)}
    assert len(orders) > 1 or len(rows) < 4


def test_epochs_and_seeds_have_different_orders():
    def orders(seed):
        dataset, _, _ = make_dataset(40, seed)
        dataset._unknown_rates[:] = 0
        return dataset.draw(0, 80)[0][:, 0].reshape(2, 40).tolist()

    assert len({tuple(order) for seed in (0, 1) for order in orders(seed)}) == 4
    assert orders(3) == orders(3)


@given(st.integers(0, 300), st.integers(1, 100), st.integers(1, 20))
def test_any_batches_can_be_drawn_alone(first, count, batch_size):
    dataset, _, _ = make_dataset(17, seed=5)
    together = dataset.draw_batches(first, count, batch_size)
    fresh, _, _ = make_dataset(17, seed=5)
    alone = fresh.draw_batches(first + count - 1, 1, batch_size)
    for many, one in zip(numbers_of(together), numbers_of(alone), strict=True):
        assert torch.equal(many[-1:], one)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_the_same_for_any_workers(num_workers):
    dataset, _, _ = make_dataset(50, seed=2)
    dataset.block_size = 70
    loader = BatchLoader(dataset, 16, 3, 40, num_workers)
    taken = [loader.take(5) for _ in range(10)]
    expected = make_dataset(50, seed=2)[0].draw_batches(3, 37, 16)
    columns = zip(*map(numbers_of, taken), strict=True)
    for drawn, wanted in zip(columns, numbers_of(expected), strict=True):
        assert torch.equal(torch.cat(drawn), wanted)


def test_rare_tokens_are_trained_as_unknown_now_and_then():
    examples = make_examples(("a", "rare"), *[("b", "often")] * 24)
    dataset = ExampleDataset(examples, build_vocabulary(examples))
    epochs = 4000
    x, _, targets = dataset.draw(0, epochs * 25)
    unknown = Counter(targets[x[:, 0] == 0].tolist())
    assert unknown[0] / epochs == pytest.approx(0.2, abs=0.02)  # 0.25 / (1 + 0.25)
    assert unknown[1] / epochs / 24 == pytest.approx(0.25 / 24.25, abs=0.001)


# ---- the example data ----


def test_the_committed_example_data_is_what_the_command_writes(tmp_path, capsys):
    assert who_did_it.main(["--write", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    for name in (who_did_it.TRAIN_FILE, who_did_it.EVAL_FILE):
        committed = REPOSITORY / "rnn_tutorial" / "data_examples" / name
        assert (tmp_path / "new" / name).read_bytes() == committed.read_bytes()
        assert f"{name}: " in printed


def test_the_example_sentences_say_who_did_it():
    train, evaluation = who_did_it.make_lines()
    assert (len(train), len(evaluation)) == (600, 200)
    assert len(set(train + evaluation)) == 800
    for line in train + evaluation:
        label, _, sentence = line.partition("\t")
        active, _, doer = sentence.partition(" by ")  # what follows "by" did it, else the subject
        animals = [word for word in (doer or active).split() if word in who_did_it._ANIMALS]
        assert animals[0] == label


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        who_did_it.main(["--write", str(tmp_path / "file" / "folder")])
    assert stopped.value.code == 2 and "--write" in capsys.readouterr().err
