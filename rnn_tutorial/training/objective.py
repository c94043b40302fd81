"""The optional extras of the forward pass and the loss.

Noise on the embedded tokens, truncated backpropagation, penalties on the hidden states, and
products in bfloat16. Without them, the loss is `cross_entropy(model(tokens), targets)`.

Shapes: N batch, M valid steps of a batch (the sum of its lengths), E embedding, H hidden, F what
the classifier reads of a row, C classes.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, one_hot, softplus
from torch.nn.utils.rnn import PackedSequence

from rnn_tutorial.data.batches import PackedBatch
from rnn_tutorial.machines.machine import Machine
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.layers import State, one_layer
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.model_options import PROVABLE_IN_WORDS


def changes_the_loss(config: TrainConfig) -> bool:
    """True if the loss is not simply the cross-entropy of the model's logits."""
    options = config.embed_noise, config.bptt_steps, *config.penalties
    return any(options) or config.precision != "float32"


class Objective(nn.Module):
    """The loss of a batch, with the options of a configuration.

    Args:
        model: whose parameters are trained.
        config: of the run.
        machine: what the model should compute, for --center_loss.
    """

    def __init__(
        self, model: RnnClsNet, config: TrainConfig, machine: Machine | None = None
    ) -> None:
        super().__init__()
        self.model, self._config, self._machine = model, config, machine
        self._penalties = Penalties(model) if config.penalties else None

    def forward(self, batch: PackedBatch, penalty_share: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar; `penalty_share`, 0 to 1, of the penalties is added."""
        config, model = self._config, self.model
        with autocast(config):
            embedded = model.embedding(batch.tokens.data)  # (M, E)
            if batch.noise is not None:
                embedded = embedded + config.embed_noise * batch.noise
            embedded = batch.tokens._replace(data=embedded)
            if self._penalties:  # which the settings allow only without --bptt_steps
                groups = None
                if config.center_loss and penalty_share:
                    groups = group_steps(batch.tokens, self._machine)
                contracts = bool(config.contraction and penalty_share)
                logits, penalties = self._penalties(embedded, contracts, groups)
                loss = cross_entropy(logits, batch.targets)
                for name, penalty in penalties.items():
                    loss = loss + config.penalties[name] * penalty_share * penalty
                return loss
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
    return state[:, :n].detach().contiguous()  # cuDNN refuses others


class Penalties:
    """Scores of a network, and two penalties on its hidden states, each summed over layers.

    The contraction penalty: how strongly a step can move two states apart. Where the sums of
    absolute values in all rows of the Jacobian of h_t with respect to h_{t-1} are below 1, a step
    brings nearby states closer together. It is the mean of bounds on these sums over the units and
    the visited states.

    The center loss: how far states differ that should be alike; see `center_loss`.

    Raises:
        ValueError: the network is no nn.RNN or nn.GRU, or has options.
    """

    def __init__(self, model: RnnClsNet) -> None:
        if not model.is_provable:
            raise ValueError(f"the penalties on hidden states are for {PROVABLE_IN_WORDS}")
        self._fc = model.fc
        self._row_sums = gru_row_sums if isinstance(model.rnn, nn.GRU) else rnn_row_sums
        # nn.RNN returns the states of its top layer only: run the layers one by one.
        self._layers = [one_layer(model.rnn, index) for index in range(model.rnn.num_layers)]

    def __call__(
        self, embedded: PackedSequence, contraction: bool = True, groups: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores, (N, C), and the penalties that are wanted, scalars by name.

        Args:
            embedded: tokens, (M, E).
            contraction: True for this penalty.
            groups: the number of each step's group, (M,), for the center loss.
        """
        penalties: dict[str, list[Tensor]] = {}
        states = embedded
        for layer in self._layers:
            inputs = states
            states, h_n = layer(inputs)
            if contraction:
                row_sums = self._row_sums(layer, inputs, states)
                penalties.setdefault("contraction", []).append(row_sums.mean())
            if groups is not None:
                penalties.setdefault("center_loss", []).append(center_loss(groups, states.data))
        return self._fc(h_n[-1]), {name: sum(parts) for name, parts in penalties.items()}


def group_steps(tokens: PackedSequence, machine: Machine) -> Tensor:
    """The group of each step, int64, (M,): equal where the machine's state and the last token are.

    What a machine will answer depends on its state alone. A single recurrent layer cannot always
    represent just that: states must be split. Split by the token that led there, it always can,
    with one unit for each pair.

    Source: Goudreau et al., First-Order versus Second-Order Single-Layer Recurrent Neural Networks,
    1994; after Minsky, Computation: Finite and Infinite Machines, 1967, chapter 3, whose units
    stand for a state and the token that is read in it.
    """
    rows = tokens.batch_sizes.tolist()
    states, after = np.zeros(rows[0], np.int64), []
    for ids in tokens.data.cpu().split(rows):
        states = machine.step(states[: len(ids)], ids.numpy())
        after.append(states)
    pairs = torch.from_numpy(np.concatenate(after)).to(tokens.data.device)
    return pairs * len(machine.tokens) + tokens.data


def center_loss(groups: Tensor, states: Tensor) -> Tensor:
    """The mean over steps and units of (h_i - the mean of h_i in the step's group)², a scalar.

    That is the variance within groups. No gradient is needed through the means: around them, the
    differences of a group sum to 0. (On a GPU a product adds in one order, which index_add does
    not.)

    Args:
        groups: number of each step's group, int64, (M,).
        states: h, (M, H).

    Source: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, 2016,
    with the means of the batch as centers.
    """
    _, groups = groups.unique(return_inverse=True)
    with torch.no_grad():
        members = one_hot(groups).to(states.dtype)  # (M, groups)
        centers = members.T @ states / members.sum(dim=0).unsqueeze(1)  # (groups, H)
    return ((states - centers[groups]) ** 2).mean()


def rnn_row_sums(layer: nn.RNN, inputs: PackedSequence, states: PackedSequence) -> Tensor:
    """Σ_j |∂h_t[i] / ∂h_{t-1}[j]| for each step of one layer and each unit i, (M, H).

    The Jacobian is diag(1 - h_t²) W_hh.

    Args:
        layer: of one layer.
        inputs: x, (M, E).
        states: h, which the layer makes of them, (M, H).
    """
    reach = layer.weight_hh_l0.abs().sum(dim=1)  # (H,)
    return (1 - states.data**2) * reach


def gru_row_sums(layer: nn.GRU, inputs: PackedSequence, states: PackedSequence) -> Tensor:
    """At least Σ_j |∂h_t[i] / ∂h_{t-1}[j]|; the arguments and the shape are those of rnn_row_sums.

    h_t = (1 - z) n + z h_{t-1} depends on h_{t-1} in four ways: directly, through z, through n and,
    within n, through r. The bound is the sum of what each way contributes at most; with
    q = W_hn h_{t-1} + b_hn and R_z[i] = Σ_j |W_hz[i, j]|, likewise R_n and R_r, it is

        z + z (1 - z) |h_{t-1} - n| R_z + (1 - z) (1 - n²) (r R_n + r (1 - r) |q| R_r).

    A unit that merely keeps its state, z = 1, meets its bound of 1 and never brings states closer.
    There the gradient of z vanishes, and no penalty leads away. So the first term is -log(1 - z)
    instead: above z everywhere, nearly the same for a small z, and steep where z is almost 1.
    """
    before = _states_before(states)
    from_inputs = linear(inputs.data, layer.weight_ih_l0, layer.bias_ih_l0)  # (M, 3H)
    from_state = linear(before, layer.weight_hh_l0, layer.bias_hh_l0)  # (M, 3H)
    r_in, z_in, n_in = from_inputs.chunk(3, dim=1)
    r_hidden, z_hidden, q = from_state.chunk(3, dim=1)
    a_z = z_in + z_hidden
    r, z = torch.sigmoid(r_in + r_hidden), torch.sigmoid(a_z)
    n = torch.tanh(n_in + r * q)
    reach_r, reach_z, reach_n = layer.weight_hh_l0.abs().sum(dim=1).chunk(3)  # (H,) each
    through_z = z * (1 - z) * (before - n).abs() * reach_z
    through_n = (1 - z) * (1 - n**2) * r * (reach_n + (1 - r) * q.abs() * reach_r)
    return softplus(a_z) + through_z + through_n  # softplus(a_z) = -log(1 - z)


def _states_before(states: PackedSequence) -> Tensor:
    """h_{t-1} of each step, (M, H): 0 at t = 0, then that of the rows which still run."""
    steps = states.data.split(states.batch_sizes.tolist())
    earlier = [step[: len(later)] for step, later in pairwise(steps)]
    return torch.cat([torch.zeros_like(steps[0]), *earlier])
