"""Resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, numbers_of
from ppls.programs.registry import Run, operator

_ROLES = "X #OutSize #SizeTensor* #Scale"
_SIDES = ("out_d", "out_h", "out_w")


@operator(pir="nearest_interp", pdmodel="nearest_interp_v2", takes=_ROLES)
def nearest(attributes: Attributes) -> Run:
    return _resizing(attributes, "nearest", "nearest", 2)


@operator(pir="bilinear_interp", pdmodel="bilinear_interp_v2", takes=_ROLES)
def bilinear(attributes: Attributes) -> Run:
    return _resizing(attributes, "bilinear", "linear", 2)


@operator(pir="bicubic_interp", pdmodel="bicubic_interp_v2", takes=_ROLES)
def bicubic(attributes: Attributes) -> Run:
    return _resizing(attributes, "bicubic", "bicubic", 2)


@operator(pir="linear_interp", pdmodel="linear_interp_v2", takes=_ROLES)
def linear(attributes: Attributes) -> Run:
    return _resizing(attributes, "linear", "linear", 1)


@operator(pir="trilinear_interp", pdmodel="trilinear_interp_v2", takes=_ROLES)
def trilinear(attributes: Attributes) -> Run:
    return _resizing(attributes, "trilinear", "linear", 3)


@operator(pdmodel="nearest_interp", takes=_ROLES)
def old_nearest(attributes: Attributes) -> Run:
    return _resizing(attributes, "nearest", "nearest", 2, by_sizes=True)


@operator(pdmodel="bilinear_interp", takes=_ROLES)
def old_bilinear(attributes: Attributes) -> Run:
    """Paddle 1's: pixels are as far apart as the two sizes say, whole as they are, even where a factor is given."""
    return _resizing(attributes, "bilinear", "linear", 2, by_sizes=True)


def _resizing(attributes: Attributes, method: str, mode: str, axes: int, *, by_sizes: bool = False) -> Run:
    """The size comes from `SizeTensor`, else from `OutSize`, else from a factor, else from `out_h` and `out_w`.

    A factor is also the distance of the pixels: 10 pixels times 1.25 are 12, and lie 0.8 apart, not 10 / 12.
    `align_corners`: the centres of the corner pixels stay; else `align_mode` 0 aligns the edges of the image, with
    pixel i taken at `(i + 0.5) * distance - 0.5`, and 1 takes it at `i * distance`. An output side of 1 takes pixel 0.
    """
    attributes.layout("data_layout" if "data_layout" in attributes else "data_format")
    attributes.must_be("interp_method", method)  # which is what Paddle goes by, not the operator's name
    corners = attributes.truth("align_corners", True)
    from_corner = attributes.integer("align_mode", 1) == 1 and mode == "linear" and not corners
    listed = [attributes.integer(name, -1) for name in _SIDES[-axes:]]
    factors = [factor for factor in attributes.numbers("scale", []) if factor > 0]
    if len(factors) not in (0, 1, axes):
        raise UnsupportedError(f"scale {factors}")

    def run(
        x: Tensor, out_size: Given | None = None, sizes: Sequence[Given] | None = None, scale: Given | None = None
    ) -> Tensor:
        given = factors if scale is None else numbers_of(scale)
        by = given * axes if len(given) == 1 else given
        distances: list[Any] = [1 / factor for factor in by]
        if sizes:
            wanted, distances = numbers_of(sizes), []
        elif out_size is not None:
            wanted = numbers_of(out_size)
        else:
            wanted = [_times(*each) for each in zip(x.shape[2:], by, strict=True)] if by else listed
        distances = [] if by_sizes else distances
        if len(wanted) != axes:
            raise ValueError(f"a resize to {len(wanted)} sides")
        for axis, side in enumerate(wanted):
            if isinstance(side, int) and side < 1:
                raise ValueError(f"a resize to {side} pixels")
            x = _first(x, axis + 2, mode, corners) if isinstance(side, int) and side == 1 else x
        if mode == "nearest" and corners:
            return _nearest_by_corners(x, wanted)
        if from_corner:
            return _from_corner(x, wanted, distances)
        return _by_torch(x, wanted, mode, corners, distances)

    return run


def _times(size: Any, factor: float) -> Any:
    """Rounded down, of a product in float32, as Paddle takes it."""
    if float(factor).is_integer():
        return size * int(factor)
    return int(np.float32(size) * np.float32(factor)) if isinstance(size, int) else int(size * factor)


def _first(x: Tensor, axis: int, mode: str, corners: bool) -> Tensor:
    """What an output side of 1 takes: pixel 0; of a cubic curve between pixels the point half a pixel before it."""
    if mode != "bicubic" or corners or x.shape[axis] == 1:
        return x.narrow(axis, 0, 1)
    return 1.09375 * x.narrow(axis, 0, 1) - 0.09375 * x.narrow(axis, 1, 1)


def _by_torch(x: Tensor, size: Sequence[Any], mode: str, corners: bool, distances: Sequence[float]) -> Tensor:
    name = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)] if mode == "linear" else mode
    if not distances or corners:
        return F.interpolate(x, tuple(size), mode=name, align_corners=None if mode == "nearest" else corners)
    scales = [1 / distance for distance in distances]  # of one side alone too, which was cut to a single pixel
    upsample = getattr(torch.ops.aten, f"upsample_{name}{len(size)}d")
    return upsample(x, list(size), *([] if mode == "nearest" else [False]), *scales)


def _from_corner(x: Tensor, size: Sequence[Any], distances: Sequence[float]) -> Tensor:
    for axis, side in enumerate(size):
        length = x.shape[axis + 2]
        distance = distances[axis] if distances else x.new_ones(()) * length / side
        place = (torch.arange(side, device=x.device, dtype=x.dtype) * distance).clamp(max=length - 1)
        low = place.floor().long()
        high = (low + 1).clamp(max=length - 1)
        weight = (place - low).reshape(-1, *[1] * (x.dim() - axis - 3))
        x = torch.lerp(x.index_select(axis + 2, low), x.index_select(axis + 2, high), weight)
    return x


def _nearest_by_corners(x: Tensor, size: Sequence[Any]) -> Tensor:
    """Pixel i is the one nearest to `i * (in - 1) / (out - 1)`, of two the later; torch has no such mode."""
    for axis, side in enumerate(size):
        distance = x.new_ones((), dtype=torch.float32) * (x.shape[axis + 2] - 1) / max(side - 1, 1)
        place = torch.arange(side, device=x.device, dtype=torch.float32) * distance + 0.5
        x = x.index_select(axis + 2, place.floor().long())
    return x
