"""Search for a wrong input where a sample finds none: stay with the inputs nearest to a mistake.

How near an answer is to a mistake is its margin: the score of the right class minus the highest of
the others. Of the sequences read of one length that end in the same state of the machine, those
with the lowest margins are kept and extended by every token: a beam search.

Shapes: P sequences kept, V tokens, N = P·V sequences read, S vectors of a state (see
model/steps.py), H hidden, C classes, T steps.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from rnn_tutorial.evaluation.scorer import Scorer, margins
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet, evaluating
from rnn_tutorial.model.steps import empty_state, extend_by_every_token

MAX_SEARCHED = 10_000
_WIDTH = 1000  # sequences kept of each length, of all states of the machine together
_MOST_NUMBERS = 2**27  # in the states and the scores of one length: 512 MiB


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        wrong_input: the token ids of a wrongly answered input, the first that was found; empty if
            none was.
        max_len: tokens of the longest inputs that were read.
        num_read: inputs that were read.
        lowest_margin: of the answers to all of them; None if a wrong one was found.
        elapsed_seconds: of the search.
    """

    wrong_input: list[int]
    max_len: int
    num_read: int
    lowest_margin: float | None
    elapsed_seconds: float


def why_unsearchable(model: RnnClsNet, machine: Machine) -> str:
    """Why the inputs of a network cannot be searched; "" if they can."""
    if not model.has_state:
        return "only a recurrent network of one direction, read at its last step, can be searched"
    num_states, num_tokens = machine.num_states, len(machine.tokens)
    num_read = max(_WIDTH, num_states) * num_tokens  # of one length
    numbers_each = empty_state(model).numel() + len(machine.classes)
    if num_read * numbers_each > _MOST_NUMBERS:
        return f"{num_states:,} states and {num_tokens:,} tokens are too many to search"
    return ""


@torch.no_grad()
def search_wrong_input(
    model: RnnClsNet, machine: Machine, max_len: int, width: int = _WIDTH
) -> SearchResult:
    """Search the inputs of up to max_len tokens for one that is answered wrongly.

    Args:
        model, machine: those that `why_unsearchable` has nothing against.
        width: sequences that are kept of each length, but at least one for each state.
    """
    started = time.perf_counter()
    num_tokens = len(machine.tokens)
    quota = max(1, width // machine.num_states)
    # Of each length, which sequences were kept: number i is sequence i // V of those one token
    # shorter, followed by token i % V.
    steps: list[np.ndarray] = []
    machine_states = np.zeros(1, np.int64)  # (P,)
    wrong_input: list[int] = []
    num_read, lowest = 0, math.inf
    with evaluating(model):
        scorer, state = Scorer(model), empty_state(model)  # (S, P, H)
        for _ in range(max_len):
            state = extend_by_every_token(model, state)  # (S, N, H)
            machine_states = machine.step(machine_states[:, None], np.arange(num_tokens)).ravel()
            found = margins(model.fc(state[-1]).T, machine.output(machine_states))
            found = found.nan_to_num(nan=-math.inf).cpu().numpy()  # a NaN is a mistake, too
            num_read, lowest = num_read + len(found), min(lowest, found.min())
            kept = _lowest_of_each(found, machine_states, quota)
            steps.append(kept)
            machine_states = machine_states[kept]
            state = state[:, torch.from_numpy(kept).to(state.device)]
            suspects = _sequences(steps, np.flatnonzero(found[kept] <= 0), num_tokens)
            if wrong_input := _first_wrong(scorer, machine, suspects):
                break
    seconds = time.perf_counter() - started
    lowest_margin = None if wrong_input else float(lowest)
    return SearchResult(wrong_input, len(steps), num_read, lowest_margin, seconds)


def _lowest_of_each(values: np.ndarray, groups: np.ndarray, quota: int) -> np.ndarray:
    """The indices of the lowest values of each group, at most `quota` of each."""
    order = np.lexsort((values, groups))
    ordered = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < quota]


def _sequences(steps: list[np.ndarray], rows: np.ndarray, num_tokens: int) -> np.ndarray:
    """The tokens of some of the sequences that were kept last, by their rows, (N, T)."""
    tokens = np.empty((len(rows), len(steps)), np.int64)
    for t in range(len(steps) - 1, -1, -1) if len(rows) else ():
        rows, tokens[:, t] = np.divmod(steps[t][rows], num_tokens)
    return tokens


def _first_wrong(scorer: Scorer, machine: Machine, sequences: np.ndarray) -> list[int]:
    """The first of some sequences, (N, T), that is answered wrongly when it is read as a whole.

    (As in every other command: read another way, a margin near 0 may be rounded to the other side.)
    """
    if not len(sequences):
        return []
    flat = sequences.ravel(), np.full(len(sequences), sequences.shape[1])
    wrong = np.flatnonzero(~scorer.is_right(*flat, machine.answer(*flat)))
    return sequences[wrong[0]].tolist() if len(wrong) else []
