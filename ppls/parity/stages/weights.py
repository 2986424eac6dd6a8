"""The weights: the candidate's tensors beside the checkpoint's, bit for bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.conversion import Conversion
from ppls.converter.translate import translate_back
from ppls.mappings.maps import Map
from ppls.mappings.operations import OperationError
from ppls.models.stored import stored_from_torch
from ppls.parity.figures import DifferentTensor
from ppls.parity.reference.figures import difference
from ppls.parity.stages.stage import Stage


def compare_weights(conversion: Conversion, module: nn.Module, *, own: bool = True, mapped: bool = False) -> Stage:
    """Holds the candidate's state dict, mapped back to Paddle's names, against the checkpoint, bit for bit.

    Tensors that the map drops for good (dead ones) are not expected. Where a map leads one way only (a folded bias),
    the tensors are held against the converted ones.

    Args:
        own: whether the candidate is ppls's own, all of whose tensors the map knows.
        mapped: whether the map was given for this candidate: then it must have every tensor. Another candidate may name
            its tensors as it likes.
    """
    tensors = {name: stored_from_torch(tensor) for name, tensor in _distinct(module, conversion.map)}
    try:
        back = translate_back(tensors, conversion.map, conversion.config)
    except OperationError as error:
        return _stage(conversion.source_tensors.keys(), {}, {}, f"the map has no way back: {error}", own=own)
    if back.problems and tensors.keys() == conversion.tensors.keys():
        # what was folded has no way back: as it was converted
        return _stage(conversion.tensors.keys(), conversion.tensors, tensors, None, own=own)
    checkpoint = conversion.source_tensors
    gone = {conversion.renamed.get(dropped.name, dropped.name) for dropped in conversion.dropped}
    expected = [name for name in checkpoint if name not in gone or name in back.tensors]
    missing = [name for name in expected if name not in back.tensors]
    why = None
    if back.problems:
        why = f"{len(back.problems)} of the candidate's tensors do not map back, first {back.problems[0]}"
    if missing:
        why = f"the candidate's state dict has nothing for {_some(missing)}"
    return _stage(expected, checkpoint, back.tensors, why, own=own or mapped)


def _stage(
    expected: Collection[str],
    reference: Mapping[str, StoredTensor],
    candidate: Mapping[str, StoredTensor],
    why: str | None,
    *,
    own: bool,
) -> Stage:
    common = [name for name in expected if name in candidate and name in reference]
    different = [name for name in common if not _same_bits(reference[name], candidate[name])]
    found = [] if why is None else [why if common else f"weights are not compared: {why}"]
    return Stage(
        name="weights",
        unit="tensors",
        compared=len(common),
        expected=len(expected),
        why=why,
        figures=tuple(DifferentTensor(name, _scaled(reference[name], candidate[name])) for name in different),
        failures=tuple(found if own else ()),
        warnings=tuple(found if not own else ()),
    )


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names):,} tensors of the checkpoint, {names[0]} first"


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


def _same_bits(a: StoredTensor, b: StoredTensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return np.ascontiguousarray(a.load()).tobytes() == np.ascontiguousarray(b.load()).tobytes()


def _scaled(a: StoredTensor, b: StoredTensor) -> float | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return None
    return difference(a.load(), b.load()).scaled
