"""PIDNet (Xu et al. 2022, https://arxiv.org/abs/2206.02066), as in PaddleSeg's `models/pidnet.py`, since 2.9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.heads import PreNormHead
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
        self.head = PreNormHead(channels, head_channels, num_classes)
        half = channels // 2
        heads = (
            [PreNormHead(half, head_channels, num_classes), PreNormHead(half, half // 2, 1)] if auxiliary_heads else []
        )
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
