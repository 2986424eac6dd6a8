"""What a config's PyTorch model has, tensors and sizes: from a table for published recipes and presets, else from it.

The tables, one file for each map, let the converter check every name and shape without importing torch, and say of
what the sides of its images must be multiples.
`python -m ppls.converter.tabulate` writes them anew; a test holds them against the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ppls.errors import ConversionError
from ppls.mappings.backbone_options import recipe_options
from ppls.mappings.config_rules import put
from ppls.mappings.forms import plain_value
from ppls.mappings.map_file import MAPPINGS, shipped_maps
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.mappings.patterns import prefixed
from ppls.mappings.targets import import_target
from ppls.shown import shown

Shape = tuple[int, ...]

TABLES = MAPPINGS.parent / "expected"
ANY, SIZE = "*", "$"  # in the config of a table: decides no shape; is a size that shapes are counted with


def expected_shapes(map: Map, config: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Name and shape of every tensor of the model that `config` describes; None for a model that ppls does not have.

    Raises:
        ConversionError: no model can be built with these options.
    """
    if map.target is None:
        return None
    return _from_table(map, config) or shapes_of_model(map, config)


def expected_multiple(map: Map, config: Mapping[str, Any]) -> int:
    """Of what the sides of an image must be multiples, in pixels, for the model that `config` describes; else 1."""
    if map.target is None:
        return 1
    entry, _ = _entry_of(map, config)
    return multiple_of_model(map, config) if entry is None else int(entry.get("size_multiple", 1))


def _from_table(map: Map, config: Mapping[str, Any]) -> dict[str, Shape] | None:
    entry, sizes = _entry_of(map, config)
    if entry is None:
        return None
    return {name: tuple(_side(side, sizes) for side in shape) for name, shape in entry["tensors"].items()}


def _entry_of(map: Map, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """The entry of such a config, and the options that its shapes are counted with."""
    if shipped_maps().get(map.name) == map.path:  # a map of the user's own may be to another model
        for entry in stored_table(map.name):
            sizes: dict[str, int] = {}
            if _fits(entry["config"], config, "", sizes):
                return entry, sizes
    return None, {}


def _fits(template: Any, value: Any, path: str, sizes: dict[str, int]) -> bool:
    """Whether a config is one of a table's entry; `sizes` takes the options that its shapes are counted with."""
    if template == ANY:
        return True
    if template == SIZE:
        sizes[path] = value
        return type(value) is int and value > 0
    if type(template) is not type(value):
        return False
    if isinstance(template, dict):
        return template.keys() == value.keys() and all(
            _fits(item, value[key], prefixed(key, path), sizes) for key, item in template.items()
        )
    if isinstance(template, list):
        return len(template) == len(value) and all(
            _fits(item, value[i], f"{path}.{i}", sizes) for i, item in enumerate(template)
        )
    return bool(template == value)


def _side(side: int | str, sizes: Mapping[str, int]) -> int:
    """A side of a shape: a number, or by options, `6*num_classes+1`."""
    if isinstance(side, int):
        return side
    terms = (term.rpartition("*") for term in side.split("+"))
    return sum(int(factor or 1) * (sizes[option] if option in sizes else int(option)) for factor, _, option in terms)


def shapes_of_model(map: Map, config: Mapping[str, Any]) -> dict[str, Shape]:
    """As `expected_shapes`, by building the model without values; imports torch."""
    from ppls.models.building import tensors_of

    build = import_target(map)
    try:
        plain_value(dict(config))  # it may be that of a file
        return tensors_of(build, config)
    except Exception as error:
        name = str(map.target).rpartition(".")[2]
        raise ConversionError(f"no {name} can be built with {shown(json.dumps(config))}: {error}") from None


def multiple_of_model(map: Map, config: Mapping[str, Any]) -> int:
    """As `expected_multiple`, by building the model without values; imports torch."""
    from ppls.models.building import without_values
    from ppls.models.sizes import size_multiple

    return size_multiple(without_values(import_target(map), config))


@lru_cache
def stored_table(name: str) -> list[dict[str, Any]]:
    """The entries for the map of this name; none before they are made."""
    path = TABLES / f"{name}.json"
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_bytes())
    return entries


def recipe_config(map: Map, recipe: str) -> dict[str, Any]:
    """The options in which a published recipe differs from the defaults of the class."""
    config: dict[str, Any] = {}
    for path, value in recipe_options(on_recipe(map, recipe), map.recipes[recipe]).items():
        put(config, path, value)
    return config
