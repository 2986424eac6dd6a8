"""A candidate is left as it was, whatever is done to it."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from ppls.parity.state import state_kept, working_copy


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
