"""DANet, which ppls does not have: two attentions behind gates that upstream starts at 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct


class DANet(SegmentationModel):
    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet18_vd",
        backbone_indices: Sequence[int] = (2, 3),
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.index = backbone_indices[-1]
        channels = self.backbone.feat_channels[self.index]
        width = channels // 4
        self.channel_reduce = ConvBNAct(channels, width, 3, bias=True)
        self.channel_attention = ChannelAttention()
        self.channel_refine = ConvBNAct(width, width, 3, bias=True)
        self.position_reduce = ConvBNAct(channels, width, 3, bias=True)
        self.position_attention = PositionAttention(width)
        self.position_refine = ConvBNAct(width, width, 3, bias=True)
        self.classifier, self.attention_head, self.encoder_head, self.unused_head = (
            nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(inputs, num_classes, 1))
            for inputs in (width, width, channels, width)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.backbone(image)[self.index]
        channel = self.channel_refine(self.channel_attention(self.channel_reduce(x)))
        position = self.position_refine(self.position_attention(self.position_reduce(x)))
        logits = [self.classifier(position + channel)]
        if self.training:
            logits += [self.attention_head(channel), self.attention_head(position), self.encoder_head(x)]
        return [_resize_from_edge(x, image.shape[-2:]) for x in logits]


class PositionAttention(nn.Module):
    """Every pixel and a mean of all pixels, by likeness, `gamma` times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))
        likeness = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        return self.gamma * (value @ likeness.transpose(1, 2)).reshape(x.shape) + x


class ChannelAttention(nn.Module):
    """Every channel and a mean of all channels, by unlikeness, `gamma` times."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        maps = x.flatten(2)
        products = maps @ maps.transpose(1, 2)
        weights = torch.softmax(products.amax(-1, keepdim=True) - products, dim=-1)
        return self.gamma * (weights @ maps).reshape(x.shape) + x


def _resize_from_edge(x: Tensor, size: Sequence[int]) -> Tensor:
    """`x` resized bilinearly as Paddle's `align_mode=1`: pixel `i` stands at `i * ratio`."""
    for dim, after in zip((2, 3), size, strict=True):
        before = x.shape[dim]
        places = torch.arange(after, dtype=x.dtype) * (before / after)
        low = places.long().clamp(max=before - 1)
        share = (places - low).reshape([-1, 1] if dim == 2 else [-1])
        x = torch.lerp(x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=before - 1)), share)
    return x
