"""GloRe (Chen et al. 2018, https://arxiv.org/abs/1811.12814), as in PaddleSeg's `models/glore.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d
from ppls.models.resize import resize


class GloRe(SegmentationModel):
    """GloRe: a dilated encoder, and reasoning on a graph whose nodes are regions of the whole image.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the auxiliary head and the graph take.
        gru_channels: channels of the map that the graph sees; PaddleSeg's classifier takes no other than 512.
        gru_num_state: features of a node.
        gru_num_node: nodes.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits are resized.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (2, 3),
        gru_channels: int = 512,
        gru_num_state: int = 128,
        gru_num_node: int = 64,
        enable_auxiliary_loss: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        auxiliary, main = channels_of(self.backbone, backbone_indices, 2)
        self.conv = ConvBNAct(main, gru_channels, 1)
        self.reasoning = GlobalReasoning(gru_channels, gru_num_state, gru_num_node)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(gru_channels, num_classes, 1)
        self.auxiliary_head = (
            ConvHead(auxiliary, auxiliary // 4, num_classes, bias=True) if enable_auxiliary_loss else None
        )
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        auxiliary, main = (features[i] for i in self.backbone_indices)
        logits = [self.classifier(self.dropout(self.reasoning(self.conv(main))))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(auxiliary))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


class GlobalReasoning(Layer):
    """The GloRe unit: pixels projected onto nodes, the nodes' graph, and the same projection back, in a residual.

    The projection is a sum over all pixels, not a mean: a node's features grow with the image.
    """

    def __init__(self, channels: int, state: int, nodes: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, state, 1)
        self.project = nn.Conv2d(channels, nodes, 1)
        self.gcn = GraphConvolution(state, nodes)
        self.extend = nn.Conv2d(state, channels, 1, bias=False)
        self.bn = BatchNorm2d(channels, eps=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same."""
        projection = self.project(x).flatten(2)  # (N, nodes, H * W)
        regions = self.reduce(x).flatten(2) @ projection.transpose(1, 2)  # (N, state, nodes)
        spread = (self.gcn(regions) @ projection).reshape(x.shape[0], -1, *x.shape[-2:])
        return x + self.bn(self.extend(spread))


class GraphConvolution(Layer):
    """A convolution over the nodes, in a residual, and one over their features."""

    def __init__(self, state: int, nodes: int) -> None:
        super().__init__()
        self.over_nodes = nn.Conv1d(nodes, nodes, 1)
        self.over_state = nn.Conv1d(state, state, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, state, nodes)` to the same."""
        x = x + self.over_nodes(x.transpose(1, 2)).transpose(1, 2)
        return F.relu(self.over_state(x))
