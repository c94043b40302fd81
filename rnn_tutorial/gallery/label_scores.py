"""How well characters are labelled: by class, what is taken for what, by place in a window.

Shapes: C classes, M characters of a file, K windows, T characters of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from rnn_tutorial.gallery.source_classes import (
    CLASSES,
    LabelledFile,
    TokenizeGaveUp,
    label_source,
)

_NUM_DAMAGED = 200  # times that a bracket or a quote is removed from a file
_CONTEXT = 512  # characters to each side of it that are labelled
_NEAR = 64  # of which so many to each side count


class LabelScores:
    """Counts over all characters that were added.

    Args:
        window: T.

    Attributes:
        confusion: characters by their true class and the class that was found, int64, (C, C).
    """

    def __init__(self, window: int) -> None:
        self.confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        self._guessed_right = 0
        self._num_windows, self._right_by_place = 0, np.zeros(window, np.int64)

    def add_file(self, classes: np.ndarray, found: np.ndarray, guesses: np.ndarray) -> None:
        """Count a file: its true classes, the network's, the baseline's, (M,) each."""
        pairs = classes.astype(np.int64) * len(CLASSES) + found
        self.confusion += np.bincount(pairs, minlength=len(CLASSES) ** 2).reshape(
            self.confusion.shape
        )
        self._guessed_right += int((guesses == classes).sum())

    def add_windows(self, is_right: np.ndarray) -> None:
        """Count windows that are cut out of the middle of a text, by place, bool, (K, T)."""
        self._num_windows += len(is_right)
        self._right_by_place += is_right.sum(0)

    @property
    def accuracy(self) -> float:
        """The share of all characters that are labelled right."""
        return float(self.confusion.trace() / self.confusion.sum())

    def figures(self) -> dict[str, float | int]:
        """All of it as plain values.

        accuracy, baseline_accuracy; accuracy_string, … of the characters of a class;
        from_begin_4 and from_end_4, of those that are 4 to 7 characters from an end of their
        window; confusion_string_name, how many of string were taken for name.
        """
        figures: dict[str, float | int] = {
            "accuracy": self.accuracy,
            "baseline_accuracy": self._guessed_right / int(self.confusion.sum()),
        }
        for name, row, right in zip(
            CLASSES, self.confusion, self.confusion.diagonal(), strict=True
        ):
            if row.any():
                figures[f"accuracy_{name}"] = float(right / row.sum())
        if self._num_windows:
            for low, high in _distances(len(self._right_by_place)):
                for end, places in (
                    ("begin", self._right_by_place),
                    ("end", self._right_by_place[::-1]),
                ):
                    share = places[low:high].sum() / (self._num_windows * (high - low))
                    figures[f"from_{end}_{low}"] = float(share)
        for name, row in zip(CLASSES, self.confusion, strict=True):
            for other, count in zip(CLASSES, row, strict=True):
                figures[f"confusion_{name}_{other}"] = int(count)
        return figures


def _distances(window: int) -> Iterator[tuple[int, int]]:
    """Ranges of distances from an end of a window, up to its middle: 0, 1, 2–3, 4–7, …"""
    low, high = 0, 1
    while high <= window // 2:
        yield low, high
        low, high = high, 2 * high


def score_broken_source(
    label: Callable[[str], np.ndarray], files: Sequence[LabelledFile]
) -> dict[str, float | int]:
    """How source is labelled on which tokenize gives up, because a bracket or a quote is missing.

    Args:
        label: gives the class of each character of a text.
        files: of which those that tokenize accepts lose a character, one at a time, at random but
            always the same.

    Returns:
        broken_files, on how many tokenize gave up; broken_accuracy, the share of the characters
        around the missing one that are labelled as they were meant; and intact_accuracy, of the
        same characters with nothing missing. The shares only if there are such files.
    """
    random = np.random.default_rng(0)
    files = [file for file in files if _is_tokenized(file.text)]  # not so the end of a long one
    marks = [[i for i, char in enumerate(file.text) if char in "()[]{}'\""] for file in files]
    choices = [(file, places) for file, places in zip(files, marks, strict=True) if places]
    broken, intact = [], []
    for number in random.integers(0, len(choices), _NUM_DAMAGED if choices else 0):
        file, places = choices[number]
        place = places[random.integers(len(places))]
        if _is_tokenized(file.text[:place] + file.text[place + 1 :]):
            continue  # such as a quote in a comment
        begin = max(0, place - _CONTEXT)
        before, after = file.text[begin:place], file.text[place + 1 : place + _CONTEXT]
        near = np.arange(max(0, place - _NEAR), min(len(file.text), place + _NEAR + 1))
        near = near[near != place]
        found = label(before + file.text[place] + after)[near - begin]
        intact.append(found == file.classes[near])
        found = label(before + after)[near - begin - (near > place)]
        broken.append(found == file.classes[near])
    if not broken:
        return {"broken_files": 0}
    return {
        "broken_files": len(broken),
        "broken_accuracy": float(np.concatenate(broken).mean()),
        "intact_accuracy": float(np.concatenate(intact).mean()),
    }


def _is_tokenized(text: str) -> bool:
    """Whether tokenize accepts a text."""
    try:
        label_source(text)
        return True
    except TokenizeGaveUp:
        return False


def describe_scores(figures: Mapping[str, float | int]) -> list[str]:
    """The accuracy, and that of each class, in words."""
    by_class = (
        f"{name} {figures[f'accuracy_{name}']:.2%}"
        for name in CLASSES
        if f"accuracy_{name}" in figures
    )
    return [
        f"{figures['accuracy']:.2%} of the held-out characters are labelled right; the likeliest "
        f"class of each character gives {figures['baseline_accuracy']:.1%}.",
        f"By class: {', '.join(by_class)}.",
    ]


def describe_details(figures: Mapping[str, float | int]) -> list[str]:
    """The confusion matrix, and the accuracy by distance from the ends of a window."""
    lines = [*_describe_confusion(figures), *_describe_distances(figures)]
    if figures["broken_files"]:
        lines += [
            "",
            f"A bracket or a quote was removed {_NUM_DAMAGED} times, and tokenize gave up on "
            f"{figures['broken_files']} of the results. Of the {_NEAR} characters to each side, "
            f"{figures['broken_accuracy']:.2%} are labelled as they were meant; with nothing "
            f"removed {figures['intact_accuracy']:.2%}.",
        ]
    return lines


def _describe_confusion(figures: Mapping[str, float | int]) -> Iterator[str]:
    yield ""
    yield "What characters are taken for (rows: what they are):"
    yield " " * 10 + "".join(f"{name:>10}" for name in CLASSES)
    for name in CLASSES:
        counts = (figures[f"confusion_{name}_{other}"] for other in CLASSES)
        yield f"{name:<10}" + "".join(f"{count:>10,}" for count in counts)


def _describe_distances(figures: Mapping[str, float | int]) -> Iterator[str]:
    lows = [int(key.rpartition("_")[2]) for key in figures if key.startswith("from_end_")]
    if not lows:
        return
    yield ""
    yield "Right in a window cut out of the middle of a text, by distance to its ends:"
    yield f"{'characters':<12}{'to its beginning':>18}{'to its end':>14}"
    for low in lows:
        distance = f"{low}–{2 * low - 1}" if low > 1 else f"{low}"
        begin, end = figures[f"from_begin_{low}"], figures[f"from_end_{low}"]
        yield f"{distance:<12}{begin:>18.2%}{end:>14.2%}"
