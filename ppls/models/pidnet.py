"""PIDNet (Xu et al. 2022, https://arxiv.org/abs/2206.02066), as in PaddleSeg's `models/pidnet.py`, since 2.9."""

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
from ppls.models.norms import BatchNorm2d
from ppls.models.pidnet_branches import PIDNetBranches
from ppls.models.resize import resize


class PIDNet(SegmentationModel):
    """PIDNet: branches for detail, for context and for boundaries, and a head on what they come to.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the branches: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        head_channels: hidden channels of the head, and of the one for detail.
        auxiliary_heads: build the heads for detail and for boundaries, which only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "pidnet_small",
        head_channels: int = 128,
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        branches = build_backbone(backbone)
        if not isinstance(branches, PIDNetBranches):
            raise Error(
                "backbone: this model takes the branches of PIDNet, whose maps for detail and boundaries have half the "
                f"channels of the one for all; a {type(branches).__name__} has none"
            )
        self.backbone = branches
        (channels,) = branches.feat_channels
        self.head = Head(channels, head_channels, num_classes)
        half = channels // 2
        heads = [Head(half, head_channels, num_classes), Head(half, half // 2, 1)] if auxiliary_heads else []
        self.auxiliary_heads = nn.ModuleList(heads)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to logits (N, num_classes, H, W); in train mode three maps.

        The first is of the branch for detail, the second of all, the third, of one channel, of boundaries.
        """
        proportional, fused, derivative = self.backbone.branches(image)
        logits = [self.head(fused)]
        if self.training and self.auxiliary_heads:
            detail, boundary = self.auxiliary_heads
            logits = [detail(proportional), *logits, boundary(derivative)]
        return [resize(x, image.shape[-2:], align_corners=True) for x in logits]


class Head(Layer):
    """A normalisation, a 3x3 convolution and the classifier: feature map to logits."""

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(in_channels)
        self.hidden = ConvBNAct(in_channels, hidden_channels, 3)
        self.classifier = nn.Conv2d(hidden_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(F.relu(self.norm(x))))
