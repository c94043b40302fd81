"""The experiments by name: what is compared, as flags of train_cls_rnn.py."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_tutorial.config import RECIPES

LENGTHS = (10, 100, 1000)


@dataclass(frozen=True)
class Experiment:
    """A comparison of variants, each trained with the same seeds.

    Args:
        question: what it answers.
        variants: name to flags.
        certify: True to try a proof of each trained network too.
        max_seeds: more are not run: what takes long is compared on fewer.
    """

    question: str
    variants: dict[str, tuple[str, ...]]
    certify: bool = False
    max_seeds: int = 20


_SOLVED = ("--recipe", "solved")

EXPERIMENTS = {
    "solved": Experiment(
        "Does every seed answer every input, and longer ones?", {"solved": ("--recipe", "solved")}
    ),
    "certified": Experiment(
        "How many seeds can be proved right at every length?",
        {"certified": ("--recipe", "certified")},
        certify=True,
    ),
    "published": Experiment(
        "What do the published recipes reach?",
        {name: ("--recipe", name) for name in list(RECIPES)[:6]},
    ),
    "ablation": Experiment(
        "Which part of the recipe does what?",
        {
            "all of it": _SOLVED,
            "lengths 2 to 5 instead of 1 to 5": (*_SOLVED, "--min_seq_len", "2"),
            "no weight decay": (*_SOLVED, "--weight_decay", "0"),
            "no noise": (*_SOLVED, "--embed_noise", "0"),
            "neither decay nor noise": (*_SOLVED, "--weight_decay", "0", "--embed_noise", "0"),
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
}
