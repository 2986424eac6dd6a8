"""The architectures that ppls has, by their maps. One that cannot be read fails its own tests alone.

What upstream's installed package lacks, a checkout has that `PPLS_PADDLESEG` names; without it the tests of it skip.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Any

import pytest

from ppls.converter.expected import recipe_config
from ppls.errors import MapError
from ppls.mappings.map_file import architectures
from ppls.mappings.maps import Map
from ppls.mappings.targets import import_target
from ppls.models.building import tensors_of

CHECKOUT = os.environ.get("PPLS_PADDLESEG")


@lru_cache
def readable() -> dict[str, Map]:
    """The maps that can be read, by PaddleSeg's class name."""
    return dict(architectures().items())


def map_of(architecture: str) -> Map:
    """The architecture's map; fails the test that asks where it cannot be read."""
    try:
        return architectures()[architecture]
    except MapError as error:
        return pytest.fail(str(error), pytrace=False)


def recipes() -> list[tuple[str, str]]:
    """Every architecture whose map can be read, with each of its recipes."""
    return [(name, recipe) for name, map in readable().items() for recipe in map.recipes]


def selected(request: pytest.FixtureRequest, fixture: str) -> list[str]:
    """The architectures with readable maps that this module's tests ask `fixture` for, `-k` and marks applied."""
    names = []
    for item in request.session.items:
        if item.path == request.path and (call := getattr(item, "callspec", None)) is not None:
            names += [call.params[fixture]] if fixture in call.params else []
    return [name for name in dict.fromkeys(names) if name in readable()]


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's options by their dotted paths."""
    options: dict[str, Any] = {}
    for key, value in config.items():
        options |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return options


def small_config(map: Map) -> dict[str, Any]:
    """The first recipe, on the smallest backbone that the map has a name for: to be built in every run of the tests."""
    config = recipe_config(map, next(iter(map.recipes)))
    choices = [config]
    for included in map.includes:
        given = config.get(included.option, {})
        choices += [{**config, included.option: {**given, **preset}} for preset in included.map.presets.values()]
    return min(choices, key=lambda choice: values(map, choice))


def values(map: Map, config: dict[str, Any]) -> float:
    """How many numbers the model of a config has; no end of them where there is no such model."""
    try:
        return sum(math.prod(shape) for shape in tensors_of(import_target(map), config).values())
    except Exception:  # whatever the class raises
        return math.inf
