"""What a user's training step does to its parameters: the facts that loop_checks judges.

A Watch sees each operation, backward, optimizer step and clipping while the steps are tried, and
compares the parameters and their `.grad` from one of these to the next. It takes no part in them,
and nothing of it is left afterwards but the facts.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import sysconfig
import textwrap
import time
import traceback
import warnings
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.modules import module as hooks_of_modules
from torch.optim import Optimizer
from torch.optim import optimizer as hooks_of_optimizers
from torch.overrides import TorchFunctionMode

NUM_STEPS = 32  # that are tried: an accumulation over 16 comes to its update twice
_MAX_SECONDS = 5.0  # after which no further step is tried
MAX_INPUTS = 8  # tensors looked at per step
_LOSSES = {"cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"}
_LOGARITHMS = {"log_softmax", "logsigmoid", "log"}  # of probabilities: a loss is to raise them
_ELEMENTWISE = {"sub", "__sub__", "__rsub__", "rsub", "mul", "__mul__", "__rmul__"}
_KEY = "doctor"


@dataclass(eq=False)
class Weight:
    """A tensor that needs a gradient, and what became of it and of its gradients."""

    tensor: Tensor
    value: Tensor  # when last looked at
    steps: set[int] = field(default_factory=set)  # in which it was used
    gradient: Tensor | None = None  # after the last backward that reached it
    is_fresh: bool = False  # .grad was made, and no update has used it
    is_used: bool = False  # .grad holds what an update has used already
    is_replaced: bool = False  # an unused .grad was zeroed, and another one made
    has_moved: bool = False  # since the last backward
    is_mixed: bool = False  # .grad is a sum of used and new ones
    num_gradients: int = 0
    num_updates: int = 0
    num_mixed: int = 0  # updates by such a sum
    num_held: int = 0  # steps of an optimizer that holds it
    num_lost: int = 0  # of them, those that came after its gradient was zeroed


@dataclass(eq=False)
class Mark:
    """Lies in a node of a graph and dies with it."""

    step: int
    was_passed: bool = False  # by a backward


@dataclass
class Step:
    """One call of the user's step."""

    losses: list[float] = field(default_factory=list)  # of backward, then the one returned
    update: float = 0.0  # squared norms of the change of all weights, and of their gradients
    gradient: float = 0.0
    along: float = 0.0  # change times gradient: above 0, the loss is climbed
    length: float = 0.0  # squared norm of all weights
    rates: dict[int, float] = field(default_factory=dict)  # by first parameter of an optimizer
    reached: int | None = None  # the earliest step whose graph was gone through again
    inputs: list[tuple] = field(default_factory=list)  # content of data that meet parameters
    sources: list[Tensor] = field(default_factory=list)  # those data
    marks: weakref.WeakSet = field(default_factory=weakref.WeakSet)  # of graphs still alive
    random: int = 0  # state of the random generators afterwards

    @property
    def loss(self) -> float | None:
        return self.losses[-1] if self.losses else None

    @property
    def share(self) -> float:
        """Norm of the update divided by that of the weights."""
        return math.sqrt(self.update / self.length) if self.length else 0.0


class Watch(TorchFunctionMode):
    """Makes steps and notes what happens.

    Args:
        made: what the user's factory returned: a step, a generator, or a tuple of either of them,
            the model and the optimizers.

    Raises:
        ValueError: it is nothing of that.
    """

    def __init__(self, made: Any) -> None:
        super().__init__()
        step, *rest = made if isinstance(made, tuple) and made else (made,)
        model, *optimizers = rest or [[]]
        is_model = isinstance(model, nn.Module | list | tuple)
        is_step = isinstance(step, Iterator) or (callable(step) and not isinstance(step, nn.Module))
        if not (is_step and is_model and all(isinstance(o, Optimizer) for o in optimizers)):
            raise ValueError(
                f"--step gets {', '.join(type(part).__name__ for part in (step, *rest))}; allowed "
                "is a function that makes one update and returns its loss, a generator that yields "
                "it, or a tuple of one of them, the model and its optimizers"
            )
        self.advance = step.__next__ if isinstance(step, Iterator) else step
        self.weights: dict[int, Weight] = {}
        self.steps: list[Step] = []
        self.error: BaseException | None = None  # of the user's code
        self.steppers: dict[int, list[Optimizer]] = defaultdict(list)  # by first parameter
        self.num_backward = self.num_without_graph = 0
        self.clippings: dict[tuple[int, ...], list[bool]] = defaultdict(list)  # had it an effect?
        self.signs: set[int] = set()  # +1: a loss is minimised, -1: maximised, 0: both
        self.broadcasts: dict[str, int] = defaultdict(int)  # is it sure? 2: a loss, 1: a difference
        self.calls: dict[int, tuple[nn.Module, dict[int, set[bool]]]] = {}  # training mode by step
        self.forgetting: set[int] = set()  # modules that called dropout with training=False
        self._depth = 0
        self._is_stepping = self._has_stepped = False
        parameters = model.parameters() if isinstance(model, nn.Module) else model
        for tensor in (*parameters, *(p for o in optimizers for p in held_by(o))):
            if isinstance(tensor, Tensor) and tensor.requires_grad and tensor.is_leaf:
                self._weight(tensor).steps |= {-1, -2}  # known, though no step has used it
        self.random = _random_state()

    def run(self) -> None:
        """Make the steps; an exception of the user's code is kept."""
        start = time.monotonic()
        with self._looking():
            while len(self.steps) < NUM_STEPS and time.monotonic() - start < _MAX_SECONDS:
                self.step, self._depth = Step(), 0
                self.step.length = sum(_square(weight.value) for weight in self.weights.values())
                try:
                    with self:
                        returned = self.advance()
                except StopIteration:
                    break
                except (Exception, SystemExit) as error:
                    self.error = error
                    break
                finally:
                    self._is_stepping = False
                    self._settle()
                self._end_step(returned)
                del returned

    def _end_step(self, returned: Any) -> None:
        if isinstance(returned, dict):
            returned = returned.get("loss", next(iter(returned.values()), None))
        loss = returned[0] if isinstance(returned, tuple | list) and returned else returned
        if isinstance(loss, Tensor) and loss.numel():
            self._walk([loss], is_backward=False)
            loss = loss.detach().double().mean().item()
        if isinstance(loss, int | float | np.number):
            self.step.losses.append(float(loss))
        weights = self.weights.values()
        self.step.length = self.step.length or sum(_square(weight.value) for weight in weights)
        self.step.random = _random_state()
        self.steps.append(self.step)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        """Hooks and wrappers, taken away at the end."""
        clips = (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_)
        with contextlib.ExitStack() as stack:
            for handle in (
                hooks_of_modules.register_module_forward_pre_hook(self._enter),
                hooks_of_modules.register_module_forward_hook(self._leave, always_call=True),
                hooks_of_optimizers.register_optimizer_step_pre_hook(self._before_step),
                hooks_of_optimizers.register_optimizer_step_post_hook(self._after_step),
            ):
                stack.callback(handle.remove)
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            clips = [
                c for clip in clips for c in clip.__closure__ or ()
            ]  # an imported name has them too
            for owner, name, look in (
                (torch.autograd, "backward", partial(self._wrapped, True)),
                (torch.autograd, "grad", partial(self._wrapped, False)),
                *((cell, "cell_contents", self._clipping) for cell in clips),
                *((kind, "log_prob", self._log_prob) for kind in _kinds(Distribution)),
            ):
                function = getattr(owner, name)
                stack.callback(setattr, owner, name, function)
                setattr(owner, name, look(function))
            yield

    def _weight(self, tensor: Tensor) -> Weight:
        weight = self.weights.get(id(tensor))
        if weight is None:
            weight = self.weights[id(tensor)] = Weight(tensor, tensor.detach().clone())
        weight.steps.add(len(self.steps))
        return weight

    # ---- operations ----

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        is_ours = sys._getframe(1).f_globals is globals()
        if name not in ("__get__", "__set__", "backward") and not is_ours:
            with contextlib.suppress(Exception):  # a tensor that we cannot read is no fault of it
                self._look(name, [*args, *kwargs.values()], kwargs, result)
        return result

    def _look(self, name: str, arguments: list, kwargs: dict, result: Any) -> None:
        given, results = _tensors(arguments), _tensors([result])
        if name in ("clamp_", "clip_"):
            self._look_at_clipping(given[0])
        if not torch.is_grad_enabled():
            return
        for node in [t.grad_fn for t in results if t.grad_fn is not None]:
            self._mark(node)
        leaves = [tensor for tensor in given if tensor.is_leaf and tensor.requires_grad]
        for leaf in leaves:
            self._weight(leaf)
        for data in [tensor for tensor in given if leaves and not tensor.requires_grad]:
            if len(self.step.inputs) < MAX_INPUTS and not _is_constant(data):
                self.step.inputs.append(_content(data))
                self.step.sources.append(data)
        if name == "dropout" and kwargs.get("training") is False and self.calls:
            self.forgetting.add(self._called)
        is_loss = name in _LOSSES or name.endswith("_loss")
        if len(given) >= 2 and results and (is_loss or name in _ELEMENTWISE):
            self._look_at_shapes(name, given[0], given[1], is_loss)
        if results and (is_loss or (name in _LOGARITHMS and bool((results[0] <= 1e-6).all()))):
            self._look_at_sign(results[0], 1 if is_loss else -1)

    def _look_at_sign(self, value: Tensor, wanted: int) -> None:
        """Is the loss, when backward comes, to make it smaller (1) or larger (-1)?"""
        if value.requires_grad and not value.is_leaf:
            value.register_hook(lambda gradient: self.signs.add(wanted * _sign(gradient)))

    def _look_at_shapes(self, name: str, a: Tensor, b: Tensor, is_loss: bool) -> None:
        """A column against a row makes a table: meant between two columns of one, else a slip."""
        if a.shape == b.shape or name == "cross_entropy":
            return
        size = torch.broadcast_shapes(a.shape, b.shape).numel()
        is_weight = any(t.is_leaf and t.requires_grad for t in (a, b))
        is_pair = a.requires_grad != b.requires_grad and not is_weight
        is_slip = a.ndim != b.ndim and a.squeeze().shape == b.squeeze().shape and is_pair
        if size > max(a.numel(), b.numel()) and (is_loss or is_slip):
            self.broadcasts[f"{name} of {tuple(a.shape)} and {tuple(b.shape)}"] = 1 + is_loss

    def _enter(self, module: nn.Module, _: Any) -> None:
        if self._depth == 0:
            self._called = id(module)
            modes = self.calls.setdefault(id(module), (module, defaultdict(set)))[1]
            if torch.is_grad_enabled():
                modes[len(self.steps)].add(module.training)
        self._depth += 1

    def _leave(self, *_: Any) -> None:
        self._depth -= 1

    # ---- graphs ----

    def _mark(self, node: Any) -> Mark:
        mark = node.metadata.get(_KEY)
        if mark is None:
            mark = node.metadata[_KEY] = Mark(len(self.steps))
            self.step.marks.add(mark)
        return mark

    def _walk(self, roots: Sequence[Tensor], is_backward: bool) -> list[Weight]:
        """Go through the graph behind some tensors, and return the weights at its end."""
        known, weights, waiting = set(), [], [root.grad_fn for root in roots]
        while waiting:
            node = waiting.pop()
            if node is None or node in known:
                continue
            known.add(node)
            if hasattr(node, "variable"):
                weights.append(self._weight(node.variable))
                continue
            mark = self._mark(node)
            if is_backward and mark.was_passed and mark.step < len(self.steps):
                earliest = self.step.reached
                self.step.reached = mark.step if earliest is None else min(earliest, mark.step)
            mark.was_passed |= is_backward
            waiting += [earlier for earlier, _ in node.next_functions]
        return weights

    # ---- gradients and updates ----

    def _wrapped(self, is_backward: bool, function: Any) -> Any:
        """torch.autograd.backward or grad, with a look before and after."""

        def seen(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            roots = _tensors([tensors])
            reached = self._before_backward(roots, is_backward)
            result = function(tensors, *args, **kwargs)
            if is_backward:
                made = [(weight, weight.tensor.grad) for weight in reached]
            else:
                asked = _tensors([kwargs.get("inputs", args[0] if args else ())])
                made = [
                    (self.weights[id(tensor)], gradient)
                    for tensor, gradient in zip(asked, result, strict=False)
                    if id(tensor) in self.weights
                ]
            for weight, gradient in made:
                if _is_nonzero(gradient):
                    weight.gradient = gradient.detach().to_dense().clone()
                    weight.is_fresh, weight.is_mixed = is_backward, weight.is_used
                    weight.num_gradients += 1
            return result

        return seen

    def _before_backward(self, roots: list[Tensor], is_backward: bool) -> list[Weight]:
        self._settle()
        self.num_backward += 1
        self.num_without_graph += all(root.grad_fn is None for root in roots)
        self.step.losses += [root.detach().double().mean().item() for root in roots]
        reached = self._walk(roots, True)
        if is_backward:
            for weight in self.weights.values():
                has_gradient = _is_nonzero(weight.tensor.grad)
                is_lost = weight.is_fresh and not (has_gradient or self._has_stepped)
                weight.is_replaced |= is_lost and not self._is_stepping
                weight.is_used = has_gradient and (weight.is_used or weight.has_moved)
                weight.has_moved = False
            self._has_stepped = False
        return reached

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        self._settle()
        self._is_stepping = self._has_stepped = True
        held = held_by(optimizer)
        first = id(held[0])
        self.step.rates[first] = max(float(group["lr"]) for group in optimizer.param_groups)
        if not any(optimizer is other for other in self.steppers[first]):
            self.steppers[first].append(optimizer)
        for weight in [self._weight(tensor) for tensor in held if tensor.requires_grad]:
            gradient = weight.tensor.grad
            if (weight.is_fresh and not _is_nonzero(gradient)) or (
                weight.is_replaced and _is_parallel(gradient, weight.gradient)
            ):
                weight.num_lost += 1
            weight.num_held += 1
            weight.is_fresh = weight.is_replaced = False

    def _after_step(self, *_: Any) -> None:
        self._settle()
        self._is_stepping = False

    def _look_at_clipping(self, gradient: Tensor) -> None:
        """One that is made by hand: p.grad.data.clamp_(-1, 1)."""
        self._settle()
        for weight in self.weights.values():
            grad = weight.tensor.grad
            if grad is not None and grad.data_ptr() == gradient.data_ptr():
                self.clippings[(id(weight.tensor),)].append(weight.is_fresh)

    def _log_prob(self, log_prob: Any) -> Any:
        def seen(*args: Any, **kwargs: Any) -> Any:
            result = log_prob(*args, **kwargs)
            self._look_at_sign(result, -1)
            return result

        return seen

    def _clipping(self, clip: Any) -> Any:
        def seen(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            self._settle()
            given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
            has_effect = any(
                self._weight(p).is_fresh and _is_nonzero(p.grad) for p in given if p.requires_grad
            )
            self.clippings[tuple(map(id, given))].append(has_effect)
            return clip(given, *args, **kwargs)

        return seen

    def _settle(self) -> None:
        """Note what has moved since the last look."""
        for weight in self.weights.values():
            value = weight.tensor.detach()
            if value.shape == weight.value.shape and not torch.equal(value, weight.value):
                change = value - weight.value
                self.step.update += _square(change)
                if weight.gradient is not None:
                    self.step.gradient += _square(weight.gradient)
                    self.step.along += float((change * weight.gradient.conj()).real.sum())
                weight.value = value.clone()
                weight.num_updates += 1
                weight.num_mixed += weight.is_mixed
                weight.has_moved = self._has_stepped = True
                weight.is_fresh = weight.is_mixed = False


def held_by(optimizer: Optimizer) -> list[Tensor]:
    """The tensors that an optimizer moves."""
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]


def _kinds(base: type) -> list[type]:
    """The classes below one that define log_prob."""
    below = [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]
    return [kind for kind in dict.fromkeys(below) if "log_prob" in vars(kind)]


def user_error(error: BaseException) -> ValueError:
    """One sentence of an exception in the user's code: file, line and what was raised."""
    foreign = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    foreign += [str(Path(torch.__file__).parent), str(Path(__file__).parent), "<frozen"]
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(tuple(foreign))]
    where = f"{users[-1].filename}:{users[-1].lineno}: " if users else ""
    return ValueError(f"{where}{type(error).__name__}: {textwrap.shorten(str(error), 200)}")


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among some arguments, and in lists among them."""
    flat = [v for value in values for v in (value if isinstance(value, list | tuple) else [value])]
    return [value for value in flat if isinstance(value, Tensor)]


def _is_nonzero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.to_dense().any())


def _is_parallel(a: Tensor | None, b: Tensor | None) -> bool:
    """True for gradients that differ by their length at most, as clipping makes them."""
    if a is None or b is None:
        return False
    a, b = a.to_dense().flatten(), b.flatten()
    return float((a * b).sum()) > 0.99 * math.sqrt(_square(a) * _square(b))


def _square(tensor: Tensor) -> float:
    return float(tensor.detach().abs().double().square().sum())


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or bool((tensor == tensor.flatten()[0]).all())


def _sign(gradient: Tensor) -> int:
    """+1 or -1 if no element has another sign; else 0."""
    positive, negative = bool((gradient > 0).any()), bool((gradient < 0).any())
    return positive - negative


def _content(tensor: Tensor) -> tuple:
    """Equal for tensors of equal shape and values."""
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return (tuple(tensor.shape), hash(data))


def _random_state() -> int:
    """Of the global generators."""
    torchs = torch.get_rng_state().numpy().tobytes()
    numpys = np.random.get_state()[1].tobytes() + bytes(str(np.random.get_state()[2]), "ascii")
    return hash((torchs, numpys, random.getstate()))
