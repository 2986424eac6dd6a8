"""Convolutions and their transposes."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, numbers_of
from ppls.programs.operators.padding import WindowPadding, pad_pairs, symmetric
from ppls.programs.registry import Run, operator


def _on_axes(attributes: Attributes, name: str, axes: int) -> list[int]:
    found = attributes.integers(name, [1] * axes)
    if len(found) != axes or min(found) < 1:
        raise UnsupportedError(f"{name} {found}")
    return found


def _convolution(attributes: Attributes, convolve: Callable[..., Tensor], axes: int) -> Run:
    attributes.layout()
    padding = WindowPadding(attributes, axes)
    stride, dilation = (_on_axes(attributes, name, axes) for name in ("strides", "dilations"))
    dilation = [1] * axes if padding.rule == "SAME" else dilation
    groups = attributes.integer("groups", 1)
    fixed = None if padding.rule == "SAME" else symmetric(padding.pairs((), (), ()))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if fixed is not None:
            return convolve(x, weight, bias, stride, fixed, dilation, groups)
        pairs = padding.pairs(x.shape[2:], weight.shape[2:], stride)
        sides = symmetric(pairs)
        if sides is None:
            x, sides = pad_pairs(x, pairs), [0] * axes
        return convolve(x, weight, bias, stride, sides, dilation, groups)

    return run


@operator(pir="conv2d", pdmodel="conv2d", takes="Input Filter Bias", gives="Output")
def conv2d(attributes: Attributes) -> Run:
    return _convolution(attributes, F.conv2d, 2)


@operator(pir="depthwise_conv2d", pdmodel="depthwise_conv2d", takes="Input Filter Bias", gives="Output")
def depthwise_conv2d(attributes: Attributes) -> Run:
    """As `conv2d`; `groups` says how many, here too."""
    return _convolution(attributes, F.conv2d, 2)


@operator(pir="conv3d", pdmodel="conv3d", takes="Input Filter Bias", gives="Output")
def conv3d(attributes: Attributes) -> Run:
    return _convolution(attributes, F.conv3d, 3)


@operator(
    pir="conv2d_transpose depthwise_conv2d_transpose",
    pdmodel="conv2d_transpose depthwise_conv2d_transpose",
    takes="Input Filter #output_size Bias",
    gives="Output",
)
def conv2d_transpose(attributes: Attributes) -> Run:
    """What is padded is cut off the result, and may differ before and after; an output size says how much more."""
    attributes.layout()
    padding = WindowPadding(attributes, 2)
    stride, dilation = (_on_axes(attributes, name, 2) for name in ("strides", "dilations"))
    dilation = [1, 1] if padding.rule == "SAME" else dilation
    groups = attributes.integer("groups", 1)
    more = attributes.integers("output_padding", []) or [0, 0]
    wanted = attributes.integers("output_size", [])

    def run(x: Tensor, weight: Tensor, output_size: Given | None = None, bias: Tensor | None = None) -> Tensor:
        kernel, sizes = weight.shape[2:], x.shape[2:]
        pairs = padding.pairs(sizes, kernel, stride)
        asked = wanted if output_size is None else numbers_of(output_size)
        added = list(more)
        for axis, side in enumerate(asked):
            least = (sizes[axis] - 1) * stride[axis] - sum(pairs[axis]) + dilation[axis] * (kernel[axis] - 1) + 1
            added[axis] = side - least
        sides = symmetric(pairs)
        if sides is not None:
            return F.conv_transpose2d(x, weight, bias, stride, sides, added, groups, dilation)
        whole = F.conv_transpose2d(x, weight, bias, stride, 0, 0, groups, dilation)
        whole = F.pad(whole, (0, added[1], 0, added[0]))
        (top, bottom), (left, right) = pairs
        return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]

    return run
