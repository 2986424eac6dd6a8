"""Finds maps and opens them. Whatever is wrong with one is a `MapError` that names the file, the line and the rule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ppls.errors import MapError, UsageError
from ppls.mappings import documents
from ppls.mappings.assembly import assembled
from ppls.mappings.documents import Contents, Document, document
from ppls.mappings.maps import Map
from ppls.mappings.targets import is_module_name
from ppls.schema import Placed, Word

MAPPINGS = Path(__file__).resolve().parent / "paddleseg"
PORTS = MAPPINGS.parent / "ports"

_TITLE = re.compile(rb"^(architecture|backbone):[ \t]*([A-Za-z0-9_.-]+)", re.MULTILINE)
_LIKE = re.compile(rb"^like:[ \t]*([A-Za-z0-9_-]+)", re.MULTILINE)


@lru_cache
def shipped_maps() -> dict[str, Path]:
    """The maps in the package, by name; a file put beside them is found by itself."""
    return {path.stem: path for path in sorted(MAPPINGS.glob("*.yaml"))}


@lru_cache
def port_maps() -> dict[str, Path]:
    """The maps in the package for models that others wrote, by name: `ports/midasklr`."""
    paths = sorted(PORTS.glob("*.yaml"))
    return {f"ports/{path.stem}": path for path in paths if not _is_backbone(path)}


def named_file(map: str | Path) -> Path:
    """The file of a map in the package by its name, of any other by its path."""
    return _named(Path(map).as_posix()) or Path(map)


def shipped_map(name: str) -> Map:
    """One of the maps in the package, by its name; as its file is now."""
    return load_map(shipped_maps()[name])


def architectures() -> Catalogue:
    """The maps of whole architectures, by PaddleSeg's class name; see `Catalogue`."""
    return _catalogue("architecture", tuple(shipped_maps().items()))


def backbones() -> Catalogue:
    """The maps of backbones, by upstream's class name; see `Catalogue`."""
    return _catalogue("backbone", tuple(shipped_maps().items()))


class Catalogue(Mapping[str, Map]):
    """Maps by the class that each is of, opened when they are asked for.

    A malformed map stands in nobody's way: its name is there, and asking for it raises its `MapError`; `items` and
    `values` leave it out. So it is with a class that two maps are of.
    """

    def __init__(self, files: Mapping[str, list[Path]]) -> None:
        self._files = files

    def __getitem__(self, title: str) -> Map:
        first, *more = self._files[title]
        if more:
            raise documents.error(str(more[0]), f"{title} has a map already, {first}; one of the two must go")
        return load_map(first)

    def __contains__(self, title: object) -> bool:
        return title in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def malformed(self) -> dict[str, MapError]:
        """What is wrong with those that are left out, by class."""
        return {title: map for title, map in self._opened() if isinstance(map, MapError)}

    def items(self) -> list[tuple[str, Map]]:  # type: ignore[override]
        return [(title, map) for title, map in self._opened() if isinstance(map, Map)]

    def values(self) -> list[Map]:  # type: ignore[override]
        return [map for _, map in self.items()]

    def _opened(self) -> Iterator[tuple[str, Map | MapError]]:
        for title in self:
            try:
                yield title, self[title]
            except MapError as error:
                yield title, error


@lru_cache(maxsize=8)
def _catalogue(section: str, maps: tuple[tuple[str, Path], ...]) -> Catalogue:
    files: dict[str, list[Path]] = {}
    for name, path in maps:
        kind, title = _title(path)
        if kind == section or (kind is None and section == "architecture"):
            files.setdefault(title or name, []).append(path)
    return Catalogue(files)


def load_map(path: Path, allow_import: Sequence[str] = (), backbone: str | None = None) -> Map:
    """The map in a file, as it is now.

    Args:
        allow_import: modules that the map may name classes of, beside ppls's models and upstream's.
        backbone: the one of its backbones that an architecture stands on; the first by default.

    Raises:
        MapError: the file cannot be read or is no map: file, line, rule.
    """
    key = Path(path), tuple(allow_import), backbone
    known = _OPENED.get(key)
    if known is not None and all(_holds(*content) for content in known[0]):
        return known[1]
    contents, map = _loaded(*key)
    if len(_OPENED) == _MOST_OPENED:
        _OPENED.clear()
    _OPENED[key] = contents, map
    return map


_MOST_OPENED = 500
_OPENED: dict[tuple[Path, tuple[str, ...], str | None], tuple[Contents, Map]] = {}


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file holds this still."""
    try:
        return documents.read(path) == content
    except MapError:
        return False


def _loaded(path: Path, allowed: tuple[str, ...], backbone: str | None) -> tuple[Contents, Map]:
    outer = document(path, _named, of=_of_architecture)
    stands_on = partial(_stands_on, tuple(outer.file.backbones))
    more: dict[str, Any] = {
        "stands_on": stands_on,
        "reopened": partial(load_map, path, allowed),
        "described": partial(_described, outer.contents, allowed),
    }
    if not outer.file.backbones:
        return outer.contents, assembled(outer, allowed, more=more)
    first = outer.file.backbones[0]
    if first.value == "any":
        first.node.fail("the first of the `backbones:` is the default, and named")
    for entry in outer.file.backbones[1:]:
        if entry.value != "any":
            _file_of(path, entry.value, entry)
    inner = _backbone(path, backbone or first.value, first, outer)
    within = {"described": partial(_described, inner.contents, allowed)}
    map = assembled(
        outer,
        allowed,
        backbone=lambda place: assembled(inner, allowed, place, more=within),
        more=more,
        elsewhere=backbone not in (None, first.value),
    )
    return (*outer.contents, *inner.contents), map


def _described(contents: Contents, allowed: tuple[str, ...]) -> Map:
    """Of a document's map and those that it is like, in order, the first to a model whose shapes ppls knows."""
    maps = [load_map(path, allowed) for path, _ in contents if path != documents.PADDLE]
    return next((map for map in maps if map.target is not None), maps[0])


def _backbone(path: Path, name: str, entry: Placed[Word], outer: Document) -> Document:
    rest = outer.file.rest
    inner = document(_file_of(path, name, entry), _named, same=rest is not None and rest.value == "same")
    if inner.file.backbone is None:
        entry.node.fail(f"{name!r} is no backbone's map")
    return inner


def _file_of(path: Path, name: str, entry: Placed[Word]) -> Path:
    found = documents.beside(path, name, _named)
    if found is None:
        entry.node.fail(f"no map {name!r} beside this one or in ppls; ppls has {', '.join(_backbone_maps())}")
    return found


def _stands_on(entries: tuple[Placed[Word], ...]) -> tuple[str, ...]:
    """The names of all maps that an architecture's `backbones:` allow."""
    names: dict[str, None] = {}
    for entry in entries:
        if entry.value == "any":
            names |= dict.fromkeys(_backbone_maps())
        else:
            names[entry.value] = None
    return tuple(names)


def _backbone_maps() -> list[str]:
    return [name for name, path in shipped_maps().items() if _is_backbone(path)]


def _of_architecture(title: str) -> Path | None:
    """The file of the package's map of an architecture, if there is one."""
    return next((path for path in shipped_maps().values() if _title(path) == ("architecture", title)), None)


def _named(name: str) -> Path | None:
    """The file of a map in the package."""
    port = PORTS / f"{name.removeprefix('ports/')}.yaml"
    named = re.fullmatch(r"ports/[A-Za-z0-9_-]{1,100}", name) and port.exists()
    return shipped_maps().get(name) or (port if named else None)


def open_map(map: str | Path | Map | None, allow_import: Sequence[str] = ()) -> Map | None:
    """A map by its path, or of the package by its name; one that is open already as it is.

    Raises:
        MapError: as `load_map`. UsageError: modules are allowed for no map, or are none.
    """
    if isinstance(allow_import, str):
        allow_import = [allow_import]
    for module in allow_import:
        if not is_module_name(module):
            raise UsageError(f"--allow-import {module}: expected the name of a module, such as my_port.models")
    if allow_import and (map is None or isinstance(map, Map)):
        raise UsageError("--allow-import says what a map may name; give the map with --map FILE")
    return map if map is None or isinstance(map, Map) else load_map(named_file(map), allow_import)


def _is_backbone(path: Path) -> bool:
    return _title(path)[0] == "backbone"


def _title(path: Path, depth: int = 0) -> tuple[str | None, str | None]:
    """What a map is of, `architecture` or `backbone`, and which class; told without reading it as a map."""
    try:
        content = documents.read(path)
    except MapError:  # said when it is asked for
        return None, None
    found = _TITLE.search(content)
    if found is not None:
        return found[1].decode(), found[2].decode()
    like = _LIKE.search(content)
    other = documents.beside(path, like[1].decode(), _named) if like else None
    return _title(other, depth + 1) if other is not None and depth < 8 else (None, None)
