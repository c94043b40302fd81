"""The optimizers, and AdamW without the bookkeeping that PyTorch repeats at every step.

In a small net most of an update's time is not arithmetic but Python. `optimizer.step()` collects
the tensors of every parameter anew each time, although they never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from rnn_tutorial.settings.config import TrainConfig

OPTIMIZER_CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def is_adamw(config: TrainConfig) -> bool:
    """True if the updates are those of AdamW; without weight decay, Adam's are the same."""
    return config.optimizer == "adamw" or (config.optimizer == "adam" and not config.weight_decay)


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: TrainConfig
) -> torch.optim.Optimizer:
    """The optimizer that the configuration names."""
    if is_adamw(config) and config.device == "cpu":
        return LeanAdamW(parameters, config.lr, config.weight_decay)
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = config.momentum
    if config.optimizer != "rmsprop":  # which has no fused form
        options["fused"] = config.device.startswith(("cpu", "cuda"))
    optimizer_class = OPTIMIZER_CLASSES["adamw" if is_adamw(config) else config.optimizer]
    return optimizer_class(parameters, **options)


class LeanAdamW(torch.optim.AdamW):
    """torch.optim.AdamW with one group of parameters that all receive gradients, on the CPU.

    The same numbers and the same state_dict; a third of the time in `step` and in `zero_grad`.

    Args:
        parameters: what to train.
        lr: learning rate, changed through `param_groups[0]["lr"]`.
        weight_decay: decoupled weight decay, changed in the same way.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    # PyTorch wraps these methods so that torch.compile leaves them alone, and the first call of the
    # wrapper imports the compiler, for more than a second. The methods themselves need none of it.
    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    _load = unwrap(torch.optim.AdamW.load_state_dict)

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter] = new_state(parameter)
        self._collect()

    def _collect(self) -> None:
        self._parameters = self.param_groups[0]["params"]
        states = [self.state[parameter] for parameter in self._parameters]
        self._exp_avgs, self._exp_avg_sqs, self._steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._load(state_dict)
        self._collect()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        torch._foreach_add_(self._steps, 1)
        torch._fused_adamw_(  # what torch.optim.AdamW(fused=True) comes down to
            self._parameters,
            [parameter.grad for parameter in self._parameters],
            self._exp_avgs,
            self._exp_avg_sqs,
            [],
            self._steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


def new_state(parameter: Tensor) -> dict[str, Tensor]:
    """What AdamW remembers of a parameter before its first step."""
    return {
        "step": torch.tensor(0.0),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def load_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], source: str) -> None:
    """Give an optimizer a checkpoint's state_dict; ValueError, naming `source`, if it is none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        for number, values in state["state"].items():
            shapes = {value.shape for value in values.values() if isinstance(value, Tensor)}
            if not shapes <= {torch.Size(), parameters[number].shape}:
                raise ValueError
        optimizer.load_state_dict(dict(state))
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError):
        raise ValueError(f"{source} is damaged: the optimizer does not fit the model") from None


def update_ratio(optimizer: torch.optim.Optimizer) -> float:
    """How far the last update moved the weights, relative to the weights themselves.

    Computed from what the optimizer remembers, without AdamW's decay: the 2-norm of a matrix's
    update over the 2-norm of the matrix, and of that the median over all weight matrices. Always
    a finite number.

    Args:
        optimizer: after its `step`.

    Source: Karpathy, CS231n notes, "Ratio of weights:updates": somewhere around 1e-3.
    """
    group = optimizer.param_groups[0]
    matrices = [p for p in group["params"] if p.ndim > 1]
    with torch.no_grad():
        moves = [_direction(p, optimizer.state[p], group) for p in matrices]
        lengths = torch.stack(torch._foreach_norm(matrices)).clamp(min=1e-12)
        ratios = torch.stack(torch._foreach_norm(moves)) / lengths
    return group["lr"] * ratios.median().nan_to_num().item()


def _direction(parameter: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    """The last update of Adam, AdamW, RMSprop or SGD, over the learning rate."""
    move = parameter.grad
    if "exp_avg" in state:
        beta1, beta2 = group["betas"]
        step = float(state["step"])
        root = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt_()
        return state["exp_avg"] / (1 - beta1**step) / root.add_(group["eps"])
    if "square_avg" in state:
        move = move / (state["square_avg"].sqrt() + group["eps"])
    return state.get("momentum_buffer", move)
