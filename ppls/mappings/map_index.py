"""Which maps are worth opening for a checkpoint: told by an index of names, so that none is read to find out.

`python -m ppls.mappings.map_index` writes the index anew, and the maps as JSON; a test holds them against the maps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ppls.errors import MapError
from ppls.mappings.composed import FOLDER, generated
from ppls.mappings.documents import PADDLE, error, read
from ppls.mappings.map_file import (
    MAPPINGS,
    architectures,
    backbones,
    open_map,
    port_maps,
    shipped_map,
    shipped_maps,
)
from ppls.mappings.maps import Map
from ppls.mappings.patterns import shape_of_name
from ppls.mappings.table import BACKBONE
from ppls.records import dataclass
from ppls.yaml_documents import YamlReader

INDEX = MAPPINGS.parent / "index.json"

# Of a map's own rules; recognising asks for half of them. What a release renamed may be missing here.
_SHARE = 0.25


@dataclass(frozen=True)
class Entry:
    """What the index says of a map.

    Attributes:
        title: upstream's class name.
        called: all that `--arch` may call it: upstream's class, its presets.
        inside: the module that holds the backbone, in the source; None for a backbone's map.
        names: of its own tensors, numbers as `#`.
    """

    title: str
    called: list[str]
    inside: str | None
    names: list[str]

    @classmethod
    def of(cls, map: Map) -> Entry:
        inside = map.includes[0].source if map.includes else ""
        patterns = {pattern for rule in map.rules for pattern in rule.sources}
        own = {pattern.template for pattern in patterns if not inside or not pattern.text.startswith(f"{inside}.")}
        called = [map.title, map.source.rpartition(".")[2], *map.presets]
        return cls(map.title, list(dict.fromkeys(called)), inside if map.architecture else None, sorted(own))


@dataclass(frozen=True)
class Likeness:
    """How well the names of a checkpoint fit an architecture, by the index alone: shares of 0 to 1.

    Attributes:
        name: of the map; `title` is what upstream calls it.
        backbone: the map of the backbone whose names fit best; None where none does.
        own: of the map's own names, those that are there.
        known: of the checkpoint's tensors, those that the map or the backbone's has.
    """

    name: str
    title: str
    backbone: str | None
    own: float
    known: float

    def open(self) -> Map:
        """The map, on the backbone that fits best if it may stand on that."""
        return on_backbone(_opened(self.name, self.title), self.backbone)


def likenesses(names: Collection[str]) -> list[Likeness]:
    """Of all architectures, the best first; a map that is not in the index is opened for it."""
    found = Counter(map(shape_of_name, names))
    backbones = {inside: likely_backbone(names, inside) for inside in {entry.inside or "" for _, entry in _entries()}}
    return sorted(
        (
            _likeness(name, entry, found, *backbones[entry.inside])
            for name, entry in _entries()
            if entry.inside is not None
        ),
        key=lambda likeness: -likeness.known,
    )


def _likeness(name: str, entry: Entry, found: Counter[str], backbone: str | None, within: int) -> Likeness:
    there = [own for own in entry.names if own in found]
    known = sum(found[own] for own in there) + within
    return Likeness(name, entry.title, backbone, len(there) / len(entry.names), known / max(found.total(), 1))


def likely_maps(names: Collection[str]) -> list[Map]:
    """The maps of architectures that a checkpoint of these names may be of, the likeliest first."""
    return [likeness.open() for likeness in likenesses(names) if likeness.own >= _SHARE]


def likely_backbone(names: Collection[str], inside: str = "") -> tuple[str | None, int]:
    """The map of the backbone that knows most of the tensors in a module, and how many; None where none knows any."""
    prefix = f"{inside}." if inside else ""
    found = Counter(shape_of_name(name[len(prefix) :]) for name in names if name.startswith(prefix))
    known = {
        name: sum(found[own] for own in entry.names if own in found)
        for name, entry in _entries()
        if entry.inside is None
    }
    most = max(known.values(), default=0)
    best = [name for name, count in known.items() if most and count == most]
    if len(best) > 1:  # the index leaves numbers out
        own = [name[len(prefix) :] for name in names if name.startswith(prefix)]
        best.sort(key=lambda name: -sum(map(shipped_map(name).knows, own)))
    return (best[0], most) if best else (None, 0)


def on_backbone(map: Map, backbone: str | None) -> Map:
    """The map on this backbone, if it may stand on that, else as it is."""
    here = map.includes[0].map.name if map.includes else None
    return map.with_backbone(backbone) if backbone != here and backbone in map.backbones else map  # type: ignore[arg-type]


def on_recipe(map: Map, recipe: str) -> Map:
    """The map on the backbone that one of its recipes stands on."""
    config = map.recipes[recipe].get(BACKBONE)
    return on_named(map, str(config.get("type", "") if isinstance(config, Mapping) else config))


def on_named(map: Map, backbone: str) -> Map:
    """The map on the backbone that upstream calls this, by its class or a preset; as `on_backbone`."""
    files = (file for file, entry in _entries() if entry.inside is None and backbone in entry.called)
    return on_backbone(map, next(files, None))


def map_called(name: str) -> Map | None:
    """The map of an architecture or a backbone by upstream's name, a preset's or its own, in any letter case.

    Raises:
        MapError: it is malformed, or one of two of that architecture.
    """
    for file, entry in _entries():
        if name.lower() in (called.lower() for called in (*entry.called, file)):
            return _opened(file, entry.title)
    title = next((title for title in malformed_maps() if title.lower() == name.lower()), None)
    if title is not None:
        raise malformed_maps()[title]
    return None


def known_as(map: Map) -> str:
    """The name by which commands find a map again, `ports/midasklr`; of a user's own, that of its file."""
    return next((name for name, path in port_maps().items() if path == map.path), map.name)


def recorded_map(metadata: Mapping[str, str]) -> Map | None:
    """The map that a converted file says it was converted with, if that is one of ppls's: see `known_as`."""
    name = metadata.get("map", "")
    port = next((port for port in (name, f"ports/{name}") if port in port_maps()), None)  # as written up to 0.1
    return open_map(port) if port else shipped_map(name) if name in shipped_maps() else None


def titles(*, backbones: bool = False) -> list[str]:
    """What upstream calls the architectures that ppls has, or the backbones."""
    return [entry.title for _, entry in _entries() if (entry.inside is None) == backbones]


def generated_index() -> dict[str, dict[str, Any]]:
    """What the index should hold: an entry for each map, by its name."""
    return {name: asdict(Entry.of(shipped_map(name))) for name in shipped_maps()}


def generated_documents() -> dict[str, dict[str, Any]]:
    """What the files of `composed` should hold, by name: every map, and what maps begin with, as PyYAML reads them."""
    files = {**shipped_maps(), PADDLE.stem: PADDLE}
    contents = {name: read(path) for name, path in files.items()}
    return {
        name: generated(YamlReader(error).document(files[name], content), content) for name, content in contents.items()
    }


def _entries() -> Iterator[tuple[str, Entry]]:
    for name in shipped_maps():
        known = _index().get(name)
        if known is not None:
            yield name, known
            continue
        with suppress(MapError):  # said when it is asked for
            yield name, Entry.of(shipped_map(name))


def _opened(name: str, title: str) -> Map:
    """The map of this file. Raises `MapError` where another is of the same class."""
    if sum(entry.title == title for _, entry in _entries()) > 1:
        return (architectures() if title in architectures() else backbones())[title]
    return shipped_map(name)


def malformed_maps() -> dict[str, MapError]:
    """What is wrong with the maps of architectures and backbones that are left out, by class."""
    return {**backbones().malformed(), **architectures().malformed()}


@lru_cache
def _index() -> dict[str, Entry]:
    return {name: Entry(**entry) for name, entry in json.loads(INDEX.read_bytes()).items()}


if __name__ == "__main__":
    INDEX.write_text(json.dumps(generated_index(), indent=1) + "\n", encoding="utf-8")
    for name, document in generated_documents().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
