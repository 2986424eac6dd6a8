"""Backbones: what they are, and what `backbone="stdc1"` or `backbone={"type": "STDC1", ...}` stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from torch import Tensor, nn

from ppls.errors import Error


class Backbone(nn.Module):
    """An encoder: takes the image (N, in_channels, H, W) and returns a list of feature maps, the finest first.

    Attributes:
        feat_channels: channels of each map.
        feat_strides: how many pixels of the image, each way, one of each map stands for.
    """

    feat_channels: list[int]
    feat_strides: list[int]

    if TYPE_CHECKING:

        def __call__(self, image: Tensor) -> list[Tensor]:
            """torch's own call is of any type."""


Builder = TypeVar("Builder", bound=Callable[..., Backbone])
_BACKBONES: dict[str, Callable[..., Backbone]] = {}


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """A decorator that makes a class or function known as `name`; letter case does not count."""

    def register(builder: Builder) -> Builder:
        if name.lower() in _BACKBONES:
            raise ValueError(f"a backbone named {name} is registered already")
        _BACKBONES[name.lower()] = builder
        return builder

    return register


def build_backbone(backbone: str | Mapping[str, Any] | nn.Module) -> Backbone:
    """The backbone that a model's option describes.

    Args:
        backbone: a name (`"stdc1"`), a config (`{"type": "STDCNet", "layers": [2, 2, 2]}`), or a module that gives
            feature maps as a `Backbone` does, and has its `feat_channels`.

    Raises:
        Error: no backbone has that name, the message lists those there are; or the module does not say its channels.
    """
    if isinstance(backbone, nn.Module):
        if not _is_backbone(backbone):
            raise Error(f"the backbone, a {type(backbone).__name__}, has no `feat_channels`: of each map, its channels")
        return backbone
    options = {"type": backbone} if isinstance(backbone, str) else dict(backbone)
    name = options.pop("type", None)
    builder = _BACKBONES.get(str(name).lower())
    if builder is None:
        raise Error(f"unknown backbone {name!r}; known are {', '.join(sorted(_BACKBONES))}, or pass a module")
    return builder(**options)


def _is_backbone(module: nn.Module) -> TypeGuard[Backbone]:
    """Whether a module, a user's own perhaps, says what a `Backbone` does."""
    return hasattr(module, "feat_channels")
