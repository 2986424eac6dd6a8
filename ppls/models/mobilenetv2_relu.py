"""MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), as PaddleSeg had it from 2.3 to 2.5."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import Backbone, register_backbone
from ppls.models.inverted_residual import InvertedResidual
from ppls.models.layers import ConvBNAct
from ppls.models.mobilenetv2 import FEATURES, STAGES
from ppls.models.norms import BatchNorm2d


@register_backbone("MobileNetV2_ReLU")
class ReluMobileNetV2(Backbone):
    """The encoder of PortraitNet's published files: as `MobileNetV2`, but its ReLUs know no upper end.

    Its modules have names of their own, by which the way back knows how PaddleSeg called them.

    Args:
        channel_ratio: factor of all widths.
        min_channel: the fewest channels of a stage, where its full width is not below them.
        in_channels: channels of the image.
    """

    def __init__(self, channel_ratio: float = 1.0, min_channel: int = 16, in_channels: int = 3) -> None:
        super().__init__()

        def scaled(width: int) -> int:
            return max(min(width, min_channel), int(width * channel_ratio))

        width = scaled(32)
        self.first = ConvBNAct(in_channels, width, 3, stride=2)
        self.bottlenecks = nn.ModuleList()
        for stage in STAGES:
            blocks = []
            for stride in (stage.stride, *[1] * (stage.blocks - 1)):
                inputs, width = width, scaled(stage.width)
                blocks.append(
                    InvertedResidual(inputs, inputs * stage.expansion, width, stride=stride, activation=F.relu)
                )
            self.bottlenecks.append(nn.Sequential(*blocks))
        for layer in self.modules():
            if isinstance(layer, BatchNorm2d):
                layer.momentum = 0.9  # PaddleSeg 2.5 models/backbones/mobilenetv2.py: 0.1, of the old value
        self.feat_channels = [scaled(STAGES[i].width) for i in FEATURES]
        self.feat_strides = [4, 8, 16, 32]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        x = self.first(x)
        maps = []
        for stage in self.bottlenecks:
            maps.append(x := stage(x))
        return [maps[i] for i in FEATURES]


register_backbone("MobileNetV2_ReLU_x1_0")(partial(ReluMobileNetV2, 1.0))
