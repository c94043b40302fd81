"""The configuration: bounds, and the schedule against PyTorch's own schedulers."""

from dataclasses import asdict, fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from rnn_tutorial.config import (
    RECIPES,
    TrainConfig,
    config_from_dict,
    describe_recipes,
    settings_of,
)

TUTORIAL_DEFAULTS = {
    "min_seq_len": 2, "max_seq_len": 5, "max_number": 9, "embed_dim": 10, "hidden_dim": 16,
    "num_layers": 1, "total_steps": 20000, "batch_size": 16, "lr": 0.001, "min_lr": 0.0001,
    "warmup_step": 0, "log_every": 100, "eval_every": 500, "save_every": 1000,
    "save_dir": "./output/", "run_name": "baseline",
}  # fmt: skip


def test_defaults_are_the_tutorials():
    assert asdict(TrainConfig()).items() >= TUTORIAL_DEFAULTS.items()


@pytest.mark.parametrize(("warmup_step", "total_steps"), [(0, 50), (1, 50), (20, 50), (49, 50)])
def test_schedule_equals_warmup_then_cosine_of_pytorch(warmup_step, total_steps):
    config = TrainConfig(warmup_step=warmup_step, total_steps=total_steps, lr=0.02, min_lr=0.003)

    def rates(scheduler_class, steps, **options):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.lr)
        scheduler = scheduler_class(optimizer, **options)
        for _ in range(steps):
            yield scheduler.get_last_lr()[0]
            optimizer.step()
            scheduler.step()

    warmup = rates(LinearLR, warmup_step, start_factor=0.01, total_iters=max(1, warmup_step))
    cosine_steps = total_steps - warmup_step
    cosine = rates(CosineAnnealingLR, cosine_steps + 1, T_max=cosine_steps, eta_min=config.min_lr)
    expected = [*warmup, *cosine]
    assert [config.learning_rate(step) for step in range(total_steps + 1)] == pytest.approx(
        expected
    )


@given(st.integers(2, 10**6), st.floats(1e-6, 1), st.floats(0, 1), st.data())
def test_schedule_at_its_corners(total_steps, lr, fraction, data):
    warmup_step = data.draw(st.integers(0, total_steps - 1))
    config = TrainConfig(
        total_steps=total_steps, warmup_step=warmup_step, lr=lr, min_lr=lr * fraction
    )
    assert config.learning_rate(total_steps) == config.min_lr  # exactly
    assert config.learning_rate(warmup_step) == pytest.approx(lr)
    if warmup_step:
        assert config.learning_rate(0) == pytest.approx(0.01 * lr)
    halfway = (warmup_step + total_steps) // 2
    assert config.min_lr * 0.999999 <= config.learning_rate(halfway) <= lr * 1.000001


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"min_seq_len": 0}, "--min_seq_len 0"),
        ({"min_seq_len": 6}, "--min_seq_len 6"),
        ({"max_number": 0}, "--max_number 0"),
        ({"embed_dim": -1}, "--embed_dim -1"),
        ({"hidden_dim": 0}, "--hidden_dim 0"),
        ({"num_layers": 0}, "--num_layers 0"),
        ({"total_steps": 0}, "--total_steps 0"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"lr": float("inf")}, "--lr inf"),
        ({"min_lr": 0.002}, "--min_lr 0.002"),
        ({"min_lr": -0.1}, "--min_lr -0.1"),
        ({"warmup_step": 20_000}, "--warmup_step 20000"),
        ({"warmup_step": 1.5}, "--warmup_step 1.5"),
        ({"weight_decay": -1.0}, "--weight_decay -1.0"),
        ({"max_grad_norm": -1.0}, "--max_grad_norm -1.0"),
        ({"log_every": 0}, "--log_every 0"),
        ({"eval_every": 0}, "--eval_every 0"),
        ({"save_every": -1}, "--save_every -1"),
        ({"seed": -1}, "--seed -1"),
        ({"num_workers": -1}, "--num_workers -1"),
        ({"num_threads": -1}, "--num_threads -1"),
        ({"tracker": "wandb"}, "--tracker 'wandb'"),
        ({"run_name": "a/b"}, "--run_name 'a/b'"),
        ({"run_name": ".."}, "--run_name '..'"),
        ({"run_name": ""}, "--run_name ''"),
        ({"save_dir": ""}, "--save_dir ''"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_value(wrong, named):
    with pytest.raises(ValueError, match=r"must|not|no folder") as refused:
        TrainConfig(**wrong)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_setting_has_bounds_choices_or_a_check_of_its_own():
    checked_by_hand = {"save_dir", "run_name", "device"}
    for setting in fields(TrainConfig):
        assert setting.metadata["help"]
        assert setting.name in checked_by_hand or setting.metadata.keys() & {"low", "choices"}


PUBLISHED = {
    "baseline": {},
    "large_batch": {"batch_size": 64},
    "large_batch_lr5e-3": {"batch_size": 64, "lr": 0.005},
    "deeper_rnn": {"hidden_dim": 32, "num_layers": 3},
    "sota": {"hidden_dim": 32, "num_layers": 3, "batch_size": 64, "lr": 0.005},
    "sota_warmup": {
        "hidden_dim": 32, "num_layers": 3, "batch_size": 64, "lr": 0.005, "warmup_step": 2000,
    },
}  # fmt: skip


def test_the_published_recipes_have_exactly_their_flags():
    for name, flags in PUBLISHED.items():
        expected = TrainConfig(recipe=name, run_name=name, **flags)
        assert TrainConfig(**settings_of({"recipe": name})) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_allowed_and_flags_override_it(name):
    config = TrainConfig(**settings_of({"recipe": name, "hidden_dim": 7, "run_name": "mine"}))
    assert (config.recipe, config.hidden_dim, config.run_name) == (name, 7, "mine")
    assert f"{name}: {RECIPES[name].lesson}" in describe_recipes()


def test_it_knows_whether_flags_changed_its_recipe():
    def config(**flags):
        return TrainConfig(**settings_of({"recipe": "sota", **flags}))

    assert not config().overrides_recipe()
    assert not config(seed=3, log_every=7, run_name="x", device="cpu").overrides_recipe()
    assert config(lr=0.1).overrides_recipe() and config(min_seq_len=1).overrides_recipe()


def test_the_contraction_ramps_from_one_to_three_fifths():
    config = TrainConfig(total_steps=1000, contraction=0.5)
    factors = [config.contraction_at(step) for step in (0, 200, 400, 600, 1000)]
    assert factors == pytest.approx([0, 0, 0.25, 0.5, 0.5])


def test_a_recorded_configuration_is_rebuilt_or_refused():
    config = TrainConfig(lr=0.5, seed=3)
    assert config_from_dict(asdict(config), "config.json") == config
    for wrong in ({"lr": 0.5}, asdict(config) | {"bogus": 1}, asdict(config) | {"lr": "x"}):
        with pytest.raises(ValueError, match=r"config\.json"):
            config_from_dict(wrong, "config.json")
