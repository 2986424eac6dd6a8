"""STDC, the short-term dense concatenate network (Fan et al. 2021, https://arxiv.org/abs/2104.13188).

As in PaddleSeg's `models/backbones/stdcnet.py`, whose strided block pools its first branch and convolves the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_weight
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct


class STDCBlock(Layer):
    """`num_convs` convolutions of halving width in a row, all their outputs concatenated.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output: a half, a quarter, ... of them from each convolution, the last twice.
        num_convs: convolutions, at least 2.
        stride: 1 or 2. With 2 the first output is average pooled where it is concatenated, and convolved depthwise
            on its way to the second convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, num_convs: int = 4, stride: int = 1) -> None:
        super().__init__()
        widths = [out_channels // 2**i for i in range(1, num_convs)]
        widths.append(widths[-1])
        self.convs = nn.ModuleList(
            ConvBNAct(fan_in, width, 1 if i == 0 else 3)
            for i, (fan_in, width) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        self.downsample: nn.Module = nn.Identity()
        self.pool: nn.Module = nn.Identity()
        if stride == 2:
            self.downsample = ConvBNAct(widths[0], widths[0], 3, stride=2, groups=widths[0], activation=None)
            # Paddle's AvgPool2D leaves the padding out of the mean (exclusive=True)
            self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](x)
        outputs = [self.pool(x)]
        x = self.downsample(x)
        for conv in self.convs[1:]:
            x = conv(x)
            outputs.append(x)
        return torch.cat(outputs, dim=1)


@register_backbone("STDCNet")
class STDCNet(Backbone):
    """The encoder: two strided convolutions, then stages of STDC blocks: three, or as many as the heads take.

    Args:
        base: width of the second convolution; the stages have 4, 8 and 16 times as many channels.
        layers: blocks of each of up to three stages, the first of each strided.
        block_num: convolutions in a block.
        in_channels: channels of the image.
    """

    def __init__(
        self, base: int = 64, layers: Sequence[int] = (4, 5, 3), block_num: int = 4, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.feat_channels = [base // 2, base, base * 4, base * 8, base * 16][: 2 + len(layers)]
        self.feat_strides = [2, 4, 8, 16, 32][: 2 + len(layers)]
        blocks: list[nn.Module] = [
            ConvBNAct(in_channels, base // 2, 3, stride=2),
            ConvBNAct(base // 2, base, 3, stride=2),
        ]
        channels = base
        for width, count in zip(self.feat_channels[2:], layers, strict=True):
            for i in range(count):
                blocks.append(STDCBlock(channels, width, block_num, stride=2 if i == 0 else 1))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        stage_starts = [2 + sum(layers[:i]) for i in range(len(layers) + 1)]
        self.stage_ends = {0, 1, *(start - 1 for start in stage_starts[1:])}

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to feature maps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of its size."""
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                features.append(x)
        return features

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's `init_weight`."""
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(weight, std=0.001)
        else:
            draw_weight(layer, weight)


@register_backbone("STDC1")
def stdc1(**options: Any) -> STDCNet:
    """The encoder of PP-LiteSeg-T."""
    return STDCNet(**{"layers": (2, 2, 2), **options})


@register_backbone("STDC2")
def stdc2(**options: Any) -> STDCNet:
    """The encoder of PP-LiteSeg-B."""
    return STDCNet(**{"layers": (4, 5, 3), **options})
