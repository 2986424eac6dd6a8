"""Which layer of the candidate answers which of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from ppls.converter.conversion import Conversion
from ppls.mappings.patterns import lookup
from ppls.parity.compare import Array
from ppls.parity.recording import Recording


class Pair(Protocol):
    """A layer of the reference and its counterpart: `ppls.mappings.maps.ModulePair`, or one name on both sides."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def output_comparable(self) -> bool: ...
    def input(self, activation: Array) -> Array: ...
    def output(self, activation: Array) -> Array: ...


@dataclass(frozen=True)
class SameName:
    """A layer that is called the same on both sides, in a candidate without a map of its own."""

    source: str
    kind: str
    output_comparable: bool = True

    @property
    def target(self) -> str:
        return self.source

    def input(self, activation: Array) -> Array:
        return activation

    def output(self, activation: Array) -> Array:
        return activation


@dataclass(frozen=True)
class Paired:
    """The pairs that exist on both sides, and what must be said about those that do not."""

    pairs: list[Pair]
    failures: list[str]
    warnings: list[str]


def pair_layers(recording: Recording, conversion: Conversion, module: nn.Module, *, own: bool) -> Paired:
    """Pairs the recorded layers with the candidate's modules.

    `own` says that the candidate is ppls's, in which every layer of the map must be. Another candidate's modules are
    looked for under the names of the map, then under the reference's own; where none is found, outputs alone decide.
    """
    # an exported checkpoint has no heads for training: the reference's have the weights that they were built with
    lacking = [part.pattern for part in conversion.map.optional if not lookup(conversion.config, part.option)]
    recorded = [
        name
        for name in dict.fromkeys(call.module for call in recording.calls)
        if not any(pattern.match_within(name) for pattern in lacking)
    ]
    names = {name for name, _ in module.named_modules()}
    by_map: list[Pair] = list(conversion.map.pair_modules(recorded))
    present = [pair for pair in by_map if pair.target in names]
    absent = [f"{pair.target} (for {pair.source})" for pair in by_map if pair.target not in names]
    if own:
        return Paired(present, [f"the candidate has no module {name}" for name in absent], [])
    types = {call.module: call.type for call in recording.calls}
    same: list[Pair] = [SameName(name, types[name]) for name in recorded if name in names]
    if len(same) > len(present):
        return Paired(same, [], _left_out("reference", [name for name in recorded if name not in names]))
    if not present:
        warning = "no layer of the candidate is called as in the map or in PaddleSeg: outputs alone decide; give --map"
        return Paired([], [], [warning])
    return Paired(present, [], _left_out("map", absent))


def _left_out(whose: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} layers of the {whose} have no counterpart in the candidate, {names[0]} first"]
