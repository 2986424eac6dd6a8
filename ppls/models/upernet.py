"""UPerNet (Xiao et al. 2018, https://arxiv.org/abs/1807.10221), as in PaddleSeg's `models/upernet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.layers import ConvBNAct
from ppls.models.pyramid import PyramidPooling
from ppls.models.resize import resize

BIN_SIZES = (1, 2, 3, 6)


class UPerNet(SegmentationModel):
    """UPerNet: an encoder, pyramid pooling over its coarsest map, and a feature pyramid down to its finest.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are taken, the finest first; three at least.
        channels: those of every map of the pyramid.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits are resized; within, corners are always aligned.
        dropout_prob: in the auxiliary head.
        resize_mode: how maps are resized within; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        channels: int = 512,
        enable_auxiliary_loss: bool = False,
        align_corners: bool = False,
        dropout_prob: float = 0.1,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        widths = channels_of(self.backbone, backbone_indices)
        self.decoder = UPerDecoder(widths, channels, align_corners=True, resize_mode=resize_mode)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary_head = (
            ConvHead(widths[2], widths[2], num_classes, dropout_prob, bias=True) if enable_auxiliary_loss else None
        )
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        features = [features[i] for i in self.backbone_indices]
        logits = [self.classifier(self.decoder(features))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(features[2]))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class UPerDecoder(nn.Module):
    """Pyramid pooling over the coarsest map, carried down to each finer one, and all of them fused at the finest.

    Args:
        in_channels: of each map, the finest first.
        align_corners: how the maps are resized; the pooled ones always with corners aligned.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, *, align_corners: bool, resize_mode: str = "bilinear"
    ) -> None:
        super().__init__()
        *finer, coarsest = in_channels
        self.pyramid = PyramidPooling(coarsest, channels, BIN_SIZES, align_corners=True, resize_mode=resize_mode)
        self.laterals = nn.ModuleList(ConvBNAct(width, channels, 1, bias=True) for width in finer)
        self.smooths = nn.ModuleList(ConvBNAct(channels, channels, 3) for _ in finer)
        self.fuse = ConvBNAct(len(in_channels) * channels, channels, 3, bias=True)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The maps `(N, C, H, W)`, the finest first, to `(N, channels, H, W)` of its size."""
        *finer, coarsest = features
        maps = [self.pyramid(coarsest)]  # the finest will stand first
        for lateral, x in zip(reversed(self.laterals), reversed(finer), strict=True):
            maps.insert(0, lateral(x) + self._resized(maps[0], x))
        finest, *smoothed = [smooth(x) for smooth, x in zip(self.smooths, maps, strict=False)] + maps[-1:]
        return self.fuse(torch.cat([finest, *(self._resized(x, finest) for x in smoothed)], dim=1))

    def _resized(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(x, like.shape[-2:], self.resize_mode, self.align_corners)
