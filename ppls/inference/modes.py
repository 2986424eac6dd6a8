"""The mode that each layer of a module is in, train or eval, and put back after use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Whatever modes the block puts the layers of `module` into, each is then in its own again, also if it raises."""
    modes = [(layer, layer.training) for layer in module.modules() if _has_mode(layer)]
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def modules_in_training(module: nn.Module) -> list[str]:
    """The names of modules left in training mode; the module itself is called `(the model)`."""
    return [name or "(the model)" for name, layer in module.named_modules() if _has_mode(layer) and layer.training]


def _has_mode(layer: nn.Module) -> bool:
    """Whether a layer is in a mode: what TorchScript has frozen is in none."""
    return hasattr(layer, "training")
