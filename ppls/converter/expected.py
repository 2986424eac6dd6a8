"""What a config's PyTorch model has, tensors and sizes: from a table for published recipes and presets, else from it.

The tables, one file for each map, let the converter check every name and shape without importing torch, and say which
sides its images may have.
`python -m ppls.converter.tabulate` writes them anew; a test holds them against the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

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


class SidesOfImages(NamedTuple):
    """Of what the sides of an image must be multiples, and the shortest that there may be, in pixels."""

    size_multiple: int = 1
    least_size: int = 1

    def around(self, height: int, width: int) -> tuple[int, int]:
        """The least height and width that hold an image of this size."""
        high, wide = (
            -(-max(side, self.least_size) // self.size_multiple) * self.size_multiple for side in (height, width)
        )
        return high, wide


class Built(NamedTuple):
    """A model's tensors, name and shape, and the sides that images may have for it."""

    shapes: dict[str, Shape]
    sides: SidesOfImages


def expected_shapes(map: Map, config: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Name and shape of every tensor of the model that `config` describes; None for a model that ppls does not have.

    Raises:
        ConversionError: no model can be built with these options.
    """
    if map.target is None:
        return None
    return _from_table(map, config) or shapes_of_model(map, config)


def expected_sides(map: Map, config: Mapping[str, Any]) -> SidesOfImages:
    """The sides that an image may have for the model that `config` describes."""
    if map.target is None:
        return SidesOfImages()
    entry, _ = _entry_of(map, config)
    if entry is None:
        return built(map, config).sides
    return SidesOfImages(**{key: int(entry[key]) for key in SidesOfImages._fields if key in entry})


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
    return built(map, config).shapes


def built(map: Map, config: Mapping[str, Any]) -> Built:
    """What the model of a config is like, which is built without values; imports torch.

    Raises:
        ConversionError: no model can be built with these options.
    """
    from ppls.models.building import without_values
    from ppls.models.sizes import least_size, size_multiple

    build = import_target(map)
    try:
        plain_value(dict(config))  # it may be that of a file
        model = without_values(build, config)
    except Exception as error:
        name = str(map.target).rpartition(".")[2]
        raise ConversionError(f"no {name} can be built with {shown(json.dumps(config))}: {error}") from None
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return Built(shapes, SidesOfImages(size_multiple(model), least_size(model)))


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
