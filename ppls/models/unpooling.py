"""Max pooling that remembers where each maximum stood, and its inverse, which puts a map back there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_with_places(x: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima of squares of 2x2 pixels, and where each stood: its index among the H * W pixels of its channel.

    `x` (N, C, H, W) to two maps (N, C, H // 2, W // 2). Of equal pixels the first is taken, as Paddle does.
    """
    return F.max_pool2d(x, 2, return_indices=True)


def unpool(x: Tensor, places: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Each pixel of `x` (N, C, h, w) put where `places` says, in a map of zeros (N, C, H, W) of `size` (H, W).

    As `F.max_unpool2d`, which neither ONNX nor OpenVINO has.
    """
    empty = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return empty.scatter(2, places.flatten(2), x.flatten(2)).reshape(*x.shape[:2], *size)
