"""DeepLabV3 (Chen et al. 2017, https://arxiv.org/abs/1706.05587), as in PaddleSeg's `models/deeplab.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ppls.models.aspp import ASPP
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.resize import resize


class DeepLabV3(SegmentationModel):
    """DeepLabV3: atrous pooling over the encoder's coarse map.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps is taken.
        aspp_ratios: dilations of the atrous pooling.
        aspp_out_channels: its channels.
        align_corners: how every resize places pixels; PaddleSeg has it True for crops of odd size.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (3,),
        aspp_ratios: Sequence[int] = (1, 6, 12, 18),
        aspp_out_channels: int = 256,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        (channels,) = channels_of(self.backbone, backbone_indices, 1)
        self.aspp = ASPP(channels, aspp_out_channels, aspp_ratios, separable=False, align_corners=align_corners)
        self.classifier = nn.Conv2d(aspp_out_channels, num_classes, 1)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to one map of logits (N, num_classes, H, W)."""
        features = self.backbone(image)
        logits = self.classifier(self.aspp(features[self.backbone_indices[0]]))
        return [resize(logits, image.shape[-2:], align_corners=self.align_corners)]
