"""Checks of training steps: each fault is found where it is, and nowhere else."""

import itertools
import math
import sys
from functools import partial

import pytest
import torch
from torch import nn, optim
from torch.func import functional_call, grad_and_value
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from rnn_tutorial.doctor import loop_watch
from rnn_tutorial.doctor.loop_checks import check_step
from rnn_tutorial.experiments.doctor_cases.cases import ERROR
from rnn_tutorial.experiments.doctor_cases.loops_open import CASES as OPEN_LOOPS
from rnn_tutorial.experiments.doctor_self_test import LOOP_CASES


def found(made):
    return {finding.name: finding for finding in check_step(made)[0]}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def make_step(optimizer=None, change_loss=lambda loss: loss, between=lambda model: None, made=net):
    """A plain loop, with something changed."""
    model = made()
    optimizer = optimizer or (lambda parameters: optim.SGD(parameters, lr=0.1))
    optimizer = optimizer(model.parameters())

    def step():
        x = torch.randn(16, 6)
        optimizer.zero_grad()
        loss = change_loss(F.cross_entropy(model(x), x[:, :3].argmax(1)))
        loss.backward()
        between(model)
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("case", OPEN_LOOPS, ids=lambda case: case.name)
def test_open_cases_of_loops(case):
    if case.expected == {ERROR}:
        with pytest.raises(ValueError, match=r"loops_open\.py:\d+: \w+Error: "):
            check_step(case.make())
    elif case.is_healthy:
        assert not found(case.make())
    else:
        assert case.expected & set(found(case.make()))


def test_a_graph_that_grows_is_found():
    finding = found(LOOP_CASES["state carried on, retain_graph"][1](0))["state-not-detached"]
    assert "detach" in finding.advice and "grows" in finding.seen


@pytest.mark.parametrize("case", [name for name in LOOP_CASES if "detached" in name])
def test_nothing_is_found_in_a_good_loop(case):
    expected, make = LOOP_CASES[case]
    assert expected is None and not found(make(0))


def scheduled(make):
    """A loop whose learning rate is what a schedule says."""
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler, step = make(optimizer), make_step(lambda _: optimizer, made=lambda: model)

    def scheduled_step():
        loss = step()
        scheduler.step()
        return loss

    return scheduled_step


@pytest.mark.parametrize(
    ("make", "is_fault"),
    [
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), True),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.95), True),
        (lambda o: lr_scheduler.LambdaLR(o, lambda k: max(0.0, 1 - k / 10)), True),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.99), False),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 33), False),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 32), False),
        (lambda o: lr_scheduler.LambdaLR(o, lambda k: k / 4000), False),
    ],
)
def test_a_learning_rate_that_vanishes_and_others_that_fall(make, is_fault):
    assert set(found(scheduled(make))) == ({"learning-rate-vanishes"} if is_fault else set())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("update-too-large", {"optimizer": lambda p: optim.SGD(p, lr=100.0)}),
        ("update-too-small", {"optimizer": lambda p: optim.Adam(p, lr=1e-8)}),
        ("update-too-small", {"optimizer": lambda p: optim.SGD(p, lr=0.0)}),
        ("parameters-never-moved", {"optimizer": lambda p: optim.SGD(list(p)[2:], lr=0.1)}),
        ("parameters-never-moved", {"optimizer": lambda p: optim.SGD(net().parameters(), lr=0.1)}),
        ("negated-loss", {"change_loss": lambda loss: -loss}),
        ("not-finite-loss", {"change_loss": lambda loss: loss / 0}),
        ("loss-detached", {"change_loss": lambda x: torch.tensor(x.item(), requires_grad=True)}),
        ("loss-detached", {"change_loss": lambda loss: loss.detach()}),
        ("gradient-zeroed-before-step", {"between": lambda model: model.zero_grad()}),
    ],
)
def test_one_change_of_a_plain_loop_is_named(name, options):
    assert found(make_step()) == {}
    assert list(found(make_step(**options))) == [name]


def test_causes_hide_what_they_explain():
    def between(model):
        model.zero_grad()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    assert list(found(make_step(between=between))) == ["gradient-zeroed-before-step"]


def test_gradients_of_two_players_are_nobodys_fault():
    """Each loss leaves gradients in the other network, which are zeroed before they are used."""
    generator, critic = nn.Linear(6, 6), nn.Linear(6, 1)
    ours, theirs = (optim.Adam(m.parameters(), lr=1e-3) for m in (generator, critic))

    def step():
        fake, real = generator(torch.randn(16, 6)), torch.randn(16, 6) + 1
        theirs.zero_grad()
        loss = F.softplus(critic(fake.detach())).mean() + F.softplus(-critic(real)).mean()
        loss.backward()
        theirs.step()
        ours.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        ours.step()
        return loss

    assert not found(step)


def test_accumulation_over_sixteen_calls_is_waited_for():
    model, calls = net(), itertools.count(1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(is_zeroed_each=False):
        x = torch.randn(16, 6)
        if is_zeroed_each:
            optimizer.zero_grad()
        loss = F.cross_entropy(model(x), x[:, :3].argmax(1)) / 16
        loss.backward()
        if next(calls) % 16 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    assert not found(step)
    assert list(found(lambda: step(True))) == ["gradient-zeroed-before-step"]


def test_an_accumulation_that_is_longer_than_the_watch_is_not_wrong_for_certain():
    model, calls = net(), itertools.count(1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        x = torch.randn(16, 6)
        loss = F.cross_entropy(model(x), x[:, :3].argmax(1)) / 48
        loss.backward()
        if next(calls) % 48 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    (finding,) = found(step).values()
    assert (finding.name, finding.confidence) == ("no-step", "likely")


@pytest.mark.parametrize("num_rows", [64, 8])
def test_one_batch_of_a_loader_and_a_loader_of_one_batch(num_rows):
    x, model = torch.randn(num_rows, 6), net()
    loader = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=8)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        x, y = next(iter(loader))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    assert list(found(step)) == (["same-batch"] if num_rows > 8 else [])


def test_epochs_in_one_order_are_not_one_batch():
    x, model = torch.randn(64, 6), net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def epoch():
        for batch in x.split(16):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch.clone()), batch[:, :3].argmax(1))
            loss.backward()
            optimizer.step()
        return loss

    report = check_step(epoch)
    assert not report.findings and "one batch: a call makes several" in " ".join(report.not_asked)


def test_the_mode_after_an_evaluation_counts():
    def make(**options):
        model = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.3), nn.Linear(16, 3))
        step = make_step(made=lambda: model)

        def step_and_evaluate():
            if options["returns"]:
                model.train()
            loss = step()
            model.eval()
            return loss.item()

        return step_and_evaluate

    assert list(found(make(returns=False))) == ["evaluation-mode-in-training"]
    assert not found(make(returns=True))


def hooks_of_torch():
    """How many hooks all modules and all optimizers have."""
    module, optimizer = nn.modules.module, sys.modules[optim.Optimizer.__module__]
    tables = (
        module._global_forward_hooks, module._global_forward_pre_hooks,
        optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks,
    )  # fmt: skip
    return [len(table) for table in tables]


def test_nothing_is_left_behind():
    names = ("backward", "grad")
    before = [getattr(torch.autograd, name) for name in names]
    clipping = nn.utils.clip_grad_norm_.__closure__[0].cell_contents
    hooks = hooks_of_torch()
    check_step(make_step())
    with pytest.raises(ValueError):
        check_step(lambda: 1 / 0)
    assert before == [getattr(torch.autograd, name) for name in names]
    assert clipping is nn.utils.clip_grad_norm_.__closure__[0].cell_contents
    assert hooks == hooks_of_torch()


def test_a_slow_loop_is_cut_short_and_that_is_said(monkeypatch):
    monkeypatch.setattr(loop_watch, "_MAX_SECONDS", -1.0)
    assert check_step(make_step()).not_asked[-1] == "what needs more than 8 steps to be seen"


def test_the_loss_of_a_step_may_come_in_a_dict():
    step = make_step()
    assert [*found(lambda: {"loss": step() * math.nan, "accuracy": 1.0})] == ["not-finite-loss"]


def test_pairs_that_a_loss_compares_on_purpose():
    """Quantiles: each of the prediction with each of the target."""

    def between(model):
        scores = model(torch.randn(16, 6))
        F.smooth_l1_loss(scores.unsqueeze(2), torch.rand(16, 1, 3), reduction="none").mean()

    assert not found(make_step(between=between))


def test_the_penalty_on_a_gradient_is_no_early_zeroing():
    """A critic with a gradient penalty, and a generator, in turn (Gulrajani et al., 2017)."""
    critic, generator = nn.Linear(4, 1), nn.Linear(4, 4)
    of_critic, of_generator = (optim.Adam(m.parameters(), 1e-3) for m in (critic, generator))

    def step():
        made, real = generator(torch.randn(16, 4)), torch.randn(16, 4)
        mixed = (made.detach() + real).div(2).requires_grad_()
        (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        loss = critic(made.detach()).mean() - critic(real).mean()
        loss = loss + 10 * (slope.norm(dim=1) - 1).square().mean()
        of_critic.zero_grad()
        loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        (-critic(made).mean()).backward()
        of_generator.step()
        return loss.item()

    assert "gradient-zeroed-before-step" not in found(step)


def test_probabilities_where_a_loss_takes_scores():
    found_in = found(make_step(made=lambda: nn.Sequential(*net(), nn.Softmax(dim=1))))
    assert [*found_in] == ["probabilities-in-loss"]
    found_in = found(make_step(made=lambda: nn.Sequential(*net(), nn.Sigmoid())))
    assert [*found_in] == ["probabilities-in-loss"]
    model = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid())
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(as_logits):
        x = torch.randn(16, 6)
        optimizer.zero_grad()
        scores = model[0](x) if as_logits else model(x)
        loss = F.binary_cross_entropy_with_logits(scores[:, 0], (x[:, 0] > 0).float())
        loss.backward()
        optimizer.step()
        return loss

    assert [*found(lambda: step(as_logits=False))] == ["probabilities-in-loss"]
    assert not found(lambda: step(as_logits=True))
    with torch.no_grad():
        model[0].weight.mul_(0.01)
        model[0].bias.fill_(0.5)
    optimizer.param_groups[0]["lr"] = 1e-3
    assert "probabilities-in-loss" not in found(lambda: step(as_logits=True))  # from 0 to 1, too


@pytest.mark.parametrize("cut", [torch.Tensor.detach, lambda h: torch.tensor(h.tolist())])
def test_a_module_that_no_gradient_comes_to(cut):
    torch.manual_seed(0)
    encoder, head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)
    optimizer = optim.Adam([*encoder.parameters(), *head.parameters()], 0.01)

    def step(between=cut):
        x = torch.randn(16, 4, 6)
        optimizer.zero_grad()
        loss = F.cross_entropy(head(between(encoder(x)[1][-1])), x[:, 0, :3].argmax(1))
        loss.backward()
        optimizer.step()
        return loss

    (finding,) = check_step(step).findings
    assert finding.name == "gradient-cut-off" and "GRU (4)" in finding.seen
    assert not found(lambda: step(between=lambda h: h))
    generator_steps = itertools.count()
    seldom = found(lambda: step(cut if next(generator_steps) % 20 else lambda h: h))
    assert "gradient-cut-off" not in seldom
    assert not found(lambda: step(between=lambda h: h.detach() + 0 * h))  # a weight of 0, for now
    assert "of which 6 got one" in check_step(lambda: step(lambda h: h)).looked_at[1]


def test_weights_that_are_made_in_the_loop_are_not_yet_trained():
    def steps():
        torch.manual_seed(0)
        embedding, output = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        output.weight = embedding.weight
        nn.init.uniform_(embedding.weight, -0.1, 0.1)
        for _ in range(40):
            x = torch.randint(20, (32,))
            loss = F.cross_entropy(output(embedding(x)), (x + 1) % 20)
            embedding.zero_grad()
            loss.backward()
            embedding.weight.data.sub_(embedding.weight.grad)
            yield loss

    assert not found(steps())


def test_optimizers_may_stand_in_a_list():
    model = net()
    optimizers = [optim.SGD(model[0].parameters(), 0.1), optim.SGD(model[2].parameters(), 0.1)]

    def step():
        x = torch.randn(16, 6)
        model.zero_grad()
        loss = F.cross_entropy(model(x), x[:, :3].argmax(1))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss

    assert not found((step, model, optimizers))


def test_what_was_looked_at_is_told():
    assert check_step(make_step()).looked_at[0].startswith("steps: 32,")


@pytest.mark.parametrize("loss", [1.0, torch.tensor(1.0), None])
def test_a_step_that_trains_nothing_is_refused(loss):
    with pytest.raises(ValueError, match="no tensor that needs a gradient"):
        check_step(lambda: loss)


@pytest.mark.parametrize("made", [1, net(), (), (print, 3), (print, net(), net()), iter([])])
def test_what_is_no_step_is_refused(made):
    with pytest.raises(ValueError, match=r"^--step"):
        check_step(made)


def test_an_error_of_the_user_is_told_with_its_line():
    def step():
        return torch.zeros(2, 3) @ torch.zeros(2, 3)

    line = step.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match=f"test_loop_checks.py:{line}: RuntimeError: mat1"):
        check_step(step)
    with pytest.raises(ValueError, match=r"^TypeError: .*missing 1 required"):
        check_step(lambda batch: batch)


def tagging(loss=None, targets=lambda x: x % 5, padded=False, num_tags=5):
    """A tagger of (16, 10) tokens, and the loss of its (16, 10, num_tags) scores."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, num_tags))
    optimizer = optim.Adam(model.parameters(), 0.01)

    def step():
        x = torch.randint(1, 20, (16, 10))
        if padded:
            x *= torch.arange(10) < torch.randint(2, 11, (16, 1))
        optimizer.zero_grad()
        value = (loss or F.cross_entropy)(model(x).transpose(1, 2), targets(x)).mean()
        value.backward()
        optimizer.step()
        return value

    return step


def of_scores(change, loss=F.cross_entropy):
    """A loss of the scores (16, 10, 5), as they are changed."""
    return lambda scores, y: loss(change(scores.transpose(1, 2)), y)


def padding_counts(**options):
    return tagging(partial(F.cross_entropy, **options), lambda x: (x > 0) * (x % 4 + 1), True)


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (tagging(), []),
        (tagging(of_scores(lambda z: z.view(16, 5, 10))), ["view-for-transpose"]),
        (tagging(of_scores(lambda z: z.reshape(16, 2, 5, 5).flatten(1, 2).mT)), []),
        (tagging(of_scores(lambda z: z.mT, F.nll_loss)), ["no-log-probabilities"]),
        (tagging(of_scores(lambda z: z.softmax(2).mT, F.nll_loss)), ["no-log-probabilities"]),
        (tagging(of_scores(lambda z: z.log_softmax(1).mT, F.nll_loss)), ["no-log-probabilities"]),
        (tagging(of_scores(lambda z: z.log_softmax(2).mT, F.nll_loss)), []),
        (tagging(of_scores(lambda z: (1.1 * z.log_softmax(2)).mT, F.nll_loss)), []),
        (padding_counts(), ["padding-in-loss"]),
        (padding_counts(ignore_index=0), []),
        (padding_counts(reduction="none"), []),  # a mask may follow
        (tagging(targets=lambda x: x % 2, padded=True), []),  # padding has a class of its own
        (tagging(targets=lambda x: x, num_tags=20), ["target-is-input"]),
        (tagging(targets=lambda x: x.roll(-1, 1), num_tags=20), []),
    ],
)
def test_what_a_loss_is_given(step, names):
    torch.manual_seed(0)
    assert [*found(step)] == names


def searching(scale):
    """An evolution strategy: it needs no gradients."""
    model = net()

    @torch.no_grad()
    def step():
        x = torch.randn(16, 6)
        for p in model.parameters():
            p.data = p + scale * torch.randn_like(p)
        return F.cross_entropy(model(x), x[:, :3].argmax(1))

    return step, model


def functional(is_transformed):
    """Weights in a dict, made anew by each update."""
    model = net()
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss_of(weights, x):
        return F.cross_entropy(functional_call(model, weights, x), x[:, :3].argmax(1))

    def step():
        x = torch.randn(16, 6)
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        if is_transformed:
            gradients, loss = grad_and_value(loss_of)(weights, x)
        else:
            loss = loss_of(leaves, x)
            parts = torch.autograd.grad(loss, [*leaves.values()])
            gradients = dict(zip(leaves, parts, strict=True))
        weights.update({name: w - 0.1 * gradients[name] for name, w in weights.items()})
        return loss.item()

    return step


def test_weights_that_move_out_of_sight_are_nobodys_fault():
    assert not found(functional(is_transformed=False))
    report = check_step(functional(is_transformed=True))
    assert not report.findings and "torch.func" in " ".join(report.not_asked)
    assert not found(searching(0.01))
    assert "no-backward" in found(searching(0.0))
    with pytest.raises(ValueError, match="no tensor that needs a gradient"):
        check_step(searching(0.01)[0])
    assert "loss-detached" in found(searching(0.0)[0])


def test_a_whole_training_in_each_call_is_not_judged():
    def train():
        step = make_step()
        return [step() for _ in range(3)][-1]

    report = check_step(train)
    assert not report.findings and "yield each loss" in " ".join(report.not_asked)


def test_a_frozen_network_may_stay_in_evaluation_mode():
    def probe(is_frozen):
        body = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.3), nn.Tanh())
        return nn.Sequential(body.requires_grad_(not is_frozen), nn.Linear(16, 3)).eval()

    assert not found(make_step(made=lambda: probe(True)))
    assert [*found(make_step(made=lambda: probe(False)))] == ["evaluation-mode-in-training"]


def test_weights_that_are_put_back_after_each_update():
    model = net()
    first, step = net().state_dict(), make_step(made=lambda: model)

    def undone():
        loss = step()
        model.load_state_dict(first)
        return loss

    assert [*found(undone)] == ["weights-put-back"]
    assert [*found(step)] == []


@pytest.mark.parametrize(("lr", "sure"), [(3e-7, "likely"), (1e-5, "possible"), (1e-2, None)])
def test_a_slow_pace_is_less_sure_than_none(lr, sure):
    step = make_step(optimizer=lambda parameters: optim.SGD(parameters, lr=lr))
    found_in = {finding.name: finding.confidence for finding in check_step(step).findings}
    assert found_in.get("update-too-small") == sure
