"""FCN (Shelhamer et al. 2014, https://arxiv.org/abs/1411.4038), as in PaddleSeg's `models/fcn.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.initialization import draw_narrow
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class FCN(SegmentationModel):
    """FCN: an encoder, a 1x1 convolution and the classifier.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the head takes: the first; others have no effect.
        channels: between the two convolutions; None for those of the feature map.
        align_corners: how the logits are resized; PaddleSeg has it True for crops of odd size.
        bias: whether the two convolutions have one.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "hrnet_w18",
        backbone_indices: Sequence[int] = (-1,),
        channels: int | None = None,
        align_corners: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.index = backbone_indices[0]
        in_channels = channels_of(self.backbone, backbone_indices)[0]
        self.head = FCNHead(in_channels, channels or in_channels, num_classes, bias)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to one map of logits (N, num_classes, H, W)."""
        logits = self.head(self.backbone(image)[self.index])
        return [resize(logits, image.shape[-2:], align_corners=self.align_corners)]


class FCNHead(Layer):
    """A 1x1 convolution and the classifier."""

    draw_weight = staticmethod(draw_narrow)

    def __init__(self, in_channels: int, channels: int, num_classes: int, bias: bool) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, channels, 1, bias=bias)
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, num_classes, H, W)`."""
        return self.classifier(self.conv(x))
