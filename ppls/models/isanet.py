"""ISANet (Huang et al. 2019, https://arxiv.org/abs/1907.12273), as in PaddleSeg's `models/isanet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import DroppedClassifier, HeadOf1024
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, attend, from_tokens, to_tokens
from ppls.models.resize import resize_from_corner


class ISANet(SegmentationModel):
    """ISANet: attention among pixels that lie far apart in a grid, then among those of one cell of it.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the attention take.
        isa_channels: channels in which pixels are compared.
        down_factor: height and width of a cell, in pixels of the encoder's map.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits' resize places pixels; without, it aligns the top left corners of pixels.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        isa_channels: int = 256,
        down_factor: Sequence[int] = (8, 8),
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        width = main // 4
        self.reduce = ConvBNAct(main, width, 3)
        self.attention = InterlacedAttention(width, isa_channels, down_factor)
        self.fuse = ConvBNAct(2 * width, width, 1)
        self.head = DroppedClassifier(width, num_classes)
        self.auxiliary_head = HeadOf1024(auxiliary, num_classes) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        x = self.reduce(main)
        x = self.fuse(torch.cat([self.attention(x), x], dim=1))
        logits = [self.head(x)]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize_from_corner(x, image.shape[-2:], self.align_corners) for x in logits]


class InterlacedAttention(Layer):
    """Long-range attention, among the pixels at one place of every cell, then short-range attention within each cell.

    The map is padded with zeros to whole cells, which take part in both.
    """

    def __init__(self, channels: int, key_channels: int, cell: Sequence[int]) -> None:
        super().__init__()
        self.long_range = SelfAttention(channels, key_channels)
        self.short_range = SelfAttention(channels, key_channels)
        self.cell = tuple(cell)

    def forward(self, x: Tensor) -> Tensor:
        (n, channels, height, width), (h, w) = x.shape, self.cell
        rows, columns = (height + h - 1) // h, (width + w - 1) // w  # of cells
        top, left = (rows * h - height) // 2, (columns * w - width) // 2
        x = F.pad(x, (left, columns * w - width - left, top, rows * h - height - top))
        x = x.reshape(n, channels, rows, h, columns, w)
        x = x.permute(0, 3, 5, 1, 2, 4).reshape(-1, channels, rows, columns)
        x = self.long_range(x).reshape(n, h, w, channels, rows, columns)
        x = x.permute(0, 4, 5, 3, 1, 2).reshape(-1, channels, h, w)
        x = self.short_range(x).reshape(n, rows, columns, channels, h, w)
        x = x.permute(0, 3, 1, 4, 2, 5).reshape(n, channels, rows * h, columns * w)
        return x[:, :, top : top + height, left : left + width]


class SelfAttention(Layer):
    """What each pixel takes from all pixels, projected: `(N, channels, H, W)` to the same."""

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.query, self.key = (
            nn.Sequential(ConvBNAct(channels, key_channels, 1), ConvBNAct(key_channels, key_channels, 1))
            for _ in range(2)
        )
        self.value = nn.Conv2d(channels, channels, 1)
        self.project = ConvBNAct(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (to_tokens(part(x)) for part in (self.query, self.key, self.value))
        return self.project(from_tokens(attend(query, key, value), x.shape[-2:]))
