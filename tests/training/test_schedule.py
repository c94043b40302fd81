"""The learning rate against PyTorch's own schedulers, and what the evaluations decide."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    ReduceLROnPlateau,
    StepLR,
)

from rnn_tutorial.settings.config import SCHEDULERS, TrainConfig
from rnn_tutorial.training.schedule import (
    EvaluationHistory,
    learning_rate,
    penalty_share,
    weight_decay,
)

LR, MIN_LR, TOTAL = 0.02, 0.003, 50


def rates_of(scheduler_class, steps, **options):
    """The rates that a scheduler of PyTorch gives to the first updates."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    scheduler = scheduler_class(optimizer, **options)
    for _ in range(steps):
        yield scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("warmup_step", [0, 1, 20, 49])
@pytest.mark.parametrize(
    ("settings", "scheduler_class", "options"),
    [
        ({"scheduler": "cosine"}, CosineAnnealingLR, {"eta_min": MIN_LR}),
        ({"scheduler": "constant"}, ConstantLR, {"factor": 1.0}),
        (
            {"scheduler": "step", "lr_factor": 0.7, "lr_step_every": 9},
            StepLR,
            {"gamma": 0.7, "step_size": 9},
        ),
        ({"scheduler": "step"}, StepLR, {"gamma": 0.5, "step_size": 5000}),
    ],
    ids=["cosine", "constant", "step", "step by default"],
)
def test_warmup_then_a_scheduler_of_pytorch(settings, scheduler_class, options, warmup_step):
    config = TrainConfig(
        **settings, lr=LR, min_lr=MIN_LR, warmup_step=warmup_step, total_steps=TOTAL
    )
    if scheduler_class is CosineAnnealingLR:
        options = {"T_max": TOTAL - warmup_step, **options}
    warmup = rates_of(LinearLR, warmup_step, start_factor=0.01, total_iters=max(1, warmup_step))
    expected = [*warmup, *rates_of(scheduler_class, TOTAL - warmup_step + 1, **options)]
    rates = [learning_rate(config, step, EvaluationHistory()) for step in range(TOTAL + 1)]
    assert rates == pytest.approx([max(rate, MIN_LR) if k >= warmup_step else rate
                                   for k, rate in enumerate(expected)])  # fmt: skip


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_the_plateau_falls_as_in_pytorch(patience):
    config = TrainConfig(
        scheduler="plateau", lr=LR, min_lr=MIN_LR, lr_factor=0.6, plateau_patience=patience
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    expected = ReduceLROnPlateau(  # its patience counts the evaluations that are forgiven
        optimizer, "max", 0.6, patience - 1, threshold=0, min_lr=MIN_LR, eps=0
    )
    history, dice, rates = EvaluationHistory(), random.Random(patience), set()
    for step in range(100, 10_000, 100):
        accuracy = dice.randrange(20 + step // 500) / 100
        history.observe(config, step, accuracy)
        expected.step(accuracy)
        rates.add(learning_rate(config, step, history))
        assert learning_rate(config, step, history) == pytest.approx(expected.get_last_lr()[0])
    assert len(rates) == 5 and min(rates) == MIN_LR


def test_the_warmup_is_not_a_plateau():
    config = TrainConfig(scheduler="plateau", warmup_step=1000, plateau_patience=2)
    history = EvaluationHistory()
    for step in (500, 600, 900, 1000, 1500):
        history.observe(config, step, 0.1)
        assert learning_rate(config, 1500, history) == config.lr
    history.observe(config, 2000, 0.1)
    assert learning_rate(config, 2000, history) == config.lr / 2
    assert learning_rate(config, 0, history) == pytest.approx(0.01 * config.lr)


@given(st.integers(2, 10**6), st.floats(1e-6, 1), st.floats(0, 1), st.data())
def test_the_schedule_at_its_corners(total_steps, lr, fraction, data):
    warmup_step = data.draw(st.integers(0, total_steps - 1))
    config = TrainConfig(
        total_steps=total_steps,
        warmup_step=warmup_step,
        lr=lr,
        min_lr=lr * fraction,
        scheduler=data.draw(st.sampled_from(SCHEDULERS)),
    )
    lr_falls = data.draw(st.integers(0, 100)) if config.scheduler == "plateau" else 0
    history = EvaluationHistory(lr_falls=lr_falls)
    if config.scheduler == "cosine":
        assert learning_rate(config, total_steps, history) == config.min_lr  # exactly
    if not history.lr_falls:
        assert learning_rate(config, warmup_step, history) == pytest.approx(lr)
    if warmup_step:
        assert learning_rate(config, 0, history) == pytest.approx(0.01 * lr)
    halfway = (warmup_step + total_steps) // 2
    rate = learning_rate(config, halfway, history)
    assert config.min_lr * 0.999999 <= rate <= lr * 1.000001


def test_the_history_knows_the_best_and_when_to_stop():
    config = TrainConfig(early_stopping_patience=3, stop_when_exact=2)
    history = EvaluationHistory()
    seen = []
    for step, accuracy in enumerate([0.1, 0.5, 0.5, 0.4, 0.6, 0.2, 0.6, 0.3], start=1):
        history.observe(config, step, accuracy)
        seen.append((history.best_step, history.since_best, history.ends(config)))
    assert seen == [
        (1, 0, False), (2, 0, False), (2, 1, False), (2, 2, False), (5, 0, False), (5, 1, False),
        (5, 2, False), (5, 3, True),
    ]  # fmt: skip
    assert history.stops_early(config) and not history.stops_early(TrainConfig())
    exact = EvaluationHistory()
    for num_wrong, ends in ((0, False), (1, False), (0, False), (0, True)):
        exact.observe(config, 1, 1.0 - num_wrong / 10, num_wrong == 0)
        assert exact.ends(config) is ends


def test_the_penalties_ramp_up_once_nothing_is_wrong_twice_in_a_row():
    config, history = TrainConfig(total_steps=1200), EvaluationHistory()
    for step, num_wrong in ((50, 3), (100, 0), (120, 1), (150, 0)):
        history.observe(config, step, 1.0, num_wrong == 0)
        assert penalty_share(config, 500, history) == 0
    for step, num_wrong in ((200, 0), (300, 1), (400, 0), (500, 0)):
        history.observe(config, step, 1.0, num_wrong == 0)
    shares = [penalty_share(config, step, history) for step in (200, 250, 300, 599)]
    assert shares == pytest.approx([0, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("center_loss", "decays"), [(0.0, [0.4, 0.4, 0.4, 0.4]), (5.0, [0.4, 0.4, 0.2, 0])]
)
def test_weight_decay_fades_as_the_center_loss_sets_in(center_loss, decays):
    config = TrainConfig(
        total_steps=1200, optimizer="adamw", weight_decay=0.4, contraction=1.0,
        center_loss=center_loss,
    )  # fmt: skip
    history = EvaluationHistory()
    shares = [penalty_share(config, 500, history)]
    for step in (100, 200):
        history.observe(config, step, 1.0, is_exact=True)
    shares += [penalty_share(config, step, history) for step in (200, 250, 599)]
    assert [weight_decay(config, share) for share in shares] == pytest.approx(decays)
