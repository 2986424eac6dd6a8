"""Which layer of the candidate answers which of the reference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from ppls.converter.conversion import Conversion
from ppls.mappings.patterns import lookup
from ppls.parity.compare import Array
from ppls.parity.reference_run import Recording


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
class Within:
    """A pair whose layer stands in what the candidate wraps: `prefix` is that module's name, and a dot."""

    pair: Pair
    prefix: str

    @property
    def source(self) -> str:
        return self.pair.source

    @property
    def target(self) -> str:
        return self.prefix + self.pair.target

    @property
    def kind(self) -> str:
        return self.pair.kind

    @property
    def output_comparable(self) -> bool:
        return self.pair.output_comparable

    def input(self, activation: Array) -> Array:
        return self.pair.input(activation)

    def output(self, activation: Array) -> Array:
        return self.pair.output(activation)


@dataclass(frozen=True)
class Paired:
    """The pairs that exist on both sides, and what must be said about those that do not."""

    pairs: list[Pair]
    failures: list[str]
    warnings: list[str]


def pair_layers(recording: Recording, conversion: Conversion, module: nn.Module, *, own: bool) -> Paired:
    """Pairs the recorded layers with the candidate's modules.

    `own` says that the candidate is ppls's, in which every layer of the map must be. Another candidate's modules are
    looked for under the names of the map, then under the reference's own, of a model that is wrapped too; where none is
    found, outputs alone decide.
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
    if own:
        present = [pair for pair in by_map if pair.target in names]
        absent = [f"the candidate has no module {_described(pair)}" for pair in by_map if pair.target not in names]
        return Paired(present, absent, [])
    types = {call.module: call.type for call in recording.calls}
    same: list[Pair] = [SameName(name, types[name]) for name in recorded]
    ways = [(pairs, prefix) for pairs in (by_map, same) for prefix in _prefixes(pairs, names)]
    expected, prefix = max(ways, key=lambda way: len(_present(way[0], way[1], names)), default=(by_map, ""))
    present = _present(expected, prefix, names)
    if not present:
        warning = (
            "no layer of the candidate is called as in the map or in PaddleSeg: outputs alone decide; give --map, "
            "which `ppls map draft CHECKPOINT --model MODULE:CALLABLE` writes"
        )
        return Paired([], [], [warning])
    absent = [_described(pair) for pair in expected if prefix + pair.target not in names]
    return Paired(
        [Within(pair, prefix) if prefix else pair for pair in present],
        [],
        _left_out("reference" if expected is same else "map", absent),
    )


def _prefixes(pairs: Sequence[Pair], names: Collection[str]) -> list[str]:
    """What may stand before the names of a model that is wrapped: `module.`, `_orig_mod.`; none first."""
    targets = [f".{pair.target}" for pair in pairs]
    last = {target.rpartition(".")[2] for target in targets}
    found = {
        name.removesuffix(target) + ".": None
        for name in names
        if name.rpartition(".")[2] in last
        for target in targets
        if name.endswith(target)
    }
    return ["", *sorted(found, key=len)]


def _present(pairs: Sequence[Pair], prefix: str, names: Collection[str]) -> list[Pair]:
    return [pair for pair in pairs if prefix + pair.target in names]


def _described(pair: Pair) -> str:
    return pair.target if pair.target == pair.source else f"{pair.target} (for {pair.source})"


def _left_out(whose: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} layers of the {whose} have no counterpart in the candidate, {names[0]} first"]
