"""EMANet (Li et al. 2019, https://arxiv.org/abs/1907.13426), as in PaddleSeg's `models/emanet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import DroppedClassifier, HeadOf1024
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class EMANet(SegmentationModel):
    """EMANet: pixels put together from a few bases, which expectation maximisation finds for every image.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the attention take.
        ema_channels: channels of the bases.
        gc_channels: channels before the classifier.
        num_bases: how many bases there are.
        stage_num: rounds of expectation maximisation.
        momentum: weight of a batch's bases in the mean that training keeps.
        concat_input: put the encoder's map beside the result once more.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits' resize places pixels; PaddleSeg has it True for crops of Pascal VOC.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        ema_channels: int = 512,
        gc_channels: int = 256,
        num_bases: int = 64,
        stage_num: int = 3,
        momentum: float = 0.1,
        concat_input: bool = True,
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        self.reduce = ConvBNAct(main, ema_channels, 3, bias=True)
        self.mid = nn.Conv2d(ema_channels, ema_channels, 1)
        self.attention = ExpectationMaximisation(ema_channels, num_bases, stage_num, momentum)
        self.expand = ConvBNAct(ema_channels, ema_channels, 1, bias=True)
        self.refine = ConvBNAct(ema_channels, gc_channels, 3, bias=True)
        self.fuse = ConvBNAct(main + gc_channels, gc_channels, 3, bias=True) if concat_input else None
        self.head = DroppedClassifier(gc_channels, num_classes)
        self.auxiliary_head = HeadOf1024(auxiliary, num_classes, bias=True) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        reduced = self.reduce(main)
        found = self.expand(F.relu(self.attention(self.mid(reduced))))
        x = self.refine(F.relu(reduced + found))
        if self.fuse is not None:
            x = self.fuse(torch.cat([main, x], dim=1))
        logits = [self.head(x)]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class ExpectationMaximisation(Layer):
    """Every pixel as a mean of bases, which begin at those that training keeps and move to an image's pixels in rounds.

    Nothing of it has a gradient: training moves the bases alone, towards those that the images of a batch end with.
    """

    bases: Tensor

    def __init__(self, channels: int, num_bases: int, rounds: int, momentum: float) -> None:
        super().__init__()
        if rounds < 1:
            raise Error(f"stage_num is {rounds}: expectation maximisation takes one round at least")
        self.rounds, self.momentum = rounds, momentum
        self.register_buffer("bases", torch.empty(1, channels, num_bases))
        self.draw_weight(self, self.bases)

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """Fills the bases with directions drawn at random, as PaddleSeg does."""
        weight.copy_(F.normalize(torch.randn(weight.shape), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.detach().flatten(2)  # (N, C, H * W)
        bases = self.bases.expand(x.shape[0], -1, -1)  # (N, C, num_bases)
        for _ in range(self.rounds):
            shares = (pixels.transpose(1, 2) @ bases).softmax(dim=2)  # (N, H * W, num_bases)
            bases = F.normalize(pixels @ F.normalize(shares, p=1, dim=1), dim=1)
        if self.training:
            mean = F.normalize(bases.mean(dim=0, keepdim=True), dim=1)
            self.bases.copy_(self.bases * (1 - self.momentum) + mean * self.momentum)
        return (bases @ shares.transpose(1, 2)).reshape(x.shape)
