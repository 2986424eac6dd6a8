"""DMNet (He et al. 2019, Dynamic Multi-scale Filters for Semantic Segmentation), as in PaddleSeg's `dmnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import all_channels, build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.resize import resize

SCALE = 8


class DMNet(SegmentationModel):
    """DMNet: a dilated encoder, and depthwise filters of several sizes that each image predicts for itself.

    The logits are eight times as large as the encoder's last map: for sides that 8 does not divide, or an encoder of
    another stride, they are not of the image's size, in PaddleSeg either.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        mid_channels: channels of all that follows the encoder.
        filter_sizes: side lengths of the filters.
        fusion: a further convolution behind each filter.
        auxiliary_heads: build the head that only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        mid_channels: int = 512,
        filter_sizes: Sequence[int] = (1, 3, 5, 7),
        fusion: bool = False,
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        *_, auxiliary, main = all_channels(self.backbone, 4)
        self.filters = nn.ModuleList(DynamicFilter(main, mid_channels, size, fusion) for size in filter_sizes)
        self.bottleneck = ConvBNAct(main + len(filter_sizes) * mid_channels, mid_channels, 3, bias=True)
        self.classifier = nn.Conv2d(mid_channels, num_classes, 1)
        self.auxiliary_head = (
            nn.Sequential(ConvBNAct(auxiliary, mid_channels, 3, bias=True), nn.Conv2d(mid_channels, num_classes, 1))
            if auxiliary_heads
            else None
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode the auxiliary head's follow."""
        *_, auxiliary, main = self.backbone(image)
        x = self.bottleneck(torch.cat([main, *(filter(main) for filter in self.filters)], dim=1))
        logits = [self.classifier(x)]
        if self.training and self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, (SCALE * x.shape[2], SCALE * x.shape[3]), align_corners=True) for x in logits]


class DynamicFilter(Layer):
    """The dynamic convolutional module: a depthwise convolution whose kernel is the image's own, pooled to its size."""

    def __init__(self, in_channels: int, channels: int, size: int, fusion: bool) -> None:
        super().__init__()
        if size < 1:
            raise Error(f"a filter of size {size}: it has at least one pixel")
        self.pool = nn.AdaptiveAvgPool2d(size)
        self.predict = nn.Conv2d(in_channels, channels, 1)
        self.reduce = ConvBNAct(in_channels, channels, 1, bias=True)
        self.bn = BatchNorm2d(channels)
        self.fuse = ConvBNAct(channels, channels, 1, bias=True) if fusion else nn.Identity()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, channels, H, W)`."""
        filtered = convolve_each(self.reduce(x), self.predict(self.pool(x)), self.size)
        return self.fuse(F.relu(self.bn(filtered)))


def convolve_each(x: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Every channel of every image convolved with a kernel of its own, the size kept.

    As a sum of shifted maps: a convolution of N * C groups cannot be exported for any number of images.

    Args:
        x: `(N, C, H, W)`.
        kernels: `(N, C, size, size)`; where the size is even, the zeros before are one more than those after.
    """
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(x, (before, after, before, after))
    height, width = x.shape[-2:]
    result = torch.zeros_like(x)
    for i in range(size):
        for j in range(size):
            result = result + padded[..., i : i + height, j : j + width] * kernels[..., i : i + 1, j : j + 1]
    return result
