"""The configuration: defaults, bounds, recipes."""

from dataclasses import asdict, fields

import pytest

from rnn_tutorial.settings.config import (
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
        ({"optimizer": "lion"}, "--optimizer 'lion'"),
        ({"momentum": 0.9}, "--momentum 0.9 has no effect with --optimizer adam, only with sgd or"),
        ({"optimizer": "sgd", "momentum": 1.0}, "--momentum 1.0"),
        ({"scheduler": "linear"}, "--scheduler 'linear'"),
        ({"lr_factor": 0.1}, "--lr_factor 0.1 has no effect with --scheduler cosine"),
        ({"scheduler": "step", "lr_factor": 0.0}, "--lr_factor 0.0"),
        ({"scheduler": "step", "lr_step_every": 0}, "--lr_step_every 0"),
        ({"scheduler": "plateau", "lr_step_every": 7}, "--lr_step_every 7"),
        ({"scheduler": "plateau", "plateau_patience": 0}, "--plateau_patience 0"),
        ({"plateau_patience": 2}, "--plateau_patience 2"),
        ({"early_stopping_patience": -1}, "--early_stopping_patience -1"),
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
        ({"eval_file": "f"}, "--eval_file 'f'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_value(wrong, named):
    with pytest.raises(ValueError, match=r"must|not|no folder|no effect|needs") as refused:
        TrainConfig(**wrong)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_setting_has_bounds_choices_or_a_check_of_its_own():
    checked_by_hand = {"save_dir", "run_name", "device", "train_file", "eval_file"}
    for setting in fields(TrainConfig):
        assert setting.metadata["help"]
        is_switch = type(setting.default) is bool
        is_bounded = is_switch or setting.metadata.keys() & {"low", "choices"}
        assert setting.name in checked_by_hand or is_bounded


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


@pytest.mark.parametrize("flag", ["min_seq_len", "max_seq_len", "max_number"])
def test_a_file_says_itself_what_flags_say_of_digits(flag):
    with pytest.raises(ValueError, match=f"--{flag} 3 is not allowed with --train_file"):
        settings_of({"train_file": "f", flag: 3})
    assert settings_of({"train_file": "f", "recipe": "solved"})["train_file"] == "f"


def test_a_lowest_rate_is_for_a_rate_that_falls():
    with pytest.raises(ValueError, match=r"--min_lr 0\.0005 has no effect with"):
        settings_of({"scheduler": "constant", "min_lr": 0.0005})
    of_recipe = settings_of({"scheduler": "constant", "recipe": "solved"})
    assert TrainConfig(**of_recipe).min_lr == 0


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
