"""What can happen to tensors beyond a new name. Each operation is a small class that knows its inverse.

An operation takes a list of arrays and returns one; `shapes` says beforehand what it will return. Types that numpy
lacks come as their bits, so only the two operations that calculate ask for the type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ppls.checkpoint.dtypes import bfloat16_to_float32, float32_to_bfloat16
from ppls.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, ...]


class OperationError(ValueError):
    """An operation does not fit its tensors, or has no inverse."""


@dataclass(frozen=True)
class Operation:
    """Renaming: one tensor, unchanged. The base of the others. The inverse is itself."""

    sources = 1
    targets = 1
    invertible = True

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        return list(shapes)

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return list(arrays)

    @property
    def inverse(self) -> Operation:
        return self


@dataclass(frozen=True)
class Transpose(Operation):
    """Dimensions in another order. The inverse is the transposition back."""

    axes: tuple[int, ...]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        if sorted(self.axes) != list(range(len(shape))):
            raise OperationError(f"transpose {list(self.axes)} does not fit the shape {list(shape)}")
        return [tuple(shape[axis] for axis in self.axes)]

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return [arrays[0].transpose(self.axes)]

    @property
    def inverse(self) -> Transpose:
        return Transpose(tuple(int(axis) for axis in np.argsort(self.axes)))


@dataclass(frozen=True)
class Permute(Operation):
    """The slices along one dimension in another order: target[i] = source[order[i]]. The inverse is the order back."""

    dim: int
    order: tuple[int, ...]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        if self.dim >= len(shape) or sorted(self.order) != list(range(shape[self.dim])):
            raise OperationError(f"permute dim {self.dim} by {list(self.order)} does not fit the shape {list(shape)}")
        return [shape]

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return [np.take(arrays[0], self.order, axis=self.dim)]

    @cached_property
    def inverse(self) -> Permute:
        return Permute(self.dim, tuple(int(i) for i in np.argsort(self.order)))


@dataclass(frozen=True)
class Squeeze(Operation):
    """Dimensions of one value taken away: a convolution of one pixel as a Linear. The inverse puts them back."""

    dims: tuple[int, ...]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        if not all(dim < len(shape) and shape[dim] == 1 for dim in self.dims):
            raise OperationError(f"squeeze {list(self.dims)} does not fit the shape {list(shape)}")
        return [tuple(side for dim, side in enumerate(shape) if dim not in self.dims)]

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return [np.squeeze(arrays[0], axis=self.dims)]

    @property
    def inverse(self) -> Unsqueeze:
        return Unsqueeze(self.dims)


@dataclass(frozen=True)
class Unsqueeze(Operation):
    """Dimensions of one value put in, where the result has them: a Linear as a convolution of one pixel.

    The inverse takes them away.
    """

    dims: tuple[int, ...]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        total = len(shape) + len(self.dims)
        if not all(dim < total for dim in self.dims):
            raise OperationError(f"unsqueeze {list(self.dims)} does not fit the shape {list(shape)}")
        left = iter(shape)
        return [tuple(1 if dim in self.dims else next(left) for dim in range(total))]

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return [np.expand_dims(arrays[0], axis=self.dims)]

    @property
    def inverse(self) -> Squeeze:
        return Squeeze(self.dims)


@dataclass(frozen=True)
class Negate(Operation):
    """Every value with the other sign. The inverse is itself."""

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        if dtype == "bfloat16":
            return [arrays[0] ^ np.uint16(0x8000)]
        return [np.negative(arrays[0])]


@dataclass(frozen=True)
class Split(Operation):
    """One tensor into `parts` equal ones along `dim`. The inverse concatenates."""

    dim: int
    parts: int

    @property
    def targets(self) -> int:  # type: ignore[override]
        return self.parts

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        if self.dim >= len(shape) or shape[self.dim] % self.parts:
            raise OperationError(f"the shape {list(shape)} has no {self.parts} equal parts along dim {self.dim}")
        return [(*shape[: self.dim], shape[self.dim] // self.parts, *shape[self.dim + 1 :])] * self.parts

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return list(np.split(arrays[0], self.parts, axis=self.dim))

    @property
    def inverse(self) -> Concat:
        return Concat(self.dim, self.parts)


@dataclass(frozen=True)
class Concat(Operation):
    """`parts` tensors of equal shape into one along `dim`. The inverse splits."""

    dim: int
    parts: int

    @property
    def sources(self) -> int:  # type: ignore[override]
        return self.parts

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        if len(set(shapes)) != 1 or self.dim >= len(shapes[0]):
            raise OperationError(f"concat along dim {self.dim} needs equal shapes, not {[list(s) for s in shapes]}")
        shape = shapes[0]
        return [(*shape[: self.dim], shape[self.dim] * self.parts, *shape[self.dim + 1 :])]

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        return [np.concatenate(arrays, axis=self.dim)]

    @property
    def inverse(self) -> Split:
        return Split(self.dim, self.parts)


@dataclass(frozen=True)
class FoldBias(Operation):
    """A BatchNorm's mean and the bias of the convolution before it into one mean: mean - bias. One way only."""

    sources = 2
    invertible = False

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        if shapes[0] != shapes[1]:
            raise OperationError(f"a mean of shape {list(shapes[0])} cannot take in a bias of {list(shapes[1])}")
        return [shapes[0]]

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        if dtype == "bfloat16":
            mean, bias = map(bfloat16_to_float32, arrays)
            return [float32_to_bfloat16(mean - bias)]
        return [arrays[0] - arrays[1]]

    @property
    def inverse(self) -> Operation:
        raise OperationError("a bias that was folded into a BatchNorm cannot be taken out again")


@dataclass(frozen=True)
class Chain(Operation):
    """Several operations, one after another: on one tensor, but that the first may concatenate and the last may split.

    The inverse runs the inverses backwards.
    """

    steps: tuple[Operation, ...]

    @property
    def sources(self) -> int:  # type: ignore[override]
        return self.steps[0].sources

    @property
    def targets(self) -> int:  # type: ignore[override]
        return self.steps[-1].targets

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        for step in self.steps:
            shapes = step.shapes(shapes)
        return list(shapes)

    def apply(self, arrays: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
        for step in self.steps:
            arrays = step.apply(arrays, dtype)
        return list(arrays)

    @property
    def inverse(self) -> Chain:
        return Chain(tuple(step.inverse for step in reversed(self.steps)))


RENAME = Operation()


def steps_of(operation: Operation) -> tuple[Operation, ...]:
    """The operations that `operation` runs, in order; none for a renaming."""
    if isinstance(operation, Chain):
        return operation.steps
    return () if type(operation) is Operation else (operation,)


def said(operation: Operation) -> str:
    """The operation as a map's table says it; nothing for a renaming."""
    parts = []
    for step in steps_of(operation):
        name = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(step).__name__).lower()
        values = {key: value for key, value in vars(step).items() if key in ("axes", "dim", "dims", "order")}
        parts.append(" ".join([name, *(f"{k} {list(v) if isinstance(v, tuple) else v}" for k, v in values.items())]))
    return ", ".join(parts)
