"""The inverted residual of the MobileNets (Sandler et al. 2018, https://arxiv.org/abs/1801.04381)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.layers import Activation, ConvBNAct


class InvertedResidual(Layer):
    """A 1x1 convolution that widens, a depthwise one, and a 1x1 that narrows; added to the input where they fit.

    Args:
        hidden_channels: in the middle.
        dilation: of the depthwise convolution, in pixels.
        activation: of the first two; the last has none.
        attention: applied before the last.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: Activation = F.relu6,
        attention: Layer | None = None,
    ) -> None:
        super().__init__()
        self.expand = ConvBNAct(in_channels, hidden_channels, 1, activation=activation)
        self.depthwise = ConvBNAct(
            hidden_channels,
            hidden_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=hidden_channels,
            activation=activation,
        )
        self.attention = nn.Identity() if attention is None else attention
        self.project = ConvBNAct(hidden_channels, out_channels, 1, activation=None)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        narrowed = self.project(self.attention(self.depthwise(self.expand(x))))
        return x + narrowed if self.residual else narrowed


def rounded_width(width: float, by: int = 8) -> int:
    """A scaled number of channels as the nearest multiple of `by`, at least one, and not below nine tenths of it."""
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded
