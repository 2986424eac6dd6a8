"""What ppls has a map of: the architectures, where each may stand, and its configs that PaddleSeg publishes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from ppls.mappings.map_file import architectures, backbones, shipped_map
from ppls.records import dataclass


@dataclass(frozen=True)
class Known:
    """An architecture.

    Attributes:
        architecture: PaddleSeg's class name.
        backbones: the classes of those it may stand on; none if it has a body of its own.
        names: its published configs.
    """

    architecture: str
    backbones: tuple[str, ...]
    names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"architecture": self.architecture, "backbones": list(self.backbones), "names": list(self.names)}


def known_models(pattern: str = "*") -> list[Known]:
    """The architectures whose own name, or that of a config, fits a pattern with `*` and `?`, in any letter case."""

    def fits(name: str) -> bool:
        return fnmatchcase(name.lower(), pattern.lower())

    found = []
    for map in architectures().values():
        names = tuple(name for name in map.recipes if fits(name) or fits(map.title))
        if names or fits(map.title):
            found.append(Known(map.title, tuple(shipped_map(name).title for name in map.backbones), names))
    return found


def known_backbones() -> dict[str, tuple[str, ...]]:
    """By the class of each backbone, which may be converted alone too, what PaddleSeg calls its sizes."""
    return {map.title: tuple(map.presets) for map in backbones().values()}
