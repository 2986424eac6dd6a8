"""ESPNetv2 (Mehta et al. 2018, https://arxiv.org/abs/1811.11431), as in PaddleSeg's `models/espnet.py`."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.initialization import draw_by_group
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, SameConv2d
from ppls.models.prelu import NormPReLU
from ppls.models.resize import enlarge, resize
from ppls.models.sizes import check_size

BRANCHES = 4  # of a pyramid, and groups of the convolutions before and after them
DEPTHS = (0, 3, 7)  # pyramids behind each that halves the map


class ESPNetV2(SegmentationModel):
    """ESPNetv2: depthwise spatial pyramids, the image itself given to each level, and a decoder of a few projections.

    PaddleSeg writes dilations of up to 4 for its depthwise convolutions, and `padding='same'`, with which Paddle
    forgets them: there are none.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image; 3 is all that PaddleSeg's own runs with.
        scale: of the channels.
        drop_prob: of whole channels, before either classifier.
        resize_mode: how every map is upsampled, the logits too; PaddleSeg always does it bilinearly.
    """

    size_multiple = 16  # what is upsampled has twice the sides, four times

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 3,
        scale: float = 1.0,
        drop_prob: float = 0.1,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = EESPNet(in_channels, scale)
        half, quarter, eighth, sixteenth = self.backbone.feat_channels
        self.reduce = _conv(sixteenth, eighth, 1)
        self.merge = SpatialPyramid(2 * eighth, eighth)
        self.pyramid = PyramidPooling(eighth, resize_mode)
        self.coarse_classifier = nn.Sequential(nn.Dropout2d(drop_prob), nn.Conv2d(eighth, num_classes, 1, bias=False))
        self.coarse_norm = NormPReLU(num_classes)
        self.project = _conv(quarter + num_classes, num_classes, 1)
        self.classifier = nn.Sequential(
            nn.Dropout2d(drop_prob), nn.Conv2d(half + num_classes, num_classes, 1, bias=False)
        )
        self.resize_mode = resize_mode

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to logits (N, num_classes, H, W); in train mode those at 1/8 follow."""
        check_size(self, image)
        half, quarter, eighth, sixteenth = self.backbone(image)
        merged = self.merge(torch.cat([eighth, self._doubled(self.reduce(sixteenth))], dim=1))
        coarse = self.coarse_norm(self.coarse_classifier(self.pyramid(merged)))
        x = self.project(torch.cat([quarter, self._doubled(coarse)], dim=1))
        logits = [self._doubled(self.classifier(torch.cat([half, self._doubled(x)], dim=1)))]
        if self.training:
            for _ in range(3):
                coarse = self._doubled(coarse)
            logits.append(coarse)
        return logits

    def _doubled(self, x: Tensor) -> Tensor:
        return enlarge(x, 2, self.resize_mode, align_corners=True)


class EESPNet(nn.Module):
    """The encoder: an image to maps at 1/2, 1/4, 1/8 and 1/16 of its size."""

    feat_strides = (2, 4, 8, 16)
    draw_weight = staticmethod(draw_by_group)

    def __init__(self, in_channels: int, scale: float) -> None:
        super().__init__()
        base = math.ceil(int(32 * scale) / BRANCHES) * BRANCHES
        self.feat_channels = widths = (min(base, 32), 2 * base, 4 * base, 8 * base)
        self.stem = _conv(in_channels, widths[0], 3, stride=2)
        self.downsampling = nn.ModuleList(Downsampling(*ends, in_channels) for ends in pairwise(widths))
        self.stages = nn.ModuleList(
            nn.Sequential(*(SpatialPyramid(width, width) for _ in range(depth)))
            for width, depth in zip(widths[1:], DEPTHS, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        maps, image = [self.stem(image)], _halved(image)
        for down, stage in zip(self.downsampling, self.stages, strict=True):
            image = _halved(image)
            maps.append(stage(down(maps[-1], image)))
        return maps


class PyramidBranches(Layer):
    """The extremely efficient spatial pyramid (EESP): reduce, split, transform, merge.

    Depthwise convolutions of a quarter of the channels, each added to those before, between two convolutions in groups.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        width = out_channels // BRANCHES
        if width % BRANCHES:
            raise Error(
                f"a pyramid of {out_channels} channels: these are multiples of {BRANCHES**2}; try another scale"
            )
        self.reduce = _conv(in_channels, width, 1, groups=BRANCHES)
        self.branches = nn.ModuleList(_depthwise(width, stride) for _ in range(BRANCHES))
        self.norm = NormPReLU(out_channels)
        self.expand = ConvBNAct(out_channels, out_channels, 1, groups=BRANCHES, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H / stride, W / stride)`."""
        reduced = self.reduce(x)
        maps: list[Tensor] = []
        for branch in self.branches:
            maps.append(branch(reduced) + maps[-1] if maps else branch(reduced))
        return self.expand(self.norm(torch.cat(maps, dim=1)))


class SpatialPyramid(PyramidBranches):
    """A pyramid, added to what came in where that has as many channels: `(N, out_channels, H, W)`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.activation = nn.PReLU()
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        merged = super().forward(x)
        return self.activation(merged + x if self.residual else merged)


class Downsampling(nn.Module):
    """Means beside a strided pyramid, and the image at that size projected and added to both."""

    def __init__(self, in_channels: int, out_channels: int, image_channels: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.pyramid = PyramidBranches(in_channels, out_channels - in_channels, stride=2)
        self.image = nn.Sequential(
            _conv(image_channels, image_channels, 3), ConvBNAct(image_channels, out_channels, 1, activation=None)
        )
        self.activation = nn.PReLU()

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """`(N, in_channels, 2 * H, 2 * W)` and the image (N, image_channels, H, W) to `(N, out_channels, H, W)`."""
        halved = torch.cat([self.pool(x), self.pyramid(x)], dim=1)
        return self.activation(halved + self.image(image))


class PyramidPooling(Layer):
    """A map beside four of it, each half as large as the one before, convolved and brought back to its size."""

    def __init__(self, channels: int, resize_mode: str) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_depthwise(channels) for _ in range(4))
        self.project = _conv(5 * channels, channels, 1)
        self.resize_mode = resize_mode

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same."""
        maps, pooled = [x], x
        for branch in self.branches:
            pooled = _halved_same(pooled)
            maps.append(resize(branch(pooled), x.shape[-2:], self.resize_mode, align_corners=True))
        return self.project(torch.cat(maps, dim=1))


def _halved(x: Tensor) -> Tensor:
    """Means of 3x3 pixels, of those that are there."""
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


def _halved_same(x: Tensor) -> Tensor:
    """The same, padded as Paddle's `padding='same'`: at the top and left only where a side is odd."""
    height, width = x.shape[-2:]
    odd_high, odd_wide = (side - side // 2 * 2 for side in (height, width))  # no `%`: OpenVINO has none
    padding = (odd_wide, 1, odd_high, 1)
    there = F.avg_pool2d(F.pad(x.new_ones(1, 1, height, width), padding), 3, stride=2)
    return F.avg_pool2d(F.pad(x, padding), 3, stride=2) / there


def _depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    if stride == 1:
        return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return SameConv2d(channels, channels, 3, stride, groups=channels, bias=False)


def _conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1) -> ConvBNAct:
    return ConvBNAct(
        in_channels, out_channels, kernel_size, stride=stride, groups=groups, activation=nn.PReLU(), same=True
    )
