"""The blocks that architectures share: convolutions with their normalisation, stochastic depth, maps as tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.norms import BatchNorm2d

Activation = Callable[[Tensor], Tensor]


class SameConv2d(Layer, nn.Conv2d):
    """A convolution whose output has `ceil(size / stride)` pixels, as Paddle's `padding='same'` does it.

    What is padded depends on the size: where it is odd in number, the extra row and column stand at the bottom and at
    the right. Paddle then takes a dilation of 1, whatever it is given; so there is none here. torch has `same` for
    stride 1 alone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        vertical, horizontal = (
            _same_padding(x.shape[axis + 2], self.kernel_size[axis], self.stride[axis]) for axis in (0, 1)
        )
        return super().forward(F.pad(x, (*horizontal, *vertical)))


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after."""
    total = kernel - stride + (size + stride - 1) // stride * stride - size  # no `%` of a negative: OpenVINO has none
    total = total if kernel >= stride else max(total, 0)
    return total // 2, total - total // 2


class ConvBNAct(Layer):
    """Convolution, batch normalisation, activation; padded so that stride 1 keeps the size.

    Args:
        dilation: distance between the kernel's taps, in pixels.
        activation: applied last; None for none. Default: ReLU.
        same: pad as Paddle's `padding='same'`, which differs where the convolution is strided, and knows no dilation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        activation: Activation | None = F.relu,
        same: bool = False,
    ) -> None:
        super().__init__()
        self.conv: nn.Conv2d
        if same and (stride > 1 or kernel_size % 2 == 0):
            self.conv = SameConv2d(in_channels, out_channels, kernel_size, stride, groups, bias)
        else:
            dilation = 1 if same else dilation
            padding = kernel_size // 2 * dilation
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.bn = BatchNorm2d(out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.activation is None else self.activation(x)


class SeparableConv(Layer):
    """A depthwise convolution with batch normalisation, then a pointwise one with ReLU too.

    As PaddleSeg's `SeparableConvBNReLU`: there is no ReLU between the two. The depthwise one is strided, dilated and
    has a bias or not; the pointwise one always has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
        same: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = ConvBNAct(
            in_channels,
            in_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            bias=bias,
            activation=None,
            same=same,
        )
        self.pointwise = ConvBNAct(in_channels, out_channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class DropPath(Layer):
    """Stochastic depth: in train mode, each sample of a residual is dropped with probability `rate`.

    What is kept is divided by `1 - rate`, so that the mean stays (Huang et al. 2016, https://arxiv.org/abs/1603.09382).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        return x * x.new_empty(x.shape[0], *[1] * (x.dim() - 1)).bernoulli_(keep) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """The rates of so many `DropPath`s, which rise from 0 to `last`, in float32 as `paddle.linspace` rounds them."""
    if blocks == 1:
        return [0.0]
    index, end = np.arange(blocks, dtype=np.float32), np.float32(last)
    step = end / np.float32(blocks - 1)
    rates: list[float] = np.where(
        index < blocks // 2, step * index, end - step * (np.float32(blocks - 1) - index)
    ).tolist()
    return rates


def shuffle_halves(x: Tensor) -> Tensor:
    """The channels of both halves in turn, as in ShuffleNet (https://arxiv.org/abs/1707.01083)."""
    return x.reshape(x.shape[0], 2, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """A map `(N, C, H, W)` as tokens `(N, H * W, C)`, row by row."""
    return x.flatten(2).transpose(1, 2)


def from_tokens(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Tokens `(N, H * W, C)` as the map `(N, C, H, W)` of `size` (H, W)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Attention of one head: what each of L queries takes of the values, by its likeness to their keys.

    Args:
        query, key, value: tokens `(N, L, C)`, `(N, S, C)` and `(N, S, D)`.
        scale: of the products before the softmax. Default: `C ** -0.5`.

    Returns:
        `(N, L, D)`.
    """
    query, key, value = (x.unsqueeze(1) for x in (query, key, value))  # ONNX has none without an axis for heads
    return F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)
