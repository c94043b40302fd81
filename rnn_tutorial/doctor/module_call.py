"""How a module is called, and what it answers: the conventions of other people's classifiers.

Shapes: N batch, T time, C classes.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Call = Callable[[nn.Module, Tensor, Tensor], object]  # module, x, lengths -> scores
Way = tuple[str, bool, Call]  # in words; is the module told, or can find, what is padding; the call
# By what is in an argument's name: the forms that it may have, a word for each, and how it is made
# of the valid steps, bool, (N, T), and the lengths, (N,).
_FORMS: dict[str, dict[str, Callable[[Tensor, Tensor], Any]]] = {
    "mask.*(pad|ignore)|(pad|ignore).*mask": {
        "True in the padding": lambda valid, n: ~valid,
        "0/1": lambda valid, n: (~valid).long(),
    },
    "mask": {
        "mask": lambda valid, n: valid,
        "0/1": lambda valid, n: valid.long(),
        "0./1.": lambda valid, n: valid.to(torch.get_default_dtype()),
    },
    "len|size|num_steps|n_steps": {
        "lengths": lambda valid, n: n,
        "list": lambda valid, n: n.tolist(),
    },
}


class ModuleRaised(Exception):
    """The module raised an error on a valid batch."""


class WrongShape(Exception):
    """No row of scores for each sequence; `has_more`: more, as where each step gets a label."""

    def __init__(self, seen: str, has_more: bool = False) -> None:
        super().__init__(seen)
        self.has_more = has_more


class CannotCall(Exception):
    """No convention that is known fits the module; says what was tried."""


def ways_to_call(
    module: nn.Module, time_major: bool, lengths: bool | None, padding_is_known: bool
) -> Iterator[Way]:
    """The conventions that may be meant, the most likely first.

    Args:
        module: whose forward is asked for the names of its parameters.
        time_major: x is (T, N); a mask may be too.
        lengths: True if forward must get the lengths, False if it takes x alone, None if unknown.
        padding_is_known: the module may find the padding by an id that the user gave.
    """
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except ValueError:  # of traced modules, whose forward is no Python
        parameters = []
    is_open = not parameters or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del parameters[0]  # x
    parameters = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    told = {}
    for p in parameters:
        forms = [f for part, f in _FORMS.items() if re.search(part, p.name.lower())]
        told |= {p.name: forms[0].items()} if forms else {}
    if lengths is not False:
        if told and set(required) <= set(told):
            for values in itertools.product(*told.values()):
                yield from _by_name(dict(zip(told, values, strict=True)), time_major)
        elif len(required) == 1 or is_open or (lengths and parameters):
            yield "forward(x, lengths)", True, lambda module, x, n: module(x, n)
    if not required and not lengths:
        yield "forward(x)", padding_is_known, lambda module, x, _: module(x)


def _by_name(values: dict[str, tuple], time_major: bool) -> Iterator[Way]:
    """Calls with lengths or masks by the names of the parameters."""
    has_mask = any(word not in ("lengths", "list") for word, _ in values.values())
    for is_transposed in (False, True) if time_major and has_mask else (False,):

        def call(module: nn.Module, x: Tensor, n: Tensor, flip: bool = is_transposed) -> object:
            steps = x.shape[0] if time_major else x.shape[1]
            valid = torch.arange(steps) < n[:, None]  # (N, T)
            valid = valid.T if flip else valid
            return module(x, **{name: make(valid, n) for name, (_, make) in values.items()})

        shown = ", ".join(f"{name}={word}" for name, (word, _) in values.items())
        yield f"forward(x, {shown}{', (T, N)' if is_transposed else ''})", True, call


def scores_of(result: object, num_rows: int) -> Tensor:
    """The scores in what a module returned, (N, C); of a binary classifier (N, 1).

    Raises:
        WrongShape: there is no row of scores for each sequence.
    """
    if isinstance(result, (tuple, list)) and result:
        result = result[0]
    if isinstance(result, dict):
        result = result.get("logits", result)
    elif not isinstance(result, Tensor):
        result = getattr(result, "logits", result)
    if not isinstance(result, Tensor):
        keys = f" with {', '.join(map(repr, result))}" if isinstance(result, dict) else ""
        raise WrongShape(f"the result is a {type(result).__name__}{keys}")
    if not result.is_floating_point():
        raise WrongShape(f"the result is of {result.dtype}: classes or answers, no scores")
    if result.shape == (num_rows,):
        return result[:, None]
    if result.ndim != 2 or len(result) != num_rows:
        seen = f"scores of shape {tuple(result.shape)} for {num_rows} rows"
        is_layer = result.ndim == 3 and result.shape[:2] == (1, num_rows)  # as h_n is
        has_more = result.ndim > 2 or (result.ndim > 0 and len(result) > num_rows)
        raise WrongShape(seen, has_more and not is_layer)
    return result


def numbers_in(module: nn.Module, error: str) -> list[int]:
    """Batch sizes that a module may insist on: whole numbers that it holds, or its error names."""
    held = [v for part in module.modules() for v in vars(part).values() if type(v) is int]
    named = [int(text) for text in re.findall(r"\d+", error)]
    return [n for n in dict.fromkeys((*named, *held, 32, 16)) if 1 < n <= 256]


def widths_in(module: nn.Module, error: str, given: int) -> list[int]:
    """Numbers of steps that a module may insist on, if a batch of a given number fails.

    A linear map over all steps says "(9x35 and 100x3)": 35 values of 7 steps, so 100 are of 20.
    """
    products = re.findall(r"\(\d+x(\d+) and (\d+)x\d+\)", error)
    scaled = [
        given * int(b) // int(a) for a, b in products if int(a) and given * int(b) % int(a) == 0
    ]
    return [n for n in dict.fromkeys((*scaled, *numbers_in(module, error))) if n <= 100]
