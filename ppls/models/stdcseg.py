"""STDCSeg (Fan et al. 2021, https://arxiv.org/abs/2104.13188), as in PaddleSeg's `models/stdcseg.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.attention import SqueezeExcite
from ppls.models.backbone import all_channels, build_backbone
from ppls.models.base import SegmentationModel
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class STDCSeg(SegmentationModel):
    """STDCSeg: an STDC encoder, a context path over its two coarsest maps, and their fusion with the finer detail.

    In train mode two more heads classify the context maps, and boundary heads find detail in the encoder's maps.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        use_boundary_2: run the boundary head on the encoder's map at 1/2 in train mode.
        use_boundary_4: the same at 1/4.
        use_boundary_8: the same at 1/8.
        use_boundary_16: has no effect, in PaddleSeg either; the head is there all the same.
        use_conv_last: has no effect, in PaddleSeg either.
        context_resize_mode: how the context path upsamples; PaddleSeg always does it `nearest`.
        auxiliary_heads: build the heads that only train mode runs.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "stdc1",
        use_boundary_2: bool = False,
        use_boundary_4: bool = False,
        use_boundary_8: bool = True,
        use_boundary_16: bool = False,
        use_conv_last: bool = False,
        context_resize_mode: str = "nearest",
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        channels = all_channels(self.backbone, 5)
        self.context = ContextPath(channels[3], channels[4], 128, context_resize_mode)
        self.fusion = FeatureFusion(channels[2] + 128, 256)
        self.head = Head(256, 256, num_classes)
        self.boundaries = [
            i for i, used in enumerate([use_boundary_2, use_boundary_4, use_boundary_8]) if used and auxiliary_heads
        ]
        if auxiliary_heads:
            self.context_heads = nn.ModuleList(Head(128, 64, num_classes) for _ in range(2))
            self.boundary_heads = nn.ModuleList(Head(width, 64, 1) for width in channels[:4])
        else:
            self.context_heads = self.boundary_heads = nn.ModuleList()

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W); in train mode those of the context heads follow.

        The boundary maps come last, (N, 1, h, w), not resized.
        """
        features = self.backbone(image)
        context8, context16 = self.context(features[3], features[4], features[2].shape[-2:])
        logits = [self.head(self.fusion(torch.cat([features[2], context8], dim=1)))]
        boundaries: list[Tensor] = []
        if self.training:
            logits += [head(x) for head, x in zip(self.context_heads, (context8, context16), strict=False)]
            boundaries = [self.boundary_heads[i](features[i]) for i in self.boundaries]
        return [resize(x, image.shape[-2:], align_corners=True) for x in logits] + boundaries


class ContextPath(nn.Module):
    """The maps at 1/16 and 1/32, each weighed by channel attention and carried down to the next finer one."""

    def __init__(self, channels16: int, channels32: int, out_channels: int, resize_mode: str) -> None:
        super().__init__()
        self.image_mean = ConvBNAct(channels32, out_channels, 1, bias=True)
        self.attention16 = AttentionRefinement(channels16, out_channels)
        self.attention32 = AttentionRefinement(channels32, out_channels)
        self.conv16 = ConvBNAct(out_channels, out_channels, 3, bias=True)
        self.conv32 = ConvBNAct(out_channels, out_channels, 3, bias=True)
        self.resize_mode = resize_mode

    def forward(self, x16: Tensor, x32: Tensor, size8: torch.Size) -> tuple[Tensor, Tensor]:
        """Returns context for the maps at 1/8, whose size is `size8`, and at 1/16 of the image's size."""
        mean = self.image_mean(x32.mean((2, 3), keepdim=True))
        coarse = self.attention32(x32) + mean  # one value per channel, the same everywhere
        context16 = self.conv32(resize(coarse, x16.shape[-2:], self.resize_mode))
        fine = self.attention16(x16) + context16
        return self.conv16(resize(fine, size8, self.resize_mode)), context16


class AttentionRefinement(nn.Module):
    """The attention refinement module: a convolution whose channels are weighed by their own means."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, out_channels, 3, bias=True)
        self.excite = ConvBNAct(out_channels, out_channels, 1, bias=True, activation=torch.sigmoid)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.excite(x.mean((2, 3), keepdim=True))


class FeatureFusion(SqueezeExcite):
    """Detail and context side by side, their channels weighed by their means, in a residual."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(out_channels)
        self.conv = ConvBNAct(in_channels, out_channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Both maps, concatenated `(N, in_channels, H, W)`, to `(N, out_channels, H, W)`."""
        x = self.conv(x)
        return super().forward(x) + x


class Head(nn.Module):
    """A 3x3 convolution and the classifier."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, hidden_channels, 3, bias=True)
        self.classifier = nn.Conv2d(hidden_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv(x))
