"""Semantic FPN (Kirillov et al. 2019, https://arxiv.org/abs/1901.02446), as in PaddleSeg's `models/pfpnnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.fpn import FPN
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class PFPNNet(SegmentationModel):
    """Semantic FPN: a feature pyramid, whose maps are brought to the finest one's size step by step, and summed.

    The coarsest map of the pyramid is not among those summed, in PaddleSeg either.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are taken, the finest first.
        channels: those of every map of the pyramid; PaddleSeg has no default.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits are resized.
        dropout_ratio: of whole channels, before the classifiers.
        fpn_inplanes: the channels of the encoder's maps, which say how many steps each map takes too.
        resize_mode: how maps are resized within; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        channels: int = 256,
        enable_auxiliary_loss: bool = False,
        align_corners: bool = False,
        dropout_ratio: float = 0.1,
        fpn_inplanes: Sequence[int] = (256, 512, 1024, 2048),
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        if channels_of(self.backbone, backbone_indices) != list(fpn_inplanes):
            raise Error(
                f"fpn_inplanes is {list(fpn_inplanes)}, and the feature maps of the backbone have "
                f"{channels_of(self.backbone, backbone_indices)} channels"
            )
        self.pyramid = FPN(fpn_inplanes, channels, resize_mode)
        self.scale_heads = nn.ModuleList(
            ScaleHead(channels, channels, steps_of(width, fpn_inplanes[0]), resize_mode) for width in fpn_inplanes[:-1]
        )
        self.dropout = nn.Dropout2d(dropout_ratio)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary_head = (
            AuxiliaryHead(fpn_inplanes[2], num_classes, dropout_ratio) if enable_auxiliary_loss else None
        )
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        features = [features[i] for i in self.backbone_indices]
        pyramid = self.pyramid(features)
        x = self.scale_heads[0](pyramid[-1])
        for i in range(len(pyramid) - 2, 0, -1):  # heads are counted from the finest map, maps from the coarsest
            x = x + resize(self.scale_heads[i](pyramid[i]), x.shape[-2:], self.resize_mode)
        logits = [self.classifier(self.dropout(x))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(features[2]))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


def steps_of(channels: int, finest: int) -> int:
    """How many times a map of so many channels is doubled, beside the finest's: its channels tell how coarse it is."""
    return int(log2(channels) - log2(finest))


class ScaleHead(Layer):
    """A convolution and a map of twice the size, so many times; without steps the convolution alone."""

    def __init__(self, in_channels: int, channels: int, steps: int, resize_mode: str) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            ConvBNAct(channels if i else in_channels, channels, 3, bias=True) for i in range(max(1, steps))
        )
        self.doubled, self.resize_mode = steps > 0, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, channels, H * 2 ** steps, W * 2 ** steps)`."""
        for conv in self.convs:
            x = conv(x)
            if self.doubled:
                x = resize(x, (2 * x.shape[2], 2 * x.shape[3]), self.resize_mode)
        return x


class AuxiliaryHead(Layer):
    """A 3x3 convolution of as many channels, dropout of whole channels, and the classifier."""

    def __init__(self, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.conv = ConvBNAct(channels, channels, 3, bias=True)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.conv(x)))
