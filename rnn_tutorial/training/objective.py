"""The optional extras of the forward pass and the loss.

Noise on the embedded tokens, truncated backpropagation, the contraction penalty, and products in
bfloat16. Without them, the loss is `cross_entropy(model(tokens), targets)`.

Shapes: N batch, M valid steps of a batch (the sum of its lengths), E embedding, H hidden, F what
the classifier reads of a row, C classes.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence

from rnn_tutorial.data.batches import PackedBatch
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.layers import State, one_layer
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.model_options import PLAIN_IN_WORDS


def changes_the_loss(config: TrainConfig) -> bool:
    """True if the loss is not simply the cross-entropy of the model's scores."""
    options = config.embed_noise, config.contraction, config.bptt_steps
    return any(options) or config.precision != "float32"


class Objective(nn.Module):
    """The loss of a batch, with the options of a configuration.

    Args:
        model: whose parameters are trained.
        config: of the run.
    """

    def __init__(self, model: RnnClsNet, config: TrainConfig) -> None:
        super().__init__()
        self.model, self._config = model, config
        self._contraction = Contraction(model) if config.contraction else None

    def forward(self, batch: PackedBatch, step: int) -> Tensor:
        """The loss of a batch, a scalar; `step`: updates made before."""
        config, model = self._config, self.model
        with autocast(config):
            embedded = model.embedding(batch.tokens.data)  # (M, E)
            if batch.noise is not None:
                embedded = embedded + config.embed_noise * batch.noise
            embedded = batch.tokens._replace(data=embedded)
            if self._contraction:  # which the settings allow only without --bptt_steps
                scores, penalty = self._contraction(embedded)
                loss = cross_entropy(scores, batch.targets)
                return loss + config.contraction_at(step) * penalty
            if config.bptt_steps:
                state = read_in_segments(model, embedded, config.bptt_steps)
            else:
                state = model.last_state(*model.rnn(embedded))
            return cross_entropy(model.fc(state), batch.targets)


def autocast(config: TrainConfig) -> contextlib.AbstractContextManager:
    """Matrix products inside are computed in the configuration's precision."""
    if config.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(config.device).type, torch.bfloat16)


def read_in_segments(model: RnnClsNet, embedded: PackedSequence, bptt_steps: int) -> Tensor:
    """Truncated backpropagation: what the classifier reads of each row, (N, F).

    The sequences are read in segments of bptt_steps steps, and no gradient goes from a segment into
    the one before it. Rows are sorted by descending length: those that go on after a segment are
    the first ones.

    Raises:
        ValueError: the network has no state to go on from.

    Source: Williams and Peng, An Efficient Gradient-Based Algorithm for On-Line Training of
    Recurrent Network Trajectories, 1990.
    """
    if not model.has_state:
        raise ValueError(
            "truncated backpropagation needs a recurrent network of one direction, pooling 'last'"
        )
    segments = embedded.batch_sizes.split(bptt_steps)
    data = embedded.data.split([int(sizes.sum()) for sizes in segments])
    rows_after = [int(sizes[0]) for sizes in segments[1:]] + [0]
    state, finished = None, []
    for sizes, steps, n in zip(segments, data, rows_after, strict=True):
        output, state = model.rnn(PackedSequence(steps, sizes), state)
        finished.append(model.last_state(output, state)[n:])  # those rows end in this segment
        state = _detached_rows(state, n)
    states = torch.cat(finished[::-1])  # longest first
    order = embedded.unsorted_indices  # back to the order of the batch before packing
    return states if order is None else states[order]


def _detached_rows(state: State, n: int) -> State:
    """The states of the first n rows, as constants."""
    if isinstance(state, tuple):
        return tuple(_detached_rows(part, n) for part in state)
    return state[:, :n].detach()


class Contraction:
    """Scores of a plain network, and how strongly a step can move two of its states apart.

    The Jacobian of h_t with respect to h_{t-1} is diag(1 - h_t²) W_hh. The sum of the absolute
    values in its row i is (1 - h_i²) Σ_j |W_hh[i, j]|; where all such sums are below 1, a step
    brings states closer together. The penalty is their mean over the units and the visited states
    of a layer, summed over layers.

    Raises:
        ValueError: the network is not plain.
    """

    def __init__(self, model: RnnClsNet) -> None:
        if not model.is_plain:
            raise ValueError(f"the contraction penalty is for {PLAIN_IN_WORDS}")
        self._fc = model.fc
        # nn.RNN returns the states of its top layer only: run the layers one by one.
        self._layers = [one_layer(model.rnn, index) for index in range(model.rnn.num_layers)]

    def __call__(self, embedded: PackedSequence) -> tuple[Tensor, Tensor]:
        """Scores, (N, C), and the penalty, a scalar, for embedded tokens, (M, E)."""
        penalty = torch.zeros((), device=embedded.data.device, dtype=embedded.data.dtype)
        states = embedded
        for layer in self._layers:
            states, h_n = layer(states)
            row_sums = layer.weight_hh_l0.abs().sum(dim=1)  # (H,)
            penalty = penalty + ((1 - states.data**2) * row_sums).mean()
        return self._fc(h_n[-1]), penalty
