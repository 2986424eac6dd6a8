"""What is made of all elements along axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, Value, numbers_of, torch_dtype
from ppls.programs.registry import Run, operator

_ROLES = "X #AxisTensor #AxisTensorList*"


def _reduction(attributes: Attributes, reduce: Callable[[Tensor, list[int], bool], Tensor]) -> Run:
    """Over `dim` of a `.pdmodel`, or PIR's `axis`; over all where there are none."""
    whole = attributes.truth("reduce_all", False)
    listed = attributes.integers("dim", []) or attributes.integers("axis", [])
    keep = attributes.truth("keep_dim" if "keep_dim" in attributes else "keepdim", False)

    def run(x: Tensor, axis: Given | None = None, each: Sequence[Given] | None = None) -> Tensor:
        axes = [] if whole else numbers_of(each) if each else listed if axis is None else numbers_of(axis)
        return reduce(x, axes or list(range(x.dim())), keep)

    return run


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: tuple[tuple[str, str, Callable[[Any, Any, bool], Tensor]], ...] = (
    ("mean", "reduce_mean", torch.mean),
    ("max", "reduce_max", torch.amax),
    ("amax", "reduce_amax", torch.amax),
    ("min", "reduce_min", torch.amin),
    ("amin", "reduce_amin", torch.amin),
    ("prod", "reduce_prod", _product),
    ("any", "reduce_any", torch.any),
    ("all", "reduce_all", torch.all),
    ("logsumexp", "logsumexp", torch.logsumexp),
)


def _register(pir: str, pdmodel: str, reduce: Callable[[Any, Any, bool], Tensor]) -> None:
    def make(attributes: Attributes) -> Run:
        if attributes.dtype_if_said("out_dtype") is not None:
            raise UnsupportedError("out_dtype")
        return _reduction(attributes, reduce)

    operator(pir=pir, pdmodel=pdmodel, takes=_ROLES)(make)


for _row in _REDUCTIONS:
    _register(*_row)


@operator(pir="sum", pdmodel="reduce_sum", takes=_ROLES, like=True)
def reduce_sum(attributes: Attributes) -> Run:
    """Of truth values and small integers in int64, as torch's; in another type where one is said."""
    dtype = attributes.dtype_if_said("out_dtype" if "out_dtype" in attributes else "dtype")
    run = _reduction(attributes, torch.sum)

    def of_type(x: Tensor, *axes: Any, like: Tensor) -> Tensor:
        return run(x if dtype is None else x.to(torch_dtype(dtype, like)), *axes)

    return of_type


@operator(pir="mean_all", pdmodel="mean")
def mean_all(attributes: Attributes) -> Run:
    return torch.mean


def _extreme(attributes: Attributes, find: Callable[..., Tensor]) -> Run:
    default = attributes.integer("axis", -1)
    keep, flat = attributes.truth("keepdims", False), attributes.truth("flatten", False)
    dtype = attributes.dtype("dtype", "int64")

    def run(x: Tensor, axis: Value | None = None, *, like: Tensor) -> Tensor:
        along = default if axis is None else int(numbers_of(axis)[0])
        if flat:
            found = find(x.flatten(), 0)
            return (found.reshape([1] * x.dim()) if keep else found).to(torch_dtype(dtype, like))
        return find(x, along, keep).to(torch_dtype(dtype, like))

    return run


@operator(pir="argmax", pdmodel="arg_max", takes="X #Axis", like=True)
def argmax(attributes: Attributes) -> Run:
    """Of equal ones the first, as torch on a CPU."""
    return _extreme(attributes, torch.argmax)


@operator(pir="argmin", pdmodel="arg_min", takes="X #Axis", like=True)
def argmin(attributes: Attributes) -> Run:
    return _extreme(attributes, torch.argmin)


@operator(pir="cumsum", pdmodel="cumsum", takes="X #Axis")
def cumsum(attributes: Attributes) -> Run:
    """`exclusive` leaves the element itself out; `reverse` adds from the end."""
    listed, flat = attributes.integer("axis", -1), attributes.truth("flatten", False)
    exclusive, reverse = attributes.truth("exclusive", False), attributes.truth("reverse", False)

    def run(x: Tensor, axis: Value | None = None) -> Tensor:
        x = x.flatten() if flat else x
        along = 0 if flat else listed if axis is None else int(numbers_of(axis)[0])
        turned = x.flip(along) if reverse else x
        total = turned.cumsum(along) - turned if exclusive else turned.cumsum(along)
        return total.flip(along) if reverse else total

    return run
