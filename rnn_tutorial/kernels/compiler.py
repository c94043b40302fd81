"""The compiler of the kernels: numba, its options, and the files that keep its work.

numba takes those files as they are: one that a power cut left empty stops every later training,
and one with a flipped bit computes nonsense. So `KernelCache` takes the place of numba's own
cache. Each of its files begins with a SHA-256; one that does not match is compiled anew, and a
folder that cannot be written to costs the time of compiling, not the training.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import inspect
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

from rnn_tutorial.runs.terminal import say

# "contract" lets a·b + c round once instead of twice; nothing else is reordered.
OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
# Kernels call each other without the wrappers through which Python would call them. All are put
# into the function that Python calls: one that is not would exist twice in the process that
# compiles, and the two may round otherwise.
_NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
INNER_OPTIONS = OPTIONS | _NO_WRAPPERS | {"forceinline": True}

if find_spec("numba"):
    import numba
    from numba.extending import overload, register_jitable

    compile_function = partial(numba.njit, nogil=True, **OPTIONS)
    kernel = register_jitable(**INNER_OPTIONS)
    by_type = partial(overload, jit_options=INNER_OPTIONS, strict=False)
else:  # what is decorated stays Python

    def compile_function(function: Callable) -> Callable:
        """Decorate a function that Python calls: numba compiles it at the first call."""
        return function

    def kernel(function: Callable) -> Callable:
        """Decorate a function that is called from compiled ones."""
        return function

    def by_type(stub: Callable) -> Callable:
        """Decorate a function that gets the types of the arguments and returns what numba compiles
        in place of `stub`."""
        return kernel


def keep_compiled(*functions: Any) -> None:
    """Keep on disk what numba compiles of these functions, and say so when it has to compile.

    Args:
        functions: decorated with `compile_function`. What they call in turn is kept with them.
    """
    for function in functions:
        is_compiled = hasattr(function, "py_func")  # not so with NUMBA_DISABLE_JIT=1
        if is_compiled and not isinstance(function._cache, KernelCache):
            function._cache = KernelCache(function.py_func)  # as numba's enable_caching() does


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python's garbage collector away: it would search all that the compiler makes, for a
    tenth of the time, and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class KernelCache:
    """Keeps what numba compiled of one function: a file for each signature and kind of processor.

    The folder is the one that numba would take: NUMBA_CACHE_DIR if it is set, else the module's
    __pycache__, else one of the user's own. Without a folder every process compiles for itself.

    Args:
        function: the plain Python function.
    """

    def __init__(self, function: FunctionType) -> None:
        from numba.core.caching import CompileResultCacheImpl

        self._stamp = hashlib.sha256(_sources(function).encode()).digest()
        try:
            self._files = CompileResultCacheImpl(function)
        except RuntimeError:
            self._files = None

    @property
    def cache_path(self) -> str | None:
        """The folder."""
        return self._files and self._files.locator.get_cache_path()

    def load_overload(self, signature: Any, target: Any) -> Any:
        """What was compiled for this signature; None, and a line that says so, if numba has to."""
        target.refresh()  # numba's own functions, for what is loaded and for what is compiled
        if self._files is None:
            say("compiling the training loop (each time: no folder to keep it in)")
            return None
        if content := self._read(self._path(signature, target.codegen())):
            return self._files.rebuild(target, pickle.loads(content))
        say("compiling the training loop (once)")
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what was compiled; a sentence on stderr if that is not possible."""
        if self._files is None or not self._files.check_cachable(compiled):
            return
        from numba.core.serialize import dumps

        content = dumps(self._files.reduce(compiled))
        path = self._path(signature, compiled.codegen)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(self._digest(content) + content)
            temporary.replace(path)
        except OSError as error:
            reason = error.strerror or error
            print(f"the compiled training loop cannot be kept: {reason}: {path}", file=sys.stderr)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, signature: Any, codegen: Any) -> Path:
        from llvmlite import __version__ as llvmlite_version

        key = signature, codegen.magic_tuple(), numba.__version__, llvmlite_version
        name = f"{self._files.filename_base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
        return Path(self.cache_path, f"{name}.nbc")

    def _read(self, path: Path) -> bytes | None:
        """What a file holds; None if there is none, or it is damaged or of other sources."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, content = content[:32], content[32:]
        return content if digest == self._digest(content) else None

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._stamp + content).digest()


def _sources(function: FunctionType) -> str:
    """All modules of the folder in which a function is written, and with them all that it calls."""
    folder = Path(inspect.getfile(function)).parent
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
