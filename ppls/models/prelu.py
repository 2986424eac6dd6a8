"""A normalisation and the PReLU behind it, for the networks that have both without a convolution."""

from __future__ import annotations

from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.norms import BatchNorm2d


class NormPReLU(Layer):
    """Batch normalisation, then PReLU: one slope for each channel, or a single one."""

    def __init__(self, channels: int, slopes: int = 1) -> None:
        super().__init__()
        self.bn = BatchNorm2d(channels)
        self.activation = nn.PReLU(slopes)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.bn(x))
