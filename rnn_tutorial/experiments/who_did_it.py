"""Generates example data: English sentences, labelled with who did it.

    python -m rnn_tutorial.experiments.who_did_it --write rnn_tutorial/data_examples

    cat<TAB>the cat chased the old dog
    cat<TAB>the old dog was gladly chased by the cat near the river

In the active voice it is the first animal, in the passive voice the second. The words alone do not
tell, only their order does, and the first animal must be remembered until the verb. The files are
committed; the command reproduces them byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnn_tutorial.runs.files import write_atomically
from rnn_tutorial.runs.terminal import CommandLineParser, run_command

TRAIN_FILE, EVAL_FILE = "who_did_it.train.tsv", "who_did_it.eval.tsv"
_NUM_TRAIN, _NUM_EVAL = 600, 200

_ANIMALS = ("bird", "cat", "dog", "fox")
_VERBS = ("chased", "heard", "found", "followed", "greeted", "watched")
_ADJECTIVES = ("old", "young", "big", "small", "brown", "hungry", "clever", "sleepy")
_ADVERBS = ("quickly", "quietly", "gladly", "often", "again")
_PLACES = ("near the river", "in the garden", "behind the house", "under a tree")


def make_lines() -> tuple[list[str], list[str]]:
    """The lines of the training file and of the evaluation file; no sentence occurs twice."""
    # Only random() is guaranteed to give the same numbers in every version of Python.
    dice = random.Random(0)
    lines = list(dict.fromkeys(_make_line(dice) for _ in range(3 * (_NUM_TRAIN + _NUM_EVAL))))
    return lines[:_NUM_TRAIN], lines[_NUM_TRAIN : _NUM_TRAIN + _NUM_EVAL]


def _make_line(dice: random.Random) -> str:
    def pick(words: Sequence[str], chance: float = 1.0) -> Iterator[str]:
        if dice.random() < chance:
            yield words[int(dice.random() * len(words))]

    (doer,) = pick(_ANIMALS)
    (other,) = pick([animal for animal in _ANIMALS if animal != doer])
    is_passive = dice.random() < 0.5
    first, second = (other, doer) if is_passive else (doer, other)
    subject = ["the", *pick(_ADJECTIVES, 0.3), first, *pick(_PLACES, 0.2)]
    verb = [*pick(_ADVERBS, 0.3), *pick(_VERBS)]
    if is_passive:
        verb = ["was", *verb, "by"]
    rest = ["the", *pick(_ADJECTIVES, 0.3), second, *pick(_PLACES, 0.2)]
    return f"{doer}\t{' '.join(subject + verb + rest)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both files; returns the exit status."""
    parser = CommandLineParser(
        prog="python -m rnn_tutorial.experiments.who_did_it", description=__doc__
    )
    parser.add_argument(
        "--write", type=Path, metavar="DIR", required=True, help="folder to write the files to"
    )
    folder = parser.parse_args(arguments).write
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in zip((TRAIN_FILE, EVAL_FILE), make_lines(), strict=True):
            write_atomically(folder / name, "".join(f"{line}\n" for line in lines).encode())
            print(f"{folder / name}: {len(lines)} lines")
    except OSError as error:
        parser.error(f"--write {str(folder)!r} cannot be written to: {error.strerror}")
    return 0


if __name__ == "__main__":
    run_command(main)
