"""What a layer of the port computes where it is a layer of the source: with another order of channels, another sign, a
bias that went elsewhere, or an activation of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ppls.drafting.attempt import Match, pairs_of_tensors
from ppls.drafting.comparing import NEAR, error
from ppls.drafting.units import Unit

ELEMENTWISE = ("batch_norm", "layer_norm", "group_norm")
CHANNELS_LAST = ("linear", "layer_norm")


def channel_dim(kind: str) -> int:
    """Where a layer of this kind has the channels of what it takes."""
    return -1 if kind in CHANNELS_LAST else 1


def mixes_channels(unit: Unit) -> bool:
    """Whether each output depends on all inputs, so that these may come in any order; true of an elementwise one."""
    return getattr(unit.module, "groups", 1) == 1 or unit.kind == "group_norm"


def along_channels(values: Tensor, activation: Tensor, kind: str) -> Tensor:
    """A value for each channel, to be added to an activation of such a layer."""
    return values if kind in CHANNELS_LAST else values.view(1, -1, *[1] * (activation.dim() - 2))


def as_the_source_has_it(match: Match, x: Tensor) -> Tensor:
    """What comes to the port's layer, in the source's order of channels and with the bias that the port folds."""
    if match.order is not None:
        x = x.index_select(channel_dim(match.target.kind), torch.tensor(match.order).argsort())
    if match.folded is not None:
        x = x + along_channels(match.folded.tensors["bias"], x, match.target.kind)
    return x


def expected_output(match: Match, output: Tensor) -> Tensor:
    """What the port's layer should give where the source's gives `output`."""
    kind = match.target.kind
    if match.order is not None and kind in ELEMENTWISE:
        output = output.index_select(channel_dim(kind), torch.tensor(match.order))
    if match.lacks_bias:
        output = output - along_channels(match.source.tensors["bias"], output, kind)
    return -output if match.negated else output


def fill(match: Match, noise: bool = False) -> None:
    """Gives the port's layer the weights of the source's, or noise of their shapes; notes a bias that it lacks."""
    target, source = match.target, match.source
    match.lacks_bias = target.kind in ("conv", "linear") and "bias" in source.shapes and "bias" not in target.shapes
    for name, other in pairs_of_tensors(target, source).items():
        tensor, value = target.tensors[name], source.tensors[other]
        if not tensor.is_floating_point():
            continue
        if noise:
            value = torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(1))
        if match.order is not None and (target.kind in ELEMENTWISE or name == "weight"):
            dim = 0 if target.kind in ELEMENTWISE else 1
            value = value.index_select(dim, torch.tensor(match.order))
        if match.negated and name in ("weight", "bias"):
            value = -value
        if match.folded is not None and name == "running_mean":
            value = value - match.folded.tensors["bias"]
        tensor.copy_(value)


def of_one_dilation(unit: Unit, source: Unit) -> bool:
    """Whether two layers do not say of themselves that they are dilated otherwise, which a small image may not show."""
    if set(unit.shapes.get("weight", ())[2:]) <= {1}:
        return True
    ours, theirs = (getattr(each.module, "dilation", None) for each in (unit, source))
    told = isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs)
    return not told or ours == theirs


def gives(unit: Unit, source: Unit, x: Tensor, output: Tensor) -> bool:
    """Whether the port's layer, filled with the source's weights, gives here what that one gave: dilations tell."""
    fill(Match(unit, source))
    result = unit.module.forward(x.clone())
    if "bias" in source.shapes and "bias" not in unit.shapes:
        output = output - along_channels(source.tensors["bias"], output, unit.kind)
    return isinstance(result, Tensor) and error(result, output) <= NEAR


def normalised(unit: Unit, x: Tensor) -> Tensor | None:
    """What a BatchNorm gives before an activation that its own class puts behind it; None of any other layer."""
    if unit.kind != "batch_norm" or not {"running_mean", "running_var"} <= unit.tensors.keys():
        return None
    eps = getattr(unit.module, "eps", None)
    if not isinstance(eps, float):
        return None
    values = (unit.tensors.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    mean, variance, weight, bias = values
    return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
