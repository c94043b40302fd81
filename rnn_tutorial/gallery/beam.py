"""Decoding: from the probabilities of the next unit to whole answers, greedily or with a beam.

Greedy decoding takes the likeliest unit at each step and cannot go back. A beam keeps the K best
beginnings, so that a unit that looks worse at first may still win.

Shapes: N sources, K beginnings of each, M rows of the decoder (N, or N·K), C classes (units of the
target and END), L layers, H hidden, U units of the longest answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnn_tutorial.gallery.pairs import END

# What a decoder does in a step: the units read last, (M, 1), and the states before it; returns the
# log-probabilities of the next unit, (M, C), and the states after it, (L, M, H), of nn.LSTM a pair.
DecodeStep = Callable[[Tensor, Any], tuple[Tensor, Any]]


@torch.no_grad()
def decode_greedily(step: DecodeStep, state: Any, max_units: int) -> Tensor:
    """The likeliest unit at each step until all answers have ended.

    Args:
        step: of the decoder.
        state: of the decoder before its first step, (L, N, H); of nn.LSTM a pair.
        max_units: U; END does not count.

    Returns:
        Ids, END from the end of an answer on, (N, U).
    """
    answer = _no_units(state, max_units)
    read = answer.new_full((len(answer), 1), END)
    has_ended = torch.zeros_like(read, dtype=torch.bool)
    for length in range(max_units):
        scores, state = step(read, state)
        read = scores.argmax(dim=-1, keepdim=True).masked_fill(has_ended, END)
        has_ended |= read == END
        if has_ended.all():
            break
        answer[:, length] = read[:, 0]
    return answer


@dataclass(frozen=True)
class Hypotheses:
    """The answers that a beam has found for each source, the best first.

    Args:
        ids: of their units, END from the end on, int64, (N, K, U).
        log_probabilities: of the units and END, (N, K); -inf where there is no such answer.
        scores: what the beam ranks by, (N, K); higher is better.
    """

    ids: Tensor
    log_probabilities: Tensor
    scores: Tensor

    def or_better(self, others: Hypotheses) -> Hypotheses:
        """The best of these and of others to the same sources, as many as these."""
        scores, places = torch.cat([self.scores, others.scores], 1).topk(self.scores.shape[1])
        ids = torch.cat([self.ids, others.ids], 1)
        log_probabilities = torch.cat([self.log_probabilities, others.log_probabilities], 1)
        of_ids = places[:, :, None].expand(-1, -1, ids.shape[2])
        return Hypotheses(ids.gather(1, of_ids), log_probabilities.gather(1, places), scores)


def length_penalty(length: int, alpha: float) -> float:
    """What the log-probability of an answer is divided by; 1 if alpha is 0.

    Each unit makes an answer less probable, so that a beam prefers short answers. alpha 0 ranks by
    the probability as it is, 1 nearly by the probability per unit.

    Args:
        length: units of the answer, END included.
        alpha: 0.6 to 0.7 suited the source, which translates sentences.

    Source: Wu et al., Google's Neural Machine Translation System, 2016, equation 14.
    """
    return ((5 + length) / 6) ** alpha


@torch.no_grad()
def beam_search(
    step: DecodeStep, state: Any, width: int, max_units: int, alpha: float = 0.0
) -> Hypotheses:
    """The best answers that a beam of some width finds for each source.

    An answer that has ended is set aside and takes no place in the beam. The search is over when no
    beginning can become better than what is set aside.

    Args:
        step: of the decoder.
        state: of the decoder before its first step, (L, N·K, H), that of each source K times in a
            row; of nn.LSTM a pair.
        width: K.
        max_units: U; END does not count.
        alpha: of the length penalty.
    """
    beginnings = _no_units(state, max_units).unflatten(0, (-1, width))  # (N, K, U)
    count = len(beginnings)
    # At first all beginnings of a source are the same: only one of them counts.
    log_p = torch.full((count, width), -math.inf, device=beginnings.device)
    found = Hypotheses(beginnings, log_p, log_p)
    log_p = torch.cat([torch.zeros_like(log_p[:, :1]), log_p[:, 1:]], 1)
    read = beginnings.new_full((count * width, 1), END)
    first_rows = width * torch.arange(count, device=read.device)[:, None]  # of each source
    for length in range(1, max_units + 2):  # units of the answers that end now, END included
        scores, state = step(read, state)
        totals = log_p[:, :, None] + scores.view(count, width, -1)  # (N, K, C)
        ended = totals[:, :, END]
        ending = Hypotheses(beginnings, ended, ended / length_penalty(length, alpha))
        found = found.or_better(ending)
        if length > max_units:
            break
        totals[:, :, END] = -math.inf
        log_p, places = totals.flatten(1).topk(width)
        # A beginning only loses probability; at best it keeps what it has, and is long.
        bound = log_p[:, 0] / length_penalty(max_units + 1, alpha)
        if (bound <= found.scores[:, -1]).all():
            break
        parents, units = places // totals.shape[2], places % totals.shape[2]  # (N, K) each
        beginnings = beginnings.gather(1, parents[:, :, None].expand_as(beginnings))
        beginnings[:, :, length - 1] = units
        rows = (first_rows + parents).flatten()
        state = map_state(lambda part, rows=rows: part[:, rows], state)
        read = units.reshape(-1, 1)
    return found


def map_state(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """A function of a decoder's state; of nn.LSTM the state is a pair of tensors."""
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


def _no_units(state: Any, max_units: int) -> Tensor:
    """Answers that have ended before they begin, one for each row of a state, (M, U)."""
    part = state[0] if isinstance(state, tuple) else state
    return torch.full((part.shape[1], max_units), END, device=part.device)
