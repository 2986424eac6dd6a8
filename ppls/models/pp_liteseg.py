"""PP-LiteSeg (Peng et al. 2022, https://arxiv.org/abs/2204.02681), as in PaddleSeg's `models/pp_liteseg.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.attention import ChannelAttention, SpatialAttention
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct, SeparableConv
from ppls.models.levels import for_each_level
from ppls.models.pyramid import PooledBranch
from ppls.models.resize import resize


class PPLiteSeg(SegmentationModel):
    """PP-LiteSeg: an encoder, a pyramid pooling over its last feature map, and a decoder that fuses by attention.

    Option names and defaults are PaddleSeg's; its PP-LiteSeg-T has `backbone="stdc1"`, `arm_out_chs=[32, 64, 128]` and
    `seg_head_inter_chs=[32, 64, 64]`, its PP-LiteSeg-B has `backbone="stdc2"` and these defaults.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps to fuse, the finest first.
        arm_type: the attention of the fusion, one of `ARM_TYPES`.
        cm_bin_sizes: side lengths of the pooled maps of the context module.
        cm_out_ch: channels of the context module.
        arm_out_chs: channels of each decoder level, the finest first; one value serves all.
        seg_head_inter_chs: hidden channels of each level's head; one value serves all.
        resize_mode: how the decoder upsamples: `bilinear` or `nearest`.
        context_resize_mode: how the context module upsamples; PaddleSeg always does it bilinearly.
        auxiliary_heads: build the heads of the coarser levels, which only train mode runs.
        raw_logits: return logits as the heads compute them, not resized to the image.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "stdc1",
        backbone_indices: Sequence[int] = (2, 3, 4),
        arm_type: str = "UAFM_SpAtten",
        cm_bin_sizes: Sequence[int] = (1, 2, 4),
        cm_out_ch: int = 128,
        arm_out_chs: Sequence[int] = (64, 96, 128),
        seg_head_inter_chs: Sequence[int] = (64, 64, 64),
        resize_mode: str = "bilinear",
        context_resize_mode: str = "bilinear",
        auxiliary_heads: bool = True,
        raw_logits: bool = False,
    ) -> None:
        super().__init__()
        levels = len(backbone_indices)
        arm_out_chs = for_each_level("arm_out_chs", arm_out_chs, levels)
        seg_head_inter_chs = for_each_level("seg_head_inter_chs", seg_head_inter_chs, levels)

        self.raw_logits = raw_logits
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        low_channels = channels_of(self.backbone, backbone_indices)
        self.context = ContextModule(low_channels[-1], cm_out_ch, cm_bin_sizes, context_resize_mode)
        self.decoder = nn.ModuleList(
            FusionModule(low, high, out, arm_type, resize_mode)
            for low, high, out in zip(low_channels, [*arm_out_chs[1:], cm_out_ch], arm_out_chs, strict=True)
        )
        self.heads = nn.ModuleList(
            SegmentationHead(channels, hidden, num_classes)
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
        heads = self.heads if self.training else self.heads[:1]
        logits = [head(x) for head, x in zip(heads, fused, strict=False)]
        return logits if self.raw_logits else [resize(x, image.shape[-2:]) for x in logits]


class ContextModule(nn.Module):
    """The simple pyramid pooling module: the mean over bins of several sizes, each projected, resized and summed.

    Args:
        separable: make the last convolution, of the sum, of a depthwise and a pointwise one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bin_sizes: Sequence[int],
        resize_mode: str,
        *,
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(PooledBranch(in_channels, out_channels, size) for size in bin_sizes)
        self.conv_out = (
            separable_conv(out_channels, out_channels, 3)
            if separable
            else ConvBNAct(out_channels, out_channels, 3, bias=True)
        )
        self.resize_mode = resize_mode

    def forward(self, x: Tensor) -> Tensor:
        pooled = [resize(branch(x), x.shape[-2:], self.resize_mode) for branch in self.branches]
        return self.conv_out(sum(pooled[1:], start=pooled[0]))


class FusionModule(nn.Module):
    """The unified attention fusion module: a finer (low) and a coarser (high) map, weighed against each other."""

    def __init__(self, low_channels: int, high_channels: int, out_channels: int, arm_type: str, mode: str) -> None:
        super().__init__()
        if arm_type not in ARM_TYPES:
            raise Error(f"unknown arm_type {arm_type!r}; known are {', '.join(ARM_TYPES)}")
        attention, with_max, separable = ARM_TYPES[arm_type]
        conv = separable_conv if separable else ConvBNAct
        self.attention = None if attention is None else attention(high_channels, with_max)
        self.conv_low = conv(low_channels, high_channels, 3)
        self.conv_out = conv(high_channels, out_channels, 3)
        self.resize_mode = mode

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = self.conv_low(low)
        high = resize(high, low.shape[-2:], self.resize_mode)
        if self.attention is None:
            return self.conv_out(low + high)
        weight = self.attention(low, high)
        return self.conv_out(low * weight + high * (1 - weight))


class SegmentationHead(nn.Module):
    """A 3x3 convolution, separable or not, and the classifier: feature map to logits."""

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int, *, separable: bool = False) -> None:
        super().__init__()
        self.conv = (separable_conv if separable else ConvBNAct)(in_channels, hidden_channels, 3)
        self.classifier = nn.Conv2d(hidden_channels, num_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv(x))


separable_conv = partial(SeparableConv, bias=False)

# PaddleSeg's name of a fusion: its attention, whether that sees maxima beside means, and whether its convolutions are
# separable
ARM_TYPES: dict[str, tuple[type[SpatialAttention] | type[ChannelAttention] | None, bool, bool]] = {
    "UAFM": (None, False, False),
    "UAFM_ChAtten": (ChannelAttention, True, False),
    "UAFM_ChAtten_S": (ChannelAttention, False, False),
    "UAFM_SpAtten": (SpatialAttention, True, False),
    "UAFM_SpAtten_S": (SpatialAttention, False, False),
    "UAFMMobile": (None, False, True),
    "UAFMMobile_SpAtten": (SpatialAttention, True, True),
}
