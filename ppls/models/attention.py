"""Weights for channels and pixels, from their means and maxima.

Squeeze and excitation is of Hu et al. 2018 (https://arxiv.org/abs/1709.01507), the attention of a fine and a coarse map
of PP-LiteSeg (Peng et al. 2022, https://arxiv.org/abs/2204.02681), polarized self-attention of Liu et al. 2021
(https://arxiv.org/abs/2107.00782).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.layers import Activation, ConvBNAct

_leaky_relu = partial(F.leaky_relu, negative_slope=0.01)  # the default slope of paddle.nn.LeakyReLU


class HardSigmoid(Layer):
    """`slope * x + offset`, clamped to 0..1.

    Args:
        slope: torch has it fixed at 1/6; the squeeze and excitation of Paddle's MobileNetV3 and StrideFormer has 0.2.
    """

    def __init__(self, slope: float = 1 / 6, offset: float = 0.5) -> None:
        super().__init__()
        # Paddle keeps it in float32, in a float64 model too; a tensor would be rounded to half precision with the model
        self.rounded = float(np.float32(slope))
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
        linear: make the two of linear layers, whose weights have two dimensions, as HRNet's are.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int | None = None,
        gate: Activation = torch.sigmoid,
        *,
        linear: bool = False,
    ) -> None:
        super().__init__()
        hidden_channels = channels // 4 if hidden_channels is None else hidden_channels
        self.squeeze = _pointwise(channels, hidden_channels, linear)
        self.excite = _pointwise(hidden_channels, channels, linear)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=isinstance(self.squeeze, nn.Conv2d))
        weights = self.gate(self.excite(F.relu(self.squeeze(means))))
        return x * weights.reshape(*weights.shape[:2], 1, 1)


def _pointwise(in_channels: int, out_channels: int, linear: bool) -> nn.Module:
    return nn.Linear(in_channels, out_channels) if linear else nn.Conv2d(in_channels, out_channels, 1)


class SpatialAttention(nn.Module):
    """One weight per pixel, from the mean (and the maximum) over the channels of both maps: (N, 1, H, W) in 0..1."""

    def __init__(self, channels: int, with_max: bool) -> None:
        super().__init__()
        self.squeeze = ConvBNAct(4 if with_max else 2, 2, 3)
        self.excite = ConvBNAct(2, 1, 3, activation=None)
        self.with_max = with_max

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        described = []
        for x in (low, high):  # mean and maximum of one map stand together
            described.append(x.mean(1, keepdim=True))
            if self.with_max:
                described.append(x.amax(1, keepdim=True))
        return torch.sigmoid(self.excite(self.squeeze(torch.cat(described, dim=1))))


class ChannelAttention(nn.Module):
    """One weight per channel, from the mean (and the maximum) over the pixels of both maps: (N, C, 1, 1) in 0..1."""

    def __init__(self, channels: int, with_max: bool) -> None:
        super().__init__()
        self.squeeze = ConvBNAct((4 if with_max else 2) * channels, channels // 2, 1, activation=_leaky_relu)
        self.excite = ConvBNAct(channels // 2, channels, 1, activation=None)
        self.with_max = with_max

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        described = [x.mean((2, 3), keepdim=True) for x in (low, high)]
        if self.with_max:  # the maxima stand after both means, unlike in the spatial attention
            described += [x.amax((2, 3), keepdim=True) for x in (low, high)]
        return torch.sigmoid(self.excite(self.squeeze(torch.cat(described, dim=1))))


class PolarizedAttention(Layer):
    """A map weighed by channel, and the same weighed by pixel, added: two attentions side by side.

    The channels' weights are from the mean of all pixels, weighed by a softmax; the pixels' from a softmax of how like
    the plain mean each is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pixel_weight = nn.Conv2d(channels, 1, 1, bias=False)
        self.pixel_value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.excite = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.query = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.key = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.pixel_weight(x).flatten(2).softmax(dim=2)  # (N, 1, H * W)
        means = self.pixel_value(x).flatten(2) @ weights.transpose(1, 2)  # (N, C / 2, 1)
        by_channel = x * torch.sigmoid(self.excite(means[..., None]))
        likeness = self.pool(self.query(x)).flatten(2).transpose(1, 2) @ self.key(x).flatten(2)  # (N, 1, H * W)
        by_pixel = x * torch.sigmoid(likeness.softmax(dim=2).reshape(x.shape[0], 1, *x.shape[2:]))
        return by_pixel + by_channel
