"""Images sampled anywhere, and their windows as columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.numbers import Given, numbers_of
from ppls.programs.operators.padding import pad_pairs
from ppls.programs.registry import Run, operator


@operator(pir="grid_sample", pdmodel="grid_sampler", takes="X Grid", gives="Output")
def grid_sample(attributes: Attributes) -> Run:
    """Corner pixels are aligned unless it says otherwise: torch's default is the other."""
    mode = attributes.choice("mode", "bilinear", "nearest")
    outside = attributes.choice("padding_mode", "zeros", "border", "reflection")
    corners = attributes.truth("align_corners", True)
    return lambda x, grid: F.grid_sample(x, grid, mode, outside, corners)


@operator(pir="affine_grid", pdmodel="affine_grid", takes="Theta #OutputShape", gives="Output")
def affine_grid(attributes: Attributes) -> Run:
    listed, corners = attributes.integers("output_shape", []), attributes.truth("align_corners", True)

    def run(theta: Tensor, shape: Given | None = None) -> Tensor:
        return F.affine_grid(theta, listed if shape is None else numbers_of(shape), corners)

    return run


def _window(attributes: Attributes) -> tuple[list[int], list[int], list[tuple[int, int]], list[int]]:
    """Kernel, stride, padding (top, left, bottom, right of a list of four) and dilation of columns."""
    kernel, stride = attributes.integers("kernel_sizes"), attributes.integers("strides", [1, 1])
    sides, dilation = attributes.integers("paddings", [0, 0]), attributes.integers("dilations", [1, 1])
    top, left, bottom, right = sides if len(sides) == 4 else (*sides, *sides)
    return kernel, stride, [(top, bottom), (left, right)], dilation


@operator(pir="unfold", pdmodel="unfold", gives="Y")
def unfold(attributes: Attributes) -> Run:
    kernel, stride, pairs, dilation = _window(attributes)
    return lambda x: F.unfold(pad_pairs(x, pairs), tuple(kernel), tuple(dilation), 0, tuple(stride))


@operator(pir="fold", pdmodel="fold", gives="Y")
def fold(attributes: Attributes) -> Run:
    kernel, stride, pairs, dilation = _window(attributes)
    height, width = attributes.integers("output_sizes")
    (top, bottom), (left, right) = pairs

    def run(x: Tensor) -> Tensor:
        whole = F.fold(
            x, (height + top + bottom, width + left + right), tuple(kernel), tuple(dilation), 0, tuple(stride)
        )
        return whole[:, :, top : top + height, left : left + width]

    return run


@operator(pir="deformable_conv", pdmodel="deformable_conv", takes="Input Offset Filter Mask", gives="Output")
def deformable_conv(attributes: Attributes) -> Run:
    """Every tap of the kernel is taken where its offset (down, right) says, times its mask; outside are zeros."""
    stride, padding = attributes.integers("strides", [1, 1]), attributes.integers("paddings", [0, 0])
    dilation, groups = attributes.integers("dilations", [1, 1]), attributes.integer("groups", 1)
    parts = attributes.integer("deformable_groups", 1)

    def run(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None = None) -> Tensor:
        kernel, (height, width) = weight.shape[2:], offset.shape[2:]
        taps = kernel[0] * kernel[1]
        down, right = offset.unflatten(1, (parts, taps, 2)).unbind(3)  # each (N, parts, taps, H, W)
        rows, columns_at = (
            _places(x, kernel[axis], dilation[axis], stride[axis], padding[axis], offset.shape[axis + 2])
            for axis in (0, 1)
        )
        down = down + rows.repeat_interleave(kernel[1], 0)[:, :, None]
        right = right + columns_at.repeat(kernel[0], 1)[:, None, :]
        sizes = x.shape[2:]
        grid = torch.stack([_normal(right, sizes[1]), _normal(down, sizes[0])], -1)  # (N, parts, taps, H, W, 2)
        images = x.unflatten(1, (parts, -1)).flatten(0, 1)
        sampled = F.grid_sample(images, grid.flatten(0, 1).flatten(1, 2), "bilinear", "zeros", False)
        columns = sampled.reshape(x.shape[0], parts, -1, taps, height, width)
        if mask is not None:
            columns = columns * mask.unflatten(1, (parts, 1, taps))
        columns = columns.reshape(x.shape[0], groups, -1, height * width)
        kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
        return torch.einsum("gok,ngkp->ngop", kernels, columns).reshape(x.shape[0], -1, height, width)

    return run


def _places(x: Tensor, kernel: int, dilation: int, stride: int, padding: int, count: int) -> Tensor:
    """Where the taps of each window lie along one axis, (kernel, count)."""
    taps = torch.arange(kernel, device=x.device, dtype=x.dtype) * dilation
    windows = torch.arange(count, device=x.device, dtype=x.dtype) * stride - padding
    return taps[:, None] + windows[None, :]


def _normal(place: Tensor, size: int) -> Tensor:
    """A pixel's place as `grid_sample` has it, without aligned corners."""
    return (2 * place + 1) / size - 1
