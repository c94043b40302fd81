"""Write one or two networks as a web page to play with: type tokens, and watch them being read.

    python -m rnn_tutorial.page output/solved
    python -m rnn_tutorial.page output/solved output/sota_warmup --output compare.html

The page is one file. It holds the weights, needs no connection, and computes every step in the
browser: embedding, hidden state, scores, and the state of the machine beside them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.model.classifier import RnnClsNet, count_parameters
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.pictures.machine_places import find_view, state_places
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.files import check_place, write_atomically
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, shown
from rnn_tutorial.tasks.choose import load_task
from rnn_tutorial.tasks.reading import ALSO_TYPED
from rnn_tutorial.tasks.task import Task, require_machine

_SOURCE = Path(__file__).parent / "page_source"
_MOST_BYTES = 1_000_000
_NUM_STATES, _NUM_POINTS = 2000, 400  # hidden states of which a view is made, and small dots
_EXAMPLE = (3, 9, 4, 1, 5, 9, 2, 6)  # tokens, modulo their number


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page that the command line asks for; returns the exit status."""
    parser = CommandLineParser(prog="python -m rnn_tutorial.page", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder, a folder of runs, or a file")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="a second run, shown beside it")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the page (default: page.html in RUN's folder)"
    )
    flags = parser.parse_args(arguments)
    with parser.exit_on_bad_input():
        checkpoints = [load_run(run) for run in (flags.run, flags.other) if run is not None]
        path = flags.output or checkpoints[0].path.parent / "page.html"
        if path.suffix.lower() not in (".html", ".htm"):  # no checkpoint is lost by a slip
            raise ValueError(f"--output {str(path)!r} does not end in .html")
        check_place(path, "--output")
        text = make_page(checkpoints).encode()
        if len(text) > _MOST_BYTES:
            raise ValueError(
                f"the page would have {len(text):,} bytes; at most {_MOST_BYTES:,} are allowed, "
                "which hold some 180,000 weights"
            )
        write_atomically(path, text)
    print(f"Wrote {shown(path)}. Open it in a browser.")
    return 0


def make_page(checkpoints: Sequence[Checkpoint]) -> str:
    """The HTML of a page with the networks of one or two checkpoints.

    Raises:
        ValueError: a network cannot be shown step by step, or they were trained on different tasks.
    """
    networks = [(checkpoint, load_task(checkpoint)) for checkpoint in checkpoints]
    for checkpoint, task in networks:
        require_machine(task, "a page", checkpoint.path)
    rules = [_rule(task) for _, task in networks]
    if rules[0] != rules[-1]:
        first, second = (str(checkpoint.path) for checkpoint in checkpoints)
        raise ValueError(f"{second!r} was trained on a different task from {first!r}")
    tokens = rules[0]["tokens"]
    data = {
        **rules[0],
        "aliases": ALSO_TYPED,
        "example": [token % len(tokens) for token in _EXAMPLE],
        "runs": [_describe_run(checkpoint, task) for checkpoint, task in networks],
    }
    names = " and ".join(run["name"] for run in data["runs"])
    parts = {
        "title": escape(f"Watch {names} read"),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        **{p.name: p.read_text(encoding="utf-8").rstrip() for p in _SOURCE.glob("[!.]*.*")},
    }
    page = parts.pop("page.html")
    return re.sub(r"\{\{([\w.]+)\}\}", lambda place: parts[place[1]], page) + "\n"


def _rule(task: Task) -> dict[str, Any]:
    """What makes an answer right: the tables of the machine, and their names.

    Raises:
        ValueError: the tables are too large for a page.
    """
    machine = task.machine
    if 2 * machine.num_states * len(machine.tokens) > _MOST_BYTES:  # a digit and a comma each
        raise ValueError(
            f"a page holds the table of the machine, and one of {machine.num_states:,} states and "
            f"{len(machine.tokens):,} tokens is too large"
        )
    successors, outputs = machine.tables()
    rule = (
        f"the sum modulo {machine.num_states}" if machine.is_sum else f"what {task.source} answers"
    )
    are_characters = all(len(name) == 1 for name in machine.tokens)
    return {
        "tokens": machine.tokens,
        "classes": machine.classes,
        "joined": are_characters and not machine.is_sum,  # digits are typed apart
        "machine": {"successors": successors.tolist(), "outputs": outputs.tolist()},
        "task": f"Type a sequence and step through it. The right answer is {rule}.",
    }


def _describe_run(checkpoint: Checkpoint, task: Task) -> dict[str, Any]:
    """A network for the page: what it is called, its weights, and where its hidden states lie."""
    model = load_model(checkpoint)
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
        raise ValueError(f"{str(checkpoint.path)!r} has weights that are not finite numbers")
    arguments, weights = model.arguments, f"{count_parameters(model):,} weights"
    return {
        "name": shown(checkpoint.path.resolve().parent.name),
        "about": f"{checkpoint.path.name}: {weights}, trained on {task.trained_on}",
        "cell": _cell(model, checkpoint.path),
        **{name: arguments[name] for name in ("num_layers", "hidden_dim", "embed_dim")},
        "weights": {name: _encode(tensor) for name, tensor in model.state_dict().items()},
        "clusters": _find_clusters(model, task),
    }


def _find_clusters(model: RnnClsNet, task: Task) -> dict[str, Any]:
    """A flat view of the top layer's states, in which those of each machine state lie together.

    They are the states after training sequences. The view takes each machine state near its place
    on a circle, as far as a linear map can.
    """
    machine = task.machine
    batches = task.dataset.draw_batches(first=0, count=1, batch_size=_NUM_STATES)
    x, lengths = batches.x[0].numpy(), batches.seq_lengths[0].numpy()
    flat = x[x < len(machine.tokens)]  # without padding
    hidden = Scorer(model).final_states(flat, lengths)[-1].numpy().astype(np.float64)
    states = machine.final_states(flat, lengths)
    places = state_places(machine)
    directions, middle = find_view(hidden, places[states])
    points = (hidden - middle) @ directions
    every = max(1, len(points) // _NUM_POINTS)  # the batch is sorted by length
    means = (points[states == state] for state in range(machine.num_states))
    return {
        "middle": middle.tolist(),
        "directions": directions.T.tolist(),
        "points": points[::every].round(3).tolist(),
        "states": states[::every].tolist(),
        "centres": [each.mean(axis=0).round(3).tolist() if len(each) else None for each in means],
    }


def _cell(model: RnnClsNet, path: Path) -> str:
    """The name of the cell in network.js; ValueError if the page cannot compute the network."""
    arguments = model.arguments
    can_be_shown = model.has_state and not (arguments["layer_norm"] or arguments["residual"])
    if not can_be_shown:
        raise ValueError(
            f"{str(path)!r} cannot be shown step by step: a page computes stacks of nn.RNN, nn.GRU "
            "or nn.LSTM in one direction, read at the last step, without layer norms or residual "
            "connections"
        )
    is_relu = arguments["cell"] == "rnn" and arguments["nonlinearity"] == "relu"
    return "relu" if is_relu else arguments["cell"]


def _encode(tensor: Any) -> str:
    """The values of a tensor, float32, little-endian, row by row, as base64."""
    return base64.b64encode(tensor.cpu().numpy().astype("<f4").tobytes()).decode("ascii")


if __name__ == "__main__":
    run_command(main)
