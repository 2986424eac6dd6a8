"""What every level of the U-Nets is made of."""

from __future__ import annotations

from torch import nn

from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct


class DoubleConv(Layer, nn.Sequential):
    """Two 3x3 convolutions: `(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            ConvBNAct(in_channels, out_channels, 3, bias=True), ConvBNAct(out_channels, out_channels, 3, bias=True)
        )
