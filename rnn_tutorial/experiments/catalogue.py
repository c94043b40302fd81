"""The experiments by name: what is compared, as flags of train_cls_rnn.py."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from rnn_tutorial.machines.library import LIBRARY

EXACT_LENGTH = 5  # up to here every input is scored
LENGTHS = (10, 100, 1000)  # here random sequences
LONG = (500, 501, 1000)  # of a machine, which may answer otherwise at odd lengths


@dataclass(frozen=True)
class Experiment:
    """A comparison of variants, each trained with the same seeds.

    Args:
        question: what it answers.
        variants: name to flags.
        certify: True to try a proof of each trained network, and look at its automaton, too.
        lengths: at which sequences are sampled.
        first_seed: those of the runs follow one another from here.
        max_seeds: more are not run: what takes long is compared on fewer.
        few: name of a variant to its number of seeds, if that is smaller.
        timed: True to measure the time of an update of each variant, in turns.
        environment: variables that are set for the training.
    """

    question: str
    variants: dict[str, tuple[str, ...]]
    certify: bool = False
    lengths: tuple[int, ...] = LENGTHS
    first_seed: int = 0
    max_seeds: int = 20
    few: Mapping[str, int] = field(default_factory=dict)
    timed: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def seeds(self, variant: str, at_most: int = sys.maxsize) -> range:
        """The seeds of a variant."""
        count = min(at_most, self.few.get(variant, self.max_seeds))
        return range(self.first_seed, self.first_seed + count)


# What the published tutorial says of its recipes: one run without a seed each, scored on 100 random
# sequences; of sota_warmup three runs.
CLAIMS = {
    "baseline": "75%", "large_batch": "–", "large_batch_lr5e-3": "91%",
    "deeper_rnn": "99%", "sota": "–", "sota_warmup": "100%",
}  # fmt: skip

# Variants of `ablation` that a table or a figure compares.
STABILITY = ("all of it", "no noise", "no weight decay", "neither decay nor noise")
ABLATION = (
    *STABILITY,
    "lengths 2 to 5 instead of 1 to 5",
    "no clipping",
    "default init",
    "batch 64",
    "two layers",
)
# Variants of `transformer` in a figure.
ALIKE = ("rnn", "lstm", "gru", "Transformer, two layers, no decay, no noise")

_SOLVED = ("--recipe", "solved")
_SHORTER = (
    *(*_SOLVED, "--hidden_dim", "64", "--batch_size", "128"),
    *("--total_steps", "2000", "--warmup_step", "200", "--lr", "0.003"),
)
_DIRECTIONS = {"one direction": (), "two directions": ("--bidirectional",)}
_OTHERS = (*_SOLVED, "--engine", "autograd", "--total_steps", "3000")  # one engine for all
# Each has about as many parameters as the network of the recipe.
_SIZED_ALIKE = {
    "rnn": ("--cell", "rnn", "--hidden_dim", "128"),
    "gru": ("--cell", "gru", "--hidden_dim", "72"),
    "lstm": ("--cell", "lstm", "--hidden_dim", "62"),
    "Transformer, two layers": (
        "--cell",
        "transformer",
        "--hidden_dim",
        "38",
        "--num_layers",
        "2",
        "--init",
        "default",
    ),
}
_UNREGULARIZED = ("--weight_decay", "0", "--embed_noise", "0")

_CERTIFIED = ("--recipe", "certified")
_MODULI = (2, 3, 5, 7, 10, 16, 26)
# What is trained until it is proved: the named machines, and sums of several moduli.
_MACHINES = {name: ("--task", name, *_CERTIFIED) for name in LIBRARY} | {
    f"sum modulo {m}": ("--max_number", str(m - 1), *_CERTIFIED) for m in _MODULI
}

SIZED = ("parity", "tomita_4", "sum modulo 5", "sum modulo 10")
_NETS = {
    "one layer": (),
    "two layers": ("--num_layers", "2"),
    "GRU": ("--cell", "gru"),
}
_SAMPLINGS = {"varied": (), "uniform": ("--sampling", "uniform")}
_SEEN = (
    *("cycle_navigation", "divisible_by_3", "sum modulo 10"),
    *("tomita_1", "tomita_2", "tomita_3", "tomita_7", "contains_abba"),  # with traps
)

_CONTRACTED = ("--center_loss", "0")
_PENALTIES = {"contraction alone": _CONTRACTED, "both penalties": ("--contraction", "3")}
_MODEST = ("--hidden_dim", "64", "--total_steps", "6000")  # autograd trains the GRU


def _contracted(name: str) -> tuple[str, ...]:
    """Flags of a machine with one penalty alone, for which we train on longer sums."""
    longer = ("--max_seq_len", "10") if name.startswith("sum") else ()
    return (*_MACHINES[name], *_CONTRACTED, *longer)


EXPERIMENTS = {
    "solved": Experiment(
        "Does every seed answer every input, and longer ones?", {"solved": _SOLVED}
    ),
    "certified": Experiment(
        "How many seeds can be proved right at every length?",
        {"certified": _CERTIFIED},
        certify=True,
    ),
    "fresh": Experiment(
        "Does the recipe solve the task for seeds that were not looked at while it was made?",
        {"solved": _SOLVED, "certified": _CERTIFIED},
        first_seed=1000,
        max_seeds=50,
    ),
    "machines": Experiment(
        "Which machines are learned until they are proved?",
        _MACHINES,
        lengths=LONG,
        few={"sum modulo 26": 10},  # a minute or two each
    ),
    "contracted": Experiment(
        "Which sums are proved with the contraction alone?",
        {
            f"sum modulo {m}": (*_contracted(f"sum modulo {m}"), "--contraction", "3")
            for m in (7, 16, 26)
        },
        lengths=LONG,
        max_seeds=10,
        few={"sum modulo 16": 5, "sum modulo 26": 3},  # never proved, in minutes each
    ),
    "shorter": Experiment(
        "Do ten bits show a network what divisibility by three is?",
        {
            name: (*_MACHINES["divisible_by_3"], *penalties, "--max_seq_len", "10")
            for name, penalties in _PENALTIES.items()
        },
        lengths=LONG,
    ),
    "sampling": Experiment(
        "What do training sequences that visit everything bring?",
        {
            f"{name}, {sampling}": (*_contracted(name), *flags)
            for name in _SEEN
            for sampling, flags in _SAMPLINGS.items()
        },
        lengths=LONG,
        max_seeds=3,
    ),
    "smallest": Experiment(
        "How small can a network be and still be proved?",
        {
            f"{name}, hidden_dim {size}": (*_contracted(name), "--hidden_dim", str(size))
            for name in SIZED
            for size in (8, 16, 32, 64, 128)
        },
        lengths=LONG,
        max_seeds=10,
    ),
    "deeper": Experiment(
        "Can two layers and a GRU be proved?",
        {
            f"{name}, {net}": (*_contracted(name), *_MODEST, *flags)
            for name in ("parity", "tomita_4", "sum modulo 5")
            for net, flags in _NETS.items()
        },
        lengths=LONG,
        max_seeds=3,
    ),
    "published": Experiment(
        "What do the published recipes reach?",
        {name: ("--recipe", name) for name in CLAIMS},
    ),
    "digits": Experiment(
        "What do single digits alone bring to the best published recipe?",
        {"sota_warmup, 1 to 5 digits": ("--recipe", "sota_warmup", "--min_seq_len", "1")},
        max_seeds=8,
    ),
    "processor": Experiment(
        "Do the products of an older processor give the same nets?",
        {name: ("--recipe", name) for name in ("baseline", "sota_warmup", "solved")},
        environment={"OPENBLAS_CORETYPE": "Haswell"},
    ),
    "ablation": Experiment(
        "Which part of the recipe does what?",
        {
            "all of it": _SOLVED,
            "lengths 2 to 5 instead of 1 to 5": (*_SOLVED, "--min_seq_len", "2"),
            "lengths 2 to 5, lr 0.001": (*_SOLVED, "--min_seq_len", "2", "--lr", "0.001"),
            "lengths 2 to 5, neither decay nor noise": (
                *(*_SOLVED, "--min_seq_len", "2", *_UNREGULARIZED),
            ),
            "no weight decay": (*_SOLVED, "--weight_decay", "0"),
            "no noise": (*_SOLVED, "--embed_noise", "0"),
            "neither decay nor noise": (*_SOLVED, *_UNREGULARIZED),
            "no clipping": (*_SOLVED, "--max_grad_norm", "0"),
            "default init": (*_SOLVED, "--init", "default"),
            "two layers": (*_SOLVED, "--num_layers", "2"),
            "batch 64": (*_SOLVED, "--batch_size", "64"),
        },
    ),
    "frontier": Experiment(
        "How small can the net be?",
        {f"hidden_dim {n}": (*_SOLVED, "--hidden_dim", str(n)) for n in (16, 32, 48, 64, 96, 128)},
    ),
    "cells": Experiment(
        "Which cell, in one direction or two, how deep?",
        {
            f"{cell}, {way}, {layers} layer{'s' * (layers > 1)}": (
                *(*_SHORTER, "--cell", cell, *direction, "--num_layers", str(layers)),
            )
            for cell in ("rnn", "gru", "lstm")
            for way, direction in _DIRECTIONS.items()
            for layers in (1, 2, 3)
        },
        max_seeds=5,
    ),
    "transformer": Experiment(
        "RNN or Transformer, with about as many parameters?",
        {
            f"{name}{how}": (*_OTHERS, *net, *flags)
            for how, flags in {"": (), ", no decay, no noise": _UNREGULARIZED}.items()
            for name, net in _SIZED_ALIKE.items()
        }
        | {
            "Transformer, mean of all steps": (
                *(*_OTHERS, *_SIZED_ALIKE["Transformer, two layers"], *_UNREGULARIZED),
                *("--pooling", "mean"),
            )
        },
        max_seeds=10,
        timed=True,
    ),
}
