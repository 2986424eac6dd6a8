"""LPS-Net (Zhang et al. 2022, https://arxiv.org/abs/2207.13600), as in PaddleSeg's `models/lpsnet.py`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize

APART = 3  # blocks of each path before the paths see one another


class LPSNet(SegmentationModel):
    """LPS-Net: paths of plain convolutions over the image at several scales, which see one another between blocks.

    Options are PaddleSeg's, which has no defaults; these are of its LPSNet-M.

    Args:
        depths: convolutions of each block; the first of each but of the last block is strided.
        channels: of each block.
        scale_ratios: of the image's sides, those of what each path sees.
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
    """

    encoder = ("paths",)

    def __init__(
        self,
        depths: Sequence[int] = (1, 3, 3, 10, 10),
        channels: Sequence[int] = (8, 24, 48, 96, 96),
        scale_ratios: Sequence[float] = (1.0, 0.25),
        num_classes: int = 19,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if len(depths) != len(channels):
            raise Error(f"depths={list(depths)}, channels={list(channels)}: a block has one of each")
        self.scales = [Fraction(ratio).limit_denominator(1000) for ratio in scale_ratios if ratio > 0]
        if len(self.scales) < 2:
            raise Error(f"scale_ratios={list(scale_ratios)}: PaddleSeg runs two paths or more")
        strides = [2] * (len(depths) - 1) + [1]
        self.paths = nn.ModuleList(
            nn.ModuleList(
                _block(inputs, width, depth, stride)
                for inputs, width, depth, stride in zip(
                    [in_channels, *channels], channels, depths, strides, strict=False
                )
            )
            for _ in self.scales
        )
        self.blocks = len(depths)
        self.classifier = nn.Conv2d(channels[-1] * len(self.scales), num_classes, 1)

    @property
    def feat_channels(self) -> Sequence[int]:
        """Of the map of the first path."""
        return [self.classifier.in_channels // len(self.scales)]

    @property
    def feat_strides(self) -> Sequence[int]:
        """Of the map of the first path."""
        return [round(2 ** (self.blocks - 1) / self.scales[0])]

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        maps = self._maps(image)
        maps = [_resized(x, maps[0].shape[-2:]) for x in maps]
        return [_resized(self.classifier(torch.cat(maps, 1)), image.shape[-2:])]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The map of the first path."""
        return self._maps(image)[:1]

    def _maps(self, image: Tensor) -> list[Tensor]:
        height, width = image.shape[-2:]
        paths = [list(path.children()) for path in self.paths]
        maps = []
        for scale, path in zip(self.scales, paths, strict=True):
            size = (height * scale.numerator // scale.denominator, width * scale.numerator // scale.denominator)
            x = _resized(image, size)
            for block in path[:APART]:
                x = block(x)
            maps.append(x)
        for blocks in list(zip(*paths, strict=True))[APART:]:
            maps = [block(x) for block, x in zip(blocks, _exchanged(maps), strict=True)]
        return maps


def _exchanged(maps: list[Tensor]) -> list[Tensor]:
    """Each map with all others added, resized to it."""
    return [sum((_resized(other, x.shape[-2:]) for other in maps if other is not x), start=x) for x in maps]


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return resize(x, torch.Size(size), align_corners=True)


def _block(in_channels: int, out_channels: int, depth: int, stride: int) -> nn.Module:
    first = ConvBNAct(in_channels, out_channels, 3, stride=stride)
    return nn.Sequential(first, *(ConvBNAct(out_channels, out_channels, 3) for _ in range(depth - 1)))
