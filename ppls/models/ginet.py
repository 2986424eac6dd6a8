"""GINet (Wu et al. 2020, https://arxiv.org/abs/2009.06160), as in PaddleSeg's `models/ginet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.initialization import draw_weight
from ppls.models.jpu import JPU
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm1d, BatchNorm2d
from ppls.models.resize import resize

WIDTHS = [512, 1024, 2048]  # of the encoder's last three maps: PaddleSeg takes no others
WIDTH, STATE, NODES = 512, 256, 84
WORD = 300  # numbers that stand for the name of a class


class GINet(SegmentationModel):
    """GINet: a dilated encoder, and a graph of regions that is told of a graph of the classes' names.

    Args:
        num_classes: classes, the channels of the logits.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps are taken: four, the finest first.
        enable_auxiliary_loss: build the auxiliary head, which PaddleSeg runs in eval mode too.
        align_corners: how the logits are resized.
        jpu: upsample the last three maps together; False takes the last alone.
    """

    words: Tensor

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        enable_auxiliary_loss: bool = True,
        align_corners: bool = True,
        jpu: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        _, *widths = channels_of(self.backbone, backbone_indices, 4)
        if widths != WIDTHS:
            raise Error(f"backbone: GINet takes one whose last maps have {WIDTHS} channels; this one's have {widths}")
        self.upsampling = JPU(widths, WIDTH) if jpu else None
        self.conv = ConvBNAct(4 * WIDTH, WIDTH, 3)
        self.register_buffer("words", torch.zeros(num_classes, WORD))  # never trained, in PaddleSeg either
        self.word_layers = nn.Sequential(WordLayer(WORD, 128), WordLayer(128, STATE))
        self.interaction = GraphInteraction(WIDTH, STATE, NODES, num_classes)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)
        self.auxiliary_head = ConvHead(widths[1], widths[1] // 4, num_classes) if enable_auxiliary_loss else None
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W), the auxiliary head's last, in either mode."""
        features = self.backbone(image)
        _, *coarser = (features[i] for i in self.backbone_indices)
        x = self.conv(coarser[2] if self.upsampling is None else self.upsampling(coarser))
        words = self.word_layers(self.words).t().expand(x.shape[0], -1, -1)  # (N, STATE, num_classes)
        logits = [self.classifier(self.dropout(self.interaction(x, words)))]
        if self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(coarser[1]))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As Paddle's; the embeddings of words are zeros until a file brings them."""
        if isinstance(layer, GINet):
            nn.init.zeros_(weight)
        else:
            draw_weight(layer, weight)


class WordLayer(Layer):
    """A linear layer over the classes' names, normalised over the classes."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.bn = BatchNorm1d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        """`(num_classes, in_features)` to `(num_classes, out_features)`."""
        return F.relu(self.bn(self.linear(x)))


class GraphInteraction(nn.Module):
    """The GI unit: pixels projected onto a graph of regions, the classes' graph told to it, and back, in a residual."""

    def __init__(self, channels: int, state: int, nodes: int, classes: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, nodes, 1)
        self.reduce = nn.Conv2d(channels, state, 1)
        self.region_gcn = GraphConvolution(state, nodes)
        self.word_gcn = GraphConvolution(state, classes)
        self.transfer = Transfer(state)
        self.gamma = nn.Parameter(torch.zeros(nodes))
        self.extend = nn.Conv2d(state, channels, 1, bias=False)
        self.bn = BatchNorm2d(channels)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """`x` (N, channels, H, W) and `words` (N, state, classes) to the shape of `x`."""
        projection = self.project(x).flatten(2)  # (N, nodes, H * W)
        regions = self.reduce(x).flatten(2) @ projection.transpose(1, 2) / projection.shape[2]  # (N, state, nodes)
        regions = self.region_gcn(regions)
        regions = self.gamma * self.transfer(self.word_gcn(words), regions) + regions
        spread = (regions @ projection).reshape(x.shape[0], -1, *x.shape[-2:])
        return x + self.bn(self.extend(spread))


class GraphConvolution(Layer):
    """A convolution over the nodes, in a residual, and one over their features."""

    def __init__(self, state: int, nodes: int) -> None:
        super().__init__()
        self.over_nodes = nn.Conv1d(nodes, nodes, 1)
        self.over_state = nn.Conv1d(state, state, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, state, nodes)` to the same."""
        return self.over_state(F.relu(x + self.over_nodes(x.transpose(1, 2)).transpose(1, 2)))


class Transfer(nn.Module):
    """What each region takes from the classes' names: an attention whose weights sum to 1 over the classes."""

    def __init__(self, state: int) -> None:
        super().__init__()
        self.query = nn.Conv1d(state, state // 2, 1)
        self.key = nn.Conv1d(state, state // 2, 1)
        self.value = nn.Conv1d(state, state, 1)

    def forward(self, words: Tensor, regions: Tensor) -> Tensor:
        """`words` (N, state, classes) and `regions` (N, state, nodes) to the shape of `regions`."""
        energy = self.query(words).transpose(1, 2) @ self.key(regions)  # (N, classes, nodes)
        return self.value(words) @ energy.softmax(1)
