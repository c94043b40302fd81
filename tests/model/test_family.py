"""Every net of the family against a reference in single steps, and the options that it takes."""

import itertools
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from conftest import make_digit_model, run_here
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

import predict_cls_rnn
import train_cls_rnn
from rnn_tutorial import evaluate as evaluate_module
from rnn_tutorial.data.batches import PackedBatch
from rnn_tutorial.data.streams import dropout_seed
from rnn_tutorial.evaluation import exact, scorer
from rnn_tutorial.evaluation.automaton import find_automaton
from rnn_tutorial.evaluation.exact import evaluate
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model import layers, pooling
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.layers import LayeredRnn, init_recurrent
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.proof.prove import prove
from rnn_tutorial.runs.checkpoint import load_checkpoint
from rnn_tutorial.settings.config import TrainConfig
from rnn_tutorial.settings.fields import as_argument, as_flag
from rnn_tutorial.settings.model_options import CELLS, NONLINEARITIES, PLAIN, POOLINGS
from rnn_tutorial.training.compiled import compile_training_step
from rnn_tutorial.training.cuda_graph import graph_training_step
from rnn_tutorial.training.objective import Objective, Penalties, read_in_segments

VOCAB, EMBED, HIDDEN = 5, 3, 4
RECURRENT = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def make_model(num_layers=2, seed=0, hidden=HIDDEN, **options):
    torch.manual_seed(seed)
    return RnnClsNet(VOCAB, EMBED, hidden, num_layers, VOCAB, **options).double()


@st.composite
def nets(draw):
    """A net of any allowed options but dropout, in double precision."""
    cell = draw(st.sampled_from(list(layers.CELL_CLASSES)))
    options = {"cell": cell, "pooling": draw(st.sampled_from(["last", *pooling.POOLING_FUNCTIONS]))}
    num_layers = draw(st.integers(1, 3))
    if cell == "rnn":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if cell != "transformer":
        options["bidirectional"] = draw(st.booleans())
        if num_layers > 1:
            options["layer_norm"], options["residual"] = draw(st.booleans()), draw(st.booleans())
    return make_model(num_layers, draw(st.integers(0, 9)), **options)


batches = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6), min_size=1, max_size=5
)


def padded(sequences, width=0):
    width = max(width, *map(len, sequences))
    x = torch.tensor([digits + [VOCAB] * (width - len(digits)) for digits in sequences])
    return x, torch.tensor([len(digits) for digits in sequences])


# ---- references: one sequence, one step at a time, from PyTorch's cells ----


def run_cell(cell, weights, inputs):
    """The state after each input; `weights` in the order of PyTorch's names, ih before hh."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = torch.zeros(1, cell.hidden_size, dtype=torch.float64)
    state = (state, state) if isinstance(cell, nn.LSTMCell) else state
    outputs = []
    for x in inputs:
        own = dict(zip(names, weights, strict=True))
        state = torch.func.functional_call(cell, own, (x.unsqueeze(0), state))
        outputs.append((state[0] if isinstance(state, tuple) else state).squeeze(0))
    return outputs


def run_recurrent(model, inputs, detach_at=()):
    """All outputs of the last layer, and the state at the end of each of its directions."""
    arguments, rnn = model.arguments, model.rnn
    for layer in range(rnn.num_layers):
        options = {"nonlinearity": arguments["nonlinearity"]} if arguments["cell"] == "rnn" else {}
        cell = RECURRENT[arguments["cell"]](len(inputs[0]), rnn.hidden_size, **options).double()
        is_stack = isinstance(rnn, nn.RNNBase)
        owner, index = (rnn, layer) if is_stack else (rnn.layers[layer], 0)
        fed = inputs
        if layer and arguments["layer_norm"]:
            norm = rnn.norms[layer - 1]
            fed = [
                (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * norm.weight + norm.bias
                for x in inputs
            ]
        weights = owner.all_weights
        if rnn.bidirectional:
            forward = run_cell(cell, weights[2 * index], fed)
            backward = run_cell(cell, weights[2 * index + 1], fed[::-1])[::-1]
            outputs = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]
        else:
            outputs = run_cell(cell, weights[index], fed)
        if layer and arguments["residual"]:
            outputs = [x + y for x, y in zip(inputs, outputs, strict=True)]
        inputs = outputs
    last = inputs[-1]
    if rnn.bidirectional:
        last = torch.cat([inputs[-1][:HIDDEN], inputs[0][HIDDEN:]])
    return inputs, last


def run_transformer(model, inputs):
    """The same with PyTorch's own encoder layers on a single row without padding."""
    rnn, size = model.rnn, model.rnn.hidden_size
    codes = [
        [(math.sin, math.cos)[i % 2](t / 10_000 ** ((i - i % 2) / size)) for i in range(size)]
        for t in range(len(inputs))
    ]
    x = rnn.input(torch.stack(inputs)) + torch.tensor(codes, dtype=torch.float64)
    x = x.unsqueeze(0)
    for layer in rnn.layers:
        theirs = nn.TransformerEncoderLayer(
            size, layer.num_heads, size, 0.0, batch_first=True, norm_first=True
        ).double()
        ours = layer.state_dict(keep_vars=True)
        own = {
            "self_attn.in_proj_weight": ours["queries_keys_values.weight"],
            "self_attn.in_proj_bias": ours["queries_keys_values.bias"],
        }
        for name, known in {
            "self_attn.out_proj": "attention_output", "norm1": "attention_norm",
            "norm2": "feed_forward.0", "linear1": "feed_forward.1", "linear2": "feed_forward.3",
        }.items():  # fmt: skip
            own |= {f"{name}.{kind}": ours[f"{known}.{kind}"] for kind in ("weight", "bias")}
        x = torch.func.functional_call(theirs, own, (x,))
    outputs = list(rnn.norm(x)[0])
    return outputs, outputs[-1]


def reference_scores(model, digits):
    inputs = [model.embedding.weight[digit] for digit in digits]
    run = run_transformer if model.arguments["cell"] == "transformer" else run_recurrent
    outputs, last = run(model, inputs)
    pooling = model.arguments["pooling"]
    if pooling == "last":
        features = last
    elif pooling == "mean":
        features = sum(outputs) / len(outputs)
    elif pooling == "max":
        features = torch.stack(outputs).max(dim=0).values
    else:
        query = model.attention.weight[0]
        shares = [torch.exp(query @ output) for output in outputs]
        features = sum(s * o for s, o in zip(shares, outputs, strict=True)) / sum(shares)
    return model.fc.weight @ features + model.fc.bias


def gradients_of(loss, model):
    parameters = list(model.parameters())
    given = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, given, strict=True)
    ]


def assert_near(given, expected):
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


# ---- forward and backward ----


@settings(max_examples=120)
@given(nets(), batches, st.integers(0, 8))
def test_scores_and_gradients_equal_single_steps_in_any_padding(model, sequences, wider):
    x, seq_lengths = padded(sequences, max(map(len, sequences)) + wider)
    targets = torch.arange(len(sequences)) % VOCAB
    scores = model(x, seq_lengths)
    expected = torch.stack([reference_scores(model, digits) for digits in sequences])
    assert_near([scores], [expected])
    given = gradients_of(cross_entropy(scores, targets), model)
    assert_near(given, gradients_of(cross_entropy(expected, targets), model))


@settings(max_examples=40)
@given(nets(), batches)
def test_noise_is_added_to_the_embedded_input(model, sequences):
    """Noise in the order of the packed steps equals an embedding of its own for each step."""
    x, seq_lengths = padded(sorted(sequences, key=len, reverse=True))
    noise = torch.randn(int(seq_lengths.sum()), EMBED, dtype=torch.float64)
    targets = torch.arange(len(sequences)) % VOCAB
    ids = pack_padded_sequence(x, seq_lengths, batch_first=True)
    objective = Objective(model, TrainConfig(embed_noise=0.5))
    loss = objective(PackedBatch(ids, targets, noise))
    table = model.embedding.weight.detach()[ids.data] + 0.5 * noise
    model.embedding = nn.Embedding.from_pretrained(table)
    each_its_own = ids._replace(data=torch.arange(len(table)))
    assert_near([loss], [cross_entropy(model(each_its_own), targets)])


@pytest.mark.parametrize("cell", RECURRENT)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_without_norm_and_residual_are_pytorchs_own_stack(cell, bidirectional):
    def make(num_inputs, hidden, num_layers=1):
        return layers.CELL_CLASSES[cell](
            num_inputs, hidden, num_layers, batch_first=True, bidirectional=bidirectional
        )

    stack, layered = make(3, 4, 3), LayeredRnn(make, 3, 4, 3)
    for own, weights in zip(layered.parameters(), stack.parameters(), strict=True):
        own.data = weights.data
    inputs = pack_padded_sequence(torch.randn(3, 5, 3), torch.tensor([5, 1, 3]), True, False)
    directions = 1 + bidirectional
    state = torch.randn(3 * directions, 3, 4)
    state = (state, state.tanh()) if cell == "lstm" else state
    for before in (None, state):
        (output, after), (expected, expected_after) = layered(inputs, before), stack(inputs, before)
        torch.testing.assert_close(output.data, expected.data)
        torch.testing.assert_close(after, expected_after)


@pytest.mark.parametrize("cell", RECURRENT)
def test_without_norm_and_residual_the_weights_have_pytorchs_names(cell):
    own = {name for name in make_model(2, cell=cell).state_dict() if name.startswith("rnn.")}
    stack = layers.CELL_CLASSES[cell](EMBED, HIDDEN, 2)
    assert own == {f"rnn.{name}" for name in stack.state_dict()}


def test_two_directions_end_where_two_nets_of_one_direction_end():
    both = make_model(1, cell="gru", bidirectional=True)
    forward, backward = make_model(1, cell="gru"), make_model(1, cell="gru")
    for net, suffix in ((forward, ""), (backward, "_reverse")):
        net.embedding = both.embedding
        for name, weight in net.rnn.named_parameters():
            weight.data = getattr(both.rnn, name + suffix).data
    digits = [1, 2, 0, 4]
    ends = []
    for net, read in ((forward, digits), (backward, digits[::-1])):
        ends.append(net.rnn(net.embedding(torch.tensor([read])))[1][-1])
    expected = both.fc(torch.cat(ends, dim=1))
    assert_near([both(*padded([digits, [3]]))[:1]], [expected])


def test_a_transformer_tells_orders_and_places_apart():
    model = make_model(2, cell="transformer", pooling="mean")
    scores = model.logits([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0, 0]])
    assert torch.pdist(scores).min() > 1e-4


@pytest.mark.parametrize("hidden", [1, 7, 16, 48, 100, 128])
def test_a_transformer_layer_is_as_large_as_a_recurrent_one(hidden):
    transformer = make_model(2, hidden=hidden, cell="transformer").rnn.layers[1]
    assert hidden % transformer.num_heads == 0
    assert transformer.num_heads == 1 or hidden / transformer.num_heads >= 16
    matrices = sum(weight.numel() for weight in transformer.parameters() if weight.ndim == 2)
    gru = nn.GRU(hidden, hidden)
    assert matrices == sum(weight.numel() for weight in gru.parameters() if weight.ndim == 2)


# ---- dropout ----


@pytest.mark.parametrize(
    "options",
    [{}, {"cell": "gru"}, {"cell": "lstm", "residual": True}, {"cell": "transformer"}],
)
def test_dropout_drops_in_training_only(options):
    model, without = make_model(dropout=0.5, **options), make_model(**options)
    batch = padded([[1, 2, 3], [4]])
    torch.manual_seed(1)
    first, second = model(*batch), model(*batch)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(model(*batch), first)
    assert torch.equal(model.logits([1, 2, 3]), model.logits([1, 2, 3])) and model.training
    assert torch.equal(model.eval()(*batch), without(*batch))


def test_the_dropout_of_an_update_has_its_own_seed():
    seeds = [dropout_seed(*place) for place in itertools.product(range(3), range(5), range(2))]
    assert len(set(seeds)) == len(seeds) and seeds[0] == dropout_seed(0, 0)


# ---- truncated backpropagation ----


def truncated_reference(model, digits, bptt_steps):
    """Scores with the state detached before the steps K, 2K, …, from PyTorch's cells."""
    state = None
    for t, digit in enumerate(digits):
        if state is not None and t % bptt_steps == 0:
            state = (
                tuple(part.detach() for part in state)
                if isinstance(state, tuple)
                else state.detach()
            )
        step = model.embedding.weight[digit].reshape(1, 1, -1)
        packed = pack_padded_sequence(step, torch.tensor([1]), batch_first=True)
        output, state = model.rnn(packed, state)
    return model.fc(output.data[0])


def truncated_scores(model, x, seq_lengths, bptt_steps):
    """The scores of a batch whose gradient is cut after every bptt_steps steps."""
    tokens = pack_padded_sequence(x, seq_lengths, batch_first=True, enforce_sorted=False)
    embedded = tokens._replace(data=model.embedding(tokens.data))
    return model.fc(read_in_segments(model, embedded, bptt_steps))


CARRYING = [
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "gru"},
    {"cell": "lstm"},
    {"cell": "lstm", "residual": True},
    {"cell": "gru", "residual": True, "layer_norm": True},
]
STATELESS = [
    {"cell": "lstm", "bidirectional": True},
    {"cell": "gru", "pooling": "mean"},
    {"pooling": "attention", "layer_norm": True},
    {"cell": "transformer"},
    {"cell": "transformer", "pooling": "max"},
]


@pytest.mark.parametrize("options", CARRYING, ids=str)
@settings(max_examples=10)
@given(sequences=batches, bptt_steps=st.integers(1, 7))
def test_the_gradient_is_cut_between_segments(options, sequences, bptt_steps):
    model = make_model(**options)
    x, seq_lengths = padded(sequences)
    targets = torch.arange(len(sequences)) % VOCAB
    scores = truncated_scores(model, x, seq_lengths, bptt_steps)
    assert_near([scores], [model(x, seq_lengths)])
    given = gradients_of(cross_entropy(scores, targets), model)
    expected = torch.stack([truncated_reference(model, d, bptt_steps) for d in sequences])
    assert_near(given, gradients_of(cross_entropy(expected, targets), model))


@pytest.mark.parametrize("options", CARRYING, ids=str)
def test_steps_before_the_last_segment_get_no_gradient_at_all(options):
    model = make_model(hidden=32, **options)
    batch = padded([[0, 1, 2, 3, 4], [0, 0, 0, 1]])  # segments 01 23 4 and 00 01
    scores = truncated_scores(model, *batch, 2)
    by_digit = [gradients_of(row.sum(), model)[0].abs().sum(dim=1) for row in scores]
    assert [bool(g) for g in by_digit[0][:VOCAB]] == [False, False, False, False, True]
    assert [bool(g) for g in by_digit[1][:VOCAB]] == [True, True, False, False, False]
    whole = gradients_of(model(*batch).sum(), model)
    truncated = gradients_of(truncated_scores(model, *batch, 5).sum(), model)
    assert all(torch.equal(one, other) for one, other in zip(whole, truncated, strict=True))


@pytest.mark.parametrize("options", STATELESS, ids=str)
def test_only_a_net_with_a_state_is_truncated(options):
    with pytest.raises(ValueError, match="needs a recurrent network of one direction"):
        truncated_scores(make_model(**options), *padded([[1, 2]]), 1)


# ---- first weights ----


def recurrent_blocks(model):
    """Each gate's matrix from state to state, of each layer and direction."""
    return [
        block
        for name, weight in model.rnn.named_parameters()
        if "weight_hh" in name
        for block in weight.detach().split(HIDDEN)
    ]


@pytest.mark.parametrize("options", [*CARRYING, {"cell": "lstm", "bidirectional": True}], ids=str)
def test_orthogonal_first_weights_keep_the_length_of_a_state(options):
    model, same = make_model(**options), make_model(**options)
    init_recurrent(model.rnn, "orthogonal")
    blocks = recurrent_blocks(model)
    assert len(blocks) == 2 * {"rnn": 1, "gru": 3, "lstm": 4}[options["cell"]] * (
        1 + options.get("bidirectional", False)
    )
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(HIDDEN, dtype=torch.float64))
    others = [name for name in same.state_dict() if "weight_hh" not in name]
    assert all(torch.equal(model.state_dict()[n], same.state_dict()[n]) for n in others)


@pytest.mark.parametrize("residual", [False, True])
def test_the_identity_keeps_a_state_of_relu_units(residual):
    config = TrainConfig(
        nonlinearity="relu", init="identity", num_layers=2, residual=residual, device="cpu"
    )
    model = make_digit_model(config)
    biases = [weight for name, weight in model.rnn.named_parameters() if ".bias_" in f".{name}"]
    assert len(biases) == 4 and not any(bias.any() for bias in biases)
    state = torch.rand(2, 1, 16)
    rnn = model.rnn.layers[0] if residual else model.rnn
    after = rnn(torch.zeros(1, 1, config.embed_dim), state[:1] if residual else state)[1]
    assert torch.equal(after[0], state[0])


@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"bidirectional": True}], ids=str)
def test_the_forget_gates_bias_is_set_and_the_other_gates_stay(options):
    config = TrainConfig(cell="lstm", num_layers=2, device="cpu", **options)
    default = make_digit_model(config).rnn.state_dict()
    given = make_digit_model(TrainConfig(**vars(config) | {"forget_bias": 1.5})).rnn
    for name, weight in given.state_dict().items():
        if "bias_ih" not in name:
            continue
        total = weight + given.state_dict()[name.replace("bias_ih", "bias_hh")]
        assert torch.equal(total[16:32], torch.full((16,), 1.5))
        before = default[name] + default[name.replace("bias_ih", "bias_hh")]
        assert torch.equal(total[:16], before[:16]) and torch.equal(total[32:], before[32:])


# ---- evaluation ----


@pytest.mark.parametrize("options", [{}, *CARRYING, *STATELESS], ids=str)
def test_every_input_is_scored_as_brute_force_does(options, monkeypatch):
    monkeypatch.setattr(exact, "_CHUNK", 20)
    torch.manual_seed(3)
    model = RnnClsNet(3, 4, 6, 2, 3, **options)
    inputs = [[*digits] for n in (2, 3, 4) for digits in itertools.product(range(3), repeat=n)]
    answers = model.predict(inputs).tolist()
    wrong = [d for d, answer in zip(inputs, answers, strict=True) if answer != sum(d) % 3]
    evaluation = evaluate(model, SumModulo(2), 2, 4)
    assert evaluation.exact and evaluation.num_inputs == len(inputs)
    assert (evaluation.num_wrong, evaluation.wrong_examples) == (len(wrong), wrong[:5])
    assert model.training


@pytest.mark.parametrize("options", [*CARRYING, *STATELESS], ids=str)
def test_many_sequences_are_classified_as_one_by_one(options, monkeypatch):
    for name, value in {"_GROUP_NUMBERS": 96, "_UNIT_NUMBERS": 24, "_PREFIX_NUMBERS": 600}.items():
        monkeypatch.setattr(scorer, name, value)
    monkeypatch.setattr(scorer, "_STRETCH_TOKENS", 16)
    monkeypatch.setattr(scorer, "_BATCH_TOKENS", 30)
    torch.manual_seed(0)
    model = RnnClsNet(10, 4, 6, 2, 10, **options).eval()
    dice = np.random.default_rng(0)
    sequences = [dice.integers(0, 10, n).tolist() for n in (*dice.integers(1, 12, 40), 70)]
    flat = np.concatenate(sequences), np.array([len(digits) for digits in sequences])
    classes, probabilities = Scorer(model).classify(*flat)
    for i, digits in enumerate(sequences):
        expected = model.logits(digits)[0].softmax(dim=0)
        assert classes[i] == expected.argmax()
        assert probabilities[i] == pytest.approx(float(expected.max()), abs=1e-5)
    assert torch.allclose(Scorer(model).scores(*flat), model.logits(sequences), atol=1e-5)
    if model.has_state:
        last = Scorer(model).final_states(*flat)[-1]
        assert torch.allclose(model.fc(last), model.logits(sequences), atol=1e-5)


# ---- what goes together ----


REFUSED = [
    ({"cell": "tree"}, "is not one of rnn, gru"),
    ({"nonlinearity": "relu", "cell": "gru"}, "the nonlinearities of {gru} are fixed"),
    ({"bidirectional": True, "cell": "transformer", "num_layers": 2}, "looks at all steps"),
    ({"layer_norm": True, "cell": "transformer", "num_layers": 2}, "always has layer norms"),
    ({"residual": True, "cell": "transformer", "num_layers": 2}, "always has residual"),
    ({"dropout": 0.1}, "acts between recurrent layers: {one_layer} must be 2 or more"),
    ({"residual": True}, "acts between recurrent layers"),
    ({"layer_norm": True}, "acts between recurrent layers"),
    ({"pooling": "sum"}, "is not one of last, mean"),
]
REFUSED_IN_TRAINING = [
    ({"init": "identity"}, "--init identity preserves the state of ReLU units only"),
    ({"init": "orthogonal", "cell": "transformer"}, "needs recurrent matrices"),
    (
        {"forget_bias": 1.0, "cell": "gru"},
        "--forget_bias 1.0 applies only to --cell lstm, not to gru",
    ),
    ({"contraction": 0.1, "cell": "lstm"}, "--contraction 0.1 needs a tanh RNN or a GRU"),
    ({"contraction": 0.1, "cell": "gru", "pooling": "max"}, "read at its last step"),
    ({"center_loss": 2.0, "cell": "lstm"}, "--center_loss 2 needs a tanh RNN or a GRU"),
    (
        {"center_loss": 1.0, "train_file": "a.tsv"},
        "--center_loss groups hidden states by the states",
    ),
    ({"center_loss": 1.0, "early_stopping_patience": 3}, "--early_stopping_patience 3 has its"),
    ({"center_loss": 1.0, "stop_when_exact": 1}, "--stop_when_exact 1 ends the run by then"),
    ({"contraction": 1.0, "early_stopping_patience": 3}, "--contraction 1 sets in once"),
    ({"contraction": 1.0, "stop_when_exact": 2}, "2 ends the run by then: take 3 or more"),
    (
        {"center_loss": 1.0, "accumulate_steps": 2},
        "--center_loss needs --accumulate_steps 1, not 2",
    ),
    ({"bptt_steps": 3, "center_loss": 1.0}, "--center_loss needs whole sequences"),
    ({"bptt_steps": 3, "cell": "transformer"}, "--cell transformer has no state to carry over"),
    ({"bptt_steps": 3, "bidirectional": True}, "--bidirectional also reads from the end"),
    ({"bptt_steps": 3, "pooling": "max"}, "--pooling max needs the gradient of every step"),
    ({"bptt_steps": 3, "contraction": 0.1}, "--contraction needs whole sequences"),
    ({"dropout": 1.0, "num_layers": 2}, "--dropout 1.0 is not a number from 0 to 0.99"),
]


@pytest.mark.parametrize(("flags", "sentence"), REFUSED_IN_TRAINING)
def test_settings_that_do_not_go_together_are_refused_with_a_reason(flags, sentence):
    with pytest.raises(ValueError, match=r"^--") as refused:
        TrainConfig(**flags)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_options_that_do_not_go_together_are_refused_as_they_were_typed(options, reason):
    """The sentence starts with the first option: a flag of the script, an argument of the model."""
    name, value = next(iter(options.items()))
    spelled = {"gru": ("cell", "gru"), "one_layer": ("num_layers", 1)}
    for make, spell, other in (
        (TrainConfig, as_flag, "="),
        (partial(RnnClsNet, 5, 3, 4, cls_num=5, num_layers=1), as_argument, "--"),
    ):
        with pytest.raises(ValueError, match=name) as refused:
            make(**options)
        sentence = str(refused.value)
        assert sentence.replace(f"--{name} {value!r}", f"--{name} {value}").startswith(
            spell(name, value)
        )
        assert reason.format(**{key: spell(*pair) for key, pair in spelled.items()}) in sentence
        assert other not in sentence and "\n" not in sentence


def test_every_other_combination_takes_an_update_and_agrees_on_what_is_plain():
    """All 2 × 4 × 2 × 4 × 16 combinations of the model's options are refused or work."""
    grid = {
        "num_layers": [1, 2], "cell": CELLS, "pooling": POOLINGS,
        "nonlinearity": NONLINEARITIES, "dropout": [0.0, 0.5],
        "bidirectional": [False, True], "layer_norm": [False, True], "residual": [False, True],
    }  # fmt: skip
    worked = 0
    x, seq_lengths = padded([[1, 2, 3], [0]])
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        try:
            config = TrainConfig(**settings, hidden_dim=4, embed_dim=3, max_number=4, device="cpu")
        except ValueError:
            continue
        model = make_digit_model(config)
        cross_entropy(model(x, seq_lengths), torch.tensor([1, 0])).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        for kind in ("is_plain", "is_stack", "is_provable"):
            assert getattr(model, kind) == getattr(config, kind)
        assert model.arguments.items() >= config.model_options().items()
        worked += 1
    # rnn: 2 nonlinearities, each 2 directions × (1 + 2³) × 4 poolings; gru and lstm half of it
    assert worked == (2 + 1 + 1) * 2 * (1 + 8) * 4 + 2 * 2 * 4


def test_the_tables_hold_what_the_flags_allow():
    assert tuple(layers.CELL_CLASSES) == CELLS
    assert ("last", *pooling.POOLING_FUNCTIONS) == POOLINGS
    assert RnnClsNet(5, 3, 4, 1, 5).arguments.items() >= PLAIN.items()


def test_what_knows_plain_nets_only_refuses_the_others():
    model = RnnClsNet(10, 3, 4, 1, 10, pooling="mean")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with pytest.raises(ValueError, match="a tanh RNN, a GRU or an LSTM of one direction"):
        compile_training_step(model, optimizer)
    with pytest.raises(ValueError, match="a tanh RNN or a GRU of one direction"):
        prove(model, SumModulo(9))
    with pytest.raises(ValueError, match="a tanh RNN of one direction"):
        graph_training_step(model, optimizer)
    with pytest.raises(ValueError, match="a tanh RNN or a GRU of one direction"):
        Penalties(model)
    with pytest.raises(ValueError, match="has a state"):
        find_automaton(model.eval(), SumModulo(9))


# ---- as a user runs it ----

QUICKLY = (
    *("--total_steps", 12, "--eval_every", 4, "--save_every", 6, "--log_every", 4),
    *("--max_seq_len", 3, "--max_number", 3, "--hidden_dim", 8, "--tracker", "disabled"),
)
GRU = ("--cell", "gru", "--num_layers", 2, "--dropout", 0.3, "--residual", "--embed_noise", 0.1)
TRANSFORMER = ("--cell", "transformer", "--dropout", 0.3, "--pooling", "attention")


def train(folder, *flags):
    arguments = [*QUICKLY, "--save_dir", folder, "--run_name", "run", *flags]
    assert train_cls_rnn.main([str(argument) for argument in arguments]) == 0
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def weights_of(run):
    return load_checkpoint(run / "model_step_12.pt").weights


@pytest.mark.parametrize("flags", [GRU, TRANSFORMER], ids=["gru", "transformer"])
def test_a_resumed_run_drops_as_the_uninterrupted_one_whatever_is_evaluated(flags, tmp_path):
    whole = weights_of(train(tmp_path / "a", *flags))
    run = train(tmp_path / "b", *flags, "--eval_every", 1, "--log_every", 3)
    (run / "model_step_12.pt").unlink()
    (run / "result.json").unlink()
    torch.manual_seed(99)
    assert train_cls_rnn.main(["--resume", str(run)]) == 0
    resumed = weights_of(run)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    other = train(tmp_path / "c", *flags, "--dropout", 0.2)
    assert not torch.equal(whole["fc.weight"], weights_of(other)["fc.weight"])


def test_train_resume_and_predict_as_commands(tmp_path):
    trained = run_here("train_cls_rnn.py", *QUICKLY, *GRU, cwd=tmp_path)
    assert trained.returncode == 0 and not trained.stderr
    assert "engine autograd" in trained.stdout
    run = tmp_path / "output" / "baseline"
    (run / "model_step_12.pt").unlink()
    (run / "result.json").unlink()
    resumed = run_here("train_cls_rnn.py", "--resume", run, cwd=tmp_path)
    assert resumed.returncode == 0 and "resumed at step 6" in resumed.stdout
    model = load_model(load_checkpoint(run / "model_step_12.pt"))
    answered = run_here("predict_cls_rnn.py", cwd=tmp_path, text="1 2 3\n0\n3 3\n")
    assert answered.returncode == 0
    answers = [int(line.split("->")[1].split()[0]) for line in answered.stdout.splitlines()]
    assert answers == model.predict([[1, 2, 3], [0], [3, 3]]).tolist()


def test_a_transformer_answers_and_has_no_automaton(tmp_path, capsys):
    run = train(tmp_path, *TRANSFORMER)
    model = load_model(load_checkpoint(run / "model_step_12.pt"))
    capsys.readouterr()
    assert predict_cls_rnn.main(["--save_dir", str(run), "--input", "1 2 3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["prediction"] == int(model.predict([1, 2, 3]))
    with pytest.raises(SystemExit) as stopped:
        evaluate_module.main([str(run), "--automaton"])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and "read at its last step, has a state" in printed.err
    flags = ("--lengths", "1", "40", "--num_sequences", "20", "--max_len", "3", "--json")
    assert evaluate_module.main([str(run), *flags]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["exact"]["num_inputs"] == 4 + 16 + 64
    assert [row["length"] for row in results["lengths"]] == [1, 40]
