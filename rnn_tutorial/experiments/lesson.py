"""What the lessons measure in less than a minute: packing, gradients, one session of commands.

    python -m rnn_tutorial.experiments.lesson           measure and write results/lesson.json
    python -m rnn_tutorial.experiments.lesson --quick   the same in seconds; writes nothing

Then `python -m rnn_tutorial.experiments render` writes tables and figures anew. Times are true only
on a machine that does nothing else.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_tutorial.experiments.kept import RESULTS, launch, result_head
from rnn_tutorial.measure.timing import measure_in_turns, seconds_per_update, summarize
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.prompt import answer_prompt
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.folder import find_checkpoint
from rnn_tutorial.runs.provenance import REPOSITORY, TRAINING_CODE
from rnn_tutorial.runs.terminal import CommandLineParser, run_command
from rnn_tutorial.settings.config import TrainConfig

COMMAND = "python -m rnn_tutorial.experiments.lesson"
_CODE = (
    *(*TRAINING_CODE, "rnn_tutorial/prediction", "rnn_tutorial/measure"),
    *("predict_cls_rnn.py", "rnn_tutorial/evaluate.py", "rnn_tutorial/experiments/lesson.py"),
)
_SOLVED = TrainConfig.from_flags({"recipe": "solved"})
EMBED_DIM, HIDDEN_DIM = _SOLVED.embed_dim, _SOLVED.hidden_dim

# ---- packing ----


def packing_cases() -> dict[str, Tensor]:
    """Lengths of four batches, from no padding to almost nothing else."""
    generator = torch.Generator().manual_seed(0)
    one_long = torch.randint(1, 11, (64,), generator=generator)
    one_long[0] = 100
    return {
        "64 rows, all of length 100": torch.full((64,), 100),
        "64 rows of length 1 to 100": torch.randint(1, 101, (64,), generator=generator),
        "one row of length 100, 63 of 1 to 10": one_long,
        "256 rows of length 1 to 5": torch.randint(1, 6, (256,), generator=generator),
    }


def compare_packing(rounds: int, seconds: float) -> dict[str, Any]:
    """Forward and backward of one nn.RNN over each batch, padded and packed, in turns.

    Both give the last valid state of each row: the padded way gathers it from `output`.
    """
    torch.manual_seed(0)
    rnn = nn.RNN(EMBED_DIM, HIDDEN_DIM, batch_first=True)
    results = {}
    for name, lengths in packing_cases().items():
        x = torch.randn(len(lengths), int(lengths.max()), EMBED_DIM)

        def padded(x: Tensor = x, lengths: Tensor = lengths) -> None:
            output, _ = rnn(x)
            output[torch.arange(len(lengths)), lengths - 1].sum().backward()

        def packed(x: Tensor = x, lengths: Tensor = lengths) -> None:
            sequences = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, h_n = rnn(sequences)
            h_n[-1].sum().backward()

        ways = {"padded": padded, "packed": packed}
        times = measure_in_turns(
            rounds, {way: seconds_per_update(repeat(work), seconds) for way, work in ways.items()}
        )
        ratios = [b / a for a, b in zip(times["padded"], times["packed"], strict=True)]
        results[name] = {
            "padding": 1 - float(lengths.sum()) / (x.shape[0] * x.shape[1]),
            **{way: summarize(measured) for way, measured in times.items()},
            "ratio": summarize(ratios),
        }
    return results


def repeat(work: Callable[[], None]) -> Iterator[int]:
    """Do a piece of work again and again; yields how often so far."""
    for count in itertools.count(1):
        work()
        yield count


# ---- gradients ----


def make_nets() -> dict[str, Callable[[], nn.RNNBase]]:
    """Recurrent nets that differ in what multiplies a gradient on its way back."""

    def scaled(gain: float) -> nn.RNN:
        rnn = nn.RNN(EMBED_DIM, HIDDEN_DIM, batch_first=True)
        nn.init.orthogonal_(rnn.weight_hh_l0, gain)
        return rnn

    def remembering(forget_bias: float) -> nn.LSTM:
        lstm = nn.LSTM(EMBED_DIM, HIDDEN_DIM, batch_first=True)
        with torch.no_grad():  # gates in PyTorch's order: input, forget, cell, output
            lstm.bias_ih_l0[HIDDEN_DIM : 2 * HIDDEN_DIM] += forget_bias
        return lstm

    return {
        "RNN": lambda: nn.RNN(EMBED_DIM, HIDDEN_DIM, batch_first=True),
        "RNN, orthogonal": lambda: scaled(1),
        "RNN, 1.5 × orthogonal": lambda: scaled(1.5),
        "RNN, 2 × orthogonal": lambda: scaled(2),
        "GRU": lambda: nn.GRU(EMBED_DIM, HIDDEN_DIM, batch_first=True),
        "LSTM": lambda: nn.LSTM(EMBED_DIM, HIDDEN_DIM, batch_first=True),
        "LSTM, forget bias 1": lambda: remembering(1),
        "LSTM, forget bias 3": lambda: remembering(3),
    }


def gradient_norms(make_net: Callable[[], nn.RNNBase], seed: int, num_steps: int) -> Tensor:
    """How much the loss at the last step feels the input of each step, the last step first.

    Returns:
        Mean over a batch of the 2-norm of the gradient with respect to the input, float64, (T,).
    """
    torch.manual_seed(seed)
    net, fc = make_net().double(), nn.Linear(HIDDEN_DIM, 10).double()
    x = torch.randn(32, num_steps, EMBED_DIM, dtype=torch.float64, requires_grad=True)  # (N, T, E)
    output, _ = net(x)  # (N, T, H)
    targets = torch.randint(10, (32,))
    cross_entropy(fc(output[:, -1]), targets, reduction="sum").backward()
    return x.grad.norm(dim=2).mean(dim=0).flip(0)


def measure_gradients(num_seeds: int, num_steps: int = 50) -> dict[str, Any]:
    """Gradient norms of each net by age of the input: median, minimum and maximum over seeds."""
    nets = {}
    for name, make_net in make_nets().items():
        by_seed = [gradient_norms(make_net, seed, num_steps).tolist() for seed in range(num_seeds)]
        nets[name] = {
            key: [float(f"{function(norms):.4g}") for norms in zip(*by_seed, strict=True)]
            for key, function in (("median", statistics.median), ("min", min), ("max", max))
        }
    return {"num_seeds": num_seeds, "nets": nets}


def trace_forget_gate(num_seeds: int, num_steps: int = 50) -> dict[str, Any]:
    """Why an LSTM whose forget gate starts open does not lose its gradient: two measurements.

    Returns:
        For each forget bias, over seeds: `through_c`, the share of the gradient of the loss with
        respect to the last cell state that arrives at the first one if the way through h is cut;
        `radius`, the largest absolute eigenvalue of the Jacobian of one more step, which reads the
        last input again, (2H, 2H), with both ways open.
    """
    traced = {}
    for bias, name in ((1, "LSTM, forget bias 1"), (3, "LSTM, forget bias 3")):
        by_seed = [_trace_cell(make_nets()[name], seed, num_steps) for seed in range(num_seeds)]
        shares, radii = zip(*by_seed, strict=True)
        traced[str(bias)] = {"through_c": summarize(shares), "radius": summarize(radii)}
    return traced


def _trace_cell(
    make_net: Callable[[], nn.RNNBase], seed: int, num_steps: int
) -> tuple[float, float]:
    """The share through c and the radius of one seed; see `trace_forget_gate`."""
    torch.manual_seed(seed)
    lstm, fc = make_net().double(), nn.Linear(HIDDEN_DIM, 10).double()
    cell = nn.LSTMCell(EMBED_DIM, HIDDEN_DIM).double()
    cell.load_state_dict(
        {name.removesuffix("_l0"): weight for name, weight in lstm.state_dict().items()}
    )
    x = torch.randn(num_steps, 32, EMBED_DIM, dtype=torch.float64)  # (T, N, E)
    h = c = torch.zeros(32, HIDDEN_DIM, dtype=torch.float64)
    cells = []
    for x_t in x:
        h, c = cell(x_t, (h.detach(), c))
        cells.append(c)
    loss = cross_entropy(fc(h), torch.randint(10, (32,)))
    first, last = (
        gradient.norm(dim=1).mean() for gradient in torch.autograd.grad(loss, (cells[0], cells[-1]))
    )

    def step(state: Tensor) -> Tensor:
        return torch.cat(cell(x[-1, 0], tuple(state.chunk(2))))

    state = torch.cat([h[0], c[0]]).detach()
    eigenvalues = torch.linalg.eigvals(torch.autograd.functional.jacobian(step, state))
    return (first / last).item(), eigenvalues.abs().max().item()


# ---- one session ----

TYPED = ("1 2 3", "9,9,9,9", "7", "12", "3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3", "quit")


def converse(predictor: Predictor, typed: Sequence[str]) -> list[str]:
    """What the prompt of predict_cls_rnn.py and a person write, line by line."""
    rest, screen = iter(typed), io.StringIO()

    def read(prompt: str) -> str:
        text = next(rest)
        print(prompt + text)
        return text

    with contextlib.redirect_stdout(screen), mock.patch("builtins.input", read):
        answer_prompt(predictor, as_json=False)
    return screen.getvalue().splitlines()


FIRST = 'python predict_cls_rnn.py --input "3 1 4 1 5 9"'
EVALUATION = (
    "python -m rnn_tutorial.evaluate output/solved --lengths 5 10 20 50 100 200 500 1000 10000"
)


def record_session(*flags: str) -> dict[str, Any]:
    """Train as the README says, from start to exit, ask, and evaluate."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SWANLAB")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    with tempfile.TemporaryDirectory() as folder:

        def run(*arguments: str) -> list[str]:
            return launch(*arguments, folder=folder, variables=environment).splitlines()

        started = time.perf_counter()
        training = run("train_cls_rnn.py", "--recipe", "solved", *flags)
        seconds = time.perf_counter() - started
        _, script, *asked = shlex.split(FIRST)
        first = run(script, *asked)
        lines = run(*EVALUATION.split()[2:])
        checkpoint = load_checkpoint(find_checkpoint(str(Path(folder, "output"))))
    # As it is named for a person who trained in the current folder.
    predictor = Predictor(replace(checkpoint, path=checkpoint.path.relative_to(folder)))
    return {
        "seconds": seconds,
        "training": training,
        "first": {"command": FIRST, "lines": first},
        "prediction": converse(predictor, TYPED),
        "evaluation": {"command": EVALUATION, "lines": lines},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = CommandLineParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rounds; writes nothing")
    flags = parser.parse_args(arguments)
    torch.set_num_threads(1)
    quickly = ("--total_steps", "20", "--warmup_step", "5", "--tracker", "disabled")
    results = {
        **result_head(COMMAND, _CODE),
        "packing": compare_packing(*((2, 0.01) if flags.quick else (15, 0.15))),
        "gradients": measure_gradients(1 if flags.quick else 20),
        "forget_gate": trace_forget_gate(1 if flags.quick else 20),
        "session": record_session(*(quickly if flags.quick else ())),
    }
    if not flags.quick:
        write_json(RESULTS / "lesson.json", results)
    return 0


if __name__ == "__main__":
    run_command(main)
