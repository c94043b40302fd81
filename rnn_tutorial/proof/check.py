"""An independent check of a certificate: NumPy only, nothing of the program that wrote it.

A certificate is an automaton whose states are boxes of hidden states; prove.py says what it proves,
and intervals.py under which model of arithmetic. Every condition is decided here again from the
weights: where intervals.py multiplies centres and radii and adds one bound for all rounding, this
program multiplies lows and highs, separately for positive and negative weights, and accounts for
float32 (u = 2⁻²⁴) and for its float64 (u = 2⁻⁵³) one by one.

The file about a digit sum, an .npz without pickles:
    format            "rnn_tutorial certificate 1"
    weights_hash      SHA-256, hexadecimal, over the weights in the order of their names: a line
                      "name type (shape)", then the numbers in C order, little-endian
    max_number        largest digit
    residues          int64 (S,)         remainder of each abstract state; state 0 is the empty
                                         sequence
    successors        int64 (S, V)       the state after one more digit
    low, high         float32 (S, L, H)  the box of hidden states
    smallest_margin   float64            by which the right score is the highest, at least

`check_claim` knows nothing of sums: for another machine, only the reading of its certificate
is to be written.

Shapes: S abstract states, V tokens, C classes, L layers, H hidden.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

_TYPES = {
    "format": ("U", 0),
    "weights_hash": ("U", 0),
    "max_number": ("i", 0),
    "residues": ("i", 1),
    "successors": ("i", 2),
    "low": ("f", 3),
    "high": ("f", 3),
    "smallest_margin": ("f", 0),
}
_DAMAGE = (
    OSError, ValueError, LookupError, EOFError, AttributeError, TypeError, NotImplementedError,
    RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_TANH_ERROR = 2.0**-21  # of the network's tanh, absolute
_NUMPY_TANH_ERROR = 2.0**-50  # of float64's
_LARGEST_STATE = 1 + 2.0**-20  # of |h|: tanh and its error
_SMALLEST_NORMAL = 2.0**-126

_Boxes = tuple[np.ndarray, np.ndarray]  # lows and highs, (S, L, H)


class InvalidCertificate(Exception):
    """The certificate does not prove the network right; the message says why."""


class Claim(NamedTuple):
    """What is claimed, and what the rule says about it.

    Args:
        machine_states: the state of the machine in each abstract state, (S,); 0 is the machine's
            first.
        classes: the right class in each abstract state, by the rule, (S,).
        expected: the state of the machine after each abstract state and token, by the rule, (S, V).
        successors: the abstract state after each abstract state and token, (S, V).
        low, high: the boxes, (S, L, H).
        smallest_margin: by which the right score is the highest, at least.
    """

    machine_states: np.ndarray
    classes: np.ndarray
    expected: np.ndarray
    successors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    smallest_margin: float


def check_certificate(path: Path, weights: Mapping[str, np.ndarray]) -> float:
    """Check that a certificate proves a network right for every sequence of digits of every length.

    Args:
        path: the certificate.
        weights: the network's, float32, by the names of RnnClsNet's state_dict.

    Returns:
        The smallest score margin of the right class in any box.

    Raises:
        InvalidCertificate: a condition of the proof does not hold.
    """
    certificate = _read(path)
    _require(str(certificate["weights_hash"]) == _hash(weights), "it is for other weights")
    embedding, _, _ = _arrange(weights)
    digits, remainders = np.arange(len(embedding)), certificate["residues"]
    _require(certificate["max_number"] == digits[-1], "max_number is not the network's")
    _require(np.isin(remainders, digits).all(), "a remainder is not in 0 to max_number")
    return check_claim(
        Claim(
            machine_states=remainders,
            classes=remainders,
            expected=(remainders[:, None] + digits) % len(digits),
            successors=certificate["successors"],
            low=certificate["low"],
            high=certificate["high"],
            smallest_margin=float(certificate["smallest_margin"]),
        ),
        weights,
    )


def check_claim(claim: Claim, weights: Mapping[str, np.ndarray]) -> float:
    """Check that the claimed automaton proves a network right for every sequence of every length.

    Arguments and results are those of `check_certificate`, for any machine.
    """
    states, successors = claim.machine_states, claim.successors
    low, high = claim.low.astype(np.float64), claim.high.astype(np.float64)
    embedding, layers, fc = _arrange(weights)
    num_states, num_tokens = len(states), len(embedding)
    _require(claim.expected.shape[1] == num_tokens, "its tokens are not the network's")
    _require(claim.classes.max(initial=0) < len(fc[1]), "its classes are not the network's")
    _require(successors.shape == (num_states, num_tokens), "a state or a successor is missing")
    shape = num_states, len(layers), len(layers[0][1])
    _require(low.shape == high.shape == shape, "the boxes do not fit the network")
    _require(num_states > 0 and (low <= high).all(), "a box is empty or not a number")
    is_known = (successors >= 0) & (successors < num_states)
    _require(is_known.all(), "a successor is not one of the abstract states")
    _require(states[0] == 0, "the empty sequence is not in the machine's first state")
    _require((low[0] <= 0).all() and (high[0] >= 0).all(), "the box of h_0 does not hold it")
    is_expected = states[successors] == claim.expected
    _require(is_expected.all(), "a successor is not in the state that the machine goes to")
    for token in range(num_tokens):
        after = successors[:, token]
        image_low, image_high = _step(embedding[token], layers, low, high)
        _require(
            (low[after] <= image_low).all() and (image_high <= high[after]).all(),
            f"token {token} leads out of a box",
        )
    ends = np.unique(successors)  # of all sequences but the empty one
    margin = _smallest_margin(*fc, low[ends, -1], high[ends, -1], claim.classes[ends])
    _require(margin > 0, f"a score margin is negative: {margin:.3g}")
    claimed = claim.smallest_margin
    _require(0 < claimed <= margin * (1 + 1e-4), f"it claims a margin of {claimed:.3g}")
    return margin


def claimed_hash(path: Path) -> str:
    """The hash of the weights that a certificate is for; reads nothing else of it.

    Raises:
        InvalidCertificate: the file is missing, damaged, or no certificate.
    """
    return str(_read(path, ("format", "weights_hash"))["weights_hash"])


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise InvalidCertificate(otherwise)


def _read(path: Path, names: Collection[str] = tuple(_TYPES)) -> dict[str, np.ndarray]:
    """These fields of the file, of the right types and numbers of dimensions."""
    _require(not path.exists() or path.is_file(), "it is not a regular file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            _require(set(archive.files) == set(_TYPES), "its fields are not those of a certificate")
            fields = {name: archive[name] for name in names}
    except _DAMAGE as error:
        raise InvalidCertificate(f"it cannot be read: {error}") from None
    for name, array in fields.items():
        has_type = (array.dtype.kind, array.ndim) == _TYPES[name]
        _require(has_type, f"its field {name} has the wrong type or number of dimensions")
    _require(str(fields["format"]) == "rnn_tutorial certificate 1", "its format is unknown")
    return fields


def _hash(weights: Mapping[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name]
        sha256.update(f"{name} {values.dtype} {values.shape}\n".encode())
        sha256.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
    return sha256.hexdigest()


def _arrange(weights: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list, tuple]:
    """Embedding of the tokens, (V, E), layers (W_ih, W_hh, b_ih, b_hh), and fc (W, b)."""
    num_layers = sum(name.startswith("rnn.weight_hh") for name in weights)
    names = [
        [f"rnn.{kind}_l{index}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        for index in range(num_layers)
    ]
    expected = {"embedding.weight", "fc.weight", "fc.bias"}.union(*names)
    is_plain = set(weights) == expected and num_layers > 0
    _require(is_plain, "the network is not a plain nn.RNN in one direction")
    hidden = weights["rnn.weight_hh_l0"].shape[1]
    for values in weights.values():
        _require(values.dtype == np.float32, "a weight is not in float32")
        _require(np.abs(values).max() < 2.0**32, "a weight is not a number that a network uses")
    exact = {name: values.astype(np.float64) for name, values in weights.items()}
    layers = [tuple(exact[name] for name in layer) for layer in names]
    square = all(layer[1].shape == (hidden, hidden) for layer in layers)
    _require(square, "the recurrent layers are not a plain nn.RNN")  # nn.LSTM's are (4 H, H)
    return exact["embedding.weight"][:-1], layers, (exact["fc.weight"], exact["fc.bias"])


def _step(x: np.ndarray, layers: list, low: np.ndarray, high: np.ndarray) -> _Boxes:
    """Boxes around what float32 may compute from an embedded token, (E,), and all h in boxes."""
    image_low, image_high = np.empty_like(low), np.empty_like(high)
    input_low = input_high = np.broadcast_to(x, (len(low), len(x)))
    for index, (w_ih, w_hh, b_ih, b_hh) in enumerate(layers):
        from_input = _times(w_ih, input_low, input_high)
        from_state = _times(w_hh, low[:, index], high[:, index])
        largest_input = np.abs(x) if index == 0 else np.full(w_ih.shape[1], _LARGEST_STATE)
        mass = np.abs(w_ih) @ largest_input + np.abs(w_hh).sum(axis=1) * _LARGEST_STATE
        mass += np.abs(b_ih) + np.abs(b_hh)
        slack = _rounding(w_ih.shape[1] + w_hh.shape[1] + 2, mass)
        sums = [a + b + b_ih + b_hh for a, b in zip(from_input, from_state, strict=True)]
        tanh_error = _TANH_ERROR + _NUMPY_TANH_ERROR
        image_low[:, index] = np.tanh(sums[0] - slack) - tanh_error
        image_high[:, index] = np.tanh(sums[1] + slack) + tanh_error
        input_low, input_high = image_low[:, index], image_high[:, index]
    return image_low, image_high


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
    mass = np.abs(weight).sum(axis=1) * _LARGEST_STATE + np.abs(bias)
    slack = _rounding(len(weight[0]) + 1, mass)
    smallest = np.inf
    for right in np.unique(classes):
        rows = classes == right
        least, _ = _times(weight[right] - weight, low[rows], high[rows])  # (…, C)
        margins = least + (bias[right] - bias) - (slack[right] + slack)
        others = np.delete(margins, right, axis=1)
        smallest = min(smallest, others.min(initial=np.inf))
    return float(smallest)
