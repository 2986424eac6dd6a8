"""Backbones: what they are, and what `backbone="stdc1"` or `backbone={"type": "STDC1", ...}` stands for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from torch import Tensor, nn

from ppls.errors import Error

if TYPE_CHECKING:
    from typing_extensions import Self


class Backbone(nn.Module):
    """An encoder: takes the image (N, in_channels, H, W) and returns a list of feature maps, the finest first.

    Attributes:
        feat_channels: channels of each map.
        feat_strides: how many pixels of the image, each way, one of each map stands for.
        options: what the constructor was given, and its defaults.
    """

    feat_channels: list[int]
    feat_strides: list[int]
    options: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        backbone = super().__new__(cls)
        known = inspect.signature(cls.__init__)
        given = known.bind_partial(backbone, *args, **kwargs)
        given.apply_defaults()
        options = dict(list(given.arguments.items())[1:])
        for parameter in known.parameters.values():
            if parameter.kind == parameter.VAR_KEYWORD:
                options |= options.pop(parameter.name)
        object.__setattr__(backbone, "options", options)
        return backbone

    if TYPE_CHECKING:

        def __call__(self, image: Tensor) -> list[Tensor]:
            """torch's own call is of any type."""


def channels_of(backbone: Backbone, indices: Sequence[int], count: int | None = None) -> list[int]:
    """Channels of the feature maps that an architecture takes, by its option `backbone_indices`.

    Args:
        indices: the maps, counted from the finest, 0.
        count: how many the architecture takes; None for any number.

    Raises:
        Error: the backbone has no such map, or they are not that many.
    """
    there = len(backbone.feat_channels)
    if count not in (None, len(indices)) or not indices:
        raise Error(f"backbone_indices={list(indices)}: this model takes {count or 'one or more'} feature maps")
    if any(not -there <= index < there for index in indices):
        raise Error(
            f"backbone_indices={list(indices)}: the backbone, a {type(backbone).__name__}, gives {there} feature maps, "
            f"0 to {there - 1}; choose other indices or another backbone"
        )
    return [backbone.feat_channels[index] for index in indices]


def all_channels(backbone: Backbone, count: int) -> list[int]:
    """Channels of all feature maps, for an architecture that takes a backbone of so many.

    Raises:
        Error: the backbone has more or fewer.
    """
    there = len(backbone.feat_channels)
    if there != count:
        raise Error(
            f"backbone: this model takes one with {count} feature maps, and a {type(backbone).__name__} gives {there}"
        )
    return backbone.feat_channels


Builder = TypeVar("Builder", bound=Callable[..., Backbone])
_BACKBONES: dict[str, Callable[..., Backbone]] = {}
_NAMES: dict[Callable[..., Backbone], str] = {}  # the first of each


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """A decorator that makes a class or function known as `name`; letter case does not count."""

    def register(builder: Builder) -> Builder:
        if name.lower() in _BACKBONES:
            raise ValueError(f"a backbone named {name} is registered already")
        _BACKBONES[name.lower()] = builder
        _NAMES.setdefault(builder, name)
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


def backbone_config(backbone: nn.Module) -> dict[str, Any] | None:
    """What `build_backbone` would make this backbone of; None where its class is not registered."""
    if not isinstance(backbone, Backbone) or type(backbone) not in _NAMES:
        return None
    return {"type": _NAMES[type(backbone)], **backbone.options}


def _is_backbone(module: nn.Module) -> TypeGuard[Backbone]:
    """Whether a module, a user's own perhaps, says what a `Backbone` does."""
    return hasattr(module, "feat_channels")
