"""Training steps as people write them: the half set aside.

Each function returns what a factory of --step returns: a function that makes one update and returns
its loss, a generator that yields it, or either of them with the model and the optimizers.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rnn_tutorial.experiments.doctor_cases.cases import Case, into

CASES: list[Case] = []
case = into(CASES)


@case(
    "zero_grad once per epoch",
    "gradient-not-zeroed",
    source="https://github.com/pytorch/pytorch/issues/47175",
)
def zero_grad_once_per_epoch():
    torch.manual_seed(0)
    X, Y = torch.randn(512, 12, 6), torch.randint(0, 4, (512,))
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 24, batch_first=True)
            self.out = nn.Linear(24, 4)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    def train(epochs=3):
        net = Net()
        criterion = nn.CrossEntropyLoss()
        optimizer = optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(epochs):
            optimizer.zero_grad()
            for inputs, labels in loader:
                outputs = net(inputs)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
                yield loss

    return train()


@case(
    "hand-written update that never clears the gradients",
    "gradient-not-zeroed",
    source="https://github.com/pytorch/examples/pull/1424",
)
def hand_update_without_clearing():
    torch.manual_seed(1)
    W_xh = (torch.randn(5, 20) * 0.1).requires_grad_()
    W_hh = (torch.randn(20, 20) * 0.1).requires_grad_()
    W_hy = (torch.randn(20, 3) * 0.1).requires_grad_()
    params = [W_xh, W_hh, W_hy]

    def step():
        x = torch.randn(7, 32, 5)
        y = (x.sum(dim=(0, 2)) > 0).long()
        h = torch.zeros(32, 20)
        for x_t in x:
            h = torch.tanh(x_t @ W_xh + h @ W_hh)
        loss = F.cross_entropy(h @ W_hy, y)
        loss.backward()
        with torch.no_grad():
            for p in params:
                p -= 0.05 * p.grad
        return loss

    return step


@case(
    "accumulation that clears at each micro-batch",
    "gradient-zeroed-before-step",
    source="https://github.com/bytetriper/RAE/issues/67",
)
def accumulation_cleared_each_time():
    torch.manual_seed(4)
    net = nn.LSTM(3, 20, batch_first=True)
    fc = nn.Linear(20, 2)
    opt = torch.optim.Adam([*net.parameters(), *fc.parameters()], lr=1e-3)
    accum = 4

    def update():
        total = 0.0
        for _ in range(accum):
            x = torch.randn(8, 11, 3)
            y = (x[:, :, 0].sum(1) > 0).long()
            opt.zero_grad(set_to_none=True)
            loss = F.cross_entropy(fc(net(x)[0][:, -1]), y) / accum
            loss.backward()
            total += loss.item()
        opt.step()
        return total

    return update, nn.ModuleList([net, fc]), opt


@case("the step was never written", "no-step", source="https://github.com/microsoft/nni/pull/3339")
def step_never_written():
    torch.manual_seed(5)
    model = nn.ModuleDict({"rnn": nn.RNN(4, 12, nonlinearity="relu"), "fc": nn.Linear(12, 2)})
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    def step():
        data = torch.rand(15, 10, 4)
        label = (data.mean(dim=(0, 2)) > 0.5).long()
        optimizer.zero_grad()
        output, _ = model["rnn"](data)
        loss = criterion(model["fc"](output[-1]), label)
        loss.backward()
        return loss

    return step


@case(
    "optimizer was given the head alone",
    "parameters-never-moved",
    source="https://github.com/zjunlp/HVPNeT/issues/5",
)
def optimizer_of_the_head():
    torch.manual_seed(9)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.word_embeddings = nn.Embedding(30, 8)
            self.lstm = nn.LSTM(8, 16)
            self.hidden2tag = nn.Linear(16, 5)

        def forward(self, sentence):
            out, _ = self.lstm(self.word_embeddings(sentence))
            return F.log_softmax(self.hidden2tag(out), dim=-1)

    model = Tagger()
    optimizer = optim.SGD(model.hidden2tag.parameters(), lr=0.1)

    def step():
        sentence = torch.randint(30, (11, 4))
        tags = sentence % 5
        model.zero_grad()
        loss = F.nll_loss(model(sentence).flatten(0, 1), tags.flatten())
        loss.backward()
        optimizer.step()
        return loss

    return step


@case(
    "net built again after the optimizer",
    "parameters-never-moved",
    "no-step",
    "nothing-moved",
    source="https://github.com/microsoft/nni/issues/4521",
)
def net_built_again():
    torch.manual_seed(11)

    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(18, 9), nn.Tanh(), nn.Linear(9, 2))

    net = build()
    optimizer = optim.Adam(net.parameters(), lr=1e-2)
    net = build()

    def step():
        x = torch.randn(30, 6, 3)
        y = (x.sum(dim=(1, 2)) > 0).long()
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


@case(
    "loss counted from the chosen classes",
    "loss-detached",
    source="https://github.com/speechbrain/speechbrain/issues/735",
)
def loss_counted():
    torch.manual_seed(14)
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train_batch():
        x = torch.randn(32, 12)
        target = x[:, :4].argmax(1)
        optimizer.zero_grad()
        predicted = model(x).argmax(dim=1)
        loss = (predicted != target).float().mean()
        loss.requires_grad = True
        loss.backward()
        optimizer.step()
        return loss

    return train_batch, model, optimizer


@case(
    "learning rate 20 without clipping",
    "update-too-large",
    "not-finite-loss",
    source="https://github.com/pytorch/examples/pull/223",
)
def rate_of_twenty():
    def train():
        torch.manual_seed(15)
        encoder, rnn, decoder = nn.Embedding(30, 20), nn.RNN(20, 40), nn.Linear(40, 30)
        net = nn.ModuleList([encoder, rnn, decoder])
        data = torch.randint(30, (400, 10))
        data[1::2] = (data[::2] + 1) % 30
        lr = 20.0
        for i in range(0, 390, 8):
            x, y = data[i : i + 8], data[i + 1 : i + 9]
            net.zero_grad()
            out, _ = rnn(encoder(x))
            loss = F.cross_entropy(decoder(out).view(-1, 30), y.reshape(-1))
            loss.backward()
            for p in net.parameters():
                p.data.add_(p.grad, alpha=-lr)
            yield loss

    return train()


@case("Adam at a rate of one", "update-too-large")
def adam_at_one():
    torch.manual_seed(16)
    gru, fc = nn.GRU(5, 24, batch_first=True), nn.Linear(24, 3)
    opt = optim.Adam([*gru.parameters(), *fc.parameters()], lr=1.0)

    def step():
        x = torch.randn(32, 9, 5)
        y = x.sum(1)[:, :3].argmax(1)
        opt.zero_grad()
        loss = F.cross_entropy(fc(gru(x)[1][0]), y)
        loss.backward()
        opt.step()
        return loss

    return step


@case(
    "linear decay over epochs counted in batches",
    "learning-rate-vanishes",
    source="https://github.com/leftthomas/SRGAN/issues/94",
)
def linear_decay_too_short():
    torch.manual_seed(20)
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    epochs = 4
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda i: max(0.0, 1 - i / epochs))

    def step():
        x = torch.randn(48, 16)
        loss = F.cross_entropy(model(x), x[:, :5].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss

    return step, model, optimizer


@case(
    "clipping after the step",
    "clipping-without-effect",
    source="https://github.com/awslabs/graphstorm/issues/1366",
)
def clipping_after_step():
    torch.manual_seed(22)
    model = nn.ModuleDict({"rnn": nn.LSTM(4, 24, batch_first=True), "fc": nn.Linear(24, 1)})
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    max_grad_norm = 0.1

    def run():
        x = torch.randn(16, 12, 4)
        y = x.cumsum(1)[..., :1]
        out = model["fc"](model["rnn"](x)[0])
        loss = (out - y).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        return loss

    return run, model, optimizer


@case("plus sign in a hand-written update", "negated-loss")
def plus_sign():
    torch.manual_seed(24)

    class RNN(nn.Module):
        def __init__(self, input_size, hidden_size, output_size):
            super().__init__()
            self.hidden_size = hidden_size
            self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
            self.i2o = nn.Linear(input_size + hidden_size, output_size)
            self.softmax = nn.LogSoftmax(dim=1)

        def forward(self, input, hidden):
            combined = torch.cat((input, hidden), 1)
            return self.softmax(self.i2o(combined)), torch.tanh(self.i2h(combined))

    rnn = RNN(10, 32, 4)
    criterion = nn.NLLLoss()

    def train():
        category = torch.randint(4, (1,))
        line = F.one_hot((torch.randint(3, (6,)) + 2 * category) % 10, 10).float()
        hidden = torch.zeros(1, 32)
        rnn.zero_grad()
        for letter in line:
            output, hidden = rnn(letter[None], hidden)
        loss = criterion(output, category)
        loss.backward()
        for p in rnn.parameters():
            p.data.add_(p.grad.data, alpha=0.05)
        return loss

    return train


@case(
    "one minus sign too many",
    "negated-loss",
    source="https://github.com/kmkurn/pytorch-crf/issues/27",
)
def minus_too_many():
    torch.manual_seed(25)
    model = nn.GRU(5, 10, batch_first=True)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.5)

    def step():
        x = torch.randn(20, 8, 5)
        y = x[:, -1, :].argmax(1)
        logp = F.log_softmax(model(x)[1][0], dim=1)
        nll = F.nll_loss(logp, y)
        optimizer.zero_grad()
        (-nll).backward()
        optimizer.step()
        return nll

    return step, model, optimizer


@case(
    "logarithm of a softmax that reaches zero",
    "not-finite-loss",
    source="https://github.com/summerlvsong/Aggregation-Cross-Entropy/issues/2",
)
def log_of_softmax():
    torch.manual_seed(26)
    net = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 4))
    optimizer = optim.SGD(net.parameters(), lr=0.01)

    def step():
        x = torch.randn(32, 6) * 400
        target = F.one_hot(x[:, :4].argmin(1), 4).float()
        probs = F.softmax(net(x), dim=1)
        loss = -(target * torch.log(probs)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


@case("mean over a mask that may be empty", "not-finite-loss")
def empty_mask():
    torch.manual_seed(27)
    emb, rnn, out = nn.Embedding(12, 6), nn.LSTM(6, 12, batch_first=True), nn.Linear(12, 12)
    opt = optim.Adam([*emb.parameters(), *rnn.parameters(), *out.parameters()], lr=1e-3)
    calls = 0

    def step():
        nonlocal calls
        calls += 1
        tokens = torch.randint(12, (8, 5))
        masked = torch.rand(8, 5) < (0.3 if calls % 4 else 0.0)
        logits = out(rnn(emb(tokens.masked_fill(masked, 0)))[0])
        loss = F.cross_entropy(logits[masked], tokens[masked])
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case(
    "difference of a column and a row by hand",
    "broadcast-loss",
    source="https://github.com/LAMDA-Tabular/TALENT/pull/92",
)
def difference_by_hand():
    torch.manual_seed(1)
    lstm, linear = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 1)
    opt = optim.Adam([*lstm.parameters(), *linear.parameters()], lr=5e-3)
    wave = torch.sin(torch.arange(600) * 0.2)

    def step():
        start = torch.randint(0, 570, (24,))
        window = torch.stack([wave[s : s + 20] for s in start]).unsqueeze(-1)
        target = torch.stack([wave[s + 20] for s in start])
        pred = linear(lstm(window)[0][:, -1])
        loss = torch.mean((pred - target) ** 2)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case(
    "clipped absolute error of rewards in a row",
    "broadcast-loss",
    source="https://github.com/pytorch/pytorch/issues/19699",
)
def rewards_in_a_row():
    torch.manual_seed(2)
    critic = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = optim.Adam(critic.parameters(), lr=1e-3)

    def learn():
        states = torch.randn(40, 5)
        returns = states.sum(1)
        values = critic(states)
        loss = (values - returns).abs().clamp(max=1.0).sum() / len(states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return learn, critic, optimizer


@case(
    "validation leaves the net in evaluation mode",
    "evaluation-mode-in-training",
    source="https://github.com/joeynmt/joeynmt/issues/184",
)
def validation_leaves_eval():
    def train():
        torch.manual_seed(3)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4)
        )
        optimizer = optim.Adam(net.parameters(), lr=1e-3)
        x_val = torch.randn(50, 8, 4)
        y_val = x_val.sum(1).argmax(1)

        def validate():
            net.eval()
            with torch.no_grad():
                return (net(x_val).argmax(1) == y_val).float().mean()

        net.train()
        for step in range(100):
            if step % 20 == 0:
                validate()
            x = torch.randn(16, 8, 4)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), x.sum(1).argmax(1))
            loss.backward()
            optimizer.step()
            yield loss

    return train()


@case(
    "eval() called on the net before training",
    "evaluation-mode-in-training",
    source="https://github.com/asyml/texar-pytorch/issues/310",
)
def eval_before_training():
    torch.manual_seed(4)

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(6, 16, batch_first=True)
            self.bn = nn.BatchNorm1d(16)
            self.fc = nn.Linear(16, 3)

        def forward(self, x):
            return self.fc(self.bn(self.rnn(x)[1][0]))

    clf = Classifier().eval()
    opt = optim.SGD(clf.parameters(), lr=0.05)

    def step():
        x = torch.randn(20, 7, 6)
        y = x[:, -1, :3].argmax(1)
        opt.zero_grad()
        loss = F.cross_entropy(clf(x), y)
        loss.backward()
        opt.step()
        return loss

    return step


@case(
    "a new iterator at each step",
    "same-batch",
    source="https://github.com/leohsuofnthu/Pytorch-IterativeFCN/issues/7",
)
def new_iterator_each_step():
    torch.manual_seed(5)
    X, y = torch.randn(320, 10, 3), torch.randint(2, (320,))
    train_loader = DataLoader(TensorDataset(X, y), batch_size=16)
    net, fc = nn.LSTM(3, 12, batch_first=True), nn.Linear(12, 2)
    opt = optim.Adam([*net.parameters(), *fc.parameters()], lr=1e-3)

    def step():
        xb, yb = next(iter(train_loader))
        opt.zero_grad()
        loss = F.cross_entropy(fc(net(xb)[0][:, -1]), yb)
        loss.backward()
        opt.step()
        return loss

    return step


@case("running loss as a tensor", "graph-kept", source="https://github.com/google/brax/pull/152")
def running_loss_as_tensor():
    def train():
        torch.manual_seed(6)
        model, fc = nn.RNN(4, 20, batch_first=True), nn.Linear(20, 3)
        optimizer = optim.Adam([*model.parameters(), *fc.parameters()], lr=1e-3)
        total_loss = 0
        for i in range(120):
            x = torch.randn(10, 9, 4)
            y = x.sum(1)[:, :3].argmax(1)
            optimizer.zero_grad()
            output = fc(model(x)[0][:, -1])
            loss = F.cross_entropy(output, y)
            loss.backward()
            optimizer.step()
            total_loss += loss
            if i % 50 == 49:
                total_loss = 0
            yield loss

    return train()


@case(
    "hidden state carried without detaching",
    "state-not-detached",
    source="https://github.com/MorvanZhou/PyTorch-Tutorial/issues/57",
)
def hidden_carried():
    def train():
        torch.manual_seed(9)
        rnn, out = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 1)
        optimizer = optim.Adam([*rnn.parameters(), *out.parameters()], lr=0.02)
        h_state = None
        for step in range(100):
            steps = np.linspace(step * np.pi, (step + 1) * np.pi, 10, dtype=np.float32)
            x = torch.from_numpy(np.sin(steps)[None, :, None])
            y = torch.from_numpy(np.cos(steps)[None, :, None])
            r_out, h_state = rnn(x, h_state)
            loss = F.mse_loss(out(r_out), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss

    return train()


@case(
    "result of detach thrown away",
    "state-not-detached",
    source="https://github.com/OpenNMT/OpenNMT-py/issues/403",
)
def detach_thrown_away():
    torch.manual_seed(12)

    class Agent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(3, 10)
            self.policy = nn.Linear(10, 2)
            self.memory = torch.zeros(4, 10)

        def forward(self, obs):
            self.memory.detach()
            self.memory = self.cell(obs, self.memory)
            return self.policy(self.memory)

    agent = Agent()
    optimizer = optim.SGD(agent.parameters(), lr=0.05)

    def step():
        obs = torch.randn(4, 3)
        loss = F.cross_entropy(agent(obs), (obs.sum(1) > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, agent, optimizer


@case(
    "new Adam for each batch",
    "optimizer-rebuilt",
    source="https://github.com/alan-turing-institute/deepsensor/issues/47",
)
def new_adam_for_each_batch():
    torch.manual_seed(13)
    model, clf = nn.LSTM(5, 16, batch_first=True), nn.Linear(16, 3)

    def train_batch():
        opt = torch.optim.Adam([*model.parameters(), *clf.parameters()], lr=5e-5)
        x = torch.randn(20, 8, 5)
        opt.zero_grad()
        loss = F.cross_entropy(clf(model(x)[0][:, -1]), x.sum(1)[:, :3].argmax(1))
        loss.backward()
        opt.step()
        return loss

    return train_batch


@case(
    "momentum that begins anew each time",
    "optimizer-rebuilt",
    source="https://github.com/pythoncymetric/cymetric/pull/4",
)
def momentum_begins_anew():
    def fit(net, x, y):
        optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        net.train()
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def train():
        torch.manual_seed(14)
        net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 2))
        for _ in range(80):
            x = torch.randn(30, 6)
            yield fit(net, x, x[:, :2] * x[:, 2:4])

    return train()


@case("labels counted from one", "error")
def labels_from_one():
    torch.manual_seed(16)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        x = torch.randn(16, 4)
        labels = x[:, :3].argmax(1) + 1
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


@case(
    "accumulation over four micro-batches",
    source="https://github.com/huggingface/accelerate/issues/1299",
)
def healthy_accumulation():
    def train():
        torch.manual_seed(0)
        net, fc = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 3)
        optimizer = optim.AdamW([*net.parameters(), *fc.parameters()], lr=2e-3)
        accumulation_steps = 4
        optimizer.zero_grad()
        for i in range(200):
            x = torch.randn(4, 8, 4)
            loss = F.cross_entropy(fc(net(x)[1][0]), x.sum(1)[:, :3].argmax(1))
            (loss / accumulation_steps).backward()
            if (i + 1) % accumulation_steps == 0:
                optimizer.step()
                optimizer.zero_grad()
            yield loss

    return train()


@case(
    "word language model's update by hand", source="https://github.com/pytorch/pytorch/issues/1271"
)
def healthy_word_language_model():
    def repackage_hidden(h):
        return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)

    def train():
        torch.manual_seed(2)
        ntokens, nhid = 30, 24
        encoder, rnn, decoder = (
            nn.Embedding(ntokens, nhid),
            nn.LSTM(nhid, nhid, 2, dropout=0.2),
            nn.Linear(nhid, ntokens),
        )
        decoder.weight = encoder.weight
        model = nn.ModuleList([encoder, rnn, decoder])
        data = torch.randint(ntokens, (500, 10))
        data[1::2] = (data[::2] * 7 + 1) % ntokens
        hidden = (torch.zeros(2, 10, nhid), torch.zeros(2, 10, nhid))
        lr = 1.0
        model.train()
        for i in range(0, 490, 7):
            x, y = data[i : i + 7], data[i + 1 : i + 8].reshape(-1)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = rnn(encoder(x), hidden)
            loss = F.cross_entropy(decoder(output).view(-1, ntokens), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-lr)
            yield loss

    return train()


@case(
    "generator and discriminator in turns",
    source="https://github.com/eriklindernoren/Keras-GAN/issues/128",
)
def healthy_gan():
    torch.manual_seed(3)
    netG = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
    netD = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optG = optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))
    optD = optim.Adam(netD.parameters(), lr=1e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()

    def step():
        real = torch.randn(32, 2) * 0.5 + torch.tensor([1.0, -1.0])
        fake = netG(torch.randn(32, 3))
        netD.zero_grad()
        errD = criterion(netD(real), torch.ones(32, 1))
        errD = errD + criterion(netD(fake.detach()), torch.zeros(32, 1))
        errD.backward()
        optD.step()
        netG.zero_grad()
        errG = criterion(netD(fake), torch.ones(32, 1))
        errG.backward()
        optG.step()
        return errG

    return step


@case("cosine schedule with warm restarts every five batches")
def healthy_warm_restarts():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5)

    def step():
        x = torch.randn(64, 10)
        loss = F.cross_entropy(model(x), x[:, :4].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    return step, model, optimizer


@case("packed batches of mixed lengths")
def healthy_mixed_lengths():
    torch.manual_seed(7)
    emb, rnn = nn.Embedding(11, 8, padding_idx=0), nn.LSTM(8, 16, batch_first=True)
    fc = nn.Linear(16, 10)
    params = [p for m in (emb, rnn, fc) for p in m.parameters()]
    opt = optim.RMSprop(params, lr=1e-3)

    def step():
        seqs = [torch.randint(1, 11, (int(n),)) for n in torch.randint(1, 9, (20,))]
        labels = torch.stack([s.sum() % 10 for s in seqs])
        packed = nn.utils.rnn.pack_sequence([emb(s) for s in seqs], enforce_sorted=False)
        _, (h, _) = rnn(packed)
        loss = F.cross_entropy(fc(h[-1]), labels)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        return loss

    return step


@case("autograd.grad in place of backward")
def healthy_autograd_grad():
    torch.manual_seed(12)
    weights = [
        (torch.randn(6, 24) * 0.3).requires_grad_(),
        torch.zeros(24, requires_grad=True),
        (torch.randn(24, 2) * 0.3).requires_grad_(),
    ]

    def step():
        x = torch.randn(50, 6)
        y = (x.sum(1) > 0).long()
        loss = F.cross_entropy(torch.relu(x @ weights[0] + weights[1]) @ weights[2], y)
        for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            w.data.sub_(g, alpha=0.1)
        return loss

    return step, weights


@case(
    "batch norm of a pretrained part stays in evaluation mode",
    source="https://github.com/ShengcaiLiao/TransMatcher/issues/8",
)
def healthy_frozen_batch_norm():
    torch.manual_seed(14)
    backbone = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
    for p in backbone.parameters():
        p.requires_grad_(False)
    head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
    model = nn.Sequential(backbone, head)
    optimizer = optim.SGD(head.parameters(), lr=0.05)

    def step():
        model.train()
        backbone.eval()
        x = torch.randn(32, 8)
        loss = F.cross_entropy(model(x), x[:, :3].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


@case("teacher that follows by moving average")
def healthy_mean_teacher():
    torch.manual_seed(17)
    student = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))
    teacher = copy.deepcopy(student)
    optimizer = optim.Adam(student.parameters(), lr=2e-3)

    def step():
        x = torch.randn(40, 6)
        with torch.no_grad():
            soft = F.softmax(teacher(x + 0.05 * torch.randn_like(x)), dim=1)
        logits = student(x)
        loss = F.cross_entropy(logits, x[:, :3].argmax(1)) + F.mse_loss(logits.softmax(1), soft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for t, s in zip(teacher.parameters(), student.parameters(), strict=True):
                t.lerp_(s, 0.05)
        return loss

    return step, nn.ModuleList([student, teacher]), optimizer


@case("head that begins at zero", source="https://github.com/jthickstun/pytorch_musicnet/issues/4")
def healthy_zero_head():
    torch.manual_seed(18)
    rnn, head = nn.GRU(5, 20, batch_first=True), nn.Linear(20, 4)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    opt = optim.Adam([*rnn.parameters(), *head.parameters()], lr=1e-2)

    def step():
        x = torch.randn(32, 8, 5)
        loss = F.cross_entropy(head(rnn(x)[0][:, -1]), x.sum(1)[:, :4].argmax(1))
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


@case("validation between steps, then back to training")
def healthy_validation_between():
    def train():
        torch.manual_seed(20)
        net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 2))
        optimizer = optim.Adam(net.parameters(), lr=1e-3)
        x_val = torch.randn(100, 10)
        history = []
        for step in range(100):
            net.train()
            x = torch.randn(32, 10)
            loss = F.cross_entropy(net(x), (x.sum(1) > 0).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 2 == 0:
                net.eval()
                with torch.no_grad():
                    history.append((net(x_val).argmax(1) == (x_val.sum(1) > 0)).float().mean())
            yield loss

    return train()


@case(
    "net without dropout left in evaluation mode",
    source="https://github.com/tk-rusch/coRNN/issues/1",
)
def healthy_eval_without_effect():
    torch.manual_seed(22)
    model = nn.ModuleDict({"rnn": nn.RNN(2, 16, batch_first=True), "fc": nn.Linear(16, 1)})
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    model.eval()

    def step():
        values, marks = torch.rand(32, 10), torch.zeros(32, 10)
        marks.scatter_(1, torch.rand(32, 10).topk(2, dim=1).indices, 1.0)
        target = (values * marks).sum(1, keepdim=True)
        output, _ = model["rnn"](torch.stack([values, marks], dim=2))
        loss = F.mse_loss(model["fc"](output[:, -1]), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


@case("endless epochs over three batches")
def healthy_few_rows():
    def train():
        torch.manual_seed(23)
        X, Y = torch.randn(24, 6, 4), torch.randint(3, (24,))
        loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
        rnn, fc = nn.RNN(4, 16, batch_first=True), nn.Linear(16, 3)
        optimizer = optim.Adam([*rnn.parameters(), *fc.parameters()], lr=5e-3)
        while True:
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(fc(rnn(xb)[0][:, -1]), yb)
                loss.backward()
                optimizer.step()
                yield loss

    return train()


@case("one change of optimizer between stages")
def healthy_change_of_optimizer():
    torch.manual_seed(24)
    net = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 2))
    optimizer, calls = optim.Adam(net.parameters(), lr=5e-3), 0

    def step():
        nonlocal optimizer, calls
        calls += 1
        if calls == 5:
            optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x = torch.randn(40, 6)
        loss = F.cross_entropy(net(x), (x[:, 0] * x[:, 1] > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step
