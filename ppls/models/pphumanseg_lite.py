"""PP-HumanSeg-Lite (Chu et al. 2021, https://arxiv.org/abs/2112.07146), as in PaddleSeg's `pphumanseg_lite.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.initialization import draw_narrow
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize
from ppls.models.shufflenet import ShuffleUnit, StridedShuffleUnit

WIDTHS, UNITS = (36, 72, 144), (4, 8)  # of the stem and of both stages; the units of each stage


class HumanSegmentation(SegmentationModel):
    """A stem, two stages of ShuffleNet V2's units, and a decoder that puts the stem's map beside theirs.

    What PP-HumanSeg-Lite and the network before it have in common.
    """

    encoder = ("stem", "stages")
    feat_channels = WIDTHS
    feat_strides = (2, 8, 16)
    draw_weight = staticmethod(draw_narrow)

    def __init__(self, in_channels: int, align_corners: bool, resize_mode: str) -> None:
        super().__init__()
        width, *widths = WIDTHS
        self.stem = ConvBNAct(in_channels, width, 3, stride=2)
        self.stages = nn.ModuleList()
        for inputs, width, units in zip(WIDTHS, widths, UNITS, strict=False):
            rest = (ShuffleUnit(width, F.relu) for _ in range(units - 1))
            self.stages.append(nn.Sequential(StridedShuffleUnit(inputs, width, F.relu), *rest))
        self.lateral = ConvBNAct(WIDTHS[0], WIDTHS[0] // 2, 1)
        self.reduce = separable(WIDTHS[-1], 64)
        self.fuse = separable(WIDTHS[0] // 2 + 64, 64)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The stem's map and those of both stages, at 1/2, 1/8 and 1/16 of the image's size."""
        maps = [self.stem(image)]
        x = F.max_pool2d(maps[0], 3, stride=2, padding=1)
        for stage in self.stages:
            maps.append(x := stage(x))
        return maps

    def decode(self, image: Tensor) -> Tensor:
        """`image` (N, in_channels, H, W) to the map (N, 64, H / 2, W / 2) that is classified."""
        fine, _, coarse = self.forward_features(image)
        coarse = resize(self.reduce(coarse), fine.shape[-2:], self.resize_mode, self.align_corners)
        return self.fuse(torch.cat([self.lateral(fine), coarse], dim=1))


class PPHumanSegLite(HumanSegmentation):
    """PP-HumanSeg-Lite: ShuffleNet V2's units, and a decoder that puts the stem's map beside theirs.

    Its logits are never negative: a ReLU is the last thing before they are resized.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
        align_corners: how every resize places pixels.
        resize_mode: how the decoder upsamples; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__(in_channels, align_corners, resize_mode)
        self.classifier = separable(64, num_classes)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        logits = self.classifier(self.decode(image))
        return [resize(logits, image.shape[-2:], align_corners=self.align_corners)]


def separable(in_channels: int, out_channels: int) -> nn.Module:
    """A depthwise convolution and a pointwise one, neither with a bias, and a ReLU behind the second."""
    return nn.Sequential(
        ConvBNAct(in_channels, in_channels, 3, groups=in_channels, activation=None),
        ConvBNAct(in_channels, out_channels, 1),
    )
