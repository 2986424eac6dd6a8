"""UNet (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597), as in PaddleSeg's `models/unet.py`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.double_conv import DoubleConv
from ppls.models.resize import resize
from ppls.models.sizes import check_size


class UNet(SegmentationModel):
    """UNet: four levels down and four up again, each of these beside the map that went down at its size.

    Args:
        num_classes: classes, the channels of the logits.
        align_corners: how every resize places pixels; PaddleSeg has it True for crops of odd size.
        use_deconv: upsample by transposed convolutions, not by resizing; height and width are then multiples of 16.
        in_channels: channels of the image.
        resize_mode: how maps are upsampled without `use_deconv`; PaddleSeg always does it bilinearly.
    """

    encoder = ("stem", "contracting")
    feat_channels = (64, 128, 256, 512, 512)
    feat_strides = (1, 2, 4, 8, 16)

    def __init__(
        self,
        num_classes: int = 19,
        align_corners: bool = False,
        use_deconv: bool = False,
        in_channels: int = 3,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.size_multiple = 16 if use_deconv else 1  # four times what is upsampled has twice the sides
        self.stem = DoubleConv(in_channels, 64)
        self.contracting = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), DoubleConv(fine, coarse)) for fine, coarse in pairwise(self.feat_channels)
        )
        self.expanding = nn.ModuleList(
            Expansion(coarse, fine, use_deconv, align_corners, resize_mode)
            for coarse, fine in pairwise((512, 256, 128, 64, 64))
        )
        self.classifier = nn.Conv2d(64, num_classes, 3, padding=1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        check_size(self, image)
        maps = self.forward_features(image)
        x = maps.pop()
        for level in self.expanding:
            x = level(x, maps.pop())
        return [self.classifier(x)]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps on the way down, of the image's size and at 1/2, 1/4, 1/8 and 1/16 of it."""
        maps = [self.stem(image)]
        for level in self.contracting:
            maps.append(level(maps[-1]))
        return maps


class Expansion(nn.Module):
    """A coarse map upsampled to the size of a fine one, beside which it is convolved."""

    def __init__(
        self, in_channels: int, out_channels: int, use_deconv: bool, align_corners: bool, resize_mode: str
    ) -> None:
        super().__init__()
        width = out_channels // 2 if use_deconv else in_channels
        self.deconv = nn.ConvTranspose2d(in_channels, width, 2, stride=2) if use_deconv else None
        self.convs = DoubleConv(width + in_channels, out_channels)  # both maps have `in_channels`
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """`coarse` (N, in_channels, h, w) and `fine` (N, in_channels, H, W) to (N, out_channels, H, W)."""
        if self.deconv is None:
            coarse = resize(coarse, fine.shape[-2:], self.resize_mode, self.align_corners)
        else:
            coarse = self.deconv(coarse)
        return self.convs(torch.cat([coarse, fine], dim=1))
