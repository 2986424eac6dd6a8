"""UNet++ (Zhou et al. 2018, https://arxiv.org/abs/1807.10165), as in PaddleSeg's `models/unet_plusplus.py`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.double_conv import DoubleConv
from ppls.models.layer import Layer
from ppls.models.resize import enlarge
from ppls.models.sizes import check_size


class UNetPlusPlus(SegmentationModel):
    """UNet++: the maps on the way down, and triangular upon them columns of nodes that each refine what is before them.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
        use_deconv: upsample by transposed convolutions, not by resizing.
        align_corners: how every resize places pixels.
        is_ds: deep supervision: the logits are the mean of those of every column, not those of the last alone.
        resize_mode: how maps are upsampled without `use_deconv`; PaddleSeg always does it bilinearly.
        auxiliary_heads: build the heads of the other columns, as PaddleSeg does without `is_ds` too.
    """

    encoder = ("levels", "pool")
    feat_channels = (32, 64, 128, 256, 512)
    feat_strides = (1, 2, 4, 8, 16)
    size_multiple = 16  # what is upsampled has twice the sides, four times

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 3,
        use_deconv: bool = False,
        align_corners: bool = False,
        is_ds: bool = True,
        resize_mode: str = "bilinear",
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        widths = self.feat_channels
        self.levels = nn.ModuleList(DoubleConv(*ends) for ends in pairwise((in_channels, *widths)))
        self.pool = nn.MaxPool2d(2)
        self.columns = nn.ModuleList(
            nn.ModuleList(
                Node(coarse, fine, before, use_deconv, align_corners, resize_mode)
                for fine, coarse in pairwise(widths[: 6 - before])
            )
            for before in range(1, 5)
        )
        self.classifier = nn.Conv2d(widths[0], num_classes, 1)
        self.auxiliary_heads = nn.ModuleList(nn.Conv2d(widths[0], num_classes, 1) for _ in range(3) if auxiliary_heads)
        self.is_ds = is_ds

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W), in either mode."""
        check_size(self, image)
        rows = [[x] for x in self.forward_features(image)]  # at 1, 1/2, 1/4, 1/8 and 1/16
        for column in self.columns:
            for node, row, below in zip(column.children(), rows, rows[1:], strict=False):
                row.append(node(below[-1], row))
        _, *columns, last = rows[0]
        logits = [self.classifier(last)]
        if self.is_ds:
            logits += [head(x) for head, x in zip(self.auxiliary_heads, columns, strict=False)]
        return [sum(logits[1:], logits[0]) / len(logits)]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps on the way down, of the image's size and at 1/2, 1/4, 1/8 and 1/16 of it."""
        first, *others = self.levels
        maps = [first(image)]
        for level in others:
            maps.append(level(self.pool(maps[-1])))
        return maps


class Node(nn.Module):
    """A coarse map upsampled to the size of finer ones, beside which it is convolved.

    Args:
        before: how many finer ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        before: int,
        use_deconv: bool,
        align_corners: bool,
        resize_mode: str,
    ) -> None:
        super().__init__()
        self.up = (
            nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
            if use_deconv
            else Upsampling(in_channels, out_channels, align_corners, resize_mode)
        )
        self.convs = DoubleConv((1 + before) * out_channels, out_channels)

    def forward(self, coarse: Tensor, finer: Sequence[Tensor]) -> Tensor:
        """`coarse` (N, in_channels, H, W) and of `finer` each (N, out_channels, 2H, 2W) to the shape of these."""
        return self.convs(torch.cat([self.up(coarse), *finer], dim=1))


class Upsampling(Layer):
    """A map of twice the size, and a 1x1 convolution: `(N, in_channels, H, W)` to `(N, out_channels, 2H, 2W)`."""

    def __init__(self, in_channels: int, out_channels: int, align_corners: bool, resize_mode: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(enlarge(x, 2, self.resize_mode, self.align_corners))
