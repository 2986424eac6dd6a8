"""What of a program need not run each time, or not by itself: numbers that it holds, and additions that are biases.

It computes the same, but for the rounding of an addition. What is compared with Paddle, operation by operation, is the
program as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.programs.calls import FAILURES, Argument, OneCall, values_in
from ppls.programs.numbers import Numbers
from ppls.programs.operators.elementwise import aligned
from ppls.programs.plan import Planned
from ppls.programs.registry import Run

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_PRODUCTS = ("matmul", "matmul_v2")
Constants = dict[int, Numbers]


def shorter(
    planned: Sequence[Planned], calls: Sequence[OneCall], outputs: Sequence[int], weights: Mapping[int, Tensor]
) -> tuple[Constants, list[OneCall]]:
    """The numbers that a program holds, by their values, and the operations that are left to run.

    Args:
        planned, calls: its operations, and they as they are run.
        outputs: the values that it returns.
        weights: by their values.
    """
    constants: Constants = {}
    left: list[tuple[Planned, OneCall]] = []
    for each, call in zip(planned, calls, strict=True):
        found = _numbers(each, call, constants)
        if found is None:
            left.append((each, call))
        constants |= found or {}
    takers = Counter(outputs)
    takers.update(value for each, _ in left for value in each.step.taken())
    made = {value: each for each, _ in left for value in values_in(each.results)}
    now: dict[int, OneCall | None] = {each.step.place: call for each, call in left}
    for each, call in left:
        biased = _biased(each, made, takers, constants, weights)
        if biased is None:
            continue
        product, reshaped, run, arguments = biased
        alone = now[product.step.place]
        assert alone is not None
        tensors = (True,) * len(arguments)
        now[product.step.place] = alone._replace(
            run=run or alone.run, arguments=arguments, results=call.results, tensors=tensors
        )
        now[each.step.place] = None
        if reshaped is not None and all(takers[value] == 1 for value in values_in(reshaped.results)):
            now[reshaped.step.place] = None
    return {value: constants[value] for value in constants if takers[value]}, [call for call in now.values() if call]


def _numbers(planned: Planned, call: OneCall, constants: Constants) -> Constants | None:
    """What an operation gives that rests on numbers alone, if that is numbers."""
    taken = [*values_in(call.arguments)]
    if planned.operator.layer or planned.step.body is not None or call.guards or not constants.keys() >= {*taken}:
        return None
    values: dict[int, Any] = {value: constants[value] for value in taken}
    try:
        call._replace(last=()).into(values, torch.zeros((), device="meta"))
    except FAILURES:  # what is wrong with it is said when it runs
        return None
    results = {value: values[value] for value in values_in(call.results)}
    return results if all(isinstance(given, Numbers) for given in results.values()) else None


def _biased(
    planned: Planned,
    made: Mapping[int, Planned],
    takers: Mapping[Any, int],
    constants: Constants,
    weights: Mapping[Any, Tensor],
) -> tuple[Planned, Planned | None, Run | None, tuple[Argument, ...]] | None:
    """What an addition is the bias of, and alone takes: that convolution or product, what brings the bias to its shape,
    and how it is run with it."""
    if planned.operator.name != "add" or planned.step.guards:
        return None
    x, y = planned.arguments
    product, reshaped = made.get(x), made.get(y)  # type: ignore[arg-type]
    if product is None or takers[x] != 1 or product.step.guards or len(product.arguments) < 2:
        return None
    image, value = product.arguments[:2]
    weight, axis = weights.get(value), planned.step.attributes.get("axis", -1)
    if weight is None:
        return None
    if product.operator.name in _CONVOLUTIONS and product.arguments[2] is None:
        channels, bias, along = len(weight), y, axis == 1
        if reshaped is not None and reshaped.operator.name == "reshape" and not reshaped.step.guards:
            bias, along = reshaped.arguments[0], _wanted(reshaped, constants) in ([1, channels, 1, 1], [1, -1, 1, 1])
        if along and _is_vector(weights.get(bias), channels, weight):
            return product, reshaped, None, (image, value, bias)
    is_linear = product.operator.name in _PRODUCTS and weight.dim() == 2 and not _is_turned(product)
    if is_linear and _is_vector(weights.get(y), weight.shape[1], weight):
        return product, None, _linear(axis), (image, value, y)
    return None


def _is_vector(bias: Tensor | None, length: int, weight: Tensor) -> bool:
    return bias is not None and tuple(bias.shape) == (length,) and bias.dtype == weight.dtype


def _is_turned(product: Planned) -> bool:
    attributes = product.step.attributes
    turned = any(attributes.get(f"{name}_{side}") for name in ("trans", "transpose") for side in "xyXY")
    return turned or attributes.get("alpha", 1.0) != 1.0


def _linear(axis: int) -> Run:
    """A product with a matrix, and a vector added to the last axis; to another, if a `.pdmodel` says so."""

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if axis in (-1, x.dim() - 1):
            return F.linear(x, weight.t(), bias)
        product = torch.matmul(x, weight)
        return product + aligned(product, bias, axis)

    return run


def _wanted(reshape: Planned, constants: Constants) -> list[Any]:
    """The shape that is asked for, where it is told by numbers."""
    if reshape.arguments[2] is not None:
        return []
    shape = reshape.arguments[1]
    if shape is None:
        return list(reshape.step.attributes.get("shape", []))
    return list(constants[shape].values) if isinstance(shape, int) and shape in constants else []
