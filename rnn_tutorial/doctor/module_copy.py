"""Copies of modules, what is kept in them, and what is watched while they compute."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_DEPTH = 4  # of lists in objects in lists


def loose_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All tensors in attributes that PyTorch does not look into: lists, dicts, plain objects."""
    own, found = vars(nn.Module()).keys(), {}

    def parts(value: Any) -> dict[str, Any]:
        if isinstance(value, (list, tuple, set)):
            return {f"[{number}]": item for number, item in enumerate(value)}
        if isinstance(value, dict):
            return {f"[{key!r}]": item for key, item in value.items()}
        is_plain = hasattr(value, "__dict__") and not callable(value)
        return {f".{key}": item for key, item in vars(value).items()} if is_plain else {}

    def walk(value: Any, path: str, depth: int) -> None:
        if isinstance(value, Tensor):
            found.setdefault(path, value)
        elif isinstance(value, nn.Module):
            found.update({f"{path}.{name}": p for name, p in value.named_parameters()})
        elif depth:
            for key, item in parts(value).items():
                walk(item, f"{path}{key}", depth - 1)

    for name, part in module.named_modules():
        if not type(part).__module__.startswith("torch.nn"):
            for attribute, value in vars(part).items():
                if attribute not in own:
                    walk(value, f"{name}.{attribute}" if name else attribute, _DEPTH)
    return found


class Softmaxes(TorchFunctionMode):
    """Shows what each softmax gets and gives to a function."""

    def __init__(self, look: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self._look = look

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax" and args:
            self._look(args[0], result)
        return result


class Results(TorchDispatchMode):
    """Shows each operation and its result to a function."""

    def __init__(self, look: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self._look = look

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        result = func(*args, **(kwargs or {}))
        self._look(func, result)
        return result


@contextmanager
def undisturbed() -> Iterator[None]:
    """The random numbers that the caller draws next are the same after this as without it."""
    others = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(()), torch.enable_grad():
            yield
    finally:
        random.setstate(others[0])
        np.random.set_state(others[1])


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def copied(module: nn.Module) -> nn.Module:
    """A deep copy, also of a module that keeps tensors with a history between calls."""
    values = [value for part in module.modules() for value in vars(part).values()]
    tensors = [v for v in (*values, *loose_tensors(module).values()) if isinstance(v, Tensor)]
    memo: dict[int, Any] = {id(t): t.detach().clone() for t in tensors if not t.is_leaf}
    plain = (Tensor, nn.Module, str, int, float, dict, list, tuple, type(None))
    for value in [value for value in values if not isinstance(value, plain)]:
        try:
            copy.deepcopy(value, dict(memo))
        except Exception:
            memo[id(value)] = value  # a lock, a logger, an open file: both use the same
    try:
        made = copy.deepcopy(module, memo)
    except Exception as error:
        raise ValueError(f"the module cannot be copied: {error}") from error
    for part in made.modules():  # an embedding that changes its rows in forward hides their slopes
        if isinstance(part, nn.Embedding) and part.max_norm is not None:
            part.weight.data = part.weight.data.renorm(part.norm_type, 0, part.max_norm)
            part.max_norm = None
    return made


def token_embedding(module: nn.Module, vocab_size: int) -> nn.Embedding | None:
    """The embedding that most likely is that of tokens, not of positions or segments."""
    found = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    # V or V + 1 rows are preferred.
    return min(found, key=lambda e: abs(e.num_embeddings - vocab_size - 0.5), default=None)


@contextmanager
def hooked(parts: Iterable[nn.Module], hook: Callable, before: bool = False) -> Iterator[None]:
    """Each of the parts calls the hook, with (part, args, kwargs) before it, or also the result."""
    register = "register_forward_pre_hook" if before else "register_forward_hook"
    with ExitStack() as hooks:
        for part in parts:
            hooks.enter_context(getattr(part, register)(hook, with_kwargs=True))
        yield


def weights_like(scores: Tensor) -> Tensor:
    """Fixed random weights for scores."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(scores.shape, generator=generator, dtype=torch.float64).to(scores)
