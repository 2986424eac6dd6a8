"""Tensors that the program makes itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.numbers import Given, Numbers, Value, number_of, numbers_of, torch_dtype
from ppls.programs.registry import Run, operator

_MOST_MADE = 1 << 24  # elements; more than any network needs
_MOST_NUMBERS = 8  # that are no tensor: sizes and places
_INTEGERS = ("bool", "int8", "uint8", "int16", "int32", "int64")


def _filled(shape: Sequence[Any], value: Any, dtype: str, like: Tensor) -> Value:
    if dtype in _INTEGERS:
        value = bool(value) if dtype == "bool" else int(value)
    if len(shape) == 0 or (len(shape) == 1 and isinstance(shape[0], int) and shape[0] == 1):
        return Numbers((value,), len(shape) == 0, dtype)
    return torch.full(tuple(shape), value, dtype=torch_dtype(dtype, like), device=like.device)


def _check_size(sides: Sequence[int]) -> None:
    count = 1
    for side in sides:
        count *= max(side, 1)
    if count > _MOST_MADE:
        raise UnsupportedError(f"shape {list(sides)}, more than any network needs")


@operator(pir="full", takes="", like=True, numbers=True)
def full(attributes: Attributes) -> Run:
    """A single one is a number, not a tensor."""
    shape, value = attributes.integers("shape", []), attributes.number("value")
    dtype = attributes.dtype("dtype", "float32")
    _check_size(shape)
    return lambda *, like: _filled(shape, value, dtype, like)


@operator(pdmodel="fill_constant", takes="#ValueTensor #ShapeTensor #ShapeTensorList*", like=True, numbers=True)
def fill_constant(attributes: Attributes) -> Run:
    """`str_value`, where there is one, says in all its digits what `value` has in float32."""
    listed, dtype = attributes.integers("shape", []), attributes.dtype("dtype", "float32")
    value = _value_of(attributes)
    _check_size(listed)

    def run(
        given: Value | None = None, shape: Given | None = None, each: Sequence[Given] | None = None, *, like: Tensor
    ) -> Value:
        sides = numbers_of(each) if each else listed if shape is None else numbers_of(shape)
        return _filled(sides, value if given is None else number_of(given), dtype, like)

    return run


def _value_of(attributes: Attributes) -> float:
    text = attributes.text("str_value")
    if not text:
        return attributes.number("value", 0.0)
    try:
        return float(text)
    except ValueError:
        raise UnsupportedError(f"str_value {text!r}") from None


@operator(pir="full_int_array", takes="", numbers=True)
def full_int_array(attributes: Attributes) -> Run:
    values, dtype = attributes.integers("value", []), attributes.dtype("dtype", "int64")
    return lambda: Numbers(tuple(values), False, dtype)


@operator(pir="full_like", pdmodel="fill_any_like", takes="X #Value", like=True, numbers=True)
def full_like(attributes: Attributes) -> Run:
    value, dtype = attributes.number("value", 0.0), attributes.dtype_if_said("dtype")

    def run(x: Value, given: Value | None = None, *, like: Tensor) -> Value:
        filler = value if given is None else number_of(given)
        if isinstance(x, Numbers):
            return x.map(lambda _: filler, dtype)
        return torch.full_like(x, filler, dtype=x.dtype if dtype is None else torch_dtype(dtype, like))

    return run


@operator(pdmodel="fill_zeros_like", takes="X")
def zeros_like(attributes: Attributes) -> Run:
    return torch.zeros_like


@operator(pir="full_with_tensor", takes="#Value #Shape", like=True, numbers=True)
def full_with_tensor(attributes: Attributes) -> Run:
    dtype, listed = attributes.dtype("dtype", "float32"), attributes.integers("shape", [])

    def run(value: Value, shape: Given | None = None, *, like: Tensor) -> Value:
        return _filled(listed if shape is None else numbers_of(shape), number_of(value), dtype, like)

    return run


@operator(pir="full_batch_size_like", pdmodel="fill_constant_batch_size_like", takes="Input", like=True)
def full_batch_size_like(attributes: Attributes) -> Run:
    """One of the sides is that of the input; `str_value` as of `fill_constant`."""
    shape, value = attributes.integers("shape"), _value_of(attributes)
    source, place = attributes.integer("input_dim_idx", 0), attributes.integer("output_dim_idx", 0)
    dtype = attributes.dtype("dtype", "float32")
    _check_size(shape)

    def run(x: Tensor, *, like: Tensor) -> Tensor:
        sides = [x.shape[source] if axis == place else side for axis, side in enumerate(shape)]
        return torch.full(sides, value, dtype=torch_dtype(dtype, like), device=like.device)

    return run


@operator(pir="assign_value", pdmodel="assign_value", takes="Output", like=True, numbers=True)
def assign_value(attributes: Attributes) -> Run:
    """Older programs have a list for each type."""
    shape, dtype = attributes.integers("shape", []), attributes.dtype("dtype", "float32")
    lists = ("values", "fp32_values", "fp64_values", "int32_values", "int64_values", "bool_values", "int8_values")
    values: list[float] = next((attributes.numbers(name) for name in lists if attributes.has_items(name)), [])
    _check_size(shape)
    if len(values) != torch.Size(shape).numel():
        raise UnsupportedError(f"{len(values)} values for the shape {shape}")
    if dtype in _INTEGERS and not all(map(math.isfinite, values)):
        raise UnsupportedError(f"{dtype} that are infinite")
    given = [int(value) for value in values] if dtype in _INTEGERS else values
    if len(shape) < 2 and len(given) <= _MOST_NUMBERS:
        return lambda output=None, *, like: Numbers(tuple(given), not shape, dtype)
    made = torch.tensor(given, dtype=torch.int64 if dtype in _INTEGERS else torch.float64).reshape(shape)
    return lambda output=None, *, like: made.to(device=like.device, dtype=torch_dtype(dtype, like))


@operator(pir="arange", pdmodel="range", takes="Start End Step", like=True, numbers=True)
def arange(attributes: Attributes) -> Run:
    """Of integers where no type is said and all three are integers."""
    dtype = attributes.dtype_if_said("dtype")

    def run(start: Value, end: Value, step: Value, *, like: Tensor) -> Tensor:
        said = start.dtype if dtype is None else dtype
        wanted = torch_dtype(said, like) if isinstance(said, str) else said
        return torch.arange(number_of(start), number_of(end), number_of(step), dtype=wanted, device=like.device)

    return run


@operator(pir="linspace", pdmodel="linspace", takes="#Start #Stop #Num", like=True, numbers=True)
def linspace(attributes: Attributes) -> Run:
    dtype = attributes.dtype("dtype", "float32")

    def run(start: Value, stop: Value, count: Value, *, like: Tensor) -> Tensor:
        ends = number_of(start), number_of(stop)
        return torch.linspace(*ends, int(number_of(count)), dtype=torch_dtype(dtype, like), device=like.device)

    return run


@operator(pir="eye", takes="#Rows #Columns", like=True, numbers=True)
def eye(attributes: Attributes) -> Run:
    dtype = attributes.dtype("dtype", "float32")

    def run(rows: Value, columns: Value, *, like: Tensor) -> Tensor:
        sides = int(number_of(rows)), int(number_of(columns))
        return torch.eye(*sides, dtype=torch_dtype(dtype, like), device=like.device)

    return run


@operator(pdmodel="eye", takes="", like=True)
def old_eye(attributes: Attributes) -> Run:
    """-1 columns are as many as rows."""
    rows, columns = attributes.integer("num_rows"), attributes.integer("num_columns", -1)
    dtype = attributes.dtype("dtype", "float32")
    sides = rows, rows if columns == -1 else columns
    _check_size(sides)
    return lambda *, like: torch.eye(*sides, dtype=torch_dtype(dtype, like), device=like.device)


@operator(pir="tril")
def tril(attributes: Attributes) -> Run:
    diagonal = attributes.integer("diagonal", 0)
    return lambda x: x.tril(diagonal)


@operator(pir="triu")
def triu(attributes: Attributes) -> Run:
    diagonal = attributes.integer("diagonal", 0)
    return lambda x: x.triu(diagonal)


@operator(pdmodel="tril_triu")
def tril_triu(attributes: Attributes) -> Run:
    return tril(attributes) if attributes.truth("lower", True) else triu(attributes)
