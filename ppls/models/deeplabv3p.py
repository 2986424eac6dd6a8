"""DeepLabV3+ (Chen et al. 2018, https://arxiv.org/abs/1802.02611), as in PaddleSeg's `models/deeplab.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.aspp import ASPP
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct, SeparableConv
from ppls.models.resize import resize


class DeepLabV3P(SegmentationModel):
    """DeepLabV3+: atrous pooling over the encoder's coarse map, and a decoder that adds a fine one.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are the fine and the coarse one.
        aspp_ratios: dilations of the atrous pooling.
        aspp_out_channels: its channels.
        align_corners: how every resize places pixels; PaddleSeg has it True for crops of odd size.
        resize_mode: how the pooling and the decoder upsample; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 3),
        aspp_ratios: Sequence[int] = (1, 6, 12, 18),
        aspp_out_channels: int = 256,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        fine, coarse = channels_of(self.backbone, backbone_indices, 2)
        self.aspp = ASPP(
            coarse,
            aspp_out_channels,
            aspp_ratios,
            separable=True,
            align_corners=align_corners,
            resize_mode=resize_mode,
        )
        self.decoder = Decoder(fine, aspp_out_channels, num_classes, align_corners, resize_mode)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to one map of logits (N, num_classes, H, W)."""
        features = self.backbone(image)
        fine, coarse = (features[i] for i in self.backbone_indices)
        logits = self.decoder(self.aspp(coarse), fine)
        return [resize(logits, image.shape[-2:], align_corners=self.align_corners)]


class Decoder(nn.Module):
    """The coarse map resized to the fine one, both convolved together and classified."""

    def __init__(
        self, fine_channels: int, coarse_channels: int, num_classes: int, align_corners: bool, resize_mode: str
    ) -> None:
        super().__init__()
        self.conv_fine = ConvBNAct(fine_channels, 48, 1, bias=True)
        self.refine = nn.Sequential(SeparableConv(coarse_channels + 48, 256, 3), SeparableConv(256, 256, 3))
        self.classifier = nn.Conv2d(256, num_classes, 1)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        coarse = resize(coarse, fine.shape[-2:], self.resize_mode, self.align_corners)
        x = torch.cat([coarse, self.conv_fine(fine)], dim=1)
        return self.classifier(self.refine(x))
