"""The encoder of PIDNet (Xu et al. 2022, https://arxiv.org/abs/2206.02066), as PaddleSeg's `backbones/pidnet.py`."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import Backbone, register_backbone
from ppls.models.initialization import draw_weight
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.resize import resize
from ppls.models.sizes import check_size

_conv = partial(ConvBNAct, activation=None)


@register_backbone("PIDNet")
class PIDNetBranches(Backbone):
    """The encoder: branches for detail, for context and for boundaries, as the parts P, I and D of a controller.

    Args:
        in_channels: channels of the image.
        channels: of the first convolutions, of which all others are multiples.
        ppm_channels: of each pooled map.
        num_stem_blocks: blocks of each stage of the stem and of the branch for detail. With 2 the pooling and what puts
            the branches together are lighter.
        num_branch_blocks: blocks of each stage of the branch for context.
        align_corners: how the maps that go from branch to branch are resized.
        resize_mode: how maps are resized; PaddleSeg always does it bilinearly.
    """

    size_multiple = 8  # the maps that are put together have an eighth of the image's sides, rounded up and down

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        ppm_channels: int = 96,
        num_stem_blocks: int = 2,
        num_branch_blocks: int = 3,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        light, width = num_stem_blocks == 2, channels
        self.stem = nn.Sequential(
            ConvBNAct(in_channels, width, 3, stride=2),
            ConvBNAct(width, width, 3, stride=2),
            _stage(width, width, num_stem_blocks),
            nn.ReLU(),
            _stage(width, 2 * width, num_stem_blocks, stride=2),
            nn.ReLU(),
        )
        self.integral = nn.ModuleList(
            [
                _stage(2 * width, 4 * width, num_branch_blocks, stride=2),
                _stage(4 * width, 8 * width, num_branch_blocks, stride=2),
                nn.Sequential(_bottleneck(8 * width, 8 * width, stride=2), _bottleneck(16 * width, 8 * width)),
            ]
        )
        self.proportional = nn.ModuleList(
            [
                *(_stage(2 * width, 2 * width, num_stem_blocks) for _ in range(2)),
                nn.Sequential(_bottleneck(2 * width, 2 * width)),
            ]
        )
        self.derivative = nn.ModuleList(
            [
                _basic(2 * width, width if light else 2 * width),
                nn.Sequential(_bottleneck(width, width)) if light else _basic(2 * width, 2 * width),
                nn.Sequential(_bottleneck(2 * width, 2 * width)),
            ]
        )
        self.compress = nn.ModuleList(_conv(times * width, 2 * width, 1) for times in (4, 8))
        self.attentions = nn.ModuleList(PixelAttention(2 * width, width, resize_mode) for _ in range(2))
        self.differences = nn.ModuleList(
            [_conv(4 * width, width if light else 2 * width, 3), _conv(8 * width, 2 * width, 3)]
        )
        self.context = (ParallelPooling if light else DeepPooling)(16 * width, ppm_channels, 4 * width, resize_mode)
        self.fusion = (LightBoundaryFusion if light else BoundaryFusion)(4 * width)
        self.align_corners, self.resize_mode = align_corners, resize_mode
        self.feat_channels, self.feat_strides = [4 * width], [8]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image `(N, in_channels, H, W)` to one map, at 1/8 of its size."""
        return [self.branches(x)[1]]

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The image to the map for detail, that of all branches, and the one for boundaries, at 1/8 of its size.

        That for detail is of the first of three stages, that for boundaries of the second; they have half the channels.
        """
        check_size(self, x)
        proportional = integral = derivative = self.stem(x)
        details = []
        for i, (attention, difference) in enumerate(zip(self.attentions, self.differences, strict=True)):
            integral = F.relu(self.integral[i](integral))
            proportional = attention(self.proportional[i](F.relu(proportional)), self.compress[i](integral))
            details.append(proportional)
            derivative = self.derivative[i](F.relu(derivative))
            derivative = derivative + self._enlarged(difference(integral), derivative)
        context = self.context(self.integral[-1](integral))
        detail = self.proportional[-1](F.relu(proportional))
        boundary = self.derivative[-1](F.relu(derivative))
        return details[0], self.fusion(detail, self._enlarged(context, detail), boundary), derivative

    def _enlarged(self, x: Tensor, to: Tensor) -> Tensor:
        return resize(x, to.shape[-2:], self.resize_mode, self.align_corners)

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg's `init_weights`: by all output channels, however many groups."""
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(weight, std=math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size))))
        else:
            draw_weight(layer, weight)


class Residual(Layer):
    """Convolutions, added to their input, which a 1x1 convolution fits to them; with a ReLU behind or not."""

    def __init__(self, *convs: nn.Module, ends: tuple[int, int], stride: int, activated: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convs)
        fits = stride == 1 and ends[0] == ends[1]
        self.shortcut = nn.Identity() if fits else _conv(*ends, 1, stride=stride)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x) + self.shortcut(x)
        return F.relu(x) if self.activated else x


def _basic(in_channels: int, channels: int, stride: int = 1, *, activated: bool = False) -> nn.Module:
    convs = ConvBNAct(in_channels, channels, 3, stride=stride), _conv(channels, channels, 3)
    return Residual(*convs, ends=(in_channels, channels), stride=stride, activated=activated)


def _stage(in_channels: int, channels: int, blocks: int, stride: int = 1) -> nn.Module:
    """Basic blocks, each with a ReLU behind but the last of several."""
    first = _basic(in_channels, channels, stride, activated=True)
    return nn.Sequential(first, *(_basic(channels, channels, activated=i < blocks - 1) for i in range(1, blocks)))


def _bottleneck(in_channels: int, channels: int, stride: int = 1) -> nn.Module:
    """A 3x3 convolution between two 1x1, the second of which doubles the channels."""
    convs = (
        ConvBNAct(in_channels, channels, 1),
        ConvBNAct(channels, channels, 3, stride=stride),
        _conv(channels, 2 * channels, 1),
    )
    return Residual(*convs, ends=(in_channels, 2 * channels), stride=stride, activated=False)


class NormedConv(Layer):
    """What is pooled, or not, normalised, and through a ReLU convolved: in this order."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, groups: int = 1, pool: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else pool
        self.norm = BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(self.pool(x))))


class PixelAttention(nn.Module):
    """Detail and context, weighed at each pixel by how like each other they are."""

    def __init__(self, channels: int, hidden_channels: int, resize_mode: str) -> None:
        super().__init__()
        self.key = _conv(channels, hidden_channels, 1)
        self.query = _conv(channels, hidden_channels, 1)
        self.resize_mode = resize_mode

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        size = detail.shape[-2:]
        key = resize(self.key(context), size, self.resize_mode)
        weight = torch.sigmoid((self.query(detail) * key).sum(1, keepdim=True))
        return weight * resize(context, size, self.resize_mode) + (1 - weight) * detail


class Pooling(Layer):
    """Means over ever larger regions beside the map itself, and what is made of them added to a projection of it."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, resize_mode: str) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(2 * stride + 1, stride, stride) for stride in (2, 4, 8)]  # PaddleSeg's exclusive=False
        self.scales = nn.ModuleList(
            NormedConv(in_channels, hidden_channels, pool=pool) for pool in (None, *pools, nn.AdaptiveAvgPool2d(1))
        )
        self.compress = NormedConv(5 * hidden_channels, out_channels)
        self.shortcut = NormedConv(in_channels, out_channels)
        self.resize_mode = resize_mode

    def forward(self, x: Tensor) -> Tensor:
        own, *scales = self.scales
        pooled = [resize(scale(x), x.shape[-2:], self.resize_mode) for scale in scales]
        return self.compress(torch.cat(self.aggregated(own(x), pooled), 1)) + self.shortcut(x)

    def aggregated(self, own: Tensor, pooled: list[Tensor]) -> list[Tensor]:
        raise NotImplementedError


class ParallelPooling(Pooling):
    """The parallel aggregation pyramid pooling module: every mean is added to the map, and one convolution does all."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, resize_mode: str) -> None:
        super().__init__(in_channels, hidden_channels, out_channels, resize_mode)
        self.process = NormedConv(4 * hidden_channels, 4 * hidden_channels, 3, groups=4)

    def aggregated(self, own: Tensor, pooled: list[Tensor]) -> list[Tensor]:
        return [own, self.process(torch.cat([x + own for x in pooled], 1))]


class DeepPooling(Pooling):
    """The deep aggregation pyramid pooling module: each mean is added to what was made of the one before."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, resize_mode: str) -> None:
        super().__init__(in_channels, hidden_channels, out_channels, resize_mode)
        self.processes = nn.ModuleList(NormedConv(hidden_channels, hidden_channels, 3) for _ in range(4))

    def aggregated(self, own: Tensor, pooled: list[Tensor]) -> list[Tensor]:
        maps = [own]
        for process, x in zip(self.processes, pooled, strict=True):
            maps.append(process(x + maps[-1]))
        return maps


class BoundaryFusion(nn.Module):
    """The boundary-attention-guided fusion: detail where there are boundaries, context elsewhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = NormedConv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        weight = torch.sigmoid(boundary)
        return self.conv(weight * detail + (1 - weight) * context)


class LightBoundaryFusion(nn.Module):
    """The lighter one, in which detail and context are both kept, and each is given of the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = _conv(channels, channels, 1)
        self.context = _conv(channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        weight = torch.sigmoid(boundary)
        return self.detail((1 - weight) * context + detail) + self.context(context + weight * detail)


register_backbone("PIDNet_Small")(partial(PIDNetBranches, channels=32))
register_backbone("PIDNet_Medium")(PIDNetBranches)
register_backbone("PIDNet_Large")(partial(PIDNetBranches, ppm_channels=112, num_stem_blocks=3, num_branch_blocks=4))
