"""DDRNet (Hong et al. 2021, https://arxiv.org/abs/2101.06085), as in PaddleSeg's `models/ddrnet.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.base import SegmentationModel
from ppls.models.heads import PreNormHead
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.resize import resize
from ppls.models.sizes import check_size


class DDRNet_23(SegmentationModel):  # noqa: N801 (upstream's name)
    """DDRNet-23: two branches of different resolution, fused twice, and a pyramid pooling over the coarser one.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
        enable_auxiliary_loss: build a second head, on what the first fusion gives, which eval mode runs too.
        resize_mode: how coarser maps are enlarged; PaddleSeg always does it bilinearly.
    """

    encoder = ("stem", "shared", "low", "high", "compress", "down")
    feat_channels = (128, 128, 256)
    feat_strides = (8, 8, 8)
    size_multiple = 8  # the finer branch has an eighth of the image's sides, rounded down

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 3,
        enable_auxiliary_loss: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        width, high = 64, 128
        self.stem = nn.Sequential(
            ConvBNAct(in_channels, width, 3, stride=2, bias=True), ConvBNAct(width, width, 3, stride=2, bias=True)
        )
        self.shared = nn.ModuleList([_stage(width, width), _stage(width, 2 * width, stride=2)])
        self.low = nn.ModuleList(
            [_stage(2 * width, 4 * width, stride=2), _stage(4 * width, 8 * width, stride=2), _bottleneck(8 * width, 2)]
        )
        self.high = nn.ModuleList([_stage(2 * width, high), _stage(high, high), _bottleneck(high)])
        self.compress = nn.ModuleList(ConvBNAct(times * width, high, 1, activation=None) for times in (4, 8))
        self.down = nn.ModuleList(
            [
                ConvBNAct(high, 4 * width, 3, stride=2, activation=None, same=True),
                nn.Sequential(
                    ConvBNAct(high, 4 * width, 3, stride=2),
                    ConvBNAct(4 * width, 8 * width, 3, stride=2, activation=None),
                ),
            ]
        )
        self.context = DAPPM(16 * width, 128, 4 * width, resize_mode)
        self.head = PreNormHead(4 * width, 128, num_classes)
        self.auxiliary_head = PreNormHead(high, 128, num_classes) if enable_auxiliary_loss else None
        self.resize_mode = resize_mode

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W): of the head, and of the auxiliary one, in any mode."""
        (fused, _, high), low = self._branches(image)
        logits = [self.head(self._enlarged(self.context(low), high) + high)]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(fused))
        return [resize(x, image.shape[-2:]) for x in logits]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps of the finer branch, at an eighth of the image's size: fused once, twice, and at its end."""
        return self._branches(image)[0]

    def _branches(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps of the finer branch, and what the coarser one comes to, at 1/64 of the image's size."""
        check_size(self, image)
        x = self.stem(image)
        for stage in self.shared:
            x = F.relu(stage(x))
        low = high = x
        maps = []
        for low_stage, high_stage, down, compress in zip(self.low, self.high, self.down, self.compress, strict=False):
            low, high = low_stage(F.relu(low)), high_stage(F.relu(high))
            low, high = low + down(F.relu(high)), high + self._enlarged(compress(F.relu(low)), high)
            maps.append(high)
        return [*maps, self.high[-1](F.relu(high))], self.low[-1](F.relu(low))

    def _enlarged(self, x: Tensor, to: Tensor) -> Tensor:
        return resize(x, to.shape[-2:], self.resize_mode)


class Residual(Layer):
    """Convolutions, added to their input, which a 1x1 convolution fits to them; with a ReLU behind or not."""

    def __init__(self, convs: nn.Module, shortcut: nn.Module, *, activated: bool) -> None:
        super().__init__()
        self.convs, self.shortcut, self.activated = convs, shortcut, activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x) + self.shortcut(x)
        return F.relu(x) if self.activated else x


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvBNAct(in_channels, out_channels, 1, stride=stride, activation=None)


def _stage(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """Two basic blocks, the second without the ReLU behind it."""
    blocks = [
        Residual(
            nn.Sequential(
                ConvBNAct(inputs, out_channels, 3, stride=step),
                ConvBNAct(out_channels, out_channels, 3, activation=None),
            ),
            _shortcut(inputs, out_channels, step),
            activated=activated,
        )
        for inputs, step, activated in ((in_channels, stride, True), (out_channels, 1, False))
    ]
    return nn.Sequential(*blocks)


def _bottleneck(channels: int, stride: int = 1) -> nn.Module:
    """A block between two 1x1 convolutions, which doubles the channels, without a ReLU behind it."""
    convs = nn.Sequential(
        ConvBNAct(channels, channels, 1),
        ConvBNAct(channels, channels, 3, stride=stride),
        ConvBNAct(channels, 2 * channels, 1, activation=None),
    )
    return Residual(convs, _shortcut(channels, 2 * channels, stride), activated=False)


class NormedConv(Layer):
    """What is pooled, or not, normalised, and through a ReLU convolved: in this order."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, pool: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else pool
        self.norm = BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(self.pool(x))))


class DAPPM(Layer):
    """The deep aggregation pyramid pooling module: means over ever larger regions, each added to what the last made."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, resize_mode: str) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(2 * stride + 1, stride, stride, count_include_pad=False) for stride in (2, 4, 8)]
        self.scales = nn.ModuleList(
            NormedConv(in_channels, hidden_channels, pool=pool) for pool in (None, *pools, nn.AdaptiveAvgPool2d(1))
        )
        self.processes = nn.ModuleList(NormedConv(hidden_channels, hidden_channels, 3) for _ in range(4))
        self.compress = NormedConv(5 * hidden_channels, out_channels)
        self.shortcut = NormedConv(in_channels, out_channels)
        self.resize_mode = resize_mode

    def forward(self, x: Tensor) -> Tensor:
        finest, *coarser = self.scales
        maps = [finest(x)]
        for scale, process in zip(coarser, self.processes, strict=True):
            maps.append(process(resize(scale(x), x.shape[-2:], self.resize_mode) + maps[-1]))
        return self.compress(torch.cat(maps, 1)) + self.shortcut(x)
