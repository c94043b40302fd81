"""Score many sequences of any lengths, fast, in memory that does not grow with their length.

A net with a state reads its sequences in descending order of length: those that are still running
at a step are then the first rows of the state, and no step is spent on padding. What is known after
short prefixes is computed once and looked up. On a CPU a plain net then takes one matrix product
for each step, and two more for each further layer, in place; every other net is advanced by its
modules. A net without a state reads padded batches of sequences of similar length.

Shapes: N sequences, M tokens of all of them, n sequences of a group, T steps, S vectors of a state
(see model/steps.py), H hidden, V tokens, C classes, P prefixes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.steps import PlainSteps, advance, empty_state, extend_by_every_token

_GROUP_NUMBERS = 2**18  # in a layer's states of one group of sequences: they stay in the cache
_SCORE_NUMBERS = 2**24  # in the scores of one group: 64 MiB
_UNIT_NUMBERS = 2**14  # steps are for multiples of so many: each new shape costs oneDNN 0.5 ms
_STRETCH_TOKENS = 2**14  # read at once: bounds the memory of a sequence of any length
_PREFIX_NUMBERS = 2**24  # at most, in what is kept of all prefixes: 64 MiB
_FEW_NUMBERS = 1024  # in the states of a step; below it the loop inside nn.RNN is faster
_BATCH_TOKENS = 2**14  # of sequences read from their beginning at once

_Groups = Iterator[tuple[np.ndarray, Tensor]]  # indices of sequences, (n,), and what they have


class Scorer:
    """A model made ready to score many sequences; several threads may use it at once.

    Args:
        model: in evaluation mode; its weights must stay as they are.
    """

    def __init__(self, model: RnnClsNet) -> None:
        self._model = model
        self._device = model.fc.weight.device
        on_cpu = self._device.type == "cpu"
        self._plain_steps = PlainSteps(model) if model.is_plain and on_cpu else None
        self._prefixes = _Prefixes(model, self._plain_steps) if model.has_state else None

    @torch.no_grad()
    def scores(self, ids: np.ndarray, lengths: np.ndarray, num_before: int = 0) -> Tensor:
        """The unnormalised scores of each sequence, float32 on the CPU, (N, C); see `classify`."""
        scores = torch.empty(self._model.fc.out_features, len(lengths))
        for group, part in self._score_groups(ids, lengths, num_before):
            scores[:, torch.from_numpy(group)] = part.cpu()
        return scores.T

    @torch.no_grad()
    def classify(
        self, ids: np.ndarray, lengths: np.ndarray, num_before: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most probable class of each sequence, and its probability.

        Args:
            ids: token ids of all sequences, one after the other, whole numbers in [0, V), (M,).
            lengths: tokens of each sequence, int64, (N,), each at least 1; they sum to M.
            num_before: sequences of the same stream that came before. The more, the longer are the
                prefixes that are worth computing.

        Returns:
            Classes, int64, (N,), and probabilities, float32, (N,). If a score of a sequence is NaN,
            then so is its probability, and its class means nothing.
        """
        classes = np.empty(len(lengths), np.int64)
        probabilities = np.empty(len(lengths), np.float32)
        for group, scores in self._score_groups(ids, lengths, num_before):
            # Not the most probable: two scores that almost agree may have one probability.
            classes[group] = scores.max(dim=0).indices.cpu().numpy()
            probabilities[group] = scores.softmax(dim=0).amax(dim=0).cpu().numpy()
        return classes, probabilities

    @torch.no_grad()
    def classify_with_losses(
        self, ids: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most probable class of each sequence, and its loss; see `classify`.

        Args:
            targets: the right class of each sequence, int64, (N,).

        Returns:
            Classes, int64, (N,), and cross-entropy losses in nats, float32, (N,). If a score of a
            sequence is NaN, then so is its loss, and its class means nothing.
        """
        classes = np.empty(len(lengths), np.int64)
        losses = np.empty(len(lengths), np.float32)
        for group, scores in self._score_groups(ids, lengths):
            right = torch.from_numpy(targets[group]).unsqueeze(0)
            classes[group] = scores.max(dim=0).indices.cpu().numpy()
            losses[group] = -scores.log_softmax(dim=0).cpu().gather(0, right).squeeze(0).numpy()
        return classes, losses

    @torch.no_grad()
    def is_right(self, ids: np.ndarray, lengths: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """True where the class in `classes` has the highest score, alone, (N,); see `classify`."""
        right = np.empty(len(lengths), bool)
        for group, scores in self._score_groups(ids, lengths):
            right[group] = (margins(scores, classes[group]) > 0).cpu().numpy()
        return right

    @torch.no_grad()
    def final_states(self, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
        """The states after the last token of each sequence, (S, N, H); see `classify`.

        Raises:
            ValueError: the net has no state.
        """
        if self._prefixes is None:
            raise ValueError(
                "only a recurrent net of one direction, read at its last step, has a state"
            )
        size, _, hidden = empty_state(self._model).shape
        states = torch.empty(size, len(lengths), hidden, device=self._device)
        for group, state in self._final_state_groups(ids, lengths):
            states[:, torch.from_numpy(group)] = state
        return states

    def _score_groups(self, ids: np.ndarray, lengths: np.ndarray, num_before: int = 0) -> _Groups:
        """Groups of sequences: their indices, (n,), and scores, (C, n)."""
        if self._prefixes is None:
            yield from self._score_from_the_beginning(ids, lengths)
            return
        fc = self._model.fc
        for group, state in self._final_state_groups(ids, lengths, num_before):
            yield group, torch.addmm(fc.bias.unsqueeze(1), fc.weight, state[-1].T)

    def _score_from_the_beginning(self, ids: np.ndarray, lengths: np.ndarray) -> _Groups:
        """As `_score_groups`, without states: each group is a padded batch of similar lengths."""
        longest_first = np.argsort(-lengths, kind="stable")
        starts = np.cumsum(lengths) - lengths
        most_rows = _SCORE_NUMBERS // self._model.fc.out_features
        first = 0
        while first < len(lengths):
            longest = int(lengths[longest_first[first]])
            rows = max(1, min(_BATCH_TOKENS // longest, most_rows))
            group = longest_first[first : first + rows]
            steps = np.arange(longest)
            x = ids.take(starts[group][:, None] + steps, mode="clip").astype(np.int64)  # (n, T)
            x[steps >= lengths[group][:, None]] = self._model.arguments["vocab_size"]  # padding
            x = torch.from_numpy(x).to(self._device)
            yield group, self._model(x, torch.from_numpy(lengths[group])).T
            first += rows

    def _final_state_groups(
        self, ids: np.ndarray, lengths: np.ndarray, num_before: int = 0
    ) -> _Groups:
        """Groups of sequences of similar length: indices, (n,), and final states, (S, n, H)."""
        longest = int(lengths.max())
        small = np.min_scalar_type(longest)  # NumPy sorts numbers of 16 bits fastest
        longest_first = np.argsort((longest - lengths).astype(small), kind="stable")
        starts = np.cumsum(lengths) - lengths
        depth = self._prefixes.best_length(num_before + len(lengths), longest)
        most_rows = _SCORE_NUMBERS // self._model.fc.out_features
        rows = max(1, min(_GROUP_NUMBERS // self._model.rnn.hidden_size, most_rows))
        for first in range(0, len(lengths), rows):
            group = longest_first[first : first + rows]
            yield group, self._read(ids, starts[group], lengths[group], depth)

    def _read(self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, depth: int) -> Tensor:
        """The final states, (S, N, H), of sequences in descending order of length.

        They start at `starts` in `ids`; their prefixes of length `depth` are looked up.
        """
        num_sequences, unit = len(lengths), max(1, _UNIT_NUMBERS // self._model.rnn.hidden_size)
        last_rows = np.append(np.flatnonzero(np.diff(lengths)), num_sequences - 1)  # of each length
        idle = -num_sequences % unit  # more rows, which fill the last unit
        starts = np.append(starts, np.repeat(starts[-1], idle))
        lengths = np.append(lengths, np.repeat(lengths[-1], idle))
        state, t = self._prefixes.look_up(ids, starts, lengths, depth)
        for row in last_rows[::-1].tolist():
            n, end = row + 1, int(lengths[row])  # until step `end`, the first n rows run
            by_modules = not self._plain_steps or n * state.shape[-1] < _FEW_NUMBERS
            rows = n if by_modules else n + -n % unit
            while t < end:
                steps = np.arange(t, min(t + max(1, _STRETCH_TOKENS // n), end))  # (T,)
                tokens = ids.take(starts[:rows] + steps[:, None], mode="clip")  # (T, rows)
                tokens = torch.from_numpy(tokens.astype(np.int32)).to(self._device)
                if by_modules:
                    state[:, :n] = advance(self._model, state[:, :n], tokens)
                else:
                    self._plain_steps.advance_in_place(state[:, :rows], tokens, n)
                t += len(steps)
        return state[:, :num_sequences]


def margins(scores: Tensor, classes: np.ndarray) -> Tensor:
    """By how much each right class scores above all others, (N,); NaN if a score is NaN.

    An answer is right if its margin is above 0.

    Args:
        scores: (C, N); the right ones are overwritten.
        classes: the right ones, int64, (N,).
    """
    right = torch.from_numpy(classes).to(scores.device).unsqueeze(0)
    right_scores = scores.gather(0, right).squeeze(0)
    return right_scores - scores.scatter_(0, right, -math.inf).amax(dim=0)


class _Prefixes:
    """What is kept of all prefixes up to some length, computed when it is first asked for.

    It is the state after each; for a plain net on a CPU the recurrent part of the step that follows
    (see `PlainSteps`), so that the next token costs no product.

    The prefixes are the nodes of a tree with V children each, the empty one first: those of node i
    are V·i + 1, …, V·i + V.
    """

    @torch.no_grad()
    def __init__(self, model: RnnClsNet, plain_steps: PlainSteps | None) -> None:
        self._num_tokens = model.arguments["vocab_size"]
        self._plain_steps = plain_steps
        self._kept = empty_state(model)  # (S, P, H)
        self._extend = partial(extend_by_every_token, model)
        if plain_steps:
            self._kept = plain_steps.recurrent_part(self._kept)
            self._extend = plain_steps.extend_recurrent_parts
        self._length = 0
        self._lock = Lock()

    def best_length(self, num_sequences: int, longest: int) -> int:
        """How long the looked-up prefixes of so many sequences should be.

        There are never more of one length than sequences: each costs about the step that it saves.
        """
        size, _, hidden = self._kept.shape
        room = _PREFIX_NUMBERS // (size * hidden) - 1  # the empty one is kept, too
        length, of_this_length = 0, self._num_tokens
        while length < longest and of_this_length <= min(room, num_sequences):
            length, room = length + 1, room - of_this_length
            of_this_length *= self._num_tokens
        return length

    def look_up(
        self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, depth: int
    ) -> tuple[Tensor, int]:
        """Look up the prefixes of length `depth` of sequences in descending order of length.

        The sequences start at `starts` in `ids`.

        Returns:
            The states after their first t tokens, or all of them, (S, N, H); and t.
        """
        kept = self._up_to(depth)
        if not self._plain_steps:
            nodes = torch.from_numpy(self._find(ids, starts, lengths, depth))
            return kept.index_select(1, nodes.to(kept.device)), depth
        nodes = torch.from_numpy(self._find(ids, starts, lengths - 1, depth))
        tokens = ids[starts + np.minimum(lengths - 1, depth)].astype(np.int32)
        recurrent = kept.index_select(1, nodes)
        return self._plain_steps.finish_in_place(recurrent, torch.from_numpy(tokens)), depth + 1

    @torch.no_grad()
    def _up_to(self, length: int) -> Tensor:
        """What is kept of all prefixes up to this length, and maybe longer ones, (S, P, H)."""
        with self._lock:
            while self._length < length:
                parents = self._kept[:, -(self._num_tokens**self._length) :]
                size, num_kept, hidden = self._kept.shape
                more = parents.shape[1] * self._num_tokens
                kept = parents.new_empty(size, num_kept + more, hidden)
                kept[:, :num_kept] = self._kept
                chunk = max(1, _GROUP_NUMBERS // (self._num_tokens * hidden))
                for part in parents.split(chunk, dim=1):
                    end = num_kept + part.shape[1] * self._num_tokens
                    kept[:, num_kept:end] = self._extend(part)
                    num_kept = end
                self._kept = kept
                self._length += 1
            return self._kept

    def _find(
        self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, depth: int
    ) -> np.ndarray:
        """The node of each sequence's prefix of this length, or of a shorter sequence, (N,)."""
        node = np.zeros(len(lengths), np.int64)
        for t in range(depth):
            n = np.count_nonzero(lengths > t)
            node[:n] = node[:n] * self._num_tokens + 1 + ids.take(starts[:n] + t)
        return node
