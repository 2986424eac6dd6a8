"""The average of a model against PaddleSeg's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ppls.training.averages import Average
from tests.training import cases


def load(model: nn.Module, iteration: int, dtype: str) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in cases.averaged(iteration, dtype).items()}
    model.load_state_dict({**model.state_dict(), **arrays})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_average_is_paddlesegs_bit_for_bit(dtype: str, paddles: dict[str, np.ndarray]) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).to(getattr(torch, dtype))
    load(model, 0, dtype)
    average = Average(model)
    for iteration in cases.ITERATIONS:
        if iteration:
            load(model, iteration, dtype)
            average.update(model, iteration)
        for name in cases.AVERAGED:
            theirs = paddles[f"average/{dtype}/{iteration}/{name}"]
            np.testing.assert_array_equal(average.model.state_dict()[name], theirs)
    assert not average.model.training
    assert model.training
