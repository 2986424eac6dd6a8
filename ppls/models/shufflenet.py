"""ShuffleNet V2 (Ma et al. 2018, https://arxiv.org/abs/1807.11164), as PaddleSeg's `backbones/shufflenetv2.py`."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_by_group
from ppls.models.layers import Activation, ConvBNAct, shuffle_halves

WIDTHS = {  # of the three stages, by scale
    0.25: (24, 48, 96),
    0.33: (32, 64, 128),
    0.5: (48, 96, 192),
    1.0: (116, 232, 464),
    1.5: (176, 352, 704),
    2.0: (224, 488, 976),
}
UNITS = (4, 8, 4)  # of each stage
ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "swish": F.silu}


@register_backbone("ShuffleNet")
class ShuffleNet(Backbone):
    """The encoder: a stem of two strides and three stages of shuffle units.

    Args:
        scale: one of `WIDTHS`, which has the widths that it stands for.
        act: the activation, one of `ACTIVATIONS`.
        in_channels: channels of the image.
    """

    draw_weight = staticmethod(draw_by_group)

    def __init__(self, scale: float = 1.0, act: str = "relu", in_channels: int = 3) -> None:
        super().__init__()
        if scale not in WIDTHS:
            raise Error(f"scale={scale!r}: ShuffleNet V2 has the scales {', '.join(map(str, WIDTHS))}")
        if act not in ACTIVATIONS:
            raise Error(f"act={act!r}: ShuffleNet V2 has the activations {', '.join(ACTIVATIONS)}")
        activation = ACTIVATIONS[act]
        self.feat_channels = [24, *WIDTHS[scale]]
        self.feat_strides = [4, 8, 16, 32]
        self.stem = ConvBNAct(in_channels, 24, 3, stride=2, activation=activation)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                StridedShuffleUnit(inputs, width, activation),
                *(ShuffleUnit(width, activation) for _ in range(units - 1)),
            )
            for inputs, width, units in zip(self.feat_channels, WIDTHS[scale], UNITS, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        maps = [self.pool(self.stem(x))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class ShuffleUnit(nn.Module):
    """Half of the channels through a depthwise convolution between two 1x1, then those of both halves in turn."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.convs = _bottleneck(channels // 2, channels // 2, 1, activation)

    def forward(self, x: Tensor) -> Tensor:
        past, x = x.chunk(2, 1)
        return shuffle_halves(torch.cat([past, self.convs(x)], 1))


class StridedShuffleUnit(nn.Module):
    """All channels go both ways, each strided, and make half of what there is then."""

    def __init__(self, in_channels: int, out_channels: int, activation: Activation) -> None:
        super().__init__()
        half = out_channels // 2
        self.past = nn.Sequential(
            ConvBNAct(in_channels, in_channels, 3, stride=2, groups=in_channels, activation=None),
            ConvBNAct(in_channels, half, 1, activation=activation),
        )
        self.convs = _bottleneck(in_channels, half, 2, activation)

    def forward(self, x: Tensor) -> Tensor:
        return shuffle_halves(torch.cat([self.past(x), self.convs(x)], 1))


def _bottleneck(in_channels: int, out_channels: int, stride: int, activation: Activation) -> nn.Module:
    return nn.Sequential(
        ConvBNAct(in_channels, out_channels, 1, activation=activation),
        ConvBNAct(out_channels, out_channels, 3, stride=stride, groups=out_channels, activation=None),
        ConvBNAct(out_channels, out_channels, 1, activation=activation),
    )


for _scale in WIDTHS:
    register_backbone(f"ShuffleNetV2_x{_scale}".replace(".", "_"))(partial(ShuffleNet, _scale))
register_backbone("ShuffleNetV2_swish")(partial(ShuffleNet, act="swish"))
