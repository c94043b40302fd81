"""Learning rate, penalties and weight decay of each update, as the evaluations so far decide.

learning rate: warmup, linear -> cosine, constant, step or plateau
penalties:     0 until two evaluations in a row find nothing wrong -> a linear ramp -> constant
weight decay:  constant; with --center_loss, it fades to 0 as the penalties set in
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rnn_tutorial.runs.schema import Count
from rnn_tutorial.settings.config import TrainConfig


@dataclass
class EvaluationHistory:
    """What the evaluations of a run have shown so far: the best, and when to slow down or to stop.

    Part of the checkpoint, so that a resumed run decides as an uninterrupted one does.

    Args:
        best_score: highest score so far, see `Evaluation.score`, or what a task of the gallery
            is scored by; below all of them before the first evaluation.
        best_step: the step that first had it.
        since_best: evaluations since then.
        exact_streak: latest evaluations in a row without a wrong input.
        plateau: evaluations after the warmup since the best one, or since the learning rate last
            fell.
        lr_falls: how often the plateau scheduler has multiplied the learning rate by lr_factor.
        exact_step: the step of the first evaluation that, like the one before it, found no wrong
            input; 0 before.
        proved: True if the network is proved right for every length.
    """

    best_score: float = -sys.float_info.max  # finite: it is saved
    best_step: Count = 0
    since_best: Count = 0
    exact_streak: Count = 0
    plateau: Count = 0
    lr_falls: Count = 0
    exact_step: Count = 0
    proved: bool = False

    def observe(self, config: TrainConfig, step: int, score: float, is_exact: bool = False) -> None:
        """Take in the evaluation after `step` updates; it is exact if no input was wrong."""
        self.exact_streak = self.exact_streak + 1 if is_exact else 0
        if self.exact_streak > 1 and not self.exact_step:
            self.exact_step = step
        if score > self.best_score:
            self.best_score, self.best_step = score, step
            self.since_best = self.plateau = 0
            return
        self.since_best += 1
        if step > config.warmup_step:
            self.plateau += 1
        if config.scheduler == "plateau" and self.plateau == config.plateau_patience:
            self.lr_falls += 1
            self.plateau = 0

    def stops_early(self, config: TrainConfig) -> bool:
        """True if the score has not improved for early_stopping_patience evaluations."""
        return 0 < config.early_stopping_patience <= self.since_best

    def ends(self, config: TrainConfig) -> bool:
        """True if the evaluations say that the run is over."""
        is_exact = 0 < config.stop_when_exact <= self.exact_streak
        return self.stops_early(config) or is_exact or self.proved


def learning_rate(config: TrainConfig, step: int, history: EvaluationHistory) -> float:
    """That of the update that follows `step` updates: linear warmup, then the scheduler.

    The first update of a warmup uses 1% of lr.
    """
    if step < config.warmup_step:
        return config.lr * (0.01 + 0.99 * step / config.warmup_step)
    return SCHEDULES[config.scheduler](config, step - config.warmup_step, history)


def penalty_share(config: TrainConfig, step: int, history: EvaluationHistory) -> float:
    """How much of the penalties acts in the update that follows `step` updates: a ramp from 0 to 1.

    It begins after two evaluations in a row without a wrong input, and takes a twelfth of
    total_steps: sooner or steeper, the penalties might keep the network from learning. One
    evaluation does not tell enough: of too many inputs, it scores a sample only.
    """
    if not history.exact_step:
        return 0.0
    return min(1.0, 12 * (step - history.exact_step) / config.total_steps)


def weight_decay(config: TrainConfig, share: float) -> float:
    """That of an update in which this share of the penalties acts; the center loss replaces it.

    While the task is learned, decay favours states that last. Afterwards it seems to keep the
    weights too small to hold the units near 1 and -1.
    """
    return config.weight_decay * (1 - share) if config.center_loss else config.weight_decay


def _cosine(config: TrainConfig, step: int, history: EvaluationHistory) -> float:
    """Half a cosine from lr to min_lr, which is exactly the learning rate after the last update.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017,
    equation 5, with one period of total_steps - warmup_step updates.
    """
    last = config.total_steps - config.warmup_step
    if step >= last:
        return config.min_lr
    progress = step / last
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def _constant(config: TrainConfig, step: int, history: EvaluationHistory) -> float:
    return config.lr


def _step(config: TrainConfig, step: int, history: EvaluationHistory) -> float:
    return max(config.min_lr, config.lr * config.lr_factor ** (step // config.lr_step_every))


def _plateau(config: TrainConfig, step: int, history: EvaluationHistory) -> float:
    return max(config.min_lr, config.lr * config.lr_factor**history.lr_falls)


# What --scheduler means. Each takes the number of updates since the warmup.
SCHEDULES: dict[str, Callable[[TrainConfig, int, EvaluationHistory], float]] = {
    "cosine": _cosine,
    "constant": _constant,
    "step": _step,
    "plateau": _plateau,
}
