"""Checks of data: each fault is found by its name, and nothing certain where nothing is wrong."""

import contextlib
import itertools
import math
import multiprocessing
import random
import re
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rnn_tutorial.data.examples import build_vocabulary, read_split
from rnn_tutorial.data.streams import EVAL_STREAM, SeqSumModDataset
from rnn_tutorial.doctor import data_reading
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.doctor.data_reading import is_label_file
from rnn_tutorial.experiments.doctor_cases.data_open import CASES
from rnn_tutorial.experiments.doctor_self_test import DATA_CASES


def names(*arguments, **options):
    return [finding.name for finding in check_data(*arguments, **options).findings]


def digits(total=None, longest=5, seed=0, stream=0):
    return SeqSumModDataset(total, 1, longest, 9, seed, stream)


def padded(samples, size=20, pad=10):
    """Batches of tensors (x, lengths, targets), padded behind."""
    samples = list(samples)
    for first in range(0, len(samples), size):
        rows, lengths, targets = zip(*samples[first : first + size], strict=True)
        x = torch.full((len(rows), max(lengths)), pad)
        for i, row in enumerate(rows):
            x[i, : len(row)] = torch.tensor(row)
        yield x, torch.tensor(lengths), torch.tensor(targets)


def sums(number, shortest=1, longest=4, seed=0):
    """Digits below six and their sum modulo six."""
    generator = random.Random(seed)
    for _ in range(number):
        row = [generator.randrange(6) for _ in range(generator.randint(shortest, longest))]
        yield row, len(row), sum(row) % 6


def texts(number, seed=0):
    """Words of which one tells the label most of the time."""
    generator = random.Random(seed)
    for _ in range(number):
        label = generator.choice("ab")
        words = generator.choices(
            ["the", "of", "in", "by", "near", "old", "wide", "river", "hill", "road"], k=8
        )
        words[generator.randrange(8)] = label * 3 if generator.random() < 0.85 else "ccc"
        yield label, words


def written(path, lines):
    path.write_text("".join(f"{label}\t{' '.join(words)}\n" for label, words in lines))
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_open_cases(case, tmp_path):
    training, evaluation, options = case.make(tmp_path)
    findings = check_data(training, evaluation, **options).findings
    if case.is_healthy:
        assert all(finding.confidence != "certain" for finding in findings), findings
    else:
        assert findings[0].name in case.expected


@pytest.mark.parametrize("case", DATA_CASES)
def test_a_fault_of_data_is_found_and_nothing_in_good_data(case):
    expected, make = DATA_CASES[case]
    assert names(*make(0)) == ([expected] if expected else [])


# ---- what is read ----


def test_batches_and_samples_give_the_same():
    rows = list(digits(512))
    shifted = [(x, n, rows[i - 1][2]) for i, (x, n, _) in enumerate(rows)]
    assert names(padded(rows)) == names(rows) == []
    assert names(padded(shifted)) == names(shifted) == ["shifted-labels"]


@pytest.mark.parametrize(
    "data", [[], [1, 2], [(1, 2, 3)], [(None, 1)], [{"x": 1}], 3, DataLoader([1.0, 2.0])]
)
def test_other_data_are_refused(data):
    with pytest.raises(ValueError, match="training data"):
        check_data(data)


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return {}["row"]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_users_code_is_one_sentence(num_workers):
    with pytest.raises(ValueError) as raised:
        check_data(DataLoader(Broken(), num_workers=num_workers))
    message = str(raised.value)
    assert re.fullmatch(rf"{__file__}:\d+: KeyError: 'row'", message)
    for worker in multiprocessing.active_children():  # else the garbage collector waits for it
        worker.kill()
        worker.join()


def test_a_row_of_one_step_may_have_a_label_for_it():
    assert names([(np.array(row), n, np.array(row) % 3) for row, n, _ in sums(200)]) == []


def test_a_row_of_features_may_have_a_column_of_one_label():
    rows = [(torch.rand(4, 2), torch.tensor([i % 2])) for i in range(40)]
    assert names(rows) == names([(x, 4, y) for x, y in rows]) == ["label-type"]


def test_data_of_another_form_are_told_as_they_are():
    x = torch.zeros(8, 5)
    with pytest.raises(
        ValueError, match=r"data give \(Tensor of shape \(8, 5\), Tensor .*, int '3'"
    ):
        check_data([(x, x, x, 3)])


def test_label_files_are_known_by_their_name_or_first_line(tmp_path):
    assert is_label_file(written(tmp_path / "rows.csv", texts(3)))
    assert is_label_file("nowhere.tsv")  # which then cannot be read
    assert not is_label_file(tmp_path) and not is_label_file("nowhere")
    with pytest.raises(ValueError, match="line 1: 0 tabs"):
        (tmp_path / "bad.tsv").write_text("no tab\n")
        check_data(tmp_path / "bad.tsv")


def test_what_was_looked_at_and_what_not_is_told():
    report = check_data(padded(sums(500, 5, 9)))
    assert report.looked_at == [
        "500 rows of training",
        "types, shapes, ranges and lengths",
        "repetition; classes, and order by class",
        "whether a token, a place or the length gives the target away",
    ]
    assert report.not_asked == [
        "evaluation against training: no evaluation data were given",
        "the largest token: --vocab_size was not given",
        "whether labels belong to their inputs: few inputs occur twice, and no token tells the "
        "label; shuffled labels look like this, too",
    ]
    report = check_data([*sums(500, 1, 2)], [*sums(500, 1, 2, seed=1)])
    assert "whether labels belong to their inputs, or to those of other rows" in report.looked_at
    assert "500 of 500 rows are in both" in report.looked_at[-1]
    rows = [(torch.rand(4, 2), 4, 0.5)] * 10
    reasons = " ".join(check_data(rows, rows).not_asked)
    assert "real numbers" in reasons and "not one class" in reasons and "10 rows" in reasons


def test_a_loader_of_very_long_rows_is_read_to_a_million_steps(monkeypatch):
    monkeypatch.setattr(data_reading, "_NUM_STEPS", 500)
    report = check_data(padded(sums(2000, 5, 9)))
    number = int(report.looked_at[0].split()[0])
    assert 50 < number < 150 and f"the rows behind the first {number}" in report.not_asked


@pytest.mark.parametrize("number", [5, 132])
def test_amounts_that_are_whole_are_no_classes(number):
    """Ratings from 1 to 5, and counts: a regression loss takes them as they are."""
    torch.manual_seed(0)
    amounts = torch.randint(number, (300,)).double().tolist()
    rows = [(torch.rand(8), 8, amount) for amount in amounts]
    report = check_data(rows)
    found = {finding.name: finding.confidence for finding in report.findings}
    assert found == ({"label-type": "likely"} if number == 5 else {})
    assert any("regression loss" in f.advice for f in report.findings) == (number == 5)


def test_padding_by_a_negative_id_is_no_token():
    rows = [(torch.tensor(row + [-1] * (9 - n)), y) for row, n, y in sums(300, 3, 9)]
    assert "token-range" in {f.name for f in check_data(rows).findings}
    assert "token-range" not in {f.name for f in check_data(rows, padding_id=-1).findings}


@pytest.mark.parametrize("seed", range(10))
def test_lengths_of_few_rows_may_differ_by_chance(seed):
    rows = [*sums(60, 5, 39, seed)]
    assert "length-mismatch" not in {f.name for f in check_data(rows[:30], rows[30:]).findings}


def test_what_was_looked_at_is_not_called_unasked():
    rows = [(torch.rand(4, 2), 4, i / 7) for i in range(40)]
    report = check_data(rows, rows[:20])
    assert not any("tokens" in line or "classes" in line for line in report.looked_at)
    report = check_data([*sums(8)])
    assert not any("repetition" in line or "gives" in line for line in report.looked_at)


# ---- form ----


def _with(change):
    return lambda: [change(*batch) for batch in padded(sums(1000, 3, 8))]


FORMS = {
    "one-hot labels": ("label-type", _with(lambda x, n, y: (x, n, torch.eye(6)[y].long()))),
    "a column of labels": ("label-type", _with(lambda x, n, y: (x, n, y[:, None]))),
    "names": ("label-type", lambda: [(x, n, "abcdef"[y]) for x, n, y in sums(200, 3)]),
    "labels of two signs": ("label-range", _with(lambda x, n, y: (x, n, y % 2 * 2 - 1))),
    "ids as floats": ("token-type", _with(lambda x, n, y: (x.float(), n, y))),
    "digits as text": (
        "token-type", lambda: [(" ".join(map(str, x)), n, y) for x, n, y in sums(200)],
    ),
    "one-hot over time": (
        "token-type", _with(lambda x, n, y: (torch.eye(11)[x].transpose(1, 2), n, y)),
    ),
    "negative ids": ("token-range", _with(lambda x, n, y: (x - 1, n, y))),
    "one too short": ("wrong-lengths", _with(lambda x, n, y: (x, n - 1, y))),
    "one too long": ("wrong-lengths", _with(lambda x, n, y: (x, n + 1, y))),
    "padding in front": ("wrong-lengths", _with(lambda x, n, y: (x.flip(1), n, y))),
    "lengths of other rows": ("wrong-lengths", _with(lambda x, n, y: (x, n.sort()[0], y))),
    "all lengths T": (
        "wrong-lengths", _with(lambda x, n, y: (x, torch.full_like(n, x.shape[1]), y)),
    ),
    "NaN": (
        "not-finite-data", lambda: [(np.full((5, 2), np.nan), 5, i % 2) for i in range(40)],
    ),
    "NaN among ids": (
        "not-finite-data", _with(lambda x, n, y: (x.where(x < 5, math.nan), n, y)),
    ),
    "targets that copy": ("leaking-input", _with(lambda x, n, y: (x, x))),
    "values of pixels": (
        "inputs-not-normalised", _with(lambda x, n, y: (torch.rand(*x.shape, 3) * 255, n, y)),
    ),
    "unequal lists": ("mismatched-rows", lambda: DataLoader([*sums(64, 6, 6)], batch_size=16)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_wrong_forms(form):
    expected, make = FORMS[form]
    assert names(make())[0] == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda x, n, y: (x, n, y),
        lambda x, n, y: (torch.where(x == 10, -1, x), n, y),  # behind the end of the rows
        lambda x, n, y: (torch.where(x == 10, 0, x), n, y),  # a token too
        lambda x, n, y: (torch.where(x == 10, torch.randint(6, x.shape), x), n, y),  # no padding
        lambda x, n, y: (x.flip(1), y),
        lambda x, n, y: (x, n, torch.rand(len(y))),
        lambda x, n, y: (x, n, torch.stack([y > k for k in range(4)], 1).float()),
        lambda x, n, y: (torch.rand(*x.shape, 3), n, y),
        lambda x, n, y: (x, torch.arange(x.shape[1]) < n[:, None], y),  # a mask
        lambda x, n, y: (x, (torch.arange(x.shape[1]) >= n[:, None]).long(), y),  # its opposite
    ],
)
def test_forms_of_other_conventions_are_healthy(change):
    torch.manual_seed(0)
    found = check_data([change(*batch) for batch in padded(sums(1000, 3, 8))]).findings
    assert all(finding.confidence == "possible" for finding in found), found


class RowsOf(torch.utils.data.Dataset):
    """A data set of these rows."""

    def __init__(self, rows):
        self.rows = [*rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def forecasts(steps, features, horizon, form=lambda y: y):
    """Windows of a series, and the first feature in the steps behind each."""
    s = torch.sin(torch.arange(700) / 9)[:, None] + torch.randn(700, features) / 10
    ends = range(steps, 600)
    return [(s[i - steps : i], form(s[i : i + horizon, 0])) for i in ends]


@pytest.mark.parametrize(
    ("steps", "features", "horizon", "form"),
    [
        (48, 3, 6, lambda y: y),
        (48, 3, 6, lambda y: y[:, None]),
        (20, 4, 2, lambda y: torch.eye(2)[int(y[0] > 0)]),
        (24, 1, 24, lambda y: y),
        (24, 3, 24, lambda y: y),
    ],
)
def test_a_row_of_features_with_several_targets_is_no_batch(steps, features, horizon, form):
    torch.manual_seed(0)
    rows = forecasts(steps, features, horizon, form)
    for data in (RowsOf(rows), rows, DataLoader(rows, 32, shuffle=True)):
        assert all(f.confidence == "possible" for f in check_data(data).findings)


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.float()])
def test_a_loader_that_gives_unequal_numbers_of_rows_is_told(change):
    batches = [(change(x), y[1:]) for x, _, y in padded(sums(400, 6, 6))]
    report = check_data(DataLoader(batches, 1, collate_fn=lambda batch: batch[0]))
    assert [(f.name, f.confidence) for f in report.findings] == [("mismatched-rows", "certain")]
    assert "come in pairs" in report.not_asked[0]


def test_batches_of_a_series_without_features_stay_batches():
    torch.manual_seed(0)
    s = torch.randn(3000)
    rows = [(s[i : i + 20], s[i + 19]) for i in range(2900)]
    given = (batch for batch in DataLoader(rows, 32, shuffle=True))
    assert names(given) == names((x, [20] * len(x), y) for x, y in DataLoader(rows, 32))
    ten = RowsOf([(x, i % 2) for i, (x, _) in enumerate(rows[:10])] * 40)
    assert names([*DataLoader(ten, 16)]) == ["repeated-samples"]


def test_several_marks_in_a_row_are_no_one_hot():
    torch.manual_seed(0)
    x = torch.randint(1, 50, (600, 12))
    marks = torch.stack([(x % 25 == k).any(1) for k in (3, 7, 8)], 1).float()
    assert names(RowsOf(zip(x, marks, strict=True))) == []


@pytest.mark.parametrize("is_in_front", [False, True])
@pytest.mark.parametrize("size", [32, None])
def test_a_mask_that_is_one_on_padding(size, is_in_front):
    torch.manual_seed(0)
    mask = torch.arange(20) < torch.randint(3, 21, (1000, 1))
    mask = mask.flip(1) if is_in_front else mask
    x = torch.randint(1, 90, (1000, 20)) * mask
    y = torch.randint(3, (1000,))
    for given, expected in ((mask, []), (~mask, ["wrong-lengths"])):
        rows = torch.utils.data.TensorDataset(x, given.long(), y)
        report = check_data(DataLoader(rows, size, shuffle=True) if size else rows, padding_id=0)
        assert [f.name for f in report.findings] == expected
        assert all("1 on padding" in f.seen for f in report.findings)


# ---- labels against inputs ----


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_the_shift_is_told(shift):
    samples = list(itertools.islice(digits(), 3000))
    labels = [y for _, _, y in samples]
    moved = [(x, n, labels[(i - shift) % 3000]) for i, (x, n, _) in enumerate(samples)]
    (finding,) = check_data(moved).findings
    assert (finding.name, finding.confidence) == ("shifted-labels", "certain")
    assert f"{abs(shift)} {'later' if shift > 0 else 'earlier'} it is 0%" in finding.seen


@pytest.mark.parametrize("lost", [0, 1000, 1800])
def test_a_lost_label_shifts_those_behind_it(lost, tmp_path):
    rows = [*sums(2500, 2, 4)]
    labels = [str(y) for *_, y in rows]
    del labels[lost]
    lines = [(label, map(str, row)) for label, (row, *_) in zip(labels, rows, strict=False)]
    assert names(written(tmp_path / "lost.tsv", lines)) == ["shifted-labels"]


def test_a_shift_is_found_without_repeated_inputs(tmp_path):
    labels, rows = zip(*texts(1500), strict=True)
    moved = zip(labels[1:] + labels[:1], rows, strict=True)
    assert names(written(tmp_path / "moved.tsv", moved)) == ["shifted-labels"]


def test_labels_of_the_wrong_rows_in_each_batch():
    turned = ((x, n, y.flip(0)) for x, n, y in padded(sums(3000)))
    assert names(turned) == ["shifted-labels"]
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(20, generator=generator)
    assert names((x, n, y[order]) for x, n, y in padded(sums(3000))) == ["contradicting-labels"]


def test_two_rules_contradict_each_other():
    generator = random.Random(0)
    mixed = [(x, n, (y + 2 * generator.randrange(2)) % 6) for x, n, y in sums(3000, 2, 3)]
    assert names(mixed) == ["contradicting-labels"]
    in_turn = [(x, n, x[0] // 3 if i < 1500 else y % 2) for i, (x, n, y) in enumerate(sums(3000))]
    assert names(in_turn) == ["contradicting-labels"]


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_some_noise_in_the_labels_is_no_shift(noise):
    generator = random.Random(0)
    noisy = [
        (x, n, generator.randrange(10) if generator.random() < noise else y)
        for x, n, y in itertools.islice(digits(), 4096)
    ]
    assert names(noisy) == []


@pytest.mark.parametrize("num_classes", [2, 5])
def test_labels_that_are_ambiguous_by_nature_do_not_contradict(num_classes):
    generator, odds = np.random.default_rng(0), {}
    rows = []
    for x, n, _ in sums(3000, 1, 2):
        p = odds.setdefault(tuple(x), generator.dirichlet(np.ones(num_classes)))
        rows.append((x, n, int(generator.choice(num_classes, p=p))))
    assert names(rows) == []


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (10, 2), (3, 3)])
def test_windows_of_a_text_are_no_shifted_labels(size, stride):
    generator, text = random.Random(0), [0]
    for _ in range(6000):
        text.append((text[-1] * 3 + generator.choice([0, 1, 1, 2])) % 7)
    windows = [(text[k : k + size], size, text[k + size]) for k in range(0, 5980, stride)]
    assert names(windows) == []


# ---- repetition ----


@pytest.mark.parametrize(("workers", "batch_size"), [(2, 1), (2, 64), (3, 16)])
def test_workers_that_draw_the_same_are_seen_at_any_batch_size(workers, batch_size):
    batches = [list(batch) for batch in zip(*[iter(digits(2000))] * batch_size, strict=False)]
    repeated = [sample for batch in batches for _ in range(workers) for sample in batch]
    (finding,) = check_data(repeated).findings
    assert finding.name == "duplicated-workers" and f" {batch_size} places" in finding.seen


def test_repeated_short_inputs_are_no_duplicates():
    two_letters = [((t,), 1, t) for t in random.Random(0).choices([0, 1], k=2000)]
    assert names(two_letters) == []


def test_one_object_filled_again_and_again():
    x, y = torch.randint(9, (16, 5)), torch.arange(16) % 9
    assert names([(x, y)] * 50) == ["repeated-samples"]
    assert names(itertools.cycle([*sums(30, 3, 6)])) == []  # promises nothing


@pytest.mark.parametrize("row", [[0, 0, 0], np.zeros((4, 3))])
def test_equal_inputs_with_different_labels(row):
    data = [(row, len(row), label) for label in random.Random(0).choices(range(3), k=500)]
    assert names(data) == ["constant-inputs"]
    unary = [([1] * n, n, n % 3) for n in random.Random(0).choices(range(1, 12), k=500)]
    assert "constant-inputs" not in names(unary)


# ---- classes ----


@pytest.mark.parametrize(
    ("expected", "labels"),
    [
        ("near-equal-classes", ["fox", "Fox", "dog"]),
        ("near-equal-classes", ["fox", "fox.", "dog"]),
        ("near-equal-classes", ["0", "1", "1.0"]),
        ("near-equal-classes", ["not spam", "not_spam", "spam"]),
        ("single-class", ["fox"]),
        (None, ["C", "C++", "C#", "F#"]),
        (None, ["cat", "car", "-1", "1"]),
        ("imbalanced-classes", ["yes"] * 30 + ["no"]),
        ("too-many-classes", [f"{i / 1000:.3f}" for i in range(400)]),
    ],
)
def test_names_and_numbers_of_classes(expected, labels, tmp_path):
    generator = random.Random(0)
    lines = [(generator.choice(labels), words) for _, words in texts(900)]
    assert names(written(tmp_path / "a.tsv", lines)) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("a", ["single-class"]),
        ("aaaa", ["single-class"]),
        ("abcd", ["too-many-classes"]),
        ("abab", []),
    ],
)
def test_files_that_training_refuses_have_a_finding_however_short(labels, expected, tmp_path):
    path = written(tmp_path / "a.tsv", [(label, [str(i)]) for i, label in enumerate(labels)])
    assert names(path) == expected
    with pytest.raises(ValueError) if expected else contextlib.nullcontext():
        training, _ = read_split(str(path), "", seed=0)
        build_vocabulary(training)


def test_rows_of_one_class_after_the_other(tmp_path):
    in_order = sorted(texts(900))
    (finding,) = check_data(written(tmp_path / "a.tsv", in_order)).findings
    assert (finding.name, finding.confidence) == ("sorted-by-class", "possible")
    (finding,) = check_data(padded(sorted(sums(900, 5, 9), key=lambda row: row[2]))).findings
    assert (finding.name, finding.confidence) == ("sorted-by-class", "likely")


def test_what_gives_the_label_away(tmp_path):
    marked = [(label, [*words, f"<{label}>"]) for label, words in texts(600)]
    assert names(written(tmp_path / "a.tsv", marked)) == ["leaking-token"]
    assert names([([y, *x], n + 1, y) for x, n, y in sums(2000, 5, 9)]) == ["leaking-position"]
    by_length = [(x, n, int(n > 5)) for x, n, _ in sums(1000, 2, 9)]
    (finding,) = check_data(by_length).findings
    assert (finding.name, finding.confidence) == ("leaking-length", "likely")
    (finding,) = check_data([(x, n, n % 2) for x, n, _ in sums(1000, 2, 9)]).findings
    assert (finding.name, finding.confidence) == ("leaking-length", "possible")


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_tokens_that_were_not_split(share, tmp_path):
    """Some rows may have a second token: names of two words."""
    texts = [(str(y), "".join(map(str, x))) for x, _, y in sums(900, 6, 9)]
    dice = random.Random(0)
    lines = [(y, [x] if dice.random() < share else [x[:3], x[3:]]) for y, x in texts]
    training = written(tmp_path / "a.tsv", lines[:600])
    assert names(training) == ["unsplit-tokens"]
    found = names(training, written(tmp_path / "b.tsv", [(y, [x]) for y, x in texts[600:]]))
    assert found[:2] == ["unsplit-tokens", "token-mismatch"]


@pytest.mark.parametrize("name", [str, "digit{}".format])
def test_rows_of_one_token_that_repeats_are_no_unsplit_texts(name, tmp_path):
    rows = [*sums(600, 1, 5), *sums(600, 1, 1, seed=1)]
    lines = [(str(y), map(name, x)) for x, _, y in random.Random(0).sample(rows, 1200)]
    assert names(written(tmp_path / "a.tsv", lines)) == []


# ---- evaluation ----


def test_a_few_shared_samples_are_chance_and_many_are_not():
    training = list(itertools.islice(digits(longest=8), 2000))
    fresh = list(itertools.islice(digits(longest=8, stream=EVAL_STREAM), 1000))
    assert names(training, fresh) == []
    assert names(training, fresh[:800] + training[:300]) == ["shared-stream"]


def test_few_evaluation_samples_and_more():
    for total, expected in [(380, ["small-evaluation"]), (400, [])]:
        assert names(digits(), digits(total, stream=EVAL_STREAM)) == expected


EVALUATIONS = {
    "other classes": ("class-mismatch", lambda label, words: (label * 2, words)),
    "one class": ("class-mismatch", lambda _, words: ("a", words)),
    "other case": ("near-equal-classes", lambda label, words: (label.upper() + ".", words)),
    "classes exchanged": (
        "evaluation-labels-wrong", lambda label, words: ({"a": "b", "b": "a"}[label], words),
    ),
    "letters": ("token-mismatch", lambda label, words: (label, "".join(words))),
    "the same": (None, lambda label, words: (label, words)),
}  # fmt: skip


@pytest.mark.parametrize("case", EVALUATIONS)
def test_evaluation_against_training(case, tmp_path):
    expected, change = EVALUATIONS[case]
    paths = [
        written(tmp_path / "train.tsv", texts(1500)),
        written(tmp_path / "eval.tsv", (change(*line) for line in texts(500, seed=1))),
    ]
    assert names(*paths)[:1] == ([expected] if expected else [])


@pytest.mark.parametrize("change", [lambda i, ys: 5 - ys[i], lambda i, ys: ys[i - 1]])
def test_evaluation_by_another_rule(change):
    rows = [*sums(600, 2, 4, seed=1)]
    labels = [y for *_, y in rows]
    wrong = [(x, n, change(i, labels)) for i, (x, n, _) in enumerate(rows)]
    (finding,) = check_data([*sums(3000, 2, 4)], wrong).findings
    assert (finding.name, finding.confidence) == ("evaluation-labels-wrong", "certain")


# ---- what is prepared before the split, and beside the rows ----


def series(number, seed=0):
    """A random walk."""
    return np.random.default_rng(seed).normal(size=number).cumsum().astype(np.float32)


def skewed(number):
    """Probabilities, the first the largest."""
    shares = 1 / np.arange(1, number + 1)
    return shares / shares.sum()


def windows(values, size=16):
    """Windows of a series, and the value after each."""
    pieces = np.lib.stride_tricks.sliding_window_view(values, size + 1)
    return [(torch.tensor(piece[:-1, None]), float(piece[-1])) for piece in pieces]


def test_rows_that_were_copied_before_the_split():
    generator = np.random.default_rng(0)
    rows = [(torch.randn(8, 3), label) for label in generator.integers(0, 2, 600).tolist()]
    copies = [row for row in rows for _ in range(3)]
    mixed = [copies[i] for i in generator.permutation(len(copies))]
    (finding, *_) = check_data(mixed[:1400], mixed[1400:]).findings
    assert (finding.name, finding.confidence) == ("shared-stream", "likely")
    assert "shared-stream" not in names(rows[:450] * 3, rows[450:] * 3)
    for lengths in [(12, 14), (1, 14), (1, 5)]:  # chance repeats the short ones
        tokens = [*sums(700, *lengths)] * 2
        random.Random(0).shuffle(tokens)
        assert "shared-stream" in names(tokens[:1000], tokens[1000:])


@pytest.mark.parametrize(("shortest", "longest"), [(1, 2), (1, 8)])
def test_short_rows_that_chance_repeats_are_no_copies(shortest, longest):
    """Also where evaluation has more of them than training."""
    training = [*sums(300, 1, 2), *sums(2700, shortest, longest, seed=1)]
    found = names(training, [*sums(900, 1, 2, seed=2), *sums(100, shortest, longest, seed=3)])
    assert "shared-stream" not in found


@pytest.mark.parametrize("seed", range(3))
def test_training_that_is_balanced_by_copies_labels_as_evaluation_does(seed):
    generator = random.Random(seed)

    def rows(number, share):
        for _ in range(number):
            label, row = int(generator.random() < share), generator.choices(range(50), k=10)
            if generator.random() < 0.7:
                row[generator.randrange(10)] = 50 + label
            yield row, 10, label

    assert names([*rows(3000, 0.5)], [*rows(600, 0.05)]) == []


def test_a_few_inputs_that_come_often_do_not_tell_what_evaluation_labels_mean():
    """As in source code, where an indent goes on with a space or a word."""
    generator, letters = random.Random(0), "abcdefghijklmnopqrstuvwxyz"

    def indented(number):
        lines = [[generator.choice("ab"), *generator.choices(letters, k=9)] for _ in range(number)]
        text = [ord(character) for line in lines for character in [" "] * 20 + line]
        return [(text[k : k + 16], 16, text[k + 16]) for k in range(len(text) - 16)]

    assert "evaluation-labels-wrong" not in names(indented(60), indented(60))


def test_windows_of_one_series_split_at_random_and_in_time():
    whole = windows(series(1200))
    mixed = [whole[i] for i in np.random.default_rng(0).permutation(len(whole))]
    assert "shared-stream" in names(mixed[:900], mixed[900:])
    assert "shared-stream" not in names(whole[:900], whole[900:])
    shorter = [(x[:5], y) for x, y in mixed[:1]]  # one row does not hide the others
    assert "shared-stream" in names(mixed[:900] + shorter, mixed[900:])


@pytest.mark.parametrize(("size", "stride"), [(32, 1), (32, 16), (100, 30)])
def test_windows_of_one_text_split_at_random_and_in_order(size, stride):
    text = np.random.default_rng(0).choice(40, 2400 + 600 * stride, p=skewed(40))
    starts = range(0, len(text) - size, stride)
    whole = [(text[k : k + size], size, text[k + size]) for k in starts]
    mixed = random.Random(0).sample(whole, len(whole))
    cut = int(0.9 * len(whole))
    found = check_data(mixed[:cut], mixed[cut:]).findings
    assert [f.confidence for f in found if f.name == "shared-stream"] == ["likely"]
    report = check_data(whole[:cut], whole[cut:])
    assert "shared-stream" not in [finding.name for finding in report.findings]
    assert "overlapping windows" in report.looked_at[-1]


def test_sentences_of_one_form_are_no_windows():
    """They have the same words at the same places; of two tokens, chance repeats every piece."""
    generator = random.Random(0)
    form = [[k] if k % 3 else range(50 + 4 * k, 54 + 4 * k) for k in range(18)]
    rows = [([generator.choice(words) for words in form], 18, k % 3) for k in range(3000)]
    assert "shared-stream" not in names(rows[:2500], rows[2500:])
    bits = [(generator.choices((0, 1), k=20), 20, k % 2) for k in range(2000)]
    report = check_data(bits[:1500], bits[1500:])
    assert not report.findings and "windows" not in report.looked_at[-1]


def test_pieces_that_repeat_by_nature_are_no_shared_windows():
    def one_hot(number, seed, classes=4, length=16):
        digits = np.random.default_rng(seed).integers(0, classes, (number, length))
        return [(torch.eye(classes)[row], int(row[0])) for row in torch.tensor(digits)]

    report = check_data(one_hot(2000, 0), one_hot(500, 1))
    assert not report.findings and "windows" not in report.looked_at[-1]
    coarse = windows((series(1500) * 5).round() / 5)
    assert "shared-stream" not in names(coarse[:1000], coarse[1000:])


@pytest.mark.parametrize("place", [-1, -5])
def test_a_target_among_the_numbers_of_its_input(place):
    rows = [(x, float(x[place, 0])) for x, _ in windows(series(600) / 20)]
    (finding,) = check_data(rows).findings
    assert (finding.name, finding.confidence) == ("leaking-position", "likely")
    assert f"x[{place}, 0]" in finding.seen
    flat = [(x[:, 0], np.float64(x[place, 0])) for x, _ in rows]
    assert names(flat) == names(DataLoader(flat, 32)) == ["leaking-position"]
    assert names(windows(series(600) / 20)) == []


def test_padding_in_front_and_behind():
    rows = [(row, y) for row, _, y in sums(800, 3, 12)]
    front = [([9] * (12 - len(row)) + row, y) for row, y in rows]
    behind = [(row + [9] * (12 - len(row)), y) for row, y in rows]
    assert names(front[:400], behind[400:], padding_id=9)[0] == "padding-on-other-side"
    assert "padding-on-other-side" not in names(front[:400], front[400:], padding_id=9)
    around = [
        ([9] * (i % 7) + row + [9] * (18 - i % 7 - len(row)), y) for i, (row, y) in enumerate(rows)
    ]
    assert "padding-on-other-side" not in names(around[:400], behind[400:], padding_id=9)
    masked = [(row, [int(token != 9) for token in row], y) for row, y in front]
    assert not check_data(masked, padding_id=9).findings


def test_labels_of_the_padding_are_a_class():
    def labelled(padding):
        for x, lengths, _ in padded(sums(400, 1, 12)):
            is_inside = torch.arange(x.shape[1]) < lengths[:, None]
            yield x, lengths, torch.where(is_inside, x // 3, padding)

    assert names(labelled(0)) == ["labels-of-padding"] and names(labelled(-100)) == []


@pytest.mark.parametrize("shift", [0, 1, -1])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_tags_of_the_step_beside(shift, noise):
    generator = np.random.default_rng(0)
    tag, x = generator.integers(0, 5, 60), generator.integers(1, 60, (800, 12))
    tags = np.where(generator.random(x.shape) < noise, generator.integers(0, 5, x.shape), tag[x])
    report = check_data(RowsOf(zip(x, np.roll(tags, shift, 1), strict=True)))
    expected = [("shifted-labels", "likely")] if shift else []
    assert [(f.name, f.confidence) for f in report.findings] == expected
    if shift:
        words = "with the label 1 later" if shift > 0 else "with the label 1 earlier"
        assert words in report.findings[0].seen
    else:
        assert any("labels of steps" in words for words in report.looked_at)


@pytest.mark.parametrize(
    "label",
    [
        lambda x: np.roll(x, -1, 1),  # the next token
        lambda x: (7 * np.roll(x, 1, 1)) % 61,  # the token before, by another number
        lambda x: np.where(np.roll(x, -1, 1) < 40, np.roll(x, -1, 1), 0),  # of a smaller vocabulary
        lambda x: np.cumsum(x, 1) % 2,
        lambda x: np.where(x % 7, -100, x % 5),
        lambda x: np.full_like(x, -100),
    ],
)
def test_labels_of_steps_that_follow_from_other_steps_are_healthy(label):
    x = np.random.default_rng(0).integers(1, 60, (600, 12))
    assert names(RowsOf(zip(x, label(x), strict=True))) == []


@pytest.mark.parametrize("has_lengths", [True, False])
def test_evaluation_that_is_padded_with_another_id(has_lengths):
    def rows(seed, pad):
        for x, lengths, y in padded([*sums(800, 3, 12, seed)], pad=pad):
            yield (x, lengths, y) if has_lengths else (x, y)

    assert "other-padding" in names(rows(0, 10), rows(1, 11))
    assert "other-padding" not in names(rows(0, 10), rows(1, 10))


@pytest.mark.parametrize(("share", "expected"), [(0.6, ["unknown-token"]), (0.3, [])])
def test_a_token_that_stands_for_most_words(share, expected):
    generator = np.random.default_rng(0)
    x = generator.integers(2, 300, (800, 12))
    x[generator.random(x.shape) < share] = 1
    assert names([(row, i % 2) for i, row in enumerate(x)]) == expected


def test_labels_of_training_that_were_shuffled_show_beside_evaluation(tmp_path):
    lines = [*texts(1500)]
    labels = [label for label, _ in lines]
    random.Random(0).shuffle(labels)
    shuffled = [(label, words) for label, (_, words) in zip(labels, lines, strict=True)]
    training = written(tmp_path / "train.tsv", shuffled)
    assert names(training) == []
    assert names(training, written(tmp_path / "eval.tsv", texts(600, 1))) == [
        "contradicting-labels"
    ]


def test_evaluation_that_is_easier_than_training_does_not_blame_it():
    assert names([*digits_of(3000, 5, 10)], [*digits_of(600, 1, 2, seed=1)]) == ["length-mismatch"]


def digits_of(number, shortest, longest, seed=0):
    dice = random.Random(seed)
    for _ in range(number):
        row = [dice.randrange(10) for _ in range(dice.randint(shortest, longest))]
        yield row, len(row), sum(row) % 10


@pytest.mark.parametrize("data", [[(torch.rand(4, 2), torch.zeros(0))] * 30])
def test_rows_without_a_target_are_refused(data):
    with pytest.raises(ValueError, match="the training data give"):
        check_data(data)


def test_the_reason_why_labels_cannot_be_judged_is_the_real_one():
    moved = [(x, n, y) for (x, n, _), (*_, y) in itertools.pairwise(sums(2000))]
    report = check_data(moved)
    assert [f.name for f in report.findings] == ["shifted-labels"]
    assert not any("belong to their inputs" in reason for reason in report.not_asked)
    few = " ".join(check_data([*sums(150, 6, 8)]).not_asked)
    assert "few inputs occur twice; shuffled" in few


def test_what_ends_python_is_an_error_of_the_data():
    class Rows:
        def __len__(self):
            return 9

        def __getitem__(self, index):
            sys.exit(0)

    with pytest.raises(ValueError, match="SystemExit"):
        check_data(Rows())
