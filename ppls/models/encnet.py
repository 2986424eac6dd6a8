"""ENCNet (Zhang et al. 2018, https://arxiv.org/abs/1803.08904), as in PaddleSeg's `models/encnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.context_encoding import ContextEncoding
from ppls.models.heads import ConvHead
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class ENCNet(SegmentationModel):
    """ENCNet: a dilated encoder, and what the whole image is like as a weight on every channel.

    In train mode a head classifies a finer map, and another says which classes are in the image at all.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are taken, the coarsest last.
        num_codes: codewords.
        mid_channels: channels of all that follows the encoder.
        use_se_loss: build the head that says which classes are in the image, and runs beside the auxiliary head alone.
        add_lateral: add the other feature maps to the coarsest.
        auxiliary_heads: build the auxiliary head, which classifies the encoder's third map.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (1, 2, 3),
        num_codes: int = 32,
        mid_channels: int = 512,
        use_se_loss: bool = True,
        add_lateral: bool = False,
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        *finer, coarsest = channels_of(self.backbone, backbone_indices)
        self.bottleneck = ConvBNAct(coarsest, mid_channels, 3, bias=True)
        self.laterals = nn.ModuleList()
        if add_lateral:
            self.laterals.extend(ConvBNAct(width, mid_channels, 1, bias=True) for width in finer)
            self.fusion = ConvBNAct((len(finer) + 1) * mid_channels, mid_channels, 3, bias=True)
        self.add_lateral = add_lateral
        self.context = ContextEncoding(mid_channels, num_codes)
        self.classifier = nn.Conv2d(mid_channels, num_classes, 1)
        (third,) = channels_of(self.backbone, [2])
        self.auxiliary_head = ConvHead(third, mid_channels, num_classes, bias=True) if auxiliary_heads else None
        self.presence_head = nn.Linear(mid_channels, num_classes) if use_se_loss else None

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode the auxiliary head's follow.

        Last, in train mode, are the logits of which classes are in the image, (N, num_classes).
        """
        features = self.backbone(image)
        *finer, coarsest = (features[i] for i in self.backbone_indices)
        x = self.bottleneck(coarsest)
        if self.add_lateral:
            laterals = [lateral(map) for lateral, map in zip(self.laterals, finer, strict=True)]
            x = self.fusion(torch.cat([x, *(resize(lateral, x.shape[-2:]) for lateral in laterals)], dim=1))
        x, encoded = self.context(x)
        logits = [resize(self.classifier(x), image.shape[-2:])]
        if self.training and self.auxiliary_head is not None:
            logits.append(resize(self.auxiliary_head(features[2]), image.shape[-2:]))
            if self.presence_head is not None:
                logits.append(self.presence_head(encoded))
        return logits
