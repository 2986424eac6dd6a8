"""Transposed convolutions to a map whose size is told: what a stride came from, of an even side or an odd one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FillingConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that fills a map of the size that it is told, one of those whose strides come to `x`.

    As `nn.ConvTranspose2d` with `output_size`. Exported for any size, it makes as much as it can, of which the rest is
    left out: formats have no word for a padding that depends on the size.
    """

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """`(N, in_channels, h, w)` to `(N, out_channels, H, W)` of `output_size` (H, W)."""
        if output_size is None or all(type(side) is int for side in (*x.shape[-2:], *output_size)):
            return super().forward(x, None if output_size is None else list(output_size))
        more = [stride - 1 for stride in self.stride]
        assert not isinstance(self.padding, str)  # it has no 'same'
        x = F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)
        for dim, side in zip((2, 3), output_size, strict=True):  # by index: a slice asks whether it leaves out any
            x = x.index_select(dim, torch.arange(side, device=x.device))
        return x
