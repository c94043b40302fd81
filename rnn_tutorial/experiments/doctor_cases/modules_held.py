"""Classifiers of sequences as people write them: the half set aside.

Each function returns a module, and the options by which its conventions are told: vocab_size or
num_features, padding_id, time_major, lengths=False for sequences of one length, call. Without
`lengths` the module is asked what it takes.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "LSTM that takes rows for steps",
    "batch-first-swapped",
    "rows-mixed",
    source="https://github.com/Cadene/vqa.pytorch/issues/40",
)
def lstm_takes_rows_for_steps():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 12)
            self.lstm = nn.LSTM(12, 24)
            self.fc = nn.Linear(24, 4)

        def forward(self, question):
            output, _ = self.lstm(self.embedding(question))
            return self.fc(output[:, -1, :])

    return Net(), {"vocab_size": 20, "lengths": False}


@case(
    "Transformer layer with its default axes",
    "batch-first-swapped",
    "rows-mixed",
    source="https://github.com/Exorust/TorchLeet/issues/5",
)
def transformer_default_axes():
    class TransformerModel(nn.Module):
        def __init__(self, input_dim=6, embed_dim=16, num_heads=4, num_layers=2, ff_dim=32):
            super().__init__()
            self.embedding = nn.Linear(input_dim, embed_dim)
            layer = nn.TransformerEncoderLayer(embed_dim, num_heads, ff_dim)
            self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
            self.position = nn.Parameter(torch.randn(64, embed_dim) * 0.1)
            self.output_layer = nn.Linear(embed_dim, 3)

        def forward(self, x):
            x = self.embedding(x) + self.position[: x.size(1)]
            x = self.encoder(x)
            return self.output_layer(x.mean(dim=1))

    return TransformerModel(), {"num_features": 6, "lengths": False}


@case(
    "batch_first in a net that is fed time first",
    "batch-first-swapped",
    "rows-mixed",
    source="https://github.com/pytorch/pytorch/issues/1538",
)
def batch_first_fed_time_first():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(12, 8)
            self.gru = nn.GRU(8, 16, batch_first=True)
            self.proj = nn.Linear(16, 5)

        def forward(self, tokens):
            states, _ = self.gru(self.emb(tokens))
            return self.proj(states[-1])

    return Reader(), {"vocab_size": 12, "time_major": True, "lengths": False}


@case(
    "bidirectional LSTM read at its last step",
    "bidirectional-last-step",
    source="https://github.com/yunjey/pytorch-tutorial/issues/149",
)
def bidirectional_read_at_last_step():
    class BiRNN(nn.Module):
        def __init__(self, input_size=28, hidden_size=16, num_layers=2, num_classes=10):
            super().__init__()
            self.hidden_size, self.num_layers = hidden_size, num_layers
            self.lstm = nn.LSTM(
                input_size, hidden_size, num_layers, batch_first=True, bidirectional=True
            )
            self.fc = nn.Linear(hidden_size * 2, num_classes)

        def forward(self, x):
            h0 = torch.zeros(self.num_layers * 2, x.size(0), self.hidden_size, dtype=x.dtype)
            c0 = torch.zeros(self.num_layers * 2, x.size(0), self.hidden_size, dtype=x.dtype)
            out, _ = self.lstm(x, (h0, c0))
            return self.fc(out[:, -1, :])

    return BiRNN(), {"num_features": 28, "lengths": False}


@case(
    "attention over a final state of mixed rows",
    "state-reshaped",
    "rows-mixed",
    source="https://github.com/graykode/nlp-tutorial/issues/38",
)
def attention_over_mixed_state():
    class BiLSTMAttention(nn.Module):
        def __init__(self, n_hidden=6):
            super().__init__()
            self.n_hidden = n_hidden
            self.embedding = nn.Embedding(16, 7)
            self.lstm = nn.LSTM(7, n_hidden, bidirectional=True)
            self.out = nn.Linear(n_hidden * 2, 2)

        def attention_net(self, lstm_output, final_state):
            hidden = final_state.view(-1, self.n_hidden * 2, 1)
            attn_weights = torch.bmm(lstm_output, hidden).squeeze(2)
            soft = F.softmax(attn_weights, 1)
            return torch.bmm(lstm_output.transpose(1, 2), soft.unsqueeze(2)).squeeze(2), soft

        def forward(self, X):
            input = self.embedding(X).permute(1, 0, 2)
            output, (final_hidden_state, _) = self.lstm(input)
            attn_output, attention = self.attention_net(output.permute(1, 0, 2), final_hidden_state)
            return self.out(attn_output), attention

    return BiLSTMAttention(), {"vocab_size": 16, "lengths": False}


@case(
    "view where the axes should change places",
    "rows-mixed",
    "batch-first-swapped",
    "state-reshaped",
    source="https://github.com/HHTseng/video-classification/issues/42",
)
def view_in_place_of_transpose():
    class DecoderRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(5, 14, num_layers=1)
            self.fc1 = nn.Linear(14, 12)
            self.fc2 = nn.Linear(12, 4)

        def forward(self, x_rnn):
            n, t, f = x_rnn.shape
            out, _ = self.rnn(x_rnn.contiguous().view(t, n, f))
            return self.fc2(F.relu(self.fc1(out[-1])))

    return DecoderRNN(), {"num_features": 5, "lengths": False}


@case(
    "softmax in forward, returned with the hidden state",
    "softmax-output",
    source="https://github.com/bkitano/llama-from-scratch/issues/5",
)
def softmax_with_hidden():
    class CharRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Embedding(15, 10)
            self.rnn = nn.RNN(10, 20, batch_first=True)
            self.decoder = nn.Linear(20, 6)

        def forward(self, inp, hidden=None):
            out, hidden = self.rnn(self.encoder(inp), hidden)
            return F.softmax(self.decoder(out[:, -1]), dim=-1), hidden

    return CharRNN(), {"vocab_size": 15, "lengths": False}


@case(
    "probabilities under the name of logits",
    "softmax-output",
    source="https://github.com/lansinuote/Huggingface_Toturials/issues/6",
)
def probabilities_named_logits():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok = nn.Embedding(40, 16, padding_idx=0)
            self.lstm = nn.LSTM(16, 16, batch_first=True)
            self.fc = nn.Sequential(nn.Linear(16, 3), nn.Softmax(dim=1))

        def forward(self, input_ids, lengths):
            packed = pack_padded_sequence(
                self.tok(input_ids), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            hidden = self.lstm(packed)[1][0][-1]
            return {"logits": self.fc(hidden), "embedding": hidden}

    return Model(), {"vocab_size": 40, "padding_id": 0}


@case(
    "layer made anew in each forward",
    "unregistered-parameters",
    "dropout-in-evaluation",
    source="https://github.com/lafith/Mobile-UNet/issues/1",
)
def layer_made_in_forward():
    class Dangling(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(6, 10, batch_first=True)
            self.fc = nn.Linear(16, 4)

        def forward(self, x):
            h = self.rnn(x)[1][0]
            widen = nn.Linear(10, 16).to(h)
            return self.fc(torch.relu(widen(h)))

    return Dangling(), {"num_features": 6, "lengths": False}


@case(
    "batch norm over padded embeddings",
    "padding-in-batch-statistics",
    source="https://github.com/pytorch/pytorch/issues/70529",
)
def batch_norm_over_embeddings():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(22, 8, padding_idx=0)
            self.bn = nn.BatchNorm1d(8)
            self.lstm = nn.LSTM(8, 14, batch_first=True)
            self.fc = nn.Linear(14, 5)

        def forward(self, x, lengths):
            e = self.bn(self.embedding(x).transpose(1, 2)).transpose(1, 2)
            packed = pack_padded_sequence(e, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return self.fc(self.lstm(packed)[1][0][-1])

    return Net(), {"vocab_size": 22, "padding_id": 0}


@case(
    "logits returned through dropout",
    "dropout-on-scores",
    source="https://github.com/PaddlePaddle/Parakeet/pull/74",
)
def logits_through_dropout():
    class Sentiment(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(35, 12, padding_idx=1)
            self.rnn = nn.GRU(12, 10, num_layers=2, bidirectional=True, dropout=0.2)
            self.fc = nn.Linear(20, 3)
            self.dropout = nn.Dropout(0.5)

        def forward(self, text, text_lengths):
            embedded = self.dropout(self.embedding(text.T))
            packed = pack_padded_sequence(embedded, text_lengths.cpu(), enforce_sorted=False)
            _, hidden = self.rnn(packed)
            hidden = torch.cat((hidden[-2], hidden[-1]), dim=1)
            return self.dropout(self.fc(hidden))

    return Sentiment(), {"vocab_size": 35, "padding_id": 1}


@case(
    "three times the same Transformer layer",
    "layer-shared",
    source="https://github.com/yaoppeng/U-Net_v2/issues/10",
)
def same_transformer_layer():
    class Encoder(nn.Module):
        def __init__(self, d=16, depth=3):
            super().__init__()
            self.tok = nn.Embedding(20, d, padding_idx=0)
            self.pos = nn.Embedding(128, d)
            layer = nn.TransformerEncoderLayer(d, 2, 32, batch_first=True, norm_first=True)
            self.layers = nn.ModuleList([layer] * depth)
            self.cls = nn.Linear(d, 4)

        def forward(self, input_ids, attention_mask):
            mask = attention_mask.bool()
            positions = torch.arange(input_ids.size(1), device=input_ids.device)
            h = self.tok(input_ids) + self.pos(positions)
            for layer in self.layers:
                h = layer(h, src_key_padding_mask=~mask)
            m = mask.unsqueeze(2).to(h.dtype)
            return self.cls((h * m).sum(1) / m.sum(1))

    return Encoder(), {"vocab_size": 20, "padding_id": 0}


@case(
    "residual blocks multiplied in a list",
    "layer-shared",
    source="https://github.com/zalandoresearch/pytorch-vq-vae/issues/2",
)
def residual_blocks_multiplied():
    class Residual(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(dim, 8), nn.ReLU(), nn.Linear(8, dim))

        def forward(self, x):
            return x + self.block(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(6, 12, batch_first=True)
            self.stack = nn.Sequential(*[Residual(12)] * 4)
            self.out = nn.Linear(12, 5)

        def forward(self, x):
            return self.out(self.stack(self.rnn(x)[0][:, -1]))

    return Net(), {"num_features": 6, "lengths": False}


@case("cosine to class vectors without a scale", "bounded-scores")
def cosine_without_scale():
    class CosineClassifier(nn.Module):
        def __init__(self, num_classes=10):
            super().__init__()
            self.encoder = nn.LSTM(8, 24, batch_first=True)
            self.prototypes = nn.Parameter(torch.randn(num_classes, 24))

        def forward(self, x):
            z = F.normalize(self.encoder(x)[1][0][-1], dim=1)
            return z @ F.normalize(self.prototypes, dim=1).T

    return CosineClassifier(), {"num_features": 8, "lengths": False}


@case("ReLU after the last linear map", "relu-on-scores")
def relu_after_last():
    class SensorNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 10)
            self.fc = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU())

        def forward(self, series):
            return self.fc(self.lstm(series)[0][-1])

    return SensorNet(), {"num_features": 3, "time_major": True, "lengths": False}


@case("hand-made weights without a scale", "saturated-at-start")
def hand_made_without_scale():
    class Scratch(nn.Module):
        def __init__(self, inputs=30, hidden=64):
            super().__init__()
            self.Wxh = nn.Parameter(torch.randn(inputs, hidden))
            self.Whh = nn.Parameter(torch.randn(hidden, hidden))
            self.bh = nn.Parameter(torch.zeros(hidden))
            self.Why = nn.Parameter(torch.randn(hidden, 5))

        def forward(self, X):
            h = torch.zeros(X.size(0), self.bh.numel(), dtype=X.dtype)
            for t in range(X.size(1)):
                h = torch.tanh(X[:, t] @ self.Wxh + h @ self.Whh + self.bh)
            return h @ self.Why

    return Scratch(), {"num_features": 30, "lengths": False}


@case(
    "every weight a tenth",
    "symmetric-weights",
    source="https://github.com/wagonhelm/NaNmnist/issues/2",
)
def every_weight_a_tenth():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 8)
            self.gru = nn.GRU(8, 16, batch_first=True)
            self.fc = nn.Linear(16, 10)
            self.apply(self._init_weights)

        def _init_weights(self, m):
            if isinstance(m, (nn.GRU, nn.Linear)):
                for name, p in m.named_parameters():
                    nn.init.constant_(p, 0.1 if "weight" in name else 0.0)

        def forward(self, x):
            return self.fc(self.gru(self.embedding(x))[1][-1])

    return Net(), {"vocab_size": 10, "lengths": False}


@case(
    "state kept on the module, detached",
    "state-kept-between-batches",
    source="https://github.com/gabrielloye/RNN-walkthrough/issues/3",
)
def state_kept_detached():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(17, 9)
            self.rnn = nn.RNN(9, 12, batch_first=True)
            self.fc = nn.Linear(12, 17)
            self.hidden = None

        def forward(self, x):
            if self.hidden is not None and self.hidden.size(1) != x.size(0):
                self.hidden = None
            out, hidden = self.rnn(self.embedding(x), self.hidden)
            self.hidden = hidden.detach()
            return self.fc(out[:, -1])

    return Model(), {"vocab_size": 17, "lengths": False}


@case(
    "state kept while training only",
    "state-kept-between-batches",
    source="https://github.com/HIT-SCIR/ELMoForManyLangs/issues/68",
)
def state_kept_in_training():
    class StatefulEncoder(nn.Module):
        def __init__(self, dim=10):
            super().__init__()
            self.tokens = nn.Embedding(26, dim, padding_idx=0)
            self.lstm = nn.LSTM(dim, dim, batch_first=True)
            self.output = nn.Linear(dim, 4)
            self._states = None

        def forward(self, ids, lengths):
            packed = pack_padded_sequence(
                self.tokens(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            states = self._states if self.training else None
            if states is not None and states[0].size(1) != len(ids):
                states = None
            _, (h, c) = self.lstm(packed, states)
            if self.training:
                self._states = (h.data, c.data)
            return self.output(h[-1])

    return StatefulEncoder(), {"vocab_size": 26, "padding_id": 0}


@case("dropout layer made in forward", "dropout-in-evaluation")
def dropout_made_in_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 12, batch_first=True)
            self.fc = nn.Linear(12, 3)

        def forward(self, x, lengths):
            out, _ = self.lstm(x)
            last = out[torch.arange(x.size(0)), lengths - 1]
            return self.fc(nn.Dropout(p=0.3)(last))

    return Net(), {"num_features": 4}


@case(
    "hidden state of a padded LSTM",
    "last-step-of-padding",
    "padding-leak",
    source="https://github.com/bentrevett/pytorch-sentiment-analysis/issues/86",
)
def hidden_of_padded_lstm():
    class RNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(40, 12, padding_idx=1)
            self.rnn = nn.LSTM(12, 20)
            self.fc = nn.Linear(20, 5)

        def forward(self, text, text_lengths):
            _, (hidden, _) = self.rnn(self.embedding(text))
            return self.fc(hidden.squeeze(0))

    return RNN(), {"vocab_size": 40, "padding_id": 1, "time_major": True}


@case("last column of padded features", "last-step-of-padding", "padding-leak")
def last_column_of_features():
    class TimeSeriesNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(5, 14, num_layers=2, batch_first=True, dropout=0.1)
            self.head = nn.Sequential(nn.LayerNorm(14), nn.Linear(14, 4))

        def forward(self, series, lengths=None):
            out, _ = self.gru(series)
            return self.head(out[:, -1])

    return TimeSeriesNet(), {"num_features": 5}


@case("maximum with the zeros of unpacking", "padding-counted")
def maximum_with_zeros():
    class MaxPoolRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.lut = nn.Embedding(16, 8, padding_idx=0)
            self.enc = nn.GRU(8, 9, bidirectional=True, batch_first=True)
            self.out = nn.Linear(18, 4)

        def forward(self, sent, sent_len):
            packed = pack_padded_sequence(
                self.lut(sent), sent_len.cpu(), batch_first=True, enforce_sorted=False
            )
            h, _ = pad_packed_sequence(self.enc(packed)[0], batch_first=True)
            emb = torch.max(h, 1)[0]
            return self.out(emb)

    return MaxPoolRNN(), {"vocab_size": 16, "padding_id": 0}


@case(
    "packing that wants sorted rows",
    "module-raises",
    source="https://github.com/pytorch/pytorch/issues/3584",
)
def packing_wants_sorted_rows():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 6, padding_idx=0)
            self.r = nn.RNN(6, 8, batch_first=True)
            self.f = nn.Linear(8, 2)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(self.e(x), lengths.cpu(), batch_first=True)
            return self.f(self.r(packed)[1][-1])

    return Net(), {"vocab_size": 20, "padding_id": 0}


@case(
    "squeeze that takes the batch away",
    "wrong-shape",
    "module-raises",
    source="https://github.com/bentrevett/pytorch-sentiment-analysis/issues/17",
)
def squeeze_takes_the_batch():
    class BinaryRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(28, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 10, batch_first=True)
            self.fc = nn.Linear(10, 1)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.rnn(packed)[1]).squeeze()

    return BinaryRNN(), {"vocab_size": 28, "padding_id": 0}


@case(
    "scores of every step returned",
    "wrong-shape",
    source="https://github.com/bentrevett/pytorch-sentiment-analysis/issues/8",
)
def scores_of_every_step():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 8)
            self.rnn = nn.RNN(8, 12, batch_first=True)
            self.fc = nn.Linear(12, 10)

        def forward(self, x):
            output, hidden = self.rnn(self.embedding(x))
            return self.fc(output), hidden

    return Net(), {"vocab_size": 10, "lengths": False}


@case(
    "outputs written over each other",
    "backward-raises",
    source="https://github.com/facebookresearch/fairseq/issues/251",
)
def outputs_written_over():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(15, 8)
            self.cell = nn.RNNCell(8, 8)
            self.fc = nn.Linear(8, 4)

        def forward(self, ids):
            x = self.emb(ids)
            state = torch.zeros(ids.size(0), 8, dtype=x.dtype)
            for t in range(ids.size(1)):
                state[:] = self.cell(x[:, t], state)
            return self.fc(state)

    return Loop(), {"vocab_size": 15, "lengths": False}


@case("state that starts again at each step", "only-last-step")
def state_starts_again():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(10, 8)
            self.lstm = nn.LSTM(8, 12, batch_first=True)
            self.fc = nn.Linear(12, 10)

        def forward(self, x):
            for t in range(x.size(1)):
                out, _ = self.lstm(self.emb(x[:, t : t + 1]))
            return self.fc(out[:, -1])

    return Forgetful(), {"vocab_size": 10, "lengths": False}


@case(
    "Transformer without positions",
    "order-ignored",
    source="https://github.com/gmongaras/Diffusion_models_from_scratch/issues/10",
)
def transformer_without_positions():
    class Enc(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp = nn.Linear(8, 16)
            self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
            self.norm = nn.LayerNorm(16)
            self.out = nn.Linear(16, 4)

        def forward(self, x):
            h = self.inp(x)
            a, _ = self.attn(h, h, h, need_weights=False)
            return self.out(self.norm(h + a).amax(dim=1))

    return Enc(), {"num_features": 8, "lengths": False}


@case(
    "positions counted over the batch",
    "rows-mixed",
    "batch-of-one-differs",
    "order-ignored",
    source="https://github.com/AkiRusProd/numpy-transformer/issues/1",
)
def positions_over_the_batch():
    class PositionalEncoding(nn.Module):
        def __init__(self, d_model, max_len=100):
            super().__init__()
            position = torch.arange(max_len).unsqueeze(1)
            div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
            pe = torch.zeros(max_len, 1, d_model)
            pe[:, 0, 0::2] = torch.sin(position * div_term)
            pe[:, 0, 1::2] = torch.cos(position * div_term)
            self.register_buffer("pe", pe)

        def forward(self, x):
            return x + self.pe[: x.size(0)]

    class Model(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.embed = nn.Embedding(16, d)
            self.pos_encoder = PositionalEncoding(d)
            self.layer = nn.TransformerEncoderLayer(d, 2, 32, batch_first=True)
            self.linear = nn.Linear(d, 3)

        def forward(self, src):
            return self.linear(self.layer(self.pos_encoder(self.embed(src))).mean(1))

    return Model(), {"vocab_size": 16, "lengths": False}


@case("first layer's state of two", "unused-parameters")
def first_layers_state():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(30, 8)
            self.lstm = nn.LSTM(8, 10, num_layers=2, batch_first=True)
            self.fc = nn.Linear(10, 4)

        def forward(self, x):
            _, (h_n, _) = self.lstm(self.emb(x))
            return self.fc(h_n[0])

    return Net(), {"vocab_size": 30, "lengths": False}


@case(
    "logarithm of an attention weight that is zero",
    "non-finite-scores",
    "non-finite-gradient",
    source="https://github.com/OpenBMB/ModelCenter/issues/14",
)
def log_of_zero_attention():
    class EntropyPooling(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(14, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 10, batch_first=True)
            self.score = nn.Linear(10, 1)
            self.fc = nn.Linear(11, 3)

        def forward(self, x, mask):
            h, _ = self.rnn(self.emb(x))
            e = self.score(h).squeeze(2).masked_fill(mask == 0, float("-inf"))
            a = e.softmax(1)
            entropy = -(a * a.log()).sum(1, keepdim=True)
            return self.fc(torch.cat([(a.unsqueeze(2) * h).sum(1), entropy], dim=1))

    return EntropyPooling(), {"vocab_size": 14, "padding_id": 0}


@case("ids shifted in place", "input-modified")
def ids_shifted_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(11, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 12, batch_first=True)
            self.fc = nn.Linear(12, 10)

        def forward(self, x, lengths):
            x += 1
            x[x == 11] = 0
            packed = pack_padded_sequence(
                self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.rnn(packed)[1][0])

    return Net(), {"vocab_size": 10, "padding_id": 10}


@case("dictionary with logits")
def healthy_dictionary():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(30, 8, padding_idx=0)
            self.rnn = nn.LSTM(8, 16, batch_first=True)
            self.drop = nn.Dropout(0.3)
            self.head = nn.Linear(16, 5)

        def forward(self, tokens, lengths):
            packed = pack_padded_sequence(
                self.embed(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            hidden = self.rnn(packed)[1][0][-1]
            return {"hidden": hidden, "logits": self.head(self.drop(hidden))}

    return Model(), {"vocab_size": 30, "padding_id": 0}


@case(
    "one logit for each row",
    source="https://github.com/bentrevett/pytorch-sentiment-analysis/issues/41",
)
def healthy_one_logit():
    class SentimentLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(40, 10, padding_idx=1)
            self.lstm = nn.LSTM(10, 12, num_layers=2, bidirectional=True, dropout=0.5)
            self.fc = nn.Linear(24, 1)

        def forward(self, text, text_lengths):
            embedded = self.embedding(text).permute(1, 0, 2)
            packed = pack_padded_sequence(embedded, text_lengths.cpu(), enforce_sorted=False)
            _, (hidden, _) = self.lstm(packed)
            return self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1)).squeeze(1)

    return SentimentLSTM(), {"vocab_size": 40, "padding_id": 1}


@case("attention mask and an object with logits")
def healthy_attention_mask():
    class TinyBert(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.word_embeddings = nn.Embedding(50, d, padding_idx=0)
            self.position_embeddings = nn.Embedding(512, d)
            self.LayerNorm = nn.LayerNorm(d)
            layer = nn.TransformerEncoderLayer(
                d, 4, 32, dropout=0.1, activation="gelu", batch_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.classifier = nn.Linear(d, 3)

        def forward(self, input_ids, attention_mask=None):
            if attention_mask is None:
                attention_mask = torch.ones_like(input_ids)
            positions = torch.arange(input_ids.size(1), device=input_ids.device)
            h = self.word_embeddings(input_ids) + self.position_embeddings(positions)
            h = self.encoder(self.LayerNorm(h), src_key_padding_mask=attention_mask == 0)
            return SimpleNamespace(logits=self.classifier(h[:, 0]))

    return TinyBert(), {"vocab_size": 50, "padding_id": 0}


@case("decoder tied to the embedding")
def healthy_tied():
    class NextToken(nn.Module):
        def __init__(self, ntoken=30, ninp=12):
            super().__init__()
            self.drop = nn.Dropout(0.2)
            self.encoder = nn.Embedding(ntoken, ninp)
            self.rnn = nn.LSTM(ninp, ninp, 2, dropout=0.2, batch_first=True)
            self.decoder = nn.Linear(ninp, ntoken)
            self.decoder.weight = self.encoder.weight
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, input):
            output, hidden = self.rnn(self.drop(self.encoder(input)))
            return self.decoder(self.drop(output[:, -1])), hidden

    return NextToken(), {"vocab_size": 30, "lengths": False}


@case("loop of cells with layer norm")
def healthy_loop_of_cells():
    class LayerNormRNN(nn.Module):
        def __init__(self, n_in=6, n=14):
            super().__init__()
            self.n = n
            self.x2h = nn.Linear(n_in, 4 * n)
            self.h2h = nn.Linear(n, 4 * n, bias=False)
            self.ln = nn.LayerNorm(4 * n)
            self.ln_c = nn.LayerNorm(n)
            self.readout = nn.Linear(n, 5)

        def forward(self, x):
            h = c = x.new_zeros(len(x), self.n)
            for x_t in x.unbind(1):
                i, f, o, g = self.ln(self.x2h(x_t) + self.h2h(h)).chunk(4, dim=1)
                c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(self.ln_c(c))
            return self.readout(h)

    return LayerNormRNN(), {"num_features": 6, "lengths": False}


@case("convolutions and the greatest valid step")
def healthy_convolutions():
    class TextCNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(22, 10, padding_idx=0)
            self.convs = nn.ModuleList(nn.Conv1d(10, 8, k, padding=k // 2) for k in (3, 5))
            self.fc = nn.Linear(16, 4)

        def forward(self, x, lengths):
            valid = torch.arange(x.size(1), device=x.device) < lengths.to(x.device)[:, None]
            e = (self.emb(x) * valid.unsqueeze(2)).transpose(1, 2)
            pooled = []
            for conv in self.convs:
                y = conv(e).tanh().masked_fill(~valid.unsqueeze(1), float("-inf"))
                pooled.append(y.max(dim=2).values)
            return self.fc(torch.cat(pooled, dim=1))

    return TextCNN(), {"vocab_size": 22, "padding_id": 0}


@case("batch norm of the final state alone")
def healthy_batch_norm_of_state():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(16, 8, padding_idx=0)
            self.rnn = nn.LSTM(8, 12, batch_first=True)
            self.bn = nn.BatchNorm1d(12)
            self.fc = nn.Linear(12, 4)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.bn(self.rnn(packed)[1][0][-1]))

    return Net(), {"vocab_size": 16, "padding_id": 0}


@case("noise while training only")
def healthy_noise_in_training():
    class NoisyGRU(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 12, batch_first=True)
            self.act = nn.ReLU()
            self.fc1, self.fc2 = nn.Linear(12, 12), nn.Linear(12, 3)

        def forward(self, x):
            if self.training:
                x = x + 0.1 * torch.randn_like(x)
            h = F.dropout(self.gru(x)[1][0], 0.2, self.training)
            return self.fc2(self.act(self.fc1(self.act(h))))

    return NoisyGRU(), {"num_features": 4, "lengths": False}


@case("list of sequences of their own lengths")
def healthy_list_of_sequences():
    class PackNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(12, 8)
            self.rnn = nn.GRU(8, 10)
            self.fc = nn.Linear(10, 3)

        def forward(self, seqs):
            packed = pack_sequence([self.emb(s) for s in seqs], enforce_sorted=False)
            return self.fc(self.rnn(packed)[1][0])

    def call(module, x, lengths):
        return module([row[:n] for row, n in zip(x, lengths.tolist(), strict=True)])

    return PackNet(), {"vocab_size": 12, "padding_id": 0, "call": call}


@case("identity recurrent weights and ReLU")
def healthy_irnn():
    class IRNN(nn.Module):
        def __init__(self, hidden=20):
            super().__init__()
            self.rnn = nn.RNN(2, hidden, nonlinearity="relu", batch_first=True)
            nn.init.eye_(self.rnn.weight_hh_l0)
            nn.init.normal_(self.rnn.weight_ih_l0, std=0.1)
            nn.init.zeros_(self.rnn.bias_ih_l0)
            nn.init.zeros_(self.rnn.bias_hh_l0)
            self.fc = nn.Linear(hidden, 4)

        def forward(self, x):
            return self.fc(self.rnn(x)[1][0])

    return IRNN(), {"num_features": 2, "lengths": False}


@case("spectral norm on the head")
def healthy_spectral_norm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(15, 8)
            self.rnn = nn.LSTM(8, 12, batch_first=True)
            self.fc = parametrizations.spectral_norm(nn.Linear(12, 5))

        def forward(self, x):
            return self.fc(self.rnn(self.emb(x))[0][:, -1])

    return Net(), {"vocab_size": 15, "lengths": False}


@case("class token and a key padding mask")
def healthy_class_token():
    class SeqTransformer(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.proj = nn.Linear(6, d)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
            self.pos = nn.Parameter(torch.randn(1, 65, d) * 0.02)
            layer = nn.TransformerEncoderLayer(d, 2, 32, batch_first=True, norm_first=True)
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(d, 4)

        def forward(self, x, key_padding_mask):
            n, t, _ = x.shape
            h = (
                torch.cat([self.cls_token.expand(n, -1, -1), self.proj(x)], 1)
                + self.pos[:, : t + 1]
            )
            mask = F.pad(key_padding_mask, (1, 0), value=False)
            return self.head(self.blocks(h, src_key_padding_mask=mask)[:, 0])

    return SeqTransformer(), {"num_features": 6}
