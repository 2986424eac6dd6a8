"""Feature pyramids (Lin et al. 2017, https://arxiv.org/abs/1612.03144), which PFPNNet and PointRend share.

As in PaddleSeg's `models/pfpnnet.py` and `models/pointrend.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class FPN(nn.Module):
    """The encoder's maps in as many channels each, every one with the coarser ones added.

    Args:
        in_channels: of the maps, the finest first.
        channels: of the result's maps.
        resize_mode: how a coarser map is resized to the next finer one, with corners aligned.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, resize_mode: str = "bilinear") -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvBNAct(width, channels, 1, bias=True) for width in in_channels)
        self.smooths = nn.ModuleList(ConvBNAct(channels, channels, 3) for _ in in_channels[1:])  # not of the coarsest
        self.resize_mode = resize_mode

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The maps `(N, C, H, W)`, the finest first, to as many `(N, channels, H, W)`, the coarsest first."""
        laterals = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        x = laterals.pop()
        pyramid = [x]
        for lateral, smooth in zip(reversed(laterals), reversed(self.smooths), strict=True):
            x = lateral + resize(x, lateral.shape[-2:], self.resize_mode, align_corners=True)
            pyramid.append(smooth(x))
        return pyramid
