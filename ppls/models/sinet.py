"""SINet (Park et al. 2019, https://arxiv.org/abs/1911.09099), as in PaddleSeg's `models/sinet.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import lcm

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, shuffle_halves
from ppls.models.norms import BatchNorm2d
from ppls.models.prelu import NormPReLU
from ppls.models.resize import enlarge
from ppls.models.sizes import check_size

Branches = Sequence[Sequence[int]]  # of a module, each: the side of its kernel, and by how much its map is squeezed

BRANCHES: tuple[Branches, ...] = (
    ((3, 1), (5, 1)),
    ((3, 1), (3, 1)),
    ((3, 1), (5, 1)),
    ((3, 1), (3, 1)),
    ((5, 1), (3, 2)),
    ((5, 2), (3, 4)),
    ((3, 1), (3, 1)),
    ((5, 1), (5, 1)),
    ((3, 2), (3, 4)),
    ((3, 1), (5, 2)),
)


class SINet(SegmentationModel):
    """SINet: spatial squeeze modules, and a decoder that takes the finer map where the coarse one is in doubt.

    Args:
        num_classes: classes, the channels of the logits.
        stage2_blocks: modules of the second stage; PaddleSeg takes 2 alone.
        stage3_blocks: modules of the third.
        in_channels: channels of the image.
        branches: of each module of the second stage, then of the third, its two: the side of the kernel, and by how
            much the map is squeezed for it. PaddleSeg's `config`, a name that huggingface_hub has taken.
        resize_mode: how maps are upsampled; PaddleSeg always does it bilinearly.
    """

    encoder = ("stem", "downsampling", "stages", "norms")
    feat_channels = (12, 64, 144)
    feat_strides = (2, 4, 8)

    def __init__(
        self,
        num_classes: int = 2,
        stage2_blocks: int = 2,
        stage3_blocks: int = 8,
        in_channels: int = 3,
        branches: Sequence[Branches] = BRANCHES,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        if len(branches) < stage2_blocks + stage3_blocks or any(len(pair) != 2 for pair in branches):
            raise Error(f"branches says two of each module, and there are {stage2_blocks} and {stage3_blocks} modules")
        at_quarter, at_eighth = branches[:stage2_blocks], branches[stage2_blocks : stage2_blocks + stage3_blocks]
        self.size_multiple = lcm(4 * _squeeze(at_quarter), 8 * _squeeze(at_eighth))
        self.stem = ConvBNAct(in_channels, 12, 3, stride=2, activation=nn.PReLU(12))
        self.downsampling = nn.ModuleList([Downsampling(12, 16, reduction=1), Downsampling(64, 48, reduction=2)])
        self.stages = nn.ModuleList([_stage(16, 48, at_quarter, resize_mode), _stage(48, 96, at_eighth, resize_mode)])
        self.norms = nn.ModuleList(NormPReLU(width, width) for width in self.feat_channels[1:])
        self.coarse_classifier = nn.Conv2d(self.feat_channels[2], num_classes, 1, bias=False)
        self.coarse_norm = BatchNorm2d(num_classes)
        self.fine_classifier = ConvBNAct(48, num_classes, 1, activation=nn.PReLU(num_classes))
        self.fine_norm = BatchNorm2d(num_classes)
        self.classifier = nn.Conv2d(num_classes, num_classes, 3, padding=1, bias=False)
        self._doubled = partial(enlarge, factor=2, mode=resize_mode, align_corners=True)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        check_size(self, image)
        fine, (_, _, eighth) = self._encoded(image)
        coarse = self.coarse_norm(self._doubled(self.coarse_classifier(eighth)))
        # along the width, as PaddleSeg does by not naming an axis: not over the classes
        confidence = coarse.softmax(dim=3).amax(dim=1, keepdim=True)
        x = self.fine_norm(self._doubled(self.fine_classifier(fine) * (1 - confidence) + coarse))
        return [self.classifier(self._doubled(x))]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps at 1/2, 1/4 and 1/8 of the image's size."""
        return self._encoded(image)[1]

    def _encoded(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the modules of the second stage make, and the maps."""
        maps, made = [self.stem(image)], []
        for down, stage, norm in zip(self.downsampling, self.stages, self.norms, strict=True):
            x = down(maps[-1])
            made.append(stage(x))
            maps.append(norm(torch.cat([x, made[-1]], dim=1)))
        return made[0], maps


class Downsampling(Layer):
    """A separable convolution that halves the map, its channels weighed in between."""

    def __init__(self, in_channels: int, out_channels: int, reduction: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels, bias=False)
        self.squeeze = ChannelWeights(in_channels, reduction)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = NormPReLU(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H / 2, W / 2)`."""
        return self.norm(self.pointwise(self.squeeze(self.depthwise(x))))


class ChannelWeights(Layer):
    """Channels weighed by what is made of their means; the weights are those of a PReLU, not between 0 and 1."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        widths = [channels, *([channels // reduction] if reduction > 1 else []), channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.PReLU(after)]
        self.dense = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.dense(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return x * weights[:, :, None, None]


class SpatialSqueezeModule(Layer):
    """The spatial squeeze module: a projection in two groups, shuffled, and two branches of half the channels.

    What comes out is added to what came in, but of a stage's first module.
    """

    def __init__(
        self, in_channels: int, out_channels: int, branches: Branches, residual: bool, resize_mode: str
    ) -> None:
        super().__init__()
        width = out_channels // 2
        self.project = nn.Conv2d(in_channels, width, 1, groups=2, bias=False)
        self.branches = nn.ModuleList(
            SpatialSqueeze(width, kernel_size, squeeze, resize_mode) for kernel_size, squeeze in branches
        )
        self.norm = NormPReLU(out_channels, out_channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        shuffled = shuffle_halves(self.project(x))
        merged = torch.cat([branch(shuffled) for branch in self.branches], dim=1)
        return self.norm(merged + x if self.residual else merged)


class SpatialSqueeze(Layer):
    """A separable convolution of a map squeezed to so many times smaller sides, and stretched again."""

    def __init__(self, channels: int, kernel_size: int, squeeze: int, resize_mode: str) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(squeeze) if squeeze > 1 else None
        self.depthwise = ConvBNAct(channels, channels, kernel_size, groups=channels, activation=nn.PReLU(channels))
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = BatchNorm2d(channels)
        self.squeeze, self.resize_mode = squeeze, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same."""
        x = self.pointwise(self.depthwise(x if self.pool is None else self.pool(x)))
        return self.bn(x if self.pool is None else enlarge(x, self.squeeze, self.resize_mode, align_corners=True))


def _stage(in_channels: int, channels: int, modules: Sequence[Branches], resize_mode: str) -> nn.Sequential:
    return nn.Sequential(
        *(
            SpatialSqueezeModule(channels if i else in_channels, channels, branches, i > 0, resize_mode)
            for i, branches in enumerate(modules)
        )
    )


def _squeeze(modules: Sequence[Branches]) -> int:
    """Of what the sides of their maps must be multiples."""
    return lcm(*(squeeze for branches in modules for _, squeeze in branches))
