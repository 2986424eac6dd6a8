"""The tensors that a config's PyTorch model has: from a table for published recipes, else from the model itself.

The tables, one file for each architecture, let the converter check every name and shape without importing torch.
`python -m ppls.converter.expected` writes them anew; a test holds them against the models.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.infer import infer_model_config
from ppls.converter.translate import translate_back
from ppls.errors import ConversionError
from ppls.mappings.backbone_options import recipe_options
from ppls.mappings.config_rules import put
from ppls.mappings.forms import plain_value
from ppls.mappings.map_file import MAPPINGS, architectures
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup
from ppls.mappings.targets import import_target
from ppls.shown import shown

Shape = tuple[int, ...]

TABLES = MAPPINGS.parent / "expected"
_CLASSES = "num_classes"


def expected_shapes(map: Map, config: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Name and shape of every tensor of the model that `config` describes; None for a model that ppls does not have.

    Raises:
        ConversionError: no model can be built with these options.
    """
    if map.target is None:
        return None
    return _from_table(map, config) or _from_model(map, config)


def _from_table(map: Map, config: Mapping[str, Any]) -> dict[str, Shape] | None:
    classes = config.get(_CLASSES)
    for entry in _table(map.name):
        if entry["config"] == _without_shape(map, config) and isinstance(classes, int):
            return {
                name: tuple(classes if side == _CLASSES else side for side in shape)
                for name, shape in entry["tensors"].items()
            }
    return None


def _from_model(map: Map, config: Mapping[str, Any]) -> dict[str, Shape]:
    from ppls.models.building import tensors_of

    build = import_target(map)
    try:
        plain_value(dict(config))  # it may be that of a file
        return tensors_of(build, config)
    except Exception as error:
        name = str(map.target).rpartition(".")[2]
        raise ConversionError(f"no {name} can be built with {shown(json.dumps(config))}: {error}") from None


def _without_shape(map: Map, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide the shapes for any number of classes."""
    return {key: value for key, value in config.items() if key != _CLASSES and key not in map.upsample}


@lru_cache
def _table(name: str) -> list[dict[str, Any]]:
    """The entries for the map of this name; none for a map that is not ppls's."""
    path = TABLES / f"{name}.json"
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_bytes())
    return entries


def recipe_config(map: Map, recipe: str) -> dict[str, Any]:
    """The options in which a published recipe differs from the defaults of the class."""
    config: dict[str, Any] = {}
    for path, value in recipe_options(map, map.recipes[recipe]).items():
        put(config, path, value)
    return config


def generated_table(map: Map) -> list[dict[str, Any]]:
    """What an architecture's table should hold: the tensors of every recipe, with and without its optional modules."""
    return [_entry(map, config) for config in _configs(map)]


def _configs(map: Map) -> Iterator[dict[str, Any]]:
    for recipe in map.recipes:
        for choice in itertools.product([True, False], repeat=len(map.optional_modules)):
            config = recipe_config(map, recipe)
            for option, there in zip(map.optional_modules, choice, strict=True):
                put(config, option, there)
            yield config


def _entry(map: Map, config: dict[str, Any]) -> dict[str, Any]:
    """The config as a checkpoint's tensors reveal it, and the shapes: `num_classes` where a side changes with it."""
    shapes = _from_model(map, config)
    more_classes = _from_model(map, {**config, _CLASSES: lookup(config, _CLASSES) + 1})
    targets = {name: StoredTensor("float32", shape, _unread) for name, shape in shapes.items()}
    sources = translate_back(targets, map, config).tensors
    inferred = infer_model_config(map, {name: tensor.shape for name, tensor in sources.items()}, {}).config
    tensors = {
        name: [side if side == other else _CLASSES for side, other in zip(shape, more_classes[name], strict=True)]
        for name, shape in shapes.items()
    }
    return {"config": _without_shape(map, inferred), "tensors": tensors}


def _unread() -> NoReturn:
    raise AssertionError("only the shape of this tensor is known")


if __name__ == "__main__":
    TABLES.mkdir(exist_ok=True)
    for architecture in architectures().values():
        text = json.dumps(generated_table(architecture), separators=(",", ":"), sort_keys=True)
        (TABLES / f"{architecture.name}.json").write_text(text + "\n")
