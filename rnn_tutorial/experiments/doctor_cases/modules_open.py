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

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "bidirectional GRU gathered at the last token",
    "bidirectional-last-step",
    source="https://github.com/aymericdamien/TensorFlow-Examples/issues/201",
)
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


@case(
    "final states of two directions viewed as one",
    "state-reshaped",
    source="https://github.com/timbmg/Sentence-VAE/issues/15",
)
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


@case(
    "attention normalised over the batch",
    "rows-mixed",
    "softmax-over-batch",
    source="https://github.com/PetrochukM/PyTorch-NLP/issues/2",
)
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


@case(
    "stack of cells in a plain list",
    "unregistered-parameters",
    source="https://github.com/ikostrikov/pytorch-meta-optimizer/issues/11",
)
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


@case(
    "dictionary of weights",
    "unregistered-parameters",
    source="https://github.com/pytorch/pytorch/issues/632",
)
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


@case(
    "attention vector that is a plain tensor",
    "unregistered-parameters",
    source="https://github.com/mrdbourke/pytorch-deep-learning/pull/189",
)
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


@case(
    "parameter scaled into an ordinary tensor",
    "unregistered-parameters",
    source="https://github.com/d2l-ai/d2l-en/pull/1713",
)
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


@case(
    "batch norm over unpacked outputs",
    "padding-in-batch-statistics",
    source="https://github.com/SeanNaren/deepspeech.pytorch/issues/312",
)
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


@case("dropout as the last layer of the head", "dropout-on-scores")
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


@case(
    "one LSTM run three times for three layers",
    "layer-shared",
    source="https://github.com/jt827859032/DRRN-pytorch/issues/1",
)
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


@case(
    "freezing loop that meets every layer but the head",
    "frozen-parameters",
    source="https://github.com/wannabeOG/MAS-PyTorch/issues/1",
)
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


@case(
    "everything frozen",
    "frozen-parameters",
    source="https://github.com/catalyst-team/catalyst/pull/81",
)
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


@case(
    "tanh on the class scores",
    "bounded-scores",
    source="https://github.com/keras-team/keras/issues/7994",
)
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


@case(
    "sigmoid on the scores of ten classes",
    "sigmoid-output",
    source="https://github.com/sjchoi86/Tensorflow-101/pull/3",
)
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


@case("all weights drawn with a deviation of ten", "saturated-at-start", "steps-forgotten")
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


@case(
    "recurrent weights begin at zero",
    "symmetric-weights",
    "input-ignored",
    source="https://github.com/yz93/LAVT-RIS/issues/25",
)
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


@case(
    "state added up over calls",
    "state-kept-between-batches",
    "module-raises",
    source="https://github.com/fastai/fastbook/pull/469",
)
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


@case(
    "functional dropout that never rests",
    "dropout-in-evaluation",
    source="https://github.com/pytorch/pytorch/issues/26338",
)
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


@case(
    "sentence vector averaged over the padding",
    "padding-leak",
    "padding-counted",
    source="https://github.com/jsboige/CoursIA/issues/15045",
)
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


@case(
    "attention that looks at the padding",
    "padding-leak",
    "padding-counted",
    source="https://github.com/jamesmullenbach/caml-mimic/issues/13",
)
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


@case(
    "masked sum divided by the width",
    "padding-counted",
    source="https://github.com/autoliuweijie/BERT-whitening-pytorch/issues/13",
)
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


@case(
    "sorted for packing and left that way",
    "order-not-restored",
    source="https://github.com/pytorch/pytorch/issues/4927",
)
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


@case(
    "lengths sorted to silence an error",
    "lengths-misordered",
    source="https://github.com/pytorch/pytorch/issues/8026",
)
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


@case(
    "first state of the training batch size",
    "module-raises",
    source="https://github.com/bentrevett/pytorch-sentiment-analysis/issues/87",
)
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


@case(
    "detach between the steps of a sequence",
    "state-detached",
    source="https://github.com/yhs968/pyGRU4REC/issues/8",
)
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


@case(
    "truncation to the last two steps by accident",
    "state-detached",
    source="https://github.com/IC3Net/IC3Net/issues/7",
)
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


@case(
    "encoder under no_grad",
    "gradient-cut",
    source="https://github.com/vturrisi/solo-learn/issues/135",
)
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


@case(
    "pooling by way of numpy",
    "gradient-cut",
    source="https://github.com/pytorch/pytorch/issues/1760",
)
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


@case("answer taken at the first step", "only-first-step")
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


@case("last token dropped as if there were an end mark", "steps-ignored")
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


@case(
    "states standardised over the batch", "rows-mixed", "batch-of-one-differs", "non-finite-scores"
)
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


@case(
    "padding_idx on a token that occurs",
    "wrong-padding-idx",
    source="https://github.com/FGA-DIKU/BONSAI/issues/168",
)
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


@case("forward that wants two sentences", "cannot-call")
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


@case("forward that wants a dictionary", "cannot-call")
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


@case(
    "rows of an image read by an LSTM",
    source="https://github.com/hunkim/PyTorchZeroToAll/issues/15",
)
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


@case("time first, packed", source="https://github.com/spro/practical-pytorch/issues/97")
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


@case("real-valued features with lengths")
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


@case("head that begins at zero", source="https://github.com/jthickstun/pytorch_musicnet/issues/4")
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


@case("embedding with a greatest norm")
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


@case(
    "padding is zero, tokens begin at one",
    source="https://github.com/huggingface/transformers/pull/358",
)
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


@case("pretrained vectors kept fixed", source="https://github.com/HazyResearch/metal/issues/95")
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


@case("orthogonal weights and an open forget gate")
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


@case("cosine with a learned temperature")
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


@case(
    "log probabilities for NLLLoss", source="https://github.com/Randl/MobileNetV2-pytorch/issues/5"
)
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


@case("mask taken from the ids")
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


@case("maximum over valid steps of two directions")
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


@case("one-hot ids and no embedding")
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
