"""Whose the weights of a module are: known to an optimizer, free to move, in one place only.

Part of `module_checks`. Shapes: N batch, T time.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_copy import CELLS, hooked, loose_tensors
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
    loose = loose_tensors(module)
    scores = probe.scores(*batch)
    kept = loose_tensors(module)  # what a call replaces is its memory, not a weight
    used = []
    for path in unregistered(probe.original):
        if (tensor := kept.get(path)) is None or tensor is not loose.get(path):
            continue
        before = tensor.detach().clone()
        tensor.data.add_(torch.randn_like(tensor))
        if probe.are_touched(scores, probe.scores(*batch)).any():
            used.append(path)
        tensor.data.copy_(before)
    if used:
        yield loose_weights(used, "certain")
    made: list[str] = []
    handle = nn.modules.module.register_module_parameter_registration_hook(
        lambda part, name, parameter: made.append(type(part).__name__)
    )
    try:
        probe.scores(*batch)
    finally:
        handle.remove()
    late = module.state_dict().keys() - probe.original.state_dict().keys()
    late &= {name for name, _ in module.named_parameters()}
    if made:
        seen = f"each call of forward makes a new {made[0]}"
        yield found("unregistered-parameters", seen, advice=ANEW)
    elif late:
        seen = f"the first call of forward made {', '.join(sorted(late)[:4])}"
        advice = "make layers in __init__, or call the module before making the optimizer"
        yield found("unregistered-parameters", seen, "likely", advice=advice)


class _Draws(TorchDispatchMode):
    """Notes the shapes of the random numbers that are drawn, apart from dropout's."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        result = func(*args, **(kwargs or {}))
        is_dropout = "bernoulli" in str(func) or "dropout" in str(func)
        if torch.Tag.nondeterministic_seeded in func.tags and not is_dropout and result.ndim > 1:
            self.shapes.append(tuple(result.shape))
        return result


def drawn_weights(probe: Probe) -> list[tuple[int, ...]]:
    """Shapes of random numbers that each call draws, whatever the batch: not dropout or noise."""
    x, lengths = probe.full_batch()
    drawn = []
    for num_rows in (4, len(lengths)):
        draws = _Draws()
        draws.shapes = []
        with draws, contextlib.suppress(ModuleRaised, WrongShape):  # of batches of another size
            probe.scores(x[:num_rows], lengths[:num_rows])
        drawn.append(draws.shapes)
    return [shape for shape in drawn[0] if shape in drawn[1]]


def check_dropout(module: nn.Module) -> Iterator[Finding]:
    """nn.RNN's dropout acts between its layers, and a single layer has nothing between."""
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and part.dropout > 0 and part.num_layers == 1:
            seen = f"{name or 'the module'} has dropout={part.dropout} and num_layers=1"
            yield found("dropout-with-one-layer", seen)


def check_frozen(module: nn.Module) -> Iterator[Finding]:
    """Weights that still have their first values and may not change."""
    parameters = [p for p in module.parameters() if p.ndim > 1]
    weights = [
        (f"{name}.{key}" if name else key, part, p)
        for name, part in module.named_modules()
        for key, p in part.named_parameters(recurse=False)
        if p.ndim > 1 and not p.requires_grad
    ]
    if weights and len(weights) == len(parameters):
        yield found("frozen-parameters", "requires_grad is False for every weight")
        return
    weights = [w for w in weights if isinstance(w[1], (nn.Linear, *CELLS, nn.Conv1d))]
    if weights:
        is_fresh = all(_is_fresh(part, p) for _, part, p in weights)
        names = ", ".join(name for name, _, _ in weights[:4])
        seen = f"requires_grad is False for {names} ({len(weights)} of {len(parameters)} weights)"
        seen += ", which have PyTorch's first random values" * is_fresh
        yield found("frozen-parameters", seen, "likely" if is_fresh else "possible")


def _is_fresh(part: nn.Module, weight: Tensor) -> bool:
    """True if the weights are uniform in ±1/√n, as PyTorch's layers begin."""
    width = part.hidden_size if isinstance(part, CELLS) else weight[0].numel()
    bound = width**-0.5
    return bool(weight.abs().max() <= bound * 1.001 and 0.4 < weight.std() / bound < 0.75)


def check_sharing(probe: Probe) -> Iterator[Finding]:
    """One layer in several places: under several names, or called again on its own output."""
    names = defaultdict(list)
    for name, part in probe.module.named_modules(remove_duplicate=False):
        if any(True for _ in part.parameters()) and not isinstance(part, nn.Embedding):
            names[part].append(name)
    for places in names.values():
        if len(places) > 1:
            parents = {name.rpartition(".")[0] for name in places}
            kinds = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
            parent = probe.module.get_submodule(min(parents))
            sure = "likely" if len(parents) == 1 and isinstance(parent, kinds) else "possible"
            yield found("layer-shared", f"{', '.join(places[:4])} are one object", sure)
            return
    x, lengths = probe.full_batch()
    kinds = (nn.RNNBase, nn.TransformerEncoderLayer, nn.MultiheadAttention)
    counts: dict[int, Counter[nn.Module]] = {7: Counter(), 5: Counter()}
    for steps, count in counts.items():  # a loop over time calls less often where there is less

        def look(part: nn.Module, *_: object, count: Counter[nn.Module] = count) -> None:
            count[part] += 1

        # Sequences of another length may not fit.
        with contextlib.suppress(ModuleRaised, WrongShape), hooked(probe.module, kinds, look):
            probe.scores(x[:, :steps], lengths.clamp(max=steps))
    for part, times in counts[7].items():
        if times == counts[5][part] > 1:
            seen = f"one {type(part).__name__} is called {times} times"
            yield found("layer-shared", seen, "likely")
            return
