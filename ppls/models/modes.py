"""The mode that each layer of a module is in, train or eval, and put back after use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
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
    """The names of modules left in training mode; the module itself is called `(the model)`.

    What has no forward of its own, a list or a holder of tensors, is in none; nor is what torch.export made, whose mode
    was settled then.
    """
    exported = [name for name, part in module.named_modules() if _is_exported(part)]
    return [
        name or "(the model)"
        for name, part in module.named_modules()
        if _has_mode(part)
        and part.training
        and _has_forward(part)
        and not any(not root or name == root or name.startswith(f"{root}.") for root in exported)
    ]


def _has_mode(layer: nn.Module) -> bool:
    """Whether a layer is in a mode: what TorchScript has frozen is in none."""
    return hasattr(layer, "training")


def _has_forward(layer: nn.Module) -> bool:
    return "forward" in vars(layer) or getattr(type(layer), "forward", None) is not nn.Module.forward


def _is_exported(layer: nn.Module) -> bool:
    """Whether torch.export made this: it puts a `train` of its own on the object, which refuses."""
    return isinstance(layer, torch.fx.GraphModule) and "train" in vars(layer)
