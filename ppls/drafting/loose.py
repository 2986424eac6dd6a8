"""Tensors that no layer holds: tables and tokens of a port's own modules, each filled with the source's of its shape.

A program says of such a tensor where it is added or concatenated, a port has it in a module that does much else: there
is no layer of the source that saw what that module sees. So each way to fill them is tried as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product

import torch
from torch import Tensor

from ppls.drafting.search import Search
from ppls.drafting.units import OTHER, Unit

_MOST_WAYS = 24  # that are tried

_Place = tuple[Unit, str]  # a unit, and the name of its tensor


@dataclass(frozen=True)
class Loose:
    """A tensor of the port and the source's that it was filled with; whether other values in it do worse."""

    target: _Place
    source: _Place
    shows: bool


def fill_loose(search: Search) -> list[Loose]:
    """Fills what no layer took, if one way alone does best, better than none; `search` is to be run again then."""
    targets, sources = (
        _left(search.port.units, {*search.best.matches}),
        _left(search.port.recording.units, _taken(search)),
    )
    ways = list(islice(_ways(targets, sources), _MOST_WAYS + 1))
    before = {place: _tensor(place).clone() for place in targets}
    if not ways or len(ways) > _MOST_WAYS:
        return []
    scores = []
    for way in ways:
        _fill(way)
        scores.append(search.port.attempt(search.decided).score)
    best = max(scores)
    if best <= search.best.score or scores.count(best) > 1:
        for place, values in before.items():
            _tensor(place).data.copy_(values)
        return []
    chosen = ways[scores.index(best)]
    _fill(chosen)
    return [Loose(target, source, _shows(search, target, best)) for target, source in chosen.items()]


def _taken(search: Search) -> set[Unit]:
    return {unit for match in search.best.matches.values() for unit, _ in match.source.covered}


def _left(units: Sequence[Unit], taken: set[Unit]) -> list[_Place]:
    return [
        (unit, name)
        for unit in units
        if unit.kind == OTHER and unit not in taken
        for name, tensor in unit.tensors.items()
        if tensor.is_floating_point() and name not in unit.kept
    ]


def _ways(targets: Sequence[_Place], sources: Sequence[_Place]) -> Iterator[dict[_Place, _Place]]:
    """Every way to give the port's the source's of their shapes."""
    ours, theirs = _by_shape(targets), _by_shape(sources)
    shared = [shape for shape in ours if shape in theirs and len(ours[shape]) <= len(theirs[shape])]
    if not shared:
        return
    orders = [
        [dict(zip(ours[shape], order, strict=True)) for order in permutations(theirs[shape], len(ours[shape]))]
        for shape in shared
        if len(theirs[shape]) <= _MOST_WAYS
    ]
    for chosen in product(*orders):
        yield {target: source for part in chosen for target, source in part.items()}


def _by_shape(places: Sequence[_Place]) -> dict[tuple[int, ...], list[_Place]]:
    found: dict[tuple[int, ...], list[_Place]] = defaultdict(list)
    for unit, name in places:
        found[unit.shapes[name]].append((unit, name))
    return found


def _shows(search: Search, target: _Place, best: float) -> bool:
    """Whether a run with noise in the place of the tensor does worse."""
    tensor = _tensor(target)
    values = tensor.clone()
    tensor.data.copy_(torch.randn(values.shape, dtype=values.dtype, generator=torch.Generator().manual_seed(1)))
    score = search.port.attempt(search.decided).score
    tensor.data.copy_(values)
    return score < best


def _fill(way: dict[_Place, _Place]) -> None:
    for target, source in way.items():
        _tensor(target).data.copy_(_tensor(source))


def _tensor(place: _Place) -> Tensor:
    unit, name = place
    return unit.tensors[name]
