"""The stream: what a sample is, and that a batch is a function of (seed, number) alone."""

import itertools
import pickle
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from conftest import numbers_of
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader

from rnn_tutorial.data.batches import pad_and_tensor, padding_share
from rnn_tutorial.data.loader import BatchLoader
from rnn_tutorial.data.streams import (
    EVAL_STREAM,
    POOL_SIZE,
    LengthBuckets,
    SeqSumModDataset,
    add_noise,
    draw_noise,
)


@given(
    min_seq_len=st.integers(1, 6),
    longer=st.integers(0, 5),
    max_number=st.integers(1, 20),
    seed=st.integers(0, 2**63 - 1),
)
def test_samples_are_digits_with_their_length_and_label(min_seq_len, longer, max_number, seed):
    dataset = SeqSumModDataset(20, min_seq_len, min_seq_len + longer, max_number, seed)
    samples = list(dataset)
    assert len(samples) == 20
    for input_seq, seq_length, target_num in samples:
        assert len(input_seq) == seq_length
        assert min_seq_len <= seq_length <= min_seq_len + longer
        assert all(0 <= digit <= max_number for digit in input_seq)
        assert target_num == sum(input_seq) % (max_number + 1)


def test_lengths_and_digits_are_uniform():
    x, seq_lengths = SeqSumModDataset(max_number=9).draw(0, 40_000)
    shares = [count / 40_000 for _, count in sorted(Counter(seq_lengths.tolist()).items())]
    assert shares == pytest.approx([0.25] * 4, abs=0.01)
    for position in range(2):  # every row has a digit there
        counts = Counter(x[:, position].tolist())
        assert [counts[d] / 40_000 for d in range(10)] == pytest.approx([0.1] * 10, abs=0.008)


def test_without_a_limit_the_dataset_is_endless():
    dataset = SeqSumModDataset()
    assert len(list(itertools.islice(dataset, 3 * dataset.block_size))) == 3 * dataset.block_size


def test_two_iterators_are_independent_and_complete():
    dataset = SeqSumModDataset(50)
    alone = list(dataset)
    interleaved = list(zip(dataset, dataset, strict=True))
    assert [first for first, _ in interleaved] == alone
    assert [second for _, second in interleaved] == alone


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_samples": -1},
        {"min_seq_len": 0},
        {"min_seq_len": 6},
        {"max_number": 0},
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SeqSumModDataset(**wrong)


@given(start=st.integers(0, 10**7), count=st.integers(1, 5000), inside=st.data())
def test_any_part_of_the_stream_can_be_drawn_alone(start, count, inside):
    dataset = SeqSumModDataset(max_seq_len=3, seed=7)
    x, seq_lengths = dataset.draw(start, count)
    position = inside.draw(st.integers(0, count - 1))
    x_alone, length_alone = dataset.draw(start + position, 1)
    assert (x_alone == x[position]).all() and length_alone == seq_lengths[position]


def test_a_batch_holds_its_samples_longest_first():
    dataset = SeqSumModDataset(max_number=9, seed=3)
    samples = list(itertools.islice(dataset, 8 * 16))
    batches = dataset.draw_batches(0, 8, 16)
    for step in range(8):
        x, seq_lengths, targets = (part[step] for part in numbers_of(batches))
        assert seq_lengths.tolist() == sorted(seq_lengths.tolist(), reverse=True)
        rows = [
            (row[:n].tolist(), n, target)
            for row, n, target in zip(x, seq_lengths.tolist(), targets.tolist(), strict=True)
        ]
        assert sorted(rows) == sorted(samples[16 * step : 16 * step + 16])
        assert all((row[n:] == 10).all() for row, n in zip(x, seq_lengths, strict=True))


def take_all(loader, at_most):
    """Every batch that a loader has, taken `at_most` at a time."""
    taken = []
    while True:
        try:
            taken.append(loader.take(at_most))
        except StopIteration:
            columns = zip(*map(numbers_of, taken), strict=True)
            return [torch.cat(tensors) for tensors in columns]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize(("first", "at_most"), [(0, 1000), (0, 7), (123, 64)])
def test_batches_are_the_same_for_any_workers_start_and_portions(num_workers, first, at_most):
    dataset = SeqSumModDataset(max_number=9, seed=11)
    last, batch_size = 1000, 48  # no divisor of a block
    expected = dataset.draw_batches(first, last - first, batch_size)
    loader = BatchLoader(dataset, batch_size, first, last, num_workers)
    for drawn, wanted in zip(take_all(loader, at_most), numbers_of(expected), strict=True):
        assert torch.equal(drawn, wanted)


def test_workers_send_arrays():
    """Tensors would need shared memory, which containers have little of."""
    loader = BatchLoader(SeqSumModDataset(), 16, 0, 10, num_workers=1)
    chunk = next(loader._chunks)
    for part in (chunk.x, chunk.seq_lengths, chunk.targets):
        assert isinstance(part, np.ndarray)


def test_loading_batches_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    BatchLoader(SeqSumModDataset(), 16, 0, 10).take(10)
    assert torch.equal(torch.get_rng_state(), before)


def test_streams_and_seeds_differ():
    parts = [
        SeqSumModDataset(max_number=9, **options).draw(0, 1000)[0].tobytes()
        for options in (
            {},
            {"seed": 1},
            {"stream": EVAL_STREAM},
            {"seed": 1, "stream": EVAL_STREAM},
        )
    ]
    assert len(set(parts)) == 4


def test_dataloader_workers_divide_the_samples():
    dataset = SeqSumModDataset(100, max_seq_len=12, max_number=9)
    loader = DataLoader(
        dataset,
        batch_size=16,
        num_workers=2,
        collate_fn=partial(pad_and_tensor, padding_value=10),
        multiprocessing_context="fork",
    )
    seen = [
        (row[:n].tolist(), n, target)
        for x, seq_lengths, targets in loader
        for row, n, target in zip(x, seq_lengths.tolist(), targets.tolist(), strict=True)
    ]
    assert sorted(seen) == sorted(dataset)
    assert list(pickle.loads(pickle.dumps(dataset))) == list(dataset)  # as other workers get it


def test_pad_and_tensor():
    x, seq_lengths, targets = pad_and_tensor([([1, 2], 2, 3), ([4, 5, 6], 3, 5)], padding_value=10)
    assert x.tolist() == [[1, 2, 10], [4, 5, 6]]
    assert seq_lengths.tolist() == [2, 3] and targets.tolist() == [3, 5]
    assert x.dtype == seq_lengths.dtype == targets.dtype == torch.int64


def test_batches_are_packed_as_pytorch_packs_them():
    batches = SeqSumModDataset(max_number=9, max_seq_len=7).draw_batches(3, 20, 5)
    packed = batches.pack()
    assert len(packed) == 20
    for k, (tokens, targets, noise) in enumerate(packed):
        expected = pack_padded_sequence(batches.x[k], batches.seq_lengths[k], batch_first=True)
        assert torch.equal(tokens.data, expected.data)
        assert torch.equal(tokens.batch_sizes, expected.batch_sizes)
        assert torch.equal(targets, batches.targets[k]) and noise is None


def test_noise_is_normal_and_a_function_of_seed_and_step():
    seq_lengths = torch.tensor([5, 3, 3, 1])
    noise = draw_noise(7, 3, seq_lengths, 4)
    assert noise.shape == (12, 4) and noise.dtype == torch.float32
    assert torch.equal(noise, draw_noise(7, 3, seq_lengths, 4))
    assert not torch.equal(noise, draw_noise(7, 4, seq_lengths, 4))
    assert not torch.equal(noise, draw_noise(8, 3, seq_lengths, 4))
    many = draw_noise(0, 0, torch.tensor([10_000]), 10)
    assert abs(many.mean()) < 0.01 and abs(many.std() - 1) < 0.01


# ---- buckets of length ----


def rows_of(batches):
    return [
        (row[:n].tolist(), target)
        for x, lengths, targets in zip(*numbers_of(batches), strict=True)
        for row, n, target in zip(x, lengths.tolist(), targets.tolist(), strict=True)
    ]


@pytest.mark.parametrize("pool", [0, 3])
def test_every_sample_of_a_pool_occurs_once_in_a_batch_of_its_length(pool):
    dataset = SeqSumModDataset(None, 1, 50, 9, seed=5)
    chosen = pool * POOL_SIZE, POOL_SIZE, 16
    batches, plain = LengthBuckets(dataset, 5).draw_batches(*chosen), dataset.draw_batches(*chosen)
    assert sorted(rows_of(batches)) == sorted(rows_of(plain))
    assert (batches.seq_lengths.diff(dim=1) <= 0).all()  # longest first
    shortest, longest = batches.seq_lengths[:, -1], batches.seq_lengths[:, 0]
    by_length = longest.argsort()
    assert (shortest[by_length][1:] >= longest[by_length][:-1]).all()  # the batches do not overlap
    order = by_length.tolist()
    assert order not in (sorted(order), sorted(order, reverse=True))  # shuffled
    share, plain_share = (
        sum(map(padding_share, lengths)) / POOL_SIZE
        for lengths in (batches.seq_lengths, plain.seq_lengths)
    )
    assert plain_share > 0.4 and share < 0.1


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("first", "at_most", "batch_size"), [(0, 7, 48), (45, 64, 400)])
def test_bucketed_batches_are_the_same_for_any_workers_start_and_portions(
    num_workers, first, at_most, batch_size
):
    dataset = SeqSumModDataset(None, 1, 20, 9, seed=11)
    expected = LengthBuckets(dataset, 11).draw_batches(0, 200, batch_size)
    loader = BatchLoader(LengthBuckets(dataset, 11), batch_size, first, 200, num_workers)
    for drawn, wanted in zip(take_all(loader, at_most), numbers_of(expected), strict=True):
        assert torch.equal(drawn, wanted[first:])


def test_pools_and_seeds_are_shuffled_differently():
    dataset = SeqSumModDataset(None, 1, 50, 9)
    orders = [
        LengthBuckets(dataset, seed).draw_batches(pool * POOL_SIZE, POOL_SIZE, 4).seq_lengths[:, 0]
        for seed, pool in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(lengths.argsort().tolist()) for lengths in orders}) == 3


def test_the_share_of_padding_is_counted_by_hand():
    assert padding_share(torch.tensor([4, 2, 1, 1])) == 8 / 16
    assert padding_share(torch.tensor([3, 3])) == 0


# ---- passes ----


def test_passes_divide_a_batch_and_its_noise():
    batches = add_noise(SeqSumModDataset(max_number=9).draw_batches(5, 2, 12), 5, 0, 3)
    assert torch.equal(batches.noise[1], draw_noise(0, 6, batches.seq_lengths[1], 3))
    whole, _ = batches.pack()
    passes = [batches.share(index, 4).pack()[0] for index in range(4)]
    assert torch.equal(whole.noise, batches.noise[0])

    def rows(tokens, targets, noise):
        """The rows of a pass: ids, class and noise."""
        ends = tokens.batch_sizes.cumsum(0)
        lengths = [(tokens.batch_sizes > row).sum().item() for row in range(len(targets))]
        starts = [0, *ends[:-1].tolist()]
        for row, n in enumerate(lengths):
            steps = torch.tensor([starts[t] + row for t in range(n)])
            yield tokens.data[steps].tolist(), targets[row].item(), noise[steps].tolist()

    expected = sorted(rows(*whole))
    assert [len(one.targets) for one in passes] == [3] * 4
    assert sorted(row for one in passes for row in rows(*one)) == expected


@pytest.mark.parametrize(("num_workers", "batch_size"), [(0, 6), (2, 6), (2, 1)])
def test_a_loader_adds_the_noise_of_each_step_and_leaves_the_batches(num_workers, batch_size):
    dataset = SeqSumModDataset(max_number=9)
    loader = BatchLoader(dataset, batch_size, 3, 9, num_workers, noise=(1, 2))
    plain = dataset.draw_batches(3, 6, batch_size)
    expected = add_noise(plain, 3, 1, 2).noise
    taken = [loader.take(4), loader.take(4)]
    drawn = [noise for batches in taken for noise in batches.noise]
    assert all(torch.equal(one, other) for one, other in zip(drawn, expected, strict=True))
    columns = zip(*map(numbers_of, taken), strict=True)
    for parts, wanted in zip(columns, numbers_of(plain), strict=True):
        assert torch.equal(torch.cat(parts), wanted)
