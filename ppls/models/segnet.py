"""SegNet (Badrinarayanan et al. 2015, https://arxiv.org/abs/1511.00561), as in PaddleSeg's `models/segnet.py`."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct
from ppls.models.sizes import check_least_size, check_size
from ppls.models.unpooling import pool_with_places, unpool

LEVELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels, the finest level first
UP = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 128, 64))  # the coarsest first; the last is the head's


class SegNet(SegmentationModel):
    """SegNet: VGG down and up again, each map put back where the maxima of the pooling at its size stood.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
    """

    encoder = ("contracting",)
    feat_channels = tuple(widths[-1] for widths in LEVELS)
    feat_strides = (1, 2, 4, 8, 16)
    size_multiple = 2  # the logits have twice the sides of the first pooled map
    least_size = 32  # a pixel is left after five poolings

    def __init__(self, num_classes: int = 19, in_channels: int = 3) -> None:
        super().__init__()
        entering = (in_channels, *self.feat_channels)
        self.contracting = nn.ModuleList(
            _convs(channels, *widths) for channels, widths in zip(entering, LEVELS, strict=False)
        )
        coming = (self.feat_channels[-1], *(widths[-1] for widths in UP))
        self.expanding = nn.ModuleList(_convs(channels, *widths) for channels, widths in zip(coming, UP, strict=False))
        self.head = nn.Sequential(ConvBNAct(64, 64, 3, bias=True), nn.Conv2d(64, num_classes, 3, padding=1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        check_size(self, image)
        check_least_size(self, image)
        x, pooled = image, []
        for level in self.contracting:
            x = level(x)
            size = x.shape[-2:]
            x, places = pool_with_places(x)
            pooled.append((places, size))
        for level in (*self.expanding, self.head):
            x = level(unpool(x, *pooled.pop()))
        return [x]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps on the way down, of the image's size and at 1/2 to 1/16 of it, each before it is pooled."""
        maps: list[Tensor] = []
        for level in self.contracting:
            maps.append(level(pool_with_places(maps[-1])[0] if maps else image))
        return maps


def _convs(*channels: int) -> nn.Sequential:
    """3x3 convolutions from each of these numbers of channels to the next."""
    return nn.Sequential(*(ConvBNAct(*ends, 3, bias=True) for ends in pairwise(channels)))
