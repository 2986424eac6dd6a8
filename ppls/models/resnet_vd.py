"""ResNet-D (He et al. 2018, https://arxiv.org/abs/1812.01187), as in PaddleSeg's `models/backbones/resnet_vd.py`.

Dilated; three 3x3 convolutions in place of the 7x7 stem, and shortcuts that average before they convolve.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct

# Blocks of each stage, by depth. From 50 on the blocks are bottlenecks.
DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}
WIDTHS = (64, 128, 256, 512)


class Shortcut(ConvBNAct):
    """The 1x1 convolution beside a stage's first block, of the 2x2 means where that block is strided."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 1, activation=None)
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pool(x))


class BasicBlock(Layer):
    """Two 3x3 convolutions and the shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int, *, first: bool) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_channels, width, 3, stride=stride, dilation=dilation)
        self.conv2 = ConvBNAct(width, width, 3, dilation=dilation, activation=None)
        self.shortcut = Shortcut(in_channels, width, stride) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.conv2(self.conv1(x)))


class Bottleneck(Layer):
    """A 3x3 convolution between two 1x1, the last four times as wide, and the shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int, *, first: bool) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_channels, width, 1)
        self.conv2 = ConvBNAct(width, width, 3, stride=stride, dilation=dilation)
        self.conv3 = ConvBNAct(width, 4 * width, 1, activation=None)
        self.shortcut = Shortcut(in_channels, 4 * width, stride) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.conv3(self.conv2(self.conv1(x))))


@register_backbone("ResNet_vd")
class ResNetVd(Backbone):
    """The encoder: a stem at 1/4 of the image's size, then four stages.

    Args:
        layers: the depth, one of `DEPTHS`.
        output_stride: how much smaller the last map is: at 8 or 16, dilation takes the place of strides; any other
            value leaves the network as it is for classification, at 32.
        multi_grid: factors on the dilation of the last stage's blocks, at least one for each.
        in_channels: channels of the image.
    """

    def __init__(
        self,
        layers: int = 50,
        output_stride: int | None = 8,
        multi_grid: Sequence[int] = (1, 1, 1),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if layers not in DEPTHS:
            raise Error(f"a ResNet_vd of {layers} layers is not known; known are {', '.join(map(str, DEPTHS))}")
        if len(multi_grid) < DEPTHS[layers][3]:
            raise Error(f"multi_grid has {len(multi_grid)} values for the {DEPTHS[layers][3]} blocks of the last stage")
        block = Bottleneck if layers >= 50 else BasicBlock
        dilations = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2)}.get(output_stride or 0, (1, 1, 1, 1))
        self.feat_channels = [block.expansion * width for width in WIDTHS]
        self.stem = nn.Sequential(ConvBNAct(in_channels, 32, 3, stride=2), ConvBNAct(32, 32, 3), ConvBNAct(32, 64, 3))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        channels, reached = 64, 4
        self.feat_strides = []
        for stage, (depth, width) in enumerate(zip(DEPTHS[layers], WIDTHS, strict=True)):
            blocks = nn.Sequential()
            for i in range(depth):
                dilation = dilations[stage] * (multi_grid[i] if stage == 3 else 1)
                stride = 2 if i == 0 and stage > 0 and dilation == 1 else 1
                blocks.append(block(channels, width, stride, dilation, first=i == 0))
                channels, reached = block.expansion * width, reached * stride
            self.stages.append(blocks)
            self.feat_strides.append(reached)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four feature maps, at 1/4, 1/8 and, with `output_stride=8`, 1/8."""
        x = self.pool(self.stem(x))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


for _depth in DEPTHS:
    register_backbone(f"ResNet{_depth}_vd")(partial(ResNetVd, layers=_depth))
