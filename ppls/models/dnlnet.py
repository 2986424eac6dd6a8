"""DNLNet (Yin et al. 2020, https://arxiv.org/abs/2006.06668), as in PaddleSeg's `models/dnlnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import DroppedClassifier, HeadOf1024
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, attend, from_tokens, to_tokens
from ppls.models.resize import resize_from_corner

MODES = ("embedded_gaussian", "dot_product")


class DNLNet(SegmentationModel):
    """DNLNet: what pixels take from those that differ from the mean as they do, beside what they all take alike.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the attention take.
        reduction: how many times fewer the channels are in which pixels are compared.
        use_scale: divide what pixels have in common by the square root of those channels.
        mode: `embedded_gaussian`, shares by a softmax, or `dot_product`, shares as they are; upstream's others fail.
        temperature: by which a softmax is sharpened.
        concat_input: put the encoder's map beside the result once more.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits' resize places pixels; without, it aligns the top left corners of pixels.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        reduction: int = 2,
        use_scale: bool = True,
        mode: str = "embedded_gaussian",
        temperature: float = 0.05,
        concat_input: bool = True,
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        width = main // 4
        self.reduce = ConvBNAct(main, width, 3)
        self.attention = DisentangledNonLocal(width, max(width // reduction, 1), use_scale, mode, temperature)
        self.refine = ConvBNAct(width, width, 3)
        self.fuse = ConvBNAct(main + width, width, 3) if concat_input else None
        self.head = DroppedClassifier(width, num_classes)
        self.auxiliary_head = HeadOf1024(auxiliary, num_classes) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        x = self.refine(self.attention(self.reduce(main)))
        if self.fuse is not None:
            x = self.fuse(torch.cat([main, x], dim=1))
        logits = [self.head(x)]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize_from_corner(x, image.shape[-2:], self.align_corners) for x in logits]


class DisentangledNonLocal(Layer):
    """A map, and what each of its pixels takes from all: by likeness, without what all have in common, and alike."""

    def __init__(self, channels: int, key_channels: int, use_scale: bool, mode: str, temperature: float) -> None:
        super().__init__()
        if mode not in MODES:
            raise Error(f"mode is {mode!r}; it is one of {', '.join(MODES)}")
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, key_channels, 1)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.project = ConvBNAct(key_channels, channels, 1)
        self.scale = (key_channels**-0.5 if use_scale else 1.0) / temperature
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (to_tokens(conv(x)) for conv in (self.query, self.key, self.value))  # (N, H * W, C)
        query, key = (tokens - tokens.mean(dim=1, keepdim=True) for tokens in (query, key))
        if self.mode == "dot_product":
            pairwise = query @ (key.transpose(1, 2) @ value / key.shape[1])
        else:
            pairwise = attend(query, key, value, scale=self.scale)
        unary = self.mask(x).flatten(2).softmax(dim=2) @ value  # (N, 1, C)
        return x + self.project(from_tokens(pairwise + unary, x.shape[-2:]))
