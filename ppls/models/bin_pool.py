"""Adaptive average pooling for runtimes that have none."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
