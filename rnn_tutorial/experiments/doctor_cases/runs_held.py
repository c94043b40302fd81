"""Cases of runs of train_cls_rnn.py; the half that was set aside before any check was written.

Each is code as people write it, not in the style of this project.

`make(folder)` gives the fields of a RunCase: flags, and perhaps scale, shift and asked_length. Label
files that the flags name are written into folder.
"""

# ruff: noqa: E501

from __future__ import annotations

import random

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "SGD with Adam's learning rate",
    "learning-rate-too-low",
    source="https://theneuralbase.com/pytorch/learn/beginner/optimizers-torch-optim-adam-sgd/",
)
def sgd_with_adams_rate(folder):
    """The optimizer was changed to SGD, the learning rate was not."""
    return {
        "flags": "--min_seq_len 1 --optimizer sgd --lr 0.001 --hidden_dim 48 --total_steps 3000"
    }


@case(
    "evaluated on rows of the training file",
    "shared-stream",
    source="https://github.com/audi/MeshGPT/issues/10",
)
def evaluated_on_training_rows(folder):
    """The evaluation file is the first half of the training file; all of it is known by heart."""
    r = random.Random(10)
    rows = []
    for _ in range(900):
        s = [r.randrange(40) for _ in range(8)]
        rows.append(f"{'xy'[(s[1] * s[5]) % 2]}\t{' '.join(map(str, s))}\n")
    (folder / "all.tsv").write_text("".join(rows))
    (folder / "first.tsv").write_text("".join(rows[:450]))
    return {
        "flags": f"--train_file {folder}/all.tsv --eval_file {folder}/first.tsv --cell gru "
        "--hidden_dim 64 --batch_size 32 --lr 0.005 --total_steps 1300"
    }


@case(
    "halved every thirty updates",
    "learning-rate-falls-too-early",
    source="https://github.com/ivadomed/ivadomed/pull/55",
)
def halved_every_thirty_updates(folder):
    """An LSTM whose loss still fell a little before the learning rate was gone."""
    return {
        "flags": "--cell lstm --hidden_dim 40 --batch_size 64 --lr 0.01 --min_lr 0 "
        "--min_seq_len 1 --total_steps 1500 --scheduler step --lr_step_every 30 --lr_factor 0.5"
    }


@case(
    "clipped to a ten-thousandth under SGD",
    "gradient-always-clipped",
    "learning-rate-too-low",
    source="https://github.com/twtygqyy/pytorch-vdsr/issues/2",
)
def clipped_to_a_ten_thousandth(folder):
    """SGD at 0.1 would learn; every gradient is scaled down to a norm of 0.0001."""
    return {
        "flags": "--optimizer sgd --lr 0.1 --momentum 0.9 --max_grad_norm 0.0001 --min_seq_len 1 "
        "--hidden_dim 48 --batch_size 64 --total_steps 2000"
    }


@case("words of one author each", "overfitting", source="https://example-a.com/answer/76082845")
def words_of_one_author(folder):
    """Three hundred texts over 60 words, two classes, and no pattern that would carry over."""
    r = random.Random(2)
    words = [f"w{i}" for i in range(60)]

    def rows(n):
        for _ in range(n):
            t = r.choices(words, k=10)
            yield f"{'ab'[sum(int(w[1:]) for w in t) % 2]}\t{' '.join(t)}\n"

    (folder / "train.tsv").write_text("".join(rows(300)))
    (folder / "dev.tsv").write_text("".join(rows(500)))
    return {
        "flags": f"--train_file {folder}/train.tsv --eval_file {folder}/dev.tsv --cell lstm "
        "--hidden_dim 64 --embed_dim 32 --batch_size 32 --lr 0.005 --total_steps 1500"
    }


@case("noise drowns the embeddings", "too-much-noise")
def noise_drowns_the_embeddings(folder):
    """Embeddings have a size of about 1, the noise has 15."""
    return {
        "flags": "--embed_noise 15 --min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.003 "
        "--total_steps 2000"
    }


@case(
    "class names exchanged in the evaluation",
    "evaluation-labels-wrong",
    source="https://github.com/cerlymarco/MEDIUM_NoteBook/issues/50",
)
def class_names_exchanged(folder):
    """cat is 0 in one file and 1 in the other: the accuracy is far below chance."""
    r = random.Random(5)

    def rows(n, cat, dog):
        for _ in range(n):
            w = r.choices(["fur", "tail", "bark", "meow", "paw", "sleep", "fetch", "purr"], k=6)
            score = w.count("meow") + w.count("purr") - w.count("bark") - w.count("fetch")
            if score:
                yield f"{cat if score > 0 else dog}\t{' '.join(w)}\n"

    (folder / "train.tsv").write_text("".join(rows(1500, "0", "1")))
    (folder / "val.tsv").write_text("".join(rows(800, "1", "0")))
    return {
        "flags": f"--train_file {folder}/train.tsv --eval_file {folder}/val.tsv --hidden_dim 32 "
        "--batch_size 32 --lr 0.003 --total_steps 1500"
    }


@case(
    "patience ends on the first plateau",
    "stopped-too-early",
    "too-few-steps",
    source="https://github.com/allenai/comb_dist_direct_relex/issues/4",
)
def patience_ends_on_the_first_plateau(folder):
    """Sums stay unlearned for hundreds of updates; patience is over before that ends."""
    return {
        "flags": "--early_stopping_patience 4 --eval_every 50 --cell gru --hidden_dim 32 "
        "--batch_size 32 --min_seq_len 3 --lr 0.001 --total_steps 8000"
    }


@case("seven labels of ten are noise", "learned-little", "loss-at-chance")
def seven_labels_of_ten_are_noise(folder):
    """Seven labels of ten are drawn at random, so even the best net is right in a third."""
    r = random.Random(11)
    rows = []
    for _ in range(4000):
        s = [r.randrange(60) for _ in range(7)]
        y = s[0] % 8 if r.random() < 0.3 else r.randrange(8)
        rows.append(f"{y}\t{' '.join(map(str, s))}\n")
    (folder / "poor.tsv").write_text("".join(rows))
    return {
        "flags": f"--train_file {folder}/poor.tsv --cell gru --hidden_dim 8 --embed_dim 8 "
        "--batch_size 64 --lr 0.002 --total_steps 1500"
    }


@case(
    "dropout 0.95 between two LSTMs",
    "too-much-dropout",
    source="https://github.com/AFAgarap/malware-classification/issues/37",
)
def dropout_between_two_lstms(folder):
    """Two units of forty are left."""
    return {
        "flags": "--cell lstm --num_layers 2 --dropout 0.95 --hidden_dim 40 --batch_size 32 "
        "--lr 0.005 --min_seq_len 1 --total_steps 1500 --warmup_step 100"
    }


@case(
    "plateau without patience",
    "learning-rate-falls-too-early",
    source="https://github.com/fizyr/keras-retinanet/pull/1370",
)
def plateau_without_patience(folder):
    """The accuracy is looked at every 10 updates, and one look without progress is enough."""
    return {
        "flags": "--min_seq_len 1 --hidden_dim 48 --batch_size 32 --lr 0.004 --min_lr 0 "
        "--total_steps 2500 --scheduler plateau --plateau_patience 1 --lr_factor 0.1 --eval_every 10"
    }


@case(
    "AdamW pulls harder than it learns",
    "too-much-weight-decay",
    source="https://github.com/BVLC/caffe/issues/1396",
)
def adamw_pulls_harder_than_it_learns(folder):
    """lr times weight decay is 0.2: each update takes a fifth of every weight away."""
    return {
        "flags": "--optimizer adamw --weight_decay 40 --cell gru --hidden_dim 48 --batch_size 64 "
        "--lr 0.005 --min_seq_len 1 --total_steps 2000"
    }


@case("dead ReLU in two layers", "dead-units")
def dead_relu_in_two_layers(folder):
    """First biases far below zero: no unit ever answers."""
    return {
        "flags": "--nonlinearity relu --num_layers 2 --hidden_dim 32 --batch_size 32 --lr 0.002 "
        "--min_seq_len 1 --total_steps 1300",
        "shift": -6.0,
    }


@case(
    "parity of fifty bits",
    "vanishing-gradient",
    "missing-short-lengths",
    source="https://github.com/guevara/read-it-later/issues/2775",
)
def parity_of_fifty_bits(folder):
    """A plain tanh network on sequences of fifty bits, none shorter."""
    return {
        "flags": "--task parity --min_seq_len 50 --max_seq_len 50 --hidden_dim 32 --batch_size 32 "
        "--lr 0.002 --total_steps 1300 --sampling uniform"
    }


@case(
    "keep probability given as dropout",
    "too-much-dropout",
    source="https://github.com/bonlime/keras-deeplab-v3-plus/issues/4",
)
def keep_probability_given_as_dropout(folder):
    """0.9 was the share to keep, and became the share to drop."""
    return {
        "flags": "--num_layers 3 --dropout 0.9 --hidden_dim 48 --batch_size 64 --lr 0.003 "
        "--min_seq_len 1 --total_steps 2000"
    }


@case("stopped in full descent", "too-few-steps")
def stopped_in_full_descent(folder):
    """1,100 updates at a constant, sound learning rate; the loss was still falling."""
    return {
        "flags": "--cell gru --hidden_dim 24 --batch_size 32 --lr 0.0006 --scheduler constant "
        "--min_seq_len 1 --total_steps 1100"
    }


@case(
    "early stopping after one look",
    "stopped-too-early",
    "too-few-steps",
    source="https://github.com/NLeSC/mcfly/issues/321",
)
def early_stopping_after_one_look(folder):
    """Two evaluations, 20 updates apart, were as good as each other, and that was the end."""
    return {
        "flags": "--early_stopping_patience 1 --eval_every 20 --hidden_dim 32 --batch_size 32 "
        "--min_seq_len 1 --lr 0.001 --total_steps 5000"
    }


@case("gradient cut after one step", "truncated-too-short", "vanishing-gradient")
def gradient_cut_after_one_step(folder):
    """The first token is to be remembered, but no gradient ever gets back to it."""
    r = random.Random(21)

    def rows(n):
        for _ in range(n):
            first = r.choice("pqrstuvw")
            yield f"{first}\t{first} {' '.join(r.choices('abcxyz', k=r.randint(9, 13)))}\n"

    (folder / "recall.tsv").write_text("".join(rows(2000)))
    (folder / "recall.eval.tsv").write_text("".join(rows(500)))
    return {
        "flags": f"--train_file {folder}/recall.tsv --eval_file {folder}/recall.eval.tsv "
        "--bptt_steps 1 --cell lstm --hidden_dim 32 --batch_size 32 --lr 0.01 --total_steps 1100"
    }


@case(
    "warmup of five times what was run",
    "warmup-too-long",
    source="https://github.com/YunYang1994/TensorFlow2.0-Examples/issues/8",
)
def warmup_of_five_times_what_was_run(folder):
    """A plain network, a tenth of whose warmup was made before the patience ended."""
    return {
        "flags": "--hidden_dim 48 --batch_size 64 --min_seq_len 1 --lr 0.001 --min_lr 0 "
        "--total_steps 50000 --warmup_step 40000 --early_stopping_patience 2 --eval_every 500"
    }


@case(
    "Adam at a millionth",
    "learning-rate-too-low",
    source="https://theneuralbase.com/keras/learn/beginner/loss-not-decreasing-learning-rate/",
)
def adam_at_a_millionth(folder):
    """Fine-tuning's learning rate for a net that begins from nothing."""
    return {
        "flags": "--cell gru --lr 2e-6 --min_lr 0 --hidden_dim 48 --batch_size 64 --min_seq_len 1 "
        "--total_steps 2000"
    }


@case(
    "Adam at a half",
    "learning-rate-too-high",
    source="https://stats.stackexchange.com/posts/487195/revisions",
)
def adam_at_a_half(folder):
    """The learning rate of SGD in Adam: the loss swings above the loss of guessing."""
    return {
        "flags": "--cell lstm --hidden_dim 32 --batch_size 32 --lr 0.5 --scheduler constant "
        "--min_seq_len 1 --total_steps 1500"
    }


@case(
    "always clipped, and it learns",
    source="https://github.com/facebookresearch/Mask2Former/issues/148",
)
def always_clipped_and_it_learns(folder):
    """Adam does not mind the size of the gradient, so a small threshold does no harm."""
    return {
        "flags": "--cell gru --max_grad_norm 0.01 --min_seq_len 1 --hidden_dim 48 --batch_size 64 "
        "--lr 0.01 --min_lr 0 --total_steps 2200"
    }


@case("both directions with attention")
def both_directions_with_attention(folder):
    """A bidirectional LSTM with attention over its steps."""
    return {
        "flags": "--cell lstm --bidirectional --pooling attention --hidden_dim 32 --batch_size 64 "
        "--lr 0.01 --min_seq_len 1 --total_steps 1200"
    }


@case("who did it")
def who_did_it(folder):
    """Labelled sentences: who is the one that acts?"""
    r = random.Random(13)
    verbs = {"chased": "chased by", "saw": "seen by", "found": "found by"}

    def rows(n):
        for _ in range(n):
            a, b = r.sample(["cat", "dog", "fox", "bird"], 2)
            v = r.choice(list(verbs))
            where = r.choice(["", " in the garden", " near the old river"])
            text = f"the {a} {v} the {b}" if r.random() < 0.5 else f"the {b} was {verbs[v]} the {a}"
            yield f"{a}\t{text}{where}\n"

    (folder / "train.tsv").write_text("".join(rows(4200)))
    return {
        "flags": f"--train_file {folder}/train.tsv --cell gru --hidden_dim 48 --batch_size 32 "
        "--lr 0.005 --total_steps 1500"
    }


@case("plateau after all is learned")
def plateau_after_all_is_learned(folder):
    """The learning rate falls to nothing because the accuracy cannot rise any more."""
    return {
        "flags": "--cell gru --min_seq_len 1 --hidden_dim 48 --batch_size 64 --lr 0.01 --min_lr 0 "
        "--scheduler plateau --plateau_patience 3 --lr_factor 0.2 --eval_every 100 "
        "--total_steps 2400"
    }


@case("two hundred updates so far")
def two_hundred_updates_so_far(folder):
    """A trial of a few seconds: too early to judge, which is no fault."""
    return {"flags": "--hidden_dim 32 --batch_size 32 --total_steps 200 --eval_every 100"}


@case("stopped when nothing was wrong")
def stopped_when_nothing_was_wrong(folder):
    """4,000 updates were allowed; long before, three evaluations in a row were perfect."""
    return {
        "flags": "--cell gru --min_seq_len 1 --max_seq_len 3 --hidden_dim 48 --batch_size 64 --lr 0.01 "
        "--stop_when_exact 3 --eval_every 100 --total_steps 4000"
    }


@case("ReLU with identity first weights")
def relu_with_identity_first_weights(folder):
    """Idle units are normal for ReLU; it learns."""
    return {
        "flags": "--nonlinearity relu --init identity --hidden_dim 64 --embed_dim 32 "
        "--batch_size 64 --min_seq_len 1 --lr 0.003 --max_grad_norm 1 --total_steps 2500"
    }


@case("parity of the bits")
def parity_of_the_bits(folder):
    """Two classes, two tokens: a loss that stands at ln 2 for a while and then falls."""
    return {
        "flags": "--task parity --cell gru --min_seq_len 1 --max_seq_len 10 --hidden_dim 32 "
        "--batch_size 64 --lr 0.01 --total_steps 1800"
    }
