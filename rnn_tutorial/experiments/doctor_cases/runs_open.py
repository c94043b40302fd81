"""Cases of runs of train_cls_rnn.py; the open half, which the checks may be written for.

Each is code as people write it, not in the style of this project.

`make(folder)` gives the fields of a RunCase: flags, and perhaps scale, shift and asked_length. Label
files that the flags name are written into folder.
"""

# ruff: noqa: B905, E501, SIM905

from __future__ import annotations

import random

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case("right up to five, asked for three hundred", "unstable-at-length")
def right_up_to_five_asked_for_three_hundred(folder):
    """A GRU that has learned its lengths, without anything that keeps its states stable."""
    return {
        "flags": "--cell gru --min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.01 --min_lr 0 "
        "--total_steps 2000",
        "asked_length": 300,
    }


@case(
    "two hidden units for ten classes",
    "network-too-small",
    source="https://github.com/guevara/read-it-later/issues/5625",
)
def two_hidden_units(folder):
    """The loss falls a little, then stays."""
    return {
        "flags": "--cell gru --hidden_dim 2 --embed_dim 2 --min_seq_len 1 --batch_size 32 "
        "--lr 0.01 --total_steps 3000"
    }


@case(
    "sixty rows learned by heart",
    "overfitting",
    source="https://grindskills.com/preventing-overfitting-of-lstm-on-small-dataset/",
)
def sixty_rows_learned_by_heart(folder):
    """Sixty training rows of a task that needs thousands; evaluation from the same source."""
    r = random.Random(1)

    def rows(n):
        for _ in range(n):
            s = [r.randrange(8) for _ in range(r.randint(5, 9))]
            yield f"{sum(s) % 4}\t{' '.join(map(str, s))}\n"

    (folder / "small.tsv").write_text("".join(rows(60)))
    (folder / "test.tsv").write_text("".join(rows(600)))
    return {
        "flags": f"--train_file {folder}/small.tsv --eval_file {folder}/test.tsv --cell gru "
        "--hidden_dim 64 --batch_size 16 --lr 0.005 --total_steps 1500"
    }


@case("large steps to the end", "oscillating-loss", "loss-spikes", "learning-rate-too-high")
def large_steps_to_the_end(folder):
    """It learns a part; to the end the accuracy jumps up and down by ten points."""
    return {
        "flags": "--cell gru --min_seq_len 1 --hidden_dim 48 --batch_size 32 --lr 0.05 "
        "--scheduler constant --total_steps 3000 --eval_every 50"
    }


@case(
    "one sequence at a time at a large rate",
    "batch-too-small",
    "learning-rate-too-high",
    "oscillating-loss",
)
def one_sequence_at_a_time(folder):
    """Each update follows a single example."""
    return {
        "flags": "--batch_size 1 --lr 0.02 --scheduler constant --hidden_dim 32 --min_seq_len 1 "
        "--total_steps 4000"
    }


@case(
    "one hidden unit",
    "network-too-small",
    source="https://github.com/guevara/read-it-later/issues/5625",
)
def one_hidden_unit(folder):
    """Ten classes from a single number."""
    return {"flags": "--hidden_dim 1 --batch_size 64 --lr 0.005 --min_seq_len 1 --total_steps 2500"}


@case(
    "labels shuffled apart from their inputs",
    "contradicting-labels",
    "loss-at-chance",
    source="https://github.com/udacity/sdc-issue-reports/issues/1326",
)
def labels_shuffled_apart(folder):
    """Short inputs with labels that have nothing to do with them."""
    r = random.Random(7)
    seqs = [[r.randrange(5) for _ in range(r.randint(1, 3))] for _ in range(4200)]
    labels = [sum(s) % 5 for s in seqs]
    r.shuffle(labels)
    rows = [f"{y}\t{' '.join(map(str, s))}\n" for y, s in zip(labels, seqs)]
    (folder / "mixed.tsv").write_text("".join(rows))
    return {
        "flags": f"--train_file {folder}/mixed.tsv --hidden_dim 32 --batch_size 32 --lr 0.003 "
        "--total_steps 1800"
    }


@case(
    "little learned, nothing odd",
    "learned-little",
    "network-too-small",
    "too-few-steps",
    "missing-short-lengths",
)
def little_learned_nothing_odd(folder):
    """All settings are usual, but a third of the answers is all that it gets."""
    return {
        "flags": "--cell transformer --embed_dim 16 --hidden_dim 16 --min_seq_len 1 "
        "--batch_size 32 --lr 0.001 --total_steps 2500"
    }


@case("RMSprop at a tenth", "learning-rate-too-high")
def rmsprop_at_a_tenth(folder):
    """RMSprop divides by the size of the gradient, so 0.1 is a lot."""
    return {
        "flags": "--optimizer rmsprop --lr 0.1 --scheduler constant --hidden_dim 32 --num_layers 2 "
        "--batch_size 32 --min_seq_len 1 --total_steps 1500"
    }


@case(
    "L2 of one half in Adam",
    "too-much-weight-decay",
    source="https://github.com/BVLC/caffe/issues/1396",
)
def l2_of_one_half(folder):
    """AdamW's weight decay moved to Adam, where it is added to the gradient."""
    return {
        "flags": "--optimizer adam --weight_decay 0.5 --min_seq_len 1 --hidden_dim 48 "
        "--batch_size 64 --lr 0.003 --total_steps 2000"
    }


@case(
    "ReLU units that grow",
    "exploding-gradient",
    "not-finite-loss",
    "learning-rate-too-high",
    source="https://taourl.com/read-1885623.html",
)
def relu_units_that_grow(folder):
    """ReLU, twenty to thirty steps, first weights six times too large, no clipping."""
    return {
        "flags": "--sampling uniform --nonlinearity relu --min_seq_len 20 --max_seq_len 30 "
        "--hidden_dim 32 --batch_size 32 --optimizer sgd --lr 0.01 --total_steps 1200",
        "scale": 6.0,
    }


@case(
    "scheduler stepped at every update",
    "learning-rate-falls-too-early",
    source="https://github.com/leftthomas/SRGAN/issues/94",
)
def scheduler_stepped_at_every_update(folder):
    """A step of ten was meant in epochs; after 40 updates the learning rate is nothing."""
    return {
        "flags": "--min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.005 --min_lr 0 "
        "--total_steps 2500 --scheduler step --lr_step_every 10 --lr_factor 0.1"
    }


@case(
    "momentum makes a thousandfold", "learning-rate-too-high", "not-finite-loss", "oscillating-loss"
)
def momentum_makes_a_thousandfold(folder):
    """SGD at 0.5 would do; with a momentum of 0.999 it is a thousand times as much."""
    return {
        "flags": "--optimizer sgd --lr 0.5 --momentum 0.999 --hidden_dim 48 --batch_size 64 "
        "--min_seq_len 1 --total_steps 1800"
    }


@case(
    "warmup counted in epochs",
    "warmup-too-long",
    source="https://github.com/YunYang1994/TensorFlow2.0-Examples/issues/8",
)
def warmup_counted_in_epochs(folder):
    """500,000 updates of warmup; early stopping ended the run at 1% of the learning rate."""
    return {
        "flags": "--hidden_dim 32 --batch_size 64 --min_seq_len 1 --lr 0.003 --min_lr 0 "
        "--total_steps 600000 --warmup_step 500000 --early_stopping_patience 2 --eval_every 500"
    }


@case(
    "class name in the text",
    "leaking-token",
    source="https://siddhibajracharya.hashnode.dev/i-accidentally-built-the-best-model",
)
def class_name_in_the_text(folder):
    """Everything is right after a few updates: each text names its class in a tag."""
    r = random.Random(9)
    rows = []
    for _ in range(4200):
        y = r.choice(["sport", "science", "politics"])
        t = r.choices("the a of new in to said year first with more than".split(), k=12)
        t.insert(r.randrange(3), f"[{y}]")
        rows.append(f"{y}\t{' '.join(t)}\n")
    (folder / "tagged.tsv").write_text("".join(rows))
    return {
        "flags": f"--train_file {folder}/tagged.tsv --cell gru --hidden_dim 32 --batch_size 32 "
        "--lr 0.005 --total_steps 1000"
    }


@case("thirty rows in the evaluation file", "small-evaluation")
def thirty_rows_in_the_evaluation_file(folder):
    """97% or 93%: that is one row more or less."""
    r = random.Random(12)

    def rows(n):
        for _ in range(n):
            s = [r.randrange(4) for _ in range(r.randint(4, 8))]
            yield f"{max(s)}{min(s)}\t{' '.join(map(str, s))}\n"

    (folder / "tr.tsv").write_text("".join(rows(1500)))
    known = {line.split("\t")[0] for line in (folder / "tr.tsv").read_text().splitlines()}
    test = [line for line in rows(40) if line.split("\t")[0] in known][:30]
    (folder / "te.tsv").write_text("".join(test))
    return {
        "flags": f"--train_file {folder}/tr.tsv --eval_file {folder}/te.tsv --cell gru "
        "--hidden_dim 32 --batch_size 32 --lr 0.005 --total_steps 1200"
    }


@case(
    "labels of the evaluation one line off",
    "evaluation-labels-wrong",
    "shifted-labels",
    source="https://github.com/LabeliaLabs/distributed-learning-contributivity/issues/57",
)
def evaluation_labels_one_line_off(folder):
    """Training is right; in the evaluation file every label is that of the line before."""
    r = random.Random(4)

    def seqs(n):
        return [[r.randrange(5) for _ in range(r.randint(2, 4))] for _ in range(n)]

    train, test = seqs(2500), seqs(700)
    labels = [sum(s) % 5 for s in test]
    (folder / "a.tsv").write_text(
        "".join(f"{sum(s) % 5}\t{' '.join(map(str, s))}\n" for s in train)
    )
    (folder / "b.tsv").write_text(
        "".join(f"{y}\t{' '.join(map(str, s))}\n" for y, s in zip(labels, test[1:]))
    )
    return {
        "flags": f"--train_file {folder}/a.tsv --eval_file {folder}/b.tsv --cell gru "
        "--hidden_dim 48 --batch_size 64 --lr 0.005 --total_steps 1500"
    }


@case(
    "nineteen of twenty are one class",
    "imbalanced-classes",
    source="https://taourl.com/read-2606957.html",
)
def nineteen_of_twenty_are_one_class(folder):
    """The accuracy is high from the first updates: it is mostly the share of one class."""
    r = random.Random(8)
    rows = []
    for _ in range(4500):
        s = [r.randrange(30) for _ in range(12)]
        odd = r.random() < 0.05
        if odd:
            s[7] = s[2]
        rows.append(f"{'anomaly' if odd else 'normal'}\t{' '.join(map(str, s))}\n")
    (folder / "sensor.tsv").write_text("".join(rows))
    return {
        "flags": f"--train_file {folder}/sensor.tsv --hidden_dim 24 --batch_size 32 --lr 0.001 "
        "--total_steps 1500"
    }


@case(
    "eight layers from a standing start",
    "missing-warmup",
    "learning-rate-too-high",
    source="https://github.com/lucidrains/voicebox-pytorch/issues/23",
)
def eight_layers_from_a_standing_start(folder):
    """A deep network at full learning rate from the first update."""
    return {
        "flags": "--num_layers 8 --hidden_dim 32 --batch_size 64 --lr 0.01 --min_seq_len 1 "
        "--total_steps 1800"
    }


@case(
    "forget gate begins shut",
    "shut-gates",
    "vanishing-gradient",
    source="https://github.com/pytorch/pytorch/issues/20102",
)
def forget_gate_begins_shut(folder):
    """The sign of the first bias is wrong: the LSTM forgets its cell at each step."""
    r = random.Random(22)
    lines = []
    for _ in range(2600):
        who = r.choice(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"])
        rest = r.choices("came went saw ran sat left".split(), k=r.randint(9, 13))
        lines.append(f"{who}\t{who} {' '.join(rest)}\n")
    (folder / "train.tsv").write_text("".join(lines[:2000]))
    (folder / "test.tsv").write_text("".join(lines[2000:]))
    return {
        "flags": f"--train_file {folder}/train.tsv --eval_file {folder}/test.tsv --cell lstm "
        "--forget_bias -20 --hidden_dim 32 --batch_size 32 --lr 0.005 --total_steps 1200"
    }


@case(
    "evaluation in capitals",
    "token-mismatch",
    source="https://github.com/minqukanq/hierarchical-multi-label-text-classification/issues/6",
)
def evaluation_in_capitals(folder):
    """Every word of the evaluation file is unknown: only the training file has small letters."""
    r = random.Random(3)

    def text():
        names = r.sample(["anna", "ben", "carl", "dora"], 2)
        return names[0], f"{names[0]} {r.choice(['met', 'saw', 'called'])} {names[1]} today"

    train, dev = [text() for _ in range(800)], [text() for _ in range(450)]
    (folder / "t.tsv").write_text("".join(f"{y}\t{x}\n" for y, x in train))
    (folder / "d.tsv").write_text("".join(f"{y}\t{x.upper()}\n" for y, x in dev))
    return {
        "flags": f"--train_file {folder}/t.tsv --eval_file {folder}/d.tsv --hidden_dim 32 "
        "--batch_size 32 --lr 0.005 --total_steps 1200"
    }


@case("judged on sequences twice as long", "length-mismatch")
def judged_on_twice_as_long(folder):
    """Trained on two to five tokens, judged on eight to fourteen."""
    r = random.Random(6)

    def rows(n, low, high):
        for _ in range(n):
            s = [r.randrange(6) for _ in range(r.randint(low, high))]
            yield f"{sum(s) % 6}\t{' '.join(map(str, s))}\n"

    (folder / "short.tsv").write_text("".join(rows(3000, 2, 5)))
    (folder / "long.tsv").write_text("".join(rows(800, 8, 14)))
    return {
        "flags": f"--train_file {folder}/short.tsv --eval_file {folder}/long.tsv --cell gru "
        "--hidden_dim 48 --batch_size 64 --lr 0.005 --total_steps 2000"
    }


@case("LSTM with usual settings")
def lstm_with_usual_settings(folder):
    """Nothing special, and it learns."""
    return {
        "flags": "--cell lstm --hidden_dim 48 --batch_size 64 --lr 0.01 --min_seq_len 1 "
        "--total_steps 2000"
    }


@case("gradients added over four passes")
def gradients_added_over_four_passes(folder):
    """Batches of 16, four to an update."""
    return {
        "flags": "--cell gru --accumulate_steps 4 --batch_size 16 --lr 0.01 --hidden_dim 48 "
        "--min_seq_len 1 --total_steps 1100"
    }


@case("a tenth of the labels is noise")
def tenth_of_the_labels_is_noise(folder):
    """The loss stays above zero and the accuracy below 91%, as it must."""
    r = random.Random(14)
    rows = []
    for _ in range(5000):
        s = [r.randrange(5) for _ in range(r.randint(1, 5))]
        y = sum(s) % 5 if r.random() > 0.1 else r.randrange(5)
        rows.append(f"{y}\t{' '.join(map(str, s))}\n")
    (folder / "noisy.tsv").write_text("".join(rows[:4000]))
    (folder / "noisy.eval.tsv").write_text("".join(rows[4000:]))
    return {
        "flags": f"--train_file {folder}/noisy.tsv --eval_file {folder}/noisy.eval.tsv --cell gru "
        "--hidden_dim 32 --batch_size 64 --lr 0.005 --total_steps 2000"
    }


@case("early stopping at the top")
def early_stopping_at_the_top(folder):
    """Early stopping as it is meant: long after the best accuracy."""
    return {
        "flags": "--cell gru --min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.01 "
        "--early_stopping_patience 8 --eval_every 100 --total_steps 5000"
    }


@case("strong decoupled weight decay")
def strong_decoupled_weight_decay(folder):
    """AdamW with 0.5, which would be far too much as L2, and noise on the embeddings."""
    return {
        "flags": "--optimizer adamw --weight_decay 0.5 --embed_noise 0.3 --embed_dim 32 "
        "--hidden_dim 64 --init orthogonal --min_seq_len 1 --batch_size 64 --lr 0.005 "
        "--warmup_step 200 --total_steps 2500 --max_grad_norm 1"
    }


@case("two layers with a little dropout")
def two_layers_with_a_little_dropout(folder):
    """Dropout 0.1: the training loss is higher than what evaluation shows."""
    return {
        "flags": "--cell gru --num_layers 2 --dropout 0.1 --hidden_dim 48 --batch_size 64 --lr 0.01 "
        "--min_seq_len 1 --warmup_step 200 --total_steps 1500"
    }


@case("step scheduler that falls late")
def step_scheduler_that_falls_late(folder):
    """The learning rate is cut twice by ten, when everything is learned already."""
    return {
        "flags": "--cell gru --min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.01 --min_lr 0 "
        "--scheduler step --lr_step_every 900 --lr_factor 0.1 --total_steps 2400"
    }


@case("SGD with momentum at a high rate")
def sgd_with_momentum(folder):
    """0.1 is usual for SGD."""
    return {
        "flags": "--cell gru --optimizer sgd --lr 0.3 --momentum 0.9 --max_grad_norm 1 "
        "--min_seq_len 1 --hidden_dim 48 --batch_size 64 --total_steps 1800"
    }
