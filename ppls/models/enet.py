"""ENet (Paszke et al. 2016, https://arxiv.org/abs/1606.02147), as in PaddleSeg's `models/enet.py`."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.norms import BatchNorm2d
from ppls.models.transposed import FillingConvTranspose2d
from ppls.models.unpooling import unpool

RATIO = 4  # by which a bottleneck's convolutions are narrower than its map


class ENet(SegmentationModel):
    """ENet: bottlenecks, regular, dilated and asymmetric, most of them at 1/8 of the size; few to come up again.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image; 3 is all that PaddleSeg's own runs with.
        encoder_relu: ReLU on the way down; else PReLU.
        decoder_relu: ReLU on the way up; else PReLU.
    """

    encoder = ("stem", "downsampling", "stages")
    feat_channels = (16, 64, 128)
    feat_strides = (2, 4, 8)

    def __init__(
        self, num_classes: int = 19, in_channels: int = 3, encoder_relu: bool = False, decoder_relu: bool = True
    ) -> None:
        super().__init__()
        down = partial(Bottleneck, dropout=0.1, relu=encoder_relu)
        up = partial(Bottleneck, dropout=0.1, relu=decoder_relu)
        at_eighth = [
            partial(down, 128),
            partial(down, 128, dilation=2),
            partial(down, 128, asymmetric=True),
            partial(down, 128, dilation=4),
            partial(down, 128),
            partial(down, 128, dilation=8),
            partial(down, 128, asymmetric=True),
            partial(down, 128, dilation=16),
        ]
        self.stem = Stem(in_channels, 16, encoder_relu)
        self.downsampling = nn.ModuleList(
            [Downsampling(16, 64, 0.01, encoder_relu), Downsampling(64, 128, 0.1, encoder_relu)]
        )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*(down(64, dropout=0.01) for _ in range(4))),
                nn.Sequential(*(make() for make in at_eighth)),
                nn.Sequential(*(make() for make in at_eighth)),
            ]
        )
        self.upsampling = nn.ModuleList([Upsampling(128, 64, 0.1, decoder_relu), Upsampling(64, 16, 0.1, decoder_relu)])
        self.decoder = nn.ModuleList([nn.Sequential(up(64), up(64)), nn.Sequential(up(16))])
        self.classifier = FillingConvTranspose2d(16, num_classes, 3, stride=2, padding=1, bias=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        maps, pooled = self._down(image)
        x = maps[-1]
        for fine, places, upsampling, stage in zip(
            maps[-2::-1], pooled[::-1], self.upsampling, self.decoder, strict=True
        ):
            x = stage(upsampling(x, places, fine.shape[-2:]))
        return [self.classifier(x, output_size=image.shape[-2:])]

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps at 1/2, 1/4 and 1/8 of the image's size."""
        return self._down(image)[0]

    def _down(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The maps, and where the maxima stood of which the second and the third are made."""
        at_quarter, *at_eighth = self.stages
        maps, pooled = [self.stem(image)], []
        for downsampling, stages in zip(self.downsampling, ([at_quarter], at_eighth), strict=True):
            x, places = downsampling(maps[-1])
            for stage in stages:
                x = stage(x)
            maps.append(x)
            pooled.append(places)
        return maps, pooled


class Stem(Layer):
    """The initial block: a strided convolution beside the maxima of the image itself, `(N, channels, H / 2, W / 2)`."""

    def __init__(self, in_channels: int, channels: int, relu: bool) -> None:
        super().__init__()
        if in_channels >= channels:
            raise Error(f"in_channels is {in_channels}: ENet's first map has {channels} channels, the image among them")
        self.main = nn.Conv2d(in_channels, channels - in_channels, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn = BatchNorm2d(channels)
        self.activation = _activation(relu)

    def forward(self, image: Tensor) -> Tensor:
        return self.activation(self.bn(torch.cat([self.main(image), self.pool(image)], dim=1)))


class Bottleneck(Layer):
    """A residual of three convolutions, narrow in the middle: `(N, channels, H, W)` to the same.

    Args:
        asymmetric: in the middle a column of 5x1 pixels and a row of 1x5, in place of a 3x3 convolution.
    """

    def __init__(
        self, channels: int, *, dropout: float, relu: bool, dilation: int = 1, asymmetric: bool = False
    ) -> None:
        super().__init__()
        width = channels // RATIO
        conv = partial(Conv, relu=relu)
        self.reduce = conv(channels, width, 1)
        self.conv: Layer | nn.Sequential
        if asymmetric:
            self.conv = nn.Sequential(
                conv(width, width, (5, 1), padding=(2, 0)), conv(width, width, (1, 5), padding=(0, 2))
            )
        else:
            self.conv = conv(width, width, 3, padding=dilation, dilation=dilation)
        self.expand = conv(width, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.activation = _activation(relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.dropout(self.expand(self.conv(self.reduce(x)))))


class Downsampling(nn.Module):
    """A bottleneck that halves the map: maxima of 2x2 pixels, and zeros for the channels that come to these."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, relu: bool) -> None:
        super().__init__()
        width = in_channels // RATIO
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.reduce = Conv(in_channels, width, 2, stride=2, relu=relu)
        self.conv = Conv(width, width, 3, padding=1, relu=relu)
        self.expand = Conv(width, out_channels, 1, relu=relu)
        self.dropout = nn.Dropout2d(dropout)
        self.activation = _activation(relu)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, in_channels, H, W)` to `(N, out_channels, H // 2, W // 2)`, and where the maxima stood."""
        main, places = self.pool(x)
        extension = self.dropout(self.expand(self.conv(self.reduce(x))))
        more = extension.shape[1] - main.shape[1]
        return self.activation(F.pad(main, (0, 0, 0, 0, 0, more)) + extension), places


class Upsampling(nn.Module):
    """A bottleneck that doubles the map: what is projected goes back to where the maxima stood."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, relu: bool) -> None:
        super().__init__()
        width = in_channels // RATIO
        self.project = Conv(in_channels, out_channels, 1)
        self.reduce = Conv(in_channels, width, 1, relu=relu)
        self.deconv = FillingConvTranspose2d(width, width, 2, stride=2, bias=False)
        self.bn = BatchNorm2d(width)
        self.inner_activation = _activation(relu)
        self.expand = Conv(width, out_channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.activation = _activation(relu)

    def forward(self, x: Tensor, places: Tensor, size: torch.Size) -> Tensor:
        """`(N, in_channels, h, w)` to `(N, out_channels, H, W)` of `size` (H, W), which was pooled at `places`."""
        main = unpool(self.project(x), places, size)
        extension = self.inner_activation(self.bn(self.deconv(self.reduce(x), output_size=size)))
        return self.activation(main + self.dropout(self.expand(extension)))


class Conv(Layer):
    """A convolution without bias, normalised and, unless `relu` is None, activated."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
        relu: bool | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
        self.bn = BatchNorm2d(out_channels)
        self.activation = None if relu is None else _activation(relu)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.activation is None else self.activation(x)


def _activation(relu: bool) -> nn.Module:
    return nn.ReLU() if relu else nn.PReLU()
