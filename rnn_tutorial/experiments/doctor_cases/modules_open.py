"""Classifiers of sequences as people write them: the open half.

Each function returns a module, and the options by which its conventions are told: vocab_size or
num_features, padding_id, time_major, lengths=False for sequences of one length, call. Without
`lengths` the module is asked what it takes.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.experiments.doctor_cases.cases import Case


def bidirectional_gathered():
    class Clf(nn.Module):
        def __init__(self):
            super().__init__()
            self.word_emb = nn.Embedding(30, 10, padding_idx=0)
            self.encoder = nn.GRU(10, 12, bidirectional=True, batch_first=True)
            self.out = nn.Linear(24, 6)

        def forward(self, sents, sent_lens):
            packed = pack_padded_sequence(
                self.word_emb(sents), sent_lens.cpu(), batch_first=True, enforce_sorted=False
            )
            hs, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
            idx = (sent_lens - 1).view(-1, 1, 1).expand(-1, 1, hs.size(2))
            return self.out(hs.gather(1, idx).squeeze(1))

    return Clf(), {"vocab_size": 30, "padding_id": 0}


def two_directions_viewed():
    class SentenceEncoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(25, 8, padding_idx=0)
            self.hidden_size, self.hidden_factor = 10, 2
            self.encoder_rnn = nn.GRU(8, 10, bidirectional=True, batch_first=True)
            self.hidden2mean = nn.Linear(20, 5)

        def forward(self, input_sequence, length):
            batch_size = input_sequence.size(0)
            packed = pack_padded_sequence(
                self.embedding(input_sequence), length, batch_first=True, enforce_sorted=False
            )
            _, hidden = self.encoder_rnn(packed)
            hidden = hidden.view(batch_size, self.hidden_size * self.hidden_factor)
            return self.hidden2mean(hidden)

    return SentenceEncoder(), {"vocab_size": 25, "padding_id": 0}


def attention_over_the_batch():
    class AttentiveRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(9, 11, batch_first=True)
            self.score = nn.Linear(11, 1)
            self.softmax = nn.Softmax(dim=0)
            self.label = nn.Linear(11, 5)

        def forward(self, feats):
            h, _ = self.gru(feats)
            alpha = self.softmax(self.score(h))
            return self.label((alpha * h).sum(1))

    return AttentiveRNN(), {"num_features": 9, "lengths": False}


def cells_in_a_plain_list():
    class Stacked(nn.Module):
        def __init__(self, n_layers=2, hidden=12):
            super().__init__()
            self.inp = nn.Embedding(10, hidden)
            self.cells = []
            for _ in range(n_layers):
                self.cells.append(nn.LSTMCell(hidden, hidden))
            self.lin = nn.Linear(hidden, 10)

        def forward(self, ids):
            seq = self.inp(ids)
            states = [None] * len(self.cells)
            for t in range(ids.shape[1]):
                x = seq[:, t]
                for k, cell in enumerate(self.cells):
                    states[k] = cell(x, states[k])
                    x = states[k][0]
            return self.lin(x)

    return Stacked(), {"vocab_size": 10, "lengths": False}


def dictionary_of_weights():
    class Scratch(nn.Module):
        def __init__(self, n_in=4, n_hid=10, n_out=3):
            super().__init__()
            self.weights = {
                "xh": nn.Parameter(torch.randn(n_in, n_hid) * 0.3),
                "hh": nn.Parameter(torch.randn(n_hid, n_hid) * 0.3),
            }
            self.out = nn.Linear(n_hid, n_out)

        def forward(self, x):
            h = x.new_zeros(x.size(0), self.weights["hh"].size(0))
            for x_t in x.unbind(1):
                xh, hh = (self.weights[k].to(x.dtype) for k in ("xh", "hh"))
                h = torch.tanh(x_t @ xh + h @ hh)
            return self.out(h)

    return Scratch(), {"num_features": 4, "lengths": False}


def plain_attention_vector():
    class WordAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(18, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 8, batch_first=True)
            self.proj = nn.Linear(8, 8)
            self.context = torch.randn(8, requires_grad=True)
            self.fc = nn.Linear(8, 4)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            h, _ = pad_packed_sequence(
                self.rnn(packed)[0], batch_first=True, total_length=x.size(1)
            )
            scores = torch.tanh(self.proj(h)) @ self.context.to(h.dtype)
            valid = torch.arange(x.size(1), device=x.device)[None] < lengths[:, None].to(x.device)
            weights = scores.masked_fill(~valid, float("-inf")).softmax(1)
            return self.fc((weights.unsqueeze(2) * h).sum(1))

    return WordAttention(), {"vocab_size": 18, "padding_id": 0}


def parameter_scaled():
    class RNNScratch(nn.Module):
        def __init__(self, num_inputs=8, num_hiddens=16, sigma=0.01):
            super().__init__()
            self.W_xh = nn.Parameter(torch.randn(num_inputs, num_hiddens) * 0.3)
            self.W_hh = nn.Parameter(torch.randn(num_hiddens, num_hiddens)) * 0.1
            self.b_h = nn.Parameter(torch.zeros(num_hiddens))
            self.fc = nn.Linear(num_hiddens, 3)

        def forward(self, inputs):
            state = self.b_h.new_zeros(inputs.shape[0], self.b_h.shape[0])
            for t in range(inputs.shape[1]):
                X = F.one_hot(inputs[:, t], self.W_xh.shape[0]).to(state.dtype)
                state = torch.tanh(X @ self.W_xh + state @ self.W_hh.to(state.dtype) + self.b_h)
            return self.fc(state)

    return RNNScratch(), {"vocab_size": 8, "lengths": False}


def batch_norm_over_outputs():
    class SequenceWise(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            t, n = x.size(0), x.size(1)
            return self.module(x.reshape(t * n, -1)).view(t, n, -1)

    class BatchRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn1 = nn.GRU(7, 12)
            self.norm = SequenceWise(nn.BatchNorm1d(12))
            self.rnn2 = nn.GRU(12, 12)
            self.fc = nn.Linear(12, 4)

        def forward(self, x, lengths):
            x = x.transpose(0, 1)
            packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
            x, _ = pad_packed_sequence(self.rnn1(packed)[0], total_length=x.size(0))
            packed = pack_padded_sequence(self.norm(x), lengths.cpu(), enforce_sorted=False)
            return self.fc(self.rnn2(packed)[1][-1])

    return BatchRNN(), {"num_features": 7}


def dropout_as_last_layer():
    class TextRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(14, 10)
            self.rnn = nn.LSTM(10, 18, batch_first=True)
            self.head = nn.Sequential(
                nn.Linear(18, 18), nn.ReLU(), nn.Linear(18, 7), nn.Dropout(0.4)
            )

        def forward(self, x):
            return self.head(self.rnn(self.emb(x))[0][:, -1])

    return TextRNN(), {"vocab_size": 14, "lengths": False}


def one_lstm_three_times():
    class DeepLSTM(nn.Module):
        def __init__(self, num_layers=3):
            super().__init__()
            self.num_layers = num_layers
            self.embed = nn.Embedding(11, 16)
            self.lstm = nn.LSTM(16, 16, batch_first=True)
            self.out = nn.Linear(16, 3)

        def forward(self, x):
            h = self.embed(x)
            for _ in range(self.num_layers):
                h, _ = self.lstm(h)
            return self.out(h[:, -1])

    return DeepLSTM(), {"vocab_size": 11, "lengths": False}


def freezing_loop_too_wide():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(50, 8)
            self.lstm = nn.LSTM(8, 16, batch_first=True)
            self.fc = nn.Linear(16, 4)
            for name, p in self.named_parameters():
                if "fc" not in name:
                    p.requires_grad = False

        def forward(self, x):
            return self.fc(self.lstm(self.embedding(x))[1][0][-1])

    return Model(), {"vocab_size": 50, "lengths": False}


def everything_frozen():
    class Rnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(5, 9, batch_first=True)
            self.linear = nn.Linear(9, 2)

        def forward(self, x, lengths):
            out, _ = self.gru(x)
            return self.linear(out[torch.arange(len(x)), lengths - 1])

    model = Rnn()
    for p in model.parameters():
        p.requires_grad_(False)
    return model, {"num_features": 5}


def tanh_on_scores():
    class Clf(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(10, 6, padding_idx=9)
            self.rnn = nn.RNN(6, 20, batch_first=True)
            self.fc = nn.Linear(20, 9)

        def forward(self, x, lens):
            packed = pack_padded_sequence(self.emb(x), lens, batch_first=True, enforce_sorted=False)
            return torch.tanh(self.fc(self.rnn(packed)[1].squeeze(0)))

    return Clf(), {"vocab_size": 9, "padding_id": 9}


def sigmoid_on_ten_classes():
    class SumNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict(
                {"emb": nn.Embedding(10, 10), "rnn": nn.GRU(10, 20, batch_first=True)}
            )
            self.clf = nn.Sequential(nn.Linear(20, 10), nn.Sigmoid())

        def forward(self, digits):
            _, h = self.layers["rnn"](self.layers["emb"](digits))
            return self.clf(h[0])

    return SumNet(), {"vocab_size": 10, "lengths": False}


def deviation_of_ten():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(12, 10)
            self.rnn = nn.RNN(10, 16, batch_first=True)
            self.fc = nn.Linear(16, 4)
            for p in self.parameters():
                nn.init.normal_(p, std=10.0)

        def forward(self, x):
            return self.fc(self.rnn(self.emb(x))[0][:, -1])

    return Net(), {"vocab_size": 12, "lengths": False}


def recurrent_weights_at_zero():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(21, 8, padding_idx=0)
            self.lstm = nn.LSTM(8, 12, batch_first=True)
            self.fc = nn.Linear(12, 3)
            for p in self.lstm.parameters():
                p.data.zero_()

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.embedding(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.lstm(packed)[1][0][-1])

    return Net(), {"vocab_size": 21, "padding_id": 0}


def state_added_up():
    class LMModel(nn.Module):
        def __init__(self, vocab_sz=13, n_hidden=10):
            super().__init__()
            self.i_h = nn.Embedding(vocab_sz, n_hidden)
            self.h_h = nn.Linear(n_hidden, n_hidden)
            self.h_o = nn.Linear(n_hidden, vocab_sz)
            self.h = 0

        def forward(self, x):
            for i in range(x.shape[1]):
                self.h = self.h + self.i_h(x[:, i])
                self.h = F.relu(self.h_h(self.h))
            out = self.h_o(self.h)
            self.h = self.h.detach()
            return out

    return LMModel(), {"vocab_size": 13, "lengths": False}


def functional_dropout():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(12, 8)
            self.gru = nn.GRU(8, 16, batch_first=True)
            self.fc1 = nn.Linear(16, 16)
            self.fc2 = nn.Linear(16, 6)

        def forward(self, x):
            x = F.dropout(self.emb(x), 0.1)
            x = F.relu(self.fc1(self.gru(x)[1][0]))
            return self.fc2(x)

    return Net(), {"vocab_size": 12, "lengths": False}


def averaged_over_padding():
    class SentenceModel(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.word = nn.Embedding(30, d)
            self.position = nn.Embedding(64, d)
            layer = nn.TransformerEncoderLayer(d, 4, 32, dropout=0.1, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.classifier = nn.Linear(d, 3)

        def forward(self, input_ids, attention_mask):
            steps = torch.arange(input_ids.shape[1], device=input_ids.device)
            h = self.word(input_ids) + self.position(steps)
            h = self.encoder(h, src_key_padding_mask=attention_mask == 0)
            return SimpleNamespace(logits=self.classifier(h.mean(dim=1)))

    return SentenceModel(), {"vocab_size": 30, "padding_id": 0}


def attention_looks_at_padding():
    class ConvAttnPool(nn.Module):
        def __init__(self, num_labels=6, kernels=12):
            super().__init__()
            self.embed = nn.Embedding(24, 10, padding_idx=0)
            self.conv = nn.Conv1d(10, kernels, kernel_size=3, padding=1)
            self.U = nn.Linear(kernels, num_labels, bias=False)
            self.final = nn.Linear(kernels, num_labels)

        def forward(self, x, lengths):
            h = torch.tanh(self.conv(self.embed(x).transpose(1, 2)).transpose(1, 2))
            alpha = F.softmax(self.U.weight.matmul(h.transpose(1, 2)), dim=2)
            m = alpha.matmul(h)
            return self.final.weight.mul(m).sum(dim=2).add(self.final.bias)

    return ConvAttnPool(), {"vocab_size": 24, "padding_id": 0}


def masked_sum_by_width():
    class AvgRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(19, 8, padding_idx=0)
            self.rnn = nn.LSTM(8, 10, batch_first=True)
            self.out = nn.Linear(10, 3)

        def forward(self, ids, mask):
            states, _ = self.rnn(self.emb(ids))
            states = states * mask.unsqueeze(-1).to(states.dtype)
            return self.out(states.mean(1))

    return AvgRNN(), {"vocab_size": 19, "padding_id": 0}


def sorted_and_left():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embeddings = nn.Embedding(20, 8, padding_idx=0)
            self.rnn = nn.LSTM(8, 10, batch_first=True)
            self.fc = nn.Linear(10, 5)

        def forward(self, input_ids, input_lens):
            sorted_lens, sorted_idx = torch.sort(input_lens, 0, descending=True)
            sorted_ids = torch.index_select(input_ids, 0, sorted_idx.to(input_ids.device))
            packed = pack_padded_sequence(
                self.embeddings(sorted_ids), sorted_lens.tolist(), batch_first=True
            )
            _, (hidden, _) = self.rnn(packed)
            return self.fc(hidden[-1])

    return Encoder(), {"vocab_size": 20, "padding_id": 0}


def lengths_sorted():
    class EncoderRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 8, padding_idx=0)
            self.gru = nn.GRU(8, 10)
            self.out = nn.Linear(10, 5)

        def forward(self, input_seqs, input_lengths):
            lengths = sorted(input_lengths.tolist(), reverse=True)
            packed = pack_padded_sequence(self.embedding(input_seqs), lengths)
            _, hidden = self.gru(packed)
            return self.out(hidden[-1])

    return EncoderRNN(), {"vocab_size": 20, "padding_id": 0, "time_major": True}


def state_of_training_batch_size():
    class LSTMClassifier(nn.Module):
        def __init__(self, batch_size=32, hidden_size=10, output_size=3):
            super().__init__()
            self.batch_size, self.hidden_size = batch_size, hidden_size
            self.lstm = nn.LSTM(6, hidden_size)
            self.label = nn.Linear(hidden_size, output_size)

        def forward(self, embedded):
            inp = embedded.permute(1, 0, 2)
            h_0 = torch.zeros(1, self.batch_size, self.hidden_size, dtype=inp.dtype)
            c_0 = torch.zeros(1, self.batch_size, self.hidden_size, dtype=inp.dtype)
            _, (final, _) = self.lstm(inp, (h_0, c_0))
            return self.label(final[-1])

    return LSTMClassifier(), {"num_features": 6, "lengths": False}


def detach_between_steps():
    class GRU4Rec(nn.Module):
        def __init__(self, items=23, dim=12):
            super().__init__()
            self.items = nn.Embedding(items, dim)
            self.cell = nn.GRUCell(dim, dim)
            self.h2o = nn.Linear(dim, items)

        def forward(self, session):
            hidden = self.h2o.weight.new_zeros(session.size(0), self.cell.hidden_size)
            for item in session.unbind(dim=1):
                hidden = self.cell(self.items(item), hidden.detach())
            return self.h2o(hidden)

    return GRU4Rec(), {"vocab_size": 23, "lengths": False}


def truncated_by_accident():
    class Policy(nn.Module):
        def __init__(self, detach_gap=2):
            super().__init__()
            self.detach_gap = detach_gap
            self.lin = nn.Linear(5, 8)
            self.lstm = nn.LSTMCell(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, obs):
            h = c = obs.new_zeros(obs.size(0), 8)
            for t in range(obs.size(1)):
                if t % self.detach_gap == 0:
                    h, c = h.detach(), c.detach()
                h, c = self.lstm(self.lin(obs[:, t]), (h, c))
            return self.head(h)

    return Policy(), {"num_features": 5, "lengths": False}


def encoder_under_no_grad():
    class TwoStage(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict(
                {"emb": nn.Embedding(25, 8, padding_idx=0), "rnn": nn.GRU(8, 12, batch_first=True)}
            )
            self.classifier = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 4))

        @torch.no_grad()
        def encode(self, x, lengths):
            packed = pack_padded_sequence(
                self.encoder["emb"](x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.encoder["rnn"](packed)[1][-1]

        def forward(self, x, lengths):
            return self.classifier(self.encode(x, lengths))

    return TwoStage(), {"vocab_size": 25, "padding_id": 0}


def pooling_by_numpy():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(6, 10, batch_first=True)
            self.fc = nn.Linear(20, 5)

        def forward(self, x):
            out = self.rnn(x)[0].detach().cpu().numpy()
            pooled = np.concatenate([out.mean(axis=1), out[:, -1]], axis=1)
            return self.fc(torch.from_numpy(pooled).to(x))

    return Net(), {"num_features": 6, "lengths": False}


def answer_at_first_step():
    class ClsToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte = nn.Embedding(18, 12, padding_idx=0)
            self.lstm = nn.LSTM(12, 16, batch_first=True)
            self.pooler = nn.Linear(16, 16)
            self.classifier = nn.Linear(16, 3)

        def forward(self, input_ids, attention_mask=None):
            sequence_output, _ = self.lstm(self.wte(input_ids))
            pooled = torch.tanh(self.pooler(sequence_output[:, 0]))
            return {"logits": self.classifier(pooled)}

    return ClsToken(), {"vocab_size": 18, "padding_id": 0}


def last_token_dropped():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 12, batch_first=True)
            self.fc = nn.Linear(12, 5)

        def forward(self, x, lengths):
            out, _ = self.rnn(self.emb(x))
            last = (lengths - 2).clamp(min=0).to(x.device)
            return self.fc(out[torch.arange(x.size(0)), last])

    return Net(), {"vocab_size": 20, "padding_id": 0}


def standardised_over_batch():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(5, 10, batch_first=True)
            self.fc = nn.Linear(10, 4)

        def forward(self, x):
            h = self.rnn(x)[1][0]
            h = (h - h.mean(0)) / (h.std(0, unbiased=False) + 1e-5)
            return self.fc(h)

    return Net(), {"num_features": 5, "lengths": False}


def padding_idx_on_a_token():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 8, padding_idx=0)
            self.rnn = nn.LSTM(8, 12, batch_first=True)
            self.fc = nn.Linear(12, 10)

        def forward(self, digits, lens):
            packed = pack_padded_sequence(
                self.embed(digits), lens.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.rnn(packed)[1][0][-1])

    return Net(), {"vocab_size": 10, "padding_id": 10}


def wants_two_sentences():
    class PairNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 10, batch_first=True)
            self.fc = nn.Linear(20, 2)

        def forward(self, premise, premise_lens, hypothesis, hypothesis_lens):
            ends = []
            for x, n in ((premise, premise_lens), (hypothesis, hypothesis_lens)):
                out, _ = self.rnn(self.emb(x))
                ends.append(out[torch.arange(len(x)), n - 1])
            return self.fc(torch.cat(ends, 1))

    return PairNet(), {"vocab_size": 20, "padding_id": 0}


def wants_a_dictionary():
    class DictNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 8, padding_idx=0)
            self.rnn = nn.LSTM(8, 10, batch_first=True)
            self.fc = nn.Linear(10, 3)

        def forward(self, batch):
            ids, lens = batch["tokens"]["ids"], batch["tokens"]["lengths"]
            out, _ = self.rnn(self.emb(ids))
            return {"logits": self.fc(out[torch.arange(len(ids)), lens - 1])}

    return DictNet(), {"vocab_size": 20, "padding_id": 0}


def healthy_image_rows():
    class RNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(28, 20, num_layers=1, batch_first=True)
            self.out = nn.Linear(20, 10)

        def forward(self, x):
            r_out, (_, _) = self.rnn(x, None)
            return self.out(r_out[:, -1, :])

    return RNN(), {"num_features": 28, "lengths": False}


def healthy_time_first():
    class EncoderRNN(nn.Module):
        def __init__(self, hidden_size=12):
            super().__init__()
            self.hidden_size = hidden_size
            self.embedding = nn.Embedding(20, hidden_size, padding_idx=0)
            self.gru = nn.GRU(hidden_size, hidden_size, 2, dropout=0.1, bidirectional=True)
            self.out = nn.Linear(hidden_size, 4)

        def forward(self, input_seqs, input_lengths, hidden=None):
            embedded = self.embedding(input_seqs)
            packed = pack_padded_sequence(embedded, input_lengths.cpu(), enforce_sorted=False)
            _, hidden = self.gru(packed, hidden)
            return self.out(hidden[-2] + hidden[-1]), hidden

    return EncoderRNN(), {"vocab_size": 20, "padding_id": 0, "time_major": True}


def healthy_features():
    class SensorGRU(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(9)
            self.gru = nn.GRU(9, 16, num_layers=2, batch_first=True, dropout=0.2)
            self.head = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 6))

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.norm(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.head(self.gru(packed)[1][-1])

    return SensorGRU(), {"num_features": 9}


def healthy_zero_head():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(10, 8)
            self.rnn = nn.GRU(8, 16, batch_first=True)
            self.fc = nn.Linear(16, 10)
            nn.init.zeros_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

        def forward(self, x):
            return self.fc(self.rnn(self.emb(x))[0][:, -1])

    return Net(), {"vocab_size": 10, "lengths": False}


def healthy_max_norm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(25, 16, padding_idx=0, max_norm=1.0)
            self.rnn = nn.LSTM(16, 20, batch_first=True)
            self.fc = nn.Linear(20, 4)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.rnn(packed)[1][0][-1])

    return Net(), {"vocab_size": 25, "padding_id": 0}


def healthy_padding_zero():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(11, 10, padding_idx=0)
            self.rnn = nn.RNN(10, 16, batch_first=True)
            self.fc = nn.Linear(16, 10)

        def forward(self, x, lengths):
            output, _ = self.rnn(self.embedding(x))
            last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, output.size(2)).to(x.device)
            return self.fc(output.gather(1, last)[:, 0])

    return Net(), {"vocab_size": 11, "padding_id": 0}


def healthy_fixed_vectors():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            vectors = torch.randn(60, 16)
            vectors[0] = 0
            self.emb = nn.Embedding.from_pretrained(vectors, freeze=True, padding_idx=0)
            self.rnn = nn.GRU(16, 12, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(24, 2)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            h = self.rnn(packed)[1]
            return self.fc(h.transpose(0, 1).reshape(len(x), -1))

    return Net(), {"vocab_size": 60, "padding_id": 0}


def healthy_orthogonal():
    class Net(nn.Module):
        def __init__(self, hidden=12):
            super().__init__()
            self.embed = nn.Embedding(20, 8, padding_idx=0)
            self.lstm = nn.LSTM(8, hidden, batch_first=True)
            for name, p in self.lstm.named_parameters():
                if "weight_hh" in name:
                    for k in range(4):
                        nn.init.orthogonal_(p.data[k * hidden : (k + 1) * hidden])
                elif "bias" in name:
                    p.data.zero_()
                    p.data[hidden : 2 * hidden] = 0.5
            self.fc = nn.Linear(hidden, 3)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(
                self.embed(x), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.lstm(packed)[1][0][-1])

    return Net(), {"vocab_size": 20, "padding_id": 0}


def healthy_cosine_with_temperature():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(6, 16, batch_first=True)
            self.classes = nn.Parameter(torch.randn(5, 16))
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

        def forward(self, x):
            z = F.normalize(self.gru(x)[1][0], dim=1)
            return self.logit_scale.exp() * z @ F.normalize(self.classes, dim=1).T

    return Net(), {"num_features": 6, "lengths": False}


def healthy_log_probabilities():
    class RNN(nn.Module):
        def __init__(self, input_size=26, hidden_size=16, output_size=6):
            super().__init__()
            self.hidden_size = hidden_size
            self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
            self.i2o = nn.Linear(input_size + hidden_size, output_size)
            self.softmax = nn.LogSoftmax(dim=1)

        def forward(self, line_tensor):
            hidden = line_tensor.new_zeros(line_tensor.size(1), self.hidden_size)
            for letter in line_tensor:
                combined = torch.cat((letter, hidden), 1)
                hidden = torch.tanh(self.i2h(combined))
            return self.softmax(self.i2o(combined))

    return RNN(), {"num_features": 26, "time_major": True, "lengths": False}


def healthy_mask_from_ids():
    class MeanPool(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 10, padding_idx=0)
            self.rnn = nn.GRU(10, 12, batch_first=True)
            self.fc = nn.Linear(12, 4)

        def forward(self, x):
            mask = (x != 0).unsqueeze(-1)
            out, _ = self.rnn(self.emb(x))
            return self.fc((out * mask).sum(1) / mask.sum(1).clamp(min=1))

    return MeanPool(), {"vocab_size": 20, "padding_id": 0}


def healthy_maximum_of_valid():
    class BLSTMMax(nn.Module):
        def __init__(self):
            super().__init__()
            self.lut = nn.Embedding(24, 8, padding_idx=0)
            self.enc = nn.LSTM(8, 10, bidirectional=True, batch_first=True)
            self.out = nn.Linear(20, 3)

        def forward(self, sent, sent_len):
            packed = pack_padded_sequence(
                self.lut(sent), sent_len.cpu(), batch_first=True, enforce_sorted=False
            )
            h, _ = pad_packed_sequence(
                self.enc(packed)[0],
                batch_first=True,
                padding_value=float("-inf"),
                total_length=sent.size(1),
            )
            return self.out(h.amax(1))

    return BLSTMMax(), {"vocab_size": 24, "padding_id": 0}


def healthy_one_hot():
    class OneHotRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(11, 16, batch_first=True)
            self.fc = nn.Linear(16, 10)

        def forward(self, x, lengths):
            onehot = F.one_hot(x, 11).to(self.fc.weight.dtype)
            packed = pack_padded_sequence(
                onehot, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.rnn(packed)[1][0])

    return OneHotRNN(), {"vocab_size": 10, "padding_id": 10}


CASES = (
    Case(
        name="bidirectional GRU gathered at the last token",
        area="modules",
        expected=frozenset({"bidirectional-last-step"}),
        source="https://github.com/aymericdamien/TensorFlow-Examples/issues/201",
        make=bidirectional_gathered,
        how="--module clf.py:make --vocab_size 30 --padding_id 0",
    ),
    Case(
        name="final states of two directions viewed as one",
        area="modules",
        expected=frozenset({"state-reshaped"}),
        source="https://github.com/timbmg/Sentence-VAE/issues/15",
        make=two_directions_viewed,
        how="--module model.py:SentenceEncoder --vocab_size 25 --padding_id 0",
    ),
    Case(
        name="attention normalised over the batch",
        area="modules",
        expected=frozenset({"rows-mixed", "softmax-over-batch"}),
        source="https://github.com/PetrochukM/PyTorch-NLP/issues/2",
        make=attention_over_the_batch,
        how="--module attention.py:make --num_features 9 --no_lengths",
    ),
    Case(
        name="stack of cells in a plain list",
        area="modules",
        expected=frozenset({"unregistered-parameters"}),
        source="https://github.com/ikostrikov/pytorch-meta-optimizer/issues/11",
        make=cells_in_a_plain_list,
        how="--module stacked.py:make --vocab_size 10 --no_lengths",
    ),
    Case(
        name="dictionary of weights",
        area="modules",
        expected=frozenset({"unregistered-parameters"}),
        source="https://github.com/pytorch/pytorch/issues/632",
        make=dictionary_of_weights,
        how="--module relations.py:make --num_features 4 --no_lengths",
    ),
    Case(
        name="attention vector that is a plain tensor",
        area="modules",
        expected=frozenset({"unregistered-parameters"}),
        source="https://github.com/mrdbourke/pytorch-deep-learning/pull/189",
        make=plain_attention_vector,
        how="--module han.py:make --vocab_size 18 --padding_id 0",
    ),
    Case(
        name="parameter scaled into an ordinary tensor",
        area="modules",
        expected=frozenset({"unregistered-parameters"}),
        source="https://github.com/d2l-ai/d2l-en/pull/1713",
        make=parameter_scaled,
        how="--module scratch.py:make --vocab_size 8 --no_lengths",
    ),
    Case(
        name="batch norm over unpacked outputs",
        area="modules",
        expected=frozenset({"padding-in-batch-statistics"}),
        source="https://github.com/SeanNaren/deepspeech.pytorch/issues/312",
        make=batch_norm_over_outputs,
        how="--module speech.py:make --num_features 7",
    ),
    Case(
        name="dropout as the last layer of the head",
        area="modules",
        expected=frozenset({"dropout-on-scores"}),
        source="common",
        make=dropout_as_last_layer,
        how="--module model.py:make --vocab_size 14 --no_lengths",
    ),
    Case(
        name="one LSTM run three times for three layers",
        area="modules",
        expected=frozenset({"layer-shared"}),
        source="https://github.com/jt827859032/DRRN-pytorch/issues/1",
        make=one_lstm_three_times,
        how="--module deep.py:make --vocab_size 11 --no_lengths",
    ),
    Case(
        name="freezing loop that meets every layer but the head",
        area="modules",
        expected=frozenset({"frozen-parameters"}),
        source="https://github.com/wannabeOG/MAS-PyTorch/issues/1",
        make=freezing_loop_too_wide,
        how="--module model.py:make --vocab_size 50 --no_lengths",
    ),
    Case(
        name="everything frozen",
        area="modules",
        expected=frozenset({"frozen-parameters"}),
        source="https://github.com/catalyst-team/catalyst/pull/81",
        make=everything_frozen,
        how="--module model.py:make --num_features 5",
    ),
    Case(
        name="tanh on the class scores",
        area="modules",
        expected=frozenset({"bounded-scores"}),
        source="https://github.com/keras-team/keras/issues/7994",
        make=tanh_on_scores,
        how="--module model.py:make --vocab_size 9 --padding_id 9",
    ),
    Case(
        name="sigmoid on the scores of ten classes",
        area="modules",
        expected=frozenset({"sigmoid-output"}),
        source="https://github.com/sjchoi86/Tensorflow-101/pull/3",
        make=sigmoid_on_ten_classes,
        how="--module model.py:make --vocab_size 10 --no_lengths",
    ),
    Case(
        name="all weights drawn with a deviation of ten",
        area="modules",
        expected=frozenset({"saturated-at-start", "steps-forgotten"}),
        source="common",
        make=deviation_of_ten,
        how="--module model.py:make --vocab_size 12 --no_lengths",
    ),
    Case(
        name="recurrent weights begin at zero",
        area="modules",
        expected=frozenset({"symmetric-weights", "input-ignored"}),
        source="https://github.com/yz93/LAVT-RIS/issues/25",
        make=recurrent_weights_at_zero,
        how="--module model.py:make --vocab_size 21 --padding_id 0",
    ),
    Case(
        name="state added up over calls",
        area="modules",
        expected=frozenset({"state-kept-between-batches", "module-raises"}),
        source="https://github.com/fastai/fastbook/pull/469",
        make=state_added_up,
        how="--module lmmodel.py:make --vocab_size 13 --no_lengths",
    ),
    Case(
        name="functional dropout that never rests",
        area="modules",
        expected=frozenset({"dropout-in-evaluation"}),
        source="https://github.com/pytorch/pytorch/issues/26338",
        make=functional_dropout,
        how="--module net.py:make --vocab_size 12 --no_lengths",
    ),
    Case(
        name="sentence vector averaged over the padding",
        area="modules",
        expected=frozenset({"padding-leak", "padding-counted"}),
        source="https://github.com/jsboige/CoursIA/issues/15045",
        make=averaged_over_padding,
        how="--module embed.py:make --vocab_size 30 --padding_id 0",
    ),
    Case(
        name="attention that looks at the padding",
        area="modules",
        expected=frozenset({"padding-leak", "padding-counted"}),
        source="https://github.com/jamesmullenbach/caml-mimic/issues/13",
        make=attention_looks_at_padding,
        how="--module caml.py:make --vocab_size 24 --padding_id 0",
    ),
    Case(
        name="masked sum divided by the width",
        area="modules",
        expected=frozenset({"padding-counted"}),
        source="https://github.com/autoliuweijie/BERT-whitening-pytorch/issues/13",
        make=masked_sum_by_width,
        how="--module pool.py:make --vocab_size 19 --padding_id 0",
    ),
    Case(
        name="sorted for packing and left that way",
        area="modules",
        expected=frozenset({"order-not-restored"}),
        source="https://github.com/pytorch/pytorch/issues/4927",
        make=sorted_and_left,
        how="--module encoder.py:make --vocab_size 20 --padding_id 0",
    ),
    Case(
        name="lengths sorted to silence an error",
        area="modules",
        expected=frozenset({"lengths-misordered"}),
        source="https://github.com/pytorch/pytorch/issues/8026",
        make=lengths_sorted,
        how="--module encoder.py:make --vocab_size 20 --padding_id 0 --time_major",
    ),
    Case(
        name="first state of the training batch size",
        area="modules",
        expected=frozenset({"module-raises"}),
        source="https://github.com/bentrevett/pytorch-sentiment-analysis/issues/87",
        make=state_of_training_batch_size,
        how="--module lstm.py:LSTMClassifier --num_features 6 --no_lengths",
    ),
    Case(
        name="detach between the steps of a sequence",
        area="modules",
        expected=frozenset({"state-detached"}),
        source="https://github.com/yhs968/pyGRU4REC/issues/8",
        make=detach_between_steps,
        how="--module gru4rec.py:make --vocab_size 23 --no_lengths",
    ),
    Case(
        name="truncation to the last two steps by accident",
        area="modules",
        expected=frozenset({"state-detached"}),
        source="https://github.com/IC3Net/IC3Net/issues/7",
        make=truncated_by_accident,
        how="--module policy.py:make --num_features 5 --no_lengths",
    ),
    Case(
        name="encoder under no_grad",
        area="modules",
        expected=frozenset({"gradient-cut"}),
        source="https://github.com/vturrisi/solo-learn/issues/135",
        make=encoder_under_no_grad,
        how="--module probe.py:make --vocab_size 25 --padding_id 0",
    ),
    Case(
        name="pooling by way of numpy",
        area="modules",
        expected=frozenset({"gradient-cut"}),
        source="https://github.com/pytorch/pytorch/issues/1760",
        make=pooling_by_numpy,
        how="--module pool.py:make --num_features 6 --no_lengths",
    ),
    Case(
        name="answer taken at the first step",
        area="modules",
        expected=frozenset({"only-first-step"}),
        source="common",
        make=answer_at_first_step,
        how="--module cls.py:make --vocab_size 18 --padding_id 0",
    ),
    Case(
        name="last token dropped as if there were an end mark",
        area="modules",
        expected=frozenset({"steps-ignored"}),
        source="common",
        make=last_token_dropped,
        how="--module lm.py:make --vocab_size 20 --padding_id 0",
    ),
    Case(
        name="states standardised over the batch",
        area="modules",
        expected=frozenset({"rows-mixed", "batch-of-one-differs", "non-finite-scores"}),
        source="common",
        make=standardised_over_batch,
        how="--module norm.py:make --num_features 5 --no_lengths",
    ),
    Case(
        name="padding_idx on a token that occurs",
        area="modules",
        expected=frozenset({"wrong-padding-idx"}),
        source="https://github.com/FGA-DIKU/BONSAI/issues/168",
        make=padding_idx_on_a_token,
        how="--module net.py:make --vocab_size 10 --padding_id 10",
    ),
    Case(
        name="forward that wants two sentences",
        area="modules",
        expected=frozenset({"cannot-call"}),
        source="common",
        make=wants_two_sentences,
        how="--module pair.py:make --vocab_size 20 --padding_id 0",
    ),
    Case(
        name="forward that wants a dictionary",
        area="modules",
        expected=frozenset({"cannot-call"}),
        source="common",
        make=wants_a_dictionary,
        how="--module allen.py:make --vocab_size 20 --padding_id 0",
    ),
    Case(
        name="rows of an image read by an LSTM",
        area="modules",
        expected=frozenset(),
        source="https://github.com/hunkim/PyTorchZeroToAll/issues/15",
        make=healthy_image_rows,
        how="--module mnist_rnn.py:RNN --num_features 28 --no_lengths",
    ),
    Case(
        name="time first, packed",
        area="modules",
        expected=frozenset(),
        source="https://github.com/spro/practical-pytorch/issues/97",
        make=healthy_time_first,
        how="--module encoder.py:EncoderRNN --vocab_size 20 --padding_id 0 --time_major",
    ),
    Case(
        name="real-valued features with lengths",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_features,
        how="--module sensors.py:make --num_features 9",
    ),
    Case(
        name="head that begins at zero",
        area="modules",
        expected=frozenset(),
        source="https://github.com/jthickstun/pytorch_musicnet/issues/4",
        make=healthy_zero_head,
        how="--module model.py:make --vocab_size 10 --no_lengths",
    ),
    Case(
        name="embedding with a greatest norm",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_max_norm,
        how="--module model.py:make --vocab_size 25 --padding_id 0",
    ),
    Case(
        name="padding is zero, tokens begin at one",
        area="modules",
        expected=frozenset(),
        source="https://github.com/huggingface/transformers/pull/358",
        make=healthy_padding_zero,
        how="--module model.py:make --vocab_size 11 --padding_id 0",
    ),
    Case(
        name="pretrained vectors kept fixed",
        area="modules",
        expected=frozenset(),
        source="https://github.com/HazyResearch/metal/issues/95",
        make=healthy_fixed_vectors,
        how="--module model.py:make --vocab_size 60 --padding_id 0",
    ),
    Case(
        name="orthogonal weights and an open forget gate",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_orthogonal,
        how="--module lstm.py:make --vocab_size 20 --padding_id 0",
    ),
    Case(
        name="cosine with a learned temperature",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_cosine_with_temperature,
        how="--module clip.py:make --num_features 6 --no_lengths",
    ),
    Case(
        name="log probabilities for NLLLoss",
        area="modules",
        expected=frozenset(),
        source="https://github.com/Randl/MobileNetV2-pytorch/issues/5",
        make=healthy_log_probabilities,
        how="--module names.py:make --num_features 26 --time_major --no_lengths",
    ),
    Case(
        name="mask taken from the ids",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_mask_from_ids,
        how="--module pool.py:make --vocab_size 20 --padding_id 0 (forward takes the ids alone)",
    ),
    Case(
        name="maximum over valid steps of two directions",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_maximum_of_valid,
        how="--module infersent.py:make --vocab_size 24 --padding_id 0",
    ),
    Case(
        name="one-hot ids and no embedding",
        area="modules",
        expected=frozenset(),
        source="common",
        make=healthy_one_hot,
        how="--module onehot.py:make --vocab_size 10 --padding_id 10",
    ),
)
