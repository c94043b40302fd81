"""States of trained networks, from which the figures of the walk and of the automata are drawn.

    python -m rnn_tutorial.experiments.walk     train, visit states, write results/states.json

It trains what is not kept yet: the recipes solved, sota_warmup and certified, and
certified for two other machines; a minute or two. Then `python -m rnn_tutorial.experiments render`
draws. Shapes: P states, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from rnn_tutorial.evaluation.automaton import Automaton, find_automaton
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.experiments.kept import RESULTS, make_once, result_head, run_folder, train
from rnn_tutorial.machines.choose import find_machine
from rnn_tutorial.machines.digit_sum import SumModulo, label
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.pictures.machine_places import find_view, remainder_places
from rnn_tutorial.runs.files import read_json, write_json
from rnn_tutorial.runs.provenance import TRAINING_CODE, code_version
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

COMMAND = "python -m rnn_tutorial.experiments.walk"
STATES = RESULTS / "states.json"
_CODE = (*TRAINING_CODE, "rnn_tutorial/experiments/walk.py")
WALKERS = ("solved", "sota_warmup")
MACHINES = {"certified": None, "tomita_3": "tomita_3", "cycle_navigation": "cycle_navigation"}
NUM_DIGITS = 18  # of the walk
MAX_TRAINED = 5  # of the trained lengths
_NUM_POINTS = 500  # of a figure


def walk_digits() -> np.ndarray:
    """What the networks read: 3 9 4, and then any digits."""
    return np.append([3, 9, 4], np.random.default_rng(0).integers(0, 10, NUM_DIGITS - 3))


def follow(model: RnnClsNet, digits: np.ndarray) -> dict[str, Any]:
    """A view of states after short sequences, and the way of the state while digits are read."""
    scorer = Scorer(model)
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, MAX_TRAINED + 1, 2000)
    ids = generator.integers(0, 10, lengths.sum())
    remainders = np.array([label(row, 9) for row in np.split(ids, np.cumsum(lengths)[:-1])])
    hidden = scorer.final_states(ids, lengths)[-1].numpy().astype(np.float64)
    view, middle = find_view(hidden, remainder_places(10)[remainders])
    prefixes = np.concatenate([digits[:t] for t in range(1, len(digits) + 1)])
    ages = np.arange(1, len(digits) + 1)
    walked = scorer.final_states(prefixes, ages)[-1].numpy().astype(np.float64)
    points, path = ((h - middle) @ view for h in (hidden[:_NUM_POINTS], walked))
    return {
        "points": points.round(3).tolist(),
        "remainders": remainders[:_NUM_POINTS].tolist(),
        "path": path.round(3).tolist(),
        "answers": scorer.classify(prefixes, ages)[0].tolist(),
    }


def machine_of(name: str) -> Machine:
    """The machine that a run of MACHINES was trained on."""
    return SumModulo(9) if MACHINES[name] is None else find_machine(MACHINES[name])[0]


def load_automaton(name: str) -> Automaton:
    """An automaton of the result file."""
    recorded = read_json(STATES)["automata"][name]
    arrays = {key: np.array(recorded[key]) for key in ("table", "points", "states", "centres")}
    shares = {int(period): share for period, share in recorded["period_shares"].items()}
    return Automaton(machine_of(name), **{**recorded, **arrays, "period_shares": shares})


def _as_recorded(automaton: Automaton) -> dict[str, Any]:
    """An automaton without its machine as plain values, with as many points as a figure shows."""
    names = [field.name for field in fields(automaton) if field.name != "machine"]
    return {
        **{name: getattr(automaton, name) for name in names},
        "table": automaton.table.tolist(),
        "points": automaton.points[:_NUM_POINTS].round(3).tolist(),
        "states": automaton.states[:_NUM_POINTS].tolist(),
        "centres": automaton.centres.round(3).tolist(),
    }


def train_or_load(*flags: str) -> RnnClsNet:
    """The network that train_cls_rnn.py trains with these flags; an earlier, equal run is kept."""
    run = run_folder(flags, code_version()) / "run"
    make_once(run.parent, lambda: {"seconds": train(run, "train_cls_rnn.py", *flags)})
    return load_model(load_run(str(run)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, visit and write."""
    CommandLineParser(prog=COMMAND, description=__doc__).parse_args(arguments)
    torch.set_num_threads(1)
    head = result_head(COMMAND, _CODE)
    digits = walk_digits()
    automata = {}
    for name, task in MACHINES.items():
        model = train_or_load("--recipe", "certified", *(["--task", task] if task else []))
        automata[name] = _as_recorded(find_automaton(model, machine_of(name)))
    results = {
        **head,
        "digits": digits.tolist(),
        "walks": {name: follow(train_or_load("--recipe", name), digits) for name in WALKERS},
        "automata": automata,
    }
    write_json(STATES, results)
    return 0


if __name__ == "__main__":
    run_command(main)
