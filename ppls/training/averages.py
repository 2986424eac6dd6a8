"""The average of a model over its iterations (EMA), as `paddleseg/utils/ema.py` keeps it."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """A model whose tensors follow those of the one that is trained, a BatchNorm's statistics among them.

    PaddleSeg keeps none in its checkpoints: after a resume it begins anew with the model as it is then.

    Attributes:
        model: the average, in evaluation mode.

    Args:
        model: the one that is trained.
        decay: the part of the average that an iteration leaves, once `1 - 1 / (iteration + 1)` is above it.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.model, self.decay = copy.deepcopy(model).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model: nn.Module, iteration: int) -> None:
        """Follows the model.

        Args:
            model: as it is after an iteration.
            iteration: those done.
        """
        decay = min(1 - 1 / (iteration + 1), self.decay)
        now = model.state_dict()
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                tensor.mul_(decay).add_((1.0 - decay) * now[name])
