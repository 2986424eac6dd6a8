"""Which layer of the candidate answers which of the reference, and what its tensors are called there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ppls.converter.conversion import Conversion
from ppls.converter.translate import translate_back
from ppls.mappings.maps import Map
from ppls.mappings.operations import OperationError
from ppls.mappings.patterns import lookup
from ppls.models.stored import stored_from_torch
from ppls.parity.compare import Array
from ppls.parity.recording import Recording
from ppls.parity.report import WeightFigures
from ppls.parity.stages import Pair, compare_weights


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


def weigh(conversion: Conversion, module: nn.Module, *, own: bool) -> tuple[WeightFigures | None, list[str], list[str]]:
    """The weights stage: the candidate's state dict, mapped back to Paddle's names, beside the checkpoint.

    Returns the figures, failures and warnings. Where a map leads one way only (a folded bias), the tensors are held
    against the converted ones. Another candidate may name its tensors as it likes: then there are no figures, and a
    warning.
    """
    tensors = {name: stored_from_torch(tensor) for name, tensor in _distinct(module, conversion.map)}
    try:
        back = translate_back(tensors, conversion.map, conversion.config)
    except OperationError as error:
        return None, [], [f"weights are not compared: {error}"]
    if not back.problems:
        return compare_weights(conversion.source_tensors, back.tensors), [], []
    if not own and tensors.keys() == conversion.tensors.keys():  # what was folded has no way back: as it was converted
        return compare_weights(conversion.tensors, tensors), [], []
    reason = f"{len(back.problems)} of the candidate's tensors do not map back, first {back.problems[0]}"
    return None, [reason] if own else [], [] if own else [f"weights are not compared: {reason}"]


def _distinct(module: nn.Module, map: Map) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module that the map speaks of or should: each once, under the name that the map has for it."""
    names: dict[object, list[str]] = defaultdict(list)
    tensors = module.state_dict()
    for name, tensor in tensors.items():
        names[tensor.data_ptr(), tensor.shape, tensor.stride()].append(name)
    for aliases in names.values():
        for name in [name for name in aliases if any(map.backward.matches(name))] or aliases[:1]:
            # torch's own BatchNorm counts batches, Paddle's does not
            if not name.endswith("num_batches_tracked") and not any(kept.match_within(name) for kept in map.keep):
                yield name, tensors[name]


def _left_out(whose: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} layers of the {whose} have no counterpart in the candidate, {names[0]} first"]
