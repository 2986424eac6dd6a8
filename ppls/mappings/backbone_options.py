"""The option `backbone`: a backbone's name or config becomes the options that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppls.errors import ConversionError, Error, UsageError
from ppls.mappings.maps import Map
from ppls.shown import shown

# Options of PaddleSeg's configs that say nothing about the function that the model computes.
WITHOUT_EFFECT = ("type", "pretrained", "relative_lr", "data_format")


def recipe_options(map: Map, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recipe of the map, by dotted path.

    Raises:
        UsageError: the backbone is neither a name nor a config. ConversionError: it is not the map's.
    """
    spread = (spread_option(map, key, value, key, UsageError) for key, value in recipe.items())
    return {path: value for options in spread for path, value in options.items()}


def own_recipes(map: Map) -> dict[str, Mapping[str, Any]]:
    """The recipes that stand on the backbone that the map is on."""
    return {
        name: recipe
        for name, recipe in map.recipes.items()
        if all(stands_on(included.map, recipe.get(included.option)) for included in map.includes)
    }


def stands_on(backbone: Map, config: Any) -> bool:
    """Whether a name or config of a backbone, as a recipe has it, is of this one; so is none at all."""
    name = config.get("type", "") if isinstance(config, Mapping) else config or ""
    return name in ("", class_name(backbone)) or str(name).lower() in _presets(backbone)


def spread_option(map: Map, key: str, value: Any, origin: str, error: type[Error]) -> dict[str, Any]:
    """An option as dotted paths, several where it is the backbone. Raises as `recipe_options`; `error` for a form."""
    included = next((included for included in map.includes if included.option == key), None)
    if included is None:
        return {key: value}
    config = {"type": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else None
    if config is None:
        raise error(f"{origin}: expected a backbone's name or config, got {shown(repr(value))}")
    name = str(config.pop("type", ""))
    known = _presets(included.map)
    if not stands_on(included.map, name):
        supported = ", ".join([*included.map.presets, class_name(included.map)])
        raise ConversionError(f"{origin}: {map.architecture} on {shown(name)} is not supported; ppls knows {supported}")
    options = {
        "type": class_name(included.map),
        **known.get(name.lower(), {}),
        **{k: v for k, v in config.items() if k not in WITHOUT_EFFECT},
    }
    return {f"{key}.{option}": item for option, item in options.items()}


def class_name(backbone: Map) -> str:
    """What upstream calls the class of a backbone."""
    return backbone.source.rsplit(".", 1)[-1]


def _presets(backbone: Map) -> dict[str, Mapping[str, Any]]:
    return {preset.lower(): values for preset, values in backbone.presets.items()}
