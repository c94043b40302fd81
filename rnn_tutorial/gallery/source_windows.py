"""Windows of a text: at random places, to learn from; overlapping, to label all of it.

A window of 4 characters that reaches over the end of the file "x = 1" is a padded row:

    characters "= 1" and padding; length 3; targets operator, space, number, IGNORED

Shapes: N rows, T characters of a window, M characters of a text, K windows of it, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rnn_tutorial.gallery.corpus import Alphabet
from rnn_tutorial.gallery.pairs import IGNORED
from rnn_tutorial.gallery.source_classes import LabelledFile
from rnn_tutorial.model.classifier import evaluating

_ROWS_AT_ONCE = 128  # when a text is labelled


class RandomWindows:
    """Windows of the text at random places; those over an end of a file are shorter rows.

    Args:
        files: to cut from.
        alphabet: the ids of their characters.
        window: T, of a full row.
        seed: of the places.
    """

    def __init__(
        self, files: Sequence[LabelledFile], alphabet: Alphabet, window: int, seed: int
    ) -> None:
        lengths = [len(file.text) for file in files]
        self._ids = np.concatenate([alphabet.encode(file.text).astype(np.int32) for file in files])
        self._classes = np.concatenate([file.classes for file in files])
        self._begins = np.cumsum([0, *lengths])  # of each file
        # A window may end at any place where it holds a character of the file: so every character
        # is in as many windows as any other.
        self._places = np.cumsum([0] + [length and length + window - 1 for length in lengths])
        self._window, self._seed = window, seed

    def draw(self, step: int, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch of a step, a function of the seed and the step alone.

        Returns:
            Ids, int64, (N, T); lengths, int64, (N,); targets, int64, (N, T), IGNORED in padding.
        """
        place = np.random.default_rng([self._seed, step]).integers(0, self._places[-1], num_rows)
        file = np.searchsorted(self._places, place, side="right") - 1  # (N,)
        end = self._begins[file] + place - self._places[file] + 1
        begin = np.maximum(end - self._window, self._begins[file])
        lengths = np.minimum(end, self._begins[file + 1]) - begin
        steps = np.arange(self._window)  # (T,)
        is_valid = steps < lengths[:, None]  # (N, T)
        at = np.where(is_valid, begin[:, None] + steps, 0)
        targets = np.where(is_valid, self._classes[at].astype(np.int64), IGNORED)
        return (
            torch.from_numpy(self._ids[at].astype(np.int64)),
            torch.from_numpy(lengths),
            torch.from_numpy(targets),
        )


@dataclass(frozen=True)
class Reader:
    """A trained network with what it needs to label a text.

    Args:
        model: gives scores, (N, T, C), for ids of characters, (N, T), and lengths, (N,).
        alphabet: of its ids.
        window: characters of a row.
    """

    model: nn.Module
    alphabet: Alphabet
    window: int

    def label(self, text: str) -> np.ndarray:
        """The class of each character, an index of CLASSES, uint8, (M,)."""
        return self.read(text)[0]

    @torch.no_grad()
    def read(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Label a text in windows that overlap by half: the middle of each counts.

        Returns:
            The class of each character, uint8, (M,) for M characters; where each of K windows
            begins, (K,); and the classes that each found, (K, T).
        """
        ids = self.alphabet.encode(text)
        begins = np.arange(0, max(len(text) - self.window // 4, 1), self.window // 2)  # (K,)
        at = begins[:, None] + np.arange(self.window)  # (K, T)
        lengths = torch.from_numpy(np.minimum(len(text) - begins, self.window))
        x = torch.from_numpy(np.pad(ids, (0, self.window))[at])
        device = next(self.model.parameters()).device
        chunks = zip(x.split(_ROWS_AT_ONCE), lengths.split(_ROWS_AT_ONCE), strict=True)
        with evaluating(self.model):
            scores = [self.model(rows.to(device), n.to(device)).argmax(-1) for rows, n in chunks]
        found = torch.cat(scores).to("cpu", torch.uint8).numpy()
        places = np.arange(len(text))  # (M,)
        row = np.clip((places - self.window // 4) // (self.window // 2), 0, len(begins) - 1)
        return found[row, places - begins[row]], begins, found
