"""Atrous spatial pyramid pooling (Chen et al. 2017, https://arxiv.org/abs/1706.05587), which the DeepLabs share.

As in PaddleSeg's `models/layers/pyramid_pool.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, SeparableConv
from ppls.models.resize import resize


class ASPP(Layer):
    """One map seen at several dilations and as its mean, side by side, projected.

    Args:
        ratios: dilation of each branch; at 1 the branch is a 1x1 convolution.
        separable: make the dilated branches of separable convolutions.
        resize_mode: how the mean is spread over the map again.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ratios: Sequence[int],
        *,
        separable: bool,
        align_corners: bool,
        resize_mode: str = "bilinear",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(in_channels, out_channels, ratio, separable) for ratio in ratios)
        self.image_mean = ConvBNAct(in_channels, out_channels, 1)
        self.project = ConvBNAct((len(ratios) + 1) * out_channels, out_channels, 1, bias=True)
        self.dropout = nn.Dropout(dropout)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        mean = self.image_mean(x.mean((2, 3), keepdim=True))
        mean = resize(mean, x.shape[-2:], self.resize_mode, self.align_corners)
        seen = torch.cat([*(branch(x) for branch in self.branches), mean], dim=1)
        return self.dropout(self.project(seen))


def _branch(in_channels: int, out_channels: int, ratio: int, separable: bool) -> nn.Module:
    if ratio == 1:
        return ConvBNAct(in_channels, out_channels, 1, bias=True)
    if separable:
        return SeparableConv(in_channels, out_channels, 3, dilation=ratio)
    return ConvBNAct(in_channels, out_channels, 3, dilation=ratio, bias=True)
