"""SFNet (Li et al. 2020, https://arxiv.org/abs/2002.10120), as in PaddleSeg's `models/sfnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.flow import warp
from ppls.models.heads import ConvHead
from ppls.models.layers import ConvBNAct
from ppls.models.pyramid import PyramidPooling
from ppls.models.resize import resize


class SFNet(SegmentationModel):
    """SFNet: a pyramid of maps from coarse to fine, each warped onto the next finer one by a flow that both tell.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are taken, the finest first.
        enable_auxiliary_loss: build a head for each warped map, which PaddleSeg runs in eval mode too.
        align_corners: how the logits' resize places pixels; within the pyramid corners are always aligned.
        resize_mode: how the pyramid resizes its maps; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        enable_auxiliary_loss: bool = False,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        *finer, coarsest = channels_of(self.backbone, backbone_indices, 4)
        width = 128 if coarsest <= 512 else 256
        self.pyramid = PyramidPooling(coarsest, width, (1, 2, 3, 6), True, resize_mode)
        self.lateral = nn.ModuleList(ConvBNAct(channels, width, 1, bias=True) for channels in finer)
        self.align = nn.ModuleList(FlowAlignment(width, resize_mode) for _ in finer)
        self.smooth = nn.ModuleList(ConvBNAct(width, width, 3) for _ in finer)
        self.auxiliary_heads = nn.ModuleList(
            ConvHead(width, width, num_classes, bias=True) for _ in (finer if enable_auxiliary_loss else [])
        )
        self.fuse = ConvBNAct(4 * width, width, 3)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), in either mode the auxiliary heads' first."""
        features = self.backbone(image)
        *finer, coarsest = (features[i] for i in self.backbone_indices)
        x = self.pyramid(coarsest)
        maps, logits = [x], []
        for i in reversed(range(len(finer))):
            fine = self.lateral[i](finer[i])
            x = fine + self.align[i](fine, x)
            maps.insert(0, self.smooth[i](x))
            if self.auxiliary_heads:
                logits.append(self.auxiliary_heads[i](x))
        size = maps[0].shape[-2:]
        maps[1:] = [resize(x, size, self.resize_mode, align_corners=True) for x in maps[1:]]
        logits.append(self.classifier(self.fuse(torch.cat(maps, dim=1))))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class FlowAlignment(nn.Module):
    """A coarse map warped onto a fine one, by a flow that a convolution of both gives."""

    def __init__(self, channels: int, resize_mode: str) -> None:
        super().__init__()
        self.squeeze_fine = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.squeeze_coarse = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.flow = nn.Conv2d(channels // 2 * 2, 2, 3, padding=1, bias=False)
        self.resize_mode = resize_mode

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """`fine` (N, C, H, W) and `coarse` (N, C, h, w) to (N, C, H, W)."""
        squeezed = resize(self.squeeze_coarse(coarse), fine.shape[-2:], self.resize_mode, align_corners=True)
        return warp(coarse, self.flow(torch.cat([squeezed, self.squeeze_fine(fine)], dim=1)))
