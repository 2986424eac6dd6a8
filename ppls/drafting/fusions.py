"""Layers that are one on one side and several on the other, as rules for their tensors: query, key and value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppls.drafting.attempt import Match
from ppls.drafting.source import Origin
from ppls.drafting.units import Unit
from ppls.mappings.operations import Transpose, steps_of

Origins = Mapping[str, Origin]
NameOf = Callable[[Unit], str]


@dataclass(frozen=True)
class Fusion:
    """Tensors that become others together.

    Attributes:
        said: the operations.
        how: the same as a row of `tensors:` has it, see `TensorsRule`.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    said: str
    how: str


def split(whole: Unit, held: Sequence[Match], origins: Origins, name_of: NameOf) -> Iterator[Fusion]:
    """A layer that the port has in parts; nothing where a part has no counterpart."""
    held = sorted(held, key=lambda match: match.source.part)
    if [match.source.part[0] for match in held] != list(range(held[0].source.part[1])):
        return
    for name in held[0].target.tensors:
        origin = origins.get(whole.tensor_name(name))
        if origin is not None and len(origin.sources) == 1:
            targets = tuple(match.target.tensor_in(name_of(match.target), name) for match in held)
            yield _fusion(origin.sources, targets, origin, "split")


def concat(target: Unit, pieces: Sequence[Unit], origins: Origins, name_of: NameOf) -> Iterator[Fusion]:
    """Layers that the port has in one; a single one is what the port calls otherwise."""
    for name in target.tensors:
        found = [origin for piece in pieces if (origin := origins.get(piece.tensor_name(name))) is not None]
        if len(found) == len(pieces) and all(len(origin.sources) == 1 for origin in found):
            sources = tuple(origin.sources[0] for origin in found)
            filled = target.tensor_in(name_of(target), name)
            yield _fusion(sources, (filled,), found[0], "concat" if len(pieces) > 1 else "")


def pieces_of(held: Sequence[Match]) -> list[Unit]:
    """What one layer of the port, each of whose parts has been found, is made of; nothing where no map can say it."""
    held = sorted(held, key=lambda match: match.target.part)
    sources = [match.source for match in held]
    if len(held) < held[0].target.part[1]:
        return []
    one = sources[0].whole
    if one is not None and all(s.whole is one and s.part == m.target.part for s, m in zip(sources, held, strict=True)):
        return [one]
    return [] if any(source.whole is not None or source.pieces for source in sources) else sources


def _fusion(sources: tuple[str, ...], targets: tuple[str, ...], origin: Origin, operation: str) -> Fusion:
    transpose = any(isinstance(step, Transpose) for step in steps_of(origin.operation))
    places = ", ".join(f"{{{at}}}" for at in range(len(sources)))
    how = [f"from: [{places}]" if len(sources) > 1 else f"from: {places}", "to: {to}"]
    how += ["transpose: [1, 0]"] if transpose else []
    how += [f"{operation}: {{{{dim: 0}}}}"] if operation else []
    said = [*(["transpose"] if transpose else []), *([operation] if operation else [])]
    return Fusion(sources, targets, ", ".join(said), ", ".join(how))
