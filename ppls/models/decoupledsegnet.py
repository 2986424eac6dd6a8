"""DecoupledSegNet (Li et al. 2020, https://arxiv.org/abs/2007.10035), as PaddleSeg's `models/decoupled_segnet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.aspp import ASPP
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.flow import warp
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize


class DecoupledSegNet(SegmentationModel):
    """DecoupledSegNet: a map taken apart into the bodies of things and their edges, each of which is supervised.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are the fine and the coarse one.
        aspp_ratios: dilations of the atrous pooling.
        aspp_out_channels: its channels; all that follows it in PaddleSeg takes 256.
        align_corners: how every resize places pixels.
        resize_mode: how features are resized; PaddleSeg always does it bilinearly.
        auxiliary_heads: build the bodies' classifier, whose logits only train mode gives.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 3),
        aspp_ratios: Sequence[int] = (1, 6, 12, 18),
        aspp_out_channels: int = 256,
        align_corners: bool = False,
        resize_mode: str = "bilinear",
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        fine, coarse = channels_of(self.backbone, backbone_indices, 2)
        width = aspp_out_channels
        self.aspp = ASPP(
            coarse, width, aspp_ratios, separable=False, align_corners=align_corners, resize_mode=resize_mode
        )
        self.body = Body(width, align_corners, resize_mode)
        self.squeeze_fine = nn.Conv2d(fine, 48, 1, bias=False)
        self.edge = nn.Conv2d(width + 48, width, 1, bias=False)
        self.fuse = nn.Sequential(ConvBNAct(2 * width, 256, 3), ConvBNAct(256, 256, 3))
        self.classifier = nn.Conv2d(256, num_classes, 1, bias=False)
        self.body_head = _head(width, 256, num_classes) if auxiliary_heads else None
        self.edge_head = _head(width, 48, 1) if auxiliary_heads else None
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, image: Tensor) -> list[Any]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W).

        In train mode the bodies' follow and how likely a pixel is of an edge (N, 1, H, W); then the first and the last
        of the three once more, as a pair, which PaddleSeg's loss takes.
        """
        features = self.backbone(image)
        fine, coarse = (features[i] for i in self.backbone_indices)
        x = self.aspp(coarse)
        body = self.body(x)
        outer, body_of_fine, x = (self._resized(part, fine) for part in (x - body, body, x))
        edge = self.edge(torch.cat([outer, self.squeeze_fine(fine)], dim=1))
        outputs: list[Any] = [self.classifier(self.fuse(torch.cat([x, edge + body_of_fine], dim=1)))]
        if self.training and self.body_head is not None and self.edge_head is not None:
            outputs += [self.body_head(body), torch.sigmoid(self.edge_head(edge))]
        outputs = [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in outputs]
        return [*outputs, (outputs[0], outputs[2])] if len(outputs) == 3 else outputs

    def _resized(self, x: Tensor, to: Tensor) -> Tensor:
        return resize(x, to.shape[-2:], self.resize_mode, self.align_corners)


class Body(nn.Module):
    """The bodies of things: a map warped towards their middles, by a flow that it and a coarser one tell."""

    def __init__(self, channels: int, align_corners: bool, resize_mode: str) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(ConvBNAct(channels, channels, 3, stride=2, groups=channels, bias=True, same=True) for _ in range(2))
        )
        self.flow = nn.Conv2d(2 * channels, 2, 3, padding=1, bias=False)
        self.align_corners, self.resize_mode = align_corners, resize_mode

    def forward(self, x: Tensor) -> Tensor:
        coarse = resize(self.down(x), x.shape[-2:], self.resize_mode, self.align_corners)
        return warp(x, self.flow(torch.cat([x, coarse], dim=1)))


def _head(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        ConvBNAct(in_channels, hidden_channels, 3), nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
    )
