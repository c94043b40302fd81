"""Where a result comes from: the code, the libraries and the machine that made it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).parent.parent.parent
# What a trained network depends on: a script and folders of the package.
TRAINING_CODE = (
    "train_cls_rnn.py",
    "rnn_tutorial/settings",
    "rnn_tutorial/machines",
    "rnn_tutorial/data",
    "rnn_tutorial/model",
    "rnn_tutorial/evaluation",
    "rnn_tutorial/tasks",
    "rnn_tutorial/proof",
    "rnn_tutorial/kernels",
    "rnn_tutorial/training",
)


def code_version(parts: Sequence[str] = TRAINING_CODE) -> str:
    """A short hash of files and folders, by default of the code that determines a network."""
    content = b""
    for part in parts:
        path = REPOSITORY / part
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        content += b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:12]


def versions(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The versions of Python, the operating system and the libraries, and the processor's kind.

    The last bits of a matrix product depend on the instructions that PyTorch and OpenBLAS choose
    for the processor; the variable OPENBLAS_CORETYPE overrides the choice of OpenBLAS.
    """
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "openblas_coretype": variables.get("OPENBLAS_CORETYPE", "by the processor"),
        "torch": torch.__version__,  # with the kind of its build, such as +cu130
    }
    for name in ("numpy", "numba", "scipy", "statsmodels", "constriction", "zstandard"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def cpu_name() -> str:
    """The processor's name, as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine(variables: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The machine and the versions; `variables` are those of the environment."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions(variables),
    }
