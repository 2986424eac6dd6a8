"""Hierarchical multi-scale attention (Tao et al. 2020, https://arxiv.org/abs/2005.10821) of an OCRNet.

As in PaddleSeg's `models/mscale_ocrnet.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.object_context import ObjectContextHead
from ppls.models.resize import rescale, resize


class Seen(NamedTuple):
    """What the network makes of the image at one scale, each map of that image's size.

    Attributes:
        logits, regions: `(N, num_classes, h, w)`, those of the coarse segmentation last.
        trust: `(N, 1, h, w)`, in 0..1: how far this scale is to be believed against a larger one.
    """

    logits: Tensor
    regions: Tensor
    trust: Tensor


class MscaleOCRNet(SegmentationModel):
    """One OCRNet at several scales of the image; where each is to be believed, it says itself.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: of which feature maps the head has the channels; whatever they are, it is given the first.
        mscale: scales of the image in eval mode; none for those of train mode, 0.5 and 1.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "hrnet_w48",
        backbone_indices: Sequence[int] = (0,),
        mscale: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = self.backbone.feat_channels[0]
        if {*channels_of(self.backbone, backbone_indices)} != {channels}:
            raise Error(f"backbone_indices={list(backbone_indices)}: this model takes the first feature map, 0")
        self.head = ObjectContextHead(channels, channels, num_classes, bias=False, dropout=0.05)
        self.trust = TrustHead(512)
        self.mscale = list(mscale)
        self.smallest_side = ceil(2 * 32 / min([0.5, *mscale]))  # two pixels of the coarsest map of the least

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), in eval mode fused of all scales.

        In train mode to those of the coarse segmentation and the final one, both fused of the scales 0.5 and 1, then
        the final one of each scale.
        """
        if self.mscale and not self.training:
            return [self._fused(image)]
        low, high = self._seen(image, 0.5), self._seen(image)
        logits = _over(low.logits, low.trust, high.logits)
        if not self.training:
            return [logits]
        regions = _over(low.regions, low.trust, high.regions)
        return [regions, logits, resize(low.logits, image.shape[-2:]), high.logits]

    def _fused(self, image: Tensor) -> Tensor:
        """The logits of all scales, from the largest down."""
        largest, *others = sorted(self.mscale, reverse=True)
        fused = self._seen(image, largest).logits
        for scale in others:
            seen = self._seen(image, scale)
            if scale >= 1:
                fused = seen.trust * seen.logits + (1 - seen.trust) * resize(fused, seen.logits.shape[-2:])
            else:
                fused = _over(seen.logits, seen.trust, fused)
        return fused

    def _seen(self, image: Tensor, scale: float = 1.0) -> Seen:
        image = image if scale == 1 else rescale(image, scale)
        features = self.backbone(image)[0]
        logits, regions, described = self.head(features, features)
        return Seen(*(resize(x, image.shape[-2:]) for x in (logits, regions, self.trust(described))))


def _over(low: Tensor, trust: Tensor, high: Tensor) -> Tensor:
    """The logits of a smaller scale, as far as these are trusted, over those of a larger one, at its size."""
    weighed, trust = (resize(x, high.shape[-2:]) for x in (trust * low, trust))
    return weighed + (1 - trust) * high


class TrustHead(Layer):
    """Two 3x3 convolutions and one weight for each pixel, in 0..1."""

    def __init__(self, in_channels: int, channels: int = 256) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_channels, channels, 3)
        self.conv2 = ConvBNAct(channels, channels, 3)
        self.weight = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.weight(self.conv2(self.conv1(x))))
