"""MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), as PaddleSeg's `backbones/mobilenetv2.py`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import Backbone, register_backbone
from ppls.models.inverted_residual import InvertedResidual
from ppls.models.layers import ConvBNAct


class Stage(NamedTuple):
    """A row of the paper's table of bottlenecks; the `stride` is that of the first of the `blocks`."""

    expansion: int
    width: int
    blocks: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
FEATURES = (1, 2, 4, 6)  # the stages whose maps are returned


@register_backbone("MobileNetV2")
class MobileNetV2(Backbone):
    """The encoder: a strided stem and seven stages of inverted residuals.

    Args:
        scale: factor of all widths.
        in_channels: channels of the image.
    """

    def __init__(self, scale: float = 1.0, in_channels: int = 3) -> None:
        super().__init__()
        width = int(32 * scale)
        self.stem = ConvBNAct(in_channels, width, 3, stride=2, activation=F.relu6)
        self.stages = nn.ModuleList()
        for stage in STAGES:
            inputs = width
            width = int(stage.width * scale)
            blocks = [InvertedResidual(inputs, inputs * stage.expansion, width, stride=stage.stride)]
            blocks += [InvertedResidual(width, width * stage.expansion, width) for _ in range(stage.blocks - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self.feat_channels = [int(STAGES[i].width * scale) for i in FEATURES]
        self.feat_strides = [4, 8, 16, 32]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            maps.append(x := stage(x))
        return [maps[i] for i in FEATURES]


for _scale in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0):
    register_backbone(f"MobileNetV2_x{_scale}".replace(".", "_"))(partial(MobileNetV2, _scale))
