"""The batches of a training, in order, from any step on, drawn by worker processes if wanted.

Shapes: N sequences in a batch, E embedding.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rnn_tutorial.data.batches import Batches
from rnn_tutorial.data.streams import BatchStream, LengthBuckets, add_noise
from rnn_tutorial.settings.config import TrainConfig


class BatchLoader:
    """The batches first_step .. last_step - 1 of a stream, in order, as many at a time as wanted.

    Args:
        stream: where they come from.
        batch_size: N.
        first_step: number of the first batch.
        last_step: number of the batch to stop before.
        num_workers: processes that draw ahead; 0 draws in this process. The batches are the same.
        noise: seed and E of noise for the embedded tokens, which this process draws; or None.
    """

    def __init__(
        self,
        stream: BatchStream,
        batch_size: int,
        first_step: int,
        last_step: int,
        num_workers: int = 0,
        noise: tuple[int, int] | None = None,
    ) -> None:
        self._step, self._noise = first_step, noise
        loader = DataLoader(
            _ChunkStream(stream, batch_size, first_step, last_step),
            batch_size=None,  # the stream makes whole batches itself
            num_workers=num_workers,
            worker_init_fn=_belong_to_training,
            generator=torch.Generator(),  # else each iterator would draw from the global one
        )
        self._chunks = iter(loader)
        self._rest: Batches | None = None

    def take(self, at_most: int) -> Batches:
        """The next batches: at least one and at most `at_most` of them.

        Raises:
            StopIteration: the last batch was taken.
        """
        if not self._rest:
            chunk = next(self._chunks)
            self._rest = Batches(
                *map(torch.from_numpy, (chunk.x, chunk.seq_lengths, chunk.targets))
            )
        taken, self._rest = self._rest[:at_most], self._rest[at_most:]
        if self._noise:
            taken = add_noise(taken, self._step, *self._noise)
        self._step += len(taken)
        return taken


def make_loader(
    dataset: BatchStream, config: TrainConfig, first_step: int, last_step: int
) -> BatchLoader:
    """The batches to train on: a dataset's, bucketed and with noise as the configuration says."""
    stream = LengthBuckets(dataset, config.seed) if config.bucket_by_length else dataset
    noise = (config.seed, config.embed_dim) if config.embed_noise else None
    size, workers = config.sequences_per_update, config.num_workers
    return BatchLoader(stream, size, first_step, last_step, workers, noise)


class _ChunkStream(IterableDataset):
    """Batches drawn many at a time: about a block of samples each; workers take turns.

    Their parts are arrays: tensors come from a worker in shared memory, of which containers have
    little, and a worker that finds none left sends nothing.
    """

    def __init__(
        self, stream: BatchStream, batch_size: int, first_step: int, last_step: int
    ) -> None:
        self._stream = stream
        self._batch_size = batch_size
        self._steps = range(first_step, last_step, max(1, stream.block_size // batch_size))

    def __iter__(self) -> Iterator[Batches]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in self._steps[offset::stride]:
            count = min(self._steps.step, self._steps.stop - step)
            drawn = self._stream.draw_batches(step, count, self._batch_size)
            yield Batches(drawn.x.numpy(), drawn.seq_lengths.numpy(), drawn.targets.numpy())


def _belong_to_training(worker_id: int) -> None:
    """Leave Ctrl-C, which the terminal sends to workers too, to the main process; end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_training, daemon=True).start()


def _end_with_training() -> None:
    """Without this, a worker could wait for ever to send a batch that nobody will read."""
    multiprocessing.parent_process().join()
    os._exit(1)
