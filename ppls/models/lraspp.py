"""LR-ASPP of MobileNetV3 (Howard et al. 2019, https://arxiv.org/abs/1905.02244), as in PaddleSeg's `lraspp.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize
from ppls.models.sizes import check_least_size

WINDOW, STRIDE = 49, (16, 20)  # of the pooling, in pixels of the coarsest map


class LRASPP(SegmentationModel):
    """LR-ASPP: the coarsest map weighed by channel, then finer ones put beside it, one after the other.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps to take, the finest first, the encoder's last at the end.
        lraspp_head_inter_chs: channels of what each finer map adds.
        lraspp_head_out_ch: channels of the head.
        resize_mode: how the head enlarges maps.
        use_gap: weigh by the means of the whole map, else by those of windows of `WINDOW` pixels.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "mobilenetv3_large_x1_0",
        backbone_indices: Sequence[int] = (0, 1, 3),
        lraspp_head_inter_chs: Sequence[int] = (32, 64),
        lraspp_head_out_ch: int = 128,
        resize_mode: str = "bilinear",
        use_gap: bool = True,
    ) -> None:
        super().__init__()
        if len(backbone_indices) != len(lraspp_head_inter_chs) + 1:
            raise Error(
                f"lraspp_head_inter_chs={list(lraspp_head_inter_chs)}: one for each of backbone_indices="
                f"{list(backbone_indices)} but the last"
            )
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        *finer, coarsest = channels_of(self.backbone, backbone_indices)
        if coarsest != self.backbone.feat_channels[-1]:
            raise Error(
                f"backbone_indices={list(backbone_indices)}: the head takes the last map, and the backbone gives "
                f"{len(self.backbone.feat_channels)}"
            )
        out = lraspp_head_out_ch
        self.pool = nn.AdaptiveAvgPool2d(1) if use_gap else nn.AvgPool2d(WINDOW, STRIDE, count_include_pad=False)
        self.weigh = nn.Conv2d(coarsest, out, 1, bias=False)
        self.value = ConvBNAct(coarsest, out, 1, bias=True)
        self.project = nn.Conv2d(out, out, 1, bias=False)
        levels = list(zip(finer, lraspp_head_inter_chs, strict=True))[::-1]  # the finest last
        self.narrow = nn.ModuleList(nn.Conv2d(channels, width, 1, bias=False) for channels, width in levels)
        self.join = nn.ModuleList(ConvBNAct(out + width, out, 1, bias=True) for _, width in levels)
        self.classifier = nn.Conv2d(out, num_classes, 1, bias=False)
        self.resize_mode = resize_mode
        if not use_gap:  # a window in the coarsest map, whose sides are those of the image by its stride, rounded up
            self.least_size = (WINDOW - 1) * self.backbone.feat_strides[-1] + 1

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to one map of logits (N, num_classes, H, W)."""
        check_least_size(self, image)
        maps = self.backbone(image)
        coarsest = maps[-1]
        weights = torch.sigmoid(self.weigh(self.pool(coarsest)))
        x = self.project(self.value(coarsest) * self._enlarged(weights, coarsest))
        finer = [maps[i] for i in self.backbone_indices[:-1]]
        for fine, narrow, join in zip(reversed(finer), self.narrow, self.join, strict=True):
            x = join(torch.cat([self._enlarged(x, fine), narrow(fine)], 1))
        return [resize(self.classifier(x), image.shape[-2:])]

    def _enlarged(self, x: Tensor, to: Tensor) -> Tensor:
        return resize(x, to.shape[-2:], self.resize_mode)
