"""What a right model written otherwise is, and what makes its twin wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Change = Callable[[Any], nn.Module]


def wrong_epsilon(model: Any) -> nn.Module:
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-3
    return model


def wrong_corners(model: Any) -> nn.Module:
    """The context module aligns corners in its resizes."""
    context = model.context

    def forward(x: torch.Tensor) -> torch.Tensor:
        pooled = [F.interpolate(b(x), x.shape[-2:], mode="bilinear", align_corners=True) for b in context.branches]
        return context.conv_out(sum(pooled[1:], start=pooled[0]))

    context.forward = forward
    return model


def exchanged_branches(model: Any) -> nn.Module:
    """Two branches of the pyramid pooling stand in each other's place, weights and all."""
    branches = model.context.branches
    branches[0].conv, branches[1].conv = branches[1].conv, branches[0].conv
    branches[0].bn, branches[1].bn = branches[1].bn, branches[0].bn
    return model


def wrong_auxiliary_head(model: Any) -> nn.Module:
    model.heads[1].conv.activation = F.leaky_relu
    return model


def each(model: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> nn.Module:
    """Puts `make(layer)`, in its mode, in the place of each layer of a kind."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, make(child).train(child.training))
    return model


@dataclass(frozen=True)
class Form:
    """A right model written otherwise.

    Attributes:
        name: what is otherwise, for a reader.
        write: makes it of ppls's own model, which it may change.
        fault: makes ppls's own model wrong, before it is written so.
        layers: how many of the 105 calls of layers are compared at least.
        heads: whether its heads of training are compared.
    """

    name: str
    write: Change
    fault: Change = wrong_epsilon
    layers: int = 105
    heads: bool = True
