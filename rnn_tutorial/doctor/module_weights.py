"""Whose the weights of a module are: known to an optimizer, free to move, in one place only.

Part of `module_checks`. Shapes: N batch, T time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_copy import CELLS, hooked, loose_tensors
from rnn_tutorial.doctor.module_findings import TABLE
from rnn_tutorial.doctor.module_probe import Probe


def unregistered(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that need a gradient and are not in module.parameters(), by the way to them."""
    known = {id(p) for p in module.parameters()}
    found = loose_tensors(module)
    return {p: t for p, t in found.items() if t.requires_grad and id(t) not in known}


def no_parameters(where: list[str], confidence: str) -> Finding:
    """The finding for tensors that are trained by nobody."""
    tops = list(dict.fromkeys(path.partition("[")[0] for path in where))
    return TABLE.found(
        "unregistered-parameters",
        f"{', '.join(tops[:4])}: {len(where)} tensors that need a gradient and are not in "
        "module.parameters()",
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
        yield no_parameters(used, "certain")
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
        yield made_anew(f"a {made[0]} is made")
    elif late:
        yield TABLE.found(
            "unregistered-parameters",
            f"{', '.join(sorted(late)[:4])} came into being in the first call of forward",
            "likely",
            advice="make layers in __init__, or call the module before making the optimizer",
        )


def made_anew(what: str) -> Finding:
    """The finding for weights that live for one call."""
    return TABLE.found(
        "unregistered-parameters",
        f"{what} anew in each call of forward",
        advice="make layers once, in __init__, and keep them as attributes",
    )


def drawn_weights(probe: Probe) -> list[tuple[int, ...]]:
    """Shapes of random numbers that each call draws, whatever the batch: not dropout or noise."""
    few, all_rows = (_draws(probe, rows) for rows in (4, len(probe.lengths)))
    return [shape for shape in few if shape in all_rows]


def _draws(probe: Probe, num_rows: int) -> list[tuple[int, ...]]:
    """The shapes of the random numbers that a call draws, apart from dropout's."""
    shapes: list[tuple[int, ...]] = []

    class Draws(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
            result = func(*args, **(kwargs or {}))
            is_dropout = "bernoulli" in str(func) or "dropout" in str(func)
            if torch.Tag.nondeterministic_seeded in func.tags and not is_dropout:
                shapes.append(tuple(result.shape))
            return result

    x, lengths = probe.full_batch()
    try:
        with Draws():
            probe.scores(x[:num_rows], lengths[:num_rows])
    except (ModuleRaised, WrongShape):  # of batches of another size
        return []
    return [shape for shape in shapes if len(shape) > 1]


def check_dropout(module: nn.Module) -> Iterator[Finding]:
    """nn.RNN's dropout acts between its layers, and a single layer has nothing between."""
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and part.dropout > 0 and part.num_layers == 1:
            yield TABLE.found(
                "dropout-with-one-layer",
                f"{name or 'the module'} has dropout={part.dropout} and num_layers=1",
            )


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
        is_sure, seen = "certain", "no weight may change: requires_grad is False everywhere"
    else:
        weights = [w for w in weights if isinstance(w[1], (nn.Linear, *CELLS, nn.Conv1d))]
        if not weights:
            return
        is_sure = "likely" if all(_is_fresh(part, p) for _, part, p in weights) else "possible"
        names = ", ".join(name for name, _, _ in weights[:4])
        seen = f"requires_grad is False for {names} ({len(weights)} of {len(parameters)} weights)"
        seen += ", which have PyTorch's first random values" if is_sure == "likely" else ""
    yield TABLE.found("frozen-parameters", seen, is_sure)


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
    shared = [places for places in names.values() if len(places) > 1]
    if shared:
        parents = {name.rpartition(".")[0] for name in shared[0]}
        is_stack = len(parents) == 1 and isinstance(
            probe.module.get_submodule(parents.pop()), (nn.ModuleList, nn.Sequential, nn.ModuleDict)
        )
        yield _shared(
            f"{', '.join(shared[0][:4])} are one object", "likely" if is_stack else "possible"
        )
        return
    x, lengths = probe.full_batch()
    counts = [_repeats(probe, x[:, :steps], lengths.clamp(max=steps)) for steps in (7, 5)]
    for part, count in counts[0].items():
        if counts[1].get(part) == count:
            is_layer = isinstance(part, (nn.RNNBase, nn.TransformerEncoderLayer))
            seen = f"a {type(part).__name__} is called {count} times, on its own output"
            yield _shared(seen, "likely" if is_layer else "possible")
            return


def _shared(seen: str, confidence: str) -> Finding:
    return TABLE.found("layer-shared", seen, confidence)


def _repeats(probe: Probe, x: Tensor, lengths: Tensor) -> dict[nn.Module, int]:
    """How often PyTorch's layers are called on what came out of them, where they are."""
    outputs: dict[nn.Module, Tensor] = {}
    counts: dict[nn.Module, int] = defaultdict(lambda: 1)

    def first(value: object) -> Tensor | None:
        while isinstance(value, (tuple, list)) and value:
            value = value[0]
        return value if isinstance(value, Tensor) and value.requires_grad else None

    def look(part: nn.Module, args: tuple, kwargs: dict, result: object) -> None:
        given, before = first(args), outputs.get(part)
        if given is not None and before is not None and _depends(given, before):
            counts[part] += 1
        if (made := first(result)) is not None:
            outputs[part] = made

    kinds = (nn.RNNBase, nn.TransformerEncoderLayer, nn.MultiheadAttention, nn.Linear)
    try:
        with hooked(probe.module, kinds, look):
            probe.scores(x, lengths)
    except (ModuleRaised, WrongShape):  # of sequences of another length
        pass
    return dict(counts)


def _depends(later: Tensor, earlier: Tensor) -> bool:
    try:
        return (
            torch.autograd.grad(later.sum(), earlier, retain_graph=True, allow_unused=True)[0]
            is not None
        )
    except RuntimeError:
        return False
