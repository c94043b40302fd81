"""The optimizers against PyTorch's, and LeanAdamW: the same bits, the same state_dict."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from torch.nn.functional import cross_entropy

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.settings.config import OPTIMIZERS, TrainConfig
from rnn_tutorial.training.optimizer import (
    OPTIMIZER_CLASSES,
    LeanAdamW,
    make_optimizer,
    update_ratio,
)


def train(optimizer_class, steps, weight_decay, state=None, **options):
    torch.manual_seed(0)
    model = RnnClsNet(10, 3, 5, 2, 10)
    optimizer = optimizer_class(model.parameters(), lr=0.1, weight_decay=weight_decay, **options)
    if state is not None:
        model.load_state_dict(state[0])
        optimizer.load_state_dict(copy.deepcopy(state[1]))  # PyTorch keeps the tensors given
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.zero_grad()
        model(torch.tensor([[1, 2, 3]]), torch.tensor([3])).square().sum().backward()
        optimizer.step()
    return model.state_dict(), optimizer.state_dict()


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_the_same_bits_as_torch(weight_decay):
    lean = train(LeanAdamW, 20, weight_decay)
    reference = train(torch.optim.AdamW, 20, weight_decay, fused=True)
    assert_same(lean[0], reference[0])
    assert_same(lean[1]["state"], reference[1]["state"])
    assert lean[1]["param_groups"] == reference[1]["param_groups"]


def test_each_resumes_the_other():
    after_five = train(torch.optim.AdamW, 5, 0.1, fused=True)
    lean = train(LeanAdamW, 5, 0.1, state=after_five)
    reference = train(torch.optim.AdamW, 5, 0.1, state=after_five, fused=True)
    assert_same(lean[0], reference[0])
    back = train(torch.optim.AdamW, 3, 0.1, state=lean, fused=True)
    assert_same(back[0], train(LeanAdamW, 3, 0.1, state=reference)[0])


def test_no_training_imports_pytorchs_compiler(tmp_path):
    """torch._dynamo takes more than a second to import, and nothing here needs it."""
    code = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import train_cls_rnn
quickly = "--tracker disabled --total_steps 3 --save_every 2 --device cpu".split()
for engine in ("autograd", "auto"):
    assert train_cls_rnn.main([*quickly, "--engine", engine, "--run_name", engine]) == 0
import pathlib
pathlib.Path("output/autograd/result.json").unlink()
pathlib.Path("output/autograd/model_step_3.pt").unlink()
assert train_cls_rnn.main(["--resume", "output/autograd"]) == 0
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("settings", "reference", "options"),
    [
        ({}, torch.optim.Adam, {}),
        ({"weight_decay": 0.3}, torch.optim.Adam, {"weight_decay": 0.3}),
        ({"optimizer": "adamw", "weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
        ({"optimizer": "sgd"}, torch.optim.SGD, {}),
        (
            {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
            torch.optim.SGD,
            {"momentum": 0.9, "weight_decay": 0.1},
        ),
        (
            {"optimizer": "rmsprop", "momentum": 0.5, "weight_decay": 0.1},
            torch.optim.RMSprop,
            {"momentum": 0.5, "weight_decay": 0.1},
        ),
    ],
    ids=["adam", "adam with decay", "adamw", "sgd", "sgd with momentum", "rmsprop"],
)
def test_each_name_is_the_optimizer_of_pytorch(settings, reference, options):
    config = TrainConfig(device="cpu", lr=0.1, **settings)
    named = train(lambda parameters, **_: make_optimizer(parameters, config), 5, 0.0)
    expected = train(
        lambda parameters, **_: reference(parameters, lr=0.1, foreach=False, **options), 5, 0.0
    )
    torch.testing.assert_close(named[0], expected[0], rtol=1e-5, atol=1e-6)


def test_the_names_of_the_flag_are_those_of_the_table():
    assert tuple(OPTIMIZER_CLASSES) == OPTIMIZERS


USUAL = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "rmsprop momentum": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
}


@pytest.mark.parametrize("make_optimizer", USUAL.values(), ids=USUAL)
def test_the_update_ratio_is_what_the_weights_moved_by(make_optimizer):
    torch.manual_seed(0)
    model = RnnClsNet(10, 4, 7, 1, 10).eval()
    x, targets = torch.randint(10, (5, 6)), torch.randint(10, (5,))
    optimizer = make_optimizer(model.parameters())
    for _ in range(3):
        before = [p.detach().clone() for p in model.parameters() if p.ndim > 1]
        optimizer.zero_grad()
        cross_entropy(model(x, torch.full((5,), 6)), targets).backward()
        optimizer.step()
    after = [p.detach() for p in model.parameters() if p.ndim > 1]
    moved = [(a - b).norm() / a.norm() for a, b in zip(after, before, strict=True)]
    expected = torch.stack(moved).median().item()
    assert update_ratio(optimizer) == pytest.approx(expected, rel=1e-3)


def test_the_update_ratio_of_weights_that_are_zero_is_a_number():
    weight = torch.zeros(2, 2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for gradient in (0.0, 1.0, math.inf):
        weight.grad = torch.full((2, 2), gradient)
        assert math.isfinite(update_ratio(optimizer))
