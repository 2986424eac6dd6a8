"""GhostNet (Han et al. 2020, https://arxiv.org/abs/1911.11907), as PaddleSeg's `backbones/ghostnet.py`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.attention import SqueezeExcite
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_by_group
from ppls.models.inverted_residual import rounded_width
from ppls.models.layer import Layer
from ppls.models.layers import Activation, ConvBNAct


class Row(NamedTuple):
    """A row of the paper's table of bottlenecks."""

    kernel_size: int
    hidden: int
    width: int
    excite: bool
    stride: int


ROWS = (
    Row(3, 16, 16, False, 1),
    Row(3, 48, 24, False, 2),
    Row(3, 72, 24, False, 1),
    Row(5, 72, 40, True, 2),
    Row(5, 120, 40, True, 1),
    Row(3, 240, 80, False, 2),
    Row(3, 200, 80, False, 1),
    Row(3, 184, 80, False, 1),
    Row(3, 184, 80, False, 1),
    Row(3, 480, 112, True, 1),
    Row(3, 672, 112, True, 1),
    Row(5, 672, 160, True, 2),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True, 1),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True, 1),
)
FEATURES = (2, 4, 10, 15)  # the bottlenecks whose maps are returned


@register_backbone("GhostNet")
class GhostNet(Backbone):
    """The encoder: a strided stem and ghost bottlenecks.

    Args:
        scale: factor of all widths, which are multiples of 4.
        in_channels: channels of the image.
    """

    def __init__(self, scale: float = 1.0, in_channels: int = 3) -> None:
        super().__init__()
        width = rounded_width(16 * scale, 4)
        self.stem = ConvBNAct(in_channels, width, 3, stride=2)
        self.blocks = nn.ModuleList()
        for row in ROWS:
            hidden, inputs, width = rounded_width(row.hidden * scale, 4), width, rounded_width(row.width * scale, 4)
            self.blocks.append(
                GhostBottleneck(inputs, hidden, width, row.kernel_size, stride=row.stride, excite=row.excite)
            )
        self.feat_channels = [rounded_width(ROWS[i].width * scale, 4) for i in FEATURES]
        self.feat_strides = [4, 8, 16, 32]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to four maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""
        x = self.stem(x)
        maps = []
        for block in self.blocks:
            maps.append(x := block(x))
        return [maps[i] for i in FEATURES]

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's initializers of convolutions and of squeeze and excitation."""
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(weight, -bound, bound)
        else:
            draw_by_group(layer, weight)


class GhostModule(Layer):
    """A 1x1 convolution for half of the channels, and of each of them its ghost, by a cheap depthwise one."""

    def __init__(self, in_channels: int, out_channels: int, activation: Activation | None = F.relu) -> None:
        super().__init__()
        half = out_channels // 2
        self.primary = ConvBNAct(in_channels, half, 1, activation=activation)
        self.cheap = ConvBNAct(half, half, 3, groups=half, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)


class GhostBottleneck(nn.Module):
    """A ghost module that widens, and one that narrows; a depthwise convolution between them, where it is strided."""

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, kernel_size: int, *, stride: int, excite: bool
    ) -> None:
        super().__init__()
        self.expand = GhostModule(in_channels, hidden_channels)
        self.depthwise = (
            ConvBNAct(
                hidden_channels, hidden_channels, kernel_size, stride=stride, groups=hidden_channels, activation=None
            )
            if stride > 1
            else nn.Identity()
        )
        self.attention = SqueezeExcite(hidden_channels, gate=_clamped, linear=True) if excite else nn.Identity()
        self.project = GhostModule(hidden_channels, out_channels, activation=None)
        self.shortcut = (
            nn.Sequential(
                ConvBNAct(in_channels, in_channels, kernel_size, stride=stride, groups=in_channels, activation=None),
                ConvBNAct(in_channels, out_channels, 1, activation=None),
            )
            if stride > 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.attention(self.depthwise(self.expand(x)))) + self.shortcut(x)


def _clamped(x: Tensor) -> Tensor:
    return x.clamp(0, 1)


for _scale in (0.5, 1.0, 1.3):
    register_backbone(f"GhostNet_x{_scale}".replace(".", "_"))(partial(GhostNet, _scale))
