"""Which maps are worth opening for a checkpoint: told by an index of names, so that none is read to find out.

`python -m ppls.mappings.map_index` writes the index anew, and a test holds it against the maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from ppls.mappings.map_file import MAPPINGS, architectures, shipped_map, shipped_maps
from ppls.mappings.maps import Map
from ppls.mappings.patterns import shape_of_name

INDEX = MAPPINGS.parent / "index.json"

# Of a map's own rules; recognising asks for half of them. What a release renamed may be missing here.
_SHARE = 0.25


def likely_maps(names: Iterable[str]) -> list[Map]:
    """The maps of architectures that a checkpoint of these names may be of; those not in the index among them."""
    found = {shape_of_name(name) for name in names}
    index = _index()
    likely = [name for name in shipped_maps() if name not in index or _share(found, index[name]) >= _SHARE]
    maps = [shipped_map(name) for name in likely]
    return [map for map in maps if map.architecture is not None]


def generated_index() -> dict[str, list[str]]:
    """By the file of each map: the names of its own tensors, numbers as `#`, in a model; of a backbone's map, none."""
    index: dict[str, list[str]] = {name: [] for name in shipped_maps()}
    for map in architectures().values():
        inside = tuple(f"{included.source}." for included in map.includes)
        patterns = {pattern for rule in map.rules for pattern in rule.sources if not pattern.text.startswith(inside)}
        index[map.name] = sorted({pattern.template for pattern in patterns})
    return index


@lru_cache
def _index() -> dict[str, list[str]]:
    index: dict[str, list[str]] = json.loads(INDEX.read_bytes())
    return index


def _share(found: set[str], own: list[str]) -> float:
    return sum(name in found for name in own) / len(own) if own else 0.0


if __name__ == "__main__":
    INDEX.write_text(json.dumps(generated_index(), indent=1) + "\n")
