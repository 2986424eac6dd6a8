"""Drafts a map: from a checkpoint of an architecture that ppls has to a port of anybody's, by running both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ppls.converter.expected import expected_multiple
from ppls.drafting.matching import Port
from ppls.drafting.recording import record
from ppls.drafting.rows import Rows
from ppls.drafting.search import Search
from ppls.drafting.settle import Settling
from ppls.drafting.source import Source, source_of
from ppls.drafting.units import PARAMETRIZED, Unit, units_of
from ppls.drafting.words import likeness
from ppls.drafting.written import map_text
from ppls.errors import Error, first_line
from ppls.mappings.maps import Map

SECONDS = 120.0  # for the search
_SIZES = ((128, 192), (256, 384), (512, 1024), (224, 224), (512, 512))  # the first that the port takes


@dataclass(frozen=True)
class Draft:
    """A map of a port, as far as it was found out.

    Attributes:
        rows: what became of each tensor.
        text: the map, a file's content.
        runs: how often the port was run.
    """

    rows: Rows
    text: str
    runs: int

    @property
    def settled(self) -> bool:
        return self.rows.settled

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls map draft --json` prints."""
        rows = self.rows
        return {
            "rows": [row.to_json() for row in rows.rows],
            "unmatched": {"source": rows.unmatched_source, "target": rows.unmatched_target},
            "left_out": rows.left_out,
            "keep": rows.keep,
            "notes": rows.notes,
            "map": self.text,
        }


def draft(
    map: Map,
    config: Mapping[str, Any],
    model: nn.Module,
    *,
    title: str = "",
    seconds: float = SECONDS,
) -> Draft:
    """Drafts the map of a port.

    Args:
        map, config: the source's, whose model ppls has.
        model: the port, with any weights, which are lost; it is put into float64.
        title: what the map begins with.
        seconds: for the search, after which what was not tried is said.

    Raises:
        Error: the port does not run on an image; or nothing of it is the source's.
    """
    source = source_of(map, config)
    model = model.double()
    size = _size_for(model, expected_multiple(map, config), _channels(source))
    recording = record(source.model, size, _channels(source))
    units = units_of(model)
    titles = _titles(source)
    names: dict[Unit, str] = {}

    def prior(unit: Unit, other: Unit) -> float:
        wanted = titles.get(other.whole or other, other.name)
        if other.whole is not None:
            wanted += _part_name(other)
        return max(likeness(name, wanted) for name in (unit.name, *unit.aliases))

    for each in recording.units:
        name = next((source.origins[n].sources[0] for t in each.tensors if (n := each.tensor_name(t)) in source.origins), "")
        titles[each] = name.rpartition(".")[0] or name
    search = Search(Port(model, [unit for unit in units if unit.kind != PARAMETRIZED], recording, prior), seconds)
    search.run()
    for unit in units:
        match = search.best.matches.get(unit)
        wanted = titles.get(match.source, "") if match else ""
        names[unit] = max((unit.name, *unit.aliases), key=lambda name: likeness(name, wanted))
    rows = Settling(source, search, units, names.__getitem__).all()
    return Draft(rows, map_text(rows, map, title or f"{map.title}, drafted by ppls map draft"), search.runs)


def _titles(source: Source) -> dict[Unit, str]:
    return {}


def _part_name(unit: Unit) -> str:
    """What a part of a fused layer is called as a rule."""
    at, count = unit.part
    return {2: (".key", ".value"), 3: (".query", ".key", ".value")}[count][at]


def _channels(source: Source) -> int:
    value = source.config.get("backbone", {})
    channels = value.get("in_channels") if isinstance(value, Mapping) else None
    return channels if isinstance(channels, int) else int(source.config.get("in_channels", 3) or 3)


def _size_for(model: nn.Module, multiple: int, channels: int) -> tuple[int, int]:
    """A size of image that the port takes."""
    from ppls.drafting.steady import steady

    problem = ""
    for height, width in _SIZES:
        size = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        try:
            with steady(model, False):
                model(torch.randn(1, channels, *size, dtype=torch.float64))
        except Exception as error:
            problem = problem or f"{type(error).__name__}: {first_line(error)}"
        else:
            return size
    raise Error(f"the model does not run on an image of {_SIZES[0][0]} by {_SIZES[0][1]} pixels in float64: {problem}")


Build = Callable[[], nn.Module]
