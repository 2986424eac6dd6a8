"""Joint pyramid upsampling (Wu et al. 2019, https://arxiv.org/abs/1903.11816), which FastFCN and GINet share.

As in PaddleSeg's `models/layers/layer_libs.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppls.models.layers import ConvBNAct, SeparableConv
from ppls.models.resize import resize

DILATIONS = (1, 2, 4, 8)


class JPU(nn.Module):
    """The encoder's last three maps, brought to the finest one's size and seen at several dilations, side by side.

    Args:
        in_channels: of the three maps, the finest first.
        width: channels of each dilation; the result has as many times four.
        resize_mode: how the coarser maps are resized, the centres of their corner pixels aligned.
    """

    def __init__(self, in_channels: Sequence[int], width: int, resize_mode: str = "bilinear") -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvBNAct(channels, width, 3) for channels in in_channels)
        self.branches = nn.ModuleList(Branch(3 * width, width, dilation) for dilation in DILATIONS)
        self.mode = resize_mode

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Three maps `(N, C, H, W)`, the finest first, to `(N, 4 * width, H, W)` of its size."""
        finest, *coarser = [conv(x) for conv, x in zip(self.convs, features, strict=True)]
        resized = [resize(x, finest.shape[-2:], self.mode, align_corners=True) for x in coarser]
        x = torch.cat([*resized[::-1], finest], dim=1)  # the coarsest stands first
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Branch(SeparableConv):
    """A dilated separable convolution, neither of whose two has a bias."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(in_channels, out_channels, 3, dilation=dilation, bias=False)
        self.pointwise = ConvBNAct(in_channels, out_channels, 1)
