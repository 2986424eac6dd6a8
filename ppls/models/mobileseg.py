"""MobileSeg, as in PaddleSeg's `models/mobileseg.py`: PP-LiteSeg (https://arxiv.org/abs/2204.02681) made separable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.levels import for_each_level
from ppls.models.pp_liteseg import ContextModule, FusionModule, SegmentationHead, separable_conv
from ppls.models.resize import resize


class MobileSeg(SegmentationModel):
    """MobileSeg: an encoder for mobile devices, and PP-LiteSeg's context module and decoder of separable convolutions.

    Option names and defaults are PaddleSeg's; all of its published files have `cm_bin_sizes=[1, 2, 4]`,
    `cm_out_ch=128` and `arm_out_chs=[32, 64, 128]`.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps to fuse, the finest first.
        cm_bin_sizes: side lengths of the pooled maps of the context module.
        cm_out_ch: channels of the context module.
        arm_type: the attention of the fusion, one of `ppls.models.pp_liteseg.ARM_TYPES`.
        arm_out_chs: channels of each decoder level, the finest first; one value serves all.
        seg_head_inter_chs: hidden channels of each level's head; one value serves all.
        resize_mode: how the decoder upsamples: `bilinear` or `nearest`.
        use_last_fuse: fuse the maps of all levels once more, for the finest head.
        context_resize_mode: how the context module and the last fusion upsample; PaddleSeg always does it bilinearly.
        auxiliary_heads: build the heads of the coarser levels, which only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "shufflenetv2_x1_0",
        backbone_indices: Sequence[int] = (1, 2, 3),
        cm_bin_sizes: Sequence[int] = (1, 2),
        cm_out_ch: int = 64,
        arm_type: str = "UAFMMobile",
        arm_out_chs: Sequence[int] = (32, 48, 64),
        seg_head_inter_chs: Sequence[int] = (32, 32, 32),
        resize_mode: str = "bilinear",
        use_last_fuse: bool = False,
        context_resize_mode: str = "bilinear",
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        levels = len(backbone_indices)
        arm_out_chs = for_each_level("arm_out_chs", arm_out_chs, levels)
        seg_head_inter_chs = for_each_level("seg_head_inter_chs", seg_head_inter_chs, levels)

        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        low_channels = channels_of(self.backbone, backbone_indices)
        self.context = ContextModule(low_channels[-1], cm_out_ch, cm_bin_sizes, context_resize_mode, separable=True)
        self.decoder = nn.ModuleList(
            FusionModule(low, high, out, arm_type, resize_mode)
            for low, high, out in zip(low_channels, [*arm_out_chs[1:], cm_out_ch], arm_out_chs, strict=True)
        )
        self.last_fusion = LastFusion(arm_out_chs, context_resize_mode) if use_last_fuse else None
        self.heads = nn.ModuleList(
            SegmentationHead(channels, hidden, num_classes, separable=True)
            for channels, hidden in list(zip(arm_out_chs, seg_head_inter_chs, strict=True))[
                : None if auxiliary_heads else 1
            ]
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W): one map in eval mode, one per head in train mode."""
        features = self.backbone(image)
        low_features = [features[i] for i in self.backbone_indices]
        high = self.context(low_features[-1])
        fused: list[Tensor] = []  # finest first
        for fuse, low in zip(reversed(self.decoder), reversed(low_features), strict=True):
            high = fuse(low, high)
            fused.insert(0, high)
        if self.last_fusion is not None:
            fused[0] = self.last_fusion(fused)
        heads = self.heads if self.training else self.heads[:1]
        return [resize(head(x), image.shape[-2:]) for head, x in zip(heads, fused, strict=False)]


class LastFusion(nn.Module):
    """The finest map beside the coarser ones, each of these convolved to its width and enlarged, and all convolved."""

    def __init__(self, channels: Sequence[int], resize_mode: str) -> None:
        super().__init__()
        finest, *coarser = channels
        self.convs = nn.ModuleList(separable_conv(width, finest, 3) for width in coarser)
        self.project = separable_conv(len(channels) * finest, finest, 3)
        self.resize_mode = resize_mode

    def forward(self, maps: list[Tensor]) -> Tensor:
        finest, *coarser = maps
        enlarged = [
            resize(conv(x), finest.shape[-2:], self.resize_mode) for conv, x in zip(self.convs, coarser, strict=True)
        ]
        return self.project(torch.cat([finest, *enlarged], 1))
