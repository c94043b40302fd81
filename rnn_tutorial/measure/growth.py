"""How the cost of an update grows with the network, the batch and the sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rnn_tutorial.measure.timing import measure_in_turns, seconds_per_unit, summarize
from rnn_tutorial.measure.training import candidate_engines
from rnn_tutorial.model.steps import add_product
from rnn_tutorial.runs.machine import choose_device
from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import TrainConfig

GROWTH = {
    "hidden_dim": (16, 32, 64, 128, 256, 512),
    "num_layers": (1, 2, 4, 8),
    "batch_size": (16, 64, 256, 1024),
    "max_seq_len": (5, 10, 20, 50, 100),
}


def measure_growth(rounds: int, seconds: float) -> dict[str, Any]:
    """Updates per second of each engine as one setting grows; each has `seconds` in a round."""
    base = TrainConfig(hidden_dim=64, batch_size=64, device=choose_device("auto", World()))
    results: dict[str, Any] = {"matmul_gigaflops": measure_matmul(rounds)}
    for setting, values in GROWTH.items():
        results[setting] = {}
        for value in values:
            config = replace(base, **{setting: value})
            times = measure_in_turns(rounds, candidate_engines(config, seconds, at_once=10))
            rates = {engine: summarize([1 / t for t in times[engine]]) for engine in times}
            results[setting][value] = {"flops_per_update": flops_per_update(config), **rates}
    return results


def flops_per_update(config: TrainConfig) -> float:
    """Multiplications and additions in the matrix products of an average update.

    Forward once and backward twice (for the inputs and for the weights), two operations for each
    weight, step and sequence.
    """
    H, E, L, C = config.hidden_dim, config.embed_dim, config.num_layers, config.max_number + 1
    steps = config.batch_size * (config.min_seq_len + config.max_seq_len) / 2
    weights_of_steps = H * (E + H) + (L - 1) * H * (H + H)
    return 3 * 2 * (steps * weights_of_steps + config.batch_size * H * C)


def measure_matmul(rounds: int) -> float:
    """The best rate of a large float32 matrix product in this process, in GFLOP/s.

    PyTorch brings two libraries that multiply, MKL and oneDNN; which is faster depends on the CPU.
    """
    a, b, c = torch.randn(3, 1024, 1024)
    products = (lambda: a @ b, lambda: add_product(c, a, b))
    fastest = min(seconds_per_unit(product)() for product in products for _ in range(3 * rounds))
    return 2 * 1024**3 / fastest / 1e9
