"""What is noted of a training loop: its weights, its steps, the nodes of its graphs."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


@dataclass(eq=False)
class Weight:
    """A tensor that needs a gradient, and what became of it and of its `.grad`."""

    tensor: Tensor
    value: Tensor  # when last looked at
    first_step: int  # in which it was used
    is_lasting: bool = False  # used in later steps too, or given by the user
    gradient: Tensor | None = None  # after the last backward that reached it
    is_fresh: bool = False  # a gradient was made, and no update has used it
    is_stored: bool = False  # by backward, which adds it to .grad, and not by autograd.grad
    is_used: bool = False  # .grad holds what an update has used already
    is_mixed: bool = False  # .grad is a sum of both
    is_replaced: bool = False  # an unused .grad was zeroed, and another one made
    has_moved: bool = False  # since the last backward
    num_gradients: int = 0
    num_updates: int = 0
    num_mixed: int = 0  # updates by a mixed gradient
    num_held: int = 0  # steps of an optimizer that holds it
    num_lost: int = 0  # of them, those that came after its gradient was zeroed

    def expect_gradient(self, is_update_over: bool) -> None:
        """Look at .grad before a backward: what an update has used, or was zeroed unused."""
        has_gradient = is_nonzero(self.tensor.grad)
        is_lost = self.is_fresh and self.is_stored and not has_gradient
        self.is_replaced |= is_lost and not is_update_over
        self.is_used = has_gradient and (self.is_used or self.has_moved)
        self.has_moved = False

    def note_gradient(self, gradient: Tensor, is_stored: bool) -> None:
        """Note what backward or autograd.grad made."""
        self.gradient = gradient.detach().to_dense().clone()
        self.is_fresh, self.is_stored = True, is_stored
        self.is_mixed = is_stored and self.is_used
        self.num_gradients += 1

    def expect_update(self) -> None:
        """Look at .grad before an optimizer's step: is it what backward made?"""
        gradient = self.tensor.grad
        if not is_nonzero(gradient):
            self.num_lost += self.is_fresh and self.is_stored
        elif self.is_replaced:  # clipping changes its length only
            along = float((gradient.to_dense() * self.gradient).sum())
            sizes = squared_norm(gradient) * squared_norm(self.gradient)
            self.num_lost += along > 0.99 * math.sqrt(sizes)
        self.num_held += 1
        self.is_fresh = self.is_replaced = False

    def settle(self) -> Tensor | None:
        """How it has moved since the last look, or None."""
        value = self.tensor.detach()
        if value.shape != self.value.shape or torch.equal(value, self.value):
            return None
        update, self.value = value - self.value, value.clone()
        self.num_updates += 1
        self.num_mixed += self.is_mixed
        self.has_moved, self.is_fresh, self.is_mixed = True, False, False
        return update


@dataclass(eq=False)
class Mark:
    """Lies in a node of a graph and dies with it."""

    step: int
    was_passed: bool = False  # by a backward


@dataclass
class Step:
    """One call of the user's step. Norms are squared, and taken over all weights."""

    losses: list[float] = field(default_factory=list)  # of backward, then the one returned
    update: float = 0.0
    gradient: float = 0.0
    along: float = 0.0  # update times gradient: above 0, the loss is climbed
    length: float = 0.0
    # The learning rates of an optimizer's updates, by its first parameter.
    rates: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    reached: float = math.inf  # the earliest step whose graph was gone through again
    inputs: list[Tensor] = field(default_factory=list)  # data that meet parameters
    places: list[int] = field(default_factory=list)  # of the memory, where they lie
    is_repeated: bool = False  # they are equal to those of the first step
    marks: weakref.WeakSet = field(default_factory=weakref.WeakSet)  # of graphs still alive
    random_states: tuple[str, ...] = ()  # of the global generators, afterwards

    def add(self, update: Tensor, gradient: Tensor | None) -> None:
        self.update += squared_norm(update)
        if gradient is not None:
            self.gradient += squared_norm(gradient)
            self.along += float((update * gradient.conj()).real.sum())


def held_by(optimizer: Optimizer) -> list[Tensor]:
    """The tensors that an optimizer moves."""
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]


def tensors_in(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among some arguments, and in lists among them."""
    flat = [v for value in values for v in (value if isinstance(value, list | tuple) else [value])]
    return [value for value in flat if isinstance(value, Tensor)]


def is_nonzero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.to_dense().any())


def squared_norm(tensor: Tensor) -> float:
    return float(tensor.detach().to_dense().abs().double().square().sum())
