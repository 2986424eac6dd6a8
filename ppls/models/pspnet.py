"""PSPNet (Zhao et al. 2017, https://arxiv.org/abs/1612.01105), as in PaddleSeg's `models/pspnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.pyramid import PyramidPooling
from ppls.models.resize import resize


class PSPNet(SegmentationModel):
    """PSPNet: a dilated encoder, and its coarse map beside the means over bins of several sizes.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the pooling take.
        pp_out_channels: channels of the pooling's result.
        bin_sizes: side lengths of the pooled maps.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how every resize places pixels; PaddleSeg has it True for crops of odd size.
        resize_mode: how pooled maps are upsampled; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        pp_out_channels: int = 1024,
        bin_sizes: Sequence[int] = (1, 2, 3, 6),
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        self.pyramid = PyramidPooling(main, pp_out_channels, bin_sizes, align_corners, resize_mode)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(pp_out_channels, num_classes, 1)
        self.auxiliary_head = (
            ConvHead(auxiliary, auxiliary // 4, num_classes, bias=True) if enable_auxiliary_loss else None
        )
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        logits = [self.classifier(self.dropout(self.pyramid(main)))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]
