"""An independent check of a certificate: NumPy only, nothing of the program that wrote it.

A certificate is an automaton whose states are boxes of hidden states; prove.py says what it proves,
and intervals.py under which model of arithmetic. Every condition is decided here again from the
weights and the rule: where intervals.py multiplies centres and radii and adds one bound for all
rounding, this program multiplies lows and highs, separately for positive and negative weights, and
accounts for float32 (u = 2⁻²⁴) and for its float64 (u = 2⁻⁵³) one by one. What it shares with the
prover is that model: how far a sum, a tanh and a sigmoid may err. And it believes its caller which
weights, which cell and which rule are meant.

The rule is a minimal finite-state machine with its states in canonical order, so that equal rules
have equal tables. The file, an .npz without pickles:
    format              "rnn_tutorial certificate 2"
    weights_hash        SHA-256, hexadecimal, over the weights in the order of their names: a line
                        "name type (shape)", then the numbers in C order, little-endian
    cell                "rnn" (of tanh units) or "gru"
    machine_successors  int64 (Q, V)       the rule: the state after one more token
    machine_outputs     int64 (Q,)         the class of each state
    machine_states      int64 (S,)         the machine's state in each abstract state; abstract
                                           state 0 is the empty sequence
    successors          int64 (S, V)       the abstract state after one more token
    low, high           float32 (S, L, H)  the box of hidden states
    smallest_margin     float64            by which the right score is the highest, at least

A file of format 1 is about a tanh RNN and the digit sum: in place of `cell` and the three fields of
the machine it has `max_number`, the largest digit, and `residues`, the remainder of each state.

Shapes: Q states of the machine, S abstract states, V tokens, C classes, L layers, H hidden, D input
of a layer.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

_COMMON = {
    "format": ("U", 0),
    "weights_hash": ("U", 0),
    "successors": ("i", 2),
    "low": ("f", 3),
    "high": ("f", 3),
    "smallest_margin": ("f", 0),
}
_FIELDS = {  # of each format: kind of type and number of dimensions
    "rnn_tutorial certificate 1": _COMMON | {"max_number": ("i", 0), "residues": ("i", 1)},
    "rnn_tutorial certificate 2": _COMMON
    | {
        "cell": ("U", 0),
        "machine_successors": ("i", 2),
        "machine_outputs": ("i", 1),
        "machine_states": ("i", 1),
    },
}
_DAMAGE = (
    OSError, ValueError, LookupError, EOFError, AttributeError, TypeError, NotImplementedError,
    RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_LARGEST_FILE = 2**30  # bytes, unpacked; what a proof writes is smaller
_TANH_ERROR = 2.0**-21  # of the network's tanh, absolute
_SIGMOID_ERROR = 2.0**-21  # of its sigmoid
_NUMPY_TANH_ERROR = 2.0**-50  # of float64's
_SMALLEST_NORMAL = 2.0**-126

_Boxes = tuple[np.ndarray, np.ndarray]  # lows and highs, (S, L, H) or (S, H)
_Sums = tuple[np.ndarray, np.ndarray, np.ndarray]  # the same and a sum of absolute products


class InvalidCertificate(Exception):
    """The certificate does not prove the network right; the message says why."""


class Rule(NamedTuple):
    """What is right: a finite-state machine, whose state is 0 before the first token.

    Args:
        successors: the state after one more token, int64, (Q, V).
        outputs: the class of each state, int64, (Q,).
    """

    successors: np.ndarray
    outputs: np.ndarray


def check_certificate(
    path: Path, weights: Mapping[str, np.ndarray], rule: Rule, cell: str = "rnn"
) -> float:
    """Check that a certificate proves a network right for every sequence of tokens of every length.

    Args:
        path: the certificate.
        weights: the network's, float32, by the names of RnnClsNet's state_dict.
        rule: what is right, as the caller knows it; a certificate about another is refused.
        cell: "rnn" or "gru": what the network computes with its weights.

    Returns:
        The smallest score margin of the right class in any box.

    Raises:
        InvalidCertificate: a condition of the proof does not hold.
    """
    certificate = _read(path)
    _require(str(certificate["weights_hash"]) == _hash(weights), "it is for other weights")
    if "cell" not in certificate:
        certificate = _in_format_2(certificate, rule)
    _require(certificate["cell"] == cell, f"it is for another cell than {cell}")
    is_same_rule = np.array_equal(certificate["machine_successors"], rule.successors)
    is_same_rule &= np.array_equal(certificate["machine_outputs"], rule.outputs)
    _require(is_same_rule, "it is for another machine")
    return _check_automaton(certificate, weights, rule, cell)


def _in_format_2(certificate: Mapping[str, np.ndarray], rule: Rule) -> dict[str, np.ndarray]:
    """The fields of a certificate of format 1 as format 2 has them."""
    digits = np.arange(rule.successors.shape[1])
    is_sum = certificate["max_number"] == digits[-1] and len(rule.outputs) == len(digits)
    _require(is_sum, "it is for another machine")
    return {
        **certificate,
        "cell": np.array("rnn"),
        "machine_successors": (digits[:, None] + digits) % len(digits),
        "machine_outputs": digits,
        "machine_states": certificate["residues"],
    }


def _check_automaton(
    automaton: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], rule: Rule, cell: str
) -> float:
    """Check that the automaton of a certificate closes; returns the smallest margin."""
    states, successors = automaton["machine_states"], automaton["successors"]
    low, high = (automaton[name].astype(np.float64) for name in ("low", "high"))
    embedding, layers, fc = _arrange(weights, cell)
    num_states, num_tokens = len(states), len(embedding)
    _require(rule.successors.shape[1] == num_tokens, "the machine's tokens are not the network's")
    _require(rule.outputs.max() < len(fc[1]), "the machine's classes are not the network's")
    _require(successors.shape == (num_states, num_tokens), "a state or a successor is missing")
    shape = num_states, len(layers), layers[0][1].shape[1]
    _require(low.shape == high.shape == shape, "the boxes do not fit the network")
    is_box = (-np.inf < low) & (low <= high) & (high < np.inf)
    _require(num_states > 0 and is_box.all(), "a box is empty or not a number")
    is_known = (successors >= 0) & (successors < num_states)
    _require(is_known.all(), "a successor is not one of the abstract states")
    is_in_rule = (states >= 0) & (states < len(rule.outputs))
    _require(is_in_rule.all(), "a machine state is not one of the machine's")
    _require(states[0] == 0, "the empty sequence is not in the machine's first state")
    _require((low[0] <= 0).all() and (high[0] >= 0).all(), "the box of h_0 does not hold it")
    is_expected = states[successors] == rule.successors[states]
    _require(is_expected.all(), "a successor is not in the state that the machine goes to")
    for token in range(num_tokens):
        after = successors[:, token]
        image_low, image_high = _step(embedding[token], layers, low, high)
        _require(
            (low[after] <= image_low).all() and (image_high <= high[after]).all(),
            f"the token of id {token} leads out of a box",
        )
    ends = np.unique(successors)  # of all sequences but the empty one
    margin = _smallest_margin(*fc, low[ends, -1], high[ends, -1], rule.outputs[states[ends]])
    _require(margin > 0, f"a score margin is not above 0: {margin:.3g}")
    claimed = float(automaton["smallest_margin"])
    _require(0 < claimed <= margin * (1 + 1e-4), f"it claims a margin of {claimed:.3g}")
    return margin


def claimed_hash(path: Path) -> str:
    """The hash of the weights that a certificate is for; reads nothing else of it.

    Raises:
        InvalidCertificate: the file is missing, damaged, or no certificate.
    """
    return str(_read(path, ("weights_hash",))["weights_hash"])


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise InvalidCertificate(otherwise)


def _read(path: Path, names: Collection[str] = ()) -> dict[str, np.ndarray]:
    """These fields of the file, or all, of the right types and numbers of dimensions."""
    _require(not path.exists() or path.is_file(), "it is not a regular file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            size = sum(entry.file_size for entry in archive.zip.infolist())
            _require(size <= _LARGEST_FILE, f"it unpacks to {size:,} bytes, too many")
            types = _FIELDS.get(str(archive["format"]))
            _require(types is not None, "its format is unknown")
            _require(set(archive.files) == set(types), "its fields are not those of a certificate")
            fields = {name: archive[name] for name in names or types}
    except _DAMAGE as error:
        is_archive = path.is_file() and zipfile.is_zipfile(path)
        reason = error if is_archive or isinstance(error, OSError) else "it is no .npz file"
        raise InvalidCertificate(f"it cannot be read: {reason}") from None
    for name, array in fields.items():
        has_type = (array.dtype.kind, array.ndim) == types[name]
        _require(has_type, f"its field {name} has the wrong type or number of dimensions")
    return fields


def _hash(weights: Mapping[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name]
        sha256.update(f"{name} {values.dtype} {values.shape}\n".encode())
        sha256.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
    return sha256.hexdigest()


def _arrange(weights: Mapping[str, np.ndarray], cell: str) -> tuple[np.ndarray, list, tuple]:
    """Embedding of the tokens, (V, D), layers (W_ih, W_hh, b_ih, b_hh), and fc (W, b)."""
    num_layers = sum(name.startswith("rnn.weight_hh") for name in weights)
    names = [
        [f"rnn.{kind}_l{index}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        for index in range(num_layers)
    ]
    expected = {"embedding.weight", "fc.weight", "fc.bias"}.union(*names)
    is_plain = set(weights) == expected and num_layers > 0
    _require(is_plain, "the network is not a plain one in one direction")
    hidden = weights["rnn.weight_hh_l0"].shape[1]
    for values in weights.values():
        _require(values.dtype == np.float32, "a weight is not in float32")
        _require(np.abs(values).max() < 2.0**32, "a weight is not a number that a network uses")
    exact = {name: values.astype(np.float64) for name, values in weights.items()}
    layers = [tuple(exact[name] for name in layer) for layer in names]
    shape = {"rnn": hidden, "gru": 3 * hidden}.get(cell), hidden
    is_cell = all(layer[1].shape == shape for layer in layers)
    _require(is_cell, f"the recurrent layers are not those of cell {cell}")
    return exact["embedding.weight"][:-1], layers, (exact["fc.weight"], exact["fc.bias"])


def _step(x: np.ndarray, layers: list, low: np.ndarray, high: np.ndarray) -> _Boxes:
    """Boxes around what float32 may compute from an embedded token, (D,), and all h in boxes."""
    image_low, image_high = np.empty_like(low), np.empty_like(high)
    inputs = np.broadcast_to(x, (len(low), len(x)))
    inputs = inputs, inputs
    for index, weights in enumerate(layers):
        is_gru = len(weights[1]) > low.shape[2]
        step = _gru_layer if is_gru else _rnn_layer
        inputs = step(weights, inputs, (low[:, index], high[:, index]))
        image_low[:, index], image_high[:, index] = inputs
    return image_low, image_high


def _rnn_layer(weights: tuple, inputs: _Boxes, states: _Boxes) -> _Boxes:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    w_ih, w_hh, b_ih, b_hh = weights
    sums = _add(_affine(w_ih, b_ih, inputs), _affine(w_hh, b_hh, states))
    return _tanh(_widen(sums, w_ih.shape[1] + w_hh.shape[1] + 2))


def _gru_layer(weights: tuple, inputs: _Boxes, states: _Boxes) -> _Boxes:
    """h' = (1 - z) n + z h, where n = tanh(W_in x + b_in + r (W_hn h + b_hn)), with gates r and z.

    PyTorch computes (h - n) z + n, others the sum above: three or four operations, which err by at
    most 5 u times the larger of |h| and |n|; 8 u is allowed for.
    """
    w_ih, w_hh, b_ih, b_hh = (np.split(part, 3) for part in weights)  # of r, z, n
    num_terms = w_ih[0].shape[1] + w_hh[0].shape[1] + 2
    from_input = [_affine(w, b, inputs) for w, b in zip(w_ih, b_ih, strict=True)]
    from_state = [_affine(w, b, states) for w, b in zip(w_hh, b_hh, strict=True)]
    r_low, r_high = _sigmoid(_widen(_add(from_input[0], from_state[0]), num_terms))
    z_low, z_high = _sigmoid(_widen(_add(from_input[1], from_state[1]), num_terms))
    q_low, q_high, q_mass = from_state[2]
    gated = (
        q_low * np.where(q_low < 0, r_high, r_low),
        q_high * np.where(q_high < 0, r_low, r_high),
        q_mass,
    )
    n_low, n_high = _tanh(_widen(_add(from_input[2], gated), num_terms + 2))
    low, high = states
    z_of_low, z_of_high = (
        np.where(low < n_low, z_high, z_low),
        np.where(high > n_high, z_high, z_low),
    )
    error = 8 * 2.0**-24 * np.maximum(np.maximum(-low, high), np.maximum(-n_low, n_high))
    return (
        (1 - z_of_low) * n_low + z_of_low * low - error,
        (1 - z_of_high) * n_high + z_of_high * high + error,
    )


def _affine(weight: np.ndarray, bias: np.ndarray, boxes: _Boxes) -> _Sums:
    """Weight · h + bias over the boxes, and the sum of the absolute products."""
    low, high = boxes
    mass = np.maximum(-low, high) @ np.abs(weight).T + np.abs(bias)
    return *(ends + bias for ends in _times(weight, low, high)), mass


def _add(left: _Sums, right: _Sums) -> _Sums:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _widen(sums: _Sums, num_terms: int) -> _Boxes:
    """The sums with their rounding."""
    low, high, mass = sums
    slack = _rounding(num_terms, mass)
    return low - slack, high + slack


def _tanh(ends: _Boxes) -> _Boxes:
    low, high = map(np.tanh, ends)
    error = _TANH_ERROR + _NUMPY_TANH_ERROR
    return low - error, high + error


def _sigmoid(ends: _Boxes) -> _Boxes:
    """σ(x) = (1 + tanh(x / 2)) / 2; what computes it in float32 stays in 0 to 1."""
    low, high = ((1 + np.tanh(end / 2)) / 2 for end in ends)
    error = _SIGMOID_ERROR + _NUMPY_TANH_ERROR
    return np.maximum(low - error, 0), np.minimum(high + error, 1)


def _times(weight: np.ndarray, low: np.ndarray, high: np.ndarray) -> _Boxes:
    """The smallest and largest of weight · h over the boxes: a sum of the ends that matter."""
    positive, negative = np.maximum(weight, 0).T, np.minimum(weight, 0).T
    return low @ positive + high @ negative, high @ positive + low @ negative


def _rounding(num_terms: int, mass: np.ndarray) -> np.ndarray:
    """The error of a float32 sum, at most, and of float64 in its interval and in this bound."""

    def gamma(n: int, unit_roundoff: float) -> float:
        return n * unit_roundoff / (1 - n * unit_roundoff)

    here = gamma(4 * num_terms + 16, 2.0**-53)
    return (gamma(num_terms, 2.0**-24) + here) * mass + 4 * num_terms * _SMALLEST_NORMAL


def _smallest_margin(
    weight: np.ndarray, bias: np.ndarray, low: np.ndarray, high: np.ndarray, classes: np.ndarray
) -> float:
    """The right score minus any other, at least, over the boxes of the last layer, (S, H)."""
    smallest = np.inf
    for right in np.unique(classes):
        rows = classes == right
        slack = _rounding(len(weight[0]) + 1, _affine(weight, bias, (low[rows], high[rows]))[2])
        least, _ = _times(weight[right] - weight, low[rows], high[rows])  # (…, C)
        margins = least + (bias[right] - bias) - (slack[:, [right]] + slack)
        others = np.delete(margins, right, axis=1)
        smallest = np.minimum(smallest, others.min(initial=np.inf))  # NaN stays
    return float(smallest)
