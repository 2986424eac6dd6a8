"""FastFCN (Wu et al. 2019, https://arxiv.org/abs/1903.11816), as in PaddleSeg's `models/fastfcn.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import all_channels, build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.context_encoding import ContextEncoding
from ppls.models.heads import ConvHead
from ppls.models.jpu import JPU
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class FastFCN(SegmentationModel):
    """FastFCN: an encoder whose last maps are upsampled together, and ENCNet's weights on every channel.

    In train mode a head classifies the encoder's third map, and another says which classes are in the image at all.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        num_codes: codewords.
        mid_channels: channels of all that follows the encoder.
        use_jpu: upsample the last three maps together; False takes the last alone.
        aux_loss: build the auxiliary head, which classifies the encoder's third map.
        use_se_loss: build the head that says which classes are in the image, and runs beside the auxiliary head alone.
        add_lateral: add the encoder's two finest maps.
        resize_mode: how maps are resized within; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        num_codes: int = 32,
        mid_channels: int = 512,
        use_jpu: bool = True,
        aux_loss: bool = True,
        use_se_loss: bool = True,
        add_lateral: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = all_channels(self.backbone, 4)
        if use_jpu:
            self.upsampling = JPU(channels[1:], mid_channels, resize_mode)
            self.bottleneck = ConvBNAct(4 * mid_channels, mid_channels, 1)
        else:
            self.bottleneck = ConvBNAct(channels[3], mid_channels, 3)
        self.laterals = nn.ModuleList()
        if add_lateral:
            self.laterals.extend(ConvBNAct(width, mid_channels, 1) for width in channels[:2])
            self.fusion = ConvBNAct(3 * mid_channels, mid_channels, 3)
        self.use_jpu, self.add_lateral, self.resize_mode = use_jpu, add_lateral, resize_mode
        self.context = ContextEncoding(mid_channels, num_codes)
        self.classifier = nn.Conv2d(mid_channels, num_classes, 1)
        self.auxiliary_head = ConvHead(channels[2], mid_channels, num_classes, bias=True) if aux_loss else None
        self.presence_head = nn.Linear(mid_channels, num_classes) if use_se_loss else None

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode the auxiliary head's follow.

        Last, in train mode, are the logits of which classes are in the image, (N, num_classes).
        """
        features = self.backbone(image)
        x = self.bottleneck(self.upsampling(features[1:]) if self.use_jpu else features[3])
        if self.add_lateral:
            laterals = [lateral(map) for lateral, map in zip(self.laterals, features[:2], strict=True)]
            resized = [resize(lateral, x.shape[-2:], self.resize_mode) for lateral in laterals]
            x = self.fusion(torch.cat([x, *resized], dim=1))
        x, encoded = self.context(x)
        logits = [resize(self.classifier(x), image.shape[-2:])]
        if self.training and self.auxiliary_head is not None:
            logits.append(resize(self.auxiliary_head(features[2]), image.shape[-2:]))
            if self.presence_head is not None:
                logits.append(self.presence_head(encoded))
        return logits
