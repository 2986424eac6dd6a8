"""Causes inside a layer: what is changed of a copy of it, to see whether it then gives what the reference gave."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

EPSILONS = (1e-5, 1e-3, 1e-4, 1e-6)  # Paddle's default first, then those that PaddleSeg's and other models set
DILATIONS = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36)  # those of PaddleSeg's models
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class Known:
    """What an experiment may know of the reference's call: a normalisation's numerics, the output's shape."""

    numerics: Mapping[str, float] = field(default_factory=dict)
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerCause:
    """One thing that may be wrong with a layer.

    Attributes:
        name: of the cause.
        applies: whether a layer has what it takes.
        change: changes the layer that it is given, once or several times; says after each what the layer had and what
            the reference then has.
    """

    name: str
    applies: Callable[[Any], bool]
    change: Callable[[Any, Known], Iterator[str]]


def _has_statistics(layer: Any) -> bool:
    return isinstance(getattr(layer, "running_mean", None), torch.Tensor)


def _is_convolution(layer: Any) -> bool:
    return isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)


def _pads_zeros(layer: Any) -> bool:
    return _is_convolution(layer) and layer.padding_mode == "zeros" and max(layer.kernel_size) > 1


def _has_matrix(layer: Any) -> bool:
    weight = getattr(layer, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim >= 2


def _has_kernel(layer: Any) -> bool:
    return _has_matrix(layer) and layer.weight.ndim == 4 and max(layer.weight.shape[2:]) > 1


def _epsilon(layer: Any, known: Known) -> Iterator[str]:
    own = layer.eps
    for epsilon in (known.numerics["epsilon"],) if "epsilon" in known.numerics else EPSILONS:
        if abs(epsilon - own) > 1e-6 * own:
            layer.eps = epsilon
            yield f"its epsilon is {own:g}, the reference's {epsilon:.6g}"


def _exchanged_statistics(layer: Any, known: Known) -> Iterator[str]:
    layer.running_mean, layer.running_var = layer.running_var.clone(), layer.running_mean.clone()
    yield "its running mean and variance are exchanged"


def _deviation(layer: Any, known: Known) -> Iterator[str]:
    layer.running_var = layer.running_var**2
    yield "its running variance holds the standard deviation"


def _exchanged_affine(layer: Any, known: Known) -> Iterator[str]:
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.weight, layer.bias = nn.Parameter(bias), nn.Parameter(weight)
    yield "its weight and bias are exchanged"


def _batch_statistics(layer: Any, known: Known) -> Iterator[str]:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    layer.forward = types.MethodType(forward, layer)
    yield "it normalises with the statistics of the batch, the reference with the running ones"


def _counted_padding(layer: Any, known: Known) -> Iterator[str]:
    counted = layer.count_include_pad
    layer.count_include_pad = not counted
    how = "counts its padding in the mean" if counted else "leaves its padding out of the mean"
    yield f"it {how} (count_include_pad={counted}); the reference does the opposite"


def _ceil_mode(layer: Any, known: Known) -> Iterator[str]:
    layer.ceil_mode = not layer.ceil_mode
    yield f"its ceil_mode is {not layer.ceil_mode}, the reference's {layer.ceil_mode}"


def _maxima(layer: Any, known: Known) -> Iterator[str]:
    means: list[nn.Module] = [nn.AdaptiveAvgPool2d(getattr(layer, "output_size", 1))]
    if isinstance(layer, nn.MaxPool2d):
        options = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "ceil_mode")}
        means = [nn.AvgPool2d(**options, count_include_pad=counted) for counted in (False, True)]
    for mean in means:
        layer.forward = mean.forward
        yield "it takes maxima, the reference means"


def _bins(layer: Any, known: Known) -> Iterator[str]:
    own, wanted = layer.output_size, known.shape[2:]
    layer.output_size = wanted
    yield f"it pools to {_shown(own)}, the reference to {_shown(wanted)}"


def _transposed(layer: Any, known: Known) -> Iterator[str]:
    layer.weight = nn.Parameter(layer.weight.detach().transpose(0, 1).contiguous())
    yield "its weight is transposed (input and output channels exchanged)"


def _turned(layer: Any, known: Known) -> Iterator[str]:
    weight = layer.weight.detach().clone()
    for what, other in (
        ("transposed", weight.transpose(2, 3)),
        ("turned by half a turn (convolution for correlation)", weight.flip(2, 3)),
        ("mirrored, left and right", weight.flip(3)),
        ("mirrored, top and bottom", weight.flip(2)),
    ):
        if other.shape == weight.shape:
            layer.weight = nn.Parameter(other.contiguous())
            yield f"its kernels are {what}"


def _negated(layer: Any, known: Known) -> Iterator[str]:
    layer.weight = nn.Parameter(-layer.weight.detach())
    yield "its weight has the other sign"


def _group_order(layer: Any, known: Known) -> Iterator[str]:
    weight, groups = layer.weight.detach().clone(), layer.groups
    for shape in ((groups, -1), (weight.shape[0] // groups, groups)):
        layer.weight = nn.Parameter(weight.reshape(*shape, *weight.shape[1:]).transpose(0, 1).reshape(weight.shape))
        yield f"the outputs of its {groups} groups stand in another order"


def _dilation(layer: Any, known: Known) -> Iterator[str]:
    own, padding, kernel = layer.dilation, layer.padding, layer.kernel_size
    for dilation in DILATIONS:
        if (dilation, dilation) != tuple(own):
            grown = [
                pad + (dilation - old) * (side - 1) // 2 for pad, old, side in zip(padding, own, kernel, strict=True)
            ]
            if min(grown) >= 0:
                layer.dilation = dilation, dilation
                _pad(layer, grown)
                yield f"its dilation is {_shown(own)}, the reference's {dilation}"


def _stride(layer: Any, known: Known) -> Iterator[str]:
    own = _pair(layer.stride)
    for stride in (1, 2, 3, 4):
        if (stride, stride) != own:
            layer.stride = stride, stride
            yield f"its stride is {_shown(own)}, the reference's {stride}"


def _padding(layer: Any, known: Known) -> Iterator[str]:
    own = _pair(layer.padding)
    for padding in range(4):
        if (padding, padding) != own:
            _pad(layer, (padding, padding))
            yield f"its padding is {_shown(own)}, the reference's {padding}"


def _uneven_padding(layer: Any, known: Known) -> Iterator[str]:
    """The extra row and column on the other side."""
    rows, columns = layer.padding
    options = layer.stride, 0, layer.dilation, layer.groups

    for what, pads in (
        ("bottom and right", (columns - 1, columns, rows - 1, rows)),
        ("top and left", (columns, columns - 1, rows, rows - 1)),
    ):

        def forward(self: Any, x: torch.Tensor, pads: Any = pads) -> torch.Tensor:
            return F.conv2d(F.pad(x, pads), self.weight, self.bias, *options)

        layer.forward = types.MethodType(forward, layer)
        yield f"it pads all sides alike, the reference {what} more"


def _even_padding(layer: Any, known: Known) -> Iterator[str]:
    kernel = [dilation * (side - 1) for dilation, side in zip(layer.dilation, layer.kernel_size, strict=True)]

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        padding = [side // 2 for side in kernel]
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    layer.forward = types.MethodType(forward, layer)
    yield "it does not pad all sides alike, the reference does"


def _padding_mode(layer: Any, known: Known) -> Iterator[str]:
    own = layer.padding_mode
    for mode in PADDING_MODES:
        if mode != own:
            layer.padding_mode = mode
            _pad(layer, layer.padding)
            yield f"it pads with mode {own}, the reference with {mode}"


LAYER_CAUSES: tuple[LayerCause, ...] = (
    LayerCause("epsilon", lambda layer: isinstance(getattr(layer, "eps", None), float), _epsilon),
    LayerCause("statistics exchanged", _has_statistics, _exchanged_statistics),
    LayerCause("deviation for variance", _has_statistics, _deviation),
    LayerCause(
        "affine exchanged", lambda layer: _has_statistics(layer) and layer.weight is not None, _exchanged_affine
    ),
    LayerCause("statistics of the batch", _has_statistics, _batch_statistics),
    LayerCause("padding counted", lambda layer: hasattr(layer, "count_include_pad"), _counted_padding),
    LayerCause("ceil_mode", lambda layer: hasattr(layer, "ceil_mode"), _ceil_mode),
    LayerCause("maxima", lambda layer: isinstance(layer, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)), _maxima),
    LayerCause("bins", lambda layer: hasattr(layer, "output_size"), _bins),
    LayerCause(
        "weight transposed",
        lambda layer: _has_matrix(layer) and layer.weight.shape[0] == layer.weight.shape[1],
        _transposed,
    ),
    LayerCause("kernels turned", _has_kernel, _turned),
    LayerCause("weight negated", _has_matrix, _negated),
    LayerCause("order of groups", lambda layer: _is_convolution(layer) and layer.groups > 1, _group_order),
    LayerCause("dilation", lambda layer: _is_convolution(layer) and _has_kernel(layer), _dilation),
    LayerCause("stride", lambda layer: hasattr(layer, "stride"), _stride),
    LayerCause("padding", lambda layer: hasattr(layer, "padding") and not isinstance(layer.padding, str), _padding),
    LayerCause("padding mode", lambda layer: _is_convolution(layer) and max(layer.padding) > 0, _padding_mode),
    LayerCause("padding of all sides", lambda layer: _pads_zeros(layer) and "forward" in vars(layer), _even_padding),
    LayerCause("padding on one side", lambda layer: _pads_zeros(layer) and min(layer.padding) > 0, _uneven_padding),
)


def _pad(layer: Any, padding: Any) -> None:
    layer.padding = _pair(padding)
    if isinstance(layer, nn.Conv2d):  # what it pads with in other modes than zeros
        rows, columns = layer.padding
        layer._reversed_padding_repeated_twice = [columns, columns, rows, rows]


def _pair(value: Any) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _shown(value: Any) -> str:
    """One number where both sides are alike."""
    first, second = _pair(value) if not isinstance(value, torch.Size) else tuple(value)
    return str(first) if first == second else f"{first}x{second}"
