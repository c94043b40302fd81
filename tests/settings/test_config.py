"""The configuration: defaults, bounds, what does not go together, and the record in a file."""

from dataclasses import asdict, fields, replace

import pytest

from rnn_tutorial.runs import tracking
from rnn_tutorial.settings.config import (
    ENGINES,
    SCHEDULERS,
    TRACKERS,
    TrainConfig,
    config_from_dict,
)
from rnn_tutorial.training import engines, schedule

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
        ({"momentum": 0.9}, "--momentum 0.9 applies only to --optimizer sgd or rmsprop"),
        ({"optimizer": "sgd", "momentum": 1.0}, "--momentum 1.0"),
        ({"scheduler": "linear"}, "--scheduler 'linear'"),
        (
            {"lr_factor": 0.1},
            "--lr_factor 0.1 applies only to --scheduler step or plateau, not to cos",
        ),
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
        ({"stop_when_proved": True, "train_file": "f"}, "--stop_when_proved needs a rule to prove"),
        ({"balance_classes": True}, "--balance_classes draws examples of a file"),
        ({"monitor": "f1"}, "--monitor 'f1'"),
        ({"monitor": "eval_loss", "early_stopping_patience": 3}, "it needs a --train_file"),
        ({"monitor": "eval_loss", "train_file": "f"}, "it needs --early_stopping_patience N or"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_value(wrong, named):
    with pytest.raises(ValueError, match=r"must|not|needs") as refused:
        TrainConfig(**wrong)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_setting_has_bounds_choices_or_a_special_check():
    checked_by_hand = {"save_dir", "run_name", "device", "train_file", "eval_file", "task"}
    for setting in fields(TrainConfig):
        assert setting.metadata["help"]
        is_switch = type(setting.default) is bool
        is_bounded = is_switch or setting.metadata.keys() & {"within", "choices"}
        assert setting.name in checked_by_hand or is_bounded


@pytest.mark.parametrize(
    ("choices", "implemented"),
    [
        (SCHEDULERS, schedule.SCHEDULES),
        (TRACKERS, (*tracking._FALLBACK, "disabled")),
        (ENGINES, ("auto", *engines.SPAN_ENGINES, "autograd")),
    ],
)
def test_what_a_flag_allows_is_what_is_implemented(choices, implemented):
    assert list(choices) == list(implemented)


def test_a_recorded_configuration_is_rebuilt_or_refused():
    config = TrainConfig(lr=0.5, seed=3)
    assert config_from_dict(asdict(config), "config.json") == config
    for wrong in ({"lr": 0.5}, asdict(config) | {"bogus": 1}, asdict(config) | {"lr": "x"}):
        with pytest.raises(ValueError, match=r"config\.json"):
            config_from_dict(wrong, "config.json")
    earlier = asdict(config)  # which did not have what was added since
    for names in (
        ("center_loss",),
        ("monitor", "balance_classes"),
        ("task", "sampling", "stop_when_proved"),
    ):
        earlier = {name: value for name, value in earlier.items() if name not in names}
        uniform = replace(config, sampling="auto" if "sampling" in earlier else "uniform")
        assert config_from_dict(earlier, "config.json") == uniform
    with pytest.raises(ValueError, match=r"missing or unknown settings: monitor$"):
        config_from_dict({**earlier, "balance_classes": True}, "config.json")
    with pytest.raises(ValueError, match=r"missing or unknown settings: bogus$"):
        config_from_dict(asdict(config) | {"bogus": 1}, "config.json")
