"""Weights and layers under names with dots, in modules that are there for their names alone."""

from __future__ import annotations

from torch import Tensor, nn

_MOST_LEVELS = 32  # of names; torch goes down a tree by recursion


def put(root: nn.Module, name: str, tensor: Tensor) -> tuple[nn.Module, str]:
    """Sets a weight; returns the module that has it, and its name in there."""
    owner, leaf = _place(root, name)
    set_weight(owner, leaf, tensor)
    return owner, leaf


def put_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Sets a layer."""
    owner, leaf = _place(root, name)
    owner.register_module(leaf, module)


def set_weight(owner: nn.Module, name: str, tensor: Tensor) -> None:
    """A buffer where the module has one of this name, or where nothing can be trained."""
    if name in owner._buffers or not tensor.is_floating_point():
        owner.register_buffer(name, tensor)
    else:
        owner.register_parameter(name, nn.Parameter(tensor))


def _place(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    parts = name.split(".")
    if len(parts) > _MOST_LEVELS:
        parts = ["_".join(parts)]
    for part in parts[:-1]:
        name = _free(root, part, but_modules=True)
        below = root._modules.get(name)
        if below is None:
            below = nn.Module()
            root.register_module(name, below)
        root = below
    return root, _free(root, parts[-1])


def _free(owner: nn.Module, name: str, *, but_modules: bool = False) -> str:
    """The name, or it and underscores where a module has something of its own there, or another weight has it."""
    name = name or "_"
    while hasattr(owner, name) and not (but_modules and name in owner._modules):
        name += "_"
    return name
