"""Numbers that a program computes with beside tensors: sizes, factors, places.

A program makes tensors of them, since it has nothing else. Here they stay Python's: a size that is asked of an image
then is torch's own size, which an exported network keeps open, and nothing waits for a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Numbers(NamedTuple):
    """A few numbers.

    Attributes:
        values: integers, floats, truth values, or torch's open sizes.
        scalar: whether they stand for a tensor without dimensions; else for one of a single dimension.
        dtype: the type of that tensor, by Paddle's name.
    """

    values: tuple[Any, ...]
    scalar: bool
    dtype: str

    def tensor(self, like: Tensor) -> Tensor:
        """The tensor that they stand for, on the device of `like`."""
        dtype = torch_dtype(self.dtype, like)
        if all(type(value) in (int, float, bool) for value in self.values):
            made = torch.tensor(self.values, dtype=dtype, device=like.device)
            return made[0] if self.scalar else made
        each = [torch.scalar_tensor(value, dtype=dtype, device=like.device) for value in self.values]
        return each[0] if self.scalar else torch.stack(each)

    def map(self, function: Callable[[Any], Any], dtype: str | None = None) -> Numbers:
        """Each of them changed."""
        return Numbers(tuple(map(function, self.values)), self.scalar, dtype or self.dtype)


Value = Tensor | Numbers
Given = Value | Sequence[Value]

_DTYPES = {
    name: getattr(torch, name)
    for name in (
        "bool", "int8", "uint8", "int16", "int32", "int64", "float16", "bfloat16", "float64", "complex64", "complex128",
    )
}  # fmt: skip


def torch_dtype(dtype: str, like: Tensor) -> torch.dtype:
    """torch's type for Paddle's; `float32` is what the network computes in, that of `like`."""
    return like.dtype if dtype == "float32" else _DTYPES[dtype]


def is_known(dtype: str) -> bool:
    """Whether `torch_dtype` has it."""
    return dtype == "float32" or dtype in _DTYPES


def numbers_of(given: Any) -> list[Any]:
    """The numbers that are in a tensor, in numbers, or in several of either, one after the other."""
    if isinstance(given, Numbers):
        return list(given.values)
    if isinstance(given, Tensor):
        return list(given.reshape(-1).tolist())
    return [number for each in given for number in numbers_of(each)]


def number_of(given: Given) -> Any:
    """The one number that is in a tensor or in numbers."""
    if isinstance(given, Tensor) and given.numel() == 1:
        return given.item()
    (number,) = numbers_of(given)
    return number
