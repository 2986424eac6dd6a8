"""Poolings."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.models.bin_pool import BinPool
from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, numbers_of
from ppls.programs.operators.padding import WindowPadding, pad_pairs, symmetric
from ppls.programs.registry import Run, operator

_LOWEST = -float("inf")


@operator(pir="pool2d", pdmodel="pool2d", takes="X #KernelSize")
def pool2d(attributes: Attributes) -> Run:
    """Of a mean, `exclusive`, the default, leaves out what is padded; torch's default counts it."""
    attributes.layout()
    kind = attributes.choice("pooling_type", "max", "avg")
    adaptive, whole = attributes.truth("adaptive", False), attributes.truth("global_pooling", False)
    ceil, exclusive = attributes.truth("ceil_mode", False), attributes.truth("exclusive", True)
    padding = WindowPadding(attributes, 2)
    listed = [] if whole else attributes.integers("ksize", [])
    stride = attributes.integers("strides", [1, 1])
    if len(stride) != 2 or min(stride) < 1:
        raise UnsupportedError(f"strides {stride}")

    def run(x: Tensor, size: Given | None = None) -> Tensor:
        kernel = _two([1, 1] if whole else listed if size is None else numbers_of(size))
        if whole or adaptive:
            height, width = (x.shape[axis + 2] if side == -1 else side for axis, side in enumerate(kernel))
            if kind == "max":
                return F.adaptive_max_pool2d(x, (height, width))
            if torch.compiler.is_exporting():
                return BinPool((height, width))(x)
            return F.adaptive_avg_pool2d(x, (height, width))
        pairs = padding.pairs(x.shape[2:], kernel, stride)
        sides = symmetric(pairs)
        if sides is None or any(2 * side > length for side, length in zip(sides, kernel, strict=True)):
            return padded(x, kernel, pairs)
        if kind == "max":
            return F.max_pool2d(x, kernel, stride, sides, 1, ceil)
        return F.avg_pool2d(x, kernel, stride, sides, ceil, count_include_pad=not exclusive)

    def padded(x: Tensor, kernel: list[Any], pairs: list[tuple[int, int]]) -> Tensor:
        """Where torch's own padding, the same on both sides and at most half a window, is not enough."""
        if kind == "max":
            return F.max_pool2d(pad_pairs(x, pairs, _LOWEST), kernel, stride, 0, 1, ceil)
        mean = F.avg_pool2d(pad_pairs(x, pairs), kernel, stride, 0, ceil)
        inside = pad_pairs(torch.ones_like(x[:1, :1]), pairs)
        return mean / F.avg_pool2d(inside, kernel, stride, 0, ceil) if exclusive else mean

    return run


def _two(sides: list[Any]) -> list[Any]:
    return sides * 2 if len(sides) == 1 else sides


@operator(pir="max_pool2d_with_index", pdmodel="max_pool2d_with_index", gives="Out Mask")
def max_pool2d_with_index(attributes: Attributes) -> Run:
    """The places are counted in the flat map of a channel, as torch counts them."""
    kernel = attributes.integers("ksize") if "ksize" in attributes else attributes.integers("kernel_size")
    stride, padding = attributes.integers("strides", [1, 1]), attributes.integers("paddings", [0, 0])
    adaptive, whole = attributes.truth("adaptive", False), attributes.truth("global_pooling", False)
    ceil = attributes.truth("ceil_mode", False)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        if whole or adaptive:
            found, places = F.adaptive_max_pool2d_with_indices(x, (1, 1) if whole else (kernel[0], kernel[-1]))
        else:
            found, places = F.max_pool2d_with_indices(x, kernel, stride, padding, [1, 1], ceil)
        return found, places.to(torch.int32)

    return run


@operator(pir="unpool", pdmodel="unpool", takes="X Indices #output_size")
def unpool(attributes: Attributes) -> Run:
    attributes.layout()
    size = attributes.integers("output_size", [])

    def run(x: Tensor, places: Tensor, output_size: Given | None = None) -> Tensor:
        height, width = (size if output_size is None else numbers_of(output_size))[-2:]
        flat = x.new_zeros((*x.shape[:2], height * width))
        return flat.scatter(2, places.long().flatten(2), x.flatten(2)).unflatten(2, (height, width))

    return run
