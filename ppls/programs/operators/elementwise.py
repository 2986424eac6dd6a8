"""Arithmetic, element by element, of tensors and of the numbers beside them."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.numbers import Numbers, Value, number_of, torch_dtype
from ppls.programs.registry import Run, operator

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def aligned(x: Tensor, y: Tensor, axis: int) -> Tensor:
    """`y` such that it is broadcast from an axis of `x` on, as a `.pdmodel` may have it; -1 is as torch does it."""
    if axis == -1 or x.dim() == y.dim():
        return y
    return y.reshape(*y.shape, *[1] * (x.dim() - axis - y.dim()))


def paired(
    attributes: Attributes, tensors: Callable[[Any, Any], Tensor], numbers: Callable[[Any, Any], Any], dtype: str = ""
) -> Run:
    """An operator of two, of which either may be numbers; `dtype` is that of the result where it is another."""
    axis = attributes.integer("axis", -1)

    def run(x: Value, y: Value, *, like: Tensor) -> Value:
        if isinstance(x, Numbers) and isinstance(y, Numbers):
            if len(x.values) == len(y.values) or 1 in (len(x.values), len(y.values)):
                return _of_numbers(x, y, numbers, dtype)
            x = x.tensor(like)
        if isinstance(x, Numbers):
            return tensors(_beside(x, y, like), y)
        if isinstance(y, Numbers):
            return tensors(x, _beside(y, x, like))
        return tensors(x, aligned(x, y, axis))

    return run


def _of_numbers(x: Numbers, y: Numbers, function: Callable[[Any, Any], Any], dtype: str) -> Numbers:
    count = max(len(x.values), len(y.values))
    pairs = zip(*(each.values * (count // len(each.values)) for each in (x, y)), strict=True)
    kind = x.dtype if x.dtype in _FLOATS or y.dtype not in _FLOATS else y.dtype
    return Numbers(tuple(function(*pair) for pair in pairs), x.scalar and y.scalar, dtype or kind)


def _beside(numbers: Numbers, tensor: Value, like: Tensor) -> Any:
    """A single number as it is, so that it has no say in the type of the result; else the tensor."""
    assert isinstance(tensor, Tensor)
    whole = numbers.dtype not in _FLOATS or tensor.is_floating_point()
    if len(numbers.values) == 1 and (numbers.scalar or tensor.dim()) and whole:
        return numbers.values[0]
    return numbers.tensor(like)


def _divided(x: Any, y: Any) -> Any:
    whole = all(not isinstance(each, float) for each in (x, y))
    return x // y if whole else x / y


def of_tensors(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Any], Tensor]:
    """What takes tensors alone, given a number for one of the two."""

    def run(x: Any, y: Any) -> Tensor:
        like = x if isinstance(x, Tensor) else y
        return function(*(torch.as_tensor(each, dtype=like.dtype, device=like.device) for each in (x, y)))

    return run


def _quotient(x: Any, y: Any) -> Tensor:
    """Of integers rounded towards zero."""
    floating = any(each.is_floating_point() if isinstance(each, Tensor) else isinstance(each, float) for each in (x, y))
    return x / y if floating else of_tensors(_truncated)(x, y)


def _truncated(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="trunc")


_PAIRS: tuple[tuple[str, str, Callable[[Any, Any], Tensor], Callable[[Any, Any], Any]], ...] = (
    ("add", "elementwise_add", python.add, python.add),
    ("subtract", "elementwise_sub", python.sub, python.sub),
    ("multiply", "elementwise_mul", python.mul, python.mul),
    ("divide", "elementwise_div", _quotient, _divided),
    ("floor_divide", "elementwise_floordiv", python.floordiv, python.floordiv),
    ("remainder", "elementwise_mod", python.mod, python.mod),
    ("elementwise_pow", "elementwise_pow", python.pow, python.pow),
    ("maximum", "elementwise_max", of_tensors(torch.maximum), torch.sym_max),
    ("minimum", "elementwise_min", of_tensors(torch.minimum), torch.sym_min),
)


def _register(
    pir: str, pdmodel: str, tensors: Callable[[Any, Any], Tensor], numbers: Callable[[Any, Any], Any]
) -> None:
    operator(pir=pir, pdmodel=pdmodel, takes="X Y", numbers=True, like=True)(
        lambda attributes: paired(attributes, tensors, numbers)
    )


for _row in _PAIRS:
    _register(*_row)


_SINGLE: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(torch, name)
    for name in (
        "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor", "log", "log10", "log1p",
        "log2", "reciprocal", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "tan",
    )
}  # fmt: skip


def _register_single(name: str, function: Callable[[Tensor], Tensor]) -> None:
    operator(pir=name, pdmodel=name)(lambda attributes: function)


for _name, _function in _SINGLE.items():
    _register_single(_name, _function)


@operator(pir="round", pdmodel="round")
def round_half_to_even(attributes: Attributes) -> Run:
    """Half to even, as torch."""
    decimals = attributes.integer("decimals", 0)
    return lambda x: torch.round(x, decimals=decimals)


def _as_integer(number: Any) -> Any:
    return torch.sym_int(number)  # type: ignore[no-untyped-call]


@operator(pir="scale", pdmodel="scale", takes="X #ScaleTensor", numbers=True, like=True)
def scale(attributes: Attributes) -> Run:
    """`scale * x + bias`, or `scale * (x + bias)`."""
    factor, bias = attributes.number("scale", 1.0), attributes.number("bias", 0.0)
    after = attributes.truth("bias_after_scale", True)

    def run(x: Value, given: Value | None = None, *, like: Tensor) -> Value:
        by: Any = factor if given is None else number_of(given)
        plus: Any = bias
        whole = isinstance(x, Numbers) and x.dtype not in _FLOATS
        if whole or (isinstance(x, Tensor) and not x.is_floating_point()):  # an integer stays one
            by, plus = _as_integer(by), int(bias)

        def change(each: Any) -> Any:
            return each * by + plus if after else (each + plus) * by

        return x.map(change) if isinstance(x, Numbers) else change(x)

    return run


@operator(pir="pow", pdmodel="pow", takes="X #FactorTensor")
def power(attributes: Attributes) -> Run:
    exponent = attributes.number("factor" if "factor" in attributes else "y", 1.0)
    return lambda x, given=None: torch.pow(x, exponent if given is None else number_of(given))


@operator(pir="clip", pdmodel="clip", takes="X #Min #Max", numbers=True, like=True)
def clip(attributes: Attributes) -> Run:
    low, high = attributes.number("min", 0.0), attributes.number("max", 0.0)

    def run(x: Value, least: Value | None = None, most: Value | None = None, *, like: Tensor) -> Value:
        bounds = (low if least is None else number_of(least), high if most is None else number_of(most))
        if isinstance(x, Numbers):
            return x.map(lambda each: min(max(each, bounds[0]), bounds[1]))
        return x.clamp(*bounds)

    return run


@operator(pir="cast", pdmodel="cast", numbers=True, like=True)
def cast(attributes: Attributes) -> Run:
    dtype = attributes.dtype("out_dtype" if "out_dtype" in attributes else "dtype", "float32")

    def run(x: Value, *, like: Tensor) -> Value:
        if isinstance(x, Tensor):
            return x.to(torch_dtype(dtype, like))
        if dtype in _FLOATS:
            return x.map(torch.sym_float, dtype)
        return x.map(bool if dtype == "bool" else _as_integer, dtype)

    return run


@operator(pir="add_n", pdmodel="sum", takes="X*")
def add_n(attributes: Attributes) -> Run:
    """The sum of several tensors: `sum` of a `.pdmodel`, where PIR's is that over axes."""

    def run(each: list[Tensor]) -> Tensor:
        total = each[0]
        for other in each[1:]:
            total = total + other
        return total

    return run
