"""ESPNet (Mehta et al. 2018, https://arxiv.org/abs/1803.06815), as in PaddleSeg's `models/espnetv1.py`."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.prelu import NormPReLU
from ppls.models.sizes import check_size

DILATIONS = (1, 2, 4, 8, 16)  # of a pyramid's branches


class ESPNetV1(SegmentationModel):
    """ESPNet: spatial pyramids of dilated convolutions on three levels, and a decoder as narrow as there are classes.

    PaddleSeg's own runs with 19 classes alone (16 more than an image has channels): there its last convolution takes
    what it is given. Here it does with any number of them.

    Args:
        num_classes: classes, the channels of the logits; 5 or more, for each branch of a pyramid has a fifth of them.
        in_channels: channels of the image.
        level2_depth: pyramids of the second level, behind the one that halves the map.
        level3_depth: those of the third.
        original: as the model was before PaddleSeg took it in, and a file of then has it: convolutions without bias, a
            slope of PReLU for each channel, and the first convolution padded alike on all sides.
    """

    encoder = ("stem", "stages", "norms")
    feat_strides = (2, 4, 8)
    size_multiple = 8  # what is upsampled has twice the sides, three times

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 3,
        level2_depth: int = 2,
        level3_depth: int = 3,
        original: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < len(DILATIONS):
            raise Error(f"num_classes is {num_classes}: each of the {len(DILATIONS)} branches of a pyramid needs one")
        widths = (16 + in_channels, 128 + in_channels, 256)
        conv = partial(_conv, original=original)
        self.stem = conv(in_channels, 16, 3, stride=2)
        self.stages = nn.ModuleList([Stage(widths[0], 64, level2_depth), Stage(widths[1], 128, level3_depth)])
        self.norms = nn.ModuleList(NormPReLU(width, width) for width in widths)
        self.projections = nn.ModuleList(conv(width, num_classes, 1) for width in widths)
        double = partial(nn.ConvTranspose2d, kernel_size=2, stride=2, bias=False)
        self.up_coarse = double(num_classes, num_classes)
        self.fuse = nn.Sequential(
            NormPReLU(2 * num_classes, 2 * num_classes),
            SpatialPyramid(2 * num_classes, num_classes, residual=False),
        )
        self.up_fused = nn.Sequential(double(num_classes, num_classes), NormPReLU(num_classes, num_classes))
        self.fuse_fine = conv(2 * num_classes, num_classes, 3)
        self.classifier = double(num_classes, num_classes)
        self._widths = widths

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        check_size(self, image)
        fine, middle, coarse = (
            project(x) for project, x in zip(self.projections, self.forward_features(image), strict=True)
        )
        x = self.up_fused(self.fuse(torch.cat([self.up_coarse(coarse), middle], dim=1)))
        return [self.classifier(self.fuse_fine(torch.cat([x, fine], dim=1)))]

    @property
    def feat_channels(self) -> tuple[int, ...]:
        return self._widths

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps at 1/2, 1/4 and 1/8 of the image's size; the image itself stands in the first two."""
        at_half, at_quarter, at_eighth = self.norms
        half = at_half(torch.cat([self.stem(image), F.avg_pool2d(image, 2)], dim=1))
        quarter = at_quarter(torch.cat([self.stages[0](half), F.avg_pool2d(image, 4)], dim=1))
        return [half, quarter, at_eighth(self.stages[1](quarter))]


class Stage(Layer):
    """A pyramid that halves the map, pyramids behind it, and what comes of both beside each other."""

    def __init__(self, in_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        self.down = SpatialPyramid(in_channels, channels, stride=2, residual=False)
        self.blocks = nn.Sequential(*(SpatialPyramid(channels, channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, 2 * channels, H / 2, W / 2)`."""
        x = self.down(x)
        return torch.cat([self.blocks(x), x], dim=1)


class SpatialPyramid(Layer):
    """The efficient spatial pyramid (ESP): reduce, split, transform, merge.

    A convolution to a fifth of the channels, which may halve the map; five of it, ever more dilated; and from the third
    on each of these added to those before, so that the dilations leave no grid.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, residual: bool = True) -> None:
        super().__init__()
        width = out_channels // len(DILATIONS)
        kernel = 1 if stride == 1 else 3
        self.reduce = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False)
        widths = (out_channels - (len(DILATIONS) - 1) * width, *[width] * (len(DILATIONS) - 1))
        self.branches = nn.ModuleList(
            nn.Conv2d(width, channels, 3, padding=dilation, dilation=dilation, bias=False)
            for channels, dilation in zip(widths, DILATIONS, strict=True)
        )
        self.norm = NormPReLU(out_channels, out_channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H, W)`, or half the sides."""
        reduced = self.reduce(x)
        first, *others = (branch(reduced) for branch in self.branches)
        maps, total = [first], others[0]
        for i, other in enumerate(others):
            total = total + other if i else other
            maps.append(total)
        merged = torch.cat(maps, dim=1)
        return self.norm(merged + x if self.residual else merged)


def _conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, original: bool) -> ConvBNAct:
    activation = nn.PReLU(out_channels if original else 1)
    return ConvBNAct(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        bias=not original,
        activation=activation,
        same=not original,
    )
