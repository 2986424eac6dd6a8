"""Parts of tensors by where they begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, Numbers, Value, numbers_of
from ppls.programs.registry import Run, operator


def _chosen(listed: list[int], one: Given | None, each: Sequence[Given] | None = None) -> list[Any]:
    return numbers_of(each) if each else listed if one is None else numbers_of(one)


@operator(
    pir="slice",
    pdmodel="slice",
    takes="Input #StartsTensor #EndsTensor #StartsTensorList* #EndsTensorList*",
    numbers=True,
)
def plain_slice(attributes: Attributes) -> Run:
    """Negative places count from the end, those beyond it are the end; `decrease_axis` are gone afterwards."""
    axes, gone = attributes.integers("axes"), attributes.integers("decrease_axis", [])
    first, last = attributes.integers("starts", []), attributes.integers("ends", [])

    def run(
        x: Value,
        starts: Given | None = None,
        ends: Given | None = None,
        each_start: Sequence[Given] | None = None,
        each_end: Sequence[Given] | None = None,
    ) -> Value:
        begin, end = _chosen(first, starts, each_start), _chosen(last, ends, each_end)
        if isinstance(x, Numbers):
            return x._replace(values=x.values[begin[0] : end[0]], scalar=bool(gone))
        for axis, low, high in zip(axes, begin, end, strict=True):
            x = _cut(x, axis, low, high, 1)
        for axis in sorted((axis % x.dim() for axis in gone), reverse=True):
            x = x.squeeze(axis)
        return x

    return run


def _cut(x: Tensor, axis: int, low: Any, high: Any, step: int) -> Tensor:
    if isinstance(low, int) and low == 0 and isinstance(high, int) and high >= 2**31 - 1 and step == 1:
        return x
    index = (*[slice(None)] * (axis % x.dim()), slice(low, high, step))
    return x[index]


@operator(
    pir="strided_slice",
    pdmodel="strided_slice",
    takes="Input #StartsTensor #EndsTensor #StridesTensor #StartsTensorList* #EndsTensorList* #StridesTensorList*",
    numbers=True,
)
def strided_slice(attributes: Attributes) -> Run:
    """As `slice`, with a step; a negative one walks back, and ends before `ends`."""
    axes, gone = attributes.integers("axes"), attributes.integers("decrease_axis", [])
    listed = [attributes.integers(name, []) for name in ("starts", "ends", "strides")]

    def run(x: Value, *given: Any) -> Value:
        begin, end, steps = (_chosen(listed[at], given[at], given[at + 3]) for at in range(3))
        if isinstance(x, Numbers):
            return x._replace(values=x.values[begin[0] : end[0] : steps[0]], scalar=bool(gone))
        for axis, low, high, step in zip(axes, begin, end, steps, strict=True):
            x = _cut(x, axis, low, high, step) if step > 0 else _walked_back(x, axis, low, high, step)
        for axis in sorted((axis % x.dim() for axis in gone), reverse=True):
            x = x.squeeze(axis)
        return x

    return run


def _walked_back(x: Tensor, axis: int, low: int, high: int, step: int) -> Tensor:
    """torch has no negative steps. Beyond the beginning Paddle means the beginning, not the end."""
    size = x.shape[axis]
    places = range(size)[max(low, -size) : None if high < -size else high : step]
    return x.index_select(axis, torch.tensor(places, device=x.device, dtype=torch.long))


@operator(pir="crop", pdmodel="crop_tensor", takes="X #Shape #Offsets #ShapeTensor* #OffsetsTensor*")
def crop(attributes: Attributes) -> Run:
    """A part of this shape from these places on; -1 is all that is behind."""
    listed, first = attributes.integers("shape", []), attributes.integers("offsets", [])

    def run(
        x: Tensor,
        shape: Given | None = None,
        offsets: Given | None = None,
        each_side: Sequence[Given] | None = None,
        each_offset: Sequence[Given] | None = None,
    ) -> Tensor:
        sides, begin = _chosen(listed, shape, each_side), _chosen(first, offsets, each_offset)
        for axis, (low, side) in enumerate(zip(begin, sides, strict=True)):
            x = x.narrow(axis, low, x.shape[axis] - low if side == -1 else side)
        return x

    return run


@operator(
    pir="set_value",
    takes="X #Starts #Ends #Steps",
)
def set_value(attributes: Attributes) -> Run:
    """A part is overwritten by numbers that stand in the program."""
    values, sides = attributes.numbers("values", []), attributes.integers("shape", [])
    written = _overwriting(attributes)

    def run(x: Tensor, starts: Given | None = None, ends: Given | None = None, steps: Given | None = None) -> Tensor:
        return written(x, torch.tensor(values, dtype=x.dtype, device=x.device).reshape(sides), starts, ends, steps)

    return run


@operator(pir="set_value_with_tensor", takes="X Values #Starts #Ends #Steps")
def set_value_with_tensor(attributes: Attributes) -> Run:
    """A part is overwritten by a tensor."""
    return _overwriting(attributes)


@operator(
    pdmodel="set_value",
    takes="Input ValueTensor #StartsTensorList* #EndsTensorList* #StepsTensorList*",
)
def old_set_value(attributes: Attributes) -> Run:
    """A `.pdmodel` has one operator for both."""
    values, sides = attributes.numbers("values", []), attributes.integers("shape", [])
    written = _overwriting(attributes)

    def run(x: Tensor, value: Tensor | None = None, *places: Given | None) -> Tensor:
        if value is None:
            value = torch.tensor(values, dtype=x.dtype, device=x.device).reshape(sides)
        return written(x, value, *places)

    return run


def _overwriting(attributes: Attributes) -> Run:
    axes, gone = attributes.integers("axes"), attributes.integers("decrease_axes", [])
    attributes.must_be("none_axes", [])
    listed = [attributes.integers(name, []) for name in ("starts", "ends", "steps")]
    if any(step < 1 for step in listed[2]):
        raise UnsupportedError(f"steps {listed[2]}")

    def run(x: Tensor, value: Tensor, *given: Given | None) -> Tensor:
        begin, end, steps = (_chosen(own, one) for own, one in zip(listed, given, strict=True))
        index: list[Any] = [slice(None)] * x.dim()
        for axis, low, high, step in zip(axes, begin, end, steps, strict=True):
            index[axis] = low if axis in gone else slice(low, high, step)
        changed = x.clone()
        changed[tuple(index)] = value.to(x.dtype)
        return changed

    return run
