"""The options of the model: their choices, their defaults, and which of them go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rnn_tutorial.settings.fields import as_argument

CELLS = ("rnn", "gru", "lstm", "transformer")
NONLINEARITIES = ("tanh", "relu")
POOLINGS = ("last", "mean", "max", "attention")

# The options of a plain network: the engine on a GPU supports no other.
PLAIN = {
    "cell": "rnn",
    "nonlinearity": "tanh",
    "bidirectional": False,
    "dropout": 0.0,
    "pooling": "last",
    "layer_norm": False,
    "residual": False,
}
_READ = "of one direction, read at its last step, with nothing between its layers"
PLAIN_IN_WORDS = f"a tanh RNN {_READ}"
# What the compiled engine trains: plain but for the cell, which is one of these.
STACK_CELLS = ("rnn", "gru", "lstm")
STACK_IN_WORDS = f"a tanh RNN, a GRU or an LSTM {_READ}"
# Settings that are factors of penalties on the hidden states, and what they help to prove.
PENALTIES = ("contraction", "center_loss")
PROVABLE_CELLS = ("rnn", "gru")
PROVABLE_IN_WORDS = f"a tanh RNN or a GRU {_READ}"


def check_model_options(
    num_layers: int,
    options: Mapping[str, Any],
    spell: Callable[[str, Any], str] = as_argument,
) -> None:
    """Raise ValueError if the model's options do not go together, and say why.

    Args:
        num_layers: number of stacked layers.
        options: a value for each option of PLAIN.
        spell: writes an option and its value for the message, as the user has typed them.
    """
    for name, choices in (("cell", CELLS), ("nonlinearity", NONLINEARITIES), ("pooling", POOLINGS)):
        if options[name] not in choices:
            raise ValueError(f"{spell(name, options[name])} is not one of {', '.join(choices)}")
    cell = spell("cell", options["cell"])
    if options["cell"] != "rnn" and options["nonlinearity"] != "tanh":
        raise ValueError(
            f"{spell('nonlinearity', options['nonlinearity'])} applies to {spell('cell', 'rnn')} "
            f"only; the nonlinearities of {cell} are fixed"
        )
    if options["cell"] == "transformer":
        for name, reason in (
            ("bidirectional", "looks at all steps anyway"),
            ("layer_norm", "always has layer norms"),
            ("residual", "always has residual connections"),
        ):
            if options[name]:
                raise ValueError(
                    f"{spell(name, options[name])} cannot be combined with {cell}, which {reason}"
                )
    elif num_layers == 1:
        for name in ("dropout", "layer_norm", "residual"):
            if options[name]:
                raise ValueError(
                    f"{spell(name, options[name])} acts between recurrent layers: "
                    f"{spell('num_layers', 1)} must be 2 or more"
                )
