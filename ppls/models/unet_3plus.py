"""UNet 3+ (Huang et al. 2020, https://arxiv.org/abs/2004.08790), as in PaddleSeg's `models/unet_3plus.py`."""

# ruff: noqa: N803  # options have PaddleSeg's names

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.double_conv import DoubleConv
from ppls.models.initialization import draw_weight
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize
from ppls.models.sizes import check_size

WIDTH = 64  # channels of each scale's share in a map


class UNet3Plus(SegmentationModel):
    """UNet 3+: every level on the way up takes maps of all five scales, finer ones as they went down.

    Its first two arguments are in PaddleSeg's order, which is the other way round than in other models.

    Args:
        in_channels: channels of the image.
        num_classes: classes, the channels of the logits.
        is_batchnorm: normalise on the way down; the way up always does.
        is_deepsup: deep supervision: logits of every level, in eval mode too.
        is_CGM: the classification-guided module: a class for the whole image, by which all logits of an image that
            holds nothing are 0. It implies `is_deepsup`.
        resize_mode: how maps are upsampled; PaddleSeg always does it bilinearly.
    """

    encoder = ("contracting",)
    feat_channels = (64, 128, 256, 512, 1024)
    feat_strides = (1, 2, 4, 8, 16)
    size_multiple = 16  # what is upsampled has sides two to sixteen times as long

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        is_batchnorm: bool = True,
        is_deepsup: bool = False,
        is_CGM: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        convs = DoubleConv if is_batchnorm else PlainDoubleConv
        self.contracting = nn.ModuleList([convs(in_channels, self.feat_channels[0])])
        self.contracting.extend(
            nn.Sequential(nn.MaxPool2d(2), convs(fine, coarse)) for fine, coarse in pairwise(self.feat_channels)
        )
        decoded = [5 * WIDTH] * 4 + [self.feat_channels[-1]]
        self.expanding = nn.ModuleList(
            FullScale(self.feat_channels[: level + 1], decoded[level + 1 :], resize_mode) for level in range(4)
        )
        classifier = partial(nn.Conv2d, out_channels=num_classes, kernel_size=3, padding=1)
        deep = is_deepsup or is_CGM
        self.classifier = None if deep else classifier(decoded[0])
        self.heads = nn.ModuleList(classifier(channels) for channels in decoded if deep)
        self.presence = (
            nn.Sequential(nn.Dropout(0.5), nn.Conv2d(decoded[-1], 2, 1), nn.AdaptiveMaxPool2d(1), nn.Sigmoid())
            if is_CGM
            else None
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to logits (N, num_classes, H, W), in either mode.

        With deep supervision those of every level, the finest first.
        """
        check_size(self, image)
        maps = self.forward_features(image)
        for i, level in reversed(list(enumerate(self.expanding))):  # those after maps[i] came up already
            maps[i] = level(maps[: i + 1], maps[i + 1 :])
        if self.classifier is not None:
            return [self.classifier(maps[0])]
        logits = [resize(head(x), image.shape[-2:]) for head, x in zip(self.heads, maps, strict=True)]
        if self.presence is not None:
            # of the sigmoid, which rounds to 1 what is far above 0: of two such classes the first is taken
            present = self.presence(maps[-1]).argmax(dim=1, keepdim=True)  # (N, 1, 1, 1), 0 or 1
            logits = [x * present for x in logits]
        return logits

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps on the way down, of the image's size and at 1/2, 1/4, 1/8 and 1/16 of it."""
        maps: list[Tensor] = []
        for level in self.contracting:
            maps.append(level(maps[-1] if maps else image))
        return maps

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's, which draws the scales of normalisations as it does kernels."""
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(weight, std=(2 / layer.num_features) ** 0.5)
        else:
            draw_weight(layer, weight)


class FullScale(nn.Module):
    """A level on the way up: each scale's map brought to its size and convolved, and all of them fused.

    Args:
        finer: channels of the maps that came down, the finest first; the last has the size already.
        coarser: channels of those that came up.
    """

    def __init__(self, finer: Sequence[int], coarser: Sequence[int], resize_mode: str) -> None:
        super().__init__()
        *smaller, same = finer
        self.pools = nn.ModuleList(nn.MaxPool2d(2**steps) for steps in range(len(smaller), 0, -1))
        self.finer = nn.ModuleList(ConvBNAct(channels, WIDTH, 3, bias=True) for channels in smaller)
        self.same = ConvBNAct(same, WIDTH, 3, bias=True)
        self.coarser = nn.ModuleList(ConvBNAct(channels, WIDTH, 3, bias=True) for channels in coarser)
        self.fuse = ConvBNAct(5 * WIDTH, 5 * WIDTH, 3, bias=True)
        self.resize_mode = resize_mode

    def forward(self, finer: Sequence[Tensor], coarser: Sequence[Tensor]) -> Tensor:
        """Five maps to one `(N, 5 * WIDTH, H, W)` of the size of the last of `finer`."""
        *smaller, same = finer
        pooled = [conv(pool(x)) for pool, conv, x in zip(self.pools, self.finer, smaller, strict=True)]
        size = same.shape[-2:]
        enlarged = [conv(resize(x, size, self.resize_mode)) for conv, x in zip(self.coarser, coarser, strict=True)]
        return self.fuse(torch.cat([*pooled, self.same(same), *enlarged], dim=1))


class PlainDoubleConv(Layer, nn.Sequential):
    """A `DoubleConv` without normalisation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(PlainConv(in_channels, out_channels), PlainConv(out_channels, out_channels))


class PlainConv(Layer):
    """A 3x3 convolution and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))
