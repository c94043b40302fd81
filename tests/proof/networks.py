"""Networks for the tests of proofs: built by hand, random, and trained to be provable."""

from functools import cache

import numpy as np
import torch
from conftest import REPOSITORY
from torch import nn
from torch.nn.functional import cross_entropy

from rnn_tutorial.data.streams import SeqSumModDataset
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.proof.prove import prove
from rnn_tutorial.runs.checkpoint import save_checkpoint
from rnn_tutorial.runs.folder import checkpoint_path
from rnn_tutorial.tasks.machine_task import MachineTask
from rnn_tutorial.training.objective import Penalties

PARITY = Machine(("0", "1"), ("even", "odd"), [[0, 1], [1, 0]], [0, 1])
# Remainders modulo 3 under other names: tokens 1, 2, 0, and a class that says the remainder's.
RELABELLED = Machine("abc", "xyz", [[1, 2, 0], [2, 0, 1], [0, 1, 2]], [2, 0, 1])
# No "0" at all, and no "000" anywhere.
# Source: Tomita, Dynamic construction of finite automata from examples using hill-climbing, 1982.
TOMITA_1 = Machine("01", ("rejected", "accepted"), [[1, 0], [1, 1]], [1, 0])
TOMITA_4 = Machine("01", ("rejected", "accepted"), [[1, 0], [2, 0], [3, 0], [3, 3]], [1, 1, 1, 0])
# A walk on a circle of five places.
CYCLE = Machine(
    ("stay", "right", "left"),
    "01234",
    [[place, (place + 1) % 5, (place - 1) % 5] for place in range(5)],
    range(5),
)
# Have two "b" stood side by side? The first two of three states have the same class.
PAIR = Machine("ab", ("no", "yes"), [[0, 1], [0, 2], [2, 2]], [0, 0, 1])
# The last token but one: four states, two tokens, three classes, one of them of no use.
DELAY = Machine("ab", ("a", "b", "never"), [[0, 1], [2, 3], [0, 1], [2, 3]], [0, 0, 1, 1])


def build_automaton(machine, gain=8.0, num_layers=1, cell="rnn"):
    """A net with known weights that is right: one unit for each (machine state before, token).

    Unit (s, d) has the pre-activation gain · (A_s + [x = d] - 3/2), where A_s is 1 if the unit that
    was on before leads to state s, else 0. The last unit is 0 before the first token and 1 after,
    which makes A_0 = 1 at the start. Further layers copy. A small gain forgets.

    A GRU of these units lets all of h pass its gate r, and keeps nothing of h by its gate z.
    """
    S, V = machine.num_states, len(machine.tokens)
    units = [(state, token) for state in range(S) for token in range(V)]
    hidden = S * V + 1
    model = RnnClsNet(V, V, hidden, num_layers, len(machine.classes), cell=cell)
    weights = {name: torch.zeros_like(values) for name, values in model.state_dict().items()}
    weights["embedding.weight"][:V] = torch.eye(V)
    unit_rows = {name: values[-hidden:] for name, values in weights.items()}  # of a GRU, those of n
    leads_to = [int(machine.step(*unit)) for unit in units]
    for unit, (state, token) in enumerate(units):
        is_start = state == 0
        sources = [source for source, target in enumerate(leads_to) if target == state]
        unit_rows["rnn.weight_ih_l0"][unit, token] = gain
        unit_rows["rnn.bias_hh_l0"][unit] = gain * (is_start - 1.5)
        unit_rows["rnn.weight_hh_l0"][unit, -1] = gain * (len(sources) / 2 - is_start)
        unit_rows["rnn.weight_hh_l0"][unit, sources] = gain / 2
        weights["fc.weight"][int(machine.output(leads_to[unit])), unit] = 1
    weights["fc.bias"] = weights["fc.weight"].sum(dim=1)  # a score is 2 if its unit is on, else 0
    unit_rows["rnn.bias_hh_l0"][-1] = gain
    for layer in range(num_layers):
        if layer > 0:
            unit_rows[f"rnn.weight_ih_l{layer}"][:] = gain * torch.eye(hidden)
        if cell == "gru":
            weights[f"rnn.bias_hh_l{layer}"][:hidden] = 30  # r = 1
            weights[f"rnn.bias_hh_l{layer}"][hidden : 2 * hidden] = -30  # z = 0
    model.load_state_dict(weights)
    return model


def build_random(seed, num_layers, max_number=3, hidden=40, cell="rnn"):
    torch.manual_seed(seed)
    model = RnnClsNet(max_number + 1, 10, hidden, num_layers, max_number + 1, cell=cell)
    for values in model.rnn.parameters():
        values.data *= 3
    return model


@torch.enable_grad()  # also within a test of no_grad that is the first to want the net
def train(max_number, hidden, num_layers, steps, penalty, weight_decay, noise, seed=0):
    """A net trained by autograd on lengths 1 to 5."""
    torch.manual_seed(seed)
    model = RnnClsNet(max_number + 1, 8, hidden, num_layers, max_number + 1)
    for weights in model.rnn.all_weights:
        nn.init.orthogonal_(weights[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=weight_decay)
    batches = SeqSumModDataset(None, 1, 5, max_number, seed).draw_batches(0, steps, 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    penalties = Penalties(model)
    for step, batch in enumerate(batches.pack()):
        embedded = model.embedding(batch.tokens.data)
        embedded = embedded + noise * torch.randn(len(embedded), 8)
        scores, found = penalties(batch.tokens._replace(data=embedded))
        contraction = found["contraction"]
        loss = (
            cross_entropy(scores, batch.targets) + penalty * min(1, 2 * step / steps) * contraction
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


@cache
def trained():
    """A net that training with the contraction penalty made provable; do not change it."""
    return train(1, hidden=32, num_layers=1, steps=600, penalty=0.3, weight_decay=0.5, noise=0.2)


@cache
def trained_gru():
    """A GRU of 16 units that training with a contraction penalty made right for tomita_4."""
    with np.load(REPOSITORY / "tests/proof/gru_tomita_4.npz") as file:
        weights = {name: torch.from_numpy(file[name]) for name in file.files}
    model = RnnClsNet(2, 8, 16, 1, 2, cell="gru")
    model.load_state_dict(weights)
    return model


@cache
def trained_proof():
    return prove(trained(), SumModulo(1))


def save(model, folder, machine=None):
    """The model as a run's checkpoint; without a machine its task is the digit sum."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"min_seq_len": 1, "max_seq_len": 5}
    if machine is None:
        config["max_number"] = model.arguments["cls_num"] - 1
        task = {"kind": "digit sum", **config}
    else:
        task = MachineTask("test", machine, range(1, 6), "uniform", 0).record
    path = checkpoint_path(folder, 7)
    save_checkpoint(
        path,
        step=7,
        model=model.arguments,
        weights=model.state_dict(),
        task=task,
        config=config,
        optimizer=None,
        evaluation=None,
        history={},
        elapsed_seconds=0.0,
    )
    return path
