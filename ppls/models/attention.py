"""Channels weighed by their means: squeeze and excitation (Hu et al. 2018, https://arxiv.org/abs/1709.01507)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.layers import Activation


class HardSigmoid(Layer):
    """`slope * x + offset`, clamped to 0..1.

    Args:
        slope: torch has it fixed at 1/6; the squeeze and excitation of Paddle's MobileNetV3 and StrideFormer has 0.2.
    """

    def __init__(self, slope: float = 1 / 6, offset: float = 0.5) -> None:
        super().__init__()
        # Paddle keeps it in float32, in a float64 model too; a tensor would be rounded to half precision with the model
        self.rounded = torch.tensor(slope, dtype=torch.float32).item()
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        return (self.rounded * x + self.offset).clamp(0, 1)

    def extra_repr(self) -> str:
        return f"slope={self.rounded:.6g}, offset={self.offset:g}"


class SqueezeExcite(Layer):
    """Each channel weighed by what two 1x1 convolutions make of the means of all.

    Args:
        hidden_channels: between the two. Default: a quarter.
        gate: makes weights of what the second gives. Default: a sigmoid.
    """

    def __init__(self, channels: int, hidden_channels: int | None = None, gate: Activation = torch.sigmoid) -> None:
        super().__init__()
        hidden_channels = channels // 4 if hidden_channels is None else hidden_channels
        self.squeeze = nn.Conv2d(channels, hidden_channels, 1)
        self.excite = nn.Conv2d(hidden_channels, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
