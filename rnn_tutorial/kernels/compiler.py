"""How kernels are compiled: numba's options, and functions whose body depends on types.

Where numba is not installed, this module still imports, and what it decorates stays Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

# "contract" lets a·b + c round once instead of twice; nothing else is reordered.
OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy"}
# Kernels call each other without the wrappers through which Python would call them.
INNER_OPTIONS = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

if find_spec("numba"):
    import numba
    from numba.extending import overload, register_jitable

    compiled = partial(numba.njit, nogil=True, **OPTIONS)  # to be called from Python
    kernel = register_jitable(**INNER_OPTIONS)  # to be called from what is compiled
    by_type = partial(overload, jit_options=INNER_OPTIONS, strict=False)
else:

    def compiled(function: Callable) -> Callable:
        return function

    kernel = compiled

    def by_type(function: Callable) -> Callable:
        return compiled
