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
        backbones: those it may stand on, by PaddleSeg's names of them; none if it has a body of its own.
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
            stands_on = [shipped_map(name) for name in map.backbones]
            found.append(Known(map.title, tuple(n for b in stands_on for n in (b.presets or [b.title])), names))
    return found


def known_backbones() -> tuple[str, ...]:
    """Every backbone that may be converted alone, by PaddleSeg's name."""
    return tuple(name for map in backbones().values() for name in (map.presets or [map.title]))
