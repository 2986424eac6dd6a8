"""Heads that architectures share: from a feature map to logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d


class ConvHead(Layer):
    """A 3x3 convolution, dropout and the classifier, as PaddleSeg's `AuxLayer`; `bias` is the convolution's."""

    def __init__(
        self, in_channels: int, hidden_channels: int, num_classes: int, dropout: float = 0.1, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.conv = ConvBNAct(in_channels, hidden_channels, 3, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(hidden_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, H, W)` to `(N, num_classes, H, W)`."""
        return self.classifier(self.dropout(self.conv(x)))


class PreNormHead(Layer):
    """A normalisation, a 3x3 convolution and the classifier: `(N, in_channels, H, W)` to `(N, num_classes, H, W)`."""

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(in_channels)
        self.hidden = ConvBNAct(in_channels, hidden_channels, 3)
        self.classifier = nn.Conv2d(hidden_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(F.relu(self.norm(x))))


class DroppedClassifier(nn.Sequential):
    """Dropout of whole channels and the classifier: `(N, in_channels, H, W)` to `(N, num_classes, H, W)`."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(nn.Dropout2d(0.1), nn.Conv2d(in_channels, num_classes, 1))


class HeadOf1024(ConvHead):
    """A `ConvHead` with dropout of whole channels, as DNLNet, EMANet and ISANet have it for training.

    PaddleSeg has the number of its channels fixed: it takes no other map than the third of a ResNet of bottlenecks.
    """

    def __init__(self, in_channels: int, num_classes: int, *, bias: bool = False) -> None:
        if in_channels != 1024:
            raise Error(
                "backbone: this model takes one with a map of 1024 channels for the auxiliary head, as PaddleSeg does, "
                f"and this one has {in_channels}: another backbone, or enable_auxiliary_loss=False"
            )
        super().__init__(in_channels, 256, num_classes, bias=bias)
        self.dropout = nn.Dropout2d(0.1)  # type: ignore[assignment]
