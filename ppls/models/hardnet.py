"""FC-HarDNet (Chao et al. 2019, https://arxiv.org/abs/1909.00948), as in PaddleSeg's `models/hardnet.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize

_conv = partial(ConvBNAct, same=True)


class HarDNet(SegmentationModel):
    """HarDNet: blocks of layers that are linked as harmonics are, down and up again.

    Args:
        num_classes: classes, the channels of the logits.
        in_channels: channels of the image.
        stem_channels: channels of the four convolutions before the encoder.
        ch_list: channels after each block of the encoder.
        grmul: how much wider a layer is for each further link.
        gr: channels of the layers with one link, of each block.
        n_layers: layers of each block.
        align_corners: how every resize places pixels.
        resize_mode: how the decoder upsamples; PaddleSeg always does it bilinearly.
    """

    encoder = ("stem", "blocks", "widen", "pools")

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 3,
        stem_channels: Sequence[int] = (16, 24, 32, 48),
        ch_list: Sequence[int] = (64, 96, 160, 224, 320),
        grmul: float = 1.7,
        gr: Sequence[int] = (10, 16, 18, 24, 32),
        n_layers: Sequence[int] = (4, 4, 8, 8, 8),
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        if len(stem_channels) != 4 or not len(ch_list) == len(gr) == len(n_layers):
            raise Error(
                f"stem_channels are four, and ch_list, gr and n_layers have a value for each block: these are "
                f"{list(stem_channels)}, {list(ch_list)}, {list(gr)} and {list(n_layers)}"
            )
        super().__init__()
        ends = pairwise((in_channels, *stem_channels))
        self.stem = nn.Sequential(
            *(_conv(*each, 3, stride=stride) for each, stride in zip(ends, (1, 1, 2, 1), strict=True))
        )
        entering = (stem_channels[-1], *ch_list)
        self.blocks = nn.ModuleList(
            HarDBlock(channels, growth, grmul, count)
            for channels, growth, count in zip(entering, gr, n_layers, strict=False)
        )
        widths = [kept_channels(growth, grmul, count) for growth, count in zip(gr, n_layers, strict=True)]
        self.widen = nn.ModuleList(_conv(*each, 1) for each in zip(widths, ch_list, strict=True))
        self.pools = nn.ModuleList(nn.AvgPool2d(2) for _ in widths[1:])
        joined = [below + fine for below, fine in zip([*widths[1:-1], ch_list[-1]], widths, strict=False)]
        self.reduce = nn.ModuleList(_conv(channels, channels // 2, 1) for channels in reversed(joined))
        self.decoder = nn.ModuleList(
            HarDBlock(channels // 2, growth, grmul, count)
            for channels, growth, count in reversed(list(zip(joined, gr, n_layers, strict=False)))
        )
        self.classifier = nn.Conv2d(widths[0], num_classes, 1)
        self._widths = tuple(widths)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to one map of logits (N, num_classes, H, W)."""
        *maps, last = self.forward_features(image)
        x = self.widen[-1](last)
        for reduce, block, fine in zip(self.reduce, self.decoder, reversed(maps), strict=True):
            x = resize(x, fine.shape[-2:], self.resize_mode, self.align_corners)
            x = block(reduce(torch.cat([x, fine], dim=1)))
        return [resize(self.classifier(x), image.shape[-2:], align_corners=self.align_corners)]

    @property
    def feat_channels(self) -> tuple[int, ...]:
        return self._widths

    @property
    def feat_strides(self) -> tuple[int, ...]:
        return tuple(2 << i for i in range(len(self._widths)))

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The maps of the encoder's blocks, at 1/2, 1/4, ... of the image's size."""
        first, *others = self.blocks
        maps = [first(self.stem(image))]
        for widen, pool, block in zip(self.widen, self.pools, others, strict=False):
            maps.append(block(pool(widen(maps[-1]))))
        return maps


class HarDBlock(Layer):
    """Layers each of which sees those at distances of powers of two that divide its number.

    The output is that of the last and of every layer of an odd number, put together.
    """

    def __init__(self, in_channels: int, growth: int, factor: float, count: int) -> None:
        super().__init__()
        widths = [in_channels, *(width(layer, growth, factor) for layer in range(1, count + 1))]
        self.links = [links(layer) for layer in range(1, count + 1)]
        self.layers = nn.ModuleList(
            _conv(sum(widths[link] for link in seen), widths[layer], 3) for layer, seen in enumerate(self.links, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, kept_channels, H, W)`."""
        outputs = [x]
        for seen, layer in zip(self.links, self.layers, strict=True):
            outputs.append(layer(torch.cat([outputs[link] for link in seen], dim=1)))
        return torch.cat([outputs[layer] for layer in kept(len(self.links))], dim=1)


def links(layer: int) -> list[int]:
    """The layers that one sees, counted from 1; 0 is what the block is given."""
    return sorted(layer - 2**i for i in range(10) if layer % 2**i == 0)


def width(layer: int, growth: int, factor: float) -> int:
    """Its channels, an even number: those of the growth, times the factor for each link but the first."""
    channels: float = growth
    for _ in links(layer)[1:]:  # a power would round otherwise
        channels *= factor
    return int(int(channels + 1) / 2) * 2


def kept(count: int) -> list[int]:
    """Which layers of so many give a block's output."""
    return [layer for layer in range(1, count + 1) if layer % 2 == 1 or layer == count]


def kept_channels(growth: int, factor: float, count: int) -> int:
    return sum(width(layer, growth, factor) for layer in kept(count))
