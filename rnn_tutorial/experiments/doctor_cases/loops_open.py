"""Training steps as people write them: the open half.

Each function returns what a factory of --step returns: a function that makes one update and returns
its loss, a generator that yields it, or either of them with the model and the optimizers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "second of two optimizers is never cleared",
    "gradient-not-zeroed",
    source="https://github.com/Hsintien-Ng/idinvert_pytorch-reproduced/issues/1",
)
def second_optimizer_never_cleared():
    torch.manual_seed(2)
    encoder = nn.GRU(4, 16)
    decoder = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    enc_opt = torch.optim.SGD(encoder.parameters(), lr=0.05)
    dec_opt = torch.optim.SGD(decoder.parameters(), lr=0.05)
    rng = np.random.default_rng(0)

    def train_step():
        batch = rng.normal(size=(9, 20, 4)).astype("float32")
        target = (batch[0, :, 0] > batch[-1, :, 0]).astype("int64")
        enc_opt.zero_grad()
        _, h = encoder(torch.from_numpy(batch))
        loss = F.cross_entropy(decoder(h[0]), torch.from_numpy(target))
        loss.backward()
        enc_opt.step()
        dec_opt.step()
        return loss

    return train_step


@case(
    "zero_grad between backward and step",
    "gradient-zeroed-before-step",
    source="https://velog.io/@rhss10/기본-optimizer.zerograd는-어디에-넣어주어야-할까",
)
def zero_grad_between():
    torch.manual_seed(0)
    model = nn.RNN(8, 32, batch_first=True)
    head = nn.Linear(32, 5)
    optimizer = torch.optim.SGD(list(model.parameters()) + list(head.parameters()), lr=0.1)

    def step():
        x, y = torch.randn(16, 10, 8), torch.randint(5, (16,))
        out, _ = model(x)
        loss = F.cross_entropy(head(out[:, -1]), y)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        return loss

    return step


@case("gradients cleared too early, weights only decay", "gradient-zeroed-before-step")
def cleared_early_with_decay():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 6))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)

    def train_on_batch():
        x = torch.randn(24, 10, 3)
        y = x.mean(dim=(1, 2)).mul(3).round().clamp(-2, 3).add(2).long()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        for p in model.parameters():
            p.grad.data.zero_()
        optimizer.step()
        return loss

    return train_on_batch, model, optimizer


@case(
    "backward deleted while cleaning up",
    "no-backward",
    source="https://github.com/aalto-intelligent-robotics/sivl/issues/2",
)
def backward_deleted():
    torch.manual_seed(0)

    class Trainer:
        def __init__(self):
            self.net = nn.GRU(6, 16, batch_first=True)
            self.clf = nn.Linear(16, 3)
            self.optimizer = optim.Adam(
                [{"params": self.net.parameters()}, {"params": self.clf.parameters(), "lr": 1e-2}]
            )
            self.criterion = nn.CrossEntropyLoss()

        def training_step(self):
            batch, labels = torch.randn(12, 8, 6), torch.randint(3, (12,))
            self.optimizer.zero_grad()
            _, hidden = self.net(batch)
            loss = self.criterion(self.clf(hidden.squeeze(0)), labels)
            self.optimizer.step()
            return loss

    return Trainer().training_step


@case(
    "backward without brackets",
    "no-backward",
    source="https://github.com/Goingqs/PyramidBox/issues/7",
)
def backward_without_brackets():
    def train():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(16 * 6, 50))
        optimizer = optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
        corpus = torch.randint(50, (2000,))
        for i in range(0, 1900, 32):
            context = torch.stack([corpus[i + k : i + k + 32] for k in range(6)], dim=1)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(context), corpus[i + 6 : i + 38])
            loss.backward  # noqa: B018
            optimizer.step()
            yield loss

    return train()


@case("step without brackets beside a scheduler", "no-step")
def step_without_brackets():
    torch.manual_seed(6)
    model = nn.Sequential(nn.Linear(10, 40), nn.Tanh(), nn.Linear(40, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def train_step():
        x = torch.randn(64, 10)
        y = x[:, :3].sum(dim=1, keepdim=True)
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step  # noqa: B018
        return loss.item()

    return train_step, model, optimizer


@case("accumulation whose turn never comes", "no-step")
def accumulation_never_due():
    def run_epoch():
        torch.manual_seed(7)
        rnn, linear = nn.LSTM(5, 10), nn.Linear(10, 3)
        opt = optim.AdamW([*rnn.parameters(), *linear.parameters()], lr=2e-3)
        accumulation_steps = 4
        for step in range(200):
            seq = torch.randn(6, 8, 5)
            labels = seq[0].argmax(dim=1) % 3
            logits = linear(rnn(seq)[1][0][-1])
            loss = F.cross_entropy(logits, labels) / accumulation_steps
            loss.backward()
            if step + 1 % accumulation_steps == 0:
                opt.step()
                opt.zero_grad()
            yield loss

    return run_epoch()


@case(
    "w = w - lr * grad in a loop over the weights",
    "nothing-moved",
    "no-step",
    source="https://github.com/pytorch/pytorch/issues/74158",
)
def rebinding_in_a_loop():
    torch.manual_seed(0)
    w = torch.randn(3, 1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    learning_rate = 0.1

    def step():
        X = torch.randn(40, 3)
        Y = X @ torch.tensor([[2.0], [-1.0], [0.5]]) + 1
        loss = ((X @ w + b - Y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            for p in (w, b):
                p = p - learning_rate * p.grad
            w.grad.zero_()
            b.grad.zero_()
        return loss

    return step


@case("flat copy of the weights is updated", "nothing-moved", "no-step")
def flat_copy_updated():
    torch.manual_seed(8)
    model = nn.GRU(4, 8, batch_first=True)

    def update():
        model.zero_grad()
        x = torch.randn(10, 12, 4)
        loss = (model(x)[0].mean(dim=2) - x.mean(dim=2)).pow(2).mean()
        loss.backward()
        with torch.no_grad():
            theta = torch.cat([p.flatten() for p in model.parameters()])
            grads = torch.cat([p.grad.flatten() for p in model.parameters()])
            theta -= 0.1 * grads
        return loss

    return update, model


@case(
    "layer replaced after the optimizer was made",
    "parameters-never-moved",
    source="https://github.com/meta-pytorch/opacus/issues/432",
)
def layer_replaced_after():
    torch.manual_seed(10)
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Linear(20, 32), nn.ReLU()))
    model.add_module("classifier", nn.Linear(32, 1000))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.classifier = nn.Linear(32, 7)

    def train_step():
        x = torch.randn(50, 20)
        y = x[:, :7].argmax(dim=1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return train_step, model, optimizer


@case(
    "generator's optimizer stepped twice",
    "parameters-never-moved",
    "no-step",
    source="https://github.com/Lornatang/ESRGAN-PyTorch/issues/39",
)
def generator_stepped_twice():
    torch.manual_seed(12)
    netG = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 8))
    netD = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optG = optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optD = optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(16, 1), torch.zeros(16, 1)

    def step():
        real, noise = torch.randn(16, 8) + 2, torch.randn(16, 4)
        fake = netG(noise)
        optG.zero_grad()
        g_loss = bce(netD(fake), ones)
        g_loss.backward()
        optG.step()
        optD.zero_grad()
        d_loss = bce(netD(real), ones) + bce(netD(fake.detach()), zeros)
        d_loss.backward()
        optG.step()
        return d_loss

    return step


@case(
    "loss wrapped in a new variable",
    "loss-detached",
    source="https://github.com/huggingface/torchMoji/issues/21",
)
def loss_wrapped():
    torch.manual_seed(13)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(40, 8)
            self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
            self.output = nn.Linear(32, 2)

        def forward(self, ids):
            states, _ = self.rnn(self.embed(ids))
            outputs = self.output(states.mean(dim=1))
            return outputs.data

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        ids = torch.randint(40, (16, 9))
        labels = (ids.sum(1) % 2).long()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids), labels)
        loss = torch.autograd.Variable(loss, requires_grad=True)
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


@case("learning rate of a ten-millionth", "update-too-small")
def rate_of_a_ten_millionth():
    torch.manual_seed(17)
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 20), nn.Sigmoid(), nn.Linear(20, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7, momentum=0.9)

    def step():
        x = torch.randn(25, 8, 5)
        y = (x[:, 0, 0] > 0).long()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


@case("clipped to almost nothing", "update-too-small")
def clipped_to_nothing():
    torch.manual_seed(18)
    rnn = nn.LSTM(6, 16, num_layers=2)
    clf = nn.Linear(16, 4)
    params = list(rnn.parameters()) + list(clf.parameters())
    optimizer = optim.SGD(params, lr=0.1)

    def step():
        x = torch.randn(10, 20, 6)
        y = x.mean(0)[:, :4].argmax(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(clf(rnn(x)[0][-1]), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1e-5)
        optimizer.step()
        return loss.detach()

    return step, nn.ModuleList([rnn, clf]), optimizer


@case(
    "scheduler of epochs stepped at each batch",
    "learning-rate-vanishes",
    source="https://github.com/ivadomed/ivadomed/pull/55",
)
def scheduler_at_each_batch():
    def train(num_epochs=5):
        torch.manual_seed(19)
        model = nn.GRU(4, 16, batch_first=True)
        fc = nn.Linear(16, 2)
        optimizer = optim.Adam([*model.parameters(), *fc.parameters()], lr=1e-2)
        scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
        for _ in range(num_epochs):
            for _ in range(30):
                x = torch.randn(16, 7, 4)
                y = (x.sum((1, 2)) > 0).long()
                optimizer.zero_grad()
                loss = F.cross_entropy(fc(model(x)[1][-1]), y)
                loss.backward()
                optimizer.step()
                scheduler.step()
                yield loss

    return train()


@case(
    "clipping before backward",
    "clipping-without-effect",
    source="https://github.com/Cranial-XIX/FAMO/issues/4",
)
def clipping_before_backward():
    torch.manual_seed(21)
    net = nn.RNN(3, 32, batch_first=True)
    fc = nn.Linear(32, 1)
    weights = [*net.parameters(), *fc.parameters()]
    optimizer = optim.SGD(weights, lr=1e-3)

    def step():
        x = torch.randn(20, 25, 3)
        y = x.sum(dim=(1, 2)).unsqueeze(1)
        optimizer.zero_grad()
        loss = F.mse_loss(fc(net(x)[0][:, -1]), y)
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        loss.backward()
        optimizer.step()
        return loss

    return step


@case("optimizer told to maximize", "negated-loss")
def told_to_maximize():
    torch.manual_seed(23)
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 48), nn.Tanh(), nn.Linear(48, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, maximize=True)

    def step():
        x = torch.randn(64, 6, 4)
        y = x.sum(1)[:, :3].argmax(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


@case("square root at zero in the loss", "not-finite-loss")
def root_at_zero():
    torch.manual_seed(28)
    encoder = nn.GRU(3, 8, batch_first=True)
    optimizer = optim.Adam(encoder.parameters(), lr=1e-3)

    def step():
        a = torch.randn(10, 6, 3)
        b = a.clone()
        b[5:] += 0.1 * torch.randn(5, 6, 3)
        ha, hb = encoder(a)[1][0], encoder(b)[1][0]
        distance = ((ha - hb) ** 2).sum(1).sqrt()
        loss = distance.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, encoder, optimizer


@case(
    "MSELoss of a column and a row",
    "broadcast-loss",
    source="https://github.com/pytorch/pytorch/issues/16045",
)
def column_and_row():
    def train():
        torch.manual_seed(0)
        sample_size = 100
        x = torch.randn((sample_size, 2))
        y = 10 + 9 * x[:, 0] - 2 * x[:, 1] + torch.randn(sample_size)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss_func = nn.MSELoss()
        for i in range(60):
            rows = torch.arange(i * 7, i * 7 + 25) % sample_size
            optimizer.zero_grad()
            yhat = model(x[rows])
            loss_val = loss_func(yhat, y[rows])
            loss_val.backward()
            optimizer.step()
            yield loss_val

    return train()


@case("seed set again before each batch", "same-batch")
def seed_set_again():
    model = nn.Sequential(nn.Embedding(10, 8), nn.Flatten(), nn.Linear(40, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    def get_batch():
        torch.manual_seed(1234)
        digits = torch.randint(0, 10, (32, 5))
        return digits, digits.sum(1) % 10

    def step():
        x, y = get_batch()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


@case(
    "outputs gathered for the epoch's accuracy",
    "graph-kept",
    source="https://github.com/TRI-ML/packnet-sfm/pull/51",
)
def outputs_gathered():
    torch.manual_seed(7)

    class LitModel:
        def __init__(self):
            self.backbone = nn.GRU(5, 16, batch_first=True)
            self.head = nn.Linear(16, 2)
            self.training_outputs = []
            params = list(self.backbone.parameters()) + list(self.head.parameters())
            self.optimizer = optim.AdamW(params, lr=1e-3)

        def training_step(self, batch):
            x, y = batch
            logits = self.head(self.backbone(x)[0].mean(1))
            loss = F.cross_entropy(logits, y)
            self.training_outputs.append({"logits": logits, "labels": y})
            return loss

        def fit_one(self):
            x = torch.randn(12, 6, 5)
            loss = self.training_step((x, (x.mean((1, 2)) > 0).long()))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return loss

    return LitModel().fit_one


@case(
    "meter that keeps tensors",
    "graph-kept",
    source="https://github.com/visionml/pytracking/pull/313",
)
def meter_keeps_tensors():
    torch.manual_seed(8)

    class AverageMeter:
        def __init__(self):
            self.sum, self.count = 0, 0

        def update(self, val, n=1):
            self.sum = self.sum + val * n
            self.count += n

    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    meter = AverageMeter()

    def step():
        x = torch.randn(32, 8)
        loss = F.mse_loss(model(x)[:, 0], x.sum(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        meter.update(loss, len(x))
        return loss.item()

    return step, model, optimizer


@case(
    "retain_graph to silence the error",
    "state-not-detached",
    source="https://github.com/OpenNMT/OpenNMT-py/issues/403",
)
def retain_graph_to_silence():
    torch.manual_seed(10)
    emb, rnn, dec = nn.Embedding(20, 8), nn.GRU(8, 16), nn.Linear(16, 20)
    params = [p for m in (emb, rnn, dec) for p in m.parameters()]
    text = torch.randint(20, (401, 4))
    hidden, position = torch.zeros(1, 4, 16), 0

    def step():
        nonlocal hidden, position
        source, target = text[position : position + 5], text[position + 1 : position + 6]
        position = (position + 5) % 395
        output, hidden = rnn(emb(source), hidden)
        loss = F.cross_entropy(dec(output).flatten(0, 1), target.flatten())
        grads = torch.autograd.grad(loss, params, retain_graph=True)
        with torch.no_grad():
            for p, g in zip(params, grads, strict=True):
                p.data -= 0.1 * g
        return loss

    return step


@case("detach of an LSTM's first state alone", "state-not-detached")
def detach_first_state_alone():
    torch.manual_seed(11)
    lstm, fc = nn.LSTM(4, 12, batch_first=True), nn.Linear(12, 2)
    opt = optim.SGD([*lstm.parameters(), *fc.parameters()], lr=0.1)
    state = (torch.zeros(1, 8, 12), torch.zeros(1, 8, 12))

    def step():
        nonlocal state
        x = torch.randn(8, 6, 4)
        y = (x.sum((1, 2)) > 0).long()
        out, (h, c) = lstm(x, state)
        state = (h.detach(), c)
        loss = F.cross_entropy(fc(out[:, -1]), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case("states written into one tensor in place", "error")
def states_written_in_place():
    torch.manual_seed(15)
    cell, fc = nn.RNNCell(3, 8), nn.Linear(8, 2)
    opt = optim.SGD([*cell.parameters(), *fc.parameters()], lr=0.1)

    def step():
        x = torch.randn(5, 4, 3)
        hs = torch.zeros(4, 8)
        for t in range(5):
            hs[:] = cell(x[t], hs)
        loss = F.cross_entropy(fc(hs), torch.randint(2, (4,)))
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case("word vectors that are not there", "error")
def vectors_not_there():
    torch.manual_seed(29)
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    opt = optim.SGD(net.parameters(), lr=0.1)

    def step():
        with open("vectors/glove.6B.50d.txt", encoding="utf-8") as lines:  # noqa: PTH123
            vectors = [[float(v) for v in line.split()[1:]] for line in lines]
        loss = F.cross_entropy(net(torch.randint(10, (8, 3))), torch.randint(2, (8,)))
        loss = loss + 1e-3 * torch.tensor(vectors).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case("widths that do not fit in the third batch", "error")
def widths_that_do_not_fit():
    def train():
        torch.manual_seed(30)
        net = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = optim.Adam(net.parameters(), lr=1e-3)
        for length in (6, 6, 5, 6):
            x = torch.randn(10, length, 4)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), (x.mean((1, 2)) > 0).long())
            loss.backward()
            optimizer.step()
            yield loss

    return train()


@case(
    "gradient descent by hand, gradients set to None",
    source="https://github.com/jcjohnson/pytorch-examples/pull/4",
)
def healthy_by_hand():
    torch.manual_seed(1)
    w1 = (torch.randn(20, 30) * 0.2).requires_grad_()
    w2 = (torch.randn(30, 3) * 0.2).requires_grad_()
    learning_rate = 5e-2

    def step():
        x = torch.randn(64, 20)
        y = x[:, :3]
        y_pred = x.mm(w1).clamp(min=0).mm(w2)
        loss = (y_pred - y).pow(2).mean()
        loss.backward()
        with torch.no_grad():
            w1.sub_(learning_rate * w1.grad)
            w2.sub_(learning_rate * w2.grad)
            w1.grad = None
            w2.grad = None
        return loss

    return step


@case("pretrained embedding kept fixed", source="https://github.com/OpenNMT/OpenNMT-py/issues/192")
def healthy_fixed_embedding():
    torch.manual_seed(4)
    vectors = torch.randn(100, 16)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding.from_pretrained(vectors, freeze=True)
            self.lstm = nn.LSTM(16, 20, batch_first=True)
            self.fc = nn.Linear(20, 2)

        def forward(self, ids):
            return self.fc(self.lstm(self.embedding(ids))[1][0][-1])

    model = Net()
    optimizer = optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-3)

    def step():
        ids = torch.randint(100, (24, 7))
        loss = F.cross_entropy(model(ids), (ids[:, 0] > 50).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


@case("curriculum of growing lengths")
def healthy_curriculum():
    def train():
        torch.manual_seed(6)
        cell, readout = nn.GRUCell(8, 24), nn.Linear(24, 8)
        opt = optim.Adam([*cell.parameters(), *readout.parameters()], lr=1e-2)
        for length in range(1, 41):
            seq = torch.randint(8, (length, 16))
            h = torch.zeros(16, 24)
            for token in seq:
                h = cell(F.one_hot(token, 8).float(), h)
            loss = F.cross_entropy(readout(h), seq[0])
            opt.zero_grad()
            loss.backward()
            opt.step()
            yield loss

    return train()


@case("XOR, all four rows at every step")
def healthy_xor():
    def train():
        torch.manual_seed(8)
        X = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        Y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
        net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
        optimizer = optim.SGD(net.parameters(), lr=0.5)
        criterion = nn.BCELoss()
        for _ in range(2000):
            optimizer.zero_grad()
            loss = criterion(net(X), Y)
            loss.backward()
            optimizer.step()
            yield loss

    return train()


@case("L-BFGS with a closure")
def healthy_lbfgs():
    torch.manual_seed(9)
    phases = torch.rand(8, 1) * 6
    wave = torch.sin(torch.arange(12) * 0.3 + phases)
    cell, linear = nn.LSTMCell(1, 10), nn.Linear(10, 1)
    params = [*cell.parameters(), *linear.parameters()]
    optimizer = optim.LBFGS(params, lr=0.3, max_iter=2)

    def step():
        def closure():
            optimizer.zero_grad()
            state, outputs = None, []
            for x_t in wave[:, :-1].split(1, dim=1):
                state = cell(x_t, state)
                outputs.append(linear(state[0]))
            loss = F.mse_loss(torch.cat(outputs, dim=1), wave[:, 1:])
            loss.backward()
            return loss

        return optimizer.step(closure)

    return step


@case("step that returns a float")
def healthy_returns_float():
    torch.manual_seed(10)
    model = nn.Sequential(nn.Flatten(), nn.Linear(28, 32), nn.BatchNorm1d(32), nn.ReLU())
    model.append(nn.Dropout(0.3)).append(nn.Linear(32, 4))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    running = []

    def step():
        model.train()
        x = torch.randn(32, 7, 4)
        loss = F.cross_entropy(model(x), x.sum(1).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running.append(loss.item())
        return running[-1]

    return step, model, optimizer


@case(
    "two losses, a backward for each",
    source="https://github.com/chrischoy/SpatioTemporalSegmentation/issues/46",
)
def healthy_two_losses():
    torch.manual_seed(11)
    trunk = nn.GRU(5, 16, batch_first=True)
    head_a, head_b = nn.Linear(16, 3), nn.Linear(16, 1)
    opt = optim.Adam([p for m in (trunk, head_a, head_b) for p in m.parameters()], lr=1e-3)

    def step():
        x = torch.randn(20, 6, 5)
        h = trunk(x)[1][0]
        loss_a = F.cross_entropy(head_a(h), x.sum(1)[:, :3].argmax(1))
        loss_b = F.mse_loss(head_b(h).squeeze(1), x.mean((1, 2)))
        opt.zero_grad()
        loss_a.backward(retain_graph=True)
        loss_b.backward()
        opt.step()
        return loss_a + loss_b

    return step


@case("warmup from a rate of zero")
def healthy_warmup():
    torch.manual_seed(13)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.ModuleDict({"emb": nn.Embedding(12, 16), "enc": layer, "out": nn.Linear(16, 12)})
    optimizer = optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    warmup = optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, s / 10))

    def step():
        ids = torch.randint(12, (16, 6))
        logits = model["out"](model["enc"](model["emb"](ids)))
        loss = F.cross_entropy(logits.transpose(1, 2), (ids + 1) % 12)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        warmup.step()
        return loss

    return step, model, optimizer


@case("contrastive loss over all pairs")
def healthy_contrastive():
    torch.manual_seed(15)
    encoder = nn.GRU(4, 12, batch_first=True)
    opt = optim.Adam(encoder.parameters(), lr=2e-3)

    def step():
        x = torch.randn(16, 10, 4)
        a, b = x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)
        za = F.normalize(encoder(a)[1][0], dim=1)
        zb = F.normalize(encoder(b)[1][0], dim=1)
        loss = F.cross_entropy(za @ zb.T / 0.1, torch.arange(16))
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case(
    "policy gradient with a loss below zero",
    source="https://github.com/marco-rudolph/differnet/issues/40",
)
def healthy_policy_gradient():
    torch.manual_seed(16)
    policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = optim.Adam(policy.parameters(), lr=1e-2)

    def step():
        states = torch.randn(64, 4)
        dist = torch.distributions.Categorical(logits=policy(states))
        actions = dist.sample()
        rewards = (actions == (states[:, 0] > 0)).float()
        advantage = rewards - rewards.mean()
        loss = -(dist.log_prob(actions) * advantage).mean() - 0.05 * dist.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


@case("pairwise ranking loss by broadcasting")
def healthy_pairwise_ranking():
    torch.manual_seed(19)
    scorer = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    opt = optim.Adam(scorer.parameters(), lr=3e-3)

    def step():
        items = torch.randn(20, 6)
        relevance = items[:, 0] + items[:, 1]
        s = scorer(items).squeeze(1)
        difference = s[:, None] - s[None, :]
        better = (relevance[:, None] > relevance[None, :]).float()
        loss = (F.softplus(-difference) * better).sum() / better.sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case("running sum of detached losses", source="https://github.com/ray-project/ray/pull/40940")
def healthy_detached_sum():
    torch.manual_seed(21)
    model = nn.GRU(3, 2, batch_first=True)
    opt = optim.SGD(model.parameters(), lr=0.2)
    loss_sum = torch.zeros(())

    def step():
        nonlocal loss_sum
        x = torch.randn(24, 5, 3)
        loss = F.cross_entropy(model(x)[1][0], (x[:, -1, 0] > 0).long())
        opt.zero_grad()
        loss.backward()
        opt.step()
        loss_sum += loss.detach()
        return loss

    return step


@case("noisy labels and a large batch loss")
def healthy_noisy_labels():
    torch.manual_seed(25)
    gru, fc = nn.GRU(3, 16), nn.Linear(16, 5)
    opt = optim.Adam([*gru.parameters(), *fc.parameters()], lr=1e-3)
    rng = np.random.default_rng(1)

    def step():
        x = rng.normal(size=(7, 40, 3)).astype("float32")
        y = np.digitize(x.sum((0, 2)), [-4, -1, 1, 4])
        y = np.where(rng.random(40) < 0.4, rng.integers(0, 5, 40), y)
        logits = fc(gru(torch.as_tensor(x))[1][0])
        loss = F.cross_entropy(logits, torch.as_tensor(y), reduction="sum", label_smoothing=0.1)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(gru.parameters(), 1.0)
        opt.step()
        return loss

    return step


@case("two short epochs and the loop is over")
def healthy_short_loop():
    def train():
        torch.manual_seed(26)
        X = torch.randn(60, 8, 2)
        Y = (X[:, :, 0].sum(1, keepdim=True) > 0).float()
        loader = DataLoader(TensorDataset(X, Y), batch_size=20, shuffle=True)
        rnn, fc = nn.GRU(2, 10, batch_first=True), nn.Linear(10, 1)
        optimizer = optim.Adam([*rnn.parameters(), *fc.parameters()], lr=1e-2)
        criterion = nn.BCEWithLogitsLoss()
        for _ in range(2):
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = criterion(fc(rnn(xb)[1][-1]), yb)
                loss.backward()
                optimizer.step()
                yield loss

    return train()
