"""HRNet with pixel contrast (Wang et al. 2021, https://arxiv.org/abs/2101.11939).

As in PaddleSeg's `models/hrnet_contrast.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class HRNetW48Contrast(SegmentationModel):
    """An encoder and a convolutional head; in training, pixels are embedded too, for a loss that contrasts them.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`). Its first
            feature map is taken.
        bb_channels: channels of that map.
        drop_prob: rate at which whole channels are dropped before the classifier.
        proj_dim: channels of the embedding.
        align_corners: how the logits are resized; PaddleSeg has it True for crops of odd size.
        auxiliary_heads: build the embedding, which only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "hrnet_w48",
        bb_channels: int = 720,
        drop_prob: float = 0.1,
        proj_dim: int = 720,
        align_corners: bool = False,
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = self.backbone.feat_channels
        if bb_channels != channels[0]:
            raise Error(
                f"backbone: this model takes one with bb_channels={bb_channels} in its first feature map, and a "
                f"{type(self.backbone).__name__} gives {len(channels)}, the first of {channels[0]} channels"
            )
        self.head = nn.Sequential(
            ConvBNAct(bb_channels, bb_channels, 3, bias=True),
            nn.Dropout2d(drop_prob),
            nn.Conv2d(bb_channels, num_classes, 1, bias=False),
        )
        self.embedding = Embedding(bb_channels, proj_dim) if auxiliary_heads else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Any]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W).

        In train mode a dict follows, of what the contrast is computed from: `seg`, the logits before they are resized,
        and `embed`, the embedding (N, proj_dim, h, w), each pixel of length 1.
        """
        features = self.backbone(image)[0]
        logits = self.head(features)
        outputs: list[Any] = [resize(logits, image.shape[-2:], align_corners=self.align_corners)]
        if self.training and self.embedding is not None:
            outputs.append({"seg": logits, "embed": self.embedding(features)})
        return outputs


class Embedding(Layer):
    """Two 1x1 convolutions, and each pixel scaled to length 1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, in_channels, 1, bias=True)
        self.project = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.project(self.conv(x)), dim=1)
