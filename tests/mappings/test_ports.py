"""The maps for public PyTorch ports: they load, and their operations are what the other model needs."""

import pytest
import torch

from ppls.converter.map_file import load_map, shipped_maps
from ppls.converter.operations import FoldBias, Negate, Permute

PORTS = shipped_maps()["pp_liteseg"].parent / "ports"


@pytest.mark.parametrize("name", ["midasklr", "super_gradients", "super_gradients_b"])
def test_the_map_of_a_port_loads(name):
    map = load_map(PORTS / f"{name}.yaml")
    assert map.target is None
    assert map.rules


@pytest.mark.parametrize("name", ["super_gradients", "super_gradients_b"])
def test_super_gradients_needs_a_permutation_a_negation_and_folds(name):
    operations = [type(rule.operation) for rule in load_map(PORTS / f"{name}.yaml").rules]
    assert operations.count(Permute) == 3  # one in each fusion
    assert operations.count(Negate) == 6  # weight and bias
    assert operations.count(FoldBias) == 2  # branches and the convolution behind them


def test_swapped_roles_are_undone_by_permuting_and_negating():
    torch.manual_seed(0)
    low, high = torch.rand(2, 1, 8, 5, 6)
    weight, scale, shift = torch.randn(1, 4, 3, 3), torch.randn(()), torch.randn(())

    def reduced(x):
        return [x.mean(1, keepdim=True), x.amax(1, keepdim=True)]

    def fused(first, second, weight, scale, shift):
        logit = torch.conv2d(torch.cat([*reduced(first), *reduced(second)], 1), weight, padding=1) * scale + shift
        return first * logit.sigmoid() + second * (1 - logit.sigmoid())

    swapped = fused(high, low, weight[:, [2, 3, 0, 1]], -scale, -shift)
    torch.testing.assert_close(swapped, fused(low, high, weight, scale, shift))
