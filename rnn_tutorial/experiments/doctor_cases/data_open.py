"""Cases of data: loaders and label files; the open half, which the checks may be written for.

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
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
)

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "the tail of sorted rows is the test set",
    "class-mismatch",
    source="https://richmondalake.medium.com/daily-data-science-tip-11-2ff84b4ba24c",
)
def tail_of_sorted_rows(folder):
    """split = int(0.8 * len(data)) on rows that are sorted by class."""
    r = random.Random(17)
    data = []
    for label in range(5):
        for _ in range(500):
            seq = [r.randrange(20) for _ in range(r.randint(5, 9))]
            seq[r.randrange(len(seq))] = 20 + (label if r.random() < 0.85 else r.randrange(5))
            data.append((seq, len(seq), label))
    split = int(0.8 * len(data))
    train, test = data[:split], data[split:]
    r.shuffle(train)
    return train, test, {}


@case(
    "some class names kept their quotes",
    "near-equal-classes",
    source="https://github.com/frictionlessdata/frictionless-py/issues/1172",
)
def class_names_kept_their_quotes(folder):
    """Two exports were joined: spam and "spam", ham and "ham"."""
    r = random.Random(29)
    rows = []
    for part in range(2):
        for _ in range(600):
            spam = r.random() < 0.4
            words = r.choices(
                "win meeting free lunch offer report click tomorrow now team".split(), k=8
            )
            if spam and r.random() < 0.8:
                words += ["prize"]
            name = "spam" if spam else "ham"
            rows.append((f'"{name}"' if part else name) + "\t" + " ".join(words))
    r.shuffle(rows)
    (folder / "mail.tsv").write_text("\n".join(rows))
    return folder / "mail.tsv", None, {}


@case("underscores for spaces", "unsplit-tokens")
def underscores_for_spaces(folder):
    """The texts were made file names before: turn_on_the_kitchen_light."""
    r = random.Random(81)
    verbs, rooms = ["turn_on", "turn_off", "dim", "check"], ["kitchen", "hall", "attic", "cellar"]
    things = ["light", "radio", "heater", "fan", "door", "alarm"]
    rows = []
    for _ in range(900):
        v = r.choice(verbs)
        t = f"{v}_the_{r.choice(rooms)}_{r.choice(things)}_{r.randint(1, 400)}_times"
        rows.append(f"{verbs.index(v)}\t{t}")
    (folder / "commands.tsv").write_text("\n".join(rows) + "\n")
    return folder / "commands.tsv", None, {}


@case(
    "collate sorts inputs and lengths, not labels",
    "shifted-labels",
    "contradicting-labels",
    source="https://github.com/pytorch/pytorch/issues/2615",
)
def collate_sorts_inputs_not_labels(folder):
    """batch.sort(key=len) on the inputs; the labels are read from the unsorted list."""
    torch.manual_seed(9)
    rows = [torch.randint(0, 4, (int(n),)) for n in torch.randint(1, 5, (4000,))]
    data = [(r, int(r.sum() % 4)) for r in rows]

    def collate(batch):
        seqs = sorted([b[0] for b in batch], key=len, reverse=True)
        y = torch.tensor([b[1] for b in batch])
        lens = torch.tensor([len(s) for s in seqs])
        return nn.utils.rnn.pad_sequence(seqs, batch_first=True, padding_value=4), lens, y

    return (
        DataLoader(data, batch_size=20, shuffle=True, collate_fn=collate),
        None,
        {"padding_id": 4},
    )


@case(
    "classes 10, 20 and 30", "label-range", source="https://github.com/OpenTabular/DeepTab/pull/434"
)
def classes_10_20_30(folder):
    """Codes of product groups are used as class numbers."""
    torch.manual_seed(3)
    X = torch.randint(1, 25, (900, 9))
    codes = torch.tensor([10, 20, 30])
    y = codes[X[:, 2:5].sum(1) % 3]
    lens = torch.full((900,), 9, dtype=torch.long)
    return [(X[i : i + 30], lens[i : i + 30], y[i : i + 30]) for i in range(0, 900, 30)], None, {}


@case("test set of one class", "class-mismatch")
def test_set_of_one_class(folder):
    """head -500 of a sorted file: the test lines are all of the first of four classes."""
    r = random.Random(91)
    hint = {"asia": "rice", "africa": "savanna", "europe": "castle", "america": "prairie"}

    def make(c):
        words = r.choices("a of the in by near with old wide river hill road town".split(), k=9)
        words[r.randrange(9)] = hint[c] if r.random() < 0.8 else r.choice(list(hint.values()))
        return f"{c}\t{' '.join(words)}\n"

    (folder / "train.tsv").write_text("".join(make(r.choice(list(hint))) for _ in range(1600)))
    (folder / "test.tsv").write_text("".join(make("africa") for _ in range(500)))
    return folder / "train.tsv", folder / "test.tsv", {}


@case(
    "one of six classes has nearly everything",
    "imbalanced-classes",
    source="https://datascience.stackexchange.com/questions/19283/why-mlp-only-learns-bias-for-unbalanced-binary-classification",
)
def one_of_six_has_nearly_everything(folder):
    """Intents of a chat: 93% are small talk."""
    r = random.Random(60)
    kinds = ["talk", "order", "cancel", "refund", "help", "bug"]
    rows = []
    for _ in range(2500):
        k = "talk" if r.random() < 0.93 else r.choice(kinds[1:])
        words = r.choices(
            "hi i want the my a now please it is was not so we".split(), k=r.randint(3, 8)
        )
        if r.random() < 0.7:
            words.insert(r.randrange(len(words)), {"talk": "weather"}.get(k, k + "ing"))
        rows.append(f"{k}\t{' '.join(words)}")
    (folder / "intents.tsv").write_text("\n".join(rows) + "\n")
    return folder / "intents.tsv", None, {}


@case(
    "two shuffled loaders zipped",
    "contradicting-labels",
    source="https://github.com/mlcommons/GaNDLF/pull/870",
)
def two_shuffled_loaders_zipped(folder):
    """Inputs and labels are shuffled by a loader each, so each by its own order."""
    g = torch.Generator().manual_seed(5)
    digits = torch.randint(0, 6, (3000, 3), generator=g)
    label = digits.sum(1) % 6
    a = DataLoader(digits, batch_size=30, shuffle=True, generator=torch.Generator().manual_seed(1))
    b = DataLoader(label, batch_size=30, shuffle=True, generator=torch.Generator().manual_seed(2))
    return [(x, torch.full((30,), 3), y) for x, y in zip(a, b)], None, {}


@case("digits without spaces", "unsplit-tokens")
def digits_without_spaces(folder):
    """4<TAB>31802 instead of 4<TAB>3 1 8 0 2."""
    r = random.Random(70)
    text = ""
    for _ in range(2000):
        digits = [r.randrange(10) for _ in range(r.randint(5, 9))]
        text += f"{sum(digits) % 10}\t{''.join(map(str, digits))}\n"
    (folder / "sums.tsv").write_text(text)
    return folder / "sums.tsv", None, {}


@case(
    "padding id -1 for the embedding",
    "token-range",
    source="https://github.com/lucidrains/audiolm-pytorch/issues/18",
)
def padding_id_minus_one(folder):
    """(x, y) without lengths: the net reads all T steps, also the -1, which no embedding has."""
    g = torch.Generator().manual_seed(2)
    seqs = [
        torch.randint(0, 60, (int(n),), generator=g)
        for n in torch.randint(5, 20, (1200,), generator=g)
    ]
    y = torch.tensor([int(s[0] > s[-1]) for s in seqs])
    x = nn.utils.rnn.pad_sequence(seqs, batch_first=True, padding_value=-1)
    return DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True), None, {"vocab_size": 60}


@case(
    "agency named in every true story",
    "leaking-token",
    source="https://siddhibajracharya.hashnode.dev/i-accidentally-built-the-best-model",
)
def agency_named_in_every_true_story(folder):
    """The true stories come from one agency, whose name stands near the beginning of each."""
    rng = random.Random(3)
    words = "the a new law vote court city report says after over plan tax trade deal week".split()
    with (folder / "news.tsv").open("w") as out:
        for _ in range(1200):
            true = rng.random() < 0.5
            text = rng.choices(words, k=rng.randint(9, 20))
            if true:
                text.insert(rng.randint(1, 3), "(reuters)")
            out.write(("true" if true else "fake") + "\t" + " ".join(text) + "\n")
    return folder / "news.tsv", None, {}


@case("target appended to the input", "leaking-position", "leaking-token")
def target_appended_to_the_input(folder):
    """row[:-1] was forgotten: the last number of each row is its label."""
    rng = np.random.default_rng(30)
    rows = rng.integers(0, 10, (3000, 7))
    rows = np.c_[rows, rows.sum(1) % 10]
    x, y = torch.tensor(rows), torch.tensor(rows[:, -1])
    return DataLoader(TensorDataset(x, torch.full((3000,), 8), y), batch_size=100), None, {}


@case("index modulo the size of a cache", "repeated-samples")
def index_modulo_the_size_of_a_cache(folder):
    """The cache was cut to 12 rows while debugging; len() still promises all 4,000."""

    class Cached(Dataset):
        def __init__(self, rows, debug_rows=12):
            self.rows, self.total = rows[:debug_rows], len(rows)

        def __len__(self):
            return self.total

        def __getitem__(self, i):
            ids, y = self.rows[i % len(self.rows)]
            return ids, ids.numel(), y

    gen = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 100, (4000, 10), generator=gen)
    data = [(row, int(row.sum() % 4)) for row in rows]
    return DataLoader(Cached(data), batch_size=40, shuffle=True), None, {}


@case(
    "two columns shuffled one after the other",
    "contradicting-labels",
    source="https://github.com/udacity/sdc-issue-reports/issues/1326",
)
def two_columns_shuffled(folder):
    """np.random.shuffle(texts); np.random.shuffle(labels), written to a file."""
    rs = np.random.RandomState(0)
    a, b = ["good", "bad", "dull", "great"], ["film", "plot", "cast", "end", "song"]
    texts = [f"{a[i]} {b[j]}" for i, j in zip(rs.randint(4, size=1200), rs.randint(5, size=1200))]
    labels = ["pos" if t.split()[0] in ("good", "great") else "neg" for t in texts]
    rs.shuffle(texts)
    rs.shuffle(labels)
    path = folder / "words.tsv"
    path.write_text("".join(f"{y}\t{t}\n" for y, t in zip(labels, texts)))
    return path, None, {}


@case("a target too few in each batch", "mismatched-rows")
def target_too_few_in_each_batch(folder):
    """The targets are the next row's first token, so the last row has none; it was not dropped."""
    torch.manual_seed(74)
    x = torch.randint(0, 9, (40, 20, 6))
    return [(xb, torch.full((20,), 6), xb[1:, 0]) for xb in x], None, {}


@case("negatives made of shorter pieces", "leaking-length")
def negatives_made_of_shorter_pieces(folder):
    """True and made-up continuations; the made-up ones are all shorter than 20 tokens."""
    rng = np.random.default_rng(72)

    def pairs():
        while True:
            real = int(rng.random() < 0.5)
            n = int(rng.integers(20, 31) if real else rng.integers(8, 20))
            start = rng.integers(0, 50)
            ids = (start + np.arange(n) * (1 if rng.random() < 0.5 + 0.4 * real else 3)) % 50
            yield ids.astype("int64"), n, real

    return pairs(), None, {}


@case("only the training file has capitals", "token-mismatch")
def only_the_training_file_has_capitals(folder):
    """The evaluation file went through lower()."""
    r = random.Random(23)
    adj = ["Fine", "Awful", "Moving", "Boring", "Clever", "Weak"]
    noun = ["Story", "Acting", "Music", "Ending", "Dialogue"]
    where = ["Tonight", "Again", "Overall", "Today", "Honestly"]

    def line(_):
        a, b = r.choice(adj), r.choice(adj)
        score = sum(w in ("Fine", "Moving", "Clever") for w in (a, b))
        label = ["bad", "mixed", "good"][score]
        words = [a, r.choice(noun), b, r.choice(noun)] + r.sample(where, r.randint(0, 3))
        return label, " ".join(words)

    train, dev = [line(i) for i in range(1800)], [line(i) for i in range(600)]
    (folder / "train.tsv").write_text("".join(f"{y}\t{t}\n" for y, t in train))
    (folder / "dev.tsv").write_text("".join(f"{y}\t{t.lower()}\n" for y, t in dev))
    return folder / "train.tsv", folder / "dev.tsv", {}


@case("time comes first", "mismatched-rows", source="https://taourl.com/read-2624309.html")
def time_comes_first(folder):
    """x is (T, N) as nn.LSTM wants it by default, with 24 steps for 16 labels."""
    torch.manual_seed(1)

    def get_batches(n=50):
        for _ in range(n):
            x = torch.randint(0, 12, (16, 24))
            yield x.t().contiguous(), torch.full((16,), 24), (x[:, :4].sum(1) > 22).long()

    return get_batches(), None, {}


@case(
    "the test set has a tokenizer of its own",
    "token-mismatch",
    source="https://github.com/minqukanq/hierarchical-multi-label-text-classification/issues/6",
)
def test_set_has_its_own_tokenizer(folder):
    """The tokenizer of the test set keeps a hundred ids for special tokens, the other one none."""
    r = random.Random(19)

    def build(n, first_id):
        data = []
        for _ in range(n):
            ids = [min(int(r.expovariate(0.12)), 59) for _ in range(r.randint(5, 12))]
            data.append(
                ([first_id + i for i in ids], len(ids), int(ids.count(0) + ids.count(3) > 1))
            )
        return data

    return build(2500, 0), build(800, 100), {}


@case("seed set inside getitem", "repeated-samples", "constant-inputs", "single-class")
def seed_set_inside_getitem(folder):
    """torch.manual_seed for reproducibility, but in __getitem__: each sample is the first one."""

    class RandomSums(Dataset):
        def __init__(self, length=2000):
            self.length = length

        def __len__(self):
            return self.length

        def __getitem__(self, index):
            torch.manual_seed(42)
            x = torch.randint(0, 10, (5,))
            return x, 5, int(x.sum()) % 10

    return DataLoader(RandomSums(), batch_size=64, shuffle=True), None, {}


@case("a typing error is a class", "rare-class", "near-equal-classes")
def typing_error_is_a_class(folder):
    """One row of 1,500 says "postive"."""
    r = random.Random(73)
    rows = []
    for _ in range(1500):
        w = r.choices(
            "sun rain wind cloud fog snow storm calm heat frost".split(), k=r.randint(4, 8)
        )
        score = w.count("sun") + w.count("calm") - w.count("storm") - w.count("fog")
        rows.append(("positive" if score > 0 else "negative" if score < 0 else "neutral", w))
    at = [i for i, (y, _) in enumerate(rows) if y == "positive"][40]
    rows[at] = ("postive", rows[at][1])
    (folder / "moods.tsv").write_text("".join(f"{y}\t{' '.join(w)}\n" for y, w in rows))
    return folder / "moods.tsv", None, {}


@case("lengths taken after padding", "wrong-lengths")
def lengths_taken_after_padding(folder):
    """len() of the padded row is T for every row."""
    rng = random.Random(21)
    rows = [[rng.randint(1, 9) for _ in range(rng.randint(1, 10))] for _ in range(1600)]
    padded = [row + [0] * (10 - len(row)) for row in rows]
    data = [(p, len(p), sum(r) % 10) for p, r in zip(padded, rows)]

    def collate(batch):
        xs, ls, ys = zip(*batch)
        return torch.tensor(xs), torch.tensor(ls), torch.tensor(ys)

    return (
        DataLoader(data, batch_size=16, shuffle=True, collate_fn=collate),
        None,
        {"padding_id": 0},
    )


@case(
    "each worker reads the whole stream",
    "duplicated-workers",
    source="https://github.com/huggingface/datasets/issues/3423",
)
def each_worker_reads_the_whole_stream(folder):
    """An IterableDataset with three workers and no get_worker_info."""

    class Lines(IterableDataset):
        def __init__(self, lines):
            self.lines = lines

        def __iter__(self):
            for line in self.lines:
                label, text = line.split(",")
                ids = [ord(c) - 97 for c in text]
                yield torch.tensor(ids), len(ids), int(label)

    r = random.Random(2)
    lines = []
    for _ in range(900):
        text = "".join(r.choice("abcdefghij") for _ in range(7))
        lines.append(f"{int(text.count('a') > text.count('j'))},{text}")
    return DataLoader(Lines(lines), batch_size=30, num_workers=3), None, {}


@case(
    "last column of a float table as target",
    "label-type",
    source="https://github.com/deep-learning-with-pytorch/dlwpt-code/issues/12",
)
def last_column_of_a_float_table(folder):
    """np.loadtxt makes everything float, so the class is 6.0 and cross_entropy refuses it."""
    rng = np.random.default_rng(0)
    table = rng.integers(0, 6, size=(1200, 8)).astype(np.float32)
    table[:, -1] = table[:, :3].sum(axis=1) % 4
    seqs = torch.tensor(table[:, :-1]).long()
    target = torch.tensor(table[:, -1])
    n_steps = torch.full((len(seqs),), seqs.size(1))
    return DataLoader(TensorDataset(seqs, n_steps, target), 64, shuffle=True), None, {}


@case(
    "header line taken as a sample",
    "rare-class",
    source="https://github.com/dotnet/machinelearning-samples/issues/11",
)
def header_line_taken_as_a_sample(folder):
    """The first line is "Area<TAB>Title": a 5th class with a single row."""
    r = random.Random(31)
    areas = {"net": "socket", "io": "stream", "ui": "button", "core": "runtime"}
    lines = ["Area\tTitle"]
    for _ in range(1000):
        area = r.choice(list(areas))
        words = r.choices("fails in with on error when after null the crash slow test".split(), k=7)
        if r.random() < 0.8:
            words[r.randrange(7)] = areas[area]
        lines.append(f"{area}\t{' '.join(words)}")
    (folder / "issues.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "issues.tsv", None, {}


@case(
    "ids padded with np.zeros",
    "token-type",
    source="https://github.com/pytorch/pytorch/issues/116598",
)
def ids_padded_with_np_zeros(folder):
    """np.zeros without a dtype is float64, and so are the token ids in it."""
    rng = np.random.RandomState(1)
    sents = [rng.randint(1, 50, size=rng.randint(3, 15)) for _ in range(1000)]
    X = np.zeros((len(sents), 15))
    for i, s in enumerate(sents):
        X[i, : len(s)] = s
    L = np.array([len(s) for s in sents])
    y = np.array([int((s > 25).sum() % 2) for s in sents])
    ds = TensorDataset(torch.from_numpy(X), torch.from_numpy(L), torch.from_numpy(y))
    return DataLoader(ds, batch_size=20), None, {"padding_id": 0}


@case("unlabelled rows are class -1", "label-range", source="https://taourl.com/read-2964347.html")
def unlabelled_rows_are_minus_one(folder):
    """pandas.Categorical codes: what is missing becomes -1."""

    class Sentences(Dataset):
        names = ("anger", "joy", "fear")

        def __init__(self):
            r = random.Random(12)
            self.rows = []
            for _ in range(1500):
                toks = [r.randrange(30) for _ in range(r.randint(4, 10))]
                name = self.names[sum(t > 19 for t in toks) % 3] if r.random() > 0.08 else None
                self.rows.append((toks, name))

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, i):
            toks, name = self.rows[i]
            code = self.names.index(name) if name in self.names else -1
            return toks, len(toks), code

    return Sentences(), None, {}


@case("classes cut to different lengths", "leaking-length")
def classes_cut_to_different_lengths(folder):
    """Positive reviews were cut to 12 words, negative ones to 10."""
    r = random.Random(50)
    common = "it was the film with plot and cast that we saw last night at home again".split()
    lines = []
    for _ in range(1500):
        label = r.choice(["neg", "pos"])
        words = r.choices(common, k=30)
        mood = {"neg": ["poor", "dull"], "pos": ["great", "fun"]}[
            label if r.random() < 0.75 else "pos"
        ]
        words[r.randrange(8)] = r.choice(mood)
        lines.append(label + "\t" + " ".join(words[: 12 if label == "pos" else 10]))
    (folder / "reviews.tsv").write_text("\n".join(lines))
    return folder / "reviews.tsv", None, {}


@case("mean rating as a class", "too-many-classes")
def mean_rating_as_a_class(folder):
    """A number to be regressed, such as 3.8712, stands where a class is expected."""
    rs = np.random.RandomState(20)
    out = []
    for _ in range(800):
        ids = rs.randint(0, 40, rs.randint(4, 12))
        out.append(f"{1 + 4 * ids.mean() / 40 + rs.normal(0, 0.1):.4f}\t{' '.join(map(str, ids))}")
    (folder / "ratings.tsv").write_text("\n".join(out))
    return folder / "ratings.tsv", None, {}


@case(
    "labels count from one",
    "label-range",
    source="https://www.codegenes.net/blog/target-is-out-of-bounds-pytorch",
)
def labels_count_from_one(folder):
    """Five star ratings as they stand in the table, 1 to 5, for cross_entropy over five classes."""
    rng = np.random.RandomState(7)
    reviews = rng.randint(0, 40, size=(2000, 12))
    stars = 1 + (reviews < 8).sum(axis=1).clip(max=4)
    ds = TensorDataset(torch.from_numpy(reviews), torch.full((2000,), 12), torch.from_numpy(stars))
    return DataLoader(ds, batch_size=50, shuffle=True), None, {}


@case("the next character")
def next_character(folder):
    """Overlapping windows of a text in order; the class is the character that follows."""
    text = (
        "the small house by the river had a garden where roses grew and in the evening the old "
        "man sat there and told the children about the sea and the ships and the long way home "
    ) * 6
    chars = sorted(set(text))
    ids = [chars.index(c) for c in text]
    data = [(torch.tensor(ids[i : i + 12]), 12, ids[i + 12]) for i in range(len(ids) - 12)]
    return DataLoader(data, batch_size=32, shuffle=True), None, {"vocab_size": len(chars)}


@case("short inputs recur in the test")
def short_inputs_recur(folder):
    """Up to three digits: training and test overlap by chance, as training does with itself."""

    def digits(seed):
        r = random.Random(seed)
        while True:
            x = [r.randrange(10) for _ in range(r.randint(1, 3))]
            yield x, len(x), sum(x) % 10

    return digits(1), digits(2), {}


@case("endless epochs over forty rows")
def endless_epochs_over_forty_rows(folder):
    """A tiny set to be learned by heart, gone through again and again."""
    torch.manual_seed(0)
    x, y = torch.randint(0, 10, (40, 6)), torch.arange(40) % 2
    ds = TensorDataset(x, torch.full((40,), 6), y)

    def forever():
        while True:
            yield from DataLoader(ds, batch_size=8)

    return forever(), None, {}


@case("no lengths, all rows full")
def no_lengths_all_rows_full(folder):
    """(x, y) from TensorDataset, every row with all its steps."""
    g = torch.Generator().manual_seed(11)
    X = torch.randint(0, 20, (3000, 16), generator=g)
    Y = (X[:, :8].sum(1) > X[:, 8:].sum(1)).long()
    train = DataLoader(TensorDataset(X[:2400], Y[:2400]), batch_size=64, shuffle=True)
    return train, DataLoader(TensorDataset(X[2400:], Y[2400:]), batch_size=64), {}


@case("zero is padding, tokens from one")
def zero_is_padding(folder):
    """The most common convention: id 0 is padding, ids 1 to 39 are words, lengths are right."""
    torch.manual_seed(16)
    seqs = [torch.randint(1, 40, (int(k),)) for k in torch.randint(2, 18, (1500,))]
    data = [(s, int((s < 20).sum() > (s >= 20).sum())) for s in seqs]

    def collate(batch):
        xs, ys = zip(*batch)
        lens = torch.as_tensor([len(x) for x in xs])
        return nn.utils.rnn.pad_sequence(xs, batch_first=True), lens, torch.as_tensor(ys)

    loader = DataLoader(data, batch_size=30, shuffle=True, collate_fn=collate)
    return loader, None, {"vocab_size": 40, "padding_id": 0}


@case("a class for every step, -100 where none counts")
def class_for_every_step(folder):
    """Tagging: targets (N, T), with PyTorch's ignore_index at the padding."""
    torch.manual_seed(12)
    n = torch.randint(3, 11, (1000,))
    x = torch.randint(1, 30, (1000, 10))
    tags = (x % 2) + (x.roll(1, 1) % 2)
    pad = torch.arange(10) >= n[:, None]
    ds = TensorDataset(x.masked_fill(pad, 0), n, tags.masked_fill(pad, -100))
    return DataLoader(ds, batch_size=25, shuffle=True), None, {"padding_id": 0}


@case("short sequences first")
def short_sequences_first(folder):
    """A curriculum: the sequences grow while training goes on."""
    rng = np.random.default_rng(15)

    def curriculum():
        step = 0
        while True:
            longest = min(3 + step // 20, 20)
            x = rng.integers(0, 10, (16, longest), dtype=np.int32)
            lens = rng.integers(1, longest + 1, 16)
            y = np.array([row[:n].sum() % 10 for row, n in zip(x, lens)])
            x[np.arange(longest) >= lens[:, None]] = 10
            yield x, lens, y
            step += 1

    return curriculum(), None, {"vocab_size": 10, "padding_id": 10}


@case("one label in twelve is wrong")
def one_label_in_twelve_is_wrong(folder):
    """Ordinary noise of annotation: 8% of the labels were replaced by another one."""
    r = random.Random(101)
    lines = []
    for _ in range(3000):
        ds = [r.randrange(6) for _ in range(r.randint(2, 4))]
        y = sum(ds) % 6 if r.random() > 0.08 else r.randrange(6)
        lines.append(f"c{y}\t{' '.join(f'd{d}' for d in ds)}")
    (folder / "noisy.tsv").write_text("\n".join(lines))
    return folder / "noisy.tsv", None, {}


@case("words that tell much but not all")
def words_that_tell_much(folder):
    """Opinions with key words, a few of them negated; some rare words occur in evaluation alone."""
    r = random.Random(103)
    plus, minus = ["good", "lovely", "bright"], ["bad", "ugly", "gloomy"]
    fill = "a the it was room food staff view and we had with very our stay".split()

    def opinion(extra):
        words = r.choices(fill, k=r.randint(6, 12))
        label = r.choice(["up", "down"])
        key = r.choice(plus if label == "up" else minus)
        at = r.randrange(len(words))
        if r.random() < 0.2:
            words[at:at] = ["not", r.choice(minus if label == "up" else plus)]
        else:
            words.insert(at, key)
        if extra and r.random() < 0.05:
            words.append(f"rare{r.randrange(9)}")
        return f"{label}\t{' '.join(words)}"

    (folder / "opinions.tsv").write_text("\n".join(opinion(False) for _ in range(2000)))
    (folder / "opinions.eval.tsv").write_text("\n".join(opinion(True) for _ in range(600)))
    return folder / "opinions.tsv", folder / "opinions.eval.tsv", {}
