"""Drafts a map: from a checkpoint of an architecture that ppls has, or from an export, to a port, by running both."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppls.checkpoint.reader import read
from ppls.converter.by_program import is_for_its_program
from ppls.converter.convert import open_model, plan_conversion
from ppls.converter.recognise import choose_map, named_map
from ppls.drafting.arithmetic import of_one_dilation
from ppls.drafting.loose import Loose, fill_loose
from ppls.drafting.matching import Port
from ppls.drafting.recording import Recording, record
from ppls.drafting.rows import Rows
from ppls.drafting.search import Search
from ppls.drafting.settle import Settling
from ppls.drafting.source import Source, source_of, source_of_program
from ppls.drafting.steady import steady
from ppls.drafting.units import PARAMETRIZED, Unit, units_of
from ppls.drafting.words import likeness
from ppls.drafting.written import map_text
from ppls.errors import ConversionError, Error, UsageError, first_line
from ppls.mappings.map_file import open_map
from ppls.mappings.maps import Map
from ppls.parity.candidate import import_callable, make_candidate
from ppls.programs.module import module_of
from ppls.programs.program import read_program

SECONDS = 120.0  # for the search
MOST_BYTES = 8 << 30  # of what a network computes of a larger image


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
            "constants": {name: value for name, (value, _, _) in rows.constants.items()},
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
    with torch.random.fork_rng(devices=[]):
        source = source_of(map, config)
    return draft_from(source, model, title=title, seconds=seconds)


def draft_from(source: Source, model: nn.Module, *, title: str = "", seconds: float = SECONDS) -> Draft:
    """The same of any network that can be run."""
    model = model.double()
    units = units_of(model)
    end = time.monotonic() + seconds
    size = _size_for(model, source.sizes, source.channels)
    search, loose, titles = _searched(source, model, units, size, seconds)
    undecided = search.alternatives or not all(
        of_one_dilation(unit, match.source) for unit, match in search.best.matches.items()
    )
    if undecided and source.large is not None and _takes_a_larger(search.port.recording, size, source.large):
        with suppress(Error):  # on a small map, two wide dilations are the same; but it may take no larger one
            size = _size_for(model, (source.large,), source.channels)
            larger, its_loose, its_titles = _searched(source, model, units, size, end - time.monotonic())
            if not larger.untried:  # else what the small one left open stays open
                search, loose, titles = larger, its_loose, its_titles
    names: dict[Unit, str] = {}
    of_whole: dict[Unit, str] = {}
    for unit in units:
        match = search.best.matches.get(unit)
        wanted = titles[match.source] if match else ""
        name = max((unit.name, *unit.aliases), key=lambda name, wanted=wanted: likeness(name, wanted))  # type: ignore[misc]
        names[unit] = of_whole.setdefault(unit.whole or unit, name)
    rows = Settling(source, search, loose, units, names.__getitem__).all()
    title = title or f"{source.title}, drafted by ppls map draft"
    return Draft(rows, map_text(rows, source.map, title, source.title), search.runs)


def _takes_a_larger(recording: Recording, size: tuple[int, int], larger: tuple[int, int]) -> bool:
    """Whether an image is larger than another, and what is recorded of it fits in memory."""
    return size[0] < larger[0] and recording.bytes * math.prod(larger) <= MOST_BYTES * math.prod(size)


def _searched(
    source: Source, model: nn.Module, units: Sequence[Unit], size: tuple[int, int], seconds: float
) -> tuple[Search, list[Loose], dict[Unit, str]]:
    """What was found on an image of this size; and what Paddle calls the source's layers."""
    recording = record(source.network, size, source.channels)
    titles = {unit: _title(source, unit) for unit in recording.units}

    def prior(unit: Unit, other: Unit) -> float:
        if other.pieces:  # as a rule in the order in which the source has them
            return float(list(other.pieces) == sorted(other.pieces, key=lambda piece: piece.order))
        wanted = titles[other] + (_part_name(other) if other.is_part else "")
        own = _part_name(unit) if unit.is_part else ""
        return max(likeness(name + own, wanted) for name in (unit.name, *unit.aliases))

    port = Port(model, [unit for unit in units if unit.kind != PARAMETRIZED], recording, prior)
    search = Search(port, seconds)
    search.run()
    loose = fill_loose(search)
    if loose:
        search = Search(port, seconds)
        search.run()
    return search, loose, titles


def _title(source: Source, unit: Unit) -> str:
    """What Paddle calls a layer of the source."""
    for tensor in unit.tensors:
        origin = source.origins.get(unit.tensor_name(tensor))
        if origin is not None:
            return origin.sources[0].rpartition(".")[0]
    return ""


def _part_name(unit: Unit) -> str:
    """What a part of a fused layer is called as a rule."""
    at, count = unit.part
    return {2: (".key", ".value"), 3: (".query", ".key", ".value")}[count][at]


def _size_for(model: nn.Module, sizes: Sequence[tuple[int, int]], channels: int) -> tuple[int, int]:
    """The first of these sizes that the port takes."""
    problem = ""
    for size in sizes:
        try:
            with steady(model, False):
                model(torch.randn(1, channels, *size, dtype=torch.float64))
        except Exception as error:
            problem = problem or f"{type(error).__name__}: {first_line(error)}"
        else:
            return size
    raise Error(f"the model does not run on an image of {sizes[0][0]} by {sizes[0][1]} pixels in float64: {problem}")


def draft_map(
    checkpoint: str | Path,
    model: str | nn.Module | Callable[..., nn.Module],
    *,
    architecture: str | None = None,
    map: str | Path | Map | None = None,
    allow_import: Sequence[str] = (),
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    program: bool = False,
    seconds: float = SECONDS,
) -> Draft:
    """Drafts the map that fills a port from a checkpoint, without Paddle.

    Args:
        checkpoint: of an architecture that ppls has; or an export of any.
        model: the port, a function that makes it, or where such a function is, `MODULE:CALLABLE`.
        architecture, map, allow_import, config, overrides: as for `ppls.convert`.
        program: draft by the program of an export; unasked where no map knows it.
        seconds: for the search, after which what was not tried is said.

    Raises:
        ConversionError: the checkpoint is of no architecture that ppls has and no export that can be run, or does not
            fit it. ParityError: the port cannot be made. Error: it does not run. UsageError: `program` beside options
            of an architecture.
    """
    name = model if isinstance(model, str) else type(model).__name__
    asked = [each for each in (architecture, map, config, overrides) if each]
    if program and asked:
        raise UsageError("--program: the program is drafted as it is; no --arch, --map, --config or --set beside it")
    if program or (not asked and is_for_its_program(checkpoint)):
        stored = read(checkpoint)
        source = source_of_program(module_of(read_program(stored), stored), stored.shapes)
        title = f"{source.title} onto {name}, drafted by ppls map draft from the program"
        return draft_from(source, built(model), title=title, seconds=seconds)
    named = named_map(architecture, open_map(map, allow_import))
    options: dict[str, Any] = {"preset": architecture, "config": config, "overrides": overrides}
    opened = open_model(checkpoint, named, **options)
    chosen = choose_map(opened, named)
    if chosen.target is None:
        raise ConversionError(f"{chosen.path}: leads to a model that ppls does not have, and a draft runs ppls's own")
    plan = plan_conversion(opened, chosen, **options)
    title = f"{chosen.title} onto {name}, drafted by ppls map draft"
    return draft(chosen, plan.config, built(model), title=title, seconds=seconds)


def built(model: str | nn.Module | Callable[..., nn.Module]) -> nn.Module:
    """The port: called without arguments if it can be, else with None."""
    if isinstance(model, nn.Module):
        return model
    make = import_callable(model) if isinstance(model, str) else model
    try:
        needed = [
            parameter
            for parameter in inspect.signature(make).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):  # made in C
        needed = []
    given: tuple[Any, ...] = (None,) if needed else ()
    return make_candidate(lambda _: make(*given), Path())
