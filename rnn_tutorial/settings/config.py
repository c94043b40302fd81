"""The training configuration: every setting once, with its default, its help text and its bounds.

`train_cls_rnn.py` turns the fields into flags; `config.json` and the checkpoints record them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

ENGINES = ("auto", "graph", "compiled", "autograd")
CELLS = ("rnn", "gru", "lstm", "transformer")
NONLINEARITIES = ("tanh", "relu")
POOLINGS = ("last", "mean", "max", "attention")
INITS = ("default", "orthogonal", "identity")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
PRECISIONS = ("float32", "bfloat16")
SCHEDULERS = ("cosine", "constant", "step", "plateau")
TRACKERS = ("auto", "online", "local", "offline", "disabled")


def _setting(default: Any, group: str, help: str, **bounds: Any) -> Any:
    """A field with what its flag needs.

    Bounds are `low` and `high`, or `choices`; `metavar` stands for the value in the help; `needs`
    names another setting and the values of it beside which this one has an effect.
    """
    return field(default=default, metadata={"group": group, "help": help, **bounds})


# The model's options at their defaults; the fast engines and the proof know no other net.
PLAIN = {
    "cell": "rnn",
    "nonlinearity": "tanh",
    "bidirectional": False,
    "dropout": 0.0,
    "pooling": "last",
    "layer_norm": False,
    "residual": False,
}
PLAIN_IN_WORDS = (
    "a tanh RNN of one direction, read at its last step, with nothing between its layers"
)


def check_model_options(num_layers: int, options: Mapping[str, Any]) -> None:
    """Raise ValueError if options (those of PLAIN) do not go together, and say why."""
    cell = options["cell"]
    for name, known in (("cell", CELLS), ("nonlinearity", NONLINEARITIES), ("pooling", POOLINGS)):
        if options[name] not in known:
            raise ValueError(f"--{name} {options[name]!r} is not one of {', '.join(known)}")
    if cell != "rnn" and options["nonlinearity"] != "tanh":
        raise ValueError(
            f"--nonlinearity {options['nonlinearity']} is for --cell rnn; "
            f"the nonlinearities of --cell {cell} are fixed"
        )
    if cell == "transformer":
        for name, why in (
            ("bidirectional", "it looks at all steps of the sequence anyway"),
            ("layer_norm", "it always has layer norms"),
            ("residual", "it always has residual connections"),
        ):
            if options[name]:
                raise ValueError(f"--{name} does not go with --cell transformer: {why}")
    elif num_layers == 1:
        for name in ("dropout", "layer_norm", "residual"):
            if options[name]:
                raise ValueError(
                    f"{as_flag(name, options[name])} acts between recurrent layers: "
                    "--num_layers 1 has nothing between; give 2 or more"
                )


@dataclass(frozen=True)
class Recipe:
    """Named settings that explicit flags override."""

    lesson: str
    settings: Mapping[str, Any]


_LARGE_BATCH = {"batch_size": 64}
_FASTER = {"batch_size": 64, "lr": 0.005}
_DEEPER = {"hidden_dim": 32, "num_layers": 3}
_SOLVED = {
    "min_seq_len": 1,
    "hidden_dim": 128,
    "init": "orthogonal",
    "total_steps": 5000,
    "batch_size": 256,
    "lr": 0.005,
    "min_lr": 0.0,
    "warmup_step": 500,
    "optimizer": "adamw",
    "weight_decay": 0.5,
    "max_grad_norm": 1.0,
    "embed_noise": 0.3,
}

RECIPES = {
    "baseline": Recipe("the published baseline: a small net that learns a part", {}),
    "large_batch": Recipe("four times the batch: a steadier gradient", _LARGE_BATCH),
    "large_batch_lr5e-3": Recipe("a larger batch bears a higher rate", _FASTER),
    "deeper_rnn": Recipe("twice the width, three layers: more capacity", _DEEPER),
    "sota": Recipe("all of it at once: fast, deep and fragile", _DEEPER | _FASTER),
    "sota_warmup": Recipe(
        "and a warmup, which deep nets need", _DEEPER | _FASTER | {"warmup_step": 2000}
    ),
    "solved": Recipe(
        "single digits name the ten states; decay and noise make them stable: every input right",
        _SOLVED,
    ),
    "certified": Recipe(
        "states that every step brings closer together can be proved right at every length",
        _SOLVED
        | {
            "max_seq_len": 10,
            "embed_dim": 32,
            "embed_noise": 0.5,
            "total_steps": 10_000,
            "weight_decay": 0.6,
            "contraction": 1.0,
        },
    ),
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run; ValueError if a setting is not allowed."""

    recipe: str = _setting(
        "baseline", "recipe", "settings to start from; other flags override them", choices=RECIPES
    )

    min_seq_len: int = _setting(2, "data", "shortest sequence", low=1, high=1_000_000)
    max_seq_len: int = _setting(5, "data", "longest sequence", low=1, high=1_000_000)
    max_number: int = _setting(
        9, "data", "largest digit; the label is the sum modulo (max_number + 1)", low=1, high=65_535
    )
    train_file: str = _setting(
        "",
        "data",
        "learn from labelled examples instead, a line label<TAB>tokens each; lengths and tokens "
        "are then those of the file",
        metavar="FILE",
    )
    eval_file: str = _setting(
        "",
        "data",
        "examples to evaluate on; without it a tenth of train_file is held out",
        metavar="FILE",
    )
    seed: int = _setting(
        0, "data", "seed of the weights and of the data; same seed, same run", low=0, high=2**63 - 1
    )
    bucket_by_length: bool = _setting(
        False, "data", "batches of samples of about the same length: less padding at long ranges"
    )
    num_workers: int = _setting(
        0, "data", "processes that draw batches; the batches stay the same", low=0, high=256
    )

    embed_dim: int = _setting(10, "model", "size of a digit's embedding", low=1, high=65_536)
    hidden_dim: int = _setting(16, "model", "size of the hidden state", low=1, high=65_536)
    num_layers: int = _setting(1, "model", "recurrent layers, one upon the other", low=1, high=999)

    cell: str = _setting(
        PLAIN["cell"], "model", "recurrent unit, or a Transformer encoder instead", choices=CELLS
    )
    nonlinearity: str = _setting(
        PLAIN["nonlinearity"], "model", "of --cell rnn", choices=NONLINEARITIES
    )
    bidirectional: bool = _setting(
        PLAIN["bidirectional"], "model", "read the sequence forwards and backwards"
    )
    dropout: float = _setting(
        PLAIN["dropout"],
        "model",
        "probability of a zero between layers (in a Transformer: in what a layer adds) in training",
        low=0,
        high=0.99,
    )
    pooling: str = _setting(
        PLAIN["pooling"],
        "model",
        "what the classifier reads: the last state, or the mean, the maximum or a learned mean "
        "of all valid steps",
        choices=POOLINGS,
    )
    layer_norm: bool = _setting(PLAIN["layer_norm"], "model", "normalize what goes between layers")
    residual: bool = _setting(
        PLAIN["residual"], "model", "add to the output of each layer but the first its input"
    )
    init: str = _setting(
        "default",
        "model",
        "first W_hh (of each gate): uniform as in PyTorch; orthogonal, which keeps the length of a "
        "state; or, for --nonlinearity relu, identity with zero biases, which keeps the state",
        choices=INITS,
    )
    forget_bias: float = _setting(
        0.0,
        "model",
        "first bias of an LSTM's forget gate; 1 remembers; 0 leaves PyTorch's random one",
        low=-100,
        high=100,
        needs=("cell", ("lstm",)),
    )

    batch_size: int = _setting(
        16,
        "optimization",
        "sequences per update, or per pass with accumulate_steps",
        low=1,
        high=1_000_000,
    )
    accumulate_steps: int = _setting(
        1,
        "optimization",
        "passes per update whose gradients are added: the update of a batch that many times as "
        "large, in the memory of one",
        low=1,
        high=1_000_000,
    )
    precision: str = _setting(
        "float32",
        "optimization",
        "of the products while training; bfloat16 (autocast; weights stay float32) is faster from "
        "a hidden_dim of some hundreds on, if the CPU has its instructions",
        choices=PRECISIONS,
    )
    optimizer: str = _setting(
        "adam",
        "optimization",
        "what turns gradients into updates; PyTorch's, with its defaults",
        choices=OPTIMIZERS,
    )
    momentum: float = _setting(
        0.0,
        "optimization",
        "share of the last update that sgd and rmsprop keep",
        low=0,
        high=0.9999,
        needs=("optimizer", ("sgd", "rmsprop")),
    )
    weight_decay: float = _setting(
        0.0,
        "optimization",
        "pull of the weights towards 0: apart from the gradient (decoupled) with adamw, added to "
        "the gradient (L2) with the others",
        low=0,
        high=1000,
    )
    max_grad_norm: float = _setting(
        0.0, "optimization", "clip the gradient to this 2-norm; 0 does not", low=0, high=1e9
    )

    bptt_steps: int = _setting(
        0,
        "optimization",
        "truncated backpropagation: cut the gradient after every so many steps; 0 does not",
        low=0,
        high=1_000_000,
    )

    embed_noise: float = _setting(
        0.0,
        "optimization",
        "standard deviation of Gaussian noise on the embedded input while training",
        low=0,
        high=1000,
    )

    contraction: float = _setting(
        0.0,
        "optimization",
        "penalty on how far apart a step can move two states: makes the states stable",
        low=0,
        high=1000,
    )

    total_steps: int = _setting(20_000, "schedule", "optimizer updates", low=1, high=10**9)
    lr: float = _setting(0.001, "schedule", "highest learning rate", low=1e-12, high=100)
    min_lr: float = _setting(
        0.0001,
        "schedule",
        "lowest learning rate after the warmup; cosine reaches it at total_steps",
        low=0,
        high=100,
    )
    warmup_step: int = _setting(
        0, "schedule", "updates of linear warmup from 1%% of lr", low=0, high=10**9
    )
    scheduler: str = _setting(
        "cosine",
        "schedule",
        "learning rate after the warmup: step falls every lr_step_every updates, plateau when the "
        "accuracy no longer improves",
        choices=SCHEDULERS,
    )
    lr_factor: float = _setting(
        0.5,
        "schedule",
        "step and plateau multiply the rate by this",
        low=1e-6,
        high=1,
        needs=("scheduler", ("step", "plateau")),
    )
    lr_step_every: int = _setting(
        5000,
        "schedule",
        "updates between two falls of step",
        low=1,
        high=10**9,
        needs=("scheduler", ("step",)),
    )
    plateau_patience: int = _setting(
        5,
        "schedule",
        "evaluations in a row without a better accuracy before plateau falls",
        low=1,
        high=10**9,
        needs=("scheduler", ("plateau",)),
    )
    early_stopping_patience: int = _setting(
        0,
        "schedule",
        "stop after so many evaluations in a row without a better accuracy, and keep the best "
        "checkpoint too, as model_best.pt; 0 never does",
        low=0,
        high=10**9,
    )
    stop_when_exact: int = _setting(
        0,
        "schedule",
        "stop after so many evaluations in a row without a wrong input; 0 never does",
        low=0,
        high=10**9,
    )

    log_every: int = _setting(100, "output", "updates between logged metrics", low=1, high=10**9)
    eval_every: int = _setting(500, "output", "updates between evaluations", low=1, high=10**9)
    save_every: int = _setting(
        1000, "output", "updates between checkpoints; 0 saves only at the end", low=0, high=10**9
    )
    save_dir: str = _setting("./output/", "output", "folder of all runs", metavar="DIR")
    run_name: str = _setting(
        "baseline", "output", "folder of this run in save_dir; a taken name gets -2, -3, …"
    )
    tracker: str = _setting(
        "auto",
        "output",
        "where SwanLab keeps the metrics",
        choices=TRACKERS,
    )

    device: str = _setting(
        "auto", "machine", "cpu, cuda, cuda:N, …; auto is CUDA if there, else cpu"
    )
    engine: str = _setting(
        "auto", "machine", "what makes the updates; auto is the fastest that can", choices=ENGINES
    )
    num_threads: int = _setting(
        0,
        "machine",
        "CPU threads; 0 means OMP_NUM_THREADS, else 1: small nets gain from no more",
        low=0,
        high=1024,
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            _check_bounds(setting, getattr(self, setting.name))
        for setting in fields(self):
            value = getattr(self, setting.name)
            needed, allowed = setting.metadata.get("needs", (setting.name, (value,)))
            if value != setting.default and getattr(self, needed) not in allowed:
                raise ValueError(
                    f"--{setting.name} {value} has no effect with --{needed} "
                    f"{getattr(self, needed)}, only with {' or '.join(allowed)}"
                )
        if self.min_seq_len > self.max_seq_len:
            raise ValueError(
                f"--min_seq_len {self.min_seq_len} must not be greater than "
                f"--max_seq_len {self.max_seq_len}"
            )
        if self.contraction and self.accumulate_steps > 1:
            raise ValueError(
                f"--accumulate_steps {self.accumulate_steps} must be 1 with --contraction, whose "
                "mean over the states of a batch is not that of its passes"
            )
        if self.contraction and self.precision != "float32":
            raise ValueError(
                f"--precision {self.precision} must be float32 with --contraction, which is for "
                "proofs about float32"
            )
        if self.min_lr > self.lr and self.scheduler != "constant":
            raise ValueError(f"--min_lr {self.min_lr:g} must not be greater than --lr {self.lr:g}")
        if self.warmup_step >= self.total_steps:
            raise ValueError(
                f"--warmup_step {self.warmup_step} must be smaller than "
                f"--total_steps {self.total_steps}"
            )
        check_model_options(self.num_layers, self.model_options())
        self._check_init()
        if self.contraction and not self.is_plain:
            raise ValueError(f"--contraction {self.contraction:g} is for {PLAIN_IN_WORDS}")
        self._check_bptt()
        if self.eval_file and not self.train_file:
            raise ValueError(f"--eval_file {self.eval_file!r} needs a --train_file to learn from")
        if not self.run_name.strip(". ") or set(self.run_name) & set('/\\\0:*?"<>|\n\r\t'):
            raise ValueError(
                f"--run_name {self.run_name!r} is no folder name; use letters, digits, . _ -"
            )
        if not self.save_dir or "\0" in self.save_dir:
            raise ValueError(f"--save_dir {self.save_dir!r} is no folder name")

    def _check_init(self) -> None:
        is_relu = (self.cell, self.nonlinearity) == ("rnn", "relu")
        if self.init == "identity" and not is_relu:
            raise ValueError(
                "--init identity keeps the state of ReLU units only: "
                "it needs --cell rnn --nonlinearity relu"
            )
        if self.init != "default" and self.cell == "transformer":
            raise ValueError(f"--init {self.init}: --cell transformer has no recurrent matrices")

    def _check_bptt(self) -> None:
        reasons = {
            "--cell transformer has no state to cut": self.cell == "transformer",
            "--bidirectional reads from the end too": self.bidirectional,
            f"--pooling {self.pooling} needs the gradient of every step": self.pooling != "last",
            "--contraction takes whole sequences": self.contraction > 0,
        }
        for reason, holds in reasons.items():
            if self.bptt_steps and holds:
                raise ValueError(
                    f"--bptt_steps {self.bptt_steps} cuts a sequence read from its beginning "
                    f"into segments, but {reason}"
                )

    def model_options(self) -> dict[str, Any]:
        """The settings that RnnClsNet takes beside its sizes."""
        return {name: getattr(self, name) for name in PLAIN}

    @property
    def is_plain(self) -> bool:
        """True if the model's options all have their defaults."""
        return self.model_options() == PLAIN

    def overrides_recipe(self) -> bool:
        """True if flags changed something that the recipe's data, model or updates depend on."""
        recipe = TrainConfig(**settings_of({"recipe": self.recipe}))
        return any(
            getattr(self, setting.name) != getattr(recipe, setting.name)
            for setting in fields(self)
            if setting.metadata["group"] in ("data", "model", "optimization", "schedule")
            and setting.name not in ("seed", "num_workers")
        )

    @property
    def sequences_per_update(self) -> int:
        """N of an update's batch, which the passes divide."""
        return self.batch_size * self.accumulate_steps

    def contraction_at(self, step: int) -> float:
        """Factor of the contraction penalty: 0 while the task is learned, then a ramp to full.

        The ramp runs from one to three fifths of total_steps.
        """
        progress = step / self.total_steps
        return self.contraction * min(1.0, max(0.0, (progress - 0.2) / 0.4))


def settings_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that flags mean: those of their recipe, overridden by the flags themselves.

    Raises:
        ValueError: there is no such recipe, flags of the digit task go with a file, or a lowest
            rate with one that stays.
    """
    name = flags.get("recipe", "baseline")
    if name not in RECIPES:
        raise ValueError(f"--recipe {name!r} is not one of {', '.join(RECIPES)}")
    if flags.get("train_file"):
        for flag in ("min_seq_len", "max_seq_len", "max_number"):
            if flag in flags:
                raise ValueError(
                    f"--{flag} {flags[flag]} is not allowed with --train_file: "
                    "lengths and tokens are those of the file"
                )
    if flags.get("scheduler") == "constant" and "min_lr" in flags:
        raise ValueError(
            f"--min_lr {flags['min_lr']:g} has no effect with --scheduler constant, "
            "whose rate stays --lr"
        )
    return {"run_name": name, **RECIPES[name].settings, **flags}


def as_flag(name: str, value: Any) -> str:
    """A setting as it is typed: --lr 0.1, --residual or --no-residual."""
    if type(value) is bool:
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"


def describe_recipes() -> str:
    """Name, flags and lesson of each recipe, a line each."""
    lines = []
    for name, recipe in RECIPES.items():
        flags = " ".join(as_flag(name, value) for name, value in recipe.settings.items())
        lines.append(f"{name}: {recipe.lesson}\n    {flags or '(the defaults)'}")
    return "\n".join(lines)


def _check_bounds(setting: Field, value: Any) -> None:
    """Raise ValueError that names the flag, the value and what is allowed."""
    kind, bounds = type(setting.default), setting.metadata
    if kind is float and type(value) is int:
        value = float(value)
    right = type(value) is kind
    if right and "low" in bounds:
        right = bounds["low"] <= value <= bounds["high"]  # a NaN is not
    if right and "choices" in bounds:
        right = value in bounds["choices"]
    if not right:
        raise ValueError(f"--{setting.name} {value!r} is not {_allowed(setting)}")


def _allowed(setting: Field) -> str:
    """What a setting may be, in words: "a whole number from 1 to 1000"."""
    bounds = setting.metadata
    if "choices" in bounds:
        return f"one of {', '.join(bounds['choices'])}"
    kinds = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    kind = kinds[type(setting.default)]
    return f"{kind} from {bounds['low']} to {bounds['high']}" if "low" in bounds else kind


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser one flag per field of TrainConfig, grouped, with the defaults in the help.

    A flag that the user does not give is absent from the namespace, so that the caller can tell
    what was chosen explicitly.
    """
    groups: dict[str, Any] = {}
    for setting in fields(TrainConfig):
        title = setting.metadata["group"]
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        is_switch = type(setting.default) is bool
        group.add_argument(
            f"--{setting.name}",
            default=argparse.SUPPRESS,
            help=f"{setting.metadata['help']} (default: {_shown_default(setting)})",
            **(
                {"action": argparse.BooleanOptionalAction}
                if is_switch
                else {"type": _reader(setting), "metavar": _metavar(setting)}
            ),
        )


def _shown_default(setting: Field) -> Any:
    if type(setting.default) is bool:
        return "yes" if setting.default else "no"
    return "none" if setting.default == "" else setting.default


def _metavar(setting: Field) -> str:
    if "choices" in setting.metadata:
        return "|".join(setting.metadata["choices"])
    by_type = {int: "N", float: "X", str: "NAME"}
    return setting.metadata.get("metavar", by_type[type(setting.default)])


def _reader(setting: Field) -> Callable[[str], Any]:
    """The converter that argparse calls on a flag's text."""

    def read(text: str) -> Any:
        try:
            return type(setting.default)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {_allowed(setting)}") from None

    return read


def config_from_dict(settings: Mapping[str, Any], source: str) -> TrainConfig:
    """Rebuild a configuration that was recorded in a file.

    Raises:
        ValueError: a field is missing, unknown or out of bounds; names `source`.
    """
    names = {setting.name for setting in fields(TrainConfig)}
    if set(settings) != names:
        odd = sorted(names.symmetric_difference(settings))
        raise ValueError(f"{source} does not fit this version: fields missing or unknown: {odd}")
    try:
        return TrainConfig(**settings)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
