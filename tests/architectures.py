"""The architectures that ppls has, found by their maps; a map that cannot be read fails its own architecture's tests alone.

What upstream's installed package lacks, a checkout has that `PPLS_PADDLESEG` names; without it the tests of it skip.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

import pytest

from ppls.errors import MapError
from ppls.mappings.map_file import shipped_map, shipped_maps
from ppls.mappings.maps import Map

CHECKOUT = os.environ.get("PPLS_PADDLESEG")


@lru_cache
def maps() -> dict[str, Map | MapError]:
    """The map of each architecture by PaddleSeg's class name, or why it cannot be read."""
    found: dict[str, Map | MapError] = {}
    for file, path in shipped_maps().items():
        for name in re.findall(r"^architecture: *(\w+)", path.read_text(), re.M):
            try:
                found[name] = shipped_map(file)
            except MapError as error:
                found[name] = error
    return found


def readable() -> dict[str, Map]:
    """The maps that can be read, by PaddleSeg's class name."""
    return {name: map for name, map in maps().items() if isinstance(map, Map)}


def map_of(architecture: str) -> Map:
    """The architecture's map; fails the test that asks where it cannot be read."""
    map = maps()[architecture]
    return map if isinstance(map, Map) else pytest.fail(str(map), pytrace=False)


def recipes() -> list[tuple[str, str]]:
    """Every architecture whose map can be read, with each of its recipes."""
    return [(name, recipe) for name, map in readable().items() for recipe in map.recipes]


def selected(request: pytest.FixtureRequest, fixture: str) -> list[str]:
    """The architectures whose maps can be read that this module's tests ask `fixture` for, `-k` and marks applied."""
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
