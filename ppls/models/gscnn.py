"""GSCNN (Takikawa et al. 2019, https://arxiv.org/abs/1907.05740), as in PaddleSeg's `models/gscnn.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.aspp import ASPP
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.canny import canny
from ppls.models.deeplabv3p import Decoder
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.resize import resize
from ppls.models.resnet_vd import BasicBlock, ResNetVd

WIDTHS = (64, 32, 16, 8)  # channels of the shape stream, the first those of the stem


class GSCNN(SegmentationModel):
    """GSCNN: beside the encoder a stream at the image's size, which finds the edges that the pooling is told of.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder, a ResNet_vd: a name, a config dict or a module (see
            `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the decoder takes, and which three gate the stream; the
            last of them is pooled too.
        aspp_ratios: dilations of the atrous pooling.
        aspp_out_channels: its channels; PaddleSeg's decoder takes no other than 256.
        align_corners: how every resize places pixels.
        resize_mode: how features are resized; PaddleSeg always does it bilinearly.
    """

    backbone: ResNetVd

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        aspp_ratios: Sequence[int] = (1, 6, 12, 18),
        aspp_out_channels: int = 256,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        encoder = build_backbone(backbone)
        if not isinstance(encoder, ResNetVd):
            raise Error(
                f"backbone: this model takes one with a stem of 64 channels, a ResNet_vd, not {type(encoder).__name__}"
            )
        self.backbone = encoder
        self.backbone_indices = list(backbone_indices)
        fine, *gating = channels_of(encoder, backbone_indices, 4)
        self.shape_stream = ShapeStream(gating, align_corners, resize_mode)
        self.weigh_edges = nn.Conv2d(2, 1, 1, bias=False)
        self.aspp = EdgeASPP(
            gating[-1],
            aspp_out_channels,
            aspp_ratios,
            separable=False,
            align_corners=align_corners,
            resize_mode=resize_mode,
        )
        self.decoder = Decoder(fine, aspp_out_channels, num_classes, align_corners, resize_mode)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Any]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W) and how likely a pixel is of an edge (N, 1, H, W).

        In either mode the logits, the pair of both that PaddleSeg's loss takes, the edges and the logits again.
        """
        x = self.backbone.stem(image)
        stem, features = x, []
        x = self.backbone.pool(x)
        for stage in self.backbone.stages:
            x = stage(x)
            features.append(x)
        fine, *gating = (features[i] for i in self.backbone_indices)
        edges = self.shape_stream(stem, gating, image.shape[-2:])
        seen = torch.cat([edges, steps_of(image)], dim=1)
        x = self.aspp(gating[-1], torch.sigmoid(self.weigh_edges(seen)))  # type: ignore[call-arg]
        logits = resize(self.decoder(x, fine), image.shape[-2:], align_corners=self.align_corners)
        return [logits, (logits, edges), edges, logits]


def steps_of(image: Tensor) -> Tensor:
    """The steps of brightness in images of -1 to 1, 1 where Canny finds an edge; none of it has a gradient.

    What lies beyond comes round again, as numbers of 8 bits do. Values of 8 bits come to just about whole numbers, so
    rounding tells them: the bounds, which nothing reaches, keep OpenVINO from making one sum and one product of it all.
    """
    pixels = ((image.detach() * 0.5 + 0.5).clamp(-1e30, 1e30) * 255).int() & 255
    return canny(pixels, 10, 100).to(image.dtype)


class ShapeStream(nn.Module):
    """Edges of things: the stem's map at the image's size, gated three times by what the encoder knows of things."""

    def __init__(self, gating: Sequence[int], align_corners: bool, resize_mode: str) -> None:
        super().__init__()
        self.squeeze = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in gating)
        self.blocks = nn.ModuleList(BasicBlock(width, width, 1, 1, first=False) for width in WIDTHS[:-1])
        self.reduce = nn.ModuleList(nn.Conv2d(*widths, 1) for widths in pairwise(WIDTHS))
        self.gates = nn.ModuleList(GatedConv(width) for width in WIDTHS[1:])
        self.fuse = nn.Conv2d(WIDTHS[-1], 1, 1, bias=False)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, stem: Tensor, gating: Sequence[Tensor], size: torch.Size) -> Tensor:
        """How likely each of `size` (H, W) pixels is of an edge: `(N, 1, H, W)`."""
        x = self._resized(stem, size)
        for block, reduce, gate, squeeze, by in zip(
            self.blocks, self.reduce, self.gates, self.squeeze, gating, strict=True
        ):
            x = gate(reduce(block(x)), self._resized(squeeze(by), size))
        return torch.sigmoid(self.fuse(x))

    def _resized(self, x: Tensor, size: torch.Size) -> Tensor:
        return resize(x, size, self.resize_mode, self.align_corners)


class GatedConv(nn.Module):
    """A 1x1 convolution of a map, which a gate that another map tells has made up to twice as strong."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            BatchNorm2d(channels + 1),
            nn.Conv2d(channels + 1, channels + 1, 1),
            nn.ReLU(),
            nn.Conv2d(channels + 1, 1, 1),
            BatchNorm2d(1),
            nn.Sigmoid(),
        )
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, by: Tensor) -> Tensor:
        """`x` (N, channels, H, W) and `by` (N, 1, H, W) to the shape of `x`."""
        gate: Tensor = self.gate(torch.cat([x, by], dim=1))
        return self.conv(x * (gate + 1))


class EdgeASPP(ASPP):
    """Atrous pooling that sees the edges, too."""

    def __init__(self, in_channels: int, out_channels: int, ratios: Sequence[int], **options: Any) -> None:
        super().__init__(in_channels, out_channels, ratios, **options)
        self.edges = ConvBNAct(1, out_channels, 1)
        self.project = ConvBNAct((len(ratios) + 2) * out_channels, out_channels, 1, bias=True)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:  # type: ignore[override]
        """`x` (N, in_channels, h, w) and `edges` (N, 1, H, W) to (N, out_channels, h, w)."""
        size = x.shape[-2:]
        mean = resize(self.image_mean(x.mean((2, 3), keepdim=True)), size, self.resize_mode, self.align_corners)
        edges = self.edges(resize(edges, size, self.resize_mode, self.align_corners))
        seen = torch.cat([*(branch(x) for branch in self.branches), mean, edges], dim=1)
        return self.dropout(self.project(seen))
