"""Backbones by name: what `backbone="stdc1"` or `backbone={"type": "STDC1", ...}` stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from ppls.errors import Error

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])
_BACKBONES: dict[str, Callable[..., nn.Module]] = {}


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """A decorator that makes a class or function known as `name`; letter case does not count."""

    def register(builder: Builder) -> Builder:
        if name.lower() in _BACKBONES:
            raise ValueError(f"a backbone named {name} is registered already")
        _BACKBONES[name.lower()] = builder
        return builder

    return register


def build_backbone(backbone: str | Mapping[str, Any] | nn.Module) -> nn.Module:
    """The backbone that a model's option describes.

    Args:
        backbone: a name (`"stdc1"`), a config (`{"type": "STDCNet", "layers": [2, 2, 2]}`), or a module with
            `feat_channels`, the channels of each feature map it returns.

    Raises:
        Error: no backbone has that name; the message lists those there are.
    """
    if isinstance(backbone, nn.Module):
        return backbone
    options = {"type": backbone} if isinstance(backbone, str) else dict(backbone)
    name = options.pop("type", None)
    builder = _BACKBONES.get(str(name).lower())
    if builder is None:
        raise Error(f"unknown backbone {name!r}; known are {', '.join(sorted(_BACKBONES))}, or pass a module")
    return builder(**options)
