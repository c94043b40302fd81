"""The same training step in JAX and in Keras, in one run with the textbook loop and our engines.

    python -m pip install jax==0.10.2 keras==3.15.1
    python -m rnn_tutorial.experiments.peers

Nothing else needs these packages. JAX draws its batches inside the compiled function and makes 100
updates a call, which is the fastest form that we found for it; Keras trains on ready batches, one
call an update. Every candidate computes with one thread. Writes results/peers.json; then
`python -m rnn_tutorial.experiments render` writes the table.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch

from rnn_tutorial.experiments.kept import RESULTS, result_head
from rnn_tutorial.measure.textbook import textbook_loop
from rnn_tutorial.measure.timing import (
    compare_to,
    measure_in_turns,
    print_comparison,
    seconds_per_update,
)
from rnn_tutorial.measure.training import BENCHMARKS, engine_steps
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.provenance import TRAINING_CODE
from rnn_tutorial.runs.terminal import CommandLineParser, run_command
from rnn_tutorial.settings.config import TrainConfig

COMMAND = "python -m rnn_tutorial.experiments.peers"
_ROUNDS = 9  # how often all take turns
_CODE = (*TRAINING_CODE, "rnn_tutorial/measure", "rnn_tutorial/experiments/peers.py")


def jax_steps(config: TrainConfig) -> Iterator[int]:
    """Train in JAX, many updates in one compiled lax.scan; yields the number made."""
    import jax
    import jax.numpy as jnp

    at_once = 100  # updates a call
    N, T, H, L = config.batch_size, config.max_seq_len, config.hidden_dim, config.num_layers
    C = config.max_number + 1

    def uniform(key: Any, bound: float, *shape: int) -> Any:
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    def initial_parameters(key: Any) -> dict[str, Any]:
        keys = iter(jax.random.split(key, 4 * L + 3))
        bound = 1 / math.sqrt(H)
        sizes = [config.embed_dim] + [H] * (L - 1)
        return {
            "embedding": jax.random.normal(next(keys), (C, config.embed_dim)),
            "layers": [
                {
                    "w_ih": uniform(next(keys), bound, size, H),
                    "w_hh": uniform(next(keys), bound, H, H),
                    "b_ih": uniform(next(keys), bound, H),
                    "b_hh": uniform(next(keys), bound, H),
                }
                for size in sizes
            ],
            "fc": {"w": uniform(next(keys), bound, H, C), "b": uniform(next(keys), bound, C)},
        }

    def draw(key: Any) -> tuple[Any, Any, Any]:
        of_lengths, of_digits = jax.random.split(key)
        lengths = jax.random.randint(of_lengths, (N,), config.min_seq_len, T + 1)
        x = jax.random.randint(of_digits, (T, N), 0, C)
        targets = jnp.where(jnp.arange(T)[:, None] < lengths, x, 0).sum(0) % C
        return x, lengths, targets

    def loss_of(parameters: Any, x: Any, lengths: Any, targets: Any, key: Any) -> Any:
        inputs = parameters["embedding"][x]  # (T, N, E)
        if config.embed_noise:
            inputs += config.embed_noise * jax.random.normal(key, inputs.shape)
        for layer in parameters["layers"]:
            projected = inputs @ layer["w_ih"] + layer["b_ih"] + layer["b_hh"]  # (T, N, H)
            h, states = jnp.zeros((N, H)), []
            for t in range(T):
                h = jnp.tanh(projected[t] + h @ layer["w_hh"])
                states.append(h)
            inputs = jnp.stack(states)
        last = inputs[lengths - 1, jnp.arange(N)]  # (N, H)
        scores = last @ parameters["fc"]["w"] + parameters["fc"]["b"]
        return -jax.nn.log_softmax(scores)[jnp.arange(N), targets].mean()

    def update(carry: Any, key: Any) -> tuple[Any, Any]:
        parameters, first, second, step = carry
        of_batch, of_noise = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(parameters, *draw(of_batch), of_noise)
        tree = jax.tree_util.tree_map
        if config.max_grad_norm:
            norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree_util.tree_leaves(gradients)))
            scale = jnp.minimum(1.0, config.max_grad_norm / (norm + 1e-6))
            gradients = tree(lambda g: g * scale, gradients)
        progress = step / config.total_steps
        lr = config.min_lr + (config.lr - config.min_lr) * (1 + jnp.cos(jnp.pi * progress)) / 2
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        step += 1
        parameters = tree(
            lambda p, m, v: (
                p * (1 - lr * config.weight_decay)
                - lr * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8)
            ),
            parameters,
            first,
            second,
        )
        return (parameters, first, second, step), loss

    @jax.jit
    def many_updates(carry: Any, key: Any) -> tuple[Any, Any]:
        return jax.lax.scan(update, carry, jax.random.split(key, at_once))

    key = jax.random.key(config.seed)
    parameters = initial_parameters(key)
    zeros = jax.tree_util.tree_map(jnp.zeros_like, parameters)
    carry = (parameters, zeros, zeros, jnp.float32(0))
    for call in itertools.count(1):
        carry, losses = many_updates(carry, jax.random.fold_in(key, call))
        losses.block_until_ready()
        yield call * at_once


def keras_steps(config: TrainConfig) -> Iterator[int]:
    """Train in Keras on the JAX backend, one train_on_batch an update; yields the number made."""
    import keras

    from rnn_tutorial.tasks.choose import make_task

    C = config.max_number + 1
    layers: list[Any] = [keras.layers.Embedding(C + 1, config.embed_dim, mask_zero=True)]
    if config.embed_noise:
        layers.append(keras.layers.GaussianNoise(config.embed_noise))
    for layer in range(config.num_layers):
        is_last = layer == config.num_layers - 1
        layers.append(keras.layers.SimpleRNN(config.hidden_dim, return_sequences=not is_last))
    layers.append(keras.layers.Dense(C))
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.AdamW(
            config.lr,
            weight_decay=config.weight_decay,
            global_clipnorm=config.max_grad_norm or None,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batches = make_task(config).dataset.draw_batches(0, 64, config.batch_size)
    x = ((batches.x + 1) % (C + 1)).numpy()  # Keras masks id 0, at the end of a row
    targets = batches.targets.numpy()
    for step in itertools.count():
        model.train_on_batch(x[step % 64], targets[step % 64])
        yield step + 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all candidates on A, B and C; returns the exit status."""
    parser = CommandLineParser(prog=COMMAND, description=__doc__)
    parser.parse_args(arguments)
    torch.set_num_threads(1)
    head = result_head(COMMAND, _CODE)
    # JAX and Keras read them when they are imported, which is later.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["KERAS_BACKEND"] = "jax"
    results = {}
    for name, config in BENCHMARKS.items():
        config = replace(config, device="cpu")
        candidates = {
            "textbook": textbook_loop(config),
            "autograd": engine_steps(config, "autograd"),
            "compiled": engine_steps(config, "compiled"),
            "JAX, lax.scan of 100": jax_steps(config),
            "Keras on JAX": keras_steps(config),
        }
        measured = {which: seconds_per_update(steps, 0.4) for which, steps in candidates.items()}
        results[name] = compare_to(measure_in_turns(_ROUNDS, measured), "textbook")
    print_comparison("Training step", results, "µs per update", 1e6)
    packages = {name: version(name) for name in ("jax", "jaxlib", "keras")}
    write_json(RESULTS / "peers.json", {**head, "peers": packages, "step": results})
    return 0


if __name__ == "__main__":
    run_command(main)
