"""A candidate is left as it was, whatever is done to it."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from ppls.parity.state import copied, state_kept, working_copy


class Restless(nn.Module):
    """Changes all that a module can, in each run."""

    def __init__(self):
        super().__init__()
        self.runs = 0
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("exchanged", torch.zeros(2))

    def forward(self, x):
        self.runs += 1
        self.exchanged = torch.rand(2) + random.random() + np.random.rand()
        return self.norm(x)


def drawn():
    return torch.rand(1).item(), random.random(), np.random.rand()


def test_a_run_leaves_no_trace():
    module = Restless().eval()
    exchanged, before = module.exchanged, {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    would_draw = drawn()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    with state_kept(module):
        module.train()(torch.randn(4, 3, 2, 2))
        assert module.runs == 1
        assert module.norm.running_mean.any()
    assert module.runs == 0
    assert [layer.training for layer in module.modules()] == [False, False]
    assert module.exchanged is exchanged
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert drawn() == would_draw


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_cannot_be_copied_is_worked_on_and_put_back():
    module = nn.Sequential(torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)).eval()
    x = torch.randn(2, 3, 2, 2)
    before, weight = module(x).detach(), module[0].weight_g
    with working_copy(module) as copied:
        assert copied is module
        copied.double().train()(x.double()).sum().backward()
        with torch.no_grad():
            weight.add_(1)
    assert torch.equal(module(x), before)
    assert weight is module[0].weight_g
    assert (weight.dtype, weight.grad) == (torch.float32, None)
    with working_copy(nn.Sequential(nn.BatchNorm2d(4))) as copied:
        copied[0].running_mean.add_(1)


def written_by_hand(model):
    """Forwards and hooks that hold parts of the model, as those who patch a model write them."""
    conv = model[0]
    right = conv.forward
    conv.forward = lambda x, bias=conv.bias: right(x) - bias[:, None, None]
    layers = [model[0], model[1]]

    def scale(module, inputs, output, scaled=lambda y: y * layers[0].weight.sum()):
        return scaled(output)

    model[1].register_forward_hook(scale)
    return model


def test_what_a_function_on_a_module_holds_is_copied_with_it():
    model = written_by_hand(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))).eval()
    x = torch.randn(2, 3, 2, 2)
    before = model(x).detach()
    other = copied(model)
    assert torch.equal(other(x), before)
    other.double()
    assert other(x.double()).dtype == torch.float64  # nothing of the original is left in it
    with torch.no_grad():
        other[0].weight.zero_()
    assert not other(x.double()).any()
    assert torch.equal(model(x), before)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_cannot_be_copied_gets_its_attributes_and_hooks_back():
    conv = torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3)).eval()
    assert copied(conv) is None
    forward, weight = conv.forward, conv.weight
    with working_copy(conv) as changed:
        changed.padding, changed.forward, changed.weight = (1, 1), changed.extra_repr, torch.zeros(1)
        changed.register_forward_hook(print)
        changed.bias = nn.Parameter(torch.zeros(4))
    assert conv.padding == (0, 0)
    assert conv.forward == forward
    assert conv.weight is weight
    assert conv.bias.any()
    assert not conv._forward_hooks
