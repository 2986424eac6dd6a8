"""Lite-HRNet (Yu et al. 2021, https://arxiv.org/abs/2104.06403), as in PaddleSeg's `models/backbones/lite_hrnet.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.attention import SqueezeExcite
from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_narrow
from ppls.models.layer import Layer
from ppls.models.layers import Activation, ConvBNAct, shuffle_halves
from ppls.models.norms import FrozenBatchNorm2d
from ppls.models.resize import resize
from ppls.models.sizes import check_size


class Network(NamedTuple):
    """What a name of a network stands for: `widths` of the branches, and `modules` of each stage."""

    weighted: bool
    modules: tuple[int, int, int]
    widths: tuple[int, int, int, int]


NETWORKS = {
    "lite_18": Network(True, (2, 4, 2), (40, 80, 160, 320)),
    "lite_30": Network(True, (3, 8, 3), (40, 80, 160, 320)),
    "naive": Network(False, (2, 4, 2), (30, 60, 120, 240)),
    "wider_naive": Network(False, (2, 4, 2), (40, 80, 160, 320)),
}


def _normed(
    in_channels: int, out_channels: int, kernel_size: int, activation: Activation | None = None, *, frozen: bool
) -> ConvBNAct:
    """A convolution, of each channel for itself where it is 3x3, whose normalisation may be frozen."""
    groups = in_channels if kernel_size > 1 else 1
    layer = ConvBNAct(in_channels, out_channels, kernel_size, groups=groups, activation=activation)
    if frozen:
        layer.bn = FrozenBatchNorm2d(out_channels)
    return layer


def _separable(
    in_channels: int, out_channels: int, stride: int = 1, activation: Activation | None = F.relu
) -> nn.Module:
    """A 3x3 convolution of each channel, and a 1x1."""
    return nn.Sequential(
        ConvBNAct(in_channels, in_channels, 3, stride=stride, groups=in_channels, activation=None),
        ConvBNAct(in_channels, out_channels, 1, activation=activation),
    )


class Stem(Layer):
    """Two strides; at the second, half of the channels go past those that are widened."""

    def __init__(self, in_channels: int, channels: int = 32) -> None:
        super().__init__()
        half = channels // 2
        self.conv = ConvBNAct(in_channels, channels, 3, stride=2)
        self.past = _separable(half, half, stride=2)
        self.expand = ConvBNAct(half, channels, 1)
        self.depthwise = ConvBNAct(channels, channels, 3, stride=2, groups=channels, activation=None)
        self.project = ConvBNAct(channels, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        past, x = self.conv(x).chunk(2, 1)
        return shuffle_halves(torch.cat([self.past(past), self.project(self.depthwise(self.expand(x)))], 1))


class CrossResolutionWeighting(nn.Module):
    """Each pixel of each map weighed by what two 1x1 convolutions make of all maps, pooled to the coarsest."""

    def __init__(self, widths: Sequence[int], *, frozen: bool) -> None:
        super().__init__()
        total = sum(widths)
        self.squeeze = _normed(total, total // 8, 1, F.relu, frozen=frozen)
        self.excite = _normed(total // 8, total, 1, torch.sigmoid, frozen=frozen)
        self.widths = list(widths)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        coarser = range(len(maps) - 1, 0, -1)
        pooled = [F.avg_pool2d(x, 2**levels) for levels, x in zip(coarser, maps, strict=False)]
        weights = torch.split(self.excite(self.squeeze(torch.cat([*pooled, maps[-1]], 1))), self.widths, 1)
        return [x * F.interpolate(weight, x.shape[-2:]) for x, weight in zip(maps, weights, strict=True)]


class ConditionalChannelWeighting(nn.Module):
    """Of each map half of the channels, weighed across the resolutions, convolved, and weighed each by their means."""

    def __init__(self, widths: Sequence[int], *, frozen: bool) -> None:
        super().__init__()
        halves = [width // 2 for width in widths]
        self.across = CrossResolutionWeighting(halves, frozen=frozen)
        self.convs = nn.ModuleList(_normed(half, half, 3, frozen=frozen) for half in halves)
        self.weights = nn.ModuleList(SqueezeExcite(half) for half in halves)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        past, halves = zip(*(x.chunk(2, 1) for x in maps), strict=True)
        weighed = [
            weight(conv(x)) for x, conv, weight in zip(self.across(list(halves)), self.convs, self.weights, strict=True)
        ]
        return [shuffle_halves(torch.cat(pair, 1)) for pair in zip(past, weighed, strict=True)]


class ShuffleUnit(Layer):
    """Half of the channels through a convolution of each between two 1x1, as in ShuffleNet V2."""

    def __init__(self, channels: int, *, frozen: bool) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.Sequential(
            _normed(half, half, 1, F.relu, frozen=frozen),
            _normed(half, half, 3, frozen=frozen),
            _normed(half, half, 1, F.relu, frozen=frozen),
        )

    def forward(self, x: Tensor) -> Tensor:
        past, x = x.chunk(2, 1)
        return shuffle_halves(torch.cat([past, self.convs(x)], 1))


class ShuffleBranches(nn.Module):
    """Two shuffle units for each map, which do not know of one another."""

    def __init__(self, widths: Sequence[int], *, frozen: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(ShuffleUnit(width, frozen=frozen) for _ in range(2))) for width in widths
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [branch(x) for branch, x in zip(self.branches, maps, strict=True)]


class LiteModule(nn.Module):
    """Two blocks on the maps of all resolutions, then every map added to every other."""

    def __init__(self, widths: Sequence[int], *, weighted: bool, frozen: bool) -> None:
        super().__init__()
        self.blocks = (
            nn.Sequential(*(ConditionalChannelWeighting(widths, frozen=frozen) for _ in range(2)))
            if weighted
            else ShuffleBranches(widths, frozen=frozen)
        )
        self.fuse = nn.ModuleList(  # fuse[i][j]: from branch j to branch i
            nn.ModuleList(_exchange(widths, j, i) for j in range(len(widths))) for i in range(len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = list(self.blocks(maps))
        fused = []
        for i in range(len(maps)):
            terms = [self._enlarged(self.fuse[i][j](x), j - i) for j, x in enumerate(maps)]  # type: ignore[index]
            total = reduce(torch.add, terms[1:], 2 * terms[0])  # PaddleSeg: `y += y`
            if i == 0:
                maps[0] = total  # the coarser ones are given the sum, before its ReLU
            fused.append(F.relu(total))
        return fused

    @staticmethod
    def _enlarged(x: Tensor, levels: int) -> Tensor:
        return F.interpolate(x, scale_factor=2**levels) if levels > 0 else x


def _exchange(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to another: a 1x1 convolution to a finer one, a stride for each level to a coarser one."""
    width = widths[source]
    if source >= target:
        return ConvBNAct(width, widths[target], 1, activation=None) if source > target else nn.Identity()
    steps = [_separable(width, width, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, _separable(width, widths[target], stride=2, activation=None))


class Transition(nn.Module):
    """The maps of a stage as the next stage takes them: a coarser one more, and the stem's of the first width."""

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Identity()
            if in_channels[i : i + 1] == [width]
            else _separable(in_channels[min(i, len(in_channels) - 1)], width, stride=1 if i < len(in_channels) else 2)
            for i, width in enumerate(out_channels)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [conv(maps[min(i, len(maps) - 1)]) for i, conv in enumerate(self.convs)]


class IterativeHead(nn.Module):
    """Each map, from the coarsest on, enlarged and added to the next finer one; of this one's width then."""

    def __init__(self, widths: Sequence[int], *, frozen: bool, resize_mode: str) -> None:
        super().__init__()
        self.resize_mode = resize_mode
        self.projects = nn.ModuleList(
            nn.Sequential(_normed(width, width, 3, frozen=frozen), _normed(width, finer, 1, F.relu, frozen=frozen))
            for finer, width in zip([widths[0], *widths], widths, strict=False)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        projected: list[Tensor] = []
        for project, x in zip(reversed(self.projects), reversed(maps), strict=True):
            if projected:
                x = x + resize(projected[0], x.shape[-2:], self.resize_mode, align_corners=True)
            projected.insert(0, project(x))
        return projected


@register_backbone("LiteHRNet")
class LiteHRNet(Backbone):
    """The encoder: HRNet's branches of shuffled halves of channels, weighed across the resolutions.

    Args:
        network_type: `lite_18` or `lite_30`, of more modules; or of shuffle units alone `naive` or `wider_naive`.
        in_channels: channels of the image.
        freeze_at: of the four maps, that through which nothing is trained.
        freeze_norm: normalise in the blocks by the statistics that there are, in training too, and train none of it.
        return_idx: of the four maps, those that are returned.
        use_head: give each map what the coarser ones see, by a head.
        resize_mode: how the head enlarges maps; PaddleSeg always does it bilinearly.
    """

    draw_weight = staticmethod(draw_narrow)
    size_multiple = 32  # the coarsest map has half the sides of the next, three times

    def __init__(
        self,
        network_type: str = "lite_18",
        in_channels: int = 3,
        freeze_at: int = 0,
        freeze_norm: bool = True,
        return_idx: int | Sequence[int] = (0, 1, 2, 3),
        use_head: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        if network_type not in NETWORKS:
            raise Error(f"unknown network_type {network_type!r}; known are {', '.join(NETWORKS)}")
        network = NETWORKS[network_type]
        widths = list(network.widths)
        self.freeze_at = freeze_at
        self.return_idx = [return_idx] if isinstance(return_idx, int) else list(return_idx)
        channels = [widths[0], *widths[:-1]] if use_head else widths
        self.feat_channels = [width for i, width in enumerate(channels) if i in self.return_idx]
        self.feat_strides = [4 << i for i in range(4) if i in self.return_idx]
        self.stem = Stem(in_channels)
        self.transitions, self.stages = nn.ModuleList(), nn.ModuleList()
        before = [32]
        for branches, modules in zip((2, 3, 4), network.modules, strict=True):
            self.transitions.append(Transition(before, before := widths[:branches]))
            module = partial(LiteModule, before, weighted=network.weighted, frozen=freeze_norm)
            self.stages.append(nn.Sequential(*(module() for _ in range(modules))))
        self.head = IterativeHead(widths, frozen=freeze_norm, resize_mode=resize_mode) if use_head else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to the maps of `return_idx`, at 1/4 to 1/32 of its size."""
        check_size(self, x)
        maps = [self.stem(x)]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            maps = stage(transition(maps))
        if self.head is not None:
            maps = self.head(maps)
        if 0 <= self.freeze_at < len(maps):
            maps[self.freeze_at] = maps[self.freeze_at].detach()
        return [x for i, x in enumerate(maps) if i in self.return_idx]


for _name in NETWORKS:
    register_backbone(f"Lite_HRNet_{_name.removeprefix('lite_')}")(partial(LiteHRNet, _name))
