"""Causes between layers: functions that the candidate calls, and those that are called in their place to see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from ppls.models.resize import resize_from_corner

Function = Callable[..., Any]


@dataclass(frozen=True)
class CallCause:
    """One thing that may be wrong with the calls of a function, and the call that is made in its place.

    Attributes:
        name: what the candidate does and what the reference then does.
        functions: names of the functions, whichever way they are spelled: `F.gelu`, `torch.Tensor.softmax`.
        applies: whether a call is of that kind, by its options.
        call: makes the other call.
    """

    name: str
    functions: Collection[str]
    applies: Callable[[dict[str, Any]], bool]
    call: Callable[[Function, dict[str, Any]], Any]


class Changed(TorchFunctionMode):
    """Makes other calls in place of those that a cause speaks of, from call number `start` on; counts all and those.

    Attributes:
        count: the calls so far, of whatever function.
        changed: of how many another was made.
    """

    def __init__(self, cause: CallCause | None = None, start: int = 0) -> None:
        super().__init__()
        self.cause, self.start = cause, start
        self.count = self.changed = 0
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        self.names.append(name)
        self.count += 1
        cause = self.cause
        if cause is not None and name in cause.functions and self.count > self.start:
            options = _options(name, func, args, kwargs or {})
            if options is not None and cause.applies(options):
                self.changed += 1
                return cause.call(func, options)
        return func(*args, **(kwargs or {}))


# what builtin functions call their arguments, in order
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "gelu": ("input",),
    "leaky_relu": ("input", "negative_slope", "inplace"),
    "relu": ("input", "inplace"),
    "sigmoid": ("input",),
    "softmax": ("input", "dim"),
    "clamp": ("input", "min", "max"),
    "avg_pool2d": (
        "input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override",
    ),
    "cat": ("tensors", "dim"),
}  # fmt: skip


def _options(name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of a call by name; None where they cannot be told."""
    names = _ARGUMENTS.get(name.rstrip("_"))
    if names is None:
        try:
            bound = inspect.signature(func).bind(*args, **kwargs)
        except (TypeError, ValueError):  # a builtin function
            names = ("input",)
        else:
            bound.apply_defaults()
            return {("input" if key == "self" else key): value for key, value in bound.arguments.items()}
    if len(args) > len(names):
        return None
    found = {**dict(zip(names, args, strict=False)), **kwargs}
    return {("input" if key == "self" else key): value for key, value in found.items()}


def _resize(mode: str, corners: bool | None) -> Callable[[Function, dict[str, Any]], Any]:
    def call(func: Function, options: dict[str, Any]) -> Any:
        return F.interpolate(
            options["input"], options["size"], options["scale_factor"], mode, corners, options["recompute_scale_factor"]
        )

    return call


def _from_corner(func: Function, options: dict[str, Any]) -> Any:
    size = F.interpolate(options["input"][:1, :1], options["size"], options["scale_factor"]).shape[2:]
    return resize_from_corner(options["input"], size)


def _is_mode(mode: str, corners: bool | None = None) -> Callable[[dict[str, Any]], bool]:
    def applies(options: dict[str, Any]) -> bool:
        if options["input"].ndim != 4 or options["antialias"] or options["mode"] != mode:
            return False
        return corners is None or bool(options["align_corners"]) == corners

    return applies


_RESIZES = ("interpolate",)
_RESIZE_CAUSES = (
    CallCause(
        "its resize has align_corners=True, the reference's has False",
        _RESIZES, _is_mode("bilinear", True), _resize("bilinear", False),
    ),
    CallCause(
        "its resize is nearest, the reference's is bilinear", _RESIZES, _is_mode("nearest"), _resize("bilinear", False)
    ),
    CallCause(
        "its resize is nearest, the reference's is bilinear with align_corners=True",
        _RESIZES, _is_mode("nearest"), _resize("bilinear", True),
    ),
    CallCause(
        "its resize has align_corners=False, the reference's has True",
        _RESIZES, _is_mode("bilinear", False), _resize("bilinear", True),
    ),
    CallCause(
        "its resize is bilinear, the reference's is nearest", _RESIZES, _is_mode("bilinear"), _resize("nearest", None)
    ),
    CallCause(
        "its resize is bicubic, the reference's is bilinear", _RESIZES, _is_mode("bicubic"), _resize("bilinear", False)
    ),
    CallCause(
        "its resize is bilinear, the reference's is bicubic", _RESIZES, _is_mode("bilinear"), _resize("bicubic", False)
    ),
    CallCause(
        "its resize aligns the centres of pixels, the reference's their corners (align_mode=1)",
        _RESIZES, _is_mode("bilinear"), _from_corner,
    ),
    CallCause(
        "its resize is antialiased, the reference's is not",
        _RESIZES, lambda options: bool(options["antialias"]),
        lambda func, options: func(**{**options, "antialias": False}),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class _Activation:
    """What is applied to each value: the function, and how a call of it is told (not at all: None calls it)."""

    name: str
    function: Callable[[Any], Any]
    called: Collection[str] = ()
    is_it: Callable[[dict[str, Any]], bool] = lambda options: True

    def instead(self, func: Function, options: dict[str, Any]) -> Any:
        return self.function(options["input"])


def _clamps_to(high: float) -> Callable[[dict[str, Any]], bool]:
    """relu6 is `hardtanh` and `clamp` too."""

    def clamps(options: dict[str, Any]) -> bool:
        limits = options.get("min_val", options.get("min", 0.0)), options.get("max_val", options.get("max", 6.0))
        return all(isinstance(limit, (int, float)) for limit in limits) and limits == (0.0, high)

    return clamps


def _leaky(slope: float) -> _Activation:
    return _Activation(
        f"LeakyReLU of slope {slope:g}",
        partial(F.leaky_relu, negative_slope=slope),
        ("leaky_relu", "leaky_relu_"),
        lambda options: abs(options.get("negative_slope", 0.01) - slope) < 1e-9,
    )


_ACTIVATIONS = (
    _Activation("ReLU", F.relu, ("relu", "relu_")),
    _Activation("ReLU6", F.relu6, ("relu6", "hardtanh", "hardtanh_", "clamp", "clamp_"), _clamps_to(6.0)),
    _Activation("GELU", F.gelu, ("gelu",), lambda options: options.get("approximate", "none") == "none"),
    _Activation(
        "GELU by tanh",
        partial(F.gelu, approximate="tanh"),
        ("gelu",),
        lambda options: options.get("approximate") == "tanh",
    ),
    _Activation("no activation", lambda x: x),
    *map(_leaky, (0.01, 0.1, 0.2, 0.3)),
    _Activation("sigmoid", torch.sigmoid, ("sigmoid", "sigmoid_")),
    _Activation("hard sigmoid", F.hardsigmoid, ("hardsigmoid", "hardsigmoid_")),
    _Activation("hard sigmoid of slope 0.2", lambda x: (x * 0.2 + 0.5).clamp(0, 1)),
    _Activation("hard swish", F.hardswish, ("hardswish", "hardswish_")),
    _Activation("SiLU", F.silu, ("silu", "silu_")),
    _Activation("ELU", F.elu, ("elu", "elu_"), lambda options: options.get("alpha", 1.0) == 1.0),
    _Activation("tanh", torch.tanh, ("tanh", "tanh_")),
)


def _softmax_over(dim: int) -> CallCause:
    def is_over_another(options: dict[str, Any]) -> bool:
        given, rank = options.get("dim"), options["input"].ndim
        return isinstance(given, int) and dim < rank and given % rank != dim

    def instead(func: Function, options: dict[str, Any]) -> Any:
        return torch.softmax(options["input"], dim)

    name = f"its softmax is over another dimension, the reference's over dimension {dim}"
    return CallCause(name, ("softmax",), is_over_another, instead)


def _input_alone(func: Function, options: dict[str, Any]) -> Any:
    return options["input"]


CALL_CAUSES: tuple[CallCause, ...] = (
    *_RESIZE_CAUSES,
    *(
        CallCause(f"it applies {own.name}, the reference {other.name}", own.called, own.is_it, other.instead)
        for own in _ACTIVATIONS
        for other in _ACTIVATIONS
        if own.called and other is not own
    ),
    *map(_softmax_over, range(4)),
    CallCause("it applies a softmax, the reference none", ("softmax",), lambda options: True, _input_alone),
    CallCause(
        "it drops values at random, the reference drops none",
        ("dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"),
        lambda options: bool(options.get("training", options.get("train", True))),
        _input_alone,
    ),
    CallCause(
        "a mean that counts padding, where the reference's does not",
        ("avg_pool2d",),
        lambda options: bool(options.get("count_include_pad", True)) and options.get("padding", 0) not in (0, (0, 0)),
        lambda func, options: func(**{**options, "count_include_pad": False}),
    ),
    CallCause(
        "what it concatenates stands in reverse order",
        ("cat", "concat", "concatenate"),
        lambda options: len(options["tensors"]) > 1,
        lambda func, options: func(options["tensors"][::-1], options.get("dim", 0)),
    ),
)
