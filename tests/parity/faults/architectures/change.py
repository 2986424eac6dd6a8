"""How a fault of an architecture is put into its model, and which stage is to find it."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Wrong:
    """What a porter of one architecture gets wrong.

    Attributes:
        name: what is wrong, for a reader.
        change: changes the right model, in place.
        by: the stage that finds it: `outputs`; `layers` or `heads`, where training alone shows it; `numerics`.
    """

    name: str
    change: Change
    by: str = "outputs"


class Dropping(nn.Module):
    """A dropout that nobody told of eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1, training=True)


def forward_of(name: str, forward: Callable[..., Any]) -> Change:
    """Another forward for one module, or for the model (`""`)."""

    def change(model: nn.Module) -> None:
        module = model.get_submodule(name)
        module.forward = types.MethodType(forward, module)  # type: ignore[method-assign]

    return change


def forward_of_each(kind: type[nn.Module], forward: Callable[..., Any]) -> Change:
    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, kind):
                module.forward = types.MethodType(forward, module)  # type: ignore[method-assign]

    return change


def part(name: str, change: Callable[[Any], Any]) -> Change:
    """Something done to one module."""
    return lambda model: change(model.get_submodule(name))


def put(name: str, module: nn.Module) -> Change:
    """Another module in the place of one."""

    def change(model: nn.Module) -> None:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.eval())

    return change


def set_to(name: str, attribute: str, value: Any) -> Change:
    """Another value of an attribute of one module."""
    return lambda model: setattr(model.get_submodule(name), attribute, value)


def together(*changes: Change) -> Change:
    """Several changes, one after the other."""

    def change(model: nn.Module) -> None:
        for each in changes:
            each(model)

    return change


def set_everywhere(attribute: str, value: Any) -> Change:
    """Another value of an attribute, in every module that has it."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if attribute in vars(module):
                setattr(module, attribute, value)

    return change


def exchanged(first: str, second: str) -> Change:
    """Two modules in each other's place."""

    def change(model: nn.Module) -> None:
        one, other = model.get_submodule(first), model.get_submodule(second)
        put(first, other)(model)
        put(second, one)(model)

    return change
