"""The layers that architectures share: convolution blocks, resizing, and a BatchNorm2d that trains as Paddle's does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over `(N, C, H, W)` that trains as `paddle.nn.BatchNorm2D` does.

    In eval mode it is `torch.nn.BatchNorm2d`. In train mode it differs in two points, as Paddle does:

    - the running variance is updated with the biased variance of the batch (torch: the unbiased one);
    - with one value per channel (`N * H * W == 1`, the 1x1 bin of a pyramid pooling at batch size 1) it returns its
      input: weight and bias get zero gradients and the statistics stay (torch raises).

    It has no `num_batches_tracked`, so a state dict holds just what Paddle's holds. `momentum` has torch's meaning, the
    weight of the new value (Paddle's 0.9 is 0.1 here), and cannot be None.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, **kwargs: Any) -> None:
        super().__init__(num_features, eps, momentum, **kwargs)
        self.num_batches_tracked = None

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        count = input.numel() // input.size(1)
        if count == 1:
            return input + 0 * self.weight.view(1, -1, 1, 1) + 0 * self.bias.view(1, -1, 1, 1)
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        output = F.batch_norm(input, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        with torch.no_grad():
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * ((count - 1) / count), self.momentum)  # unbiased to biased
        return output

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any) -> None:
        # torch's own adds a num_batches_tracked to a state dict without version, as a file's is, and then rejects it
        nn.Module._load_from_state_dict(self, state_dict, *args)


_INTERPOLATING = ("bilinear", "bicubic")

Activation = Callable[[Tensor], Tensor]


class ConvBNAct(nn.Module):
    """Convolution, batch normalisation, activation; padded so that stride 1 keeps the size.

    Args:
        dilation: distance between the kernel's taps, in pixels.
        activation: applied last; None for none. Default: ReLU.
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
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 * dilation
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.bn = BatchNorm2d(out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.activation is None else self.activation(x)


class PooledBranch(ConvBNAct):
    """One bin size of the pyramid: pooled to `(size, size)`, then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        if size < 1:
            raise Error(f"a bin size of {size}: a pooled map has at least one pixel")
        super().__init__(in_channels, out_channels, 1, bias=True)
        self.pool = nn.AdaptiveAvgPool2d(size)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pool(x))


class SeparableConv(nn.Module):
    """A depthwise convolution with batch normalisation, then a pointwise one with ReLU too; all with biases.

    As PaddleSeg's `SeparableConvBNReLU`: there is no ReLU between the two.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvBNAct(
            in_channels, in_channels, kernel_size, dilation=dilation, groups=in_channels, bias=True, activation=None
        )
        self.pointwise = ConvBNAct(in_channels, out_channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class DropPath(nn.Module):
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


def to_tokens(x: Tensor) -> Tensor:
    """A map `(N, C, H, W)` as tokens `(N, H * W, C)`, row by row."""
    return x.flatten(2).transpose(1, 2)


def from_tokens(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens `(N, H * W, C)` as the map `(N, C, H, W)` of `size` (H, W)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


def resize(
    x: Tensor, size: torch.Size | tuple[int, int], mode: str = "bilinear", align_corners: bool = False
) -> Tensor:
    """`x` (N, C, H, W) resized to `size` (H, W), pixel centres aligned at half pixels, as `paddle` does by default.

    With `align_corners` the centres of the corner pixels are aligned; nearest knows no such choice.
    """
    return F.interpolate(x, size=size, mode=mode, align_corners=align_corners if mode in _INTERPOLATING else None)
