"""Whose the weights of a module are: known to an optimizer, free to move, in one place only.

Part of `module_checks`. Shapes: N batch, T time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_copy import RECURRENT, Results, hooked, loose_tensors
from rnn_tutorial.doctor.module_findings import found
from rnn_tutorial.doctor.module_probe import Probe

ANEW = "make layers once, in __init__, and keep them as attributes"


def unregistered(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that need a gradient and are not in module.parameters(), by the way to them."""
    known = {id(p) for p in module.parameters()}
    loose = loose_tensors(module)
    return {p: t for p, t in loose.items() if t.requires_grad and id(t) not in known}


def loose_weights(paths: Iterable[str], confidence: str) -> Finding:
    """The finding for tensors that are trained by nobody, by the ways to them."""
    tops = list(dict.fromkeys(path.partition("[")[0] for path in paths))
    return found(
        "unregistered-parameters",
        f"{', '.join(tops[:4])}: not in module.parameters(), though they need a gradient",
        confidence,
        advice="nn.ModuleList, nn.ModuleDict or nn.ParameterList in place of a list or dict; "
        "nn.Parameter last, around the finished value: nn.Parameter(torch.randn(H, H) * 0.1)",
    )


@torch.no_grad()
def check_registration(probe: Probe) -> Iterator[Finding]:
    """Which of the loose tensors move the scores? Are there layers that each call makes anew?"""
    batch, module = probe.batch(), probe.module
    before, scores = loose_tensors(module), probe.scores(*batch)
    # What a call replaces is its memory, not a weight.
    kept = {path: t for path, t in loose_tensors(module).items() if t is before.get(path)}
    used = []
    for path in [path for path in unregistered(probe.original) if path in kept]:
        moved = probe.scores_moved(kept[path], torch.randn_like(kept[path]))
        used += [path] if probe.are_touched(scores, moved).any() else []
    if used:
        yield loose_weights(used, "certain")
    made: list[str] = []
    with nn.modules.module.register_module_parameter_registration_hook(
        lambda part, *_: made.append(type(part).__name__)
    ):
        probe.scores(*batch)
    late = module.state_dict().keys() - probe.original.state_dict().keys()
    late &= {name for name, _ in module.named_parameters()}
    if made:
        seen = f"each call of forward makes a new {made[0]}"
        yield found("unregistered-parameters", seen, advice=ANEW)
    elif late:
        seen = f"the first call of forward made {', '.join(sorted(late)[:4])}"
        advice = "make layers in __init__, or call the module before making the optimizer"
        yield found("unregistered-parameters", seen, "likely", advice=advice)


def drawn_weights(probe: Probe) -> list[tuple[int, ...]]:
    """Shapes of random numbers that each call draws, whatever the batch: not dropout or noise."""
    x, lengths = probe.full_batch()
    drawn: dict[int, list[tuple[int, ...]]] = {4: [], len(lengths): []}
    for num_rows, shapes in drawn.items():

        def look(func: object, result: object, shapes: list = shapes) -> None:
            is_dropout = "bernoulli" in str(func) or "dropout" in str(func)
            is_random = torch.Tag.nondeterministic_seeded in func.tags and not is_dropout
            shapes += [tuple(result.shape)] if is_random and result.ndim > 1 else []

        with Results(look):
            probe.can_score(x[:num_rows], lengths[:num_rows])
    return [shape for shape in drawn[4] if shape in drawn[len(lengths)]]


def check_layers(module: nn.Module) -> Iterator[Finding]:
    """Dropout of a single recurrent layer, and weights that may not change."""
    for name, part in module.named_modules():  # the dropout of nn.RNN acts between its layers
        if isinstance(part, nn.RNNBase) and part.dropout > 0 and part.num_layers == 1:
            seen = f"{name or 'the module'} has dropout={part.dropout} and num_layers=1"
            yield found("dropout-with-one-layer", seen)
    number = sum(p.ndim > 1 for p in module.parameters())
    frozen = [
        (f"{name}.{key}".strip("."), part, p)
        for name, part in module.named_modules()
        for key, p in part.named_parameters(recurse=False)
        if p.ndim > 1 and not p.requires_grad
    ]
    if frozen and len(frozen) == number:
        yield found("frozen-parameters", "requires_grad is False for every weight")
        return
    frozen = [each for each in frozen if isinstance(each[1], (nn.Linear, *RECURRENT, nn.Conv1d))]
    if frozen:
        is_fresh = all(_is_fresh(part, p) for _, part, p in frozen)
        names = ", ".join(name for name, _, _ in frozen[:4])
        seen = f"requires_grad is False for {names} ({len(frozen)} of {number} weights)"
        seen += ", which have PyTorch's first random values" * is_fresh
        yield found("frozen-parameters", seen, "likely" if is_fresh else "possible")


def _is_fresh(part: nn.Module, weight: Tensor) -> bool:
    """True if the weights are uniform in ±1/√n, as PyTorch's layers begin."""
    width = part.hidden_size if isinstance(part, RECURRENT) else weight[0].numel()
    bound = width**-0.5
    return bool(weight.abs().max() <= bound * 1.001 and 0.4 < weight.std() / bound < 0.75)


def check_sharing(probe: Probe) -> Iterator[Finding]:
    """One layer in several places: under several names, or called again on its own output."""
    names = defaultdict(list)
    for name, part in probe.module.named_modules(remove_duplicate=False):
        if any(True for _ in part.parameters()) and not isinstance(part, nn.Embedding):
            names[part].append(name)
    if shared := [places for places in names.values() if len(places) > 1]:
        parents = {name.rpartition(".")[0] for name in shared[0]}
        kinds = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
        is_list = isinstance(probe.module.get_submodule(min(parents)), kinds)
        sure = "likely" if len(parents) == 1 and is_list else "possible"
        yield found("layer-shared", f"{', '.join(shared[0][:4])} are one object", sure)
        return
    parts = probe.parts(nn.RNNBase, nn.TransformerEncoderLayer, nn.MultiheadAttention)
    calls: dict[int, list[nn.Module]] = {7: [], 5: []}
    for steps, called in calls.items():  # a loop over time calls less often where there is less
        with hooked(parts, lambda part, *_, called=called: called.append(part)):
            probe.can_score(*probe.full_batch(steps))
    for part, times in Counter(calls[7]).items():
        if times == calls[5].count(part) > 1 and times % len(probe.tokens):  # else rows in turn
            seen = f"one {type(part).__name__} is called {times} times"
            yield found("layer-shared", seen, "possible")
            return
