"""BiSeNetV2 (Yu et al. 2020, https://arxiv.org/abs/2004.02147), as in PaddleSeg's `models/bisenet.py`."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.initialization import draw_weight
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.resize import resize

_conv_relu = partial(ConvBNAct, bias=True, same=True)
_conv = partial(_conv_relu, activation=None)


class BiSeNetV2(SegmentationModel):
    """BiSeNetV2: a wide and shallow branch for detail, a narrow and deep one for semantics, and their aggregation.

    Args:
        num_classes: classes, the channels of the logits.
        lambd: how wide the semantic branch begins, as a fraction of the detail branch.
        align_corners: how every resize places pixels.
        in_channels: channels of the image.
        resize_mode: how the aggregation upsamples; PaddleSeg always does it bilinearly.
        auxiliary_heads: build the heads that only train mode runs.
    """

    encoder = ("detail", "stem", "stages", "embedding")
    feat_strides = (4, 8, 16, 32)

    def __init__(
        self,
        num_classes: int = 19,
        lambd: float = 0.25,
        align_corners: bool = False,
        in_channels: int = 3,
        resize_mode: str = "bilinear",
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            _conv_relu(in_channels, 64, 3, stride=2),
            _conv_relu(64, 64, 3),
            _conv_relu(64, 64, 3, stride=2),
            _conv_relu(64, 64, 3),
            _conv_relu(64, 64, 3),
            _conv_relu(64, 128, 3, stride=2),
            _conv_relu(128, 128, 3),
            _conv_relu(128, 128, 3),
        )
        widths = [int(64 * lambd), int(128 * lambd), 64, 128]
        self._widths = tuple(widths)
        self.stem = Stem(in_channels, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(StridedGatherExpansion(*ends), *(GatherExpansion(ends[1]) for _ in range(more)))
            for ends, more in zip(pairwise(widths), [1, 1, 3], strict=True)
        )
        self.embedding = ContextEmbedding(128)
        self.aggregation = GuidedAggregation(128, align_corners, resize_mode)
        self.head = ConvHead(128, 128, num_classes, bias=True)
        self.auxiliary_heads = nn.ModuleList(
            ConvHead(width, width, num_classes, bias=True) for width in widths if auxiliary_heads
        )
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to logits (N, num_classes, H, W); in train mode the auxiliary heads' follow.

        These are of the semantic branch's maps, the finest first.
        """
        features = self.forward_features(image)
        logits = [self.head(self.aggregation(self.detail(image), self.embedding(features[-1])))]
        if self.training:
            logits += [head(x) for head, x in zip(self.auxiliary_heads, features, strict=False)]
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]

    @property
    def feat_channels(self) -> tuple[int, ...]:
        return self._widths

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps of the semantic branch, at 1/4, 1/8, 1/16 and 1/32 of the image's size."""
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's `init_weight`."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(weight, nonlinearity="relu")  # of the channels of a group
        else:
            draw_weight(layer, weight)


class Stem(Layer):
    """The stem block: an image to a map at 1/4, by convolutions beside a pooling."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = _conv_relu(in_channels, channels, 3, stride=2)
        self.squeeze = _conv_relu(channels, channels // 2, 1)
        self.down = _conv_relu(channels // 2, channels, 3, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.fuse = _conv_relu(2 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, channels, H / 4, W / 4)`."""
        x = self.conv(x)
        return self.fuse(torch.cat([self.down(self.squeeze(x)), self.pool(x)], dim=1))


class GatherExpansion(Layer):
    """The gather-and-expansion layer: a depthwise convolution on six times the channels, in a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gather = _conv_relu(channels, channels, 3)
        self.expand = _conv(channels, 6 * channels, 3, groups=channels)
        self.project = _conv(6 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.project(self.expand(self.gather(x))) + x)


class StridedGatherExpansion(Layer):
    """The gather-and-expansion layer with stride 2: one more depthwise convolution, and one on the shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        wide = 6 * in_channels
        self.gather = _conv_relu(in_channels, in_channels, 3)
        self.expand = _conv(in_channels, wide, 3, stride=2, groups=in_channels)
        self.depthwise = _conv(wide, wide, 3, groups=wide)
        self.project = _conv(wide, out_channels, 1)
        self.shortcut = nn.Sequential(
            _conv(in_channels, in_channels, 3, stride=2, groups=in_channels), _conv(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H / 2, W / 2)`."""
        return F.relu(self.project(self.depthwise(self.expand(self.gather(x)))) + self.shortcut(x))


class ContextEmbedding(Layer):
    """The context embedding block: what the mean over all pixels says, added to each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = BatchNorm2d(channels)
        self.project = _conv_relu(channels, channels, 1)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.project(self.norm(self.pool(x))) + x)


class GuidedAggregation(nn.Module):
    """The bilateral guided aggregation layer: each branch weighs the other, at the resolution of either."""

    def __init__(self, channels: int, align_corners: bool, resize_mode: str) -> None:
        super().__init__()
        depthwise = partial(_conv, channels, channels, 3, groups=channels)
        self.detail_keep = nn.Sequential(depthwise(), nn.Conv2d(channels, channels, 1))
        self.detail_down = _conv(channels, channels, 3, stride=2)
        self.detail_pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.semantic_keep = nn.Sequential(depthwise(), nn.Conv2d(channels, channels, 1))
        self.semantic_up = _conv(channels, channels, 3)
        self.conv = _conv(channels, channels, 3)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """`detail` (N, channels, H, W) and `semantic` (N, channels, H / 4, W / 4) to `(N, channels, H, W)`."""
        size = detail.shape[-2:]
        gate = torch.sigmoid(resize(self.semantic_up(semantic), size, self.resize_mode, self.align_corners))
        fine = self.detail_keep(detail) * gate
        coarse = self.detail_pool(self.detail_down(detail)) * torch.sigmoid(self.semantic_keep(semantic))
        return self.conv(fine + resize(coarse, size, self.resize_mode, self.align_corners))
