"""Faults of a training step outside the network: the graph that it keeps.

from rnn_tutorial.doctor.loop_checks import check_step

def step():
    global hidden
    scores, hidden = net(next(batches), hidden)
    ...
    return loss

print(describe(check_step(step)))
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rnn_tutorial.doctor.findings import Finding

# What PyTorch says about a kept graph; the second, if optimizer.step() ran with retain_graph=True.
_MESSAGES = ("backward through the graph a second time", "modified by an inplace operation")
_NUM_STEPS = 6  # that are tried
_GROWN = 2.0  # a state that keeps its history makes the last of six graphs six times the first


def check_step(step: Callable[[], Tensor]) -> list[Finding]:
    """Make some training steps, and see whether each loss depends on the steps before it.

    Args:
        step: makes one update and returns the loss that it called `backward` on.

    Raises:
        ValueError: step is not a function, or returns no tensor with a graph (such as
            `loss.item()` or `loss.detach()`).
    """
    if not callable(step):
        raise ValueError(
            f"step is of type {type(step).__name__}; allowed is a function that makes a step"
        )
    sizes: list[int] = []
    seen = None
    for _ in range(_NUM_STEPS):
        try:
            loss = step()
        except RuntimeError as error:
            if not any(message in str(error) for message in _MESSAGES):
                raise
            seen = f"step {len(sizes) + 1} went backward through the graph of the step before"
            break
        if not isinstance(loss, Tensor) or loss.grad_fn is None:
            raise ValueError("step must return the loss itself, a tensor with a grad_fn")
        sizes.append(_count_nodes(loss))
    if seen is None and sizes == sorted(set(sizes)) and sizes[-1] >= _GROWN * sizes[0]:
        seen = f"the graph behind the loss grows: {' '.join(map(str, sizes))} nodes"
    if seen is None:
        return []
    finding = Finding(
        "state-not-detached",
        seen,
        "the state of one batch is carried to the next with its history: every step goes back "
        "through all steps before it, and needs more and more time and memory",
        "hidden = hidden.detach() between batches (for an LSTM both tensors), or start each batch "
        "from zeros; never retain_graph=True",
    )
    return [finding]


def _count_nodes(loss: Tensor) -> int:
    """Number of operations that a loss was computed by."""
    known, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in known:
            known.add(node)
            waiting += [earlier for earlier, _ in node.next_functions]
    return len(known)
