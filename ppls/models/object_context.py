"""Object-contextual representations (Yuan et al. 2019, https://arxiv.org/abs/1909.11065), of OCRNet and its heir."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppls.models.initialization import draw_narrow
from ppls.models.layers import ConvBNAct, from_tokens, to_tokens


class ObjectContextHead(nn.Module):
    """A coarse segmentation, the mean pixel of each of its regions, and every pixel beside what it has of these.

    Args:
        coarse_channels: of the map that is segmented coarsely.
        fine_channels: of the map whose pixels are classified.
        mid_channels: of pixels and regions.
        key_channels: in which pixels and regions are compared.
        bias: whether the convolutions of the attention and behind it have one.
        dropout: rate at which whole channels are dropped before the classifier.
    """

    draw_weight = staticmethod(draw_narrow)

    def __init__(
        self,
        coarse_channels: int,
        fine_channels: int,
        num_classes: int,
        mid_channels: int = 512,
        key_channels: int = 256,
        *,
        bias: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.regions = nn.Sequential(
            ConvBNAct(coarse_channels, coarse_channels, 1, bias=True), nn.Conv2d(coarse_channels, num_classes, 1)
        )
        self.pixels = ConvBNAct(fine_channels, mid_channels, 3, bias=True)
        self.attention = RegionAttention(mid_channels, key_channels, bias)
        self.project = ConvBNAct(2 * mid_channels, mid_channels, 1, bias=bias)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(mid_channels, num_classes, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both maps `(N, C, H, W)` to logits, those of the coarse segmentation, and the pixels in their context."""
        regions = self.regions(coarse)
        pixels = self.pixels(fine)
        means = regions.flatten(2).softmax(dim=2) @ to_tokens(pixels)  # (N, num_classes, C)
        context = self.attention(pixels, means.transpose(1, 2)[..., None])
        described = self.dropout(self.project(torch.cat([context, pixels], dim=1)))
        return self.classifier(described), regions, described


class RegionAttention(nn.Module):
    """What each pixel takes from the regions, by likeness."""

    def __init__(self, channels: int, key_channels: int, bias: bool) -> None:
        super().__init__()
        self.query = _two(channels, key_channels, bias)
        self.key = _two(channels, key_channels, bias)
        self.value = ConvBNAct(channels, key_channels, 1, bias=bias)
        self.project = ConvBNAct(key_channels, channels, 1, bias=bias)
        self.scale = key_channels**-0.5

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Pixels `(N, C, H, W)` and regions `(N, C, K, 1)` to a context `(N, C, H, W)`."""
        query, key, value = self.query(pixels), self.key(regions), self.value(regions)
        likeness = (self.scale * (to_tokens(query) @ key.flatten(2))).softmax(dim=-1)  # (N, H * W, K)
        return self.project(from_tokens(likeness @ to_tokens(value), pixels.shape[-2:]))


def _two(in_channels: int, out_channels: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvBNAct(in_channels, out_channels, 1, bias=bias), ConvBNAct(out_channels, out_channels, 1, bias=bias)
    )
