"""How much of a gradient flows back: how large the Jacobian of many steps is.

    python -m rnn_tutorial.experiments.jacobians     measure and write results/jacobians.json

Then `python -m rnn_tutorial.experiments render` draws. Shapes: T steps, S numbers of the state (H,
or 2 H of an LSTM), H hidden.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from rnn_tutorial.experiments.kept import RESULTS, result_head
from rnn_tutorial.experiments.lesson import EMBED_DIM, make_nets
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

COMMAND = "python -m rnn_tutorial.experiments.jacobians"
JACOBIANS = RESULTS / "jacobians.json"
NUM_STEPS, NUM_SEEDS = 50, 3
_CODE = tuple(f"rnn_tutorial/experiments/{name}.py" for name in ("jacobians", "lesson"))


def jacobian_norms(make_net: Callable[[], nn.RNNBase], seed: int, num_steps: int) -> list[float]:
    """2-norms of the derivative of the last h by each state, the last state first.

    The state of an LSTM is h and c together: part of what h_t passes on goes through c_t.

    Returns:
        T numbers, computed in float64.
    """
    torch.manual_seed(seed)
    net = make_net().double()
    x = torch.randn(num_steps, EMBED_DIM, dtype=torch.float64)
    hidden = net.hidden_size
    parts = 1 + isinstance(net, nn.LSTM)
    # As many copies of the sequence as there are units; copy k is asked for unit k of its last h.
    copies = x.expand(hidden, -1, -1)  # (H, T, E)
    state = [torch.zeros(1, hidden, hidden, dtype=torch.float64) for _ in range(parts)]
    states = []  # of each step: h, or h and c, each (1, H, H)
    for x_t in copies.split(1, dim=1):
        _, after = net(x_t, tuple(state) if parts > 1 else state[0])
        state = list(after) if parts > 1 else [after]
        states.append(state)
    asked = states[-1][0].squeeze(0).trace()
    gradients = torch.autograd.grad(
        asked, [part for state in states for part in state], materialize_grads=True
    )
    jacobians = torch.cat(gradients).unflatten(0, (num_steps, parts))  # (T, parts, H, H)
    rows = jacobians.transpose(1, 2).flatten(2)  # (T, H, S): row k is the derivative of unit k
    return torch.linalg.matrix_norm(rows, ord=2).flip(0).tolist()


def measure() -> dict[str, Any]:
    """The median norm over seeds by age, of every net of part 1."""
    nets = {}
    for name, make_net in make_nets().items():
        by_seed = [jacobian_norms(make_net, seed, NUM_STEPS) for seed in range(NUM_SEEDS)]
        medians = map(statistics.median, zip(*by_seed, strict=True))
        nets[name] = [float(f"{norm:.3g}") for norm in medians]
    return {"num_seeds": NUM_SEEDS, "nets": nets}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the result file."""
    CommandLineParser(prog=COMMAND, description=__doc__).parse_args(arguments)
    torch.set_num_threads(1)
    head = result_head(COMMAND, _CODE)
    write_json(JACOBIANS, {**head, **measure()})
    return 0


if __name__ == "__main__":
    run_command(main)
