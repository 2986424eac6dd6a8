"""OCRNet (Yuan et al. 2019, https://arxiv.org/abs/1909.11065), as in PaddleSeg's `models/ocrnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.object_context import ObjectContextHead
from ppls.models.resize import resize


class OCRNet(SegmentationModel):
    """OCRNet: every pixel beside what it has of the regions that a coarse segmentation finds.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the coarse segmentation takes, and which the pixels; one
            for both. Of more than two the last two.
        ocr_mid_channels: channels of pixels and regions.
        ocr_key_channels: channels in which pixels and regions are compared.
        align_corners: how the logits are resized; PaddleSeg has it True for crops of odd size.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "hrnet_w18",
        backbone_indices: Sequence[int] = (0,),
        ocr_mid_channels: int = 512,
        ocr_key_channels: int = 256,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = channels_of(self.backbone, backbone_indices)
        self.coarse, self.fine = _for_both(backbone_indices)
        coarse, fine = _for_both(channels)
        self.head = ObjectContextHead(coarse, fine, num_classes, ocr_mid_channels, ocr_key_channels)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode the coarse segmentation's follow."""
        features = self.backbone(image)
        logits, regions, _ = self.head(features[self.coarse], features[self.fine])
        maps = [logits, regions] if self.training else [logits]
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in maps]


def _for_both(values: Sequence[int]) -> tuple[int, int]:
    """The last two of the values; the only one for both."""
    return (values[0] if len(values) == 1 else values[-2]), values[-1]
