"""Elements in another order, or in several tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.numbers import Given, Numbers, Value, numbers_of
from ppls.programs.registry import Run, operator


@operator(pir="transpose", pdmodel="transpose2 transpose")
def transpose(attributes: Attributes) -> Run:
    axes = attributes.integers("perm" if "perm" in attributes else "axis")
    return lambda x: x.permute(axes)


@operator(pir="assign assign_out share_data memcpy", pdmodel="assign share_data memcpy", numbers=True)
def assign(attributes: Attributes) -> Run:
    return lambda x: x


@operator(pir="flip", pdmodel="flip")
def flip(attributes: Attributes) -> Run:
    axes = attributes.integers("axis")
    return lambda x: x.flip(axes)


@operator(pir="roll", pdmodel="roll", takes="X #ShiftsTensor")
def roll(attributes: Attributes) -> Run:
    """Without axes the flat tensor is rolled."""
    listed, axes = attributes.integers("shifts", []), attributes.integers("axis", [])
    return lambda x, shifts=None: torch.roll(x, listed if shifts is None else numbers_of(shifts), axes or ())


@operator(pir="split", pdmodel="split", takes="X #SectionsTensor #AxisTensor #SectionsTensorList*", gives="Out*")
def split(attributes: Attributes) -> Run:
    """Into parts of these sizes, of which one may be -1: what is left; or into `num` equal ones."""
    listed, count = attributes.integers("sections", []), attributes.integer("num", 0)
    default = attributes.integer("axis", 0)

    def run(
        x: Tensor, sections: Given | None = None, axis: Given | None = None, each: Sequence[Given] | None = None
    ) -> Sequence[Tensor]:
        at = default if axis is None else int(numbers_of(axis)[0])
        sizes = numbers_of(each) if each else listed if sections is None else numbers_of(sections)
        if not sizes:
            return _equal(x, count, at)
        left = x.shape[at] - sum(size for size in sizes if size != -1)
        return x.split([left if size == -1 else size for size in sizes], at)

    return run


@operator(pir="split_with_num", takes="X #AxisTensor", gives="Out*")
def split_with_num(attributes: Attributes) -> Run:
    count, default = attributes.integer("num"), attributes.integer("axis", 0)
    return lambda x, axis=None: _equal(x, count, default if axis is None else int(numbers_of(axis)[0]))


def _equal(x: Tensor, count: int, axis: int) -> Sequence[Tensor]:
    return x.split(x.shape[axis] // count, axis)


@operator(pir="unbind", pdmodel="unbind", takes="X", gives="Out*", numbers=True)
def unbind(attributes: Attributes) -> Run:
    return _unbinding(attributes.integer("axis", 0))


@operator(pir="unstack", pdmodel="unstack", takes="X", gives="Y*", numbers=True)
def unstack(attributes: Attributes) -> Run:
    return _unbinding(attributes.integer("axis", 0))


def _unbinding(axis: int) -> Run:
    def run(x: Value) -> Sequence[Value]:
        if isinstance(x, Numbers):
            return [Numbers((value,), True, x.dtype) for value in x.values]
        return x.unbind(axis)

    return run


@operator(pir="meshgrid", pdmodel="meshgrid", takes="X*", gives="Out*")
def meshgrid(attributes: Attributes) -> Run:
    return lambda each: torch.meshgrid(*each, indexing="ij")


@operator(pir="pixel_shuffle", pdmodel="pixel_shuffle")
def pixel_shuffle(attributes: Attributes) -> Run:
    attributes.layout()
    factor = attributes.integer("upscale_factor", 1)
    return lambda x: torch.pixel_shuffle(x, factor)


@operator(pir="pixel_unshuffle", pdmodel="pixel_unshuffle")
def pixel_unshuffle(attributes: Attributes) -> Run:
    attributes.layout()
    factor = attributes.integer("downscale_factor", 1)
    return lambda x: torch.pixel_unshuffle(x, factor)


@operator(pir="channel_shuffle", pdmodel="channel_shuffle")
def channel_shuffle(attributes: Attributes) -> Run:
    attributes.layout()
    groups = attributes.integer("groups", 1)
    return lambda x: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


@operator(pdmodel="shuffle_channel", pir="shuffle_channel")
def shuffle_channel(attributes: Attributes) -> Run:
    groups = attributes.integer("group", 1)
    return lambda x: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
