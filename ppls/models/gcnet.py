"""GCNet (Cao et al. 2019, https://arxiv.org/abs/1904.11492), as in PaddleSeg's `models/gcnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, to_tokens
from ppls.models.resize import resize


class GCNet(SegmentationModel):
    """GCNet: a dilated encoder, and a map to every pixel of which one summary of the whole map is added.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the context take.
        gc_channels: channels of the map with the context.
        ratio: share of them that the context is squeezed to.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits' resize places pixels; PaddleSeg has it True for crops of odd size.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        gc_channels: int = 512,
        ratio: float = 0.25,
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        self.reduce = ConvBNAct(main, gc_channels, 3, bias=True)
        self.context = GlobalContext(gc_channels, int(gc_channels * ratio))
        self.refine = ConvBNAct(gc_channels, gc_channels, 3, bias=True)
        self.fuse = ConvBNAct(main + gc_channels, gc_channels, 3, bias=True)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(gc_channels, num_classes, 1)
        self.auxiliary_head = (
            ConvHead(auxiliary, auxiliary // 4, num_classes, bias=True) if enable_auxiliary_loss else None
        )
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        x = self.refine(self.context(self.reduce(main)))
        x = self.fuse(torch.cat([main, x], dim=1))
        logits = [self.classifier(self.dropout(x))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class GlobalContext(Layer):
    """A map and, added to each of its pixels, what two 1x1 convolutions make of a weighted mean of all pixels."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.mask = nn.Conv2d(channels, 1, 1)
        self.squeeze = nn.Conv2d(channels, hidden_channels, 1)
        self.norm = PixelNorm(hidden_channels)
        self.excite = nn.Conv2d(hidden_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = to_tokens(self.mask(x)).softmax(dim=1)  # (N, H * W, 1)
        context = (x.flatten(2) @ weights).unsqueeze(3)  # (N, C, 1, 1)
        return x + self.excite(F.relu(self.norm(self.squeeze(context))))


class PixelNorm(Layer, nn.LayerNorm):
    """Layer normalisation of maps of one pixel: `(N, C, 1, 1)` to the same.

    Paddle's, of the shape `[C, 1, 1]`, has weights of one dimension as well, where torch's have three.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).reshape(x.shape)
