"""BatchNorms that train as Paddle's do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layer import Layer


class BatchNorm2d(Layer, nn.BatchNorm2d):
    """Batch normalisation over `(N, C, H, W)` that trains as `paddle.nn.BatchNorm2D` does.

    In eval mode it is `torch.nn.BatchNorm2d`. In train mode it differs in two points, as Paddle does:

    - the running variance is updated with the biased variance of the batch (torch: the unbiased one);
    - with one value per channel (`N * H * W == 1`, the 1x1 bin of a pyramid pooling at batch size 1) it returns its
      input: weight and bias get zero gradients and the statistics stay (torch raises).

    It has no `num_batches_tracked`, so a state dict holds just what Paddle's holds. `momentum` has torch's meaning, the
    weight of the new value (Paddle's 0.9 is 0.1 here), and cannot be None.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, **kwargs: Any) -> None:
        super().__init__(num_features, eps, momentum, **kwargs)
        self.num_batches_tracked = None

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        count = input.numel() // input.size(1)
        if count == 1:
            return input + 0 * self.weight.view(1, -1, 1, 1) + 0 * self.bias.view(1, -1, 1, 1)
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        output = F.batch_norm(input, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        with torch.no_grad():
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * ((count - 1) / count), self.momentum)  # unbiased to biased
        return output

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any) -> None:
        # torch's own adds a num_batches_tracked to a state dict without version, as a file's is, and then rejects it
        nn.Module._load_from_state_dict(self, state_dict, *args)


class BatchNorm1d(BatchNorm2d):
    """The same over `(N, C)` or `(N, C, L)`, taken for a map one pixel wide, as `paddle.nn.BatchNorm1D` takes it."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(*input.shape[:2], -1, 1)).reshape(input.shape)


class FrozenBatchNorm2d(BatchNorm2d):
    """Batch normalisation by the statistics that it has, in training too; nothing of it is trained.

    As `paddle.nn.BatchNorm2D(use_global_stats=True)` whose parameters have `stop_gradient`.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps, momentum)
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
