"""Networks that were built by hand to be right at every length."""

import torch

from rnn_tutorial.model.classifier import RnnClsNet


def make_parity_net():
    """A net built by hand that adds bits modulo 2, right at every length.

    Two units compute "previous remainder or digit" and "previous remainder and digit" with
    saturated tanh; the remainder is the first without the second.
    """
    net = RnnClsNet(2, 1, 2, 1, 2)
    big = 20.0
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[0.0], [1.0], [0.0]]))
        net.rnn.weight_ih_l0.copy_(torch.tensor([[2 * big], [2 * big]]))
        # remainder in {0, 1} = (first - second) / 2 of units in {-1, 1}
        net.rnn.weight_hh_l0.copy_(torch.tensor([[big, -big], [big, -big]]))
        net.rnn.bias_ih_l0.copy_(torch.tensor([-big, -3 * big]))
        net.rnn.bias_hh_l0.zero_()
        net.fc.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
        net.fc.bias.copy_(torch.tensor([1.0, -1.0]))
    return net.eval()


def make_adder(shift=0):
    """Three ReLU units that add digits modulo 10: see exercise 2 of README.md.

    The answer is always `shift` too high.
    """
    net = RnnClsNet(10, 1, 3, 1, 10, nonlinearity="relu")
    remainder, k = torch.tensor([1.0, -10.0, 10.0]), torch.arange(10.0)
    with torch.no_grad():
        net.embedding.weight[:10, 0] = k
        net.rnn.weight_ih_l0.fill_(1)
        net.rnn.weight_hh_l0.copy_(remainder.expand(3, 3))
        net.rnn.bias_ih_l0.copy_(torch.tensor([0.0, -9.0, -10.0]))
        net.rnn.bias_hh_l0.zero_()
        net.fc.weight.copy_(2 * k.outer(remainder).roll(shift, dims=0))
        net.fc.bias.copy_(-(k**2).roll(shift))
    return net.eval()
