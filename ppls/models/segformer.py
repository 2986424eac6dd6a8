"""SegFormer (Xie et al. 2021, https://arxiv.org/abs/2105.15203), as in PaddleSeg's `models/segformer.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import all_channels, build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct, from_tokens, to_tokens
from ppls.models.resize import resize


class SegFormer(SegmentationModel):
    """SegFormer: a Mix Transformer, and a decoder that projects its four maps to one width, stacks and fuses them.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        embedding_dim: the width that every map is projected to.
        align_corners: how every resize places pixels; PaddleSeg has it True for crops of odd size.
        resize_mode: how the decoder upsamples; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "mixvisiontransformer_b0",
        embedding_dim: int = 256,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = all_channels(self.backbone, 4)
        self.projections = nn.ModuleList(nn.Linear(width, embedding_dim) for width in channels)
        self.fuse = ConvBNAct(len(channels) * embedding_dim, embedding_dim, 1)
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(embedding_dim, num_classes, 1)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to one map of logits (N, num_classes, H, W)."""
        features = self.backbone(image)
        projected = []
        for x, project in zip(features, self.projections, strict=True):
            x = from_tokens(project(to_tokens(x)), x.shape[-2:])
            projected.append(resize(x, features[0].shape[-2:], self.resize_mode, self.align_corners))
        fused = self.fuse(torch.cat(projected[::-1], dim=1))  # the coarsest first
        logits = self.classifier(self.dropout(fused))
        return [resize(logits, image.shape[-2:], align_corners=self.align_corners)]
