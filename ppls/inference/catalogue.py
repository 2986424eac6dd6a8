"""`ppls.list_models` and `ppls.create_model`: models by the names of the configs that PaddleSeg publishes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from torch import nn

from ppls.converter.expected import recipe_config
from ppls.converter.published import find_published, list_published
from ppls.errors import UsageError
from ppls.inference.loading import load
from ppls.mappings.map_file import architectures
from ppls.mappings.maps import Map
from ppls.mappings.targets import import_target
from ppls.models.initialization import draw
from ppls.models.refitting import wanted_of, with_options
from ppls.shown import listed, shown


def list_models(filter: str | Sequence[str] = "", *, exclude_filters: str | Sequence[str] = "") -> list[str]:
    """The names that `create_model` takes, in order.

    Args:
        filter: names with wildcards, of which one must fit: `"*liteseg*"`; letter case does not count.
        exclude_filters: the same, of which none may fit.
    """
    wanted, unwanted = ([each] if isinstance(each, str) else list(each) for each in (filter, exclude_filters))
    names = sorted(recipe for map in architectures().values() for recipe in map.recipes)
    return [name for name in names if (wanted in ([], [""]) or _fits(name, wanted)) and not _fits(name, unwanted)]


def create_model(
    name: str,
    *,
    pretrained: str | bool | None = None,
    checkpoint_path: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> nn.Module:
    """A model by name, in eval mode as `ppls.load`'s.

    Without a checkpoint every parameter is drawn as PaddleSeg draws it: `torch.manual_seed` repeats it.

    Args:
        name: of `list_models`, or a class of `ppls.models` with its defaults; letter case does not count.
        pretrained: weights that PaddleSeg publishes, by their name in `list_published`; downloaded once.
        checkpoint_path: anything that `ppls.load` takes, of this architecture; its options are its own.
        num_classes: default: those of the name's config, or of the checkpoint.
        in_channels: of the image. Default: 3, or those of the checkpoint.
        options: others of the class.

    Raises:
        UsageError: there is no such model, it has no such option, or the checkpoint is of another architecture.
        CheckpointError, ConversionError: the checkpoint cannot be loaded.
    """
    map, config = _named(name)
    build = import_target(map)
    if pretrained:
        if checkpoint_path is not None:
            raise UsageError("pretrained and checkpoint_path are both where the weights come from; give one of them")
        checkpoint_path = _published(pretrained, map)
    options |= {"num_classes": num_classes, "in_channels": in_channels}
    wanted = wanted_of(options)
    if checkpoint_path is not None:
        model = load(checkpoint_path, **options, **wanted)
        if not isinstance(model, build):  # type: ignore[arg-type]
            raise UsageError(f"{checkpoint_path}: is a {type(model).__name__}, {shown(name)} is a {map.title}")
        return model
    try:
        model = build(**with_options(build, {**config, **options}, wanted))
    except TypeError as error:
        raise UsageError(f"no {map.title} with {shown(options)}: {error}") from None
    draw(model)
    return model.eval()


def _named(name: str) -> tuple[Map, dict[str, Any]]:
    for map in architectures().values():
        if name.lower() == map.title.lower():
            return map, {}
        for recipe in map.recipes:
            if name.lower() == recipe.lower():
                return map, recipe_config(map, recipe)
    near = list_models(f"*{name}*") or list_models()
    raise UsageError(f"no model is called {shown(name)}; there are {listed(near, 20)}")


def _published(name: str | bool, map: Map) -> str:
    """A published name, as it was given, of this architecture."""
    row = None if name is True else find_published(str(name))
    if row is None or row.architecture != map.title:  # before a download
        own = [each.name for each in list_published(available=True) if each.architecture == map.title]
        found = f"is a {row.architecture}" if row else "is no name of PaddleSeg's"
        raise UsageError(
            f"pretrained={shown(repr(name))}: {found}; of {map.title} PaddleSeg publishes {listed(own, 20) or 'none'}"
        )
    return row.name


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)
