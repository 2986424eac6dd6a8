"""Attention U-Net (Oktay et al. 2018, https://arxiv.org/abs/1804.03999), as PaddleSeg's `models/attention_unet.py`."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.double_conv import DoubleConv
from ppls.models.layers import ConvBNAct
from ppls.models.resize import enlarge
from ppls.models.sizes import check_size

_project = partial(ConvBNAct, kernel_size=1, bias=True, activation=None)


class AttentionUNet(SegmentationModel):
    """Attention U-Net: a UNet in which the map that went down is gated, pixel by pixel, by the one that comes up.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
        resize_mode: how maps are upsampled; PaddleSeg always does it bilinearly.
    """

    encoder = ("stem", "contracting")
    feat_channels = (64, 128, 256, 512, 1024)
    feat_strides = (1, 2, 4, 8, 16)
    size_multiple = 16  # what is upsampled has twice the sides, four times

    def __init__(self, num_classes: int = 19, in_channels: int = 3, resize_mode: str = "bilinear") -> None:
        super().__init__()
        ends = list(pairwise(self.feat_channels))
        self.stem = DoubleConv(in_channels, self.feat_channels[0])
        self.contracting = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), DoubleConv(fine, coarse)) for fine, coarse in ends
        )
        self.expanding = nn.ModuleList(GatedExpansion(coarse, fine, resize_mode) for fine, coarse in reversed(ends))
        self.classifier = nn.Conv2d(self.feat_channels[0], num_classes, 1)

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


class GatedExpansion(nn.Module):
    """A coarse map upsampled to the size of a fine one, which it gates, and beside which it is convolved."""

    def __init__(self, in_channels: int, out_channels: int, resize_mode: str) -> None:
        super().__init__()
        self.up = ConvBNAct(in_channels, out_channels, 3, bias=True)
        self.gate = AttentionGate(out_channels, out_channels // 2)
        self.convs = DoubleConv(2 * out_channels, out_channels)
        self.resize_mode = resize_mode

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """`coarse` (N, in_channels, H, W) and `fine` (N, out_channels, 2H, 2W) to the shape of `fine`."""
        x = self.up(enlarge(coarse, 2, self.resize_mode))
        return self.convs(torch.cat([self.gate(fine, x), x], dim=1))


class AttentionGate(nn.Module):
    """A map times a number from 0 to 1 for each pixel, as a signal of the same shape has it."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.project_map = _project(channels, hidden_channels)
        self.project_signal = _project(channels, hidden_channels)
        self.attention = _project(hidden_channels, 1)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        hidden = F.relu(self.project_signal(signal) + self.project_map(x))
        return x * torch.sigmoid(self.attention(hidden))
