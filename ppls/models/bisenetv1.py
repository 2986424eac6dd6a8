"""BiSeNet (Yu et al. 2018, https://arxiv.org/abs/1808.00897), as in PaddleSeg's `models/bisenetv1.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import all_channels, build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import enlarge, resize

WIDTH = 128  # channels of the spatial path, and so of the context


class BiseNetV1(SegmentationModel):
    """BiSeNet: a shallow path for space, an encoder for context, and the fusion of both at 1/8 of the image's size.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        conv_channel: channels of the context; PaddleSeg takes 128 alone.
        auxiliary_heads: build the heads of the context, which only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet18_vd",
        conv_channel: int = WIDTH,
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = all_channels(self.backbone, 4)
        if channels[2:] != [256, 512]:
            raise Error(
                "backbone: this model takes one whose last maps have 256 and 512 channels, as PaddleSeg does; those "
                f"of a {type(self.backbone).__name__} have {channels[2]} and {channels[3]}: ResNet18_vd or ResNet34_vd"
            )
        if conv_channel != WIDTH:
            raise Error(f"conv_channel={conv_channel}: PaddleSeg's model runs with {WIDTH} alone")
        image_channels = getattr(self.backbone, "options", {}).get("in_channels", 3)  # PaddleSeg has 3 alone here
        self.spatial = nn.Sequential(
            ConvBNAct(image_channels, 64, 7, stride=2),
            ConvBNAct(64, 64, 3, stride=2),
            ConvBNAct(64, 64, 3, stride=2),
            ConvBNAct(64, WIDTH, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.image_mean = ConvBNAct(512, WIDTH, 1)
        self.attentions = nn.ModuleList(AttentionRefinement(channels, WIDTH) for channels in (512, 256))
        self.refines = nn.ModuleList(ConvBNAct(WIDTH, WIDTH, 3) for _ in range(2))
        self.fusion = FeatureFusion(2 * WIDTH)
        self.auxiliary_heads = nn.ModuleList(Head(WIDTH, 128, num_classes) for _ in range(2) if auxiliary_heads)
        self.head = Head(2 * WIDTH, 64, num_classes)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, in_channels, H, W) to logits (N, num_classes, h, w): h and w are H and W rounded up to eights.

        In train mode those of the context's heads come before them, the coarser one first.
        """
        _, *finer, last = self.backbone(image)
        maps = [last, *reversed(finer)]
        x = resize(self.image_mean(self.pool(last)), last.shape[-2:], align_corners=True)
        context = []
        for attention, refine, coarse, fine in zip(self.attentions, self.refines, maps, maps[1:], strict=False):
            x = attention(coarse) + x
            x = refine(resize(x, fine.shape[-2:], align_corners=True))
            context.append(x)
        fused = self.fusion(torch.cat([self.spatial(image), x], dim=1))
        logits = [self.head(fused)]
        if self.training:
            logits = [head(x) for head, x in zip(self.auxiliary_heads, context, strict=False)] + logits
        return logits


class AttentionRefinement(Layer):
    """The attention refinement module: a convolution whose channels are weighed by their own means."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, out_channels, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.excite = ConvBNAct(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.excite(self.pool(x)))


class FeatureFusion(Layer):
    """Space and context side by side, their channels weighed by their means, in a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBNAct(channels, channels, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = ConvBNAct(channels, channels, 1)
        self.excite = ConvBNAct(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + x * torch.sigmoid(self.excite(self.squeeze(self.pool(x))))


class Head(Layer):
    """A 3x3 convolution, the classifier, and logits of eight times the size."""

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, hidden_channels, 3)
        self.classifier = nn.Conv2d(hidden_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return enlarge(self.classifier(self.conv(x)), 8, align_corners=True)
