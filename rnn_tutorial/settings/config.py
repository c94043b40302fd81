"""The configuration of a run: every setting once, with its default, its help and its bounds.

flags.py turns the fields into command-line flags; `config.json` and the checkpoints record them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from rnn_tutorial.settings.conflicts import find_conflicts
from rnn_tutorial.settings.fields import as_flag, check_bounds, setting_field
from rnn_tutorial.settings.model_options import (
    CELLS,
    NONLINEARITIES,
    PENALTIES,
    PLAIN,
    POOLINGS,
    PROVABLE_CELLS,
    STACK_CELLS,
    check_model_options,
)
from rnn_tutorial.settings.recipes import RECIPES, settings_of
from rnn_tutorial.settings.task_names import DIGIT_SUM

ENGINES = ("auto", "graph", "compiled", "autograd")  # after auto from the fastest to the slowest
INITS = ("default", "orthogonal", "identity")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
PRECISIONS = ("float32", "bfloat16")
SCHEDULERS = ("cosine", "constant", "step", "plateau")
SAMPLINGS = ("auto", "uniform", "varied")
TRACKERS = ("auto", "online", "local", "offline", "disabled")
MONITORS = ("accuracy", "balanced_accuracy", "eval_loss")  # as the metrics are named
# Settings that runs of earlier versions do not record, and what those runs did: each group came in
# one version.
ADDED = (
    {"task": DIGIT_SUM, "sampling": "uniform", "stop_when_proved": False},
    {"balance_classes": False, "monitor": "accuracy"},
    {"center_loss": 0.0},
)

_data, _model, _optimization, _schedule, _output, _machine = (
    partial(setting_field, group)
    for group in ("data", "model", "optimization", "schedule", "output", "machine")
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Raises:
        ValueError: a setting is out of bounds, or some do not go together; names their flags.
    """

    recipe: str = setting_field(
        "recipe", "baseline", "settings to start from; other flags override them", choices=RECIPES
    )

    task: str = _data(
        DIGIT_SUM,
        "what to learn: the digit sum, another machine of --list_tasks, your own machine from a "
        "file, or whether a sequence of letters matches a pattern",
        metavar="NAME|FILE.json|regex:PATTERN",
    )
    min_seq_len: int = _data(2, "length of the shortest sequence", within=(1, 1_000_000))
    max_seq_len: int = _data(5, "length of the longest sequence", within=(1, 1_000_000))
    max_number: int = _data(
        9,
        "largest digit of the sum; the label is the sum modulo (max_number + 1)",
        within=(1, 65_535),
        needs=("task", (DIGIT_SUM,)),
    )
    sampling: str = _data(
        "auto",
        "training sequences: uniform draws all tokens equally often; varied gives each sequence "
        "token probabilities of its own and seldom leads it to where the answer is settled; auto "
        "is uniform for the digit sum and varied for other machines",
        choices=SAMPLINGS,
    )
    train_file: str = _data(
        "",
        "learn from the examples in this file instead, one label<TAB>tokens per line",
        metavar="FILE",
    )
    eval_file: str = _data(
        "",
        "examples to evaluate on; without it, a tenth of train_file is held out",
        metavar="FILE",
    )
    balance_classes: bool = _data(
        False,
        "draw the training examples of every class equally often; rare ones come several times an "
        "epoch",
    )
    seed: int = _data(
        0, "seed of weights and data; the same seed gives the same run", within=(0, 2**32 - 1)
    )
    bucket_by_length: bool = _data(
        False, "batch sequences of similar length: less padding if lengths vary widely"
    )
    num_workers: int = _data(
        0, "processes that prepare batches; the batches stay the same", within=(0, 256)
    )

    embed_dim: int = _model(10, "size of a token's embedding", within=(1, 65_536))
    hidden_dim: int = _model(16, "size of the hidden state", within=(1, 65_536))
    num_layers: int = _model(1, "number of stacked layers", within=(1, 999))
    cell: str = _model(
        PLAIN["cell"], "type of the recurrent layers, or a Transformer encoder", choices=CELLS
    )
    nonlinearity: str = _model(
        PLAIN["nonlinearity"], "activation function of --cell rnn", choices=NONLINEARITIES
    )
    bidirectional: bool = _model(PLAIN["bidirectional"], "read the sequence forwards and backwards")
    dropout: float = _model(
        PLAIN["dropout"],
        "probability of zeroing a value between layers in training (in a Transformer: a value that "
        "a layer adds)",
        within=(0, 0.99),
    )
    pooling: str = _model(
        PLAIN["pooling"],
        "what the classifier reads: the last hidden state, or the mean, the maximum or a learned "
        "weighted mean (attention) over all valid steps",
        choices=POOLINGS,
    )
    layer_norm: bool = _model(
        PLAIN["layer_norm"], "normalize the input of each layer above the first"
    )
    residual: bool = _model(
        PLAIN["residual"], "add the input of each layer above the first to its output"
    )
    init: str = _model(
        "default",
        "initial W_hh (of each gate): default is PyTorch's, uniform; orthogonal preserves the "
        "length of a state; identity, for --nonlinearity relu, preserves the state (biases are 0)",
        choices=INITS,
    )
    forget_bias: float = _model(
        0.0,
        "initial bias of an LSTM's forget gate: 1 favours remembering, 0 keeps PyTorch's",
        within=(-100, 100),
        needs=("cell", ("lstm",)),
    )

    batch_size: int = _optimization(
        16, "sequences per update; with accumulate_steps, per pass", within=(1, 1_000_000)
    )
    accumulate_steps: int = _optimization(
        1,
        "passes per update, whose gradients are added: the update of a batch that many times as "
        "large, in the memory of one pass",
        within=(1, 1_000_000),
    )
    precision: str = _optimization(
        "float32",
        "precision of products in training; bfloat16 (autocast; weights stay float32) is faster "
        "for a hidden_dim of several hundred, if the CPU has instructions for it",
        choices=PRECISIONS,
    )
    optimizer: str = _optimization(
        "adam", "PyTorch's optimizer of this name, with its defaults", choices=OPTIMIZERS
    )
    momentum: float = _optimization(
        0.0,
        "share of the last update that sgd and rmsprop keep",
        within=(0, 0.9999),
        needs=("optimizer", ("sgd", "rmsprop")),
    )
    weight_decay: float = _optimization(
        0.0,
        "how strongly weights are pulled towards 0: separately from the gradient (decoupled) with "
        "adamw, as part of the gradient (L2) with the others",
        within=(0, 1000),
    )
    max_grad_norm: float = _optimization(
        0.0, "clip the gradient to this 2-norm; 0 does not clip", within=(0, 1e9)
    )
    bptt_steps: int = _optimization(
        0,
        "truncated backpropagation: cut the gradient after every N steps; 0 does not cut",
        within=(0, 1_000_000),
    )
    embed_noise: float = _optimization(
        0.0, "standard deviation of noise added to the embeddings in training", within=(0, 1000)
    )
    contraction: float = _optimization(
        0.0,
        "penalty on steps that move states apart, once two evaluations in a row find nothing "
        "wrong; makes the states stable",
        within=(0, 1000),
    )
    center_loss: float = _optimization(
        0.0,
        "penalty on the variance of hidden states within groups that should be alike: same state "
        "of the task's machine, same last token; sets in as --contraction does, while "
        "--weight_decay fades to 0",
        within=(0, 10_000),
    )

    total_steps: int = _schedule(20_000, "optimizer updates", within=(1, 10**9))
    lr: float = _schedule(0.001, "highest learning rate", within=(1e-12, 100))
    min_lr: float = _schedule(
        0.0001, "lowest learning rate after the warmup; cosine ends there", within=(0, 100)
    )
    warmup_step: int = _schedule(
        0, "updates of linear warmup, from 1%% of lr to lr", within=(0, 10**9)
    )
    scheduler: str = _schedule(
        "cosine",
        "learning rate after the warmup: step lowers it every lr_step_every updates, plateau when "
        "evaluations stop improving",
        choices=SCHEDULERS,
    )
    lr_factor: float = _schedule(
        0.5,
        "factor that step and plateau multiply the learning rate by",
        within=(1e-6, 1),
        needs=("scheduler", ("step", "plateau")),
    )
    lr_step_every: int = _schedule(
        5000,
        "updates after which step lowers the learning rate",
        within=(1, 10**9),
        needs=("scheduler", ("step",)),
    )
    monitor: str = _schedule(
        "accuracy",
        "what an improvement is, for plateau and early stopping: of labelled examples, also the "
        "mean accuracy of all classes, or the loss",
        choices=MONITORS,
    )
    plateau_patience: int = _schedule(
        5,
        "evaluations in a row without an improvement after which plateau lowers the learning rate",
        within=(1, 10**9),
        needs=("scheduler", ("plateau",)),
    )
    early_stopping_patience: int = _schedule(
        0,
        "stop after N evaluations in a row without an improvement, and also keep the best "
        "checkpoint as model_best.pt; 0 does not stop",
        within=(0, 10**9),
    )
    stop_when_exact: int = _schedule(
        0,
        "stop after N evaluations in a row with every answer right; 0 does not stop",
        within=(0, 10**9),
    )
    stop_when_proved: bool = _schedule(
        False,
        "after each evaluation without a wrong answer, try to prove the network right for every "
        "length, and stop when it is",
    )

    log_every: int = _output(100, "updates between logged metrics", within=(1, 10**9))
    eval_every: int = _output(500, "updates between evaluations", within=(1, 10**9))
    save_every: int = _output(
        1000, "updates between checkpoints; 0 saves only at the end", within=(0, 10**9)
    )
    save_dir: str = _output("./output/", "folder that holds all runs", metavar="DIR")
    run_name: str = _output(
        "baseline", "folder of this run in save_dir; a name that is taken gets -2, -3, …"
    )
    tracker: str = _output(
        "auto",
        "where SwanLab keeps the metrics; auto is online if logged in, else local",
        choices=TRACKERS,
    )

    device: str = _machine("auto", "cpu, cuda, cuda:N, …; auto is CUDA if available, else the CPU")
    engine: str = _machine(
        "auto",
        "implementation of the updates; auto is the fastest that can make them",
        choices=ENGINES,
    )
    num_threads: int = _machine(
        0,
        "CPU threads; 0 takes OMP_NUM_THREADS, or 1 (enough for a small network) if it is not set",
        within=(0, 1024),
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            check_bounds(setting, getattr(self, setting.name))
        check_model_options(self.num_layers, self.model_options(), spell=as_flag)
        if conflict := next(find_conflicts(self), None):
            raise ValueError(conflict)

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> TrainConfig:
        """The configuration that flags and their recipe stand for; see `settings_of`."""
        return cls(**settings_of(flags))

    def model_options(self) -> dict[str, Any]:
        """The settings that RnnClsNet takes in addition to its sizes."""
        return {name: getattr(self, name) for name in PLAIN}

    @property
    def is_plain(self) -> bool:
        """True if the model's options all have their defaults."""
        return self.model_options() == PLAIN

    @property
    def is_stack(self) -> bool:
        """True if the model's options all have their defaults, but for the cell of its layers."""
        return self.cell in STACK_CELLS and self.model_options() == PLAIN | {"cell": self.cell}

    @property
    def is_provable(self) -> bool:
        """True if the model is of a kind that can be proved right."""
        return self.is_stack and self.cell in PROVABLE_CELLS

    @property
    def penalties(self) -> dict[str, float]:
        """The factors of the penalties on the hidden states, by name, but for those that are 0."""
        factors = {name: getattr(self, name) for name in PENALTIES}
        return {name: factor for name, factor in factors.items() if factor}

    @property
    def sequences_per_update(self) -> int:
        """Sequences in one update: those of all its passes."""
        return self.batch_size * self.accumulate_steps


def with_added(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, also those that there were not yet when it was begun."""
    for group in ADDED:
        if not settings.keys() & group.keys():
            settings = {**group, **settings}
    return dict(settings)


def config_from_dict(settings: Mapping[str, Any], source: str) -> TrainConfig:
    """Rebuild a configuration that was recorded in a file.

    Raises:
        ValueError: a setting is missing, unknown or out of bounds; names `source`.
    """
    settings = with_added(settings)
    names = {setting.name for setting in fields(TrainConfig)}
    if set(settings) != names:
        odd = sorted(names.symmetric_difference(settings))
        odd = ", ".join(odd[:8]) + ", …" * (len(odd) > 8)
        raise ValueError(f"{source} does not fit this version; missing or unknown settings: {odd}")
    try:
        return TrainConfig(**settings)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
