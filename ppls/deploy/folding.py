"""Changes to a model that keep the function it computes in eval mode: folded BatchNorms, pooling as matrix products."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(model: nn.Module) -> int:
    """Folds each BatchNorm that follows a convolution (`conv` and `bn` of one module) into it, in place.

    The weights are computed in float64 and rounded once. Returns how many were folded.
    """
    folded = 0
    for module in model.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            exact = fuse_conv_bn_eval(copy.deepcopy(conv).double().eval(), copy.deepcopy(norm).double().eval())
            module.conv = exact.to(conv.weight.dtype)
            module.bn = nn.Identity()
            folded += 1
    return folded


def replace_adaptive_pooling(model: nn.Module) -> int:
    """Makes every `AdaptiveAvgPool2d` of `model` a `BinPool`, in place. Returns how many there were."""
    replaced = 0
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, BinPool(child.output_size))
                replaced += 1
    return replaced


class BinPool(nn.Module):
    """What `torch.nn.AdaptiveAvgPool2d` computes, as two matrix products whose matrices come from the input's size.

    Runtimes have no such pooling: exporters write one for the size they saw, or refuse sizes that it does not divide.

    Args:
        output_size: side lengths of the output (H, W), or one for both.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        sides = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        if any(side is None for side in sides):
            raise ValueError("a side that stays as it is (None) is not supported")
        self.sides = [int(side) for side in sides if side is not None]

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, *output_size)`."""
        if self.sides == [1, 1]:
            return x.mean((2, 3), keepdim=True)
        rows = _bin_weights(x.shape[-2], self.sides[0], x)
        columns = _bin_weights(x.shape[-1], self.sides[1], x)
        return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))

    def extra_repr(self) -> str:
        return f"output_size={self.sides}"


def _bin_weights(length: int, bins: int, like: Tensor) -> Tensor:
    """A matrix (bins, length): bin i is the mean from floor(i * length / bins) to ceil((i + 1) * length / bins).

    In floating point: TensorRT has few operators on integers. Half of a place more or less leaves the integer as it is
    and what rounds, as OpenVINO's product with 1 / bins does, on the right side of it.
    """
    index = torch.arange(bins, dtype=torch.float32, device=like.device)[:, None]
    start, end = torch.floor((index * length + 0.5) / bins), torch.ceil(((index + 1) * length - 0.5) / bins)
    position = torch.arange(length, dtype=torch.float32, device=like.device)
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)
