"""ANN (Zhu et al. 2019, https://arxiv.org/abs/1908.07678), as in PaddleSeg's `models/ann.py`."""

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
from ppls.models.layers import Activation, ConvBNAct, attend, from_tokens, to_tokens
from ppls.models.resize import resize


class ANN(SegmentationModel):
    """ANN: pixels attend to the means of a pyramid of bins, of a finer map first and then of their own.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are the finer and the coarser one.
        key_value_channels: channels in which pixels and bins are compared.
        inter_channels: channels before the classifier.
        psp_size: side lengths of the pooled maps; PaddleSeg has such an option, and always pools to these.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits' resize places pixels.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        key_value_channels: int = 256,
        inter_channels: int = 512,
        psp_size: Sequence[int] = (1, 3, 6, 8),
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        fine, coarse = channels_of(self.backbone, backbone_indices, 2)
        self.fusion = Fusion(fine, coarse, key_value_channels, psp_size)
        self.reduce = ConvBNAct(coarse, inter_channels, 3, bias=True)
        self.context = Context(inter_channels, key_value_channels, psp_size)
        self.classifier = nn.Conv2d(inter_channels, num_classes, 1)
        self.auxiliary_head = ConvHead(fine, fine // 2, num_classes, 0.05, bias=True) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        fine, coarse = (features[i] for i in self.backbone_indices)
        x = self.context(self.reduce(self.fusion(fine, coarse)))
        logits = [self.classifier(x)]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(fine))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class BinMeans(Layer):
    """A map's means over bins of several sizes, as tokens: `(N, C, H, W)` to `(N, bins, C)`."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([to_tokens(pool(x)) for pool in self.pools], dim=1)


class AsymmetricNonLocal(nn.Module):
    """What pixels take from the bins of a map, beside them and projected.

    Args:
        bins_channels, channels: of the map of the bins, and of that of the pixels.
        key_channels: in which both are compared.
        activation: after the projection.
    """

    def __init__(
        self,
        bins_channels: int,
        channels: int,
        key_channels: int,
        sizes: Sequence[int],
        activation: Activation | None,
    ) -> None:
        super().__init__()
        self.key = ConvBNAct(bins_channels, key_channels, 1, bias=True)
        self.value = nn.Conv2d(bins_channels, key_channels, 1)
        self.bins = BinMeans(sizes)
        self.project = nn.Conv2d(key_channels, channels, 1)
        self.fuse = ConvBNAct(2 * channels, channels, 1, bias=True, activation=activation)
        self.dropout = nn.Dropout(0.05)

    def attend(self, query: Tensor, source: Tensor, pixels: Tensor) -> Tensor:
        """With `query` of `pixels`, those of the means over `source`: `(N, channels, H, W)`."""
        key, value = self.bins(self.key(source)), self.bins(self.value(source))
        attended = attend(to_tokens(query), key, value)
        context = self.project(from_tokens(attended, pixels.shape[-2:]))
        x: Tensor = self.dropout(self.fuse(torch.cat([context, pixels], dim=1)))
        return x


class Fusion(AsymmetricNonLocal):
    """The pixels of the coarse map and the bins of the fine one."""

    def __init__(self, fine_channels: int, channels: int, key_channels: int, sizes: Sequence[int]) -> None:
        super().__init__(fine_channels, channels, key_channels, sizes, activation=None)
        self.query = ConvBNAct(channels, key_channels, 1, bias=True)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.attend(self.query(coarse), fine, coarse)


class Context(AsymmetricNonLocal, Layer):
    """The pixels and the bins of one map, of one projection: in train mode its statistics move twice."""

    def __init__(self, channels: int, key_channels: int, sizes: Sequence[int]) -> None:
        super().__init__(channels, channels, key_channels, sizes, activation=F.relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.key(x), x, x)
