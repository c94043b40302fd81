"""Checks of data: each fault is found where it is, and nowhere else."""

import itertools
import random

import pytest
import torch
from torch.utils.data import DataLoader

from rnn_tutorial.data.streams import EVAL_STREAM, SeqSumModDataset
from rnn_tutorial.doctor.data_checks import check_data
from rnn_tutorial.experiments.doctor_self_test import DATA_CASES


def names(*arguments, **options):
    return [finding.name for finding in check_data(*arguments, **options)]


def digits(total=None, longest=5, seed=0, stream=0):
    return SeqSumModDataset(total, 1, longest, 9, seed, stream)


@pytest.mark.parametrize("case", DATA_CASES)
def test_a_fault_of_data_is_found_and_nothing_in_good_data(case):
    expected, make = DATA_CASES[case]
    assert names(*make(0)) == ([expected] if expected else [])


def sums(samples):
    return ((x, n, sum(x) % 10) for x, n, _ in samples)


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_the_shift_is_told(shift):
    samples = list(itertools.islice(digits(), 3000))
    labels = [y for _, _, y in samples]
    moved = [(x, n, labels[(i - shift) % 3000]) for i, (x, n, _) in enumerate(samples)]
    (finding,) = check_data(moved)
    assert finding.confidence == "certain"
    assert f"{abs(shift)} {'later' if shift > 0 else 'earlier'} it is 0%" in finding.seen
    (by_rule,) = check_data(moved, rule=lambda x: sum(x) % 10)
    assert by_rule.seen.endswith(finding.seen.partition("; ")[2])


def test_a_rule_finds_what_no_contradiction_shows():
    wrong = [(x, n, (y + 1) % 10) for x, n, y in itertools.islice(digits(), 500)]
    assert names(wrong) == []
    assert names(wrong, rule=lambda x: sum(x) % 10) == ["shifted-labels"]


def test_some_noise_in_the_labels_is_no_shift():
    generator = random.Random(0)
    noisy = [
        (x, n, generator.randrange(10) if generator.random() < 0.1 else y)
        for x, n, y in itertools.islice(digits(), 4096)
    ]
    assert names(noisy) == []


@pytest.mark.parametrize(("workers", "batch_size"), [(2, 1), (2, 64), (3, 16)])
def test_workers_that_draw_the_same_are_seen_at_any_batch_size(workers, batch_size):
    batches = [list(batch) for batch in zip(*[iter(digits(2000))] * batch_size, strict=False)]
    repeated = [sample for batch in batches for _ in range(workers) for sample in batch]
    (finding,) = check_data(repeated)
    assert finding.name == "duplicated-workers" and f" {batch_size} places" in finding.seen


def test_repeated_short_inputs_are_no_duplicates():
    two_letters = [((t,), 1, t) for t in random.Random(0).choices([0, 1], k=2000)]
    assert names(two_letters) == []


def test_a_few_shared_samples_are_chance_and_many_are_not():
    training = list(itertools.islice(digits(longest=8), 2000))
    fresh = list(itertools.islice(digits(longest=8, stream=EVAL_STREAM), 1000))
    assert names(training, fresh) == []
    assert names(training, fresh[:800] + training[:300]) == ["shared-stream"]


def test_few_evaluation_samples_and_more():
    for total, expected in [(380, ["small-evaluation"]), (400, [])]:
        assert names(digits(), digits(total, stream=EVAL_STREAM)) == expected


def test_batches_and_samples_give_the_same():
    def batches():
        for chunk in zip(*[iter(digits(512))] * 8, strict=True):
            x = torch.full((8, 5), 10)
            for row, (tokens, n, _) in enumerate(chunk):
                x[row, :n] = torch.tensor(tokens)
            yield x, torch.tensor([n for _, n, _ in chunk]), torch.tensor([y for *_, y in chunk])

    shifted = list(batches())
    targets = [y for _, _, y in shifted]
    shifted = [(x, n, y) for (x, n, _), y in zip(shifted, targets[1:] + targets[:1], strict=True)]
    assert names(batches()) == [] and names(shifted) == ["shifted-labels"]


@pytest.mark.parametrize(
    "data", [[], [1, 2], [([1], 2, 0)], [([], 0, 0)], [([1], 1)], DataLoader([1.0, 2.0])]
)
def test_other_data_are_refused(data):
    with pytest.raises(ValueError, match="training data"):
        check_data(data)
