"""Activations: functions of one element, but for the softmaxes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.registry import Run, operator

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
    "tanh_shrink": F.tanhshrink,
}


def _plain(name: str, function: Callable[[Tensor], Tensor]) -> None:
    operator(pir=name, pdmodel=name)(lambda attributes: function)


for _name, _function in _PLAIN.items():
    _plain(_name, _function)


@operator(pir="relu6", pdmodel="relu6")
def relu6(attributes: Attributes) -> Run:
    attributes.must_be("threshold", 6.0)
    return F.relu6


@operator(pir="hardsigmoid", pdmodel="hard_sigmoid")
def hard_sigmoid(attributes: Attributes) -> Run:
    """`slope * x + offset` between 0 and 1. torch's slope is 1/6, the operator's default 0.2."""
    slope, offset = attributes.number("slope", 0.2), attributes.number("offset", 0.5)
    return lambda x: (x * slope + offset).clamp(0.0, 1.0)


@operator(pir="hardswish", pdmodel="hard_swish")
def hard_swish(attributes: Attributes) -> Run:
    attributes.must_be("threshold", 6.0)
    attributes.must_be("scale", 6.0)
    attributes.must_be("offset", 3.0)
    return F.hardswish


@operator(pir="hardtanh", pdmodel="brelu hard_tanh")
def hard_tanh(attributes: Attributes) -> Run:
    low, high = attributes.number("t_min", 0.0), attributes.number("t_max", 24.0)
    return lambda x: x.clamp(low, high)


@operator(pir="swish", pdmodel="swish")
def swish(attributes: Attributes) -> Run:
    beta = attributes.number("beta", 1.0)
    return lambda x: x * torch.sigmoid(beta * x)


@operator(pir="gelu", pdmodel="gelu")
def gelu(attributes: Attributes) -> Run:
    how = "tanh" if attributes.truth("approximate", False) else "none"
    return lambda x: F.gelu(x, approximate=how)


@operator(pir="leaky_relu", pdmodel="leaky_relu")
def leaky_relu(attributes: Attributes) -> Run:
    """`alpha` in a `.pdmodel`, `negative_slope` in PIR; 0.02, where torch's default is 0.01."""
    slope = attributes.number("alpha" if "alpha" in attributes else "negative_slope", 0.02)
    return lambda x: F.leaky_relu(x, slope)


@operator(pir="elu", pdmodel="elu")
def elu(attributes: Attributes) -> Run:
    alpha = attributes.number("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


@operator(pir="celu", pdmodel="celu")
def celu(attributes: Attributes) -> Run:
    alpha = attributes.number("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


@operator(pir="selu", pdmodel="selu")
def selu(attributes: Attributes) -> Run:
    """By the constants that the program has, in float32."""
    scale = attributes.number("scale", 1.0507009873554804934193349852946)
    alpha = attributes.number("alpha", 1.6732632423543772848170429916717)
    return lambda x: scale * torch.where(x > 0, x, alpha * torch.expm1(x))


@operator(pir="mish", pdmodel="mish")
def mish(attributes: Attributes) -> Run:
    attributes.must_be("threshold", 20.0)
    attributes.must_be("lambda", 20.0)
    return F.mish


@operator(pir="softplus", pdmodel="softplus")
def softplus(attributes: Attributes) -> Run:
    beta, threshold = attributes.number("beta", 1.0), attributes.number("threshold", 20.0)
    return lambda x: F.softplus(x, beta, threshold)


@operator(pir="hardshrink", pdmodel="hard_shrink")
def hard_shrink(attributes: Attributes) -> Run:
    threshold = attributes.number("threshold", 0.5)
    return lambda x: F.hardshrink(x, threshold)


@operator(pir="softshrink", pdmodel="softshrink")
def softshrink(attributes: Attributes) -> Run:
    threshold = attributes.number("lambda" if "lambda" in attributes else "threshold", 0.5)
    return lambda x: F.softshrink(x, threshold)


@operator(pir="thresholded_relu", pdmodel="thresholded_relu")
def thresholded_relu(attributes: Attributes) -> Run:
    threshold, value = attributes.number("threshold", 1.0), attributes.number("value", 0.0)
    return lambda x: F.threshold(x, threshold, value)


@operator(pir="prelu", pdmodel="prelu", takes="X Alpha")
def prelu(attributes: Attributes) -> Run:
    """One slope for all, one for each channel, or one for each element of a sample."""
    mode = attributes.choice("mode", "all", "channel", "element")
    attributes.layout()

    def run(x: Tensor, alpha: Tensor) -> Tensor:
        shape = {"all": (1,), "channel": (1, -1, *[1] * (x.dim() - 2)), "element": (1, *x.shape[1:])}[mode]
        return torch.where(x > 0, x, x * alpha.reshape(shape))

    return run


@operator(pir="softmax", pdmodel="softmax")
def softmax(attributes: Attributes) -> Run:
    axis = attributes.integer("axis", -1)
    return lambda x: x.softmax(axis)


@operator(pir="log_softmax", pdmodel="log_softmax")
def log_softmax(attributes: Attributes) -> Run:
    axis = attributes.integer("axis", -1)
    return lambda x: x.log_softmax(axis)
