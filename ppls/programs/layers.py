"""The operators that are others in training, as modules that `model.train()` switches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ppls.models.layer import Layer
from ppls.models.norms import BatchNorm2d


class BatchNorm(BatchNorm2d):
    """Batch normalisation over `(N, C, ...)` whose weights and statistics are set afterwards.

    Args:
        eps: added to the variance.
        momentum: the weight of the new value.
        frozen: by the statistics that it has, in training too.
    """

    def __init__(self, eps: float, momentum: float, *, frozen: bool) -> None:
        super().__init__(0, eps, momentum)
        self.frozen = frozen

    def forward(self, input: Tensor) -> Tensor:
        if self.frozen or not self.training:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if input.dim() == 4:
            return super().forward(input)
        return super().forward(input.reshape(*input.shape[:2], -1, 1)).reshape(input.shape)

    def extra_repr(self) -> str:
        return f"{self.running_mean.numel()}, eps={self.eps}, momentum={self.momentum}, frozen={self.frozen}"


class Dropout(Layer):
    """Dropout of elements, as `paddle.nn.functional.dropout`.

    Args:
        p: how many are dropped.
        scaled_in_training: what is kept is divided by `1 - p`; else all is multiplied by it in inference.
    """

    def __init__(self, p: float, *, scaled_in_training: bool) -> None:
        super().__init__()
        self.p = p
        self.scaled_in_training = scaled_in_training

    def forward(self, x: Tensor) -> Tensor:
        if self.scaled_in_training:
            return F.dropout(x, self.p, self.training)
        kept = 1.0 - self.p
        return F.dropout(x, self.p, training=True) * kept if self.training and kept else x * kept

    def extra_repr(self) -> str:
        return f"p={self.p}, scaled_in_training={self.scaled_in_training}"
