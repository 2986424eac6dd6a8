"""Pyramid pooling (Zhao et al. 2017, https://arxiv.org/abs/1612.01105), which PSPNet and its heirs share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class PooledBranch(ConvBNAct):
    """One bin size of the pyramid: pooled to `(size, size)`, then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        if size < 1:
            raise Error(f"a bin size of {size}: a pooled map has at least one pixel")
        super().__init__(in_channels, out_channels, 1, bias=True)
        self.pool = nn.AdaptiveAvgPool2d(size)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pool(x))


class PyramidPooling(Layer):
    """A map beside its means over bins of several sizes, each projected and resized, the finest first."""

    def __init__(
        self, in_channels: int, out_channels: int, bin_sizes: Sequence[int], align_corners: bool, resize_mode: str
    ) -> None:
        super().__init__()
        width = in_channels // len(bin_sizes)
        self.branches = nn.ModuleList(PooledBranch(in_channels, width, size) for size in bin_sizes)
        self.project = ConvBNAct(in_channels + width * len(bin_sizes), out_channels, 3, bias=True)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        pooled = [resize(branch(x), x.shape[-2:], self.resize_mode, self.align_corners) for branch in self.branches]
        return self.project(torch.cat([x, *pooled[::-1]], dim=1))
