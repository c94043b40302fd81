"""The recipes: their settings, what overrides them, and how they are listed."""

import pytest

from rnn_tutorial.runs.processes import World
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.recipes import (
    RECIPES,
    Recipe,
    describe_recipes,
    overrides_recipe,
    settings_of,
)
from rnn_tutorial.training.configure import configure

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
        assert TrainConfig.from_flags({"recipe": name}) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_allowed_and_flags_override_it(name):
    config = TrainConfig.from_flags({"recipe": name, "hidden_dim": 7, "run_name": "mine"})
    assert (config.recipe, config.hidden_dim, config.run_name) == (name, 7, "mine")
    assert f"{name}: {RECIPES[name].lesson}" in describe_recipes()


def test_certified_reads_longer_sequences_of_other_machines():
    configs = [
        TrainConfig.from_flags({"recipe": "certified", **flags})
        for flags in ({}, {"task": "parity"}, {"task": "parity", "max_seq_len": 7})
    ]
    assert [config.max_seq_len for config in configs] == [5, 20, 7]
    assert all(c.penalties == {"contraction": 1.0, "center_loss": 100.0} for c in configs)
    assert "; other tasks than the sum: --max_seq_len 20\n" in describe_recipes() + "\n"


@pytest.mark.parametrize("flag", ["min_seq_len", "max_seq_len", "max_number"])
def test_flags_of_digits_are_refused_with_a_file(flag):
    with pytest.raises(ValueError, match=f"--{flag} 3 cannot be combined with --train_file"):
        settings_of({"train_file": "f", flag: 3})
    assert settings_of({"train_file": "f", "recipe": "solved"})["train_file"] == "f"


@pytest.mark.parametrize("flag", ["train_file", "eval_file", "run_name", "task"])
def test_an_empty_flag_does_not_stand_for_its_default(flag):
    with pytest.raises(ValueError, match=f"^--{flag} '' is empty; leave the flag out"):
        configure({flag: ""}, resume=None, world=World())


def test_a_run_is_named_after_what_it_learns_from():
    for flags, name in (
        ({}, "baseline"), ({"task": "parity"}, "parity-baseline"),
        ({"task": "regex:(ab|ba)*"}, "regex-ab_ba-baseline"),
        ({"task": r"regex:\+*"}, "regex-baseline"), ({"task": "x/a door.json"}, "a_door-baseline"),
        ({"train_file": "data/clicks.tsv", "recipe": "solved"}, "clicks-solved"),
        ({"train_file": "é" * 250 + ".tsv"}, "é" * 40 + "-baseline"),
    ):  # fmt: skip
        assert settings_of(flags)["run_name"] == name


def test_what_is_to_be_proved_needs_a_rule():
    with pytest.raises(ValueError, match="--recipe certified proves a network right, which needs"):
        settings_of({"train_file": "f", "recipe": "certified"})


def test_a_lowest_learning_rate_is_refused_with_a_constant_one():
    with pytest.raises(
        ValueError, match=r"--min_lr 0\.0005 cannot be combined with --scheduler constant"
    ):
        settings_of({"scheduler": "constant", "min_lr": 0.0005})
    of_recipe = settings_of({"scheduler": "constant", "recipe": "solved"})
    assert TrainConfig(**of_recipe).min_lr == 0


def test_flags_that_change_what_a_recipe_trains_override_it():
    def config(**flags):
        return configure({"recipe": "sota", **flags}, None, World())

    assert not overrides_recipe(config())
    assert not overrides_recipe(config(seed=3, log_every=7, run_name="x", device="cpu"))
    assert overrides_recipe(config(lr=0.1)) and overrides_recipe(config(min_seq_len=1))
    assert overrides_recipe(config(sampling="varied"))
    for name in RECIPES:
        assert not overrides_recipe(configure({"recipe": name}, None, World()))


def test_a_switch_in_a_recipe_is_shown_as_it_is_typed(monkeypatch):
    recipe = Recipe("a lesson", {"bidirectional": True, "num_layers": 2})
    monkeypatch.setitem(RECIPES, "deep", recipe)
    assert describe_recipes().endswith("    --bidirectional --num_layers 2")
