"""The parts of a module's `__init__`: what makes each, with its numbers apart, so that modules alike share a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ppls.errors import ConversionError
from ppls.programs.code.trace import Call, Kind, Trace, Weight
from ppls.programs.layers import BatchNorm, Dropout


class Maker(NamedTuple):
    """What makes a part: `text`, in which `{}` stands for each of the numbers, whose names are `names`."""

    text: str
    names: tuple[str, ...] = ()
    numbers: tuple[Any, ...] = ()


BATCH_NORM = '''
class BatchNorm(nn.Module):
    """Batch normalisation as Paddle does it: in training it keeps the variance of the batch as it is."""

    def __init__(self, channels: int, eps: float, momentum: float, frozen: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps, self.momentum, self.frozen = eps, momentum, frozen

    def forward(self, x: Tensor) -> Tensor:
        if self.frozen or not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        count = x.numel() // x.shape[1]
        if count == 1:
            ones = [1] * (x.dim() - 2)
            return x + 0 * self.weight.view(1, -1, *ones) + 0 * self.bias.view(1, -1, *ones)
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        x = F.batch_norm(x, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * ((count - 1) / count), self.momentum)
        return x
'''
DROPOUT = '''
class Dropout(nn.Module):
    """Dropout; `scaled` divides what is kept by `1 - p` in training, else all is multiplied by it in inference."""

    def __init__(self, p: float, scaled: bool) -> None:
        super().__init__()
        self.p, self.scaled = p, scaled

    def forward(self, x: Tensor) -> Tensor:
        if self.scaled:
            return F.dropout(x, self.p, self.training)
        kept = 1.0 - self.p
        return F.dropout(x, self.p) * kept if self.training and kept else x * kept
'''
PARTS = '''
class Parts(nn.Module):
    """Weights and modules under their names."""

    def __init__(self, /, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part)
'''


def makers(trace: Trace, calls: Sequence[Call], layers: Mapping[str, nn.Module]) -> dict[str, Maker]:
    """What makes each layer, convolution and other weight, by its name in the network.

    Raises:
        ConversionError: something has its name within a layer, whose own attributes may have that name.
    """
    found: dict[str, Maker] = {}
    inside: set[str] = set()
    for name, maker in _convolutions(trace, calls).items():
        found[name] = maker
        inside |= {f"{name}.weight", f"{name}.bias"}
    for call in calls:
        if call.layer:
            found[call.layer] = _layer(layers[call.layer])
    for name, (kind, is_parameter) in trace.weights.items():
        if name not in inside:
            found[name] = _weight(kind, is_parameter)
    if any(above in found for name in found for above in _above(name)):
        raise ConversionError("a weight or a layer has its name within another layer")
    return found


def _above(name: str) -> Iterator[str]:
    """The names of all modules that something lies in, by its own."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def is_module(call: Call, found: Mapping[str, Maker]) -> str | None:
    """The name of the convolution that a call is, as a module; None where it stays a call of a function."""
    if call.function is F.conv2d and isinstance(call.given[1], Weight) and call.given[1].name.endswith(".weight"):
        name = call.given[1].name.removesuffix(".weight")
        return name if name in found else None
    return None


def _convolutions(trace: Trace, calls: Sequence[Call]) -> dict[str, Maker]:
    found: dict[str, Maker] = {}
    inside = Counter(above for name in {*trace.weights, *(call.layer for call in calls)} for above in _above(name))
    uses: dict[str, int] = {}
    others: set[str] = set()
    for call in calls:
        weights = [each.name for each in call.given if isinstance(each, Weight)]
        if call.function is not F.conv2d or call.named or len(call.given) != 7:
            others.update(weights)
            continue
        _, weight, bias, stride, padding, dilation, groups = call.given
        if not isinstance(weight, Weight) or not weight.name.endswith(".weight"):
            others.update(weights)
            continue
        name = weight.name.removesuffix(".weight")
        if not name or (bias is not None and bias != Weight(f"{name}.bias")):
            others.update(weights)
            continue
        if inside[name] != 1 + (bias is not None):  # a module of torch's has no place for more
            others.update(weights)
            continue
        maker = _convolution(trace.weights[weight.name][0], bias, stride, padding, dilation, groups)
        if found.setdefault(name, maker) != maker:
            others.add(weight.name)
        uses[name] = uses.get(name, 0) + 1
    return {name: maker for name, maker in found.items() if not {f"{name}.weight", f"{name}.bias"} & others}


def _convolution(kind: Kind, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Maker:
    outs, ins, *kernel = kind.shape
    names, numbers, text = ["in_channels", "out_channels"], [ins * groups, outs], "nn.Conv2d({}, {}"
    for name, value, usual in (
        ("kernel_size", kernel, None), ("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1),
    ):  # fmt: skip
        first, second = value
        if first == second == usual:
            continue
        word = "" if name == "kernel_size" else f"{name}="
        text += f", {word}{{}}" if first == second else f", {word}({{}}, {{}})"
        names += [name] if first == second else [f"{name}_0", f"{name}_1"]
        numbers += [first] if first == second else [first, second]
    if groups != 1:
        text, names, numbers = text + ", groups={}", [*names, "groups"], [*numbers, groups]
    return Maker(text + (", bias=False)" if bias is None else ")"), tuple(names), tuple(numbers))


def _layer(layer: nn.Module) -> Maker:
    if isinstance(layer, BatchNorm):
        assert layer.running_mean is not None
        frozen = ", frozen=True" if layer.frozen else ""
        numbers = (layer.running_mean.numel(), layer.eps, layer.momentum)
        return Maker(f"BatchNorm({{}}, eps={{}}, momentum={{}}{frozen})", ("channels", "eps", "momentum"), numbers)
    if isinstance(layer, Dropout):
        return Maker(f"Dropout({{}}, scaled={layer.scaled_in_training})", ("p",), (layer.p,))
    raise ConversionError(f"a layer {type(layer).__name__} has no place in code")


def _weight(kind: Kind, is_parameter: bool) -> Maker:
    sides = tuple(f"side_{at}" for at in range(len(kind.shape)))
    shape = f"({', '.join(['{}'] * len(sides))}{',' if len(sides) == 1 else ''})"
    dtype = "" if kind.dtype == torch.float32 else f", dtype={kind.dtype}"
    empty = f"torch.empty({shape}{dtype})" if is_parameter else f"torch.zeros({shape}{dtype})"
    return Maker(f"nn.Parameter({empty})" if is_parameter else empty, sides, kind.shape)
