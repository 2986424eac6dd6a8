"""Operators of upstream that do not run on today's Paddle, replaced one by one; the report says which.

PSANet_paddle compiles its `psamask` from C++ and CUDA when it is imported, for a Paddle whose interface has gone since.
Nothing else of upstream is touched.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

# The module that holds the operator, the operator, and what a report says of it.
PSAMASK = "paddleseg.models.ops"
REPLACED = "psamask, C++ and CUDA for an older Paddle, by a gather"


def replace_operators(paddleseg: Path) -> list[str]:
    """Replaces what does not run of the package in the folder `paddleseg`, not imported yet; returns what that is."""
    if not (paddleseg / "paddleseg" / "models" / "ops" / "psamask.cc").exists():
        return []
    module: Any = types.ModuleType(PSAMASK)
    module.psa_mask_op = psa_mask
    sys.modules[PSAMASK] = module
    return [REPLACED]


def psa_mask(
    mask: Any, psa_type: int, batch: int, height: int, width: int, mask_h: int, mask_w: int, half_h: int, half_w: int
) -> Any:
    """Weights by offset as weights by pixel: `(N, mask_h * mask_w, H, W)` to `(N, H * W, H, W)`.

    For a pixel (y, x) and another (y', x') the weight stands in channel `(y' - y + half_h) * mask_w + x' - x + half_w`
    at (y, x); it is 0 for pixels out of the window. `psa_type` 1 (distribute) has it at `[y * W + x, y', x']`, 0
    (collect) at `[y' * W + x', y, x]`.
    """
    import paddle

    y, x = (axis.flatten() for axis in paddle.meshgrid(paddle.arange(height), paddle.arange(width)))
    row = y.unsqueeze(0) - y.unsqueeze(1) + half_h  # (H * W, H * W), from each pixel to each other
    column = x.unsqueeze(0) - x.unsqueeze(1) + half_w
    inside = (row >= 0) & (row < mask_h) & (column >= 0) & (column < mask_w)
    channel = (row.clip(0, mask_h - 1) * mask_w + column.clip(0, mask_w - 1)).unsqueeze(0)
    by_pixel = mask.flatten(2).transpose([0, 2, 1])
    weights = paddle.take_along_axis(by_pixel, channel.expand([by_pixel.shape[0], -1, -1]), axis=2)
    weights = weights * inside.unsqueeze(0).astype(weights.dtype)
    if psa_type == 0:
        weights = weights.transpose([0, 2, 1])
    return weights.reshape([-1, height * width, height, width])
