"""Where states go while a thousand digits are read, and how a network comes to lose the sum.

    python -m rnn_tutorial.experiments.drift     train, read, write results/drift.json

It trains what is not kept yet: four networks with three seeds each, some minutes. Then
`python -m rnn_tutorial.experiments render` draws. A *place* is the mean state of one remainder and
one last digit, after three to five digits. Shapes: N sequences, T digits, S vectors of a
state (see model/steps.py), H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.experiments.kept import RESULTS, result_head
from rnn_tutorial.experiments.walk import MAX_TRAINED, train_or_load
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.steps import advance, empty_state
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.provenance import TRAINING_CODE
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

COMMAND = "python -m rnn_tutorial.experiments.drift"
DRIFT = RESULTS / "drift.json"
_CODE = (*TRAINING_CODE, "rnn_tutorial/experiments/drift.py")
NETWORKS = {
    "one layer": ("--recipe", "solved"),
    "two layers": ("--recipe", "solved", "--num_layers", "2"),
    "GRU": ("--recipe", "solved", "--cell", "gru", "--hidden_dim", "72"),
    "LSTM": ("--recipe", "solved", "--cell", "lstm", "--hidden_dim", "62"),
}
TIMES = (3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
SHOWN_TIMES = (5, 20, 1000)  # of the figure
NUM_SEEDS, NUM_SEQUENCES, NUM_POINTS = 3, 300, 150
MODULUS = 10
_NUM_SHORT = 6000  # sequences that the places are found from
_ERROR = 0.01  # of the distance between neighbouring places
_FADING = 10  # digits over which an error is followed


def read(model: RnnClsNet, ids: Tensor, state: Tensor | None = None) -> Iterator[Tensor]:
    """The state, (S, N, H), after each digit of `ids`, (N, T), is read."""
    if state is None:
        state = empty_state(model).expand(-1, len(ids), -1)
    for tokens in ids.T:
        state = advance(model, state, tokens.unsqueeze(0))
        yield state


class Places:
    """The places of a network: means of the top layer's states after three to five digits.

    Attributes:
        means: by remainder and last digit, (10, 10, H).
        unit: distance between neighbours, places of one last digit: the median over all places.
        parity: the direction from odd remainders to even ones, (H, 1).
        fifths: the main directions of the five means by remainder modulo 5, (H, 4).
        middle: of these means, (H,).
    """

    def __init__(self, model: RnnClsNet) -> None:
        ids = draw_digits(1, _NUM_SHORT, MAX_TRAINED)
        hidden = torch.stack([state[-1] for state in read(model, ids)], dim=1)  # (N, T, H)
        used = slice(2, None)
        key = (ids.cumsum(dim=1) % MODULUS * MODULUS + ids)[:, used].flatten()
        flat = hidden[:, used].flatten(0, 1)
        means = torch.stack([flat[key == k].mean(dim=0) for k in range(MODULUS**2)])
        self.means = means.unflatten(0, (MODULUS, MODULUS))
        by_digit = self.means.transpose(0, 1)  # (10, 10, H): places of one last digit in a row
        apart = torch.cdist(by_digit, by_digit)
        apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        self.unit = apart.amin(dim=2).median().item()
        by_remainder = self.means.mean(dim=1)
        parity = by_remainder[::2].mean(dim=0) - by_remainder[1::2].mean(dim=0)
        self.parity = (parity / parity.norm()).unsqueeze(1)
        fifths = by_remainder.unflatten(0, (2, 5)).mean(dim=0)  # r and r + 5 in one
        self.middle = fifths.mean(dim=0)
        _, _, directions = torch.linalg.svd(fifths - self.middle)
        self.fifths = directions[:4].T

    def distances(self, hidden: Tensor, last: Tensor) -> Tensor:
        """From states, (N, H), to the ten places of their last digits, (N,), in units: (N, 10)."""
        places = self.means[:, last].transpose(0, 1)  # (N, 10, H)
        return (hidden.unsqueeze(1) - places).norm(dim=2) / self.unit


def draw_digits(seed: int, num_sequences: int, length: int) -> Tensor:
    """Random sequences, (N, T)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(MODULUS, (num_sequences, length), generator=generator)


@torch.no_grad()
def measure(model: RnnClsNet) -> dict[str, Any]:
    """What happens to the states of one network.

    Returns:
        Plain values: at each of TIMES the distance to the nearest place (the median, and that which
        one state in a hundred exceeds), the mean distance to its own place, and the share answered
        right modulo 2 and 5; what is left of a small error after ten more digits, of two layers
        also by layer and direction; of a gated network, how far its keeping gate is open; and
        points to draw.
    """
    places = Places(model)
    ids = draw_digits(2, NUM_SEQUENCES, max(TIMES))
    remainders = ids.cumsum(dim=1) % MODULUS
    names = ("nearest", "farthest", "own", "modulo_2", "modulo_5")
    found: dict[str, Any] = {name: [] for name in names}
    points = {}
    for t, state in enumerate(read(model, ids), start=1):
        hidden, right = state[-1], remainders[:, t - 1]
        if t in TIMES:
            answers = model.fc(hidden).argmax(dim=1)
            distances = places.distances(hidden, ids[:, t - 1])
            own = distances.gather(1, right.unsqueeze(1))
            nearest = distances.amin(dim=1)
            found["nearest"].append(round(nearest.median().item(), 3))
            found["farthest"].append(round(nearest.quantile(0.99).item(), 3))
            found["own"].append(round(own.mean().item(), 3))
            for p in (2, 5):
                is_right = answers % p == right % p
                found[f"modulo_{p}"].append(is_right.double().mean().item())
        if t in SHOWN_TIMES:
            seen = (hidden[:NUM_POINTS] - places.middle) @ places.fifths[:, :2] / places.unit
            points[str(t)] = [[round(value, 3) for value in point] for point in seen.tolist()]
    found["error_left"] = _median_size(follow_error(model, places))
    if model.rnn.num_layers == 2:
        found["by_layer"] = _by_layer(model, places)
    if model.arguments["cell"] != "rnn":
        found["gate"] = _keeping_gate(model)
    shown = {t: (remainders[:NUM_POINTS, int(t) - 1] % 5).tolist() for t in points}
    return {**found, "points": points, "remainders_modulo_5": shown}


def follow_error(model: RnnClsNet, places: Places, part: int | slice = slice(None)) -> Tensor:
    """What is left of a small random error in the state after five digits, while more are read.

    Args:
        model: of the state.
        places: of the model.
        part: of the S vectors of the state, those that get the error; by default all.

    Returns:
        The error of the top layer after the last digit, relative to its first size, (N, H).
    """
    ids = draw_digits(3, NUM_SEQUENCES, MAX_TRAINED + _FADING)
    *_, state = read(model, ids[:, :MAX_TRAINED])
    error = torch.randn(state.shape, generator=torch.Generator().manual_seed(4))
    size = _ERROR * places.unit
    error *= size / error.norm(dim=2, keepdim=True)
    disturbed = state.clone()
    disturbed[part] += error[part]
    rest = ids[:, MAX_TRAINED:]
    *_, plain = read(model, rest, state)
    *_, other = read(model, rest, disturbed)
    return (other[-1] - plain[-1]) / size


def _by_layer(model: RnnClsNet, places: Places) -> dict[str, float]:
    """Of two layers: what is left of an error in one; of the lower one's also by direction."""
    lower, upper = (follow_error(model, places, layer) for layer in (0, 1))
    # Of the four directions the root mean square, to compare with the one.
    parts = {"parity": lower @ places.parity, "fifths": lower @ places.fifths / 2}
    sizes = {"lower": lower, "upper": upper, **parts}
    return {name: _median_size(error) for name, error in sizes.items()}


def _median_size(error: Tensor) -> float:
    return float(f"{error.norm(dim=1).median().item():.3g}")


def _keeping_gate(model: RnnClsNet) -> dict[str, float]:
    """Of a GRU's z or an LSTM's f, over a hundred digits: the median, and the share above 0.9.

    PyTorch keeps the weights of r, z, n of a GRU, and of i, f, g, o of an LSTM, one below another.
    """
    w_ih, w_hh, b_ih, b_hh = model.rnn.all_weights[0]
    hidden_dim = model.rnn.hidden_size
    second = slice(hidden_dim, 2 * hidden_dim)
    ids = draw_digits(5, NUM_SEQUENCES, 100)
    gates = []
    for t, state in enumerate(read(model, ids[:, :-1]), start=1):  # before digit t is read
        x = model.embedding(ids[:, t])
        gates.append((x @ w_ih.T + b_ih + state[-1] @ w_hh.T + b_hh)[:, second].sigmoid())
    opened = torch.stack(gates)
    return {
        "median": round(opened.median().item(), 3),
        "above_0.9": round((opened > 0.9).double().mean().item(), 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, read and write."""
    CommandLineParser(prog=COMMAND, description=__doc__).parse_args(arguments)
    torch.set_num_threads(1)
    head = result_head(COMMAND, _CODE)
    networks = {}
    for name, flags in NETWORKS.items():
        seeds = []
        for seed in range(NUM_SEEDS):
            seeds.append(measure(train_or_load(*flags, "--seed", str(seed))))
            for key in ("points", "remainders_modulo_5") if seed else ():
                del seeds[-1][key]  # one seed is drawn
        networks[name] = {"flags": " ".join(flags), "seeds": seeds}
    write_json(DRIFT, {**head, "times": TIMES, "networks": networks})
    return 0


if __name__ == "__main__":
    run_command(main)
