"""Resizing as Paddle does it, every way that PaddleSeg's models use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_INTERPOLATING = ("bilinear", "bicubic")


def resize(
    x: Tensor, size: torch.Size | tuple[int, int], mode: str = "bilinear", align_corners: bool = False
) -> Tensor:
    """`x` (N, C, H, W) resized to `size` (H, W), pixel centres aligned at half pixels, as `paddle` does by default.

    With `align_corners` the centres of the corner pixels are aligned; nearest knows no such choice.
    """
    return F.interpolate(x, size=size, mode=mode, align_corners=align_corners if mode in _INTERPOLATING else None)


def enlarge(x: Tensor, factor: int, mode: str = "bilinear", align_corners: bool = False) -> Tensor:
    """`x` (N, C, H, W) resized to so many times its size, as `paddle.nn.Upsample(scale_factor=)` does it."""
    return resize(x, (factor * x.shape[2], factor * x.shape[3]), mode, align_corners)


def rescale(x: Tensor, factor: float) -> Tensor:
    """`x` (N, C, H, W) resized bilinearly by a factor, which stands for the ratio of the sizes, whole as they are."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def resize_from_corner(x: Tensor, size: torch.Size | tuple[int, int], align_corners: bool = False) -> Tensor:
    """`x` (N, C, H, W) resized bilinearly to `size` (H, W), the top left corners of pixels aligned.

    Paddle's `align_mode=1`: pixel i is taken at `i * in / out`, with no half pixel. DANet, DNLNet and ISANet resize
    their logits like this; torch has no such mode. With `align_corners` it has no effect.
    """
    if align_corners:
        return resize(x, size, align_corners=True)
    return _lerp(_lerp(x, size[0], dim=2), size[1], dim=3)


def _lerp(x: Tensor, size: int, dim: int) -> Tensor:
    length = x.shape[dim]
    ratio = x.new_ones(()) * length / size  # of tensors: OpenVINO cannot divide one size by another
    place = torch.arange(size, device=x.device, dtype=x.dtype) * ratio
    low = place.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    weight = (place - low).reshape(-1, *[1] * (3 - dim))
    return torch.lerp(x.index_select(dim, low), x.index_select(dim, high), weight)
