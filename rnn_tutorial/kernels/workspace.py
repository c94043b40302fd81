"""Where a batch is computed: sizes, and arrays that are made once for many batches.

Shapes: see update.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sizes(NamedTuple):
    """The sizes of a model."""

    V: int
    E: int
    H: int
    G: int
    L: int
    C: int


class Workspace(NamedTuple):
    """What every cell needs; its own is in its trace. For batches of at most M valid steps."""

    gradients: np.ndarray  # of all parameters, flat
    ids: np.ndarray  # (M,)
    machine_states: np.ndarray  # (M,)
    groups: np.ndarray  # which steps have states that should be alike, (M,)
    starts: np.ndarray  # (T + 1,)
    ends: np.ndarray  # each row's last valid step, (N,)
    embedded: np.ndarray  # (M, E)
    last: np.ndarray  # the states that are classified, (N, H)
    logits: np.ndarray  # (N, C)
    d_logits: np.ndarray  # (N, C)
    d_last: np.ndarray  # (N, H)
    d_states: np.ndarray  # (M, H)
    d_inputs: np.ndarray  # (M, H); takes turns with d_states from layer to layer
    d_by_id: np.ndarray  # (V + 1, G·H)

    @classmethod
    def make(cls, sizes: Sizes, M: int, N: int, T: int, parameters: np.ndarray) -> Workspace:
        """Workspace for N rows of at most T steps, M in all."""
        V, E, H, G, _, C = sizes
        positions = [np.empty(size, np.int64) for size in (M, M, M, T + 1, N)]
        shapes = (M, E), (N, H), (N, C), (N, C), (N, H), (M, H), (M, H), (V + 1, G * H)
        numbers = [np.empty(shape, parameters.dtype) for shape in shapes]
        return cls(np.empty_like(parameters), *positions, *numbers)

    def fits(self, M: int, N: int, T: int) -> bool:
        """True if batches of N rows and at most T steps, M in all, can be computed here."""
        return len(self.ids) >= M and len(self.ends) == N and len(self.starts) > T
