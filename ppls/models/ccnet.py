"""CCNet (Huang et al. 2019, https://arxiv.org/abs/1811.11721), as in PaddleSeg's `models/ccnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class CCNet(SegmentationModel):
    """CCNet: a dilated encoder, and an attention in which every pixel sees those of its row and of its column.

    Run twice, with the same weights, it lets every pixel see all others.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the attention take.
        enable_auxiliary_loss: build the auxiliary head, which only train mode runs.
        dropout_prob: in the heads.
        recurrence: how often the attention is run.
        align_corners: how the logits are resized.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        enable_auxiliary_loss: bool = True,
        dropout_prob: float = 0.0,
        recurrence: int = 1,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        self.reduce = ConvBNAct(main, main // 4, 3, activation=F.leaky_relu)
        self.attention = CrissCrossAttention(main // 4)
        self.conv = ConvBNAct(main // 4, main // 4, 3, activation=F.leaky_relu)
        self.head = ConvHead(main + main // 4, 512, num_classes, dropout_prob, bias=True)
        self.auxiliary_head = (
            ConvHead(auxiliary, 512, num_classes, dropout_prob, bias=True) if enable_auxiliary_loss else None
        )
        self.recurrence, self.align_corners = recurrence, align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode the auxiliary head's follow."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        x = self.reduce(main)
        for _ in range(self.recurrence):
            x = self.attention(x)
        logits = [self.head(torch.cat([main, self.conv(x)], dim=1))]
        if self.training and self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class CrissCrossAttention(Layer):
    """Each pixel, and what it takes from those of its row and of its column, weighed together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        height, width = x.shape[-2:]
        in_column = columns(query) @ columns(key).transpose(2, 3)  # (N, W, H, H)
        itself = torch.eye(height, dtype=torch.bool, device=x.device)  # stands in its row already
        in_column = in_column.masked_fill(itself, float("-inf")).transpose(1, 2)
        in_row = rows(query) @ rows(key).transpose(2, 3)  # (N, H, W, W)
        weights = torch.cat([in_column, in_row], dim=3).softmax(3)
        of_column = weights[..., :height].transpose(1, 2) @ columns(value)  # (N, W, H, C)
        of_row = weights[..., height : height + width] @ rows(value)  # (N, H, W, C)
        return self.gamma * (of_column.permute(0, 3, 2, 1) + of_row.permute(0, 3, 1, 2)) + x


def columns(x: Tensor) -> Tensor:
    """`(N, C, H, W)` as `(N, W, H, C)`."""
    return x.permute(0, 3, 2, 1)


def rows(x: Tensor) -> Tensor:
    """`(N, C, H, W)` as `(N, H, W, C)`."""
    return x.permute(0, 2, 3, 1)
