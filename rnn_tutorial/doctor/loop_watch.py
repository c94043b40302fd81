"""What a user's training step does to its parameters: the facts that loop_checks judges.

It sees each operation, backward, optimizer step and clipping, and compares the parameters and their
`.grad` from one of these to the next. It changes none of them.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_hooks
from torch.overrides import TorchFunctionMode

from rnn_tutorial.doctor.loop_facts import (
    Mark,
    Step,
    Weight,
    held_by,
    is_nonzero,
    squared_norm,
    tensors_in,
)
from rnn_tutorial.doctor.loop_losses import faults_of_loss

_NUM_STEPS = 32  # that are tried: an accumulation over 16 comes to its update twice
_MIN_STEPS, _MAX_SECONDS = 8, 20.0  # after so many, no further step is tried when time is up
MAX_INPUTS = 32  # tensors looked at per step
_LOSSES = {"cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"}
_LOGARITHMS = {"log_softmax", "logsigmoid", "log"}  # of probabilities: a loss is to raise them
_transformation = getattr(torch._C._functorch, "peek_interpreter_stack", lambda: None)
_ELEMENTWISE = {"sub", "__sub__", "__rsub__", "rsub", "mul", "__mul__", "__rmul__"}


class LoopWatch(TorchFunctionMode):
    """Makes the user's steps, see `check_step`, and notes what happens."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        step, *rest = made if isinstance(made, tuple) and made else (made,)
        model, *given = rest or [[]]
        optimizers = [
            o for each in given for o in (each if isinstance(each, list | tuple) else [each])
        ]
        is_step = isinstance(step, Iterator) or (callable(step) and not isinstance(step, nn.Module))
        is_model = isinstance(model, nn.Module | list)
        if not (is_step and is_model and all(isinstance(o, Optimizer) for o in optimizers)):
            types = ", ".join(type(part).__name__ for part in (step, *rest))
            raise ValueError(
                f"--step gives {types}, which is not a training step; give a function that "
                "makes one update and returns its loss, a generator that yields the losses, or a "
                "tuple of one of them, the model and its optimizers"
            )
        self.advance = step.__next__ if isinstance(step, Iterator) else step
        self.weights: dict[int, Weight] = {}
        self.steps: list[Step] = []
        self.step = Step()
        self.error: BaseException | None = None  # of the user's code
        self.optimizers: dict[int, list[Optimizer]] = defaultdict(list)  # by first parameter
        self.num_backward = self.num_without_graph = 0
        self.uses_functions = False  # torch.func: neither its weights nor its gradients are seen
        self.first_values: dict[Tensor, Tensor | None] = {}  # used without gradients; None: late
        self.reached: set[int] = set()  # by a backward pass: tensors by their id
        self.clippings: dict[tuple[int, ...], list[bool]] = defaultdict(list)  # had it an effect?
        self.signs: set[int] = set()  # 1: a loss is made smaller, -1: larger, 0: both
        self.num_losses: Counter[str] = Counter()  # calls, by the name of the loss
        self.faults_of_losses: Counter[tuple[str, str]] = Counter()  # of them, by finding and loss
        self.broadcasts: dict[str, bool] = {}  # is it in a loss function of PyTorch?
        self.modes: dict[nn.Module, dict[int, set[bool]]] = {}  # training mode by step
        self.forgetful: set[nn.Module] = set()  # that called dropout with training=False
        self.is_cut_short = False  # there was no time for all steps
        self._inside: list[nn.Module] = []  # of whose forward we are
        self._is_stepping = self._has_stepped = False
        parameters = model.parameters() if isinstance(model, nn.Module) else model
        for tensor in (*parameters, *(p for o in optimizers for p in held_by(o))):
            if isinstance(tensor, Tensor) and tensor.requires_grad and not is_lazy(tensor):
                self._weight(tensor).is_lasting = True

    def run(self) -> None:
        """Make the steps; an exception of the user's code ends them and is kept."""
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            self._look_everywhere(stack)
            while len(self.steps) < _NUM_STEPS:
                self.is_cut_short = time.monotonic() - start > _MAX_SECONDS
                if self.is_cut_short and len(self.steps) >= _MIN_STEPS:
                    break
                self.step, self._inside, self._is_stepping = Step(), [], False
                _ = torch.rand(1), np.random.rand(), random.random()  # seeding anew undoes them
                try:
                    with self:
                        returned = self.advance()
                except StopIteration:
                    break
                except (Exception, SystemExit) as error:
                    self.error = error
                    break
                self._end_step(returned)
                del returned

    def _end_step(self, returned: Any) -> None:
        self._settle()
        if isinstance(returned, dict):
            returned = returned.get("loss", *list(returned.values())[:1])
        loss = returned[0] if isinstance(returned, tuple | list) and returned else returned
        if isinstance(loss, Tensor) and loss.numel():
            self._walk([loss], is_backward=False)
            loss = loss.detach().double().mean().item()
        if isinstance(loss, int | float | np.number):
            self.step.losses.append(float(loss))
        self.step.length = sum(squared_norm(weight.value) for weight in self.weights.values())
        states = torch.get_rng_state().tolist(), np.random.get_state(), random.getstate()
        self.step.random_states = tuple(map(str, states))
        self.steps.append(self.step)
        first, inputs = self.steps[0], self.step.inputs
        if inputs and len(inputs) == len(first.inputs):
            pairs = zip(inputs, first.inputs, strict=True)
            self.step.is_repeated = all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
        if self.step is not first:
            self.step.inputs = []  # batches may be large

    def _look_everywhere(self, stack: contextlib.ExitStack) -> None:
        """Set hooks and wrappers, which the stack takes away."""
        for handle in (
            module_hooks.register_module_forward_pre_hook(self._enter_module),
            module_hooks.register_module_forward_hook(self._leave_module, always_call=True),
            optimizer_hooks.register_optimizer_step_pre_hook(self._before_step),
            optimizer_hooks.register_optimizer_step_post_hook(self._after_step),
        ):
            stack.enter_context(handle)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        stack.enter_context(warnings.catch_warnings())
        if "torch._dynamo" in sys.modules:  # what is compiled would compile this watch with it
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        warnings.simplefilter("ignore")
        clips = (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_)
        cells = [cell for clip in clips for cell in clip.__closure__ or ()]  # imported names share
        for owner, name, wrapped in (
            (torch.autograd, "backward", partial(self._differentiating, True)),
            (torch.autograd, "grad", partial(self._differentiating, False)),
            *((cell, "cell_contents", self._clipping) for cell in cells),
        ):
            function = getattr(owner, name)
            stack.callback(setattr, owner, name, function)
            setattr(owner, name, wrapped(function))

    def _weight(self, tensor: Tensor) -> Weight:
        number = len(self.steps)
        if id(tensor) not in self.weights:
            self.weights[id(tensor)] = Weight(tensor, tensor.detach().clone(), number)
        weight = self.weights[id(tensor)]
        weight.is_lasting |= weight.first_step < number
        return weight

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name, caller = getattr(func, "__name__", ""), sys._getframe(1).f_globals.get("__name__")
        is_ours = str(caller).startswith("rnn_tutorial.doctor.")
        is_ours |= self._is_transformed()
        if name not in ("__get__", "__set__", "backward") and not is_ours:
            with contextlib.suppress(Exception):  # what we cannot read is no fault of the user
                self._look(name, args, kwargs or {}, result)
        return result

    def _is_transformed(self) -> bool:
        """True inside of torch.func, which works on tensors of its own."""
        is_inside = _transformation() is not None
        self.uses_functions |= is_inside
        return is_inside

    def is_untouched(self) -> bool:
        """True if networks were used without gradients, and are the same as at first.

        An evolution strategy moves them, or makes others.
        """
        pairs = self.first_values.items()
        is_same = all(first is not None and torch.equal(p, first) for p, first in pairs)
        return bool(pairs) and is_same and not self.uses_functions

    def _look(self, name: str, args: Sequence[Any], kwargs: dict, result: Any) -> None:
        given, results = tensors_in([*args, *kwargs.values()]), tensors_in([result])
        if not torch.is_grad_enabled():
            return
        for node in [t.grad_fn for t in results if t.grad_fn is not None]:
            self._mark(node)
        leaves = [tensor for tensor in given if tensor.is_leaf and tensor.requires_grad]
        for leaf in leaves:
            self._weight(leaf)
        if leaves:
            data = [t for t in given if not t.requires_grad and t.unique().numel() > 1]
            for tensor in data[: MAX_INPUTS - len(self.step.inputs)]:
                self.step.places.append(tensor.untyped_storage().data_ptr())
                self.step.inputs.append(tensor)
        if name in ("cross_entropy", "nll_loss", "binary_cross_entropy_with_logits"):
            self.num_losses[name] += 1
            call = inspect.signature(getattr(nn.functional, name)).bind(*args, **kwargs)
            call.apply_defaults()
            for fault in faults_of_loss(name, call.arguments, self.step.inputs):
                self.faults_of_losses[fault, name] += 1
        if name == "dropout" and kwargs.get("training") is False:
            self.forgetful |= {*self._inside[-1:]}
        is_loss = name in _LOSSES or name.endswith("_loss")
        if is_loss or (name in _LOGARITHMS and bool((results[0] <= 1e-6).all())):
            self._note_sign(results[0], 1 if is_loss else -1)
        if (is_loss or name in _ELEMENTWISE) and name != "cross_entropy" and len(given) > 1:
            self._note_shapes(name, given[0], given[1], is_loss)

    def _note_sign(self, value: Tensor, wanted: int) -> None:
        """When backward comes: is it to make this value smaller (1) or larger (-1)?"""
        if value.requires_grad and not value.is_leaf:
            value.register_hook(
                lambda g: self.signs.add(wanted * (int((g > 0).any()) - int((g < 0).any())))
            )

    def _note_shapes(self, name: str, a: Tensor, b: Tensor, is_loss: bool) -> None:
        """A column against a row makes a table: meant between two views of one, else a slip."""
        size = torch.broadcast_shapes(a.shape, b.shape).numel()
        is_weight = any(t.is_leaf and t.requires_grad for t in (a, b))
        is_pair = a.requires_grad != b.requires_grad and not is_weight
        is_slip = a.ndim != b.ndim and a.squeeze().shape == b.squeeze().shape and is_pair
        is_uneven = is_loss and a.ndim != b.ndim
        if size > max(a.numel(), b.numel()) and (is_uneven or is_slip):
            self.broadcasts[f"{name} gets shapes {tuple(a.shape)} and {tuple(b.shape)}"] = is_loss

    def _enter_module(self, module: nn.Module, _: Any) -> None:
        if not self._inside:
            modes = self.modes.setdefault(module, defaultdict(set))
            if torch.is_grad_enabled():
                modes[len(self.steps)].add(module.training)
            elif not (self.num_backward or self._is_transformed()):
                for p in [p for p in module.parameters() if p.requires_grad and not is_lazy(p)]:
                    first = None if self.steps else p.detach().clone()
                    self.first_values.setdefault(p, first)
        self._inside.append(module)

    def _leave_module(self, *_: Any) -> None:
        del self._inside[-1:]

    def _mark(self, node: Any) -> Mark:
        mark = node.metadata.get("doctor")
        if mark is None:
            mark = node.metadata["doctor"] = Mark(len(self.steps))
            self.step.marks.add(mark)
        return mark

    def _walk(self, roots: Sequence[Tensor], is_backward: bool) -> list[Weight]:
        """Go through the graph behind some tensors, and return the weights at its end."""
        known, weights, waiting = {None}, [], [root.grad_fn for root in roots]
        while waiting:
            node = waiting.pop()
            if node in known:
                continue
            known.add(node)
            if hasattr(node, "variable"):
                weights.append(self._weight(node.variable))
                continue
            mark = self._mark(node)
            if is_backward and mark.was_passed and mark.step < len(self.steps):
                self.step.reached = min(mark.step, self.step.reached)
            mark.was_passed |= is_backward
            waiting += [earlier for earlier, _ in node.next_functions]
        return weights

    def _differentiating(self, is_backward: bool, function: Callable) -> Callable:
        def seen(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_transformed():
                return function(tensors, *args, **kwargs)
            if not (self.steps or self.num_backward):  # until then, weights are made, not trained
                for weight in self.weights.values():
                    weight.value = weight.tensor.detach().clone()
            self._settle()
            roots = tensors_in([tensors])
            self.num_backward += 1
            self.num_without_graph += all(root.grad_fn is None for root in roots)
            self.step.losses += [root.detach().double().mean().item() for root in roots]
            reached = self._walk(roots, is_backward=True)
            self.reached |= {id(weight.tensor) for weight in reached}
            for weight in self.weights.values():
                weight.expect_gradient(self._has_stepped or self._is_stepping)
            self._has_stepped &= not is_backward
            result = function(tensors, *args, **kwargs)
            made = [(weight, weight.tensor.grad) for weight in reached]
            if not is_backward:
                asked = tensors_in([kwargs.get("inputs", args[0] if args else ())])
                made = [(self.weights.get(id(t)), g) for t, g in zip(asked, result, strict=False)]
            for weight, gradient in made:
                if weight is not None and is_nonzero(gradient):
                    weight.note_gradient(gradient, is_backward)
            return result

        return seen

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        self._settle()
        self._is_stepping = self._has_stepped = True
        held = held_by(optimizer)
        first = id(held[0]) if held else 0
        self.step.rates[first].append(max(float(g.get("lr", 0)) for g in optimizer.param_groups))
        if not any(optimizer is other for other in self.optimizers[first]):
            self.optimizers[first].append(optimizer)
        for tensor in held:
            if tensor.requires_grad:
                self._weight(tensor).expect_update()

    def _after_step(self, *_: Any) -> None:
        self._settle()
        self._is_stepping = False

    def _clipping(self, clip: Callable) -> Callable:
        def seen(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
            self._settle()
            fresh = [self._weight(t).is_fresh and is_nonzero(t.grad) for t in given]
            self.clippings[tuple(map(id, given))].append(any(fresh))
            return clip(given, *args, **kwargs)

        return seen

    def _settle(self) -> None:
        """Note what has moved since the last look."""
        for weight in self.weights.values():
            update = weight.settle()
            if update is not None:
                self._has_stepped = True
                self.step.add(update, weight.gradient)
