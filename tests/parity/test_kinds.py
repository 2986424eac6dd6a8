"""What is random in training and what normalises with the batch, by the names that PaddleSeg has for it."""

import pytest
from torch import nn

from ppls.models.layers import DropPath
from ppls.parity.reference.kinds import dropout_rate, has_statistics, is_random


class StochasticDepth(nn.Module):
    """As torchvision's."""

    p = 0.2


@pytest.mark.parametrize(
    ("layer", "rate"),
    [(nn.Dropout(0.1), 0.1), (nn.Dropout2d(0.3), 0.3), (DropPath(0.4), 0.4), (StochasticDepth(), 0.2)],
)
def test_every_kind_of_dropout_is_found_with_its_rate(layer: nn.Module, rate: float) -> None:
    assert is_random(layer)
    assert dropout_rate(layer) == rate


def test_other_layers_are_neither() -> None:
    assert not any(
        is_random(layer) or has_statistics(layer) for layer in (nn.ReLU(), nn.LayerNorm(3), nn.Conv2d(3, 3, 1))
    )
