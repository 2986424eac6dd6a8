"""U^2-Net (Qin et al. 2020, https://arxiv.org/abs/2005.09007), as in PaddleSeg's `models/u2net.py`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize

Widths = tuple[tuple[int, int], ...]  # of each stage, the finest first: the channels within it and of its output

POOLED = tuple((*[1] * (depth - 1), 2) for depth in (7, 6, 5, 4))  # dilations of a U's levels, the finest first
DILATED = (1, 2, 4, 8)
STAGES = (*POOLED, DILATED, DILATED)


class U2Net(SegmentationModel):
    """U^2-Net: a U of six stages down and five up, each of which is a U itself.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
    """

    encoder = ("stages", "pools")
    _down: Widths = ((32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512))
    _up: Widths = ((16, 64), (32, 64), (64, 128), (128, 256), (256, 512))
    feat_strides = (1, 2, 4, 8, 16, 32)

    def __init__(self, num_classes: int = 19, in_channels: int = 3) -> None:
        super().__init__()
        entering = (in_channels, *self.feat_channels)
        self.stages = nn.ModuleList(
            ResidualU(channels, *widths, dilations)
            for channels, widths, dilations in zip(entering, self._down, STAGES, strict=False)
        )
        self.pools = nn.ModuleList(nn.MaxPool2d(2, ceil_mode=True) for _ in self._up)
        decoded = [channels for _, channels in self._up] + [self.feat_channels[-1]]
        self.decoder = nn.ModuleList(
            ResidualU(fine + coarse, *widths, dilations)
            for fine, coarse, widths, dilations in zip(self.feat_channels, decoded[1:], self._up, STAGES, strict=False)
        )
        self.heads = nn.ModuleList(nn.Conv2d(channels, num_classes, 3, padding=1) for channels in decoded)
        self.classifier = nn.Conv2d(len(decoded) * num_classes, num_classes, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to seven maps of logits (N, num_classes, H, W), in either mode.

        First what is made of the other six, which are each level's, the finest first.
        """
        maps = self.forward_features(image)
        for i, stage in reversed(list(enumerate(self.decoder))):  # maps[i + 1] is decoded already
            maps[i] = stage(torch.cat([resize(maps[i + 1], maps[i].shape[-2:]), maps[i]], dim=1))
        first, *others = [head(x) for head, x in zip(self.heads, maps, strict=True)]
        logits = [first, *(resize(x, first.shape[-2:]) for x in others)]
        return [self.classifier(torch.cat(logits, dim=1)), *logits]

    @property
    def feat_channels(self) -> tuple[int, ...]:
        return tuple(channels for _, channels in self._down)

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps on the way down, of the image's size and at 1/2 to 1/32 of it, rounded up at each step."""
        first, *others = self.stages
        maps = [first(image)]
        for pool, stage in zip(self.pools, others, strict=True):
            maps.append(stage(pool(maps[-1])))
        return maps


class ResidualU(Layer):
    """The residual U-block (RSU): a U, and its input's projection added to what comes out of it.

    Args:
        width: channels within the U.
        dilations: of each level's convolution. A U that dilates at every level pools nowhere; else all levels but the
            last two have half the sides of the one before.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.project = ConvBNAct(in_channels, out_channels, 3, bias=True)
        self.down = nn.ModuleList(
            ConvBNAct(width if i else out_channels, width, 3, dilation=dilation, bias=True)
            for i, dilation in enumerate(dilations)
        )
        self.up = nn.ModuleList(
            ConvBNAct(2 * width, width if i else out_channels, 3, dilation=dilation, bias=True)
            for i, dilation in enumerate(dilations[:-1])
        )
        pools = 0 if dilations == DILATED else len(dilations) - 2
        self.pools = nn.ModuleList(nn.MaxPool2d(2, ceil_mode=True) for _ in range(pools))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        projected = x = self.project(x)
        maps = []
        for i, conv in enumerate(self.down):
            x = conv(self.pools[i - 1](x) if 0 < i <= len(self.pools) else x)
            maps.append(x)
        for i, conv in reversed(list(enumerate(self.up))):
            if i < len(self.pools):
                x = resize(x, maps[i].shape[-2:])
            x = conv(torch.cat([x, maps[i]], dim=1))
        return x + projected
