"""What this machine offers a process: devices, threads and memory."""

from __future__ import annotations

import os

import torch

from rnn_tutorial.runs.processes import World


def choose_device(name: str, world: World) -> str:
    """The device that `--device` means on this machine; `auto` is CUDA if available, else the CPU.

    `auto` never chooses MPS, where packed sequences are unreliable.

    Raises:
        ValueError: the device cannot be used on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and world.size > 1:  # a resumed run names that of rank 0
        name = f"cuda:{world.local_rank}"
    try:
        torch.zeros(1, device=name).item()
    except Exception:  # each of PyTorch's backends fails in its own way
        raise ValueError(
            f"--device {name!r} cannot be used on this machine; auto and cpu always work"
        ) from None
    return "cpu" if torch.device(name).type == "cpu" else name  # without a number


def has_bfloat16_lstm() -> bool:
    """True if PyTorch's autocast can compute an nn.LSTM on this processor.

    It leaves sequences of one length to oneDNN, which refuses them without AVX-512.
    """
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16):
        try:
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
        except RuntimeError:
            return False
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """True if Python's memory is used up, or PyTorch's on the CPU or a GPU."""
    used_up = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return used_up or "can't allocate memory" in str(error)


def choose_num_threads(default: int = 1) -> int:
    """OMP_NUM_THREADS if it is set, else the default: small networks are slower with threads."""
    return torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else default


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_threads(num_threads: int) -> str:
    """In words: "1 thread", "2 threads"."""
    return "1 thread" if num_threads == 1 else f"{num_threads} threads"
