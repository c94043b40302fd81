"""What the first weights of a module show: who owns them, who shares them, and whether they can learn.

Part of `module_checks`. Shapes: N batch, T time, H hidden, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.module_call import ModuleRaised, WrongShape
from rnn_tutorial.doctor.module_probe import Probe, hooked
from rnn_tutorial.doctor.states import SATURATED

CELLS = (nn.RNNBase, nn.RNNCellBase)
NEARLY_ALL = 0.95  # share of units; recipes that learn have 0.85 at most, see run_checks
SHUT = 4.0  # a gate at sigmoid(±4) is open or shut to 2 %
WIDE = 300.0  # scores this large at the start: the first loss is in the hundreds
_DEPTH = 4  # of lists in objects in lists


def unregistered(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that need a gradient and are not in module.parameters(), by the way to them."""
    known = {id(p) for p in module.parameters()}
    found = _loose_tensors(module)
    return {p: t for p, t in found.items() if t.requires_grad and id(t) not in known}


def _loose_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All tensors in attributes that PyTorch does not look into: lists, dicts, plain objects."""
    own, found = vars(nn.Module()).keys(), {}

    def walk(value: Any, path: str, depth: int) -> None:
        if isinstance(value, Tensor):
            found.setdefault(path, value)
        elif isinstance(value, nn.Module):
            found.update({f"{path}.{name}": p for name, p in value.named_parameters()})
        elif depth and isinstance(value, (list, tuple, set)):
            for number, item in enumerate(value):
                walk(item, f"{path}[{number}]", depth - 1)
        elif depth and isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}[{key!r}]", depth - 1)
        elif depth and hasattr(value, "__dict__") and not callable(value):
            for key, item in vars(value).items():
                walk(item, f"{path}.{key}", depth - 1)

    for name, part in module.named_modules():
        if not type(part).__module__.startswith("torch.nn"):
            for attribute, value in vars(part).items():
                if attribute not in own:
                    walk(value, f"{name}.{attribute}" if name else attribute, _DEPTH)
    return found


def no_parameters(where: list[str], confidence: str) -> Finding:
    """The finding for tensors that are trained by nobody."""
    tops = list(dict.fromkeys(path.partition("[")[0] for path in where))
    return Finding(
        "unregistered-parameters",
        f"{', '.join(tops[:4])}: {len(where)} tensors that need a gradient and are not in "
        "module.parameters()",
        "the optimizer never sees them: they keep their first values, are not saved and do not "
        "move to a GPU",
        "nn.ModuleList, nn.ModuleDict or nn.ParameterList in place of a list or dict; nn.Parameter "
        "last, around the finished value: nn.Parameter(torch.randn(H, H) * 0.1)",
        confidence,
    )


@torch.no_grad()
def check_registration(probe: Probe) -> Iterator[Finding]:
    """Which of the loose tensors move the scores; and are there layers that each call makes anew?"""
    batch, module = probe.batch(), probe.module
    loose = _loose_tensors(module)
    scores = probe.scores(*batch)
    kept = _loose_tensors(module)  # what a call replaces is its memory, not a weight
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
    drawn = [set(_draws(probe, rows)) for rows in (len(batch[0]), len(batch[0]) // 2)]
    if made or (same := drawn[0] & drawn[1]):
        seen = f"a {made[0]} is made" if made else f"weights of shape {min(same)} are drawn"
        yield Finding(
            "unregistered-parameters",
            f"{seen} anew in each call of forward",
            "no optimizer knows them, and what they learned would be gone with the next call",
            "make layers once, in __init__, and keep them as attributes",
        )
    elif late:
        yield Finding(
            "unregistered-parameters",
            f"{', '.join(sorted(late)[:4])} came into being in the first call of forward",
            "an optimizer that was made before that call does not know them",
            "make layers in __init__; or call the module once before making the optimizer",
            "likely",
        )


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
            yield Finding(
                "dropout-with-one-layer",
                f"{name or 'the module'} has dropout={part.dropout} and num_layers=1",
                "dropout acts between layers only, so here it does nothing",
                "add nn.Dropout after the embedding or before the last linear map, or a layer",
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
    yield Finding(
        "frozen-parameters",
        seen,
        "they keep the values that they have: only the rest of the network can learn",
        "requires_grad_(True); freeze by name what was trained before, and nothing else",
        is_sure,
    )


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
    return Finding(
        "layer-shared",
        seen,
        "these layers have the same weights, so the network is as large as with one of them",
        "nn.ModuleList(make_layer() for _ in range(3)), or num_layers=3; leave it if it is meant",
        confidence,
    )


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


def check_symmetry(probe: Probe) -> Iterator[Finding]:
    """Units with equal weights get equal gradients and stay one unit, whatever their number.

    Weights of 0 are not wrong by themselves: a head or a residual branch at 0 gets different
    gradients. So some updates are made, and what is equal then remains equal.
    """
    for name, part in probe.module.named_modules():
        weights = [p for p in part.parameters(recurse=False) if p.ndim > 1]
        is_token_table = part is probe.embedding()
        rows = (p[:-1] if is_token_table else p for p in weights)
        if isinstance(part, CELLS) or is_token_table:
            if weights and all(_is_constant(p, 0) for p in rows) and weights[0].requires_grad:
                yield _symmetric(f"all rows of {name or 'the weights'} are equal")
                return
    equal = {
        (name, dim): p
        for part_name, part in probe.module.named_modules()
        for key, p in part.named_parameters(recurse=False)
        for name in [f"{part_name}.{key}" if part_name else key]
        for dim in ((0,) if isinstance(part, (nn.Linear, *CELLS)) else (0, 1))
        if p.ndim == 2
        and p.requires_grad
        and not isinstance(part, nn.Embedding)
        and _is_constant(p, dim)
    }
    if not equal:
        return
    trained = probe.trained()
    parameters = dict(trained.module.named_parameters())
    for name, dim in equal:
        if _is_constant(parameters[name], dim, trained.tolerance):
            units = "rows" if dim == 0 else "columns"
            yield _symmetric(f"all {units} of {name} are equal, and equal after three updates too")
            return


def _is_constant(weights: Tensor, dim: int, tolerance: float = 0.0) -> bool:
    """True if the matrix is the same all along a dimension of at least two."""
    spread = weights.amax(dim) - weights.amin(dim)
    return weights.shape[dim] > 1 and bool((spread <= tolerance * weights.abs().max()).all())


def _symmetric(seen: str) -> Finding:
    return Finding(
        "symmetric-weights",
        seen,
        "units with equal weights compute the same and learn the same: they count as one",
        "random first weights: leave out nn.init.zeros_ or constant_, except for biases and for "
        "the last layer",
        "likely",
    )


@torch.no_grad()
def check_saturation(probe: Probe) -> Iterator[Finding]:
    """Do the units sit where tanh and sigmoid are flat, or are the scores far too wide?"""
    shares: list[tuple[float, str]] = []

    def add(is_flat: Tensor, where: str) -> None:
        if is_flat.numel() >= len(probe.lengths):
            shares.append((is_flat.double().mean().item(), where))

    class Curves(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
            result = func(*args, **(kwargs or {}))
            name = getattr(func, "__name__", "")
            if name in ("tanh", "sigmoid") and isinstance(result, Tensor):
                add((result if name == "tanh" else 2 * result - 1).abs() > SATURATED, name)
            return result

    def look(part: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        x, h = (v.data if isinstance(v, PackedSequence) else v for v in (args[0], result))
        while isinstance(h, tuple):
            h = h[0].data if isinstance(h[0], PackedSequence) else h[0]
        kind = type(part).__name__
        if kind.startswith("RNN"):
            add(h.abs() > SATURATED, kind)
            return
        own = [p for p in part.parameters(recurse=False)][:2]
        if x.is_floating_point() and own[0].shape[1] == x.shape[-1]:
            h = h[..., : own[1].shape[1]]
            before = x.reshape(-1, x.shape[-1]) @ own[0].T
            count = min(len(before), h.reshape(-1, h.shape[-1]).shape[0])
            before = before[:count] + h.reshape(-1, h.shape[-1])[:count] @ own[1].T
            add(before.abs() > SHUT, f"gates of {kind}")

    with Curves(), hooked(probe.module, CELLS, look):
        scores = probe.scores(*probe.batch())
    share, where = max(shares, default=(0.0, ""))
    widest = scores.abs().max().item()
    if share >= NEARLY_ALL or widest >= WIDE:
        seen = (
            f"{share:.0%} of the values of {where} are at their ends"
            if share >= NEARLY_ALL
            else (f"the scores reach {widest:.0f}")
        )
        yield Finding(
            "saturated-at-start",
            seen,
            "there tanh and sigmoid are flat: hardly any gradient gets through, and the first loss "
            "is very large",
            "PyTorch's own first weights, or a deviation of about 1/√H; embeddings of about 1",
            "likely",
        )
