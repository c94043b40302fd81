"""Whether the matrix products of the compiled engine are as fast as this processor allows.

The engine multiplies through SciPy's OpenBLAS, which chooses its kernels by the processor when it
is loaded, or as the variable OPENBLAS_CORETYPE says. PyTorch's products are the measure of what
the processor can do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Mapping
from typing import Any

import torch

from rnn_tutorial.measure.timing import measure_in_turns, seconds_per_unit
from rnn_tutorial.training.compiled import limit_openblas
from rnn_tutorial.training.support import missing_libraries

SIZE = (256, 128, 128)  # (N, H) by (H, H): the recurrence of the benchmark's size C
# On an AMD EPYC with AVX-512 the kernels for SkylakeX and Haswell reach PyTorch's rate, those for
# Sandybridge 0.8 of it, those for Nehalem and Prescott 0.3 to 0.4.
SLOW_BELOW = 0.6


def compare_products(rounds: int = 400) -> dict[str, Any] | None:
    """The best rates of both libraries, in GFLOP/s, and OpenBLAS's kernels; None without SciPy.

    The best, as whatever else runs can only slow them down. Both have as many threads as torch.
    """
    if missing_libraries():
        return None
    limit_openblas()  # here too: the engine must find it so, even if it is loaded here first
    from scipy.linalg import cython_blas
    from scipy.linalg.blas import sgemm

    N, K, H = SIZE
    x, weight, out = torch.randn(N, K), torch.randn(K, H), torch.empty(N, H)
    # BLAS counts along columns: the transposes are the same memory.
    a, b, c = weight.numpy().T, x.numpy().T, torch.empty(N, H).numpy().T
    candidates = {
        "engine_gigaflops": seconds_per_unit(lambda: sgemm(1.0, a, b, 0.0, c, overwrite_c=1)),
        "pytorch_gigaflops": seconds_per_unit(lambda: torch.mm(x, weight, out=out)),
    }
    times = measure_in_turns(rounds, candidates)
    rates = {name: 2 * N * K * H / min(times[name]) / 1e9 for name in candidates}
    return {"openblas_kernels": _openblas_kernels(cython_blas.__file__), **rates}


def _openblas_kernels(library: str) -> str | None:
    """The processor whose kernels OpenBLAS has chosen; None if a library does not link to it."""
    linked = ctypes.CDLL(library)  # finds the symbols of what it links to, except on Windows
    for symbol in ("scipy_openblas_get_corename", "openblas_get_corename"):
        with contextlib.suppress(AttributeError):
            corename = getattr(linked, symbol)
            corename.restype = ctypes.c_char_p
            return corename().decode()
    return None


def describe_products(products: dict[str, Any], variables: Mapping[str, str] = os.environ) -> str:
    """One line with both rates, and a warning where OpenBLAS's is far below PyTorch's.

    Args:
        products: as `compare_products` returns them.
        variables: those of the environment.
    """
    engine, pytorch = products["engine_gigaflops"], products["pytorch_gigaflops"]
    N, K, H = SIZE
    text = (
        f"Matrix products, {N}×{K} by {K}×{H}: PyTorch {pytorch:.0f} GFLOP/s, compiled engine "
        f"{engine:.0f} GFLOP/s (OpenBLAS kernels: {products['openblas_kernels'] or 'unknown'})"
    )
    if engine >= SLOW_BELOW * pytorch:
        return text
    text += "\nWarning: the compiled engine's matrix products are slow for this processor. "
    if "OPENBLAS_CORETYPE" in variables:
        return text + f"Unset OPENBLAS_CORETYPE, which is {variables['OPENBLAS_CORETYPE']!r}."
    return text + (
        "OpenBLAS chose the kernels by itself: a newer SciPy may choose better ones, and where "
        "the processor has AVX2, the environment variable OPENBLAS_CORETYPE=Haswell does."
    )
