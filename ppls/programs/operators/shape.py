"""The shape of tensors, and tensors of other shapes: the elements and their order stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.numbers import Given, Numbers, Value, numbers_of
from ppls.programs.registry import Run, operator


@operator(pir="shape shape64", pdmodel="shape", takes="Input", numbers=True)
def shape(attributes: Attributes) -> Run:
    dtype = "int64" if attributes.kind.endswith("64") else "int32"

    def run(x: Value) -> Numbers:
        sizes = x.shape if isinstance(x, Tensor) else () if x.scalar else (len(x.values),)
        return Numbers(tuple(sizes), False, dtype)

    return run


@operator(pir="numel", pdmodel="size", takes="Input")
def numel(attributes: Attributes) -> Run:
    return lambda x: Numbers((x.numel(),), True, "int64")


@operator(pir="reshape", pdmodel="reshape2 reshape", takes="X #Shape #ShapeTensor*", numbers=True, like=True)
def reshape(attributes: Attributes) -> Run:
    """A 0 is the side that the input has there, -1 what is left."""
    listed = attributes.integers("shape", [])

    def run(x: Value, shape: Given | None = None, each: Sequence[Given] | None = None, *, like: Tensor) -> Value:
        wanted = numbers_of(each) if each else listed if shape is None else numbers_of(shape)
        if isinstance(x, Numbers):
            if (len(x.values) == 1 and len(wanted) <= 1) or wanted in ([-1], [len(x.values)]):
                return x._replace(scalar=not wanted)
            x = x.tensor(like)
        zero = [isinstance(side, int) and side == 0 for side in wanted]
        return x.reshape([x.shape[axis] if zero[axis] and x.numel() != 0 else side for axis, side in enumerate(wanted)])

    return run


@operator(pir="flatten", pdmodel="flatten_contiguous_range")
def flatten(attributes: Attributes) -> Run:
    first, last = attributes.integer("start_axis", 1), attributes.integer("stop_axis", 1)
    return lambda x: x.flatten(first, last)


@operator(pdmodel="flatten2 flatten")
def flatten_in_two(attributes: Attributes) -> Run:
    """To two axes: those before `axis`, and the rest."""
    axis = attributes.integer("axis", 1)
    return lambda x: x.reshape(1, -1) if axis == 0 else x.flatten(axis).flatten(0, axis - 1)


@operator(pir="squeeze", pdmodel="squeeze2 squeeze", takes="X #Axis", numbers=True)
def squeeze(attributes: Attributes) -> Run:
    """An axis that is longer than 1 stays; without axes all of length 1 go."""
    listed = attributes.integers("axes", [])

    def run(x: Value, axis: Given | None = None) -> Value:
        axes = listed if axis is None else numbers_of(axis)
        if isinstance(x, Numbers):
            return x._replace(scalar=x.scalar or len(x.values) == 1)
        axes = axes or list(range(x.dim()))
        for at in sorted((axis % x.dim() for axis in axes), reverse=True):
            x = x.squeeze(at)
        return x

    return run


@operator(
    pir="unsqueeze",
    pdmodel="unsqueeze2 unsqueeze",
    takes="X #AxesTensor #AxesTensorList*",
    numbers=True,
    like=True,
)
def unsqueeze(attributes: Attributes) -> Run:
    """One axis after the other, each counted in the result so far."""
    listed = attributes.integers("axes", [])

    def run(x: Value, axis: Given | None = None, each: Sequence[Given] | None = None, *, like: Tensor) -> Value:
        axes = numbers_of(each) if each else listed if axis is None else numbers_of(axis)
        if isinstance(x, Numbers):
            if x.scalar and axes in ([0], [-1]):
                return x._replace(scalar=False)
            x = x.tensor(like)
        for at in axes:
            x = x.unsqueeze(at)
        return x

    return run


@operator(pir="expand", pdmodel="expand_v2", takes="X #Shape #expand_shapes_tensor*", numbers=True, like=True)
def expand(attributes: Attributes) -> Run:
    """A -1 is the side that the input has there."""
    listed = attributes.integers("shape", [])

    def run(x: Value, shape: Given | None = None, each: Sequence[Given] | None = None, *, like: Tensor) -> Tensor:
        sides = numbers_of(each) if each else listed if shape is None else numbers_of(shape)
        return _tensor(x, like).expand(sides)

    return run


@operator(pdmodel="expand", takes="X #ExpandTimes #expand_times_tensor*", numbers=True, like=True)
def old_expand(attributes: Attributes) -> Run:
    """Paddle 1's: how often, not how large."""
    return _repeating(attributes.integers("expand_times", []))


@operator(pir="tile", pdmodel="tile", takes="X #RepeatTimes #repeat_times_tensor*", numbers=True, like=True)
def tile(attributes: Attributes) -> Run:
    return _repeating(attributes.integers("repeat_times", []))


def _repeating(listed: list[int]) -> Run:
    def run(x: Value, times: Given | None = None, each: Sequence[Given] | None = None, *, like: Tensor) -> Tensor:
        return _tensor(x, like).tile(numbers_of(each) if each else listed if times is None else numbers_of(times))

    return run


@operator(pir="expand_as", pdmodel="expand_as_v2", takes="X Y")
def expand_as(attributes: Attributes) -> Run:
    listed = attributes.integers("target_shape", [])
    return lambda x, y=None: x.expand(listed if y is None else y.shape)


def _tensor(x: Value, like: Tensor) -> Tensor:
    return x.tensor(like) if isinstance(x, Numbers) else x


@operator(pir="stack", pdmodel="stack", takes="X*", gives="Y", numbers=True, like=True)
def stack(attributes: Attributes) -> Run:
    axis = attributes.integer("axis", 0)

    def run(each: Sequence[Value], *, like: Tensor) -> Value:
        if all(isinstance(x, Numbers) and x.scalar for x in each):
            return _joined(each)
        return torch.stack([_tensor(x, like) for x in each], axis)

    return run


@operator(pir="concat", pdmodel="concat", takes="X* #AxisTensor", numbers=True, like=True)
def concat(attributes: Attributes) -> Run:
    listed = attributes.integer("axis", 0)

    def run(each: Sequence[Value], axis: Given | None = None, *, like: Tensor) -> Value:
        if all(isinstance(x, Numbers) for x in each):
            return _joined(each)
        at = listed if axis is None else int(numbers_of(axis)[0])
        return torch.cat([_tensor(x, like) for x in each], at)

    return run


def _joined(each: Sequence[Any]) -> Numbers:
    return Numbers(tuple(value for x in each for value in x.values), False, each[0].dtype)
