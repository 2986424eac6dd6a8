"""MobileNetV3 (Howard et al. 2019, https://arxiv.org/abs/1905.02244), as PaddleSeg's `backbones/mobilenetv3.py`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.attention import HardSigmoid, SqueezeExcite
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.inverted_residual import InvertedResidual, rounded_width
from ppls.models.layers import ConvBNAct


class Block(NamedTuple):
    """A row of the paper's tables: an inverted residual, with squeeze and excitation or not, of ReLU or hard swish."""

    kernel_size: int
    hidden: int
    width: int
    excite: bool
    swish: bool
    stride: int


class Network(NamedTuple):
    """The `blocks`, those whose maps are returned, and those that dilate those behind them where they do not stride."""

    blocks: tuple[Block, ...]
    features: tuple[int, int, int, int]
    dilated_from: tuple[int, int]


NETWORKS = {
    "large": Network(
        (
            Block(3, 16, 16, False, False, 1),
            Block(3, 64, 24, False, False, 2),
            Block(3, 72, 24, False, False, 1),
            Block(5, 72, 40, True, False, 2),
            Block(5, 120, 40, True, False, 1),
            Block(5, 120, 40, True, False, 1),
            Block(3, 240, 80, False, True, 2),
            Block(3, 200, 80, False, True, 1),
            Block(3, 184, 80, False, True, 1),
            Block(3, 184, 80, False, True, 1),
            Block(3, 480, 112, True, True, 1),
            Block(3, 672, 112, True, True, 1),
            Block(5, 672, 160, True, True, 2),
            Block(5, 960, 160, True, True, 1),
            Block(5, 960, 160, True, True, 1),
        ),
        (2, 5, 11, 14),
        (6, 12),
    ),
    "small": Network(
        (
            Block(3, 16, 16, True, False, 2),
            Block(3, 72, 24, False, False, 2),
            Block(3, 88, 24, False, False, 1),
            Block(5, 96, 40, True, True, 2),
            Block(5, 240, 40, True, True, 1),
            Block(5, 240, 40, True, True, 1),
            Block(5, 120, 48, True, True, 1),
            Block(5, 144, 48, True, True, 1),
            Block(5, 288, 96, True, True, 2),
            Block(5, 576, 96, True, True, 1),
            Block(5, 576, 96, True, True, 1),
        ),
        (0, 2, 7, 10),
        (3, 8),
    ),
}


@register_backbone("MobileNetV3")
class MobileNetV3(Backbone):
    """The encoder: a strided stem and inverted residuals that the search chose.

    Args:
        size: `large` or `small`.
        scale: factor of all widths, which are multiples of 8.
        dilated: keep the maps from 1/8 of the image on at that size, and dilate what would have been strided.
        in_channels: channels of the image.
    """

    def __init__(self, size: str = "large", scale: float = 1.0, dilated: bool = False, in_channels: int = 3) -> None:
        super().__init__()
        if size not in NETWORKS:
            raise Error(f"unknown size {size!r} of MobileNetV3; known are {', '.join(NETWORKS)}")
        blocks, self.features, dilated_from = NETWORKS[size]
        width = rounded_width(16 * scale)
        self.stem = ConvBNAct(in_channels, width, 3, stride=2, activation=F.hardswish)
        self.blocks = nn.ModuleList()
        stride, dilation, strides = 2, 1, []
        for i, block in enumerate(blocks):
            held = dilated and i in dilated_from  # this block takes what the last one dilated, and the next dilate more
            hidden, inputs, width = rounded_width(block.hidden * scale), width, rounded_width(block.width * scale)
            self.blocks.append(
                InvertedResidual(
                    inputs,
                    hidden,
                    width,
                    block.kernel_size,
                    stride=1 if held else block.stride,
                    dilation=dilation,
                    activation=F.hardswish if block.swish else F.relu,
                    attention=SqueezeExcite(hidden, gate=HardSigmoid(0.2)) if block.excite else None,
                )
            )
            dilation *= 2 if held else 1
            stride *= 1 if held else block.stride
            strides.append(stride)
        self.feat_channels = [rounded_width(blocks[i].width * scale) for i in self.features]
        self.feat_strides = [strides[i] for i in self.features]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        x = self.stem(x)
        maps = []
        for block in self.blocks:
            maps.append(x := block(x))
        return [maps[i] for i in self.features]


for _size in NETWORKS:
    for _scale in (0.35, 0.5, 0.75, 1.0, 1.25):
        register_backbone(f"MobileNetV3_{_size}_x{_scale}".replace(".", "_"))(partial(MobileNetV3, _size, _scale))
    register_backbone(f"MobileNetV3_{_size}_x1_0_os8")(partial(MobileNetV3, _size, dilated=True))
