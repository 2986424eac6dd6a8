"""BatchNorms of several processes that train together."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ppls.models.norms import BatchNorm1d, BatchNorm2d


class SyncBatchNorm2d(BatchNorm2d):
    """Trains with the mean and the biased variance of what all processes have together, as Paddle's SyncBatchNorm."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        values = input if input.dtype == torch.float64 else input.float()  # as torch's kernels sum, in half precision
        count = _sum(values.new_tensor([values.numel() // values.size(1)]))
        if count == 1:
            return input + 0 * self.weight.view(1, -1, 1, 1) + 0 * self.bias.view(1, -1, 1, 1)
        mean = _sum(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        scale = self.weight * torch.rsqrt(variance + self.eps)
        with torch.no_grad():
            assert self.momentum is not None
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)


class SyncBatchNorm1d(SyncBatchNorm2d):
    """The same over `(N, C)` or `(N, C, L)`, as `BatchNorm1d` takes it."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(*input.shape[:2], -1, 1)).reshape(input.shape)


_SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = {BatchNorm2d: SyncBatchNorm2d, BatchNorm1d: SyncBatchNorm1d}


def synchronise(model: nn.Module) -> None:
    """Has every BatchNorm of a model that trains take the batches of all processes for one."""
    for module in model.modules():
        if type(module) in _SYNCHRONISED:  # their tensors, names and options stay as they are
            module.__class__ = _SYNCHRONISED[type(module)]


class _Sum(torch.autograd.Function):
    """The sum of what all processes have; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum(own: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    return total
