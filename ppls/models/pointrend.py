"""PointRend (Kirillov et al. 2019, https://arxiv.org/abs/1912.08193), as in PaddleSeg's `models/pointrend.py`."""

# ruff: noqa: N803  # options have PaddleSeg's names

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.fpn import FPN
from ppls.models.layer import Layer
from ppls.models.resize import resize


class PointRend(SegmentationModel):
    """Semantic FPN, whose logits are predicted anew at the points that they are least sure of, finer step by step.

    The pyramid's maps come coarsest first, and so they are taken, in PaddleSeg too: all are brought to the size of the
    coarsest, and `point_in_index` and `PFN_in_index` count from that one.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are taken, the finest first.
        fpn_inplanes: the channels of the encoder's maps.
        fpn_outplanes: channels of every map of the pyramid.
        point_out_channels: channels within the points' head.
        point_in_index: which maps of the pyramid the points are taken from.
        point_num_fcs: layers of the points' head before the last.
        point_num_points: points of an image in train mode.
        point_oversample_ratio: so many times as many are drawn, of which the least sure are kept.
        point_importance_sample_ratio: the share that is kept so; the others are drawn anywhere.
        point_scale_factor: by how much each step refines the logits.
        point_subdivision_steps: steps.
        point_subdivision_num_points: points that a step predicts anew, at most.
        point_dropout_ratio: in the points' head.
        point_coarse_pred_each_layer: give the coarse logits to each layer of it.
        PFN_feature_strides: say how many times each map is doubled before it is brought to the coarsest one's size.
        PFN_channels: channels of the maps that are summed.
        PFN_in_index: which maps of the pyramid are summed.
        PFN_dropout_ratio: of whole channels, before the classifier.
        align_corners: how logits and maps are resized, and points are found in them.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        fpn_inplanes: Sequence[int] = (256, 512, 1024, 2048),
        fpn_outplanes: int = 256,
        point_out_channels: int = 256,
        point_in_index: Sequence[int] = (0,),
        point_num_fcs: int = 3,
        point_num_points: int = 2048,
        point_oversample_ratio: int = 3,
        point_importance_sample_ratio: float = 0.75,
        point_scale_factor: int = 2,
        point_subdivision_steps: int = 2,
        point_subdivision_num_points: int = 8196,
        point_dropout_ratio: float = 0.0,
        point_coarse_pred_each_layer: bool = True,
        PFN_feature_strides: Sequence[int] = (4, 8, 16, 32),
        PFN_channels: int = 128,
        PFN_in_index: Sequence[int] = (0, 1, 2, 3),
        PFN_dropout_ratio: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        widths = channels_of(self.backbone, backbone_indices)
        if widths != list(fpn_inplanes):
            raise Error(
                f"fpn_inplanes is {list(fpn_inplanes)}, and the feature maps of the backbone have {widths} channels"
            )
        self.pyramid = FPN(widths, fpn_outplanes)
        self.coarse_head = CoarseHead(
            fpn_outplanes, PFN_channels, num_classes, PFN_feature_strides, PFN_dropout_ratio, align_corners
        )
        self.point_head = PointHead(
            len(point_in_index) * fpn_outplanes,
            point_out_channels,
            num_classes,
            layers=point_num_fcs,
            coarse_each_layer=point_coarse_pred_each_layer,
            dropout=point_dropout_ratio,
        )
        self.coarse_maps, self.point_maps = list(PFN_in_index), list(point_in_index)
        self.train_points, self.oversampling = point_num_points, point_oversample_ratio
        self.importance = point_importance_sample_ratio
        self.steps, self.scale = point_subdivision_steps, point_scale_factor
        self.eval_points, self.align_corners = point_subdivision_num_points, align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W).

        In train mode those of the coarse head, and then of points that were drawn: their logits (N, num_classes, P)
        and their places (N, P, 2), x and y from 0 to 1.
        """
        features = self.backbone(image)
        pyramid = self.pyramid([features[i] for i in self.backbone_indices])
        coarse = self.coarse_head([pyramid[i] for i in self.coarse_maps])
        fine = [pyramid[i] for i in self.point_maps]
        if not self.training:
            return [resize(self.refined(fine, coarse), image.shape[-2:], align_corners=self.align_corners)]
        points = self.drawn(coarse.detach())
        logits = resize(coarse, image.shape[-2:], align_corners=self.align_corners)
        return [logits, self.at(points, fine, coarse), points]

    def refined(self, fine: Sequence[Tensor], coarse: Tensor) -> Tensor:
        """The coarse logits, each step larger and predicted anew where they are least sure."""
        logits = coarse
        for _ in range(self.steps):
            height, width = (self.scale * side for side in logits.shape[-2:])
            logits = resize(logits, (height, width), align_corners=self.align_corners)
            pixels, unsure = logits.flatten(2), uncertainty(logits).flatten(1)
            count = self.eval_points
            if isinstance(height * width, int):
                count = min(count, height * width)
            else:  # exported for any size: of fewer pixels than points some are chosen beyond them, and cut off
                pixels, unsure = F.pad(pixels, (0, count)), F.pad(unsure, (0, count), value=-torch.inf)
            chosen = unsure.topk(count, dim=1).indices  # (N, P)
            rows = chosen // width
            columns = chosen - rows * width  # torch's exporter to ONNX has no remainder by a size that is open
            places = torch.stack([middles(columns, width), middles(rows, height)], dim=2)
            places = places.to(logits.dtype)
            index = chosen.unsqueeze(1).expand(-1, logits.shape[1], -1)
            pixels = pixels.scatter(2, index, self.at(places, fine, coarse))
            logits = pixels[..., : height * width].reshape(logits.shape)
        return logits

    def drawn(self, coarse: Tensor) -> Tensor:
        """Points (N, P, 2) of each image: of those drawn anywhere the least sure, and others."""
        images, kept = coarse.shape[0], int(self.importance * self.train_points)
        candidates = torch.rand(images, self.train_points * self.oversampling, 2, dtype=coarse.dtype)
        candidates = candidates.to(coarse.device)
        # corners are not aligned here, whatever the option says, in PaddleSeg either
        least = uncertainty(sampled(coarse, candidates, align_corners=False)).topk(kept, dim=1).indices
        points = candidates.gather(1, least.unsqueeze(2).expand(-1, -1, 2))
        others = torch.rand(images, self.train_points - kept, 2, dtype=coarse.dtype).to(coarse.device)
        return torch.cat([points, others], dim=1)

    def at(self, points: Tensor, fine: Sequence[Tensor], coarse: Tensor) -> Tensor:
        """The points' own logits `(N, num_classes, P)`."""
        maps = [sampled(x, points, self.align_corners) for x in fine]
        return self.point_head(torch.cat(maps, dim=1), sampled(coarse, points, self.align_corners))


def middles(pixels: Tensor, side: int) -> Tensor:
    """Where these pixels' middles are, on a side from 0 to 1: in float32, as PaddleSeg counts in any precision."""
    step = torch.ones((), device=pixels.device) / side
    return step / 2 + pixels.float() * step


def uncertainty(logits: Tensor) -> Tensor:
    """By how much the second class is behind the first, negative: `(N, num_classes, ...)` to `(N, ...)`."""
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return second - first


def sampled(x: Tensor, points: Tensor, align_corners: bool) -> Tensor:
    """A map `(N, C, H, W)` at points `(N, P, 2)`, x and y from 0 to 1: `(N, C, P)`."""
    return F.grid_sample(x, 2 * points.unsqueeze(2) - 1, align_corners=align_corners).squeeze(3)


class CoarseHead(nn.Module):
    """Maps of the pyramid, each convolved and doubled so many times, summed at the first one's size, and classified."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        strides: Sequence[int],
        dropout: float,
        align_corners: bool,
    ) -> None:
        super().__init__()
        steps = [int(log2(stride) - log2(strides[0])) for stride in strides]
        self.scale_heads = nn.ModuleList(Doubling(in_channels, channels, count, align_corners) for count in steps)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.align_corners = align_corners

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps `(N, in_channels, H, W)` to logits `(N, num_classes, H, W)` of the first one's size."""
        first, *others = [head(x) for head, x in zip(self.scale_heads, maps, strict=True)]
        for x in others:
            first = first + resize(x, first.shape[-2:], align_corners=self.align_corners)
        return self.classifier(self.dropout(first))


class Doubling(Layer):
    """A convolution and a map of twice the size, so many times; without steps the convolution alone."""

    def __init__(self, in_channels: int, channels: int, steps: int, align_corners: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels if i else in_channels, channels, 3, padding=1) for i in range(max(1, steps))
        )
        self.doubled, self.align_corners = steps > 0, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, channels, H * 2 ** steps, W * 2 ** steps)`."""
        for conv in self.convs:
            x = F.relu(conv(x))
            if self.doubled:
                x = resize(x, (2 * x.shape[2], 2 * x.shape[3]), align_corners=self.align_corners)
        return x


class PointHead(nn.Module):
    """A perceptron that every point goes through: its features and its coarse logits to its own logits."""

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, layers: int, coarse_each_layer: bool, dropout: float
    ) -> None:
        super().__init__()
        again = num_classes if coarse_each_layer else 0
        self.layers = nn.ModuleList(
            nn.Conv1d(channels + again if i else in_channels + num_classes, channels, 1) for i in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv1d(channels + again, num_classes, 1)
        self.coarse_each_layer = coarse_each_layer

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """`fine` (N, in_channels, P) and `coarse` (N, num_classes, P) to the shape of `coarse`."""
        x = torch.cat([fine, coarse], dim=1)
        for layer in self.layers:
            x = F.relu(layer(x))
            if self.coarse_each_layer:
                x = torch.cat([x, coarse], dim=1)
        return self.classifier(self.dropout(x))
