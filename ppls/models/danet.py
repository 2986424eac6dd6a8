"""DANet (Fu et al. 2018, https://arxiv.org/abs/1809.02983), as in PaddleSeg's `models/danet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import DroppedClassifier
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, attend, from_tokens, to_tokens
from ppls.models.resize import resize_from_corner


class DANet(SegmentationModel):
    """DANet: attention of every pixel to every other beside attention of every channel to every other.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps is taken: the last that is named.
        align_corners: how the logits' resize places pixels; without, it aligns the top left corners of pixels.
        auxiliary_heads: build the heads of both attentions and of the encoder, which only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        align_corners: bool = False,
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        channels = channels_of(self.backbone, backbone_indices)[-1]
        width = channels // 4
        self.channel_reduce = ConvBNAct(channels, width, 3, bias=True)
        self.channel_attention = ChannelAttention()
        self.channel_refine = ConvBNAct(width, width, 3, bias=True)
        self.position_reduce = ConvBNAct(channels, width, 3, bias=True)
        self.position_attention = PositionAttention(width)
        self.position_refine = ConvBNAct(width, width, 3, bias=True)
        self.head = DroppedClassifier(width, num_classes)
        self.attention_head = DroppedClassifier(width, num_classes) if auxiliary_heads else None
        self.encoder_head = DroppedClassifier(channels, num_classes) if auxiliary_heads else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W).

        In train mode those of the channels' attention, of the pixels' and of the encoder follow; upstream has one head
        for both attentions.
        """
        x = self.backbone(image)[self.backbone_indices[-1]]
        channel = self.channel_refine(self.channel_attention(self.channel_reduce(x)))
        position = self.position_refine(self.position_attention(self.position_reduce(x)))
        logits = [self.head(position + channel)]
        if self.training and self.attention_head is not None and self.encoder_head is not None:
            logits += [self.attention_head(channel), self.attention_head(position), self.encoder_head(x)]
        return [resize_from_corner(x, image.shape[-2:], self.align_corners) for x in logits]


class PositionAttention(Layer):
    """A map, and `gamma` times what each of its pixels takes from all, the most from those most like it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (to_tokens(conv(x)) for conv in (self.query, self.key, self.value))
        attended = attend(query, key, value, scale=1.0)
        return self.gamma * from_tokens(attended, x.shape[-2:]) + x


class ChannelAttention(Layer):
    """A map, and `gamma` times what each of its channels takes from all, the most from those least like it."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.flatten(2)
        likeness = channels @ channels.transpose(1, 2)  # (N, C, C)
        weights = (likeness.amax(2, keepdim=True) - likeness).softmax(dim=2)
        return self.gamma * (weights @ channels).reshape(x.shape) + x
