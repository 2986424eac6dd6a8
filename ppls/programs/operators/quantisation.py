"""Numbers of few bits, in floating point: what was quantised computes what it is worth.

Paddle's operators are given a zero point, and take no notice of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.registry import Run, operator

# What else Paddle gives to them serves to observe ranges, in training
_ROLES = "X Scale -ZeroPoint -InAccum -InState"
KINDS = ("quantize_linear", "dequantize_linear")


@operator(pir="quantize_linear", pdmodel="quantize_linear", takes=_ROLES, gives="Y", like=True)
def quantize_linear(attributes: Attributes) -> Run:
    """Whole numbers, in floating point: `x / scale`, which is 1 at the largest, times the largest whole number.

    `round_type` 0 rounds halves to even, 1 away from zero, of what is cut off at the scale first.
    """
    most, shaped = _largest(attributes), _along(attributes.integer("quant_axis", -1))
    to_even = attributes.choice("round_type", 0, 1) == 0
    observed = attributes.truth("only_observer", False)

    def run(x: Tensor, scale: Tensor, *, like: Tensor) -> Tensor:
        if observed:
            return x
        scale = shaped(scale, x)
        inverse = 1.0 / torch.where(scale <= 1e-30, scale + 1e-6, scale)
        if to_even:
            return (most * inverse * x).round().clamp(-most - 1, most)
        cut = most * inverse * torch.minimum(torch.maximum(x, -scale), scale)
        return torch.sign(cut) * torch.floor(cut.abs() + 0.5)

    return run


@operator(pir="dequantize_linear", pdmodel="dequantize_linear", takes=_ROLES, gives="Y", like=True)
def dequantize_linear(attributes: Attributes) -> Run:
    """What whole numbers are worth, weights of 8 bits among them."""
    most, shaped = _largest(attributes), _along(attributes.integer("quant_axis", -1))
    observed = attributes.truth("only_observer", False)

    def run(x: Tensor, scale: Tensor, *, like: Tensor) -> Tensor:
        if observed:
            return x
        return x.to(like.dtype) * shaped(scale, x) / most

    return run


def _largest(attributes: Attributes) -> int:
    """The largest whole number of so many bits."""
    bits = attributes.integer("bit_length", 8)
    if not 2 <= bits <= 16:
        raise UnsupportedError(f"bit_length {bits}")
    most: int = (1 << bits - 1) - 1
    for name, value in (("qmax", most), ("qmin", -most - 1)):  # others are those of numbers of floating point
        attributes.must_be(name, value)
    if not attributes.truth("is_test", True) and not attributes.truth("only_observer", False):
        raise UnsupportedError("is_test False: exported as in training")
    return most


def _along(axis: int) -> Callable[[Tensor, Tensor], Tensor]:
    """One scale for all, or one for each place on an axis."""

    def shaped(scale: Tensor, x: Tensor) -> Tensor:
        if axis < 0:
            return scale.reshape(())
        return scale.reshape([-1 if at == axis else 1 for at in range(x.dim())])

    return shaped
