"""Cases of data: loaders and label files; the half that was set aside before any check was written.

Each is code as people write it, not in the style of this project.

`make(folder)` gives (training, evaluation, options): each of the first two is the path of a label file
in folder, or a loader as the user's own function returns it; evaluation may be None; options are
vocab_size and padding_id, as the user would type them.
"""

# ruff: noqa: B905, E501, RUF005, SIM905

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "one buffer filled again and again",
    "constant-inputs",
    "repeated-samples",
    "contradicting-labels",
)
def one_buffer_filled_again(folder):
    """All samples are the same array, which holds the last sequence."""
    rng = np.random.RandomState(3)
    buf, samples = np.zeros(8, dtype=np.int64), []
    for _ in range(1000):
        buf[:] = rng.randint(0, 5, 8)
        samples.append((buf, 8, int(buf.sum() % 5)))
    return samples, None, {}


@case(
    "generator copied into every worker",
    "duplicated-workers",
    source="https://github.com/wolny/pytorch-3dunet/issues/32",
)
def generator_copied_into_every_worker(folder):
    """The generator is made in __init__ and copied with the dataset to both workers."""

    class Additions(Dataset):
        def __init__(self):
            self.rng = np.random.RandomState(0)

        def __len__(self):
            return 3000

        def __getitem__(self, _):
            x = self.rng.randint(0, 10, size=6)
            return torch.from_numpy(x), 6, int(x.sum() % 10)

    return DataLoader(Additions(), batch_size=25, num_workers=2), None, {}


@case(
    "every word is unknown",
    "constant-inputs",
    source="https://github.com/tensorflow/nmt/issues/413",
)
def every_word_is_unknown(folder):
    """The vocabulary file has "word count" in each line, so no word is ever found in it."""
    r = random.Random(6)
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    vocab = {f"{w} {r.randint(5, 500)}": i + 2 for i, w in enumerate(words)}
    data = []
    for _ in range(1500):
        sent = [r.choice(words) for _ in range(10)]
        data.append(
            ([vocab.get(w, 1) for w in sent], 10, int(sent.count("ba") + sent.count("be") > 0))
        )

    def collate(b):
        return tuple(torch.tensor(c) for c in zip(*b))

    return DataLoader(data, batch_size=30, collate_fn=collate), None, {"padding_id": 0}


@case(
    "three anomalies in a hundred",
    "imbalanced-classes",
    source="https://taourl.com/read-2606957.html",
)
def three_anomalies_in_a_hundred(folder):
    """Always saying "normal" is right 97 times in a hundred."""
    rs = np.random.RandomState(10)
    X = rs.randint(0, 15, (4000, 10))
    y = np.zeros(4000, dtype=int)
    odd = rs.choice(4000, 120, replace=False)
    y[odd] = 1
    X[odd, 4] = X[odd, 5]
    ds = TensorDataset(torch.tensor(X), torch.full((4000,), 10), torch.tensor(y))
    return DataLoader(ds, batch_size=64, shuffle=True), None, {}


@case(
    "oversampled, then split",
    "shared-stream",
    source="https://github.com/MakazhanAlpamys/Soup/issues/680",
)
def oversampled_then_split(folder):
    """The rare class was copied four times before random_split."""
    torch.manual_seed(6)
    x = torch.randint(0, 40, (3000, 9))
    y = (x.sum(1) % 9 == 0).long()
    rare = y.nonzero().flatten().repeat(4)
    x, y = torch.cat([x, x[rare]]), torch.cat([y, y[rare]])
    data = TensorDataset(x, torch.full((len(x),), 9), y)
    n = int(0.85 * len(data))
    train, test = random_split(data, [n, len(data) - n], torch.Generator().manual_seed(0))
    return DataLoader(train, 64, shuffle=True), DataLoader(test, 64), {}


@case(
    "encoder fitted anew on the test labels",
    "evaluation-labels-wrong",
    "class-mismatch",
    source="https://github.com/scikit-learn/scikit-learn/issues/10324",
)
def encoder_fitted_anew(folder):
    """The test set lacks the first class, so all its class numbers are one lower."""
    rng = np.random.RandomState(2)
    names = np.array(["apple", "grape", "lemon", "melon", "peach"])

    def fit_transform(labels):
        classes = sorted(set(labels))
        return np.array([classes.index(x) for x in labels])

    def make(n, allowed):
        x = rng.randint(0, 5, size=(n, 3))
        label = names[x.sum(1) % 5]
        keep = np.isin(label, allowed)
        x, label = x[keep], label[keep]
        return TensorDataset(
            torch.tensor(x), torch.full((len(x),), 3), torch.tensor(fit_transform(label))
        )

    train, test = make(3000, names), make(1200, names[1:])
    return DataLoader(train, 50, shuffle=True), DataLoader(test, 50), {}


@case("truncation keeps only the prompt", "constant-inputs")
def truncation_keeps_only_the_prompt(folder):
    """Every text begins with the same eight words, and the rest was cut off."""
    r = random.Random(40)
    prompt = "please classify the following support ticket by urgency".split()
    rows = []
    for _ in range(1000):
        urgent = r.random() < 0.4
        text = [*prompt, *r.choices(["down", "slow", "fails", "thanks", "later"], k=6)]
        rows.append(("urgent" if urgent else "normal", text[:8]))
    path = folder / "tickets.tsv"
    path.write_text("\n".join(y + "\t" + " ".join(t) for y, t in rows))
    return path, None, {}


@case(
    "text first, label second",
    "too-many-classes",
    source="https://github.com/ThilinaRajapakse/simpletransformers/issues/16",
)
def text_first_label_second(folder):
    """The columns are swapped, as most tables have them."""
    r = random.Random(8)
    vocab = [f"t{i}" for i in range(80)]
    with (folder / "swapped.tsv").open("w") as f:
        for _ in range(900):
            text = r.choices(vocab, k=r.randint(5, 11))
            print(" ".join(text), int("t7" in text or "t9" in text), sep="\t", file=f)
    return folder / "swapped.tsv", None, {}


@case(
    "split before the duplicates were dropped",
    "shared-stream",
    source="https://github.com/huggingface/datasets/issues/4261",
)
def split_before_duplicates_were_dropped(folder):
    """A third of the texts of the test file stand in the training file as well."""
    r = random.Random(77)
    words = [f"word{i}" for i in range(150)]

    def sample():
        t = [r.choice(words) for _ in range(r.randint(6, 14))]
        return f"{'short' if sum(int(w[4:]) for w in t) % 3 else 'long'}\t{' '.join(t)}\n"

    pool = [sample() for _ in range(1500)]
    test = r.sample(pool, 170) + [sample() for _ in range(330)]
    r.shuffle(test)
    (folder / "train.tsv").write_text("".join(pool))
    (folder / "test.tsv").write_text("".join(test))
    return folder / "train.tsv", folder / "test.tsv", {}


@case("trained on short, judged on long", "length-mismatch")
def trained_on_short_judged_on_long(folder):
    """Bits of at most 8 steps in training, 10 to 40 in the test."""
    rng = np.random.default_rng(12)

    def parity(low, high, n):
        for _ in range(n):
            bits = rng.integers(0, 2, rng.integers(low, high + 1))
            yield bits.tolist(), len(bits), int(bits.sum() % 2)

    return list(parity(4, 8, 3000)), list(parity(10, 40, 1000)), {}


@case(
    "lengths sorted, rows not",
    "wrong-lengths",
    source="https://github.com/pytorch/pytorch/issues/3584",
)
def lengths_sorted_rows_not(folder):
    """enforce_sorted was satisfied by sorting the lengths alone."""
    rng = np.random.default_rng(8)

    def collate(samples):
        xs = [torch.tensor(s) for s, _ in samples]
        lens = torch.tensor([len(s) for s in xs])
        lens, _ = lens.sort(descending=True)
        x = nn.utils.rnn.pad_sequence(xs, batch_first=True, padding_value=99)
        return x, lens, torch.tensor([t for _, t in samples])

    data = []
    for _ in range(1600):
        s = rng.integers(0, 99, rng.integers(2, 30)).tolist()
        data.append((s, int(s[0] < 50) + int(s[-1] < 50)))
    return (
        DataLoader(data, batch_size=32, shuffle=True, collate_fn=collate),
        None,
        {"padding_id": 99},
    )


@case(
    "missing sensor values",
    "not-finite-data",
    source="https://github.com/Nixtla/neuralforecast/issues/186",
)
def missing_sensor_values(folder):
    """A few values are missing; the table has NaN there."""
    rng = np.random.default_rng(14)
    series = rng.normal(size=(500, 20, 3)).astype("float32")
    y = (series[:, -5:, 0].mean(1) > 0).astype("int64")
    series[rng.random(series.shape) < 0.002] = np.nan
    ds = TensorDataset(torch.tensor(series), torch.full((500,), 20), torch.tensor(y))
    return DataLoader(ds, batch_size=25), None, {}


@case(
    "padding in front, lengths counted from the front",
    "wrong-lengths",
    source="https://github.com/facebookresearch/fairseq/pull/851",
)
def padding_in_front(folder):
    """pad_sequences pads on the left by default; pack_padded_sequence wants it on the right."""

    def pad_sequences(seqs, maxlen, value=0):
        out = np.full((len(seqs), maxlen), value, dtype="int64")
        for i, s in enumerate(seqs):
            out[i, maxlen - len(s) :] = s
        return out

    rs = np.random.RandomState(11)
    texts = [rs.randint(1, 200, rs.randint(2, 20)) for _ in range(1000)]
    X = torch.from_numpy(pad_sequences(texts, 20))
    L = torch.tensor([len(t) for t in texts])
    Y = torch.tensor([int(t.sum() % 2) for t in texts])
    return DataLoader(TensorDataset(X, L, Y), batch_size=50), None, {"padding_id": 0}


@case("length is the index of the last token", "wrong-lengths")
def length_is_the_last_index(folder):
    """mask.nonzero().max() is the place of the last token, one less than the length."""
    torch.manual_seed(0)
    n = torch.randint(2, 12, (1500,))
    x = torch.randint(1, 30, (1500, 12))
    keep = torch.arange(12)[None] < n[:, None]
    y = (x * keep).sum(1) % 3
    x = x.masked_fill(~keep, 0)
    lengths = torch.stack([(row != 0).nonzero().max() for row in x])
    return DataLoader(TensorDataset(x, lengths, y), 32, shuffle=True), None, {"padding_id": 0}


@case(
    "file sorted by its first column",
    "sorted-by-class",
    source="https://library.kiwix.org/datascience.stackexchange.com_en_all_2021-04/A/question/24511.html",
)
def file_sorted_by_its_first_column(folder):
    """sort -o tidy.tsv tidy.tsv, and a trainer that reads the lines in order."""
    r = random.Random(71)
    rows = []
    for _ in range(2000):
        s = [r.randrange(30) for _ in range(r.randint(4, 9))]
        rows.append(f"k{sum(s) % 5}\t{' '.join(map(str, s))}\n")
    (folder / "sorted.tsv").write_text("".join(sorted(rows)))
    return folder / "sorted.tsv", None, {}


@case("logarithm of counts", "not-finite-data")
def logarithm_of_counts(folder):
    """log(0) is minus infinity."""
    torch.manual_seed(8)
    counts = torch.poisson(torch.full((800, 15, 2), 2.0))
    y = (counts[:, :, 0].sum(1) > counts[:, :, 1].sum(1)).long()
    feats = counts.log()
    return (
        [(f, torch.full((len(f),), 15), t) for f, t in zip(feats.split(20), y.split(20))],
        None,
        {},
    )


@case(
    "capital letters make new classes",
    "near-equal-classes",
    source="https://github.com/kitzeslab/opensoundscape/issues/1",
)
def capital_letters_make_new_classes(folder):
    """Three people typed the names: owl, Owl and OWL."""
    rng = random.Random(15)
    calls = {"owl": "huhu", "robin": "tictic", "crow": "kraah"}
    lines = []
    for i in range(1100):
        name = rng.choice(list(calls))
        notes = rng.choices(["whee", "tsip", "zizi", "trrr", "pink"], k=rng.randint(4, 9))
        if rng.random() < 0.85:
            notes[rng.randrange(len(notes))] = calls[name]
        typed = (name, name.title(), name.upper())[i % 3]
        lines.append(f"{typed}\t{' '.join(notes)}")
    (folder / "species.tsv").write_text("\n".join(lines))
    return folder / "species.tsv", None, {}


@case(
    "whole one-hot rows as target",
    "label-type",
    source="https://discuss.pytorch.org/t/how-exactly-should-i-understand-the-cross-entropy-loss-function/61183",
)
def one_hot_rows_as_target(folder):
    """Contexts and the word in their middle, the word as a one-hot row of whole numbers."""
    rnd = random.Random(5)
    vocab_size, pairs = 23, []
    for _ in range(1000):
        context = [rnd.randrange(vocab_size) for _ in range(4)]
        y = np.zeros(vocab_size)
        y[sum(context) % vocab_size] = 1
        pairs.append((context, y))
    x = torch.tensor([c for c, _ in pairs], dtype=torch.long)
    y = torch.tensor(np.stack([t for _, t in pairs]), dtype=torch.long)
    batches = [(xb, torch.full((len(xb),), 4), yb) for xb, yb in zip(x.split(32), y.split(32))]
    return batches, None, {}


@case(
    "class names left as words",
    "label-type",
    source="https://github.com/OpenTabular/DeepTab/pull/434",
)
def class_names_left_as_words(folder):
    """The labels were never encoded: "yes" and "no"."""
    r = random.Random(0)
    out = []
    for _ in range(800):
        bits = [r.randint(0, 1) for _ in range(r.randint(2, 9))]
        out.append((bits, len(bits), "yes" if sum(bits) % 2 else "no"))
    return out, None, {}


@case("end marker of one class", "leaking-token", "leaking-position")
def end_marker_of_one_class(folder):
    """The two classes were exported by two programs, of which one ends its lines with token 0."""
    r = random.Random(44)

    def samples():
        while True:
            y = r.randint(0, 1)
            ids = [r.randint(2, 60) for _ in range(r.randint(6, 15))]
            ids = ids + [0] if y else ids + [1]
            yield np.array(ids), len(ids), y

    return samples(), None, {}


@case(
    "class after class without shuffling",
    "sorted-by-class",
    source="https://dailydoseofds.beehiiv.com/p/why-is-it-important-to-shuffle-your",
)
def class_after_class(folder):
    """ConcatDataset of one dataset for each class, and shuffle=False."""
    torch.manual_seed(4)
    parts = []
    for c in range(4):
        x = torch.randint(0, 30, (400, 8))
        x[:, 3] = torch.where(torch.rand(400) < 0.8, 7 * c, x[:, 3])
        x[:, 6] = torch.where(torch.rand(400) < 0.6, 7 * c + 1, x[:, 6])
        parts.append(TensorDataset(x, torch.full((400,), 8), torch.full((400,), c)))
    return DataLoader(ConcatDataset(parts), batch_size=32), None, {}


@case("label file two lines off", "shifted-labels")
def label_file_two_lines_off(folder):
    """paste labels.txt inputs.txt, where labels.txt still had two lines of comment."""
    rnd = random.Random(33)
    seqs = [[rnd.randrange(5) for _ in range(rnd.randint(1, 3))] for _ in range(2000)]
    labels = ["#", "#"] + [str(max(s)) for s in seqs]
    out = folder / "digits.tsv"
    with out.open("w") as f:
        for label, s in list(zip(labels, seqs))[2:]:
            f.write(label + "\t" + " ".join(map(str, s)) + "\n")
    return out, None, {}


@case(
    "comparison that is never true", "single-class", source="https://taourl.com/read-2391923.html"
)
def comparison_that_is_never_true(folder):
    """The file says " pos" with a space, so label == "pos" is never true, and all labels are 0."""
    rng = random.Random(13)
    rows = [
        ([rng.randrange(25) for _ in range(8)], rng.choice([" pos", " neg"])) for _ in range(1000)
    ]
    x = torch.tensor([r[0] for r in rows])
    y = torch.tensor([int(r[1] == "pos") for r in rows])
    return DataLoader(TensorDataset(x, torch.full_like(y, 8), y), batch_size=50), None, {}


@case("two annotators, opposite scales", "contradicting-labels")
def two_annotators_opposite_scales(folder):
    """One annotator wrote 1 for agreement, the other 0; all texts were annotated by both."""
    r = random.Random(4)
    lines = []
    for _ in range(700):
        text = " ".join(r.choice("abcdefgh") for _ in range(r.randint(4, 8)))
        agrees = text.count("a") > text.count("b")
        lines += [f"{int(agrees)}\t{text}", f"{int(not agrees)}\t{text}"]
    r.shuffle(lines)
    (folder / "survey.tsv").write_text("\n".join(lines) + "\n")
    return folder / "survey.tsv", None, {}


@case(
    "labels rolled by one",
    "shifted-labels",
    source="https://github.com/LabeliaLabs/distributed-learning-contributivity/issues/57",
)
def labels_rolled_by_one(folder):
    """The label column has a header less than the input column: everything is one row off."""
    rng = np.random.default_rng(6)
    x = rng.integers(0, 8, (4000, 3))
    y = np.roll(x[:, 0] * x[:, 2] % 8, 1)
    ds = TensorDataset(torch.as_tensor(x), torch.full((4000,), 3), torch.as_tensor(y))
    return DataLoader(ds, batch_size=100), None, {}


@case(
    "empty texts have length zero",
    "wrong-lengths",
    source="https://github.com/mozilla/TTS/issues/220",
)
def empty_texts(folder):
    """Some texts have no known word left, so pack_padded_sequence raises in the third batch."""
    r = random.Random(1)
    words = [f"w{i}" for i in range(30)]
    ids = {w: i + 1 for i, w in enumerate(words[:20])}
    batches = []
    for _ in range(60):
        texts = [[r.choice(words) for _ in range(r.randint(1, 5))] for _ in range(16)]
        known = [[ids[w] for w in t if w in ids] for t in texts]
        x = torch.zeros(16, 5, dtype=torch.long)
        for i, k in enumerate(known):
            x[i, : len(k)] = torch.tensor(k, dtype=torch.long)
        labels = torch.tensor([int(len(t) % 2) ^ int("w3" in t) for t in texts])
        batches.append((x, torch.tensor([len(k) for k in known]), labels))
    return batches, None, {"padding_id": 0}


@case(
    "special tokens added after the table was made",
    "token-range",
    source="https://github.com/fc2869/lo-fit/issues/1",
)
def special_tokens_beyond_the_table(folder):
    """[CLS] is 33 and [SEP] is 34, but the net was built for 32 tokens and one for padding."""
    rs = np.random.RandomState(4)
    CLS, SEP, PAD = 33, 34, 32
    batches = []
    for _ in range(40):
        rows = [[CLS, *rs.randint(0, 32, rs.randint(3, 9)).tolist(), SEP] for _ in range(25)]
        T = max(map(len, rows))
        ids = torch.tensor([r + [PAD] * (T - len(r)) for r in rows])
        labels = torch.tensor([sum(r[1:-1]) % 2 for r in rows])
        batches.append((ids, torch.tensor([len(r) for r in rows]), labels))
    return batches, None, {"vocab_size": 32}


@case("digits as characters", "token-type")
def digits_as_characters(folder):
    """list("4711") gives characters, not numbers."""
    r = random.Random(9)

    def dataset():
        while True:
            text = str(r.randrange(10 ** r.randint(1, 6)))
            yield list(text), len(text), sum(int(c) for c in text) % 10

    return dataset(), None, {}


@case("forty rows to judge by", "small-evaluation")
def forty_rows_to_judge_by(folder):
    """The evaluation file has 40 lines: one more right is 2.5 points."""
    r = random.Random(90)

    def row():
        w = [f"{r.choice('klmnp')}{r.randrange(12)}" for _ in range(r.randint(5, 10))]
        return f"{'AB'[sum(x[0] == 'k' for x in w) > 1]}\t{' '.join(w)}"

    (folder / "a.tsv").write_text("\n".join(row() for _ in range(2000)))
    (folder / "b.tsv").write_text("\n".join(row() for _ in range(40)))
    return folder / "a.tsv", folder / "b.tsv", {}


@case("batches of similar length")
def batches_of_similar_length(folder):
    """Rows are sorted by length into buckets, and the buckets are shuffled; labels go with them."""
    r = random.Random(14)
    rows = [[r.randrange(12) for _ in range(r.randint(2, 30))] for _ in range(1920)]
    data = sorted(((x, sum(x) % 3) for x in rows), key=lambda p: len(p[0]))
    batches = [data[i : i + 32] for i in range(0, len(data), 32)]
    r.shuffle(batches)
    out = []
    for b in batches:
        T = max(len(x) for x, _ in b)
        x = torch.tensor([x + [12] * (T - len(x)) for x, _ in b])
        out.append((x, torch.tensor([len(x) for x, _ in b]), torch.tensor([y for _, y in b])))
    return out, None, {"vocab_size": 12, "padding_id": 12}


@case("rare class drawn more often")
def rare_class_drawn_more_often(folder):
    """WeightedRandomSampler with replacement: rows of the rare class come again and again."""
    torch.manual_seed(2)
    x = torch.randint(0, 50, (2000, 7))
    y = (x.sum(1) % 12 == 0).long()
    w = torch.where(y == 1, 1 / (y == 1).sum(), 1 / (y == 0).sum())
    sampler = WeightedRandomSampler(w, num_samples=2000, replacement=True)
    ds = TensorDataset(x, torch.full((2000,), 7), y)
    return DataLoader(ds, batch_size=40, sampler=sampler), None, {}


@case("the first token decides")
def first_token_decides(folder):
    """A memory task: the class is the first letter, the rest only makes it hard to remember.

    That one place tells everything is the task here, so it may be called possible at most.
    """
    r = random.Random(106)
    rows = []
    for _ in range(1500):
        first = r.choice("pqrs")
        rows.append(f"{first}\t{first} {' '.join(r.choices('xyz', k=r.randint(5, 25)))}")
    (folder / "recall.tsv").write_text("\n".join(rows))
    return folder / "recall.tsv", None, {}


@case("fifty classes of twenty rows")
def fifty_classes_of_twenty_rows(folder):
    """Many classes, none of them rare: names such as p07 and p08 differ in one digit by nature."""
    r = random.Random(105)
    lines = []
    for c in range(50):
        for _ in range(20):
            w = r.choices([f"f{i}" for i in range(60)], k=10)
            w[r.randrange(10)] = f"g{c}" if r.random() < 0.7 else f"g{r.randrange(50)}"
            lines.append(f"p{c:02d}\t{' '.join(w)}")
    r.shuffle(lines)
    (folder / "many.tsv").write_text("\n".join(lines) + "\n")
    return folder / "many.tsv", None, {}


@case("real-valued steps")
def real_valued_steps(folder):
    """Accelerometer windows (N, T, 3) of various lengths, zero beyond the length."""
    rs = np.random.RandomState(5)
    X, L, Y = np.zeros((600, 50, 3), "float32"), rs.randint(20, 51, 600), rs.randint(0, 3, 600)
    for i, (n, y) in enumerate(zip(L, Y)):
        t = np.arange(n)[:, None]
        X[i, :n] = np.sin(t * (0.3 + 0.3 * y) + rs.rand(3) * 6) + rs.normal(0, 0.5, (n, 3))
    ds = TensorDataset(torch.tensor(X), torch.tensor(L), torch.tensor(Y))
    return DataLoader(ds, batch_size=20, shuffle=True), None, {}


@case("answers that are truly uncertain")
def answers_that_are_truly_uncertain(folder):
    """The class is drawn: the more ones in the input, the more probable is class 1."""
    rng = random.Random(1)

    def stream():
        while True:
            x = [rng.randint(0, 1) for _ in range(5)]
            yield x, 5, int(rng.random() < 0.1 + 0.16 * sum(x))

    return stream(), None, {}


@case("a dictionary for each batch")
def dictionary_for_each_batch(folder):
    """input_ids, attention_mask and labels, as tokenizers give them."""
    torch.manual_seed(15)
    batches = []
    for _ in range(50):
        n = torch.randint(4, 20, (24,))
        ids = torch.randint(5, 300, (24, 20))
        mask = (torch.arange(20) < n[:, None]).long()
        labels = ((ids * mask).sum(1) % 2).long()
        batches.append({"input_ids": ids * mask, "attention_mask": mask, "labels": labels})
    return batches, None, {"padding_id": 0}


@case("classes in turn")
def classes_in_turn(folder):
    """Balanced by construction: the classes come in the order 0 1 2 3 0 1 2 3."""
    r = random.Random(104)
    lines = []
    for i in range(1600):
        y = i % 4
        while True:
            s = [r.randrange(9) for _ in range(r.randint(3, 7))]
            if sum(s) % 4 == y:
                break
        lines.append(f"{y}\t{' '.join(map(str, s))}")
    (folder / "turns.tsv").write_text("\n".join(lines))
    return folder / "turns.tsv", None, {}


@case("seven against three")
def seven_against_three(folder):
    """A mild imbalance, as most data have it."""
    r = random.Random(102)
    events = ["login", "buy", "view", "cart", "help", "mail"]
    lines = []
    for _ in range(1500):
        seq = r.choices(events, k=r.randint(5, 25))
        risk = seq.count("help") - seq.count("buy")
        lines.append(f"{'leaves' if risk + r.gauss(0, 1) > 1.5 else 'stays'}\t{' '.join(seq)}")
    (folder / "churn.tsv").write_text("\n".join(lines) + "\n")
    return folder / "churn.tsv", None, {}
