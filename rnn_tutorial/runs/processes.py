"""Several processes that train one model, as torchrun starts them.

    torchrun --nproc_per_node 2 train_cls_rnn.py --batch_size 512

Every process draws the same batches and trains on its share of the rows; DistributedDataParallel
averages the gradients, so the weights are those of a single process except for rounding.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """The processes of one training; only rank 0 logs, evaluates and saves."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def any(self, flag: bool, device: str) -> bool:
        """True if the flag is true in any process."""
        return flag if self.size == 1 else bool(self.mean(torch.tensor(flag * 1.0, device=device)))

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What `make` returns, or the ValueError that it raises, in rank 0: in every process."""
        if self.size == 1:
            return make()
        made = [None]
        if self.is_main:
            try:
                made = [make()]
            except ValueError as error:
                made = [error]
        distributed.broadcast_object_list(made)
        if isinstance(made[0], ValueError):
            raise made[0]
        return made[0]


def find_world() -> World:
    """The processes that torchrun has started, this one among them.

    Raises:
        ValueError: the environment variables by which it tells do not fit together.
    """
    numbers = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    if "WORLD_SIZE" in os.environ:
        numbers["MASTER_PORT"] = 0
    for name in numbers:
        value = os.environ.get(name, str(numbers[name]))
        if not re.fullmatch("[0-9]{1,9}", value):
            raise ValueError(
                f"{name}={value!r} in the environment is not one of torchrun's numbers"
            )
        numbers[name] = int(value)
    rank, size, local_rank, *_ = numbers.values()
    if not max(rank, local_rank) < size:
        raise ValueError(
            f"RANK={rank} and LOCAL_RANK={local_rank} in the environment must be smaller than "
            f"WORLD_SIZE={size}; torchrun sets them"
        )
    if size > 1 and not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ValueError(
            f"WORLD_SIZE={size} in the environment, but not all of RANK, MASTER_ADDR and "
            "MASTER_PORT; torchrun sets them"
        )
    return World(rank, size, local_rank)


@contextlib.contextmanager
def join_world(world: World, device: str) -> Iterator[None]:
    """Connect to the other processes, by NCCL between GPUs and by gloo between CPUs.

    On success all processes leave together; after an error the others notice that this one is gone.
    """
    if world.size == 1:
        yield
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(device)
    patience = datetime.timedelta(hours=2)  # while the main process evaluates and proves alone
    distributed.init_process_group("nccl" if is_cuda else "gloo", timeout=patience)
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
        gc.collect()  # frees the cycles in DistributedDataParallel: gloo must end before Python


@contextlib.contextmanager
def no_endless_wait(
    world: World, last_words: Callable[[], None], grace: float = 15
) -> Iterator[None]:
    """Let SIGTERM end a process that waits for another one, which is gone, and does not notice.

    It waits inside PyTorch, and Python runs the signal's handler only when that call returns. A
    thread learns of the signal at once.

    Args:
        last_words: called in the thread before the process ends.
        grace: the seconds from the signal until then; the launcher's own patience is 30.
    """
    if world.size == 1 or os.name != "posix":
        yield
        return
    told, teller = socket.socketpair()
    teller.setblocking(False)
    is_over = threading.Event()

    def watch() -> None:
        with told:
            while signum := told.recv(1):
                if signum[0] == signal.SIGTERM and not is_over.wait(grace):
                    last_words()
                    os._exit(128 + signal.SIGTERM)

    previous = signal.set_wakeup_fd(teller.fileno())  # receives the number of each signal
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        signal.set_wakeup_fd(previous)
        teller.close()


if os.name == "posix":
    # The signals of a worker process are its own.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


def is_lost_process(error: BaseException) -> bool:
    """True if what failed is another process of the training, or the connection to it."""
    if isinstance(error, getattr(distributed, "DistError", ())):
        return True
    return any(name in str(error) for name in ("gloo", "DataLoader worker"))
